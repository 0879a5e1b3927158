"""What a sweep asks of a worker: light to name, the numerics are imported where it is called."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flow.defaults import SMALL_RUN
from flow.sweep.runs import FORCE_PARAMETERS, Outcome, Run


def execute_batch(
    runs: Sequence[Run],
    *,
    keep_weights: bool = False,
    max_seconds: float = math.inf,
    check_memory: bool = True,
    threads: int = 1,
) -> list[Outcome]:
    """Execute runs one after the other; a failure is an outcome as well.

    Parameters
    ----------
    runs : what to execute.
    keep_weights : return the final W in each outcome, as an ``.npz``.
    max_seconds : limit for each run; one that meets it has status TIME_LIMIT.
    check_memory : refuse a run that would not fit into the memory available now.
    threads : how many compute each run.
    """
    from flow.sweep.execute import execute

    return [
        execute(
            run,
            keep_weights=keep_weights,
            max_seconds=max_seconds,
            check_memory=check_memory,
            threads=threads,
        )
        for run in runs
    ]


def warmup_runs(runs: Sequence[Run], threads: int = 1) -> list[Run]:
    """Small runs that between them enter every kernel that `runs` may need, dense and sparse.
    Where those use several threads, so do these.

    None for the backend diffrax, whose programs are made for one shape in one process.
    """
    n = m = 16 if threads == 1 else math.isqrt(SMALL_RUN)
    found = {}
    for run in runs:
        if run.backend == "diffrax":
            continue
        for forces in ("all", "no-interference"):
            small = Run(n=n, m=m, lam=0.1, dtype=run.dtype, forces=forces)
            found[small.dtype, forces] = small
        own = {name: getattr(run, name) for name in FORCE_PARAMETERS}
        found.setdefault(
            (run.dtype, run.forces),
            Run(n=n, m=m, lam=0.1, dtype=run.dtype, forces=run.forces, t_end=20.0, max_steps=100,
                **own),
        )  # fmt: skip
    return list(found.values())


def warm_up(runs: Sequence[Run], threads: int = 1) -> None:
    """Compile the kernels, or load them, before many need them at the same time."""
    execute_batch(runs, threads=threads)
