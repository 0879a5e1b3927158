"""Seeded starting weights."""

from __future__ import annotations

import math
import operator

import numpy as np
from numpy.typing import DTypeLike


def _positive_integer(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
    return number


def gaussian_init(
    n: int, m: int, *, seed: int, scale: float = 1.0, dtype: DTypeLike = np.float64
) -> np.ndarray:
    """W_ik ~ N(0, scale²/m), so that rows have norm about `scale`.

    Parameters
    ----------
    n, m : features and neurons, ≥ 1.
    seed : seed of ``numpy.random.default_rng``.
    scale : typical row norm at the start; the paper's figure 2 uses 0.9, figure 3 uses 1.
    dtype : drawn in float64, then converted.

    Returns W : (n, m). Raises ValueError for sizes below 1 or a negative or non-finite scale.
    Source: paper, section 2.1; THE_FLOW section 3.
    """
    n, m = _positive_integer("n", n), _positive_integer("m", m)
    if not (math.isfinite(scale) and scale >= 0.0):
        raise ValueError(f"scale must be a finite number >= 0, got {scale!r}")
    W = np.random.default_rng(seed).normal(0.0, scale / np.sqrt(m), (n, m))
    return W.astype(dtype, copy=False)


def check_entries(name: str, W: np.ndarray, *, finite: bool = True) -> None:
    """ValueError unless W is float32 or float64 and, if asked for, finite."""
    if W.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"{name} must be float32 or float64, got {W.dtype}; "
            f"convert it with {name}.astype(float)"
        )
    if finite and not np.isfinite(W).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
