"""The command line: what can be asked for runs, what cannot ends in one line and no file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from typing import Any

import numpy as np
import pytest

from flow import CoOccurrence, Interference, Status, Trajectory, simulate
from flow.analysis.superposition import alignment, geometry
from flow.cli import report
from flow.driver import memory
from flow.integrators.schemes import ProximalChebyshev
from flow.kernels.threads import available_threads
from flow.pictures import plots
from flow.sweep import Run
from tests import ROOT

BATCHES, PER_BATCH = 10, 100


# Generated flag sets -----------------------------------------------------------------------------


def some_settings(rng):
    """A valid set of flags at toy size; values as TOML would hold them, switches as booleans."""
    n, m = (int(size) for size in rng.integers(1, 9, 2))
    every: dict[str, Any] = {
        "lam": float(rng.choice([0.0, 1e-3, 0.03, 0.2, 2.0])),
        "c": float(rng.choice([0.0, 1.0, 4.0])),
        "seed": int(rng.integers(100)),
        "scale": float(rng.choice([0.0, 0.9, 1.0, 2.0])),
        "t-end": float(rng.choice([0.0, 0.5, 30.0])),
        "rtol": float(rng.choice([1e-2, 1e-4])),
        "dtype": str(rng.choice(["float32", "float64"])),
        "backend": str(rng.choice(["auto", "numba"])),
        "save-at": [["log:3"], [0], [0, 0.25], [0.1, 0.5]][int(rng.integers(4))],
        "max-steps": int(rng.choice([1000, 50_000])),
        "max-seconds": 100.0,
        "feature-benefit": bool(rng.integers(2)),
        "interference": bool(rng.integers(2)),
        "regularization": bool(rng.integers(2)),
        "census": bool(rng.integers(2)),
        "overwrite": bool(rng.integers(2)),
        "quiet": bool(rng.integers(2)),
        "progress": bool(rng.integers(2)),
    }
    names = rng.permutation(sorted(every))[: int(rng.integers(0, 9))]
    chosen = {"n": n, "m": m} | {str(name): every[name] for name in names}
    if chosen.get("quiet"):
        chosen.pop("progress", None)
    if n > 2 * m or chosen.get("regularization") is False or chosen.get("lam") == 0.0:
        # Crowded neurons, and any without ℓ1, come to rest too slowly to wait for.
        chosen["t-end"] = min(chosen.get("t-end", 2.0), 2.0)
    if "save-at" in chosen and chosen.get("t-end", 1.0) < 0.5:
        chosen["save-at"] = ["log:3"]
    return chosen


def as_flags(settings, rng):
    """Settings in one of the spellings of the command line."""
    argv = []
    for name, value in settings.items():
        spelled = name.replace("-", "_") if rng.integers(4) == 0 else name
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            argv += [f"--{spelled}", *(str(item) for item in value)]
        elif rng.integers(2):
            argv.append(f"--{spelled}={value}")
        else:
            argv += [f"--{spelled}", str(value)]
    return argv


def as_toml(settings):
    def form(value):
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, list):
            return "[" + ", ".join(form(item) for item in value) + "]"
        return f'"{value}"' if isinstance(value, str) else repr(value)

    return "".join(f"{name} = {form(value)}\n" for name, value in settings.items())


def command(rng, folder):
    """A valid command line; some of its settings may come from a file."""
    settings = some_settings(rng)
    if rng.integers(2):
        return as_flags(settings, rng)
    in_file = {name: value for name, value in settings.items() if rng.integers(2)}
    path = folder / "flags.toml"
    path.write_text(as_toml(in_file))
    rest = {name: value for name, value in settings.items() if name not in in_file}
    return [*as_flags(rest, rng), "--config", str(path)]


WRONG_FLAGS = [
    ["--lam", "-1"],
    ["--lam=nan"],
    ["--lam", "inf"],
    ["--lam", "small"],
    ["--lam"],
    ["--lam", "0.1", "0.2"],
    ["--n", "0"],
    ["--n", "-3"],
    ["--m", "2.5"],
    ["--m", "0"],
    ["--n", "10000000", "--m", "100000000"],
    ["--c", "-1"],
    ["--scale", "-0.1"],
    ["--seed", "-1"],
    ["--seed", "one"],
    ["--rtol", "0"],
    ["--rtol", "1"],
    ["--t-end", "-1"],
    ["--t-end", "nan"],
    ["--dtype", "float16"],
    ["--backend", "fortran"],
    ["--backend", "exact", "--interference"],
    ["--save-at"],
    ["--save-at", "2", "1"],
    ["--save-at", "-1"],
    ["--save-at", "log:0"],
    ["--save-at", "log:3", "4"],
    ["--save-at", "7", "--t-end", "5"],
    ["--max-steps", "0"],
    ["--max-seconds", "-1"],
    ["--lambda", "0.1"],
    ["--no-lam"],
    ["--interference=false"],
    ["--interference", "off"],
    ["stray"],
    ["--mu", "-1"],
    ["--c-interference", "-1"],
    ["--leak", "-1"],
    ["--co-occurrence", "1"],
    ["--co-occurrence", "0.1", "--no-interference"],
    ["--co-occurrence", "0.1", "--leak", "1"],
    ["--co-occurrence", "0.1", "--n", "64"],
    ["--most-active", "2"],
    ["--leak", "1", "--no-interference"],
    ["--leak", "1", "--noise", "normal", "--sigma", "0.1"],
    ["--threads", "0"],
    ["--threads", "100000"],
    ["--checkpoint", "0", "--out", "run.npz"],
    ["--init", "{good}", "--sigma", "0.1"],
    ["--n", "4", "compare"],
    ["--quiet", "--progress"],
    ["--noise", "cauchy"],
    ["--noise"],
    ["--noise", "normal", "--sigma", "-1"],
    ["--noise", "normal", "--sigma", "1e200"],
    ["--noise", "none", "--sigma", "0.1"],
    ["--noise", "student-t"],
    ["--noise", "student-t:4"],
    ["--noise", "student-t:1001"],
    ["--noise", "bipolar:5"],
    ["--noise", "student-t:5", "--degrees", "5"],
    ["--noise", "bipolar", "--feature-benefit", "--no-interference", "--backend", "exact"],
    ["--init-time", "3"],
    ["--init", "missing.npz"],
    ["--init", "weights.csv"],
    ["--init", "{corrupt}"],
    ["--init", "{foreign}"],
    ["--init", "{vector}"],
    ["--init", "{nan}"],
    ["--init", "{integers}"],
    ["--init", "{text}"],
    ["--init", "{good}", "--n", "99"],
    ["--init", "{good}", "--seed", "1"],
    ["--init", "{good}", "--init-time", "3"],
    ["--out", "{exists}", "--no-overwrite"],
    ["--out", "{folder}/missing/run.npz"],
    ["--out", "run.txt"],
    ["--out"],
    ["--plot", "run.bmp"],
    ["--plot", "{folder}/missing/run.png"],
    ["--animate", "run.png"],
    ["--config", "{folder}/missing.toml"],
    ["--config", "{badtoml}"],
    ["--config"],
]

WRONG_TOML = {
    "lamb = 0.1\n": "did you mean lam?",
    "interferense = false\n": "did you mean interference?",
    "lam = -1\n": "expected a number >= 0",
    "lam = nan\n": "expected a number >= 0",
    "lam = true\n": "expected a value",
    "lam = [0.1]\n": "expected a number or text",
    "interference = 0\n": "expected true or false",
    "n = 2.5\n": "expected a whole number",
    "n = 1979-05-27\n": "expected a number or text",
    "save-at = [2, 1]\n": "expected increasing",
    "config = 'other.toml'\n": "expected names of flags",
    "[forces]\ninterference = false\n": "expected names of flags",
    "n = \n": "expected TOML",
    "noise = 'cauchy'\n": "expected one of none, bipolar",
    "noise = 'gaussian'\n": "did you mean normal?",
    "n = '64'\n": "n: expected a number, got the text '64'; leave the quotes out",
    "t_end = '5'\n": "t_end: expected a number",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Files that wrong flags point to."""
    folder = tmp_path_factory.mktemp("places")
    names = ("corrupt", "foreign", "vector", "nan", "integers", "text", "good", "exists")
    files = {name: folder / f"{name}.npz" for name in names}
    np.savez(files["good"], W=np.eye(3, 4))
    files["corrupt"].write_bytes(files["good"].read_bytes()[:200])
    np.savez(files["foreign"], weights=np.eye(3))
    np.savez(files["vector"], W=np.ones(3))
    np.savez(files["nan"], W=np.full((2, 2), np.nan))
    np.savez(files["integers"], W=np.ones((2, 2), int))
    files["text"].write_text("not an archive")
    files["exists"].write_text("precious")
    (folder / "badtoml.toml").write_text("n = = 3")
    return {**files, "badtoml": folder / "badtoml.toml", "folder": folder}


