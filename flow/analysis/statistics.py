"""Means over independent runs and their uncertainty.

Features of one run are not independent of each other: one number per run, such as
``winners(...).largest_stayed.mean()``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit


def standard_error(values: ArrayLike) -> Any:
    """s/√k, the standard error of the mean of `values` : (k, …) over their first axis, (…).

    NaN for one run. Raises ValueError for none.
    """
    values = np.asarray(values, float)
    if values.ndim == 0 or len(values) == 0:
        raise ValueError(f"expected one entry per run, got shape {values.shape}; pass a list")
    if len(values) == 1:
        return np.full(values.shape[1:], np.nan)[()]
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def mean_and_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Mean over independent runs and half the width of its confidence interval (Student's t).

    values : (k,), one number per run. The half-width is NaN for one run. Raises ValueError for no
    values or a level outside (0, 1).
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected one number per run, got shape {values.shape}; pass a list")
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, got {level!r}; 0.95 is customary")
    error = standard_error(values)
    width = stdtrit(values.size - 1, 0.5 + 0.5 * level) if values.size > 1 else np.nan
    return float(values.mean()), float(width * error)


def share_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a share from independent trials, after Wilson.

        (p + z²/2k ± z √(p(1 − p)/k + z²/4k²)) / (1 + z²/k),    p = successes/k, k = trials

    Unlike mean ± half-width it stays in [0, 1], and none of k has an upper end. Raises ValueError
    for no trials, more successes than trials or a level outside (0, 1). Source: Wilson 1927.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(
            f"expected 0 <= successes <= trials > 0, got {successes} of {trials}; count again"
        )
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, got {level!r}; 0.95 is customary")
    z, p = float(ndtri(0.5 + 0.5 * level)), successes / trials
    middle = p + z * z / (2 * trials)
    half = z * np.sqrt(p * (1.0 - p) / trials + z * z / (4.0 * trials * trials))
    scale = 1.0 + z * z / trials
    low = float((middle - half) / scale) if successes > 0 else 0.0
    high = float((middle + half) / scale) if successes < trials else 1.0
    return low, high
