"""Stacks: what is counted in a layer, and that every kind runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("jax")
from benchmarks.findings import deeper
from benchmarks.findings.training.runs import gather, pick
from benchmarks.findings.training.winners import WINNERS
from flow.training.setup import Training
from tests.strategies import relabelling, seeds, weights
from theory.ledger import find


@given(weights(n=(1, 6), m=(1, 8)), st.sampled_from([0.125, 0.5, 64.0]))
def test_counts_by_the_length_of_rows_do_not_see_the_scale_of_a_layer(W, factor):
    (one,), (other,) = deeper.layers([W]), deeper.layers([factor * W])
    seen = ("alive", "above_0.3", "above_0.1", "nonzeros", "benign", "malign", "pairs")
    assert [one[name] for name in seen] == [other[name] for name in seen]
    assert other["length"] == pytest.approx(factor * one["length"])
    assert one["above_0.3"] <= one["above_0.1"]


@given(seeds)
def test_company_is_kept_by_a_layer_that_only_renames_neurons_and_by_none_that_parts_all(seed):
    rng = np.random.default_rng(seed)
    W = np.zeros((6, 5))
    W[np.arange(6), [0, 0, 1, 1, 1, 3]] = rng.choice([-1.0, 1.0], 6)
    _, order, signs = relabelling(rng, W)
    first, second, third = deeper.layers([W, (W * signs)[:, order], np.eye(6)])
    assert first["pairs"] == second["pairs"] == second["kept_from_below"] == 4
    assert first["benign"] + first["malign"] == 4
    assert first["window"] == first["above_0.3"] == 2
    assert (third["pairs"], third["kept_from_below"], third["nonzeros"]) == (0, 0, 1.0)


@pytest.mark.parametrize("kind", deeper.KINDS)
def test_every_kind_is_trained_and_counted_in_every_layer(kind):
    training = Training(network=deeper.KINDS[kind], optimizer=deeper.METHODS["gradient descent"][0])
    runs = deeper.measure(
        training, n=4, widths=(5, 6), kind=kind, method="gradient descent", seeds=range(2), steps=20
    )
    assert [run["seed"] for run in runs] == [0, 1]
    for run in runs:
        assert run["loss"][1] < run["loss"][0]
        assert [layer["width"] for layer in run["layers"]] == [5, 6]
    columns, rows = deeper.table(runs)
    assert len(rows) == 2
    assert {len(row) for row in rows} == {len(columns)}


def test_the_runs_of_one_layer_that_are_shipped_count_what_those_of_winners_do():
    kept = gather(deeper.QUESTION, deeper.FILE, until=0.0)
    ones = [run for run in pick(kept, n=64, kind="tied", method="gradient descent")
            if len(run["widths"]) == 1]  # fmt: skip
    winners = gather(WINNERS, WINNERS.file, until=0.0)
    for run in ones:
        (other,) = pick(
            winners, m=run["widths"][0], seed=run["seed"], method="gradient descent, η = 0.02"
        )
        assert run["layers"][0]["window"] == other["polysemantic_window"]
    assert {(run["widths"][0], run["seed"]) for run in ones} >= {
        (m, seed) for m in (64, 128) for seed in range(10)
    }


def test_what_the_ledger_says_of_depth_is_what_was_measured():
    said = find("depth").statement
    runs = pick(gather(deeper.QUESTION, deeper.FILE, until=0.0), kind="tied", method="AdamW")

    def share(ratio, depth):
        """Polysemantic neurons of the last layer per feature, at both sizes together."""
        each = [
            [run["layers"][-1]["above_0.3"] / n for run in pick(runs, n=n)
             if run["widths"] == depth * [ratio * n]]
            for n in (32, 64)
        ]  # fmt: skip
        assert [len(of_size) for of_size in each] == [10, 10]
        small, large = map(np.mean, each)
        assert abs(small - large) < 0.1 * large
        return f"{np.mean(each):.2f}"

    at = {ratio: ", ".join(share(ratio, depth) for depth in (1, 2, 3)) for ratio in (1, 2)}
    assert f"{at[1]} at m = n and {at[2]} at m = 2n (AdamW)" in said


def test_the_page_of_all_layers_is_that_of_the_runs():
    kept = deeper.FILE.with_suffix(".md").read_text(encoding="utf-8")
    assert kept == deeper.page(deeper.FILE)


def test_cases_have_names_of_their_own_and_the_reduced_part_shares_those_of_one_layer():
    whole = [case.name for case in deeper.WHOLE]
    reduced = [case.name for case in deeper.REDUCED]
    assert len(set(whole)) == len(whole)
    assert len(set(reduced)) == len(reduced)
    assert set(whole) & set(reduced) == {
        f"n=64 tied {m} gradient descent seeds {seeds}"
        for m in (64, 128)
        for seeds in ("0-4", "5-9")
    }
