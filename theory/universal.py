"""The universal law: a wide Gaussian encoding sparsifies along one curve, without constants.

Interference off. For m → ∞ with entries N(0, s²/m) the sums over coordinates of
`theory.sparsification` become integrals over the half-normal distribution, and the state
depends on λt√m alone. Beside it stand the paper's coarser statements of the same
thing: the Θ law and the curve drawn in figure 2. Times are flow time; arrays broadcast.

Sources: paper, section 2.4, figures 2 and 6; theory/README, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erfc, erfcx, ndtri

from theory._checks import Array, non_negative, positive, require
from theory.unit_length import inverse_norm, start_offset, undo_start_offset

__all__ = [
    "UniversalLaw",
    "excess_mean",
    "excess_square",
    "half_normal_quantiles",
    "leading_time",
    "paper_curve",
    "survivor_share",
    "theta_law",
    "universal_law",
    "universal_law_at",
]

_X_MAX = 10.0  # 2 * upper tail at 10 is 1.5e-23: fewer than one survivor of any row there is
_KNOTS = np.linspace(0.0, _X_MAX, 201)
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)


def excess_mean(x: ArrayLike) -> Array:
    """p(x) = E(|z| − x)₊ = 2(φ(x) − x Φ̄(x)) for standard normal z, 0 ≤ x ≤ 10."""
    x_ = _in_range(x)
    return np.asarray(2 * _density(x_) * (1 - x_ * _mills(x_)))


def excess_square(x: ArrayLike) -> Array:
    """q(x) = E(|z| − x)₊² = 2((1 + x²) Φ̄(x) − x φ(x)), 0 ≤ x ≤ 10.

    Relative accuracy about x⁴ times machine precision (2e-12 at x = 10).
    """
    x_ = _in_range(x)
    return np.asarray(2 * _density(x_) * ((1 + x_**2) * _mills(x_) - x_))


def survivor_share(x: ArrayLike) -> Array:
    """m'/m = 2 Φ̄(x), 0 ≤ x ≤ 10."""
    return np.asarray(erfc(_in_range(x) / np.sqrt(2)))


def leading_time(x: ArrayLike) -> Array:
    """λt√m = ∫₀ˣ du / √(q(u)) at leading order, to about 1e-13 relative."""
    x_ = _in_range(x)
    panel = np.minimum((x_ / _KNOTS[1]).astype(np.int64), len(_KNOTS) - 2)
    return np.asarray(_time_at_knots()[panel] + _integrate(_KNOTS[panel], x_))


@dataclass(frozen=True)
class UniversalLaw:
    """State of a wide Gaussian row along its sparsification, in units free of m and λ."""

    x: Array
    """shift in units of the initial standard deviation, S √m / ‖W(0)‖"""
    time: Array
    """λt√m"""
    l1: Array
    """‖W‖₁ / √m"""
    survivors: Array
    """m' / m"""


def universal_law(x: ArrayLike, *, coupling: float = 0.0, norm: float = 1.0) -> UniversalLaw:
    """The law of sparsification for Gaussian starts, by its parameter x in [0, 10].

        λt√m = ∫₀ˣ du/√q,   ‖W‖₁/√m = p/√q,   m'/m = 2 Φ̄(x)

    at coupling 0 (leading order; relative error O(coupling)). Otherwise, with
    Λ = λ√m/c, s = ‖W(0)‖ and Y = 1/‖W‖ as in `start_offset`,

        c (t + off(t)) Λ = ∫₀ˣ du/√q − (Λ/4) ln(1/q)
        ‖W‖₁/√m = (p/√q) (1/Y(t) − (Λ/2) p/√q)

    For t ≫ 1/c, where off(t) is the constant t_off, the error is O(Λ²) in both; before
    that it is O(Λ²) in time and O(Λ) in ℓ1. Limit m → ∞ at fixed x; a random
    start adds fluctuations of relative size 1/√m', a quantile start
    (`half_normal_quantiles`) has none.

    No constant is fitted, and ‖W‖₁·λt = 1 + 2/x² + …: the paper's Θ(1/λt)
    has constant 1, approached logarithmically slowly (maximum 1.138 near x = 3).

    x : any shape; coupling : Λ in [0, 1]; norm : s > 0. Source: theory/README, section 2.
    Raises ValueError outside these ranges.
    """
    x_ = _in_range(x)
    _check_coupling(coupling)
    q = excess_square(x_)
    ratio = excess_mean(x_) / np.sqrt(q)
    time = leading_time(x_)
    if coupling == 0:
        return UniversalLaw(x_, time, ratio, survivor_share(x_))
    ct = undo_start_offset(time / coupling + np.log(q) / 4, norm)
    length = 1 / inverse_norm(ct, norm)
    return UniversalLaw(
        x_, coupling * ct, ratio * (length - coupling * ratio / 2), survivor_share(x_)
    )


