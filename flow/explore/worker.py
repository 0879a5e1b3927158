"""The process that computes: kept, one for all pages, and never the one that serves them.

What is asked of it is a *job*: a function of this module, by name, and its arguments. A newer job
of the same asker and kind replaces an older one: what waits is dropped, what is being computed is
abandoned at its next accepted step. A process that dies fails what it had and is started anew.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from flow.explore.compute import Abandoned, Look
from flow.explore.state import State

FORGET = "forget"
"""Not a job: an asker who has gone."""
PARTS = 0.2
"""Seconds between two reports of progress."""


class Ask(NamedTuple):
    """A job that somebody waits for."""

    who: str
    """The asker: one page."""
    kind: str
    """A name of :data:`JOBS`."""
    number: int
    arguments: tuple[Any, ...]


class Answer(NamedTuple):
    """What came of a job, or of a part of it."""

    ask: Ask
    done: bool
    """False for a part: more is to come."""
    value: Any
    error: str = ""
    """A sentence, where there is no value."""


class Progress(NamedTuple):
    """How far a run is."""

    t: float
    steps: int


Take = Callable[[Answer], None]
"""Called in a thread of its own for every answer."""


class Worker:
    """A kept process. Use it as a context: leaving it ends the process."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[Ask, Take]] = {}
        self._next = 0
        self._closed = False
        self._start()

    def ask(self, who: str, kind: str, arguments: tuple[Any, ...], take: Take) -> None:
        """Have a job done; `take` is given its answers, unless a newer one comes first."""
        with self._lock:
            self._next += 1
            ask = Ask(who, kind, self._next, arguments)
            older = [n for n, (one, _) in self._waiting.items() if one[:2] == ask[:2]]
            for number in older:
                del self._waiting[number]
            self._waiting[ask.number] = (ask, take)
            with suppress(OSError):  # it has just died: its listener says so
                self._connection.send(ask)

    def forget(self, who: str) -> None:
        """Nobody waits for the jobs of an asker any more."""
        with self._lock:
            for number in [n for n, (one, _) in self._waiting.items() if one.who == who]:
                del self._waiting[number]
            with suppress(OSError):
                self._connection.send(Ask(who, FORGET, 0, ()))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            self._process.kill()  # its listener then comes to the end of the pipe
        self._process.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the process that computes now."""
        return self._process.pid

    def _start(self) -> None:
        self._connection, there = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(there,), daemon=True)
        with _deaf():
            self._process.start()
        there.close()
        threading.Thread(target=self._listen, args=(self._connection,), daemon=True).start()

    def _listen(self, connection: Connection) -> None:
        while True:
            try:
                answer: Answer = connection.recv()
            except (EOFError, OSError):
                break
            with self._lock:
                _, take = self._waiting.get(answer.ask.number, (None, None))
                if answer.done:
                    self._waiting.pop(answer.ask.number, None)
            if take is not None:
                take(answer)
        with self._lock:
            if self._closed:
                return
            lost, self._waiting = self._waiting, {}
            self._start()
        for ask, take in lost.values():
            sentence = "The process that computed this died; it may have been out of memory."
            take(Answer(ask, True, None, sentence))


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started in the block do not hear Ctrl-C from their beginning on."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler can be set here; `serve` sets it
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# In the process ----------------------------------------------------------------------------------


def serve(connection: Connection) -> None:
    """Answer jobs until the other end is closed, to whom Ctrl-C is left: a terminal tells both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked: queue.SimpleQueue[Ask | None] = queue.SimpleQueue()
    newest: dict[tuple[str, str], int] = {}
    threading.Thread(target=_receive, args=(connection, asked, newest), daemon=True).start()
    while (ask := asked.get()) is not None:
        if newest.get(ask[:2]) != ask.number:
            continue
        try:
            for part in JOBS[ask.kind](_watch(connection, ask, newest), *ask.arguments):
                connection.send(Answer(ask, False, part))
            connection.send(Answer(ask, True, None))
        except Abandoned:
            continue
        except (ValueError, MemoryError) as error:
            connection.send(Answer(ask, True, None, str(error) or type(error).__name__))
        except Exception as error:
            traceback.print_exc()
            connection.send(Answer(ask, True, None, f"{type(error).__name__}: {error}"))


def _receive(
    connection: Connection,
    asked: queue.SimpleQueue[Ask | None],
    newest: dict[tuple[str, str], int],
) -> None:
    try:
        while True:
            ask = connection.recv()
            if ask.kind == FORGET:
                for key in [key for key in newest if key[0] == ask.who]:
                    del newest[key]
                continue
            newest[ask[:2]] = ask.number
            asked.put(ask)
    except (EOFError, OSError):
        asked.put(None)


def _watch(
    connection: Connection, ask: Ask, newest: dict[tuple[str, str], int]
) -> Callable[[Look], None]:
    said = time.monotonic()

    def watch(look: Look) -> None:
        nonlocal said
        if newest.get(ask[:2]) != ask.number:
            raise Abandoned
        if time.monotonic() - said > PARTS:
            said = time.monotonic()
            connection.send(Answer(ask, False, Progress(*look)))

    return watch


def _scene(watch: Callable[[Look], None], state: State) -> Iterator[Any]:
    from flow.explore.scene import parts

    yield from parts(state, watch)


def _before(watch: Callable[[Look], None], state: State) -> Iterator[Any]:
    from flow.explore.scene import scene

    yield scene(state, watch)


def _counts(watch: Callable[[Look], None], state: State, seeds: int) -> Iterator[Any]:
    from flow.explore.compute import counts

    yield from counts(state, seeds, watch)


def _file(watch: Callable[[Look], None], state: State) -> Iterator[Any]:
    """The bytes of the run as a file of :meth:`flow.Trajectory.save`."""
    import tempfile
    from pathlib import Path

    from flow.explore.compute import outcome

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        outcome(state, watch).run.save(path)
        yield path.read_bytes()


JOBS: dict[str, Callable[..., Iterator[Any]]] = {
    "scene": _scene,
    "before": _before,
    "counts": _counts,
    "file": _file,
}
"""What can be asked; "before" is the scene of the future that another one branched off."""
