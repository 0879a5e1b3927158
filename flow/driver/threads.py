"""Settings of a process while runs go on in it: threads, and what NumPy says of overflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
from threadpoolctl import threadpool_limits

SMALL = 2**14
"""Weights below which one thread is faster than waking several, and safe from waiting for them."""


@contextmanager
def prepared(size: int) -> Iterator[None]:
    """Settings of a run of `size` weights.

    Results must not depend on the number of BLAS threads, so slices run BLAS with one; a run that
    overflows ends with a status, not with warnings.
    """
    with (
        threadpool_limits(limits=1, user_api="blas"),
        np.errstate(over="ignore", invalid="ignore"),
        numba_threads(size >= SMALL),
    ):
        yield


@contextmanager
def numba_threads(many: bool) -> Iterator[None]:
    """All threads, or one for little work; no result depends on it."""
    before = numba.get_num_threads()
    numba.set_num_threads(before if many else 1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
