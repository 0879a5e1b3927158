"""One encoding on its own: feature benefit against regularization, solved.

With interference off the rows decouple and each coordinate obeys, while it is non-zero,

    d|W_k|/dt = c (1 - ||W||^2) |W_k| - lambda

With a_1 >= a_2 >= ... the initial sizes, everything follows from two scalars E and S:
|W_k(t)| = E(t) (a_k - S(t))_+.  Coordinate k dies exactly when S reaches a_k; the l1 norm falls
like 1/(lambda t) on the way.  Row functions work along the last axis and broadcast over others.

First come the statements about a given row, then appendix B, then the limit of a Gaussian row of
many coordinates (``universal_law``).  Times are flow time; (c, lambda, t) is (1, lambda/c, c t).

Sources: paper, section 2.4 and appendix B; THE_FLOW section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfc, erfcx, ndtri

from theory._checks import Array, non_negative, positive, real, require

__all__ = [
    "ExtinctionSchedule",
    "SortedRow",
    "UniversalLaw",
    "affine_law",
    "excess_mean",
    "excess_square",
    "extinction_schedule",
    "gamma",
    "gamma_rate",
    "half_normal_quantiles",
    "l1_rate",
    "leading_time",
    "paper_curve",
    "relative_variance",
    "relative_variance_bounds",
    "row_survives",
    "start_offset",
    "survivor_share",
    "theta_law",
    "threshold",
    "undo_start_offset",
    "universal_law",
    "universal_law_at",
    "winner_is_unique",
]


def threshold(norm_squared: ArrayLike, lam: ArrayLike, *, c: ArrayLike = 1.0) -> Array:
    """Size above which a weight grows and below which it shrinks.

        theta = lambda / (c (1 - ||W||^2))

    norm_squared : ||W_i||^2, below 1 (at or above 1 every weight shrinks: infinity is returned).
    Exact.  Source: paper, section 2.4.  Raises ValueError unless lambda >= 0, c > 0.
    """
    growth = positive("c", c) * (1 - non_negative("norm_squared", norm_squared))
    lam_ = non_negative("lam", lam)
    grows = growth > 0
    return np.asarray(np.where(grows, lam_ / np.where(grows, growth, 1.0), np.inf))


def gamma(shift: ArrayLike, largest: ArrayLike) -> Array:
    """The stretch of relative gaps, in closed form.

        gamma = a_1 / (a_1 - S),      1 - W_k/W_1 = gamma (1 - a_k/a_1)

    It solves the paper's gamma' = (lambda/W_1) gamma, gamma(0) = 1.  Exact.

    shift : S in [0, a_1);  largest : a_1.  Source: paper, appendix B; THE_FLOW section 2.
    Raises ValueError outside that range.
    """
    shift_, largest_ = non_negative("shift", shift), positive("largest", largest)
    require(shift_ < largest_, "0 <= S < a_1", (shift, largest), "S never reaches the largest")
    return np.asarray(largest_ / (largest_ - shift_))


def gamma_rate(relative_gap: ArrayLike, winner: ArrayLike, lam: ArrayLike) -> Array:
    """Rate of a relative gap 1 - W_k/W_1 (and of gamma itself): (lambda / W_1) * gap.

    Exact while W_k > 0; it does not involve W_k, which is why one gamma serves all k.
    Source: paper, appendix B.  Raises ValueError unless W_1 > 0.
    """
    rate = non_negative("lam", lam) / positive("winner", winner)
    return np.asarray(rate * np.asarray(relative_gap))


def affine_law(start: ArrayLike, winner: ArrayLike, stretch: ArrayLike) -> Array:
    """Non-zero weights at time t from the start, the winner's size and gamma.

        W_k(t) = (W_1(t) (1 - gamma) + gamma W_1(t)/W_1(0) W_k(0))_+

    start : (..., m) sizes at t = 0, the largest of the last axis being W_1(0);
    winner : W_1(t), (...);  stretch : gamma(t), (...).  Exact.
    Source: paper, appendix B.
    """
    start_ = non_negative("start", start)
    winner_ = np.asarray(winner)[..., None]
    stretch_ = np.asarray(stretch)[..., None]
    share = start_ / start_.max(axis=-1, keepdims=True)
    return np.asarray(np.maximum(winner_ * (1 - stretch_ * (1 - share)), 0.0))


def row_survives(row: ArrayLike, lam: ArrayLike, *, c: ArrayLike = 1.0) -> NDArray[np.bool_]:
    """Sufficient condition under which the row is not killed as a whole (assumption of the laws).

        lambda <= c ||W(0)||^2 (1 - ||W(0)||^2) / ||W(0)||_1   when ||W(0)|| < 3^-1/2, else
        lambda <= 2c / (3 sqrt(3) r),  r = ||W(0)||_1 / ||W(0)||

    Proof: N' = c(1 - N^2)N - lambda r with r = ||W||_1/||W|| falling along the flow.  If
    lambda r(0) is below c(1 - N^2)N at N = N(0) and N(0) is on the rising branch, N' >= 0 there
    and it can never come back; on the falling branch the maximum of the cubic, reached at
    3^-1/2, cannot be crossed downwards.  Sufficient only.

    row : (..., m).  Source: THE_FLOW section 2 (the equation for N).
    """
    size = np.abs(real("row", row))
    norm = np.sqrt(np.square(size).sum(axis=-1))
    ratio = size.sum(axis=-1) / np.where(norm > 0, norm, 1.0)
    rising = np.minimum(norm, 3**-0.5)
    lift = positive("c", c) * rising * (1 - rising**2)
    return np.asarray((norm > 0) & (non_negative("lam", lam) * ratio <= lift))


def winner_is_unique(row: ArrayLike) -> NDArray[np.bool_]:
    """Whether the largest size is attained once; then it wins, tied winners never separate."""
    size = np.sort(np.abs(real("row", row)), axis=-1)
    alone = size.shape[-1] == 1
    return np.asarray(size[..., -1] > (0.0 if alone else size[..., -2]))


@dataclass(frozen=True)
class SortedRow:
    """Initial sizes of rows, sorted, with the running moments every formula here is made of.

    Everything is kept relative to the largest size a_1, through the gaps d_k = a_1 - a_k and
    D = a_1 - S.  Gaps of tied weights are exactly zero and variances are sums of squares, so
    nothing cancels however close the race.  With k survivors, mean gap dbar_k and V_k the sum of
    their squared deviations,

        Q = sum_k (a_k - S)_+^2 = k (D - dbar_k)^2 + V_k,     P = sum_k (a_k - S)_+ = k (D - dbar_k)

    Build it with ``SortedRow.of(weights)``.  Source: THE_FLOW section 2.
    """

    gaps: Array
    """(..., m) a_1 - a_k, ascending from 0"""
    largest: Array
    """(...) a_1"""

    @classmethod
    def of(cls, weights: ArrayLike) -> SortedRow:
        """Sort |weights| : (..., m).  Raises ValueError for NaN, infinity or an empty row."""
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
        """(m,) the numbers of survivors 1 ... m."""
        return np.arange(1, self.gaps.shape[-1] + 1, dtype=np.float64)

    @cached_property
    def mean_gaps(self) -> Array:
        """(..., m) dbar_k, the mean of the k smallest gaps."""
        return np.asarray(np.cumsum(self.gaps, axis=-1) / self.counts)

    @cached_property
    def spreads(self) -> Array:
        """(..., m) V_k = sum of squared deviations of the k largest sizes from their mean."""
        # Welford: V_k = V_{k-1} + (d_k - dbar_{k-1})^2 (k-1)/k, a sum of squares throughout.
        step = np.zeros_like(self.gaps)
        k = self.counts[1:]
        step[..., 1:] = (self.gaps[..., 1:] - self.mean_gaps[..., :-1]) ** 2 * ((k - 1) / k)
        return np.asarray(np.cumsum(step, axis=-1))

    @property
    def norm(self) -> Array:
        """(...) ||W(0)||."""
        return np.sqrt(self.moments(np.zeros_like(self.largest))[2])

    def survivors(self, shift: ArrayLike) -> NDArray[np.int64]:
        """(...) number of a_k above S, i.e. of gaps below D."""
        room = self.largest - np.asarray(shift, dtype=np.float64)
        return np.asarray((self.gaps < room[..., None]).sum(axis=-1))

    def moments(self, shift: ArrayLike) -> tuple[NDArray[np.int64], Array, Array]:
        """(m', P, Q) at shift S : (...), for S in [0, a_1)."""
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

            N' = c (1 - N^2) N - lambda r,    S' = lambda sqrt(Q) / N,    r = P / sqrt(Q)

        N = ||W(t)|| : (...),  S : (...) in [0, a_1).  Exact: |W_k| = N (a_k - S)_+ / sqrt(Q) and
        ||W||_1 = N r.  For one survivor r = 1 and N alone matters (S tends to a_1).
        Source: THE_FLOW section 2.
        """
        n_, lam_ = np.asarray(norm, dtype=np.float64), non_negative("lam", lam)
        _, total, square = self.moments(shift)
        root = np.sqrt(square)
        growth = positive("c", c) * (1 - n_**2) * n_
        return np.asarray(growth - lam_ * total / root), np.asarray(lam_ * root / n_)

    def weights(self, norm: ArrayLike, shift: ArrayLike) -> Array:
        """(..., m) sizes at (N, S), in descending order: N (a_k - S)_+ / sqrt(Q)."""
        room = (self.largest - np.asarray(shift, dtype=np.float64))[..., None]
        scale = (np.asarray(norm) / np.sqrt(self.moments(shift)[2]))[..., None]
        return np.asarray(scale * np.maximum(room - self.gaps, 0.0))


@dataclass(frozen=True)
class ExtinctionSchedule:
    """When each weight of a row dies, in closed form; made by ``extinction_schedule``."""

    row: SortedRow
    """the start"""
    times: Array
    """(..., m) death time of the k-th largest weight; infinity for the winner (and its ties)"""
    lam: float
    """l1 strength"""
    c: float
    """constant in front of feature benefit"""
    order: int
    """0: leading order, 1: with the first correction"""

    def survivors(self, time: ArrayLike) -> NDArray[np.int64]:
        """Number m' of non-zero weights at ``time``; times broadcast in front of the row axes."""
        at = np.asarray(time, dtype=np.float64)
        if self.times.ndim == 1:
            return np.asarray(np.searchsorted(-self.times, -at, side="left"))
        return np.asarray((self.times > at[..., None]).sum(axis=-1))

    def l1_at_extinctions(self) -> Array:
        """(..., m) ||W||_1 at the moment the k-th largest weight dies (S = a_k).

            leading order  r,      first order  r (1 - lambda r / 2c),      r = P / sqrt(Q)

        with ||W|| = 1 - lambda r / 2c quasi-steady, so first order needs t >> 1/c.  The winner's
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

        leading order    lambda t = T(S) = int_0^S ds / sqrt(Q(s)),     t_k = T(a_k) / lambda
        first order      t + off(t) = T(S)/lambda - (1/4c) ln(Q(0)/Q(S))

    Q is quadratic between extinctions, so T is a finite sum of arsinh pieces (1/sqrt(k))
    arsinh((S - mu) sqrt(k/V)), logarithms where V = 0.  off(t) is what growing (or shrinking) to
    unit length costs, see ``start_offset``; for t >> 1/c it is the constant t_off.

    Assumptions: ``row_survives``, and lambda ||W(0)||_1 / c small.  Error in t: O(1/c) at
    leading order (relative error O(lambda)), O(lambda) at first order.

    weights : (..., m), signs are ignored.  Source: THE_FLOW section 2.
    Raises ValueError unless lambda > 0, c > 0, order in (0, 1).
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
    return ExtinctionSchedule(row=row, times=times, lam=lam_, c=c_, order=order)


def _schedule_integral(row: SortedRow) -> tuple[Array, Array]:
    """T(a_k) and Q(a_k), each (..., m), for descending k = 1 ... m."""
    k, gaps, spread = row.counts, row.gaps, row.spreads
    # While exactly k survive, D = a_1 - S runs from the next gap (or a_1 at the start) to d_k.
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


def start_offset(time: ArrayLike, norm: ArrayLike, *, c: float = 1.0) -> Array:
    """Time that starting away from unit length costs, up to ``time``, at lambda = 0.

        off(t) = int_0^t (Y - 1) dt' = (1/c) [(Y_0 - Y) - ln((1 + Y_0) / (1 + Y))],
        Y(t) = 1 / ||W(t)|| = sqrt(1 + (Y_0^2 - 1) e^(-2ct)),    Y_0 = 1 / ||W(0)||

    For t = infinity this is t_off = (1/c) [(Y_0 - 1) - ln((1 + Y_0)/2)].  Exact at lambda = 0.
    time (flow time) and norm broadcast.  Source: THE_FLOW section 2, there for t >> 1/c.
    """
    first = 1 / positive("norm", norm)
    now = _inverse_norm(non_negative("time", time), first, c)
    return np.asarray(((first - now) - np.log((1 + first) / (1 + now))) / positive("c", c))


def undo_start_offset(shifted: ArrayLike, norm: ArrayLike, *, c: float = 1.0) -> Array:
    """The time t >= 0 with t + off(t) = ``shifted`` (0 where ``shifted`` is negative).

    Newton's method from max(shifted - t_off, 0): t + off(t) is concave for ||W(0)|| < 1 and
    convex for > 1, and that start lies on the side from which convergence is monotone.
    """
    goal, first = np.broadcast_arrays(real("shifted", shifted), 1 / positive("norm", norm))
    t = np.maximum(goal - start_offset(np.inf, 1 / first, c=c), 0.0)
    todo = np.isfinite(t) & (goal > 0)
    t = np.where(goal > 0, t, 0.0)
    aim, y0, now = goal[todo], first[todo], t[todo]
    for _ in range(60):
        step = (aim - now - start_offset(now, 1 / y0, c=c)) / _inverse_norm(now, y0, c)
        now = np.maximum(now + step, 0.0)
        if np.all(np.abs(step) <= 1e-14 * now + 1e-300):
            break
    t[todo] = now
    return np.asarray(t)


def _inverse_norm(time: Array, first: Array, c: float) -> Array:
    return np.asarray(np.sqrt(1 + (first**2 - 1) * np.exp(-2 * c * time)))


# --- Appendix B -----------------------------------------------------------------------------


def l1_rate(
    norm1: ArrayLike,
    norm_squared: ArrayLike,
    survivors: ArrayLike,
    lam: ArrayLike,
    *,
    c: ArrayLike = 1.0,
) -> Array:
    """Rate of the l1 norm with interference off; exact.

        d||W||_1/dt = c (1 - ||W||^2) ||W||_1 - lambda m'

    All arguments broadcast.  Source: paper, appendix B, first line.
    """
    growth = positive("c", c) * (1 - non_negative("norm_squared", norm_squared))
    return np.asarray(growth * np.asarray(norm1) - non_negative("lam", lam) * np.asarray(survivors))


def relative_variance(row: ArrayLike) -> Array:
    """Var X / (E X)^2 of the non-zero sizes of each row : (..., m) -> (...).

    In balance (d||W||^2/dt = 0) it gives the speed of sparsification,
    -d||W||_1/dt = (lambda / ||W||^2) ||W||_1^2 * (Var X / (E X)^2).
    Source: paper, appendix B.  Raises ValueError for a row of zeros.
    """
    size = np.abs(real("row", row))
    alive = (size > 0).sum(axis=-1)
    require(alive > 0, "a non-zero weight in every row", row, "drop dead rows first")
    mean = size.sum(axis=-1) / alive
    spread = np.where(size > 0, (size - mean[..., None]) ** 2, 0.0).sum(axis=-1) / alive
    return np.asarray(spread / mean**2)


def relative_variance_bounds(weights: ArrayLike) -> tuple[Array, Array]:
    """Bounds on the relative variance while m' weights survive, for every m' = 1 ... m.

        Var_m' / (mean_m' - a_{m'+1})^2  <=  Var X / (E X)^2  <=  Var_m' / (mean_m' - a_m')^2

    Var_m', mean_m' : of the m' largest initial sizes; a_{m+1} := 0.  Exact for the flow with
    interference off: translation by S in [a_{m'+1}, a_m') is all that happens to the ratio.
    Where all survivors are tied both bounds are 0.

    weights : (..., m) at t = 0 (or ``half_normal_quantiles``) -> two arrays (..., m), entry
    m' - 1 for m' survivors.  Source: paper, appendix B and figure 6.
    """
    row = SortedRow.of(weights)
    variance = row.spreads / row.counts
    beyond = np.concatenate([row.gaps[..., 1:], row.largest[..., None]], axis=-1)
    tied = row.spreads <= 0
    low = variance / np.where(tied, 1.0, beyond - row.mean_gaps) ** 2
    high = variance / np.where(tied, 1.0, row.gaps - row.mean_gaps) ** 2
    return np.asarray(low), np.asarray(high)


def half_normal_quantiles(m: int, *, scale: float = 1.0) -> Array:
    """Ideal Gaussian start: the mid-quantiles of |N(0, scale^2/m)|, descending, shape (m,).

        a_k = (scale/sqrt(m)) * F^-1(1 - (k - 1/2)/m),    F the half-normal distribution

    Source: paper, figure 6 ("idealized version that hits regular percentiles").
    """
    require(m >= 1, "m >= 1", m, "a row has at least one weight")
    upper_tail = (np.arange(1, m + 1) - 0.5) / (2 * m)
    return np.asarray(-ndtri(upper_tail) * (float(positive("scale", scale)) / np.sqrt(m)))


# --- The Gaussian limit ---------------------------------------------------------------------

_X_MAX = 10.0  # 2 * upper tail at 10 is 1.5e-23: fewer than one survivor of any row there is
_KNOTS = np.linspace(0.0, _X_MAX, 201)
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)


def excess_mean(x: ArrayLike) -> Array:
    """p(x) = E(|z| - x)_+ = 2(phi(x) - x Phibar(x)) for standard normal z, 0 <= x <= 10."""
    x_ = _in_range(x)
    return np.asarray(2 * _density(x_) * (1 - x_ * _mills(x_)))


def excess_square(x: ArrayLike) -> Array:
    """q(x) = E(|z| - x)_+^2 = 2((1 + x^2) Phibar(x) - x phi(x)), 0 <= x <= 10.

    Relative accuracy about x^4 times machine precision (2e-12 at x = 10).
    """
    x_ = _in_range(x)
    return np.asarray(2 * _density(x_) * ((1 + x_**2) * _mills(x_) - x_))


def survivor_share(x: ArrayLike) -> Array:
    """m'/m = 2 Phibar(x)."""
    return np.asarray(erfc(_in_range(x) / np.sqrt(2)))


def leading_time(x: ArrayLike) -> Array:
    """lambda t sqrt(m) = int_0^x du / sqrt(q(u)) at leading order, to about 1e-13 relative."""
    x_ = _in_range(x)
    panel = np.minimum((x_ / _KNOTS[1]).astype(np.int64), len(_KNOTS) - 2)
    return np.asarray(_time_at_knots()[panel] + _integrate(_KNOTS[panel], x_))


@dataclass(frozen=True)
class UniversalLaw:
    """State of a wide Gaussian row along its sparsification, in units free of m and lambda."""

    x: Array
    """shift in units of the initial standard deviation, S sqrt(m) / ||W(0)||"""
    time: Array
    """lambda t sqrt(m)"""
    l1: Array
    """||W||_1 / sqrt(m)"""
    survivors: Array
    """m' / m"""


def universal_law(x: ArrayLike, *, coupling: float = 0.0, norm: float = 1.0) -> UniversalLaw:
    """The law of sparsification for Gaussian starts, by its parameter x in [0, 10].

        lambda t sqrt(m) = int_0^x du/sqrt(q),   ||W||_1/sqrt(m) = p/sqrt(q),   m'/m = 2 Phibar(x)

    at coupling 0 (leading order; relative error O(coupling)).  Otherwise, with
    Lambda = lambda sqrt(m)/c, s = ||W(0)|| and Y = 1/||W|| as in ``start_offset``,

        c (t + off(t)) Lambda = int_0^x du/sqrt(q) - (Lambda/4) ln(1/q)
        ||W||_1/sqrt(m) = (p/sqrt(q)) (1/Y(t) - (Lambda/2) p/sqrt(q))

    For t >> 1/c, where off(t) is the constant t_off, the error is O(Lambda^2) in both; before
    that it is O(Lambda^2) in time and O(Lambda) in l1.  Limit m -> infinity at fixed x; a random
    start adds fluctuations of relative size 1/sqrt(m'), a quantile start
    (``half_normal_quantiles``) has none.

    No constant is fitted, and ||W||_1 * lambda t = 1 + 2/x^2 + ...: the paper's Theta(1/lambda t)
    has constant 1, approached logarithmically slowly (maximum 1.138 near x = 3).

    x : any shape;  coupling : Lambda in [0, 1];  norm : s > 0.  Source: THE_FLOW section 2.
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
    length = 1 / _inverse_norm(ct, 1 / positive("norm", norm), 1.0)
    return UniversalLaw(
        x_, coupling * ct, ratio * (length - coupling * ratio / 2), survivor_share(x_)
    )


def universal_law_at(time: ArrayLike, *, coupling: float = 0.0, norm: float = 1.0) -> UniversalLaw:
    """``universal_law`` by time instead of x: the x whose lambda t sqrt(m) is ``time``.

    time : lambda t sqrt(m) >= 0, any shape, at most its value at x = 10 (4e11).
    Newton's method in ln t; the time map is increasing for coupling <= 1.
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
        if np.all(np.abs(step) <= 1e-14 * (1 + x)):
            break
    return universal_law(x, coupling=coupling, norm=norm)


def theta_law(time: ArrayLike, lam: ArrayLike, m: ArrayLike) -> Array:
    """The paper's law for ||W_i||_1, its hidden constants set to 1.

        sqrt(m) for t <= 1/(lambda sqrt(m)),   1/(lambda t) up to t = 1/lambda,   1 after

    The paper's theorem is with unknown constants; the true ones come from ``universal_law``.
    time, lam, m : broadcast.  Independent of c.  Source: paper, section 2.4.
    """
    elapsed = non_negative("lam", lam) * non_negative("time", time)
    root = np.sqrt(positive("m", m))
    return np.asarray(1 / np.clip(elapsed, 1 / root, 1.0))


def paper_curve(time: ArrayLike, lam: ArrayLike, m: ArrayLike) -> tuple[Array, Array]:
    """The curves drawn in the paper's figure 2: (||W||_1, m').

        ||W||_1 = max(1/(1/sqrt(m) + lambda t), 1),      m' = ||W||_1^2

    A drawn form, not a theorem: +25 % to -18 % off in l1 and up to 2.7-fold in m'.
    time, lam, m : broadcast.  Source: paper, figure 2; THE_FLOW sections 2 and 7.
    """
    elapsed = non_negative("lam", lam) * non_negative("time", time)
    norm1 = np.maximum(1 / (1 / np.sqrt(positive("m", m)) + elapsed), 1.0)
    return np.asarray(norm1), np.asarray(norm1**2)


def _density(x: Array) -> Array:
    return np.asarray(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))


def _mills(x: Array) -> Array:
    """Phibar(x) / phi(x), without underflow."""
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
    """Gauss-Legendre over [low, high] of 1/sqrt(q); panels of 0.05 leave only rounding error."""
    half = (high - low) / 2
    u = low[..., None] + half[..., None] * (1 + _NODES)
    return np.asarray(half * (_NODE_WEIGHTS / np.sqrt(excess_square(u))).sum(axis=-1))


@cache
def _time_at_knots() -> Array:
    return np.concatenate([[0.0], np.cumsum(_integrate(_KNOTS[:-1], _KNOTS[1:]))])
