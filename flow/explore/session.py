"""One page that is open: what its controls ask for, and what it shows of the answers."""

from __future__ import annotations

import html
import math
import queue
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
from bokeh.document import Document

from flow.explore.controls import BRANCHED_OFF, PRESETS, change_of, preset
from flow.explore.curves import slot_shares
from flow.explore.links import change_words, link
from flow.explore.page import make_page
from flow.explore.scene import Scene
from flow.explore.state import State
from flow.explore.texts import command, commands, python, toml
from flow.explore.worker import Answer, Progress, Worker

SEEDS = 20
MOST_FUTURES = 24
"""Futures that a page remembers."""


def texts(state: State) -> dict[str, str]:
    """Every way to write a state, the link first."""
    return {
        "link": link(state), "TOML": toml(state), "command": command(state),
        "commands": commands(state), "Python": python(state),
    }  # fmt: skip


class Session:
    """A page in one browser, with the worker that all of them share."""

    def __init__(
        self, document: Document, worker: Worker, state: State, complaint: str = ""
    ) -> None:
        self.document, self.worker = document, worker
        self.name = uuid4().hex
        self.page = make_page()
        self.state = state
        self.futures: list[State] = []
        self.chosen: State | None = None
        """The future that is to be shown beside every other one; None: the one it branched off."""
        self.counts: dict[int, int] = {}
        """Polysemantic neurons at the end, by seed, of the runs with these controls."""
        self._scene: Scene | None = None
        self._before: Scene | None = None
        self._followed = False
        """Whether all of the scene has been drawn, and not only its sketch."""
        self._come: queue.SimpleQueue[tuple[Callable[[Answer], None], Answer]] = queue.SimpleQueue()
        self._setting = False
        self._complaint = complaint
        self._listen()
        self.page.place(document, live=True)
        self._say_progress("computing …")
        self.go_to(state)

    # What is asked -------------------------------------------------------------------------------

    def go_to(self, state: State) -> None:
        """Show a state: as soon as it is computed."""
        if replace(state, changes=()) != replace(self.state, changes=()) or not self.futures:
            self.futures = []
            self._forget_counts(state)
        self.state = state
        # First what takes time: the worker computes while the controls are written.
        self._scene, self._before, self._followed = None, None, False
        self._ask("scene", (state,), self._take_scene)
        self._remember(state)
        self._ask_before()
        self._show_controls()

    @property
    def other(self) -> State | None:
        """The future that is shown beside this one, if there is one."""
        if self.chosen in self.futures and self.chosen != self.state:
            return self.chosen
        return self.state.parent

    def _ask_before(self) -> None:
        if self.other is not None:
            self._ask("before", (self.other,), self._take_before)

    def _ask(self, kind: str, arguments: tuple[Any, ...], take: Callable[[Answer], None]) -> None:
        def later(answer: Answer) -> None:
            self._come.put((take, answer))
            self.document.add_next_tick_callback(self._take_all)

        self.worker.ask(self.name, kind, arguments, later)

    def _take_all(self) -> None:
        """Take what has come in the order in which it came: callbacks may overtake each other."""
        with suppress(queue.Empty):
            while True:
                take, answer = self._come.get_nowait()
                take(answer)

    def close(self) -> None:
        """Nobody looks any more."""
        self.worker.forget(self.name)

    # What comes ----------------------------------------------------------------------------------

    def _take_scene(self, answer: Answer) -> None:
        """Draw each part of a scene when it comes: see :func:`flow.explore.scene.parts`."""
        whole = self._scene is not None and self._scene.whole
        if isinstance(answer.value, Progress) and whole:  # only a dashed line is to come
            return
        if self._unfinished(answer) or answer.ask.arguments != (self.state,):
            return
        part = answer.value
        if not isinstance(part, Scene):
            return
        if self._scene is None:
            self._scene = part
            self.page.sketch(part)
        elif not whole:
            self._scene = self._scene.joined(part)
            self._follow()
        else:
            self._scene = self._scene.joined(part)
            if self._followed:
                self.page.panels.sources["exact"].data = part.columns["exact"]

    def _take_before(self, answer: Answer) -> None:
        if self._unfinished(answer) or answer.ask.arguments != (self.other,):
            return
        if isinstance(answer.value, Scene):
            self._before = answer.value
            self._follow()

    def _unfinished(self, answer: Answer) -> bool:
        """Say how far it is, or why there is nothing."""
        if answer.error:
            self._complain(answer.error)
        elif isinstance(answer.value, Progress):
            told = f"t = {answer.value.t:.3g}, {answer.value.steps} steps"
            self._say_progress(f"computing: {told}", bar=True)
        return bool(answer.error) or isinstance(answer.value, Progress)

    def _follow(self) -> None:
        """Draw what follows the sketch, once all of it has come."""
        scene, before = self._scene, self._before
        if scene is None or not scene.whole or (self.other is not None and before is None):
            return
        self.page.follow(scene, before, texts(self.state))
        self._followed = True
        self._say_progress("")

    def _take_count(self, answer: Answer) -> None:
        if self._unfinished(answer):
            return
        if isinstance(answer.value, tuple):
            seed, count = answer.value
            self.counts[seed] = count
            self._show_counts()
        elif answer.done:
            self._say_progress("")

    def _take_file(self, answer: Answer) -> None:
        if not self._unfinished(answer) and isinstance(answer.value, bytes):
            data = {"bytes": [np.frombuffer(answer.value, np.uint8)], "name": ["run.npz"]}
            self.page.downloaded.data = data
            self._say_progress("")

    # What is said --------------------------------------------------------------------------------

    def _say_progress(self, text: str, *, bar: bool = False) -> None:
        if self._complaint and text:
            return
        shown = html.escape(self._complaint or text)
        role = "alert" if self._complaint else "status"
        self._complaint = ""
        moving = "<progress></progress> " if bar else ""
        self.page.panels.lines["progress"].text = f'<span role="{role}">{moving}{shown}</span>'

    def _complain(self, sentence: str) -> None:
        self._complaint = sentence
        self._say_progress("")

    def _show_counts(self) -> None:
        values = np.bincount(list(self.counts.values()) or [0])
        shown = np.flatnonzero(values)
        sources = self.page.panels.sources
        sources["seeds"].data = {"count": shown, "runs": values[shown]}
        sources["shares"].data = slot_shares(self.state, len(self.counts))
        self.page.panels.figures["histogram"].visible = bool(self.counts)

    def _forget_counts(self, state: State) -> None:
        same = replace(state, seed=0, changes=()) == replace(self.state, seed=0, changes=())
        if self.counts and not same:
            self.counts = {}
            self._show_counts()

    def _remember(self, state: State) -> None:
        """Every future on the way to a state, each beside those it branched off."""
        line: list[State] = []
        ancestor: State | None = state
        while ancestor is not None:
            line.insert(0, ancestor)
            ancestor = ancestor.parent
        for future in line:
            if future not in self.futures:
                parent = future.parent
                at = len(self.futures)
                if parent in self.futures:
                    at = self.futures.index(parent) + 1
                    depth = len(future.changes)
                    while at < len(self.futures) and len(self.futures[at].changes) >= depth:
                        at += 1
                self.futures.insert(at, future)
        del self.futures[MOST_FUTURES:]

    def _show_controls(self) -> None:
        self._setting = True
        try:
            self.page.controls.show(self.state)
            tree = self.page.controls["tree"]
            tree.labels = [_name(future) for future in self.futures]
            known = self.state in self.futures
            tree.active = self.futures.index(self.state) if known else None
            beside = self.page.controls["beside"]
            named = [(str(k), name) for k, name in enumerate(tree.labels)]
            beside.options = [BRANCHED_OFF, *named]
            at = [value for value, future in zip(named, self.futures, strict=True)
                  if future == self.chosen]  # fmt: skip
            beside.value = at[0][0] if at else BRANCHED_OFF[0]
        finally:
            self._setting = False

    # What is moved -------------------------------------------------------------------------------

    def _listen(self) -> None:
        controls = self.page.controls
        for name, widget, attribute in controls.inputs():
            widget.on_change(attribute, partial(self._moved, name))
        controls["preset"].on_change("value", self._preset)
        controls["tree"].on_change("active", self._back_to)
        controls["beside"].on_change("value", self._choose)
        controls["next"].on_click(self._next_seed)
        controls["more"].on_click(self._more_seeds)
        controls["file"].on_click(lambda: self._ask("file", (self.state,), self._take_file))
        self.page.branching.on_change("data", self._branch)

    def _moved(self, name: str, _attribute: str, _old: Any, _new: Any) -> None:
        if not self._setting:
            self._try(lambda: self.page.controls.state(self.state, name))

    def _preset(self, _attribute: str, _old: str, new: str) -> None:
        if new in PRESETS and not self._setting:
            self._try(lambda: preset(new))

    def _next_seed(self) -> None:
        self._try(lambda: replace(self.state, seed=self.state.seed + 1, changes=()))

    def _more_seeds(self) -> None:
        last = max(self.counts, default=self.state.seed)
        self._ask("counts", (replace(self.state, seed=last, changes=()), SEEDS), self._take_count)

    def _back_to(self, _attribute: str, _old: int, new: int | None) -> None:
        if not self._setting and new is not None and 0 <= new < len(self.futures):
            self.go_to(self.futures[new])

    def _choose(self, _attribute: str, _old: str, new: str) -> None:
        if self._setting or not (new == BRANCHED_OFF[0] or new.isdecimal()):
            return
        known = new != BRANCHED_OFF[0] and int(new) < len(self.futures)
        self.chosen = self.futures[int(new)] if known else None
        self._before = None
        self._ask_before()
        self._follow()

    def _branch(self, _attribute: str, _old: Any, data: Mapping[str, Any]) -> None:
        if self._setting or not len(data.get("t", ())):
            return

        def branched() -> State:
            t, kind, value, feature, neuron = (
                data[name][0] for name in ("t", "kind", "value", "feature", "neuron")
            )
            t = float(f"{float(t):.6g}")
            if not math.isfinite(t):
                raise ValueError(f"expected a time to branch at, got {t}")
            now = self.state.until(t).at_end()
            change = change_of(str(kind), value, feature, neuron, now)
            return self.state.changed(t, change)

        self._try(branched)

    def _try(self, make: Callable[[], State]) -> None:
        """Go to a state that can be, or say why it cannot."""
        try:
            state = make()
        except (ValueError, TypeError, OverflowError) as error:
            self._complain(str(error))
            self._show_controls()
            return
        if state != self.state:
            self.go_to(state)


def _name(future: State) -> str:
    """A future as a line of the tree."""
    if future.parent is None:
        return "as it starts"
    last = [word for word, timed in zip(change_words(future), future.changes, strict=True)
            if timed.t == future.changes[-1].t]  # fmt: skip
    return "│ " * (len(change_words(future)) - len(last)) + "└ " + ", ".join(last)
