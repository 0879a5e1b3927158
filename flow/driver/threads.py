"""Settings of a process while a run goes on in it: threads, and what NumPy says of overflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from flow.kernels.threads import numba_threads, single_threaded_blas

SMALL = 2**14
"""Weights below which one thread is faster than waking several, and safe from waiting for them."""


@contextmanager
def run_settings(size: int) -> Iterator[None]:
    """Settings for a run of `size` weights; a run that overflows ends with a status instead."""
    with (
        single_threaded_blas(),
        numba_threads(size >= SMALL),
        np.errstate(all="ignore"),
    ):
        yield
