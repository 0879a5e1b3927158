"""Seeded starting weights, and the one check of a W."""

from __future__ import annotations

import math
import operator

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


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
    Source: paper, section 2.1; theory/README, section 3.
    """
    n, m = _positive_integer("n", n), _positive_integer("m", m)
    if not (math.isfinite(scale) and scale >= 0.0):
        raise ValueError(f"scale must be a finite number >= 0, got {scale!r}")
    W = np.random.default_rng(seed).normal(0.0, scale / np.sqrt(m), (n, m))
    return W.astype(dtype, copy=False)


def check_weights(
    W: ArrayLike, *, name: str = "W", finite: bool = True, floats: bool = True
) -> np.ndarray:
    """`W` as an array (n features, m neurons); ValueError for what no run can have.

    With `finite`, NaN and infinity are refused; with `floats`, all but float32 and float64.
    """
    W = np.asarray(W)
    if W.ndim != 2 or 0 in W.shape:
        raise ValueError(
            f"expected {name} as (n features, m neurons) with n, m >= 1, got shape {W.shape}; "
            f"pass one W, such as run.final"
        )
    if floats and W.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"expected {name} of float32 or float64, got {W.dtype}; convert it with W.astype(float)"
        )
    if finite and not np.isfinite(W).all():
        raise ValueError(
            f"expected {name} to be finite, got NaN or infinity; look at the status of the run "
            f"that made it"
        )
    return W