def assert_refused(code, capsys, argv):
    said = capsys.readouterr()
    assert code == 2, argv
    assert said.err.startswith("error: "), (argv, said.err)
    assert said.err.count("\n") == 1, (argv, said.err)
    assert "expected" in said.err, (argv, said.err)
    assert "got" in said.err, (argv, said.err)
    assert said.out == "", argv
    return said.err


@pytest.mark.parametrize("batch", range(BATCHES))
def test_valid_flags_run_and_invalid_ones_end_in_one_line(
    batch,
    tmp_path,
    places,
    monkeypatch,
    capsys,
):
    rng = np.random.default_rng(batch)
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in places["folder"].iterdir())
    for k in range(PER_BATCH):
        argv = command(rng, tmp_path)
        out = tmp_path / f"{k}.npz"
        if rng.integers(2):
            argv += ["--out", str(out)] if rng.integers(2) else []
            code = simulate.main(argv)
            said = capsys.readouterr()
            assert code == 0, (argv, said)
            assert out.exists() == (str(out) in argv)
            assert ("--quiet" in argv) <= (said.out == "")
        else:
            wrong = WRONG_FLAGS[int(rng.integers(len(WRONG_FLAGS)))]
            argv += ["--out", str(out)] if "--out" not in wrong else []
            argv += [word.format(**places) for word in wrong]
            assert_refused(simulate.main(argv), capsys, argv)
            assert not out.exists(), argv
    assert not list(tmp_path.glob(".*")), "a partial file was left behind"
    assert sorted(path.name for path in places["folder"].iterdir()) == before
    assert places["exists"].read_text() == "precious"


