"""Who wins, and the tilt: what the pages say of the map and of the predicted sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.findings import winning as findings
from paper_figures import winning


@pytest.fixture(scope="module")
def data():
    return winning.compute(winning.FULL)


@pytest.mark.parametrize("k", range(3))
def test_the_closed_form_is_within_what_is_claimed_where_it_is_claimed(data, k):
    """0.025 and 3.5 standard errors of each cell: a false alarm in 2,000."""
    n, m, eps, share, error = data[f"map{k}"].T
    claimed = (m >= 4 * n) & (eps >= 1) & (eps <= 8)
    assert claimed.sum() >= 8
    law = np.interp(np.log(eps), np.log(data["curve"]), data[f"law{k}"])
    assert np.all(np.abs(share - law)[claimed] < 0.025 + 3.5 * error[claimed])


def test_the_scaling_fails_at_as_many_neurons_as_features_for_small_lambda_alone(data):
    """At ε = 8, n = m = 64 against n = 256, m = 1024, by three standard errors (one in 1,000)."""
    gaps = []
    for k in (0, 2):
        rows = {tuple(row[:2]): row[3:] for row in data[f"map{k}"]}
        (few, half), (many, other) = rows[64.0, 64.0], rows[256.0, 1024.0]
        gaps.append((many - few, np.hypot(half, other) / 1.96))
    assert gaps[0][0] > 3 * gaps[0][1]
    assert gaps[1][0] < 3 * gaps[1][1]


def test_predictions_are_those_that_the_map_gives_and_their_runs_are_all_there():
    kept = json.loads(findings.FILE.read_text())
    assert kept["predicted"] == findings.predicted()
    assert len(kept["observed"]) == len(kept["predicted"]) == 20
    assert min(line["runs"] for line in kept["observed"]) >= 60
    page = (findings.HERE / "README.md").read_text()
    assert findings.table(kept) in page
