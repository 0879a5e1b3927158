"""A minute of the soak finds no fault."""

import pytest

from tests.soak.soak import KINDS, Soak


def test_kinds_of_cases_are_drawn_with_probabilities():
    assert sum(KINDS.values()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.long
def test_a_minute_of_random_cases_finds_no_fault(tmp_path):
    soak = Soak(1.0, 0, 2, tmp_path / "soak.jsonl")
    soak.run()
    assert soak.counts["cases"] > 0
    assert soak.faults == [], soak.table()