@pytest.mark.parametrize("wrong", WRONG_FLAGS, ids=" ".join)
def test_every_wrong_flag_is_refused(
    wrong,
    places,
    tmp_path,
    monkeypatch,
    capsys,
):
    monkeypatch.chdir(tmp_path)
    argv = [word.format(**places) for word in wrong]
    assert_refused(simulate.main(argv), capsys, argv)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("text", "remedy"), WRONG_TOML.items())
def test_every_wrong_file_of_flags_is_refused_by_name(text, remedy, tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    said = assert_refused(simulate.main(["--config", str(path)]), capsys, [text])
    assert remedy in said
    assert str(path) in said or "--no" in said


def test_an_unknown_flag_is_met_with_the_nearest_known_one(
    capsys,
):
    said = assert_refused(simulate.main(["--no-interferense"]), capsys, [])
    assert "did you mean --no-interference?" in said


# What flags mean ---------------------------------------------------------------------------------


def run(tmp_path, *argv, name="run.npz", code=0):
    path = tmp_path / name
    assert simulate.main([*argv, "--out", str(path), "--quiet"]) == code
    return Trajectory.load(path)


SMALL = ("--n", "6", "--m", "8")


def test_flags_win_over_the_file_of_flags(tmp_path):
    path = tmp_path / "flags.toml"
    path.write_text("n = 5\nm = 7\nlam = 0.5\ninterference = false\nsave-at = [0, 1, 2]\n")
    about = run(tmp_path, "--config", str(path), "--lam", "0.25", "--interference", "--m", "8")
    assert (about.parameters["n"], about.parameters["m"]) == (5, 8)
    assert {"name": "Regularization", "lam": 0.25} in about.parameters["forces"]
    assert Interference().to_dict() in about.parameters["forces"]
    assert about.parameters["save_at"] == [0.0, 1.0, 2.0]
    # A strength from the file for a force that a flag switches off is no contradiction.
    off = run(tmp_path, "--config", str(path), "--no-regularization", "--t-end", "3", name="b.npz")
    assert [force["name"] for force in off.parameters["forces"]] == ["FeatureBenefit"]


def test_a_run_from_the_command_line_is_the_run_of_the_library(tmp_path):
    from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate

    argv = [*SMALL, "--lam", "0.05", "--c", "4", "--seed", "3", "--scale", "0.9", "--rtol", "1e-4"]
    ours = run(tmp_path, *argv)
    W0 = gaussian_init(6, 8, seed=3, scale=0.9)
    theirs = integrate(
        [FeatureBenefit(4.0), Interference(4.0), Regularization(0.05)], W0, rtol=1e-4
    )
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    assert ours.metadata["seed"] == 3
    assert ours.metadata["scale"] == 0.9
    assert "--lam 0.05" in ours.metadata["command"]


def test_noise_from_the_command_line_is_the_noise_of_the_library(tmp_path, capsys):
    from flow import (
        NoisyFeatureBenefit,
        NoisyInterference,
        Regularization,
        gaussian_init,
        integrate,
    )

    argv = [*SMALL, "--noise", "student-t:7", "--sigma", "0.2", "--c", "4"]
    argv += ["--t-end", "3", "--out", str(tmp_path / "run.npz"), "--plot", str(tmp_path / "a.svg")]
    assert simulate.main(argv) == 0
    law = (0.2, "student-t:7", 4.0)
    forces = [NoisyFeatureBenefit(*law), NoisyInterference(*law), Regularization(0.01)]
    theirs = integrate(forces, gaussian_init(6, 8, seed=0), t_end=3.0)
    ours = Trajectory.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    said = capsys.readouterr().out
    assert "NoisyInterference (sigma 0.2, distribution student-t:7, strength 4" in said
    above = plots.bipartite(ours).get_suptitle()
    assert "c = 4, λ = 0.01, student-t:7 noise, σ = 0.2" in above
    assert "off" not in above
    alone = run(
        tmp_path, *SMALL, "--noise", "normal", "--no-interference", "--t-end", "1", name="alone.npz"
    )
    assert [f["name"] for f in alone.parameters["forces"]] == [
        "NoisyFeatureBenefit", "Regularization",
    ]  # fmt: skip


def test_no_flags_at_all_is_the_default_run():
    from flow.cli.options import SimulateOptions, read_options

    options, given = read_options(SimulateOptions, [], prog="simulate", description="")
    assert options == SimulateOptions()
    assert not given.flags


def test_pictures_do_not_change_the_run(tmp_path):
    plain = run(tmp_path, *SMALL)
    drawn = run(tmp_path, *SMALL, "--plot", str(tmp_path / "run.png"), name="drawn.npz")
    np.testing.assert_array_equal(plain.weights, drawn.weights)
    assert (tmp_path / "run.png").stat().st_size > 10_000


def test_log_save_times_are_even_in_log_t_and_end_at_t_end(tmp_path):
    saved = run(tmp_path, *SMALL, "--save-at", "log:5", "--t-end", "10").times
    np.testing.assert_array_equal(saved[0], 0.0)
    np.testing.assert_allclose(saved[1:], np.geomspace(0.1, 10.0, 5), rtol=1e-12)
    assert saved[-1] == 10.0


def test_a_closed_form_run_continues_up_to_rounding(tmp_path):
    # Its closed form counts from where it starts, so that rounding differs after a save point.
    argv = ["--no-interference", "--lam", "0.05", "--save-at", "3", "--t-end", "20"]
    whole = run(tmp_path, *SMALL, *argv)
    rest = run(tmp_path, *argv, "--init", str(tmp_path / "run.npz"), "--init-time", "3",
               name="rest.npz")  # fmt: skip
    assert whole.parameters["backend"] == rest.parameters["backend"] == "exact"
    np.testing.assert_allclose(rest.weights, whole.weights, rtol=0.0, atol=1e-13)


def test_forces_are_toggled_in_the_middle_of_a_run(tmp_path):
    first = run(tmp_path, *SMALL, "--no-interference", "--t-end", "5")
    second = run(tmp_path, "--init", str(tmp_path / "run.npz"), "--interference", "--t-end", "9",
                 name="second.npz")  # fmt: skip
    assert "Interference" in [f["name"] for f in second.parameters["forces"]]
    assert second.times[0] == first.times[-1] == 5.0
    np.testing.assert_array_equal(second.weights[0], first.final)
    assert second.metadata["init_about"]["metadata"]["seed"] == 0
    said = next(line for line in report.summary(second, None) if line.startswith("start"))
    assert said.endswith("; changed: interference off -> 1")


def test_superposition_is_told_of_the_end_where_it_is_asked_for(tmp_path, capsys):
    argv = ["--n", "9", "--m", "8", "--lam", "0.05", "--c", "2"]
    assert simulate.main([*argv, "--superposition", "--out", str(tmp_path / "run.npz")]) == 0
    told = capsys.readouterr().out
    W = Trajectory.load(tmp_path / "run.npz").final
    shape, basis = geometry(W), alignment(W)
    assert 0.0 < shape.dimensionality.sum() < 8.0
    assert (
        f"sum {shape.dimensionality.sum():.4g} of at most 8, mean "
        f"{shape.dimensionality.mean():.3g}; {shape.represented} of 9 features represented; "
        f"coherence {shape.coherence:.3g}"
    ) in told
    used = basis.features_per_neuron[W.any(axis=0)]
    assert f"{used.mean():.3g} features per neuron in use" in told
    assert f"{basis.neurons_per_feature.mean():.3g} neurons per feature" in told
    shared, unused = (np.count_nonzero(np.count_nonzero(W, axis=0) == k) for k in (2, 0))
    assert (
        f"{shared} shared neurons, {shared - unused} of them necessarily, {unused} unused" in told
    )
    assert simulate.main(argv) == 0
    assert "superposition" not in capsys.readouterr().out


def test_a_census_that_memory_has_no_room_for_is_refused_as_a_sweep_refuses_it(monkeypatch, capsys):
    shape = {"n": 8, "m": 16, "lam": 0.1}
    with_census, without = (Run(**shape, census=census).bytes for census in (True, False))
    argv = ["--n", "8", "--m", "16", "--lam", "0.1", "--t-end", "0", "--quiet"]
    monkeypatch.setattr(memory, "available_bytes", lambda: with_census - 1)
    assert without < with_census
    assert simulate.main(argv) == 0
    assert simulate.main([*argv, "--census"]) == 2
    assert "leave --census out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        ["--save-at", "0", "1", "2"],
        ["--t-end", "9", "--save-at", "log:3"],
        ["--plot", "run.png"],
    ],
    ids=["times", "log", "film"],
)
def test_what_is_kept_of_a_run_counts_as_memory(
    more,
    monkeypatch,
    capsys,
    tmp_path,
):
    monkeypatch.chdir(tmp_path)
    bare = Run(n=8, m=16, lam=0.1, census=False).bytes
    monkeypatch.setattr(memory, "available_bytes", lambda: bare)
    assert simulate.main(["--n", "8", "--m", "16", *more]) == 2
    assert "GiB of memory available" in capsys.readouterr().err