def universal_law_at(time: ArrayLike, *, coupling: float = 0.0, norm: float = 1.0) -> UniversalLaw:
    """`universal_law` by time instead of x: the x whose λt√m is `time`.

    Newton's method in ln t; the time map is increasing for coupling ≤ 1.

    time : λt√m ≥ 0, any shape, at most its value at x = 10 (4e11); coupling, norm : as in
    `universal_law`.
    """
    _check_coupling(coupling)
    goal = non_negative("time", time)
    if coupling > 0:
        ct = goal / coupling
        goal = coupling * (ct + start_offset(ct, norm))

    def shifted(x: Array) -> tuple[Array, Array]:
        q = excess_square(x)
        rate = 1 / np.sqrt(q) - coupling * excess_mean(x) / (2 * q)
        return leading_time(x) + coupling * np.log(q) / 4, rate

    knot_values = shifted(_KNOTS)[0]
    require(
        goal <= knot_values[-1] * (1 + 1e-12),
        "a time at which x <= 10",
        time,
        "by then not even one weight in 10^22 is left: the law does not reach so far",
    )
    x = np.interp(goal, knot_values, _KNOTS)
    for _ in range(50):
        value, rate = shifted(x)
        # Newton on ln(time): the time map is nearly exponential in x once x > 1.
        log_step = np.log1p((goal - value) / np.where(value > 0, value, 1.0)) * value / rate
        step = np.where(x < 1, (goal - value) / rate, log_step)
        x = np.clip(x + step, 0.0, _X_MAX)
        if np.all(np.abs(step) <= 1e-13 * (1 + x)):
            break
    return universal_law(x, coupling=coupling, norm=norm)


def theta_law(time: ArrayLike, lam: ArrayLike, m: ArrayLike) -> Array:
    """The paper's law for ‖W_i‖₁, its hidden constants set to 1.

        √m for t ≤ 1/(λ√m),   1/(λt) up to t = 1/λ,   1 after

    The paper's theorem is with unknown constants; the true ones come from `universal_law`.
    time, lam, m : broadcast. Independent of c. Source: paper, section 2.4.
    """
    elapsed = non_negative("lam", lam) * non_negative("time", time)
    root = np.sqrt(positive("m", m))
    return np.asarray(1 / np.clip(elapsed, 1 / root, 1.0))


def paper_curve(time: ArrayLike, lam: ArrayLike, m: ArrayLike) -> tuple[Array, Array]:
    """The curves drawn in the paper's figure 2: (‖W‖₁, m').

        ‖W‖₁ = max(1/(1/√m + λ t), 1),      m' = ‖W‖₁²

    A drawn form, not a theorem. Against the universal law at leading order it is between +25 % and
    −18 % off in ℓ1 and up to 2.7 times too low in m'.

    time, lam, m : broadcast. Source: paper, figure 2; theory/README, sections 2 and 7.
    """
    elapsed = non_negative("lam", lam) * non_negative("time", time)
    norm1 = np.maximum(1 / (1 / np.sqrt(positive("m", m)) + elapsed), 1.0)
    return np.asarray(norm1), np.asarray(norm1**2)


def half_normal_quantiles(m: int, *, scale: float = 1.0) -> Array:
    """Ideal Gaussian start: the mid-quantiles of |N(0, scale²/m)|, descending, shape (m,).

        a_k = (scale/√m)·F⁻¹(1 − (k − 1/2)/m),    F the half-normal distribution

    m, scale : number of weights, s. Source: paper, figure 6 ("idealized version that hits regular
    percentiles").
    """
    require(m >= 1, "m >= 1", m, "a row has at least one weight")
    upper_tail = (np.arange(1, m + 1) - 0.5) / (2 * m)
    return np.asarray(-ndtri(upper_tail) * (float(positive("scale", scale)) / np.sqrt(m)))


def _density(x: Array) -> Array:
    return np.asarray(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))


def _mills(x: Array) -> Array:
    """Φ̄(x) / φ(x), without underflow."""
    return np.asarray(np.sqrt(np.pi / 2) * erfcx(x / np.sqrt(2)))


def _in_range(x: ArrayLike) -> Array:
    x_ = non_negative("x", x)
    require(x_ <= _X_MAX, f"0 <= x <= {_X_MAX:g}", x, "no weight survives so far out")
    return x_


def _check_coupling(coupling: float) -> None:
    require(
        0 <= coupling <= 1,
        "0 <= lambda sqrt(m)/c <= 1",
        coupling,
        "the expansion is in this number; the paper's theory assumes it is below 1",
    )


def _integrate(low: Array, high: Array) -> Array:
    """Gauss-Legendre over [low, high] of 1/√q; panels of 0.05 leave only rounding error."""
    half = (high - low) / 2
    u = low[..., None] + half[..., None] * (1 + _NODES)
    return np.asarray(half * (_NODE_WEIGHTS / np.sqrt(excess_square(u))).sum(axis=-1))


@cache
def _time_at_knots() -> Array:
    return np.concatenate([[0.0], np.cumsum(_integrate(_KNOTS[:-1], _KNOTS[1:]))])
