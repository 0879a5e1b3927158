"""Which futures a page asks for, and that it draws what comes of them as soon as it can."""

from __future__ import annotations

import pytest
from bokeh.document import Document

from flow.explore.links import from_link
from flow.explore.page import Page
from flow.explore.scene import parts, scene
from flow.explore.session import Session
from flow.explore.state import State
from flow.explore.worker import Answer, Ask

SMALL = "?n=16&m=24&seed=3&lam=0.03"
START = State(n=4, m=6, lam=0.05)
ONE, TWO = (from_link(f"?n=4&m=6&lam=0.05&{change}") for change in ("lam=0.1@3", "c=2@5"))


class Waiting:
    """A worker that answers when a test says so."""

    def __init__(self) -> None:
        self.asked = {}

    def ask(self, who, kind, arguments, take) -> None:
        self.asked[kind] = (Ask(who, kind, len(self.asked), arguments), take)

    def last(self, kind: str) -> State:
        """The last state that this kind of job was asked for."""
        return self.asked[kind][0].arguments[0]


@pytest.fixture
def worker():
    return Waiting()


@pytest.fixture
def session(worker):
    found = Session(Document(), worker, START)
    found.go_to(ONE)
    found.go_to(TWO)
    return found


def give(worker: Waiting, session: Session, kind: str, *values: object) -> None:
    ask, take = worker.asked[kind]
    for value in values:
        take(Answer(ask, False, value))
        for callback in session.document.session_callbacks:
            callback.callback()


def drawn(page: Page) -> dict[str, dict]:
    rows = page.panels.followed.data
    return dict(zip(rows["name"], rows["columns"], strict=True))


def test_w_is_drawn_before_the_rest_and_the_curve_without_interference_after_it(worker):
    state = from_link(SMALL)
    session = Session(Document(), worker, state)
    page = session.page
    first, rest, last = parts(state)
    give(worker, session, "scene", first)
    assert page.panels.sketched.data["name"] == ["frames", "order", "words"]
    assert drawn(page) == {}
    give(worker, session, "scene", rest)
    assert "exact" not in drawn(page)
    assert len(drawn(page)["steps"]["t"]) > 0
    assert len(page.panels.sources["exact"].data["t"]) == 0
    give(worker, session, "scene", last)
    assert len(page.panels.sources["exact"].data["t"]) > 0


def test_a_branch_waits_for_what_it_branched_off_and_keeps_what_came_before(worker):
    state = from_link(SMALL + "&off=interference@4.7")
    session = Session(Document(), worker, state)
    give(worker, session, "scene", *parts(state))
    assert drawn(session.page) == {}
    give(worker, session, "before", scene(state.parent))
    columns = drawn(session.page)
    assert len(columns["exact"]["t"]) > 0
    assert len(columns["frames_before"]["t"]) > 0


def test_beside_a_future_stands_the_one_it_branched_off_unless_another_is_chosen(session, worker):
    assert session.futures == [START, TWO, ONE] or session.futures == [START, ONE, TWO]
    assert worker.last("before") == START
    beside = session.page.controls["beside"]
    assert [value for value, _ in beside.options] == ["", "0", "1", "2"]
    beside.value = str(session.futures.index(ONE))
    assert session.other == ONE
    assert (worker.last("scene"), worker.last("before")) == (TWO, ONE)
    session.go_to(START)
    assert (session.other, worker.last("before")) == (ONE, ONE)
    session.go_to(ONE)
    assert (session.other, worker.last("before")) == (START, START)
    beside.value = ""
    session.go_to(TWO)
    assert session.other == START


def test_a_future_that_is_chosen_comes_beside_without_a_new_sketch(session, worker):
    beside, panels = session.page.controls["beside"], session.page.panels
    session.go_to(START)
    give(worker, session, "scene", *parts(START))
    sketched = panels.sketched.data
    for other, name in ((ONE, "lam=0.1@3"), (TWO, "c=2@5")):
        beside.value = str(session.futures.index(other))
        give(worker, session, "before", scene(other))
        columns = drawn(session.page)
        assert name in columns["words"]["other"]
        assert len(columns["frames_before"]["said_graph"]) == len(columns["frames_before"]["t"]) > 0
    beside.value = ""
    columns = drawn(session.page)
    assert columns["words"]["other"] == ""
    assert {len(column) for column in columns["frames_before"].values()} == {0}
    assert panels.sketched.data is sketched


def test_a_future_that_is_gone_stands_beside_none(session):
    session.page.controls["beside"].value = str(session.futures.index(ONE))
    session.go_to(State(n=4, m=6, lam=0.05, seed=1))
    assert session.other is None
    assert session.page.controls["beside"].value == ""


def test_what_cannot_be_branched_is_said_and_nothing_is_asked(session, worker):
    worker.asked.clear()
    data = {"t": [7.0], "kind": ["flip the weight"], "value": [None]}
    session.page.branching.data = {**data, "feature": [None], "neuron": [None]}
    assert "got none; click" in session.page.panels.lines["progress"].text
    assert session.state == TWO
    assert worker.asked == {}
