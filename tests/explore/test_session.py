"""Which futures a page shows and which it asks for."""

from __future__ import annotations

import pytest
from bokeh.document import Document

from flow.explore.links import from_link
from flow.explore.session import Session
from flow.explore.state import State

START = State(n=4, m=6, lam=0.05)
ONE, TWO = (from_link(f"?n=4&m=6&lam=0.05&{change}") for change in ("lam=0.1@3", "c=2@5"))


class Asked:
    """A worker that only remembers the last state that each kind of job was asked for."""

    def __init__(self) -> None:
        self.last: dict[str, State] = {}

    def ask(self, _who, kind, arguments, _take) -> None:
        self.last[kind] = arguments[0]


@pytest.fixture
def worker():
    return Asked()


@pytest.fixture
def session(worker):
    found = Session(Document(), worker, START)
    found.go_to(ONE)
    found.go_to(TWO)
    return found


def test_beside_a_future_stands_the_one_it_branched_off_unless_another_is_chosen(session, worker):
    assert session.futures == [START, TWO, ONE] or session.futures == [START, ONE, TWO]
    assert worker.last["before"] == START
    beside = session.page.controls["beside"]
    assert [value for value, _ in beside.options] == ["", "0", "1", "2"]
    beside.value = str(session.futures.index(ONE))
    assert session.other == ONE
    assert (worker.last["scene"], worker.last["before"]) == (TWO, ONE)
    session.go_to(START)
    assert (session.other, worker.last["before"]) == (ONE, ONE)
    session.go_to(ONE)
    assert (session.other, worker.last["before"]) == (START, START)
    beside.value = ""
    session.go_to(TWO)
    assert session.other == START


def test_a_future_that_is_gone_stands_beside_none(session):
    session.page.controls["beside"].value = str(session.futures.index(ONE))
    session.go_to(State(n=4, m=6, lam=0.05, seed=1))
    assert session.other is None
    assert session.page.controls["beside"].value == ""


def test_what_cannot_be_branched_is_said_and_nothing_is_asked(session, worker):
    worker.last.clear()
    data = {"t": [7.0], "kind": ["flip the weight"], "value": [None]}
    session.page.branching.data = {**data, "feature": [None], "neuron": [None]}
    assert "got none; click" in session.page.panels.lines["progress"].text
    assert session.state == TWO
    assert worker.last == {}
