"""A page draws what comes of its run as soon as it comes, in whatever order."""

from __future__ import annotations

from bokeh.document import Document

from flow.explore.links import from_link
from flow.explore.page import Page
from flow.explore.scene import parts, scene
from flow.explore.session import Session
from flow.explore.worker import Answer, Ask

SMALL = "?n=16&m=24&seed=3&lam=0.03"


class Waiting:
    """A worker that answers when a test says so."""

    def __init__(self):
        self.asked = {}

    def ask(self, who, kind, arguments, take):
        self.asked[kind] = (Ask(who, kind, len(self.asked), arguments), take)


def give(worker: Waiting, session: Session, kind: str, value: object) -> None:
    ask, take = worker.asked[kind]
    take(Answer(ask, False, value))
    for callback in session.document.session_callbacks:
        callback.callback()


def drawn(page: Page) -> dict[str, dict]:
    rows = page.panels.followed.data
    return dict(zip(rows["name"], rows["columns"], strict=True))


def test_w_is_drawn_before_the_rest_and_the_curve_without_interference_after_it():
    state, worker = from_link(SMALL), Waiting()
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


def test_a_branch_waits_for_what_it_branched_off_and_keeps_what_came_before():
    state, worker = from_link(SMALL + "&off=interference@4.7"), Waiting()
    session = Session(Document(), worker, state)
    for part in parts(state):
        give(worker, session, "scene", part)
    assert drawn(session.page) == {}
    give(worker, session, "before", scene(state.parent))
    columns = drawn(session.page)
    assert len(columns["exact"]["t"]) > 0
    assert len(columns["frames_before"]["t"]) > 0