def test_help_tells_the_default_tolerance(capsys):
    from flow.defaults import DEFAULT_RTOL

    with pytest.raises(SystemExit):
        simulate.main(["--help"])
    told = re.search(r"per encoding\W+\(default:\W+([\d.e-]+)", capsys.readouterr().out)
    assert told
    assert float(told[1]) == DEFAULT_RTOL


def test_ctrl_c_saves_what_was_reached_and_says_130(tmp_path, monkeypatch):
    propose, calls = ProximalChebyshev.propose, []

    def interrupted(self, *args):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return propose(self, *args)

    monkeypatch.setattr(ProximalChebyshev, "propose", interrupted)
    reached = run(tmp_path, *SMALL, code=130)
    assert reached.status is Status.INTERRUPTED
    assert reached.times[-1] > 0.0
    monkeypatch.undo()
    rest = run(tmp_path, "--init", str(tmp_path / "run.npz"), name="rest.npz")
    assert rest.times[0] == reached.times[-1]
    assert rest.status is Status.STATIONARY


def test_a_run_that_gives_up_says_so_with_its_exit_code(tmp_path, capsys):
    assert simulate.main([*SMALL, "--max-steps", "3"]) == 1
    assert "not finished" in capsys.readouterr().out


def test_a_saddle_that_was_reached_is_a_failure_only_where_that_is_asked_for(tmp_path, capsys):
    # Two features with the same encoding: each alone would have the neuron, together neither gives.
    W = np.zeros((2, 3))
    W[:, 0] = 0.5
    np.savez(tmp_path / "tie.npz", W=W)
    argv = ["--init", str(tmp_path / "tie.npz"), "--lam", "0.01", "--out"]
    assert simulate.main([*argv, str(tmp_path / "a.npz"), "--quiet"]) == 0
    assert Trajectory.load(tmp_path / "a.npz").status is Status.SADDLE
    assert simulate.main([*argv, str(tmp_path / "b.npz"), "--quiet", "--strict"]) == 1
    assert capsys.readouterr() == ("", "")


