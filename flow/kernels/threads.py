"""Threads: how many a run uses, and BLAS with one while any run goes on.

A process has one number of BLAS threads. The first run in sets it to one, the last one out sets it
back, so that runs in several threads leave it as it was; meanwhile the whole process has one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba
from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limiter: Any = None


@cache
def _controller() -> ThreadpoolController:
    """Looking for libraries takes a millisecond; setting their threads a few microseconds."""
    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """BLAS with one thread: results must not depend on the number of its threads."""
    global _inside, _limiter
    with _lock:
        if _inside == 0:
            _limiter = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limiter.restore_original_limits()
                _limiter = None


@contextmanager
def numba_threads(many: bool) -> Iterator[None]:
    """All threads, or one for little work; no result depends on it."""
    before = numba.get_num_threads()
    numba.set_num_threads(before if many else 1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
