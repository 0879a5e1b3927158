"""The names of how a run ended."""

import pytest

from flow import Status


@pytest.mark.parametrize("status", Status, ids=lambda status: status.name)
def test_only_rest_and_the_end_asked_for_are_called_finished(status):
    """The sentence of a status begins with the verdict, for those who read no property."""
    assert status.finished == status.value.startswith(("stationary: ", "reached t_end"))


def test_no_two_statuses_share_a_sentence():
    """They would be one member of the enumeration under two names."""
    assert [status.name for status in Status] == list(Status.__members__)
