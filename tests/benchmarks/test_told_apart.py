"""Told apart: how the use of neurons is read where weights are not one-hot, and what is done."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("jax")
from benchmarks.findings import told_apart
from benchmarks.findings.told_apart import FAMILIES, Trial, reading
from benchmarks.findings.training.runs import gather
from flow.training import train
from tests.strategies import log_uniform, one_hot_weights, relabelling, seeds, weights
from theory.ledger import find
from theory.occupancy import occupancy


@given(weights(n=(1, 8), m=(1, 8)), log_uniform(0.01, 100.0))
def test_those_that_share_less_unused_neurons_are_the_features_beyond_the_neurons(W, factor):
    """For any W, however its rows look, and at any scale."""
    W[0] *= 0.01
    seen, other = reading(W), reading(factor * W)
    living = int((seen.neuron >= 0).sum())
    assert seen.sharing - seen.use.unused == living - W.shape[1]
    assert seen.use.features + seen.crowd == living
    assert seen.incidental == seen.sharing - max(0, living - W.shape[1])
    assert (other.use, other.crowd, other.winners) == (seen.use, seen.crowd, seen.winners)


@given(one_hot_weights(), seeds)
def test_one_hot_weights_are_read_as_theory_reads_them(W, seed):
    W = np.sign(W)
    seen = reading(W)
    assert seen.use == occupancy(W)
    assert seen.crowd == 0
    assert seen.winners == 1.0 or not W.any()
    rows, order, signs = relabelling(np.random.default_rng(seed), W)
    renamed = reading((W * signs)[rows][:, order])
    assert (renamed.use, renamed.crowd) == (seen.use, 0)


def test_a_crowd_are_features_in_a_slot_that_is_taken():
    seen = reading(np.array([[1.0, 0.2], [0.9, 0.0], [-1.0, 0.1], [0.5, 0.6], [0.001, 0.0]]))
    assert (seen.use.shared, seen.use.single, seen.use.unused, seen.crowd) == (1, 1, 0, 1)
    assert seen.neuron.tolist() == [0, 0, 0, 1, -1]
    assert seen.winners == 0.75
    assert not seen.read


@given(st.sampled_from([3, 4, 6, 9]), seeds)
def test_planted_slots_are_forced_only_or_any(m, seed):
    rng = np.random.default_rng(seed)
    forced = reading(told_apart.slots("forced only", 6, m, rng))
    assert (forced.incidental, forced.crowd, forced.use.features) == (0, 0, 6)
    law = reading(told_apart.slots("slot law", 6, m, rng))
    assert (law.crowd, law.use.features) == (0, 6)


def test_planted_starts_have_the_occupancy_in_every_layer_and_differ_from_seed_to_seed():
    family = FAMILIES["two layers"]
    (first, _), (second, _) = told_apart.planted(family, "forced only", 48, range(3))
    for W, V in zip(first, second, strict=True):
        below, above = reading(W), reading(W @ V)
        assert below.incidental == above.incidental == 0
        assert below.use == above.use
    assert not np.allclose(first[0], first[1])


@pytest.mark.parametrize("name", ["one layer, tied", "two layers", "untied"])
def test_a_neuron_that_is_duplicated_leaves_the_outputs_as_they_were(name):
    """But for the square of the noise; in another's place, what that one did for them is gone."""
    family = replace(FAMILIES[name], n=6)
    before = told_apart.drawn(family, 5, [3])
    trial = Trial(seed=3, neuron=1, pair=np.array([0, 1]), least=4)

    def image(layers):
        made = back = np.eye(6)
        for decoder, encoder in layers:
            made = made @ (decoder if encoder is None else encoder)[0]
            back = back @ decoder[0]
        return made @ back.T

    added = told_apart.edited(before, trial, 7, added=True)
    assert added[-1][0].shape[2] == 6
    assert 0.0 < np.abs(image(added) - image(before)).max() < 20 * told_apart.NOISE**2
    instead = told_apart.edited(before, trial, 7, added=False)
    assert instead[-1][0].shape == before[-1][0].shape
    np.testing.assert_array_equal(instead[-1][0], np.delete(added[-1][0], 4, axis=2))


