"""``python -m tests.soak``: workers that go through cases, and one that looks after them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests import ROOT
from tests.soak import processes, runs

Case = Callable[[np.random.Generator, Counter[str]], list[str]]
CASES: dict[str, tuple[float, Case]] = {
    "run": (0.7, runs.check_run),
    "backends": (0.1, runs.check_backends),
    "threads": (0.06, runs.check_threads),
    "signals": (0.05, processes.check_signals),
    "disk": (0.05, processes.check_disk),
    "forks": (0.04, processes.check_forks),
}
"""How often each kind of case is drawn."""


def case(seed: int, count: Counter[str]) -> tuple[str, list[str]]:
    """The case of a seed: its kind, and what was found wrong."""
    rng = np.random.default_rng(seed)
    shares = np.array([share for share, _ in CASES.values()])
    kind = str(rng.choice(list(CASES), p=shares / shares.sum()))
    try:
        return kind, CASES[kind][1](rng, count)
    except Exception:
        return kind, [traceback.format_exc()]


def work(seed: int, minutes: float, memory_runs: int) -> None:
    """Go through cases until time is over; a line of JSON for each."""
    end = time.monotonic() + 60.0 * minutes
    count: Counter[str] = Counter()
    if memory_runs:
        _tell("memory", seed, processes.check_memory(np.random.default_rng(seed), count,
                                                     memory_runs), count)  # fmt: skip
    while time.monotonic() < end:
        count = Counter()
        kind, wrong = case(seed, count)
        _tell(kind, seed, wrong, count)
        seed += 1


def _tell(kind: str, seed: int, wrong: list[str], count: Counter[str]) -> None:
    print(json.dumps({"kind": kind, "seed": seed, "wrong": wrong, "count": count}), flush=True)


def soak(
    *, minutes: float, seed: int, workers: int, memory_runs: int, log: Path | None = None
) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Counts of what was done, and the cases in which something was wrong."""
    total: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    end = time.monotonic() + 60.0 * minutes
    guard = threading.Lock()

    def take(line: str) -> int:
        found = json.loads(line)
        with guard:
            total.update(found["count"])
            total["cases"] += 1
            if found["wrong"]:
                faults.append(found)
                print(*(f"seed {found['seed']}: {wrong}" for wrong in found["wrong"]), sep="\n")
            if log is not None:
                with log.open("a", encoding="utf-8") as file:
                    file.write(line)
        return int(found["seed"])

    def look_after(k: int) -> None:
        at, first = seed + 1_000_000 * k, memory_runs if k == 0 else 0
        while (left := (end - time.monotonic()) / 60.0) > 0.0:
            words = ["--worker", "--seed", str(at), "--minutes", str(left)]
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.soak", *words, "--memory-runs", str(first)],
                cwd=ROOT,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
                stdout=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            for line in child.stdout:
                at = take(line) + 1
            if child.wait():
                wrong = [f"the process died with exit code {child.returncode}"]
                take(json.dumps({"kind": "death", "seed": at, "wrong": wrong, "count": {}}) + "\n")
                at += 1
            first = 0

    threads = [threading.Thread(target=look_after, args=(k,)) for k in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total, faults


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory-runs", type=int, default=2000)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--only", type=int, help="the case of this seed alone")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.seed, asked.minutes, asked.memory_runs)
        return 0
    if asked.only is not None:
        kind, wrong = case(asked.only, Counter())
        print(kind, *(wrong or ["nothing wrong"]), sep="\n")
        return 1 if wrong else 0
    total, faults = soak(
        minutes=asked.minutes,
        seed=asked.seed,
        workers=asked.workers,
        memory_runs=asked.memory_runs,
        log=asked.log,
    )
    for name, number in sorted(total.items()):
        print(f"{name:<28}{number:>10,}")
    print(f"{'cases with faults':<28}{len(faults):>10,}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
