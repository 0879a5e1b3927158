"""Interventions on saved weights: what they change, what they keep, what they record."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flow import Trajectory, edit, simulate
from flow.cli.edit import EDITS, main
from flow.results.weights import read_weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run at rest with polysemantic neurons."""
    path = tmp_path_factory.mktemp("edit") / "run.npz"
    argv = ["--n", "24", "--m", "24", "--lam", "0.03", "--save-at", "0", "5", "--quiet"]
    assert simulate.main([*argv, "--out", str(path)]) == 0
    return path


def shared_neuron(W):
    return int(np.flatnonzero(np.count_nonzero(W, axis=0) >= 2)[0])


def test_duplication_without_noise_keeps_norms_and_overlaps(saved):
    W = Trajectory.load(saved).weights[1]
    doubled = edit.duplicate(W, 3, noise=0.0, seed=0)
    assert doubled.shape == (24, 25)
    np.testing.assert_allclose(doubled @ doubled.T, W @ W.T, atol=1e-15)
    np.testing.assert_array_equal(doubled[:, 3], doubled[:, 24])
    np.testing.assert_array_equal(np.delete(doubled, [3, 24], axis=1), np.delete(W, 3, axis=1))


def test_noise_of_a_duplication_is_seeded_has_its_size_and_leaves_zeros():
    W = np.zeros((20_000, 2))
    W[::2, 0] = 1.0
    doubled = edit.duplicate(W, 0, noise=0.05, seed=1)
    np.testing.assert_array_equal(doubled, edit.duplicate(W, 0, noise=0.05, seed=1))
    assert not np.array_equal(doubled, edit.duplicate(W, 0, noise=0.05, seed=2))
    assert not doubled[1::2].any()
    noise = doubled[::2][:, [0, 2]] - np.sqrt(0.5)
    # Standard errors at 10⁴ draws are 0.7 %; the correlation's is 0.01: five of them.
    np.testing.assert_allclose(noise.std(axis=0), 0.05, rtol=0.035)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.05


def test_opposed_noise_favours_one_copy_for_each_sign_and_keeps_what_both_have_together():
    W = np.array([[0.8, 0.3], [-0.7, 0.0], [0.0, 0.5]])
    doubled = edit.duplicate(W, 0, noise=0.05, seed=1, opposed=True)
    np.testing.assert_allclose(doubled[:, 0] + doubled[:, 2], np.sqrt(2.0) * W[:, 0], rtol=1e-15)
    assert (doubled[:2, 0] > doubled[:2, 2]).all()
    size = np.abs(np.random.default_rng(1).normal(0.0, 0.05, 3))
    np.testing.assert_allclose(doubled[:2, 0] - doubled[:2, 2], 2.0 * size[:2], rtol=1e-14)
    np.testing.assert_array_equal(doubled[2, [0, 2]], 0.0)
    np.testing.assert_array_equal(doubled[:, 1], W[:, 1])


def test_opposed_noise_cures_a_polysemantic_neuron(saved, tmp_path):
    before = Trajectory.load(saved).final
    shared = np.flatnonzero(np.count_nonzero(before, axis=0) == 2)
    assert shared.size
    for seed, neuron in enumerate(shared):
        copied, after = str(tmp_path / "copied.npz"), str(tmp_path / "after.npz")
        argv = ["--opposed", "--neuron", str(neuron), "--seed", str(seed), "--overwrite"]
        assert main([str(saved), "duplicate", *argv, "--out", copied]) == 0
        argv = ["--init", copied, "--out", after, "--overwrite", "--quiet"]
        assert simulate.main(argv) == 0
        W = Trajectory.load(after).final
        np.testing.assert_array_equal(np.count_nonzero(W[:, [neuron, 24]], axis=0), [1, 1])


def test_the_edit_stands_before_the_file_or_after_it(saved, tmp_path):
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    assert main(["permute", str(saved), "--out", str(first)]) == 0
    assert main([str(saved), "permute", "--out", str(second)]) == 0
    np.testing.assert_array_equal(read_weights(first).W, read_weights(second).W)


def test_a_misspelt_edit_is_met_with_the_nearest_one(saved, capsys):
    assert main([str(saved), "duplicat"]) == 2
    assert "did you mean duplicate?" in capsys.readouterr().err


def test_a_flip_turns_a_benign_collision_malign_and_back(saved):
    W = Trajectory.load(saved).final
    neuron = shared_neuron(W)
    i, j = np.flatnonzero(W[:, neuron])[:2]
    assert (W @ W.T)[i, j] < 0.0
    flipped = edit.flip(W, int(i), neuron)
    assert (flipped @ flipped.T)[i, j] > 0.0
    np.testing.assert_array_equal(edit.flip(flipped, int(i), neuron), W)