def test_trials_are_neurons_with_two_features_and_what_is_used_least():
    W = np.zeros((6, 5))
    W[[0, 1], 0] = 1.0, -1.0
    W[[2, 3, 4], 1] = 1.0, -1.0, 1.0
    W[5, [2, 3]] = 1.0, 0.2
    (trial,) = told_apart.trials(11, W, np.random.default_rng(0))
    assert (trial.seed, trial.neuron, trial.least) == (11, 0, 4)
    assert trial.pair.tolist() == [0, 1]


def test_without_cost_all_of_it_must_be_so():
    good = {"parted": True, "died": 0, "fewer": 1, "cost": 0.01}
    assert told_apart.without_cost(good, 4.0)
    for bad in ({"parted": False}, {"died": 1}, {"fewer": 0}, {"cost": 0.11}):
        assert not told_apart.without_cost({**good, **bad}, 4.0)


def test_a_family_is_trained_read_and_duplicated():
    name = "two layers"
    family = replace(FAMILIES[name], n=10)
    runs = told_apart.measure(
        family.training, name=name, family=family, m=7, seeds=range(2), steps=10
    )
    layers = [run for run in runs if "layer" in run]
    assert len(layers) == 3 * 2 * family.depth
    assert {run["seed"] for run in layers} == {0, 1}
    for table in (told_apart.found, told_apart.known, told_apart.parted):
        columns, rows = table(runs)
        assert {len(row) for row in rows} <= {len(columns)}


def test_the_loss_on_fresh_inputs_is_that_of_the_run_where_nothing_is_drawn():
    """And with co-occurrence that of one at a time as p → 0, each feature weighing as much."""
    family = FAMILIES["one layer, tied"]
    W = told_apart.drawn(family, 8, [0])[0][0]
    (run,) = train(family.training, W, steps=0)
    exact = told_apart.expected_loss(family.training, run)
    assert exact == run.loss[-1]
    (drawn,) = train(
        replace(family.training, data=replace(FAMILIES["together, p = 0.1"].training.data,
                                              probability=None)),
        W, steps=0,
    )  # fmt: skip
    assert told_apart.expected_loss(
        replace(family.training, data=replace(family.training.data, batch=1)), drawn
    ) == pytest.approx(exact, rel=0.1)


def test_what_the_ledger_quotes_is_what_was_measured():
    runs = gather(told_apart.QUESTIONS[0], told_apart.FILE, until=0.0)
    planted = [run for run in runs if run.get("start") in told_apart.STARTS[1:]]
    read = [run for run in planted if told_apart.is_read(run)]
    other = [run for run in read if not told_apart.as_planted(run)]
    parted = [run for run in other if run["family"] != "contexts"]
    assert {(run["family"], run["m"], run["start"]) for run in parted} == {
        ("together, p = 0.1", 48, "slot law")
    }
    assert {told_apart.use_of(run).shared for run in parted} == {0}
    said = find("incidental-or-necessary").statement
    assert f"in {len(read) - len(other)} of the {len(read)} layers" in said
    assert f"in the other {len(other)} training" in said

    def costless(families, *, unused):
        """Of copies in the place of the least used neuron."""
        some = [
            run for run in runs
            if run.get("intervention") == "instead" and run["family"] in families
            and (run["before"]["unused"] > 0) == unused
        ]  # fmt: skip
        return [told_apart.without_cost(run, 4.0) for run in some]

    single = {"one layer, tied", "AdamW", "untied"}
    assert costless(single, unused=False) == [False] * 120
    good = costless(single, unused=True)
    assert f"({sum(good)} of {len(good)} trials with one layer), and in none of 120" in said
    stacks = [run for run in runs if run.get("intervention") and run["family"] == "two layers"]
    assert not any(run["parted"] for run in stacks)
    assert f"0 of {len(stacks)}" in find("duplication").statement
