"""Input checks shared by the theory files: what was expected, what came, what to do."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def require(condition: ArrayLike, expected: str, got: object, remedy: str) -> None:
    """Raise ValueError unless every element of `condition` holds."""
    if not np.all(condition):
        raise ValueError(f"expected {expected}, got {got!r}; {remedy}")


def real(name: str, value: ArrayLike) -> Array:
    """`value` as a float64 array with no NaN in it."""
    array = np.asarray(value, dtype=np.float64)
    require(~np.isnan(array), f"{name} without NaN", value, "remove the missing values")
    return array


def positive(name: str, value: ArrayLike) -> Array:
    """`value` as a float64 array, all elements finite and > 0."""
    array = real(name, value)
    require((array > 0) & np.isfinite(array), f"{name} > 0 and finite", value, f"pass {name} > 0")
    return array


def non_negative(name: str, value: ArrayLike) -> Array:
    """`value` as a float64 array, all elements ≥ 0 (infinity allowed)."""
    array = real(name, value)
    require(array >= 0, f"{name} >= 0", value, f"pass {name} >= 0")
    return array
