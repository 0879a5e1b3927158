"""One encoding on its own: feature benefit against regularization, solved.

With interference off the rows decouple and each coordinate obeys, while it is non-zero,

    d|W_k|/dt = c (1 − ‖W‖²) |W_k| − λ

With a₁ ≥ a₂ ≥ … the initial sizes, everything follows from two scalars E and S:
|W_k(t)| = E(t) (a_k − S(t))₊. Coordinate k dies exactly when S reaches a_k; the ℓ1 norm falls
like 1/(λt) on the way. Row functions work along the last axis and broadcast over others.

First come the statements about a given row, then appendix B. The limit of a Gaussian row of many
coordinates, and the paper's Θ law, are in `theory.universal` and offered from here too.
Times are flow time; (c, λ, t) describes the same path as (1, λ/c, c t).

Sources: paper, section 2.4 and appendix B; theory/README, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._checks import Array, non_negative, positive, real, require
from theory.equilibrium import row_survives
from theory.unit_length import start_offset, undo_start_offset
from theory.universal import (
    UniversalLaw,
    half_normal_quantiles,
    paper_curve,
    theta_law,
    universal_law,
    universal_law_at,
)

__all__ = [
    "ExtinctionSchedule",
    "SortedRow",
    "UniversalLaw",
    "affine_law",
    "extinction_schedule",
    "gamma",
    "gamma_rate",
    "half_normal_quantiles",
    "l1_rate",
    "paper_curve",
    "relative_variance",
    "relative_variance_bounds",
    "row_survives",
    "start_offset",
    "theta_law",
    "threshold",
    "universal_law",
    "universal_law_at",
    "winner_is_unique",
]


def threshold(norm_squared: ArrayLike, lam: ArrayLike, *, c: ArrayLike = 1.0) -> Array:
    """Size above which a weight grows and below which it shrinks.

        θ = λ / (c (1 − ‖W‖²))

    norm_squared, lam, c : broadcast; at ‖W_i‖² ≥ 1 every weight shrinks, and infinity is returned.
    Exact. Source: paper, section 2.4. Raises ValueError unless λ ≥ 0, c > 0.
    """
    growth = positive("c", c) * (1 - non_negative("norm_squared", norm_squared))
    lam_ = non_negative("lam", lam)
    grows = growth > 0
    return np.asarray(np.where(grows, lam_ / np.where(grows, growth, 1.0), np.inf))


def gamma(shift: ArrayLike, largest: ArrayLike) -> Array:
    """The stretch of relative gaps, in closed form.

        γ = a₁ / (a₁ − S),      1 − W_k/W₁ = γ (1 − a_k/a₁)

    It solves the paper's γ' = (λ/W₁) γ, γ(0) = 1. Exact.

    shift : S in [0, a₁); largest : a₁. Source: paper, appendix B; theory/README, section 2.
    Raises ValueError outside that range.
    """
    shift_, largest_ = non_negative("shift", shift), positive("largest", largest)
    require(shift_ < largest_, "0 <= S < a_1", (shift, largest), "S never reaches the largest")
    return np.asarray(largest_ / (largest_ - shift_))


def gamma_rate(relative_gap: ArrayLike, winner: ArrayLike, lam: ArrayLike) -> Array:
    """Rate of a relative gap 1 − W_k/W₁ (and of γ itself): (λ/W₁)·gap.

    Exact while W_k > 0; it does not involve W_k, which is why one γ serves all k.

    relative_gap, winner, lam : 1 − W_k/W₁, W₁ and λ, broadcast.
    Source: paper, appendix B. Raises ValueError unless W₁ > 0.
    """
    rate = non_negative("lam", lam) / positive("winner", winner)
    return np.asarray(rate * np.asarray(relative_gap))


def affine_law(start: ArrayLike, winner: ArrayLike, stretch: ArrayLike) -> Array:
    """Non-zero weights at time t from the start, the winner's size and γ.

        W_k(t) = (W₁(t) (1 − γ) + γ W₁(t)/W₁(0) W_k(0))₊

    start : (…, m) sizes at t = 0, the largest of the last axis being W₁(0);
    winner : W₁(t), (…); stretch : γ(t), (…). Exact.
    Source: paper, appendix B.
    """
    start_ = non_negative("start", start)
    winner_ = np.asarray(winner)[..., None]
    stretch_ = np.asarray(stretch)[..., None]
    share = start_ / start_.max(axis=-1, keepdims=True)
    return np.asarray(np.maximum(winner_ * (1 - stretch_ * (1 - share)), 0.0))


def winner_is_unique(row: ArrayLike) -> NDArray[np.bool_]:
    """Whether the largest size is attained once; then it wins, whereas tied winners never separate.

    row : (…, m).
    """
    size = np.sort(np.abs(real("row", row)), axis=-1)
    alone = size.shape[-1] == 1
    return np.asarray(size[..., -1] > (0.0 if alone else size[..., -2]))


@dataclass(frozen=True)
class SortedRow:
    """Initial sizes of rows, sorted, with the running moments every formula here is made of.

    Everything is kept relative to the largest size a₁, through the gaps d_k = a₁ − a_k and
    D = a₁ − S. Gaps of tied weights are exactly zero and variances are sums of squares, so
    nothing cancels however close the race. With k survivors, mean gap d̄_k and V_k the sum of
    their squared deviations,

        Q = Σ_k (a_k − S)₊² = k (D − d̄_k)² + V_k,     P = Σ_k (a_k − S)₊ = k (D − d̄_k)

    Build it with `SortedRow.of(weights)`. Source: theory/README, section 2.
    """

    gaps: Array
    """(…, m) a₁ − a_k, ascending from 0"""
    largest: Array
    """(…) a₁"""

    @classmethod
    def of(cls, weights: ArrayLike) -> SortedRow:
        """Sort |weights| : (…, m). Raises ValueError for NaN, infinity or an empty row."""
        size = np.abs(real("weights", weights))
        require(
            size.ndim >= 1 and size.shape[-1] >= 1 and bool(np.isfinite(size).all()),
            "finite weights with at least one coordinate",
            size.shape,
            "pass an array of shape (..., m), m >= 1",
        )
        ordered = np.sort(size, axis=-1)[..., ::-1]
        largest = ordered[..., 0]
        return cls(gaps=largest[..., None] - ordered, largest=largest)

    @cached_property
    def counts(self) -> Array:
        """(m,) the numbers of survivors 1 … m."""
        return np.arange(1, self.gaps.shape[-1] + 1, dtype=np.float64)

    @cached_property
    def mean_gaps(self) -> Array:
        """(…, m) d̄_k, the mean of the k smallest gaps."""
        return np.asarray(np.cumsum(self.gaps, axis=-1) / self.counts)

    @cached_property
    def spreads(self) -> Array:
        """(…, m) V_k = sum of squared deviations of the k largest sizes from their mean."""
        # Welford: V_k = V_{k−1} + (d_k − d̄_{k−1})² (k−1)/k, a sum of squares throughout.
        step = np.zeros_like(self.gaps)
        k = self.counts[1:]
        step[..., 1:] = (self.gaps[..., 1:] - self.mean_gaps[..., :-1]) ** 2 * ((k - 1) / k)
        return np.asarray(np.cumsum(step, axis=-1))

    @property
    def norm(self) -> Array:
        """(…) ‖W(0)‖."""
        return np.sqrt(self.moments(np.zeros_like(self.largest))[2])

    def survivors(self, shift: ArrayLike) -> NDArray[np.int64]:
        """(…) number of a_k above S, i.e. of gaps below D. shift : S, (…)."""
        room = self.largest - np.asarray(shift, dtype=np.float64)
        return np.asarray((self.gaps < room[..., None]).sum(axis=-1))

    def moments(self, shift: ArrayLike) -> tuple[NDArray[np.int64], Array, Array]:
        """(m', P, Q) at shift S : (…), for S in [0, a₁)."""
        room = self.largest - np.asarray(shift, dtype=np.float64)
        alive = self.survivors(shift)
        pick = np.maximum(alive - 1, 0)[..., None]
        mean = np.take_along_axis(np.broadcast_to(self.mean_gaps, self.gaps.shape), pick, -1)
        spread = np.take_along_axis(self.spreads, pick, -1)
        above = np.where(alive > 0, room - mean[..., 0], 0.0)
        square = np.where(alive > 0, alive * above**2 + spread[..., 0], 0.0)
        return alive, np.asarray(alive * above), np.asarray(square)

    def rates(
        self, norm: ArrayLike, shift: ArrayLike, lam: ArrayLike, *, c: ArrayLike = 1.0
    ) -> tuple[Array, Array]:
        """(dN/dt, dS/dt), the two-scalar right-hand side in its well-conditioned form.

            N' = c (1 − N²) N − λ r,    S' = λ √Q / N,    r = P / √Q

        norm, shift : N = ‖W(t)‖ and S in [0, a₁), (…) each. Exact: |W_k| = N (a_k − S)₊ / √Q and
        ‖W‖₁ = N r. For one survivor r = 1 and N alone matters (S tends to a₁).
        Source: theory/README, section 2.
        """
        n_, lam_ = np.asarray(norm, dtype=np.float64), non_negative("lam", lam)
        _, total, square = self.moments(shift)
        root = np.sqrt(square)
        growth = positive("c", c) * (1 - n_**2) * n_
        return np.asarray(growth - lam_ * total / root), np.asarray(lam_ * root / n_)

    def weights(self, norm: ArrayLike, shift: ArrayLike) -> Array:
        """(…, m) sizes at (N, S), in descending order: N (a_k − S)₊ / √Q."""
        room = (self.largest - np.asarray(shift, dtype=np.float64))[..., None]
        scale = (np.asarray(norm) / np.sqrt(self.moments(shift)[2]))[..., None]
        return np.asarray(scale * np.maximum(room - self.gaps, 0.0))


@dataclass(frozen=True)
class ExtinctionSchedule:
    """When each weight of a row dies, in closed form; made by `extinction_schedule`."""

    row: SortedRow
    """the start"""
    times: Array
    """(…, m) death time of the k-th largest weight; infinity for the winner (and its ties)"""
    lam: float
    """l1 strength"""
    c: float
    """constant in front of feature benefit"""
    order: int
    """0: leading order, 1: with the first correction"""

    def survivors(self, time: ArrayLike) -> NDArray[np.int64]:
        """Number m' of non-zero weights at `time`; times broadcast in front of the row axes."""
        at = np.asarray(time, dtype=np.float64)
        if self.times.ndim == 1:
            return np.asarray(np.searchsorted(-self.times, -at, side="left"))
        return np.asarray((self.times > at[..., None]).sum(axis=-1))

    def l1_at_extinctions(self) -> Array:
        """(…, m) ‖W‖₁ at the moment the k-th largest weight dies (S = a_k).

            leading order  r,      first order  r (1 − λ r / 2c),      r = P / √Q

        with ‖W‖ = 1 − λ r / 2c quasi-steady, so first order needs t ≫ 1/c. The winner's
        entry is the limit r = 1 (or sqrt of the number of ties).
        """
        row = self.row
        above = row.gaps - row.mean_gaps
        square = row.counts * above**2 + row.spreads
        tied = square <= 0
        ratio = row.counts * above / np.sqrt(np.where(tied, 1.0, square))
        ratio = np.where(tied, np.sqrt(row.counts), ratio)
        return np.asarray(ratio * (1 - self.order * self.lam * ratio / (2 * self.c)))


def extinction_schedule(
    weights: ArrayLike, lam: float, *, c: float = 1.0, order: int = 1
) -> ExtinctionSchedule:
    """Death times of all weights of a row, without integrating anything: O(m log m).

        leading order    λt = T(S) = ∫₀^S ds / √(Q(s)),     t_k = T(a_k) / λ
        first order      t + off(t) = T(S)/λ − (1/4c) ln(Q(0)/Q(S))

    Q is quadratic between extinctions, so T is a finite sum of arsinh pieces (1/√k)
    arsinh((S − ā) √(k/V)) with ā the mean initial size of the k survivors, or of logarithms where
    V = 0. off(t) is what growing (or shrinking) to
    unit length costs, see `start_offset`; for t ≫ 1/c it is the constant t_off.

    Assumptions: `row_survives`, and λ ‖W(0)‖₁ / c small. Error in t: O(1/c) at
    leading order (relative error O(λ)), O(λ) at first order.

    weights : (…, m), signs are ignored; lam, c : λ, c; order : 0 or 1.
    Source: theory/README, section 2.
    Raises ValueError unless λ > 0, c > 0, order in (0, 1).
    """
    lam_, c_ = float(positive("lam", lam)), float(positive("c", c))
    require(order in (0, 1), "order 0 or 1", order, "higher orders are not worked out")
    row = SortedRow.of(weights)
    require(row.largest > 0, "a row with a non-zero weight", weights, "a zero row stays zero")
    scaled, square = _schedule_integral(row)
    times = scaled / lam_
    if order == 1:
        start = row.norm[..., None] ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            late = np.where(square > 0, np.log(start / square), 0.0)  # times are infinite there
        times = undo_start_offset(times - late / (4 * c_), row.norm[..., None], c=c_)
        times = np.where(row.gaps < row.largest[..., None], times, 0.0)  # zeros, not rounding
    return ExtinctionSchedule(row=row, times=times, lam=lam_, c=c_, order=order)


def _schedule_integral(row: SortedRow) -> tuple[Array, Array]:
    """T(a_k) and Q(a_k), each (…, m), for descending k = 1 … m."""
    k, gaps, spread = row.counts, row.gaps, row.spreads
    # While exactly k survive, D = a₁ − S runs from the next gap (or a₁ at the start) to d_k.
    begin = np.concatenate([gaps[..., 1:], row.largest[..., None]], axis=-1) - row.mean_gaps
    end = gaps - row.mean_gaps
    flat = spread <= 0
    width = np.sqrt(k / np.where(flat, 1.0, spread))
    curved = np.arcsinh(begin * width) - np.arcsinh(end * width)
    # V = 0: all survivors tied, ln(begin/end) with end = 0 unless nothing happens (begin = 0 too).
    with np.errstate(divide="ignore", invalid="ignore"):
        straight = np.where(begin > end, np.log(begin / end), 0.0)
    pieces = np.where(flat, straight, curved) / np.sqrt(k)
    total = np.cumsum(pieces[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray(total), np.asarray(k * end**2 + spread)


# Appendix B --------------------------------------------------------------------------------------


def l1_rate(
    norm1: ArrayLike,
    norm_squared: ArrayLike,
    survivors: ArrayLike,
    lam: ArrayLike,
    *,
    c: ArrayLike = 1.0,
) -> Array:
    """Rate of the ℓ1 norm with interference off; exact.

        d‖W‖₁/dt = c (1 − ‖W‖²) ‖W‖₁ − λ m'

    norm1, norm_squared, survivors, lam, c : ‖W‖₁, ‖W‖², m', λ, c, broadcast.
    Source: paper, appendix B, first line.
    """
    growth = positive("c", c) * (1 - non_negative("norm_squared", norm_squared))
    return np.asarray(growth * np.asarray(norm1) - non_negative("lam", lam) * np.asarray(survivors))


def relative_variance(row: ArrayLike) -> Array:
    """Var X / (E X)² of the non-zero sizes of each row : (…, m) → (…).

    In balance (d‖W‖²/dt = 0) it gives the speed of sparsification,
    −d‖W‖₁/dt = (λ / ‖W‖²) ‖W‖₁²·(Var X / (E X)²).
    Source: paper, appendix B. Raises ValueError for a row of zeros.
    """
    size = np.abs(real("row", row))
    alive = (size > 0).sum(axis=-1)
    require(alive > 0, "a non-zero weight in every row", row, "drop dead rows first")
    mean = size.sum(axis=-1) / alive
    spread = np.where(size > 0, (size - mean[..., None]) ** 2, 0.0).sum(axis=-1) / alive
    return np.asarray(spread / mean**2)


def relative_variance_bounds(weights: ArrayLike) -> tuple[Array, Array]:
    """Bounds on the relative variance while m' weights survive, for every m' = 1 … m.

        Var_m' / (mean_m' − a_{m'+1})²  ≤  Var X / (E X)²  ≤  Var_m' / (mean_m' − a_m')²

    Var_m', mean_m' : of the m' largest initial sizes; a_{m+1} := 0. Exact for the flow with
    interference off: translation by S in [a_{m'+1}, a_m') is all that happens to the ratio.
    Where all survivors are tied both bounds are 0.

    weights : (…, m) at t = 0 (or `half_normal_quantiles`) → two arrays (…, m), entry
    m' − 1 for m' survivors. Source: paper, appendix B and figure 6.
    """
    row = SortedRow.of(weights)
    variance = row.spreads / row.counts
    beyond = np.concatenate([row.gaps[..., 1:], row.largest[..., None]], axis=-1)
    tied = row.spreads <= 0
    low = variance / np.where(tied, 1.0, beyond - row.mean_gaps) ** 2
    high = variance / np.where(tied, 1.0, row.gaps - row.mean_gaps) ** 2
    return np.asarray(low), np.asarray(high)
