"""Fewer neurons than features: the occupancies that are kept, and what the page says of them."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.findings import fewer
from theory.counting import fit_tilt
from theory.occupancy import Occupancy


def test_occupancies_of_the_runs_keep_the_identity_and_the_page_has_their_table():
    runs = json.loads(fewer.FILE.read_text())["runs"]
    for run in runs:
        at = dict(zip(fewer.COLUMNS, run, strict=True))
        if at["one_hot"]:
            use = Occupancy(shared=at["shared"], single=at["single"], unused=at["unused"])
            assert use.neurons == at["m"]
            assert use.features == at["n"] - at["dead"]
    assert fewer.table(runs) in (fewer.FILE.parent / "README.md").read_text()


def test_at_small_lambda_more_neurons_are_shared_than_have_to_be_wherever_one_could_be_spared():
    """n = 64: U by more than five standard errors from none, at every m from 40 on."""
    runs = json.loads(fewer.FILE.read_text())["runs"]
    for m in (40, 48, 56, 64):
        at = [dict(zip(fewer.COLUMNS, run, strict=True)) for run in runs
              if run[:3] == [64, m, 0.01]]  # fmt: skip
        unused = np.array([row["unused"] for row in at if row["one_hot"]])
        assert unused.size >= 30
        assert unused.mean() > 5 * unused.std(ddof=1) / np.sqrt(unused.size)


def test_a_run_with_a_feature_on_several_neurons_is_counted_and_in_no_mean():
    rows = [[4, 4, 0.1, 1, 2, 1, 0, 1], [4, 4, 0.1, 1, 2, 1, 0, 1], [4, 4, 0.1, 0, 0, 0, 0, 0]]
    line = fewer.table(rows).splitlines()[-1]
    assert "| 2 of 3 " in line
    tilt = fit_tilt([1, 1], 4, 4)
    assert f"{tilt.theta:.2f} ({tilt.low:.2f}–{tilt.high:.2f})" in line
