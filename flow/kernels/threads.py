"""Threads: how many a run may use, kernels that run with one or with many, and BLAS with one.

A parallel kernel is compiled once and handed the loop that runs its tasks (flow/kernels/loops.py):
in threads, or plain. The second starts no thread and gives the same bits, so it serves small runs,
runs that share their process with another one, and processes forked from one whose threads had been
started, where the threads of GNU OpenMP do not work.
"""

from __future__ import annotations

import functools
import multiprocessing
import operator
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, SupportsIndex

import numba
from threadpoolctl import ThreadpoolController

from flow.kernels.compiling import kernel
from flow.kernels.cores import usable_cores
from flow.kernels.loops import plain_loop, threaded_loop

IDLE_SPINS = "1000"
"""Turns for which a thread of GNU OpenMP looks for work before it sleeps. Its own default, 300,000,
keeps the core from a neighbour for as long as a whole kernel takes; less costs a lone run 1–9 %."""


class _ThisThread(threading.local):
    """What one thread of the program is in."""

    runs = 0
    """Runs within runs, as from a callback."""
    threads = 1
    """For kernels."""


_this = _ThisThread()
_lock = threading.Lock()
_running = 0
"""Threads of the program that are in a run."""
_blas_threads: list[int] = []
"""What each BLAS had before the first of them came in."""
_team = threading.Lock()
"""Held by the kernel that uses many threads: some layers abort when two do."""
_forked = False


@contextmanager
def compute_with(threads: int) -> Iterator[None]:
    """Settings of a run: so many threads for kernels, one for BLAS.

    A process has one number of BLAS threads, on which the last bits of a product depend. The first
    run in sets it to one, the last one out sets it back, so that runs in several threads leave it
    as it was; meanwhile the whole process has one. While several runs go on, each has one thread.
    """
    before, _this.threads = _this.threads, threads
    _enter()
    try:
        yield
    finally:
        _leave()
        _this.threads = before


def _enter() -> None:
    global _running, _blas_threads
    _this.runs += 1
    if _this.runs == 1:
        with _lock:
            if _running == 0:
                _blas_threads = [library.get_num_threads() for library in _blas()]
                _set_blas_threads([1] * len(_blas_threads))
            _running += 1


def _leave() -> None:
    global _running
    _this.runs -= 1
    if _this.runs == 0:
        with _lock:
            _running -= 1
            if _running == 0:
                _set_blas_threads(_blas_threads)


@contextmanager
def serial_unless(many: bool) -> Iterator[None]:
    """One thread for little work: to wake the others would take longer."""
    before, _this.threads = _this.threads, _this.threads if many else 1
    try:
        yield
    finally:
        _this.threads = before


class ParallelKernel:
    """A kernel that runs its tasks in as many threads as :func:`compute_with` says.

    Its first argument, which callers leave out, is the loop for
    :func:`flow.kernels.loops.run_tasks`.

    With one thread, which is the rule outside of it, no threads are started. Results are the same.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        functools.update_wrapper(self, function)
        self.compiled: Any = kernel(function)

    def __call__(self, *arguments: Any) -> None:
        """Call it."""
        threads = _this.threads
        if threads > 1 and _running <= 1 and not _forked and _team.acquire(blocking=False):
            try:
                with _numba_using(threads):
                    self.compiled(threaded_loop(threads), *arguments)
            finally:
                _team.release()
        else:
            self.compiled(plain_loop(), *arguments)


parallel = ParallelKernel
"""The decorator."""


# How many threads there are ----------------------------------------------------------------------


def available_threads() -> int:
    """How many threads a run uses if nothing is said.

    The cores that this process may run on, by affinity and by the quota of its control group, no
    more than NUMBA_NUM_THREADS and OMP_NUM_THREADS say. One in a process that was started by
    multiprocessing (a pool, a worker of Dask or joblib), which has its neighbours there, unless
    NUMBA_NUM_THREADS says otherwise.
    """
    if multiprocessing.parent_process() is not None and "NUMBA_NUM_THREADS" not in os.environ:
        return 1
    most = min(_startable(), usable_cores())
    if _layer_started():
        most = min(most, numba.get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return max(1, min(most, int(wanted))) if wanted.strip().isdigit() else most


def checked_threads(threads: int | None) -> int:
    """`threads`, or as many as there are for None.

    Raises ValueError for fewer than one or more than can be started, TypeError for no number.
    """
    if threads is None:
        return available_threads()
    if isinstance(threads, bool) or not isinstance(threads, SupportsIndex):
        raise TypeError(f"expected threads as a whole number, got {threads!r}; write threads=2")
    count, most = operator.index(threads), _startable()
    if not 1 <= count <= most:
        raise ValueError(
            f"expected threads from 1 to {most}, the number of cores here or NUMBA_NUM_THREADS, "
            f"got {count}; leave it out for as many as there are"
        )
    return count


def _startable() -> int:
    """How many Numba starts: NUMBA_NUM_THREADS, else the cores of its affinity."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


# Starting them -----------------------------------------------------------------------------------


@contextmanager
def _numba_using(threads: int) -> Iterator[None]:
    """Numba with so many threads, and then with as many as it had."""
    if not _layer_started():
        _start_layer()
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _start_layer() -> None:
    """Load Numba's threading layer, whose idle threads soon sleep unless the user says otherwise.

    GNU OpenMP reads the setting when it is loaded and never again, so it is taken back.
    """
    said = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    if not said:
        os.environ["GOMP_SPINCOUNT"] = IDLE_SPINS
    try:
        numba.get_num_threads()
    finally:
        if not said:
            del os.environ["GOMP_SPINCOUNT"]


def _layer_started() -> bool:
    try:
        numba.threading_layer()  # type: ignore[attr-defined]
    except ValueError:
        return False
    return True


@cache
def _blas() -> list[Any]:
    """Looking for the libraries takes a millisecond; setting their threads a few microseconds."""
    return [
        library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"
    ]


def _set_blas_threads(counts: list[int]) -> None:
    """For each BLAS of this process.

    threadpoolctl leaves OpenBLAS to the thread of the program that set it first, and does nothing
    for others. Here whoever comes first sets it, and whoever leaves last sets it back.
    """
    for library, count in zip(_blas(), counts, strict=True):
        getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


def _after_fork() -> None:
    """A child has none of its parent's other threads, nor what they were in the middle of."""
    global _forked, _lock, _team, _running
    _lock, _team = threading.Lock(), threading.Lock()
    if _running > 0 and _this.runs == 0:
        _set_blas_threads(_blas_threads)
    _running = min(_this.runs, 1)
    _forked = _forked or _layer_started()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
