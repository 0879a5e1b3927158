"""Reaching unit length: feature benefit alone, solved, and the time it costs the slow flow.

With λ = 0 and interference off the length N = ‖W‖ of an encoding obeys the logistic
equation N' = c (1 − N²) N. On the slow time 1/λthis is over at once, but it shifts every
later event by a constant. Times are flow time; everything broadcasts.

Source: theory/README, section 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._checks import Array, non_negative, positive, real

__all__ = ["inverse_norm", "start_offset", "undo_start_offset"]


def inverse_norm(time: ArrayLike, norm: ArrayLike, *, c: float = 1.0) -> Array:
    """Y(t) = 1/‖W(t)‖ under feature benefit alone; exact.

        Y(t) = √(1 + (1/‖W(0)‖² − 1) e^(−2ct))

    time, norm : t ≥ 0 and ‖W(0)‖ > 0, broadcast; c : strength of feature benefit.
    Raises ValueError for values out of range.
    """
    excess = 1 / positive("norm", norm) ** 2 - 1
    with np.errstate(over="ignore", under="ignore"):  # late, it is nothing
        fade = np.exp(-2 * positive("c", c) * non_negative("time", time))
        return np.asarray(np.sqrt(1 + excess * fade))


def start_offset(time: ArrayLike, norm: ArrayLike, *, c: float = 1.0) -> Array:
    """Time that starting away from unit length costs, up to `time`, at λ = 0.

        off(t) = ∫₀^t (Y − 1) dt' = (1/c) [(Y₀ − Y) − ln((1 + Y₀) / (1 + Y))],
        Y = 1/‖W(t)‖ as in `inverse_norm`,    Y₀ = 1/‖W(0)‖

    For t = ∞ this is t_off = (1/c) [(Y₀ − 1) − ln((1 + Y₀)/2)]. Exact at λ = 0.
    time, norm, c : as in `inverse_norm`. Source: theory/README, section 2.
    """
    first, now = inverse_norm(0.0, norm, c=c), inverse_norm(time, norm, c=c)
    return np.asarray(((first - now) - np.log((1 + first) / (1 + now))) / positive("c", c))


def undo_start_offset(shifted: ArrayLike, norm: ArrayLike, *, c: float = 1.0) -> Array:
    """The time t ≥ 0 with t + off(t) = `shifted` (0 where `shifted` is negative).

    Newton's method from max(shifted − t_off, 0): t + off(t) is concave for ‖W(0)‖ < 1 and
    convex for > 1, and that start lies on the side from which convergence is monotone.

    shifted, norm : broadcast; c : strength of feature benefit.
    """
    goal, start = np.broadcast_arrays(real("shifted", shifted), positive("norm", norm))
    t = np.maximum(goal - start_offset(np.inf, start, c=c), 0.0)
    todo = np.isfinite(t) & (goal > 0)
    t = np.where(goal > 0, t, 0.0)
    aim, n0, now = goal[todo], start[todo], t[todo]
    for _ in range(60):
        step = (aim - now - start_offset(now, n0, c=c)) / inverse_norm(now, n0, c=c)
        now = np.maximum(now + step, 0.0)
        if np.all(np.abs(step) <= 1e-14 * (now + 1 / c)):
            break
    t[todo] = now
    return np.asarray(t)
