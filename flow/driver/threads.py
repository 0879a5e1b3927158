"""Settings while a run goes on: its threads, and what NumPy says of overflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from flow.defaults import SMALL_RUN
from flow.kernels.threads import compute_with


@contextmanager
def run_settings(size: int, threads: int) -> Iterator[None]:
    """Settings for a run of `size` weights; a run that overflows ends with a status instead.

    threads : how many compute, unless the run is small.
    """
    with compute_with(threads if size >= SMALL_RUN else 1), np.errstate(all="ignore"):
        yield
