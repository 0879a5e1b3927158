"""The plateau with outputs that leak: what is measured of a run, and what the page says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.findings import plateau
from flow.analysis.statistics import mean_and_interval
from theory.universal import universal_law


def test_a_run_is_measured_where_it_passes_a_quarter_of_n():
    row = plateau.measure(12, 12, 0.0, 0)
    assert 0.3 < row["collapse"] < 2.0
    assert 0.25 < row["height"] <= 1.0
    assert 0.2 < row["active"] < 1.0
    linear = plateau.measure(12, 12, 1.0, 0)
    assert linear["overlap"] < 0.2 < row["overlap"]  # all overlaps are held near zero


def test_the_last_crossing_is_taken_and_a_curve_that_ends_above_has_none():
    t, share = np.arange(5.0), np.array([1.0, 0.2, 0.5, 0.3, 0.1])
    assert plateau._crossing(t, share, 0.25) == pytest.approx(3.25)
    assert np.isnan(plateau._crossing(t, share + 1.0, 0.25))


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_the_time_without_interference_is_where_the_universal_law_has_a_quarter_of_n(ratio):
    x = np.array([0.6, 1.0, 2.0, 3.0])
    law = universal_law(x)
    found = [plateau.alone(1.0 / (4.0 * share)) for share in law.survivors]
    np.testing.assert_allclose(found, law.time * np.sqrt(4.0 * law.survivors), rtol=1e-4)
    assert plateau.predicted(32, ratio) * np.sqrt(32) == pytest.approx(
        plateau.alone(ratio) * (1 + 32 * plateau.DELAY[ratio])
    )


def test_what_the_page_says_is_what_the_runs_say():
    runs = json.loads(plateau.FILE.read_text())["runs"]
    page = (plateau.FILE.parent / "README.md").read_text()
    assert plateau.table(runs) in page
    assert len({(row["n"], row["m"], row["leak"], row["seed"]) for row in runs}) == len(runs)


@pytest.mark.parametrize(("ratio", "low", "high"), [
    (1, 0.028, 0.0325), (2, 0.0088, 0.0108), (4, 0.0037, 0.0041), (8, 0.0008, 0.0017),
])  # fmt: skip
def test_the_delay_of_the_collapse_is_in_proportion_to_n_up_to_128(ratio, low, high):
    """K of theory/README, section 3, is the same at each n with ten runs, to their intervals."""
    for n in (64, 128):
        assert low < np.mean(delays(ratio, n)) / n < high


@pytest.mark.parametrize("ratio", [1, 2])
def test_beyond_it_grows_less(ratio):
    smaller, larger = (mean_and_interval(delays(ratio, n) / n) for n in (128, 256))
    assert larger[0] + larger[1] < smaller[0] - smaller[1]


def delays(ratio, n):
    """λt_c √n/T − 1 of the runs with ReLU outputs."""
    times = [row["collapse"] for row in json.loads(plateau.FILE.read_text())["runs"]
             if (row["leak"], row["m"], row["n"]) == (0.0, ratio * n, n)]  # fmt: skip
    return np.array(times) * np.sqrt(n) / plateau.alone(ratio) - 1.0
