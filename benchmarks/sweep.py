"""What a sweep costs beside the runs it does."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.tables import Table
from flow.sweep import run
from flow.sweep.runs import Run

COLUMNS = [
    "n", "m", "workers", "runs", "ms a run in its worker", "overhead, ms a run", "efficiency",
    "start, s", "failed",
]  # fmt: skip


def sweep(fast: bool) -> Table:
    """Overhead and efficiency of `flow.sweep`: everything on the way from a run to its row.

    A run's own time is what its worker spends on it (integration and what is measured of it).
    Overhead: (workers × wall-clock time − the sum of the own times) / runs; efficiency: that sum
    over workers × wall-clock time. Both from the difference between a long sweep and a short one of
    the same kind, so that what every sweep pays once (interpreters, imports, kernels: `start`) is
    not in them. λ = 0.01; runs of about 15 and 50 ms.
    """
    rows = []
    for n, m, runs, workers in ((4, 8, 1000, 1), (32, 64, 60, 1), (32, 64, 120, 2)):
        rows.append(_measure(n, m, max(8, runs // 10 if fast else runs), workers))
    return COLUMNS, rows


def _measure(n: int, m: int, runs: int, workers: int) -> list[Any]:
    few = max(2 * workers, runs // 10)
    _timed(n, m, workers, workers)  # kernels in the cache on disk, files in that of the system
    short, own_short, _ = _timed(n, m, few, workers)
    long, own_long, failed = _timed(n, m, few + runs, workers)
    own, paid = own_long - own_short, workers * (long - short)
    return [
        n, m, workers, runs, 1e3 * own / runs, 1e3 * (paid - own) / runs, own / paid,
        short - own_short / workers, failed,
    ]  # fmt: skip


def _timed(n: int, m: int, runs: int, workers: int) -> tuple[float, float, int]:
    """Wall-clock seconds of a sweep, seconds of its runs, and how many failed."""
    todo = [Run(n=n, m=m, lam=0.01, seed=seed) for seed in range(runs)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        found = run(todo, Path(folder) / "a.sqlite", workers=workers)
        took = time.perf_counter() - began
    return took, sum(row["seconds"] for row in found.rows), len(found.rows) - len(found.finished)