@pytest.mark.parametrize("what", ["neurons", "features"])
def test_a_permutation_keeps_the_weights_and_their_company(saved, what):
    W = Trajectory.load(saved).weights[1]
    shuffled = edit.permute(W, what, seed=4)
    assert not np.array_equal(shuffled, W)
    axis = 1 if what == "neurons" else 0
    order, mixed = np.argsort(W.sum(axis=1 - axis)), np.argsort(shuffled.sum(axis=1 - axis))
    np.testing.assert_array_equal(np.take(shuffled, mixed, axis), np.take(W, order, axis))


def test_rescaling_touches_what_it_names_only():
    W = np.ones((3, 4))
    np.testing.assert_array_equal(edit.rescale(W, 2.0), 2.0 * W)
    expected = W.copy()
    expected[1, 2] = 0.5
    np.testing.assert_array_equal(edit.rescale(W, 0.5, feature=1, neuron=2), expected)
    assert edit.rescale(W, 0.5, feature=1).sum() == 10.0
    assert edit.rescale(W, 0.5, neuron=1).sum() == 10.5
    np.testing.assert_array_equal(W, np.ones((3, 4)))


def test_an_edited_file_is_a_start_that_remembers_its_edits(saved, tmp_path, capsys):
    once, twice, after = (tmp_path / f"{name}.npz" for name in ("once", "twice", "after"))
    assert main([str(saved), "duplicate", "--noise", "0.02", "--out", str(once)]) == 0
    assert main([str(once), "rescale", "--factor", "0.5", "--out", str(twice)]) == 0
    W = Trajectory.load(saved).final
    expected = 0.5 * edit.duplicate(W, shared_neuron(W), noise=0.02, seed=0)
    np.testing.assert_array_equal(read_weights(twice).W, expected)
    assert simulate.main(["--init", str(twice), "--out", str(after), "--quiet"]) == 0
    run = Trajectory.load(after)
    np.testing.assert_array_equal(run.weights[0], expected)
    assert run.times[0] == 0.0
    edits = json.loads(json.dumps(run.metadata["init_about"]))
    assert edits["edits"][0]["edit"] == "rescale"
    assert edits["before"]["edits"][0]["neuron"] == shared_neuron(W)
    assert edits["before"]["before"]["metadata"]["seed"] == 0
    capsys.readouterr()


def test_show_lists_polysemantic_neurons(saved, capsys):
    W = Trajectory.load(saved).final
    count = int(np.sum(np.count_nonzero(W, axis=0) >= 2))
    assert main([str(saved), "show"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{count} of 24 neurons have two features or more"
    assert said[1].startswith(f"  neuron {shared_neuron(W)}: features ")


def test_an_earlier_time_can_be_edited(saved, tmp_path):
    out = tmp_path / "early.npz"
    argv = [str(saved), "rescale", "--factor", "1", "--init-time", "5", "--out", str(out)]
    assert main(argv) == 0
    np.testing.assert_array_equal(read_weights(out).W, Trajectory.load(saved).weights[1])


@pytest.mark.parametrize(
    "argv",
    [
        ["{run}"],
        ["{run}", "triplicate"],
        ["duplicate", "--out", "{new}"],
        ["missing.npz", "duplicate", "--out", "{new}"],
        ["{run}", "duplicate"],
        ["{run}", "duplicate", "--out", "{run}"],
        ["{run}", "duplicate", "--neuron", "24", "--out", "{new}"],
        ["{run}", "duplicate", "--neuron", "-1", "--out", "{new}"],
        ["{run}", "duplicate", "--noise", "-1", "--out", "{new}"],
        ["{run}", "duplicate", "--noize", "1", "--out", "{new}"],
        ["{run}", "duplicate", "--init-time", "77", "--out", "{new}"],
        ["{lonely}", "duplicate", "--out", "{new}"],
        ["{lonely}", "flip", "--feature", "0", "--neuron", "1", "--out", "{new}"],
        ["{run}", "flip", "--feature", "0", "--out", "{new}"],
        ["{run}", "flip", "--feature", "99", "--neuron", "0", "--out", "{new}"],
        ["{run}", "permute", "--what", "signs", "--out", "{new}"],
        ["{run}", "rescale", "--factor", "nan", "--out", "{new}"],
        ["{run}", "rescale", "--out", "{new}"],
        ["{run}", "{lonely}", "permute", "--out", "{new}"],
        ["{run}", "flip", "permute", "--out", "{new}"],
        ["{run}", "show", "--out", "{new}"],
        ["--out", "{new}", "{run}", "duplicate"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_edited_is_refused_in_one_line(argv, saved, tmp_path, capsys):
    lonely = tmp_path / "lonely.npz"
    np.savez(lonely, W=np.eye(2))
    names = {"run": saved, "new": tmp_path / "new.npz", "lonely": lonely}
    before = saved.read_bytes()
    assert main([word.format(**names) for word in argv]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert "expected" in said.err
    assert "got" in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == [lonely]
    assert saved.read_bytes() == before


def test_help_names_every_edit(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in EDITS)