def test_as_many_threads_as_asked_for_compute(tmp_path, monkeypatch):
    from flow.driver import threads

    asked, compute_with = [], threads.compute_with

    def noted(count):
        asked.append(count)
        return compute_with(count)

    monkeypatch.setattr(threads, "compute_with", noted)
    large = ["--n", "64", "--m", "256", "--t-end", "0.01"]
    many = run(tmp_path, *large)
    assert set(asked) == {available_threads()}
    asked.clear()
    one = run(tmp_path, *large, "--threads", "1", name="one.npz")
    assert set(asked) == {1}
    np.testing.assert_array_equal(many.final, one.final)


def test_a_file_of_flags_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "flags.toml"
    path.write_text("n = 3\nm = 4\n", encoding="utf-8-sig")
    assert run(tmp_path, "--config", str(path), "--t-end", "0").final.shape == (3, 4)


def test_a_checkpoint_needs_a_file(capsys):
    said = assert_refused(simulate.main([*SMALL, "--checkpoint", "1"]), capsys, [])
    assert "--checkpoint: expected --out FILE.npz with it" in said


def test_a_full_disk_ends_in_one_line_and_leaves_no_file(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    argv = [*SMALL, "--t-end", "1", "--out", str(tmp_path / "run.npz")]
    said = assert_refused(simulate.main(argv), capsys, argv)
    assert "No space left" in said
    assert not list(tmp_path.iterdir())


def test_compare_tells_and_saves_every_subset(tmp_path, capsys):
    out, picture = tmp_path / "c.npz", tmp_path / "c.png"
    argv = ["compare", *SMALL, "--lam", "0.05", "--out", str(out), "--plot", str(picture)]
    assert simulate.main(argv) == 0
    said = capsys.readouterr().out
    for name in ("all", "no-interference", "no-regularization", "no-feature-benefit"):
        assert f"\n{name} " in said
        kept = Trajectory.load(tmp_path / f"c.{name}.npz")
        np.testing.assert_array_equal(kept.weights[0], run(tmp_path, *SMALL, "--t-end", "0",
                                      name=f"{name}.npz").final)  # fmt: skip
    assert picture.exists()
    assert simulate.main(argv) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert simulate.main(["compare", "--subsets", "some"]) == 2


def test_a_run_that_overflows_is_not_drawn(tmp_path, capsys):
    pictures = [tmp_path / name for name in ("a.png", "b.gif", "c.png")]
    argv = ["--n", "4", "--m", "4", "--scale", "1e200", "--out", str(tmp_path / "run.npz")]
    for flag, path in zip(("--plot", "--animate", "--bipartite"), pictures, strict=True):
        argv += [flag, str(path)]
    assert simulate.main(argv) == 1
    said = capsys.readouterr().out
    assert "failed: a weight became infinite or NaN" in said
    assert not any(path.exists() for path in pictures)
    assert "run.npz" in said
    with pytest.raises(ValueError, match="expected a run with finite weights to draw, got NON_FIN"):
        Trajectory.load(tmp_path / "run.npz").plot()


def test_the_summary_counts_what_is_there(tmp_path, capsys):
    W = np.zeros((4, 5))
    W[0, 0], W[1, 0], W[2, 3] = 1.0, -1.0, 1.0
    np.savez(tmp_path / "w.npz", W=W)
    assert simulate.main(["--init", str(tmp_path / "w.npz"), "--lam", "0.01", "--census"]) == 0
    said = capsys.readouterr().out
    assert "1 dead, 1 monosemantic, 2 sharing, 0 spread, 0 not converged" in said
    assert "1 neuron (n²/4m: 0.8;" in said
    assert "1 benign collisions of initially largest weights: 1 both stayed" in said


# Through the shell -------------------------------------------------------------------------------


def shell(*argv, cwd, **env):
    return subprocess.run([sys.executable, *argv], cwd=cwd, env={**os.environ, **env},
                          capture_output=True, text=True, timeout=200, check=False)  # fmt: skip


def test_module_and_script_do_the_same(tmp_path):
    argv = [*SMALL, "--t-end", "3", "--out"]
    module = shell("-m", "flow.simulate", *argv, "a.npz", cwd=tmp_path, PYTHONPATH=str(ROOT))
    # Without the site's .pth files an editable install is as good as none.
    script = shell("-S", str(ROOT / "flow/simulate.py"), *argv, "b.npz", cwd=tmp_path,
                   PYTHONPATH=sysconfig.get_path("purelib"))  # fmt: skip
    assert (module.returncode, script.returncode) == (0, 0), module.stderr + script.stderr
    assert module.stdout.splitlines()[:4] == script.stdout.splitlines()[:4]
    a, b = Trajectory.load(tmp_path / "a.npz"), Trajectory.load(tmp_path / "b.npz")
    np.testing.assert_array_equal(a.weights, b.weights)


def test_help_and_complaints_do_not_wait_for_the_compiler(tmp_path):
    listing = (
        "import sys; from flow import simulate\n"
        "try: simulate.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'numba', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    for argv in (["--help"], ["compare", "--help"], ["--lam", "-1"]):
        said = shell("-c", listing, *argv, cwd=ROOT)
        assert said.stdout.splitlines()[-1] == "[]", said.stdout


def test_ctrl_c_saves_what_was_reached_and_exits_with_130(tmp_path):
    # Neurons without ℓ1 and a tight tolerance: minutes of work, which the signal cuts short.
    argv = [sys.executable, "-m", "flow.simulate", "--n", "64", "--m", "64", "--lam", "1e-4",
            "--rtol", "1e-8", "--out", "run.npz", "--progress"]  # fmt: skip
    with subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        told, deadline = b"", time.monotonic() + 150.0
        while b"step" not in told and time.monotonic() < deadline:
            told += process.stderr.read() or b""
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    reached = Trajectory.load(tmp_path / "run.npz")
    assert reached.status is Status.INTERRUPTED
    assert b"Traceback" not in told


def test_co_occurrence_takes_the_place_of_both_forces(tmp_path):
    words = ["--n", "4", "--m", "6", "--co-occurrence", "0.1", "--most-active", "2", "--c", "4"]
    about = run(tmp_path, *words)
    assert [force["name"] for force in about.parameters["forces"]] == [
        "CoOccurrence",
        "Regularization",
    ]
    assert about.forces[0] == CoOccurrence(0.1, 4.0, most_active=2)
