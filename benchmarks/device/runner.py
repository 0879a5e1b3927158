"""Parts of a measurement, each in a process that is killed when its time is over.

A part is a command that prints one JSON object a line: {"device": …} once, then rows, each as soon
as it is measured. What was printed is kept whatever becomes of the part: done, failed, out of time
or not started.
"""

from __future__ import annotations

import enum
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.tables import keep, markdown
from flow.results.files import write_text

GRACE = 1.0
"""Seconds that are left to a part at least, or it is not started."""


class Status(enum.Enum):
    """What became of a part."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "out of time"
    NOT_STARTED = "not started"


@dataclass(frozen=True)
class Part:
    """One command and how long it may take."""

    name: str
    command: tuple[str, ...]
    """Its last argument but for the limit, which is appended, in seconds."""
    limit: float
    """Seconds."""


@dataclass
class Outcome:
    """What a part has said so far, and how it ended."""

    name: str
    status: Status
    message: str = ""
    seconds: float = 0.0
    limit: float = 0.0
    device: dict[str, Any] | None = None
    """What it computed on."""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self.__dict__, "status": self.status.value}


def run_parts(
    parts: Sequence[Part], limit: float, keep: Callable[[list[Outcome]], None]
) -> list[Outcome]:
    """Run the parts one after the other, all of them within `limit` seconds.

    `keep` is called with everything so far whenever a part has said something or ended. A part that
    fails or is out of time does not stop the next.
    """
    ends = time.monotonic() + limit
    outcomes: list[Outcome] = []
    for part in parts:
        allowed = min(part.limit, ends - time.monotonic())
        outcome = Outcome(part.name, Status.NOT_STARTED, limit=max(0.0, allowed))
        outcomes.append(outcome)
        if allowed < GRACE:
            outcome.message = f"of {limit:g} s for all parts nothing was left"
        else:
            _say(f"{part.name}: at most {allowed:.0f} s")
            _run(part, allowed, outcome, lambda: keep(outcomes))
        _say(f"{part.name}: {outcome.status.value} after {outcome.seconds:.1f} s {outcome.message}")
        keep(outcomes)
    return outcomes


def _run(part: Part, allowed: float, outcome: Outcome, keep: Callable[[], None]) -> None:
    """One part to its end, `outcome` filled in."""
    began = time.monotonic()
    with _process([*part.command, f"{allowed:g}"]) as process:
        killed = threading.Event()

        def stop() -> None:
            killed.set()
            _kill(process)

        clock = threading.Timer(allowed, stop)
        clock.start()
        try:
            assert process.stdout is not None
            for row in _rows(process.stdout):
                if "device" in row:
                    outcome.device = row["device"]
                else:
                    outcome.rows.append(row)
                outcome.seconds = time.monotonic() - began
                outcome.message = "still running"
                keep()
            code = process.wait()
        finally:
            clock.cancel()
    outcome.seconds = time.monotonic() - began
    if killed.is_set():
        outcome.status, outcome.message = Status.TIMED_OUT, f"killed at its limit, {allowed:.0f} s"
    elif code == 0:
        outcome.status, outcome.message = Status.DONE, ""
    else:
        outcome.status, outcome.message = Status.FAILED, _reason(code)


def _rows(lines: BinaryIO) -> Iterator[dict[str, Any]]:
    """What is a JSON object; anything else that a library prints is passed on."""
    for line in lines:
        row = None
        with suppress(ValueError):
            row = json.loads(line)
        if isinstance(row, dict):
            yield row
        else:
            sys.stderr.write(line.decode(errors="replace"))


@contextmanager
def _process(command: Sequence[str]) -> Iterator[subprocess.Popen]:
    """The command in a session of its own, which has ended when the block has."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        yield process
    finally:
        _kill(process)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _kill(process: subprocess.Popen) -> None:
    """End the process and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _reason(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"ended by {name}" + (", perhaps for want of memory" if code == -9 else "")
    return f"exit code {code}; standard error says why"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# What is kept ------------------------------------------------------------------------------------

COLUMNS = (
    "part", "case", "measured", "worst", "of", "unit", "goal", "met", "share of peak", "error",
    "compile s", "peak GiB",
)  # fmt: skip


def met(row: dict[str, Any]) -> bool | None:
    """Whether a row is within its goal, an upper bound; None for one that has none."""
    return None if row.get("goal") is None else bool(row["measured"] <= row["goal"])


def table(outcomes: Sequence[dict[str, Any]]) -> str:
    """The parts as one Markdown table: what was measured beside its goal, and how parts ended."""
    rows = []
    for outcome in outcomes:
        for row in outcome["rows"]:
            verdict = {None: "", True: "yes", False: "NO"}[met(row)]
            cells = {**row, "part": outcome["name"], "met": verdict}
            if row.get("goal") is not None:
                cells["goal"] = f"≤ {row['goal']:g}"
            rows.append(["" if (x := cells.get(name)) is None else x for name in COLUMNS])
        if outcome["status"] != Status.DONE.value:
            ended = f"**{outcome['status']}**: {outcome['message']}"
            rows.append([outcome["name"], ended, *[""] * (len(COLUMNS) - 2)])
    return markdown(COLUMNS, rows)


def write(path: Path, about: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Keep everything so far as JSON, and as Markdown beside it; each file whole or as it was."""
    kept = {**about, "parts": [outcome.to_dict() for outcome in outcomes]}
    how = ", ".join(f"{key} {value}" for key, value in about.items())
    page = f"# What `python -m benchmarks.device` measured\n\n{table(kept['parts'])}\n\n{how}.\n"
    keep(path, kept, indent=1)
    write_text(path.with_suffix(".md"), page)
