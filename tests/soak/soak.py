"""Random cases until time is over; every fault is said with what repeats it.

    python -m tests.soak --minutes 60 --seed 0 --workers 2 --log soak.jsonl
    python -m tests.soak --only 17

A case is drawn from one number, and made in a worker: a process that the main one gives numbers to
and reads one line of JSON from for each. A worker that dies or hangs is a fault of its case.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tests import ROOT
from tests.soak import processes, runs
from tests.soak.case import COUNTED, Case

KINDS: dict[Callable[[Case, np.random.Generator, Path], None], float] = {
    runs.one_run: 0.66,
    runs.two_backends: 0.08,
    runs.together: 0.06,
    runs.accelerated: 0.03,
    processes.simulate_disturbed: 0.06,
    processes.sweep_disturbed: 0.04,
    processes.without_disk: 0.04,
    processes.forked: 0.02,
    processes.flat_memory: 0.01,
}
"""Kinds of cases, and how often each is drawn."""
LONGEST = 400.0
"""Seconds after which a case hangs."""


def make(seed: int, *, short: bool = False, patience: float = 1.0) -> dict[str, Any]:
    """The case of that number, made and checked."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    kind = kinds[rng.choice(len(kinds), p=list(KINDS.values()))]
    case = Case(seed, short, patience, about={"kind": kind.__name__})
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            kind(case, rng, Path(folder))
        except Exception:
            case.faults.append(traceback.format_exc())
    case.counts["cases"] = 1
    case.counts["faults"] = len(case.faults)
    case.about["seconds"] = round(time.perf_counter() - began, 2)
    return case.record()


def serve(*, short: bool, patience: float) -> None:
    """The loop of a worker: numbers in, records out. Nothing else may print to its stdout."""
    # Started in the background, Python ignores Ctrl-C, and so would the commands it interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        print(json.dumps(make(int(line), short=short, patience=patience)), file=answers, flush=True)


class Soak:
    """Workers, what they found, and the clock."""

    def __init__(
        self, minutes: float, seed: int, workers: int, log: Path | None, patience: float = 1.0
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.faults: list[dict[str, Any]] = []
        self._deadline = time.monotonic() + 60.0 * minutes
        self._short = minutes <= 2.0
        self._next = seed * 10**6
        self._workers, self._log, self._patience = workers, log, patience
        self._lock = threading.Lock()

    def run(self) -> None:
        """Make cases until time is over."""
        threads = [threading.Thread(target=self._work) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        worker = self._start()
        while time.monotonic() < self._deadline:
            with self._lock:
                seed, self._next = self._next, self._next + 1
            answer = _ask(worker, seed, LONGEST * self._patience)
            if answer is None:
                code = _end(worker)
                answer = Case(seed, faults=[f"the worker died or hung: {code}"]).record()
                answer["counts"] = {"cases": 1, "faults": 1}
                worker = self._start()
            self._take(answer)
        _end(worker)

    def _start(self) -> Any:
        words = [
            "--serve",
            "--patience",
            str(self._patience),
            *(["--short"] if self._short else []),
        ]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.soak", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _take(self, answer: dict[str, Any]) -> None:
        with self._lock:
            self.counts.update(answer["counts"])
            self.kinds[answer["about"].get("kind", "unknown")] += 1
            if self._log is not None:
                with self._log.open("a") as file:
                    file.write(json.dumps(answer) + "\n")
            if answer["faults"]:
                self.faults.append(answer)
                say_faults(answer)

    def table(self) -> str:
        """The counts, one a line."""
        rows = [*((name, self.counts[name]) for name in COUNTED), *sorted(self.kinds.items())]
        return "\n".join(f"{name:<24}{count:>10,}" for name, count in rows)


def _end(worker: Any) -> int:
    """Exit code of a worker that gets no more numbers."""
    with suppress(BrokenPipeError):
        worker.stdin.close()
    worker.stdout.close()
    return int(worker.wait())


def _ask(worker: Any, seed: int, longest: float) -> dict[str, Any] | None:
    """The record of a case, None where the worker died or had to be killed."""
    timer = threading.Timer(longest, worker.kill)
    timer.start()
    try:
        worker.stdin.write(f"{seed}\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        line = ""
    finally:
        timer.cancel()
    return json.loads(line) if line else None


def say_faults(record: dict[str, Any]) -> None:
    """Print the faults of a case, and how to repeat it."""
    print(f"python -m tests.soak --only {record['seed']}    {json.dumps(record['about'])}")
    for fault in record["faults"]:
        print(f"  fault: {fault}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Exit code 1 where a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="cases are drawn from 10⁶ times it on")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, help="one line of JSON for each case, added to the end")
    parser.add_argument("--only", type=int, help="repeat the case of this number")
    parser.add_argument("--short", action="store_true", help="300 small runs instead of 2,000")
    parser.add_argument("--patience", type=float, default=1.0, help="multiplies limits of time")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        serve(short=options.short, patience=options.patience)
        return 0
    if options.only is not None:
        record = make(options.only, short=options.short, patience=options.patience)
        print(json.dumps(record, indent=1))
        return int(bool(record["faults"]))
    soak = Soak(options.minutes, options.seed, options.workers, options.log, options.patience)
    soak.run()
    print(soak.table())
    print(json.dumps({**soak.counts, "kinds": soak.kinds}))
    return int(bool(soak.faults))
