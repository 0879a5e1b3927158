"""A good guest: what a run costs beside another one, beside busy processes, and on one core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from benchmarks.tables import Table
from flow.kernels.cores import usable_cores

CASES = {
    "256 × 1024, λ = 0.01": (256, 1024, 0.01),
    "256 × 256, λ = 0.0025": (256, 256, 0.0025),
    "256 × 4096, λ = 0.001": (256, 4096, 0.001),
}
SETTINGS: dict[str, dict[str, str]] = {
    "as it is": {},
    "GNU OpenMP's own": {"GOMP_SPINCOUNT": "300000"},
}
"""Environments. The second is what an idle thread does where nobody says otherwise: look for work
for as long as a kernel takes."""

_RUNNER = """
import sys
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
n, m, lam, threads = eval(sys.argv[1])
forces, W0 = [FeatureBenefit(), Interference(), Regularization(lam)], gaussian_init(n, m, seed=0)
def run():
    integrate(forces, W0, rtol=5e-3, threads=threads)
run()
print(flush=True)
for _ in sys.stdin:
    run()
    print(flush=True)
"""
_SPINNER = "while True: pass"
_SETTINGS_OF_THREADS = ("OMP_", "GOMP_", "NUMBA_NUM_THREADS")


class _Runner:
    """A process that makes the same run whenever it is asked to, warm."""

    def __init__(self, case: tuple[Any, ...], environment: Mapping[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_SETTINGS_OF_THREADS)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUNNER, repr(case)],
            env={**kept, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.wait()

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait(self) -> None:
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError(f"the run ended with exit code {self.process.wait()}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def _runners(
    count: int, case: tuple[Any, ...], environment: Mapping[str, str]
) -> Iterator[list[_Runner]]:
    with ExitStack() as stack:
        runners = []
        for _ in range(count):
            runners.append(_Runner(case, environment))
            stack.callback(runners[-1].close)
        yield runners


@contextmanager
def _spinning(count: int) -> Iterator[None]:
    spinners = [subprocess.Popen([sys.executable, "-c", _SPINNER]) for _ in range(count)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def _together(runners: list[_Runner], repeats: int) -> np.ndarray:
    """Seconds until all of them are done, (repeats,)."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        for runner in runners:
            runner.begin()
        for runner in runners:
            runner.wait()
        times.append(time.perf_counter() - began)
    return np.array(times)


def neighbours(fast: bool) -> Table:
    """Median and worst of ten, in seconds, at rtol 5e-3, warm; a fair share of the machine is 1.

    Fair: two copies take as long as one after the other, and beside k busy processes on two cores
    a run takes (2 + k)/2 times as long as alone. On one core it takes as long as with one thread.
    """
    repeats = 2 if fast else 10
    cores = usable_cores()
    rows: list[list[Any]] = []

    def add(name: str, threads: str, beside: str, times: np.ndarray, fair: float) -> float:
        median = float(np.median(times))
        rows.append([name, threads, beside, median, float(times.max()), median / (fair or median)])
        return median

    for name, case in list(CASES.items())[: 1 if fast else None]:
        size = (16, 32, 0.05) if fast else case
        for setting, environment in SETTINGS.items():
            with _runners(2, (*size, None), environment) as pair:
                alone = add(name, setting, "alone", _together(pair[:1], repeats), 0.0)
                add(name, setting, "two at once", _together(pair, repeats), 2.0 * alone)
                for k in (1, 2):
                    with _spinning(k):
                        times = _together(pair[:1], repeats)
                    add(name, setting, f"{k} busy", times, (cores + k) / cores * alone)
        with _runners(1, (*size, 1), {}) as single:
            alone = add(name, "one", "alone", _together(single, repeats), 0.0)
        add(name, "as it is, on one core", "alone", _pinned(size, repeats), alone)
    return ["run", "threads", "beside", "median s", "worst s", "of the fair time"], rows


def _pinned(size: tuple[Any, ...], repeats: int) -> np.ndarray:
    """The same in a process that may use one core from its start."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(own)})
    try:
        with _runners(1, (*size, None), {}) as runners:
            return _together(runners, repeats)
    finally:
        os.sched_setaffinity(0, own)
