"""Film: weights picked up along a run for its pictures, few enough to be kept with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Film:
    """Frames of W, evenly spaced in the logarithm of time since the start."""

    times: np.ndarray
    """(k,) flow times of the frames."""
    rows: np.ndarray
    """(r,) features that are kept: all, or evenly spaced ones where all would take too much."""
    weights: np.ndarray
    """(k, r, m) float32."""
