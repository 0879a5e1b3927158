"""Means over independent runs and their uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit


def mean_and_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Mean over independent runs and half the width of its confidence interval (Student's t).

    values : (seeds,), one number per run, such as ``winners(...).largest_stayed.mean()``;
    features of one run are not independent of each other. The half-width is NaN for one run.
    Raises ValueError for no values or a level outside (0, 1).
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected one number per run, got shape {values.shape}; pass a list")
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, got {level!r}; 0.95 is customary")
    if values.size == 1:
        return float(values[0]), np.nan
    error = values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean()), float(stdtrit(values.size - 1, 0.5 + 0.5 * level) * error)
