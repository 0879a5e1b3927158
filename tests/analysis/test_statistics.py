"""Intervals of shares: Wilson's, as SciPy has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from flow.analysis.statistics import share_interval


@given(trials=st.integers(1, 10_000), part=st.floats(0.0, 1.0), level=st.floats(0.5, 0.999))
def test_the_interval_of_a_share_is_scipys_and_ends_at_none_and_all(trials, part, level):
    successes = round(part * trials)
    low, high = share_interval(successes, trials, level=level)
    expected = binomtest(successes, trials).proportion_ci(level, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
    assert (low == 0.0) == (successes == 0)
    assert (high == 1.0) == (successes == trials)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 3), (4, 3)])
def test_a_share_of_nothing_is_refused(successes, trials):
    with pytest.raises(ValueError, match="expected 0 <= successes <= trials"):
        share_interval(successes, trials)
