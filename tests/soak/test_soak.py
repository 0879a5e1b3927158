"""A minute of the soak finds nothing."""

import sys

import pytest

from tests.soak.__main__ import soak


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="looks at memory in /proc")
def test_a_minute_of_random_runs_kills_and_limits_finds_no_fault():
    total, faults = soak(minutes=1.0, seed=0, workers=2, memory_runs=300)
    assert faults == []
    assert total["runs"] > 50
