"""The benchmark of noise: what it counts, and that every part runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.findings.noise.__main__ import PARTS, main
from benchmarks.findings.noise.counts import carriers
from benchmarks.findings.noise.protocol import CARRIED
from tests.strategies import weights


@given(W=weights(n=(1, 5), m=(1, 9)), zeros=st.integers(0, 4))
def test_a_feature_is_on_the_fewest_neurons_that_carry_most_of_it(W, zeros):
    W = np.pad(W, ((0, 1), (0, zeros)))
    on = carriers(W)
    np.testing.assert_array_equal(on, np.where(on != 0.0, W, 0.0))
    for row, kept in zip(W, on, strict=True):
        share = np.sum(kept**2)
        assert share >= CARRIED * np.sum(row**2) * (1 - 1e-12)
        if kept.any():
            smallest = np.min(np.abs(kept[kept != 0.0]))
            assert share - smallest**2 < CARRIED * np.sum(row**2) * (1 + 1e-12)
            assert smallest >= np.max(np.abs(row[kept == 0.0]), initial=0.0)
    np.testing.assert_array_equal(carriers(-3.0 * W), -3.0 * on)


@pytest.mark.long
def test_every_part_runs_and_keeps_valid_json(tmp_path):
    out = tmp_path / "noise.json"
    main(fast=True, out=out)
    kept = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert set(kept) == {*PARTS, "counts"}
    for part in kept.values():
        assert part["rows"]
        assert all(len(row) == len(part["columns"]) for row in part["rows"])
    runs = len(kept["counts"]["runs"]["seed"])
    main(("counts",), fast=True, out=out)
    assert len(json.loads(out.read_text())["counts"]["runs"]["seed"]) == runs
