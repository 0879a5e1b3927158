"""Flipped collisions: who counts as staying, races against the closed form, runs kept."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.findings import flips
from benchmarks.findings.flips import Branch, Pair
from flow import FeatureBenefit, Interference, Regularization, Simulation
from flow.analysis.pairs import collisions
from tests.strategies import seeds, sparse_weights
from theory.ledger import find


@given(sparse_weights(n=(2, 8), m=(1, 6)))
def test_pairs_flipped_at_once_have_no_weight_in_common_and_leave_none_out_that_could_join(W):
    met = collisions(W)
    rng = np.random.default_rng(0)
    pairs = flips._pairs(met, np.arange(met.first.size), rng, tie=False)
    for pair in pairs:
        assert abs(W[pair.larger, pair.neuron]) >= abs(W[pair.smaller, pair.neuron]) > 0.0
    apart = flips._apart(pairs)
    used = [(i, p.neuron) for p in apart for i in (p.larger, p.smaller)]
    assert len(used) == len(set(used))
    for pair in set(pairs) - set(apart):
        assert {(pair.larger, pair.neuron), (pair.smaller, pair.neuron)} & set(used)


@given(seeds, st.sampled_from([(1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (1, 0), (0, 0)]))
def test_a_feature_stays_with_the_sign_that_it_was_given(seed, kept):
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(4, 3))
    end = start.copy()
    end[:2, 1] *= kept
    branch = Branch([Pair(0, 1, 1)], start, end, None)
    names = {True: {True: "both", False: "larger"}, False: {True: "smaller", False: "none"}}
    expected = names[kept[0] > 0][kept[1] > 0]
    counted = flips._count([branch], start)
    assert counted["fates"] == {expected: 1}
    assert counted["others"] == [0]
    end[3] = 0.0
    end[3, (np.argmax(np.abs(start[3])) + 1) % 3] = 1.0
    assert flips._count([branch], start)["others"] == [1]


def test_a_benign_pair_at_rest_made_malign_is_the_closed_forms_race():
    lam, w = 0.02, 0.98979
    W = np.zeros((3, 4))
    W[0, 1], W[1, 1], W[2, 3] = w, -w, w
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    sim = Simulation(forces, W, events=True)
    sim.run()
    assert np.count_nonzero(sim.W) == 3
    branch = flips._branch(sim, [Pair(0, 1, 1)], "one", nudged=True)
    assert branch.start[0, 1] == flips.NUDGE * sim.W[0, 1]
    assert branch.start[1, 1] == -sim.W[1, 1]
    (race,) = flips._race(branch, lam, sim.t)
    assert race["larger_stayed"]
    assert race["found"] == pytest.approx(race["foreseen"], rel=0.1)  # first order in λ
    assert flips._count([branch], sim.W) == {
        "pairs": 1, "fates": {"larger": 1}, "neuron": {"1": 1}, "dead": 1, "others": [0],
    }  # fmt: skip
    both = flips._branch(sim, [Pair(0, 1, 1)], "both", nudged=True)
    assert flips._count([both], sim.W)["fates"] == {"both": 1}
    assert flips._race(both, lam, sim.t) == []


def test_a_run_is_made_once_and_counts_every_pair_under_every_treatment(tmp_path, capsys):
    out = tmp_path / "flips.json"
    flips.main(n=10, m=12, lam=0.05, seeds=2, out=out)
    said = capsys.readouterr().out
    assert said.count("untouched") >= 2
    before = out.read_bytes()
    kept = json.loads(before, parse_constant=pytest.fail)
    assert set(kept["runs"]) == {"0", "1"}
    for line in (line for run in kept["runs"].values() for line in run):
        assert line["pairs"] == sum(line["fates"].values()) == sum(line["neuron"].values())
        if line["treatment"] == "untouched":
            assert line["others"] == [0]
    flips.main(n=10, m=12, lam=0.05, seeds=2, out=out, max_seconds=0.0)
    assert capsys.readouterr().out == said
    assert out.read_bytes() == before


def test_what_the_ledger_says_of_flips_is_what_was_measured():
    runs = json.loads(Path("benchmarks/findings/flips.json").read_text(encoding="utf-8"))["runs"]
    lines = [line for run in runs.values() for line in run]

    def both(kind, treatment):
        """Pairs of which both features stay, and pairs, at each time."""
        stay, pairs = Counter(), Counter()
        for line in lines:
            if (line["kind"], line["treatment"]) == (kind, treatment):
                stay[line["when"]] += line["fates"].get("both", 0)
                pairs[line["when"]] += line["pairs"]
        return stay, pairs

    said = find("benign-makes-polysemantic").statement
    stay, pairs = both("benign", "one")
    assert stay.total() == 1
    assert f"of {pairs.total()} benign pairs made malign before or at rest one stays" in said
    stay, pairs = both("benign", "untouched")
    shares = [round(100 * stay[when] / pairs[when]) for when in pairs]
    assert f"{min(shares)} to {max(shares)} % untouched" in said
    stay, pairs = both("malign", "one")
    assert stay.total() == 0
    assert f"of {pairs.total()} malign pairs made benign one at a time none stays" in said
