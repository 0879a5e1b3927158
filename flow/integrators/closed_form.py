"""The interference-off flow, solved row by row through two scalars and evaluated at any time.

    dW_ik/dt = (g₀ − g₁ ‖W_i‖²) W_ik − λ sign(W_ik)

Feature benefit of strength c has g₀ = g₁ = c; weight decay μ adds −μ to g₀. With E and S of one
row, |W_ik(t)| = E(t) max(|W_ik(0)| − S(t), 0) (theory/README, section 2): nothing is approximate
but the solution of one scalar equation per row, and where g₁ or λ is 0 not even that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flow.initial import check_weights
from flow.kernels import exact as kernels
from flow.kernels.threads import serial_unless

Floats = NDArray[np.float64]
Row = tuple[Floats, Floats, Floats]

STAGES = 5
TOLERANCE = 1e-10  # per step, relative; measured errors of whole runs are below 1e-11
CAPACITY = 1024  # points kept per row at the first attempt

MANY_WEIGHTS = 2**20  # for less than this, waking the threads costs more than they save
MANY_ROWS = 16

_FOREVER = 1e300  # a flow time at which every closed form has reached its limit

_SQUARES = (1e-50, 1e145)
"""Rows whose largest weight lies between these are worked with as they are: their squares are far
from what float64 cannot hold. Others are measured in a unit of their own."""


class ExactFlow:
    """The interference-off flow, evaluated at any time.

        dW_ik/dt = (g₀ − g₁ ‖W_i‖²) W_ik − λ sign(W_ik),   and zero is absorbing

    W0 : (n, m) initial weights, float32 or float64; a copy is kept, all work is done in float64.
    growth_constant, growth_quadratic, lam : g₀ (any sign), g₁ ≥ 0, λ ≥ 0.

    Times are flow time. For λ > 0 a weight smaller than 1e-16 times the largest of its row counts
    as zero. Where several weights of a row are equal and largest, they stay equal for ever.
    `stats` counts steps, rejected steps and evaluations of the scalar equation, over all rows.

    Raises ValueError for weights or coefficients outside these ranges. Source: theory/README,
    section 2; paper, section 3.1 and appendix B. Memory: the copy and three float64 arrays of the
    size of W0.
    """

    def __init__(
        self, W0: ArrayLike, *, growth_constant: float, growth_quadratic: float, lam: float
    ) -> None:
        W: NDArray[Any] = np.array(check_weights(W0, name="W0"), order="C")
        high, low = W.max(axis=1), W.min(axis=1)
        law = (float(growth_constant), float(growth_quadratic), float(lam))
        if not (np.isfinite(law).all() and law[1] >= 0.0 and law[2] >= 0.0):
            raise ValueError(
                "expected finite growth_constant, growth_quadratic >= 0 and lam >= 0, "
                f"got {law}; only growth_constant may be negative"
            )
        self._law = law
        self._closed = law[1] == 0.0 or law[2] == 0.0
        self._top = np.maximum(high, -low).astype(np.float64)
        # |W| = sigma/z, and both equations, stay what they are when sigma, d and z are measured in
        # a unit; a power of two makes that exact. Rows of float32 never need one.
        self._unit = _units(self._top)
        if (self._unit != 1.0).any():
            W /= self._unit[:, None]
            self._top /= self._unit
        self._W0 = W
        self._d: Floats = np.empty(W.shape)
        self._mean = np.empty(W.shape)
        self._spread = np.empty(W.shape)
        with serial_unless(W.size > MANY_WEIGHTS):
            kernels.distances(W, self._top, self._d)
            self._d.sort(axis=1)
            kernels.prefix_moments(self._d, self._mean, self._spread)
        self._tableau = kernels.radau(STAGES)
        self.stats: dict[str, int] = {"steps": 0, "rejected": 0, "evaluations": 0}
        if not self._closed:
            self._follow()

    def weights(self, t: float) -> NDArray[np.floating]:
        """W(t), (n, m), in the dtype of W0.

        t : flow time. Raises ValueError for a negative or infinite time.
        """
        sigma, z = self._states(t)
        if self._law[2] == 0.0 or t == 0.0:  # keeps the smallest weights too
            with np.errstate(divide="ignore", over="ignore", under="ignore"):
                scaled: NDArray[np.floating] = (self._W0 / z[0][:, None]).astype(self._W0.dtype)
            return scaled
        out = np.empty_like(self._W0)
        with serial_unless(out.size > MANY_WEIGHTS):
            kernels.fill_weights(self._W0, self._top, sigma[0], z[0], out)
        return out

    def observables(self, times: ArrayLike) -> dict[str, NDArray]:
        """Norms "l1" and "l2", "l4" (‖W_i‖₄⁴) and "nonzeros" of every row, each (k, n).

        times : (k,) flow times, in any order.
        """
        sigma, z = self._states(times)
        names = ("l1", "l2", "l4")
        out: dict[str, NDArray] = {name: np.empty(sigma.shape) for name in names}
        out["nonzeros"] = np.empty(sigma.shape, np.int64)
        with serial_unless(self._d.size > MANY_WEIGHTS):
            kernels.measure(self._d, self._mean, self._spread, sigma, z, *out.values())
        if self._law[2] == 0.0:
            out["nonzeros"][:] = np.count_nonzero(self._W0, axis=1)
        return out

    def extinction_times(self, row: int = 0) -> Floats:
        """Time at which each weight of a row reaches zero, (m,): inf where never, 0 for zeros.

        The order is exactly that of |W0|: equal weights go together, smaller ones not later.

        row : index of the feature.
        """
        d, _, _ = self._row(row)
        ordered = np.empty(d.size)
        if self._closed:
            ordered[:] = self._closed_extinctions(self._unit[row] * (self._top[row] - d))
        else:
            points = self._path[row, :, : self._counts[row, 0]]
            dead = points[1, -1] == 0.0
            never = points[0, -1] if dead else np.inf
            with serial_unless(d.size > kernels.BLOCK):
                kernels.extinctions(
                    self._row(row), points, points.shape[1],
                    never, self._law, self._tableau, ordered,
                )  # fmt: skip
            np.maximum.accumulate(ordered[::-1], out=ordered[::-1])  # rounding, between close d
        size = np.abs(self._W0[row].astype(np.float64))
        times: Floats = ordered[np.searchsorted(d, self._top[row] - size)]
        return times

    def stationary_times(self, tolerance: float) -> list[float]:
        """Times from which on every |dW_ik/dt| ≤ tolerance for a while, increasing.

        The last is that of rest, if the flow comes to rest. A row that passes close enough by a
        saddle (nearly equal largest weights, or all of them small) is as slow there.

        tolerance : a speed, ≥ 0.
        """
        if not tolerance >= 0.0:
            raise ValueError(f"expected tolerance >= 0, got {tolerance}; pass a speed")
        common: list[tuple[float, float]] = [(0.0, np.inf)]
        for i in range(len(self._W0)):
            search = self._closed_below_speed if self._closed else self._path_below_speed
            common = _intersect(common, search(i, tolerance))
        return [begin for begin, _ in common]

    # States at given times: along the path of each row, or in closed form where g₁ or λ is 0.

    def _row(self, i: int) -> Row:
        return self._d[i], self._mean[i], self._spread[i]

    def _follow(self) -> None:
        n = len(self._W0)
        self._counts = np.zeros((n, 3), np.int64)
        capacity = CAPACITY
        while True:
            self._path = np.zeros((n, 5, capacity))
            with serial_unless(n > MANY_ROWS):
                kernels.all_paths(
                    self._d, self._mean, self._spread, self._top,
                    1.0 / self._unit, self._law, TOLERANCE, self._tableau,
                    self._path, self._counts,
                )  # fmt: skip
            if self._counts[:, 0].min() < 0:
                i = int(self._counts[:, 0].argmin())
                raise ValueError(
                    f"expected row {i} to reach its end, got steps too small to continue with "
                    f"(g0, g1, lam) = {self._law}; rescale W0 and the coefficients towards 1"
                )
            if self._counts[:, 0].max() <= capacity:
                break
            capacity = int(self._counts[:, 0].max())
        points, rejected, evaluations = self._counts.sum(axis=0).tolist()
        self.stats = {"steps": points - n, "rejected": rejected, "evaluations": evaluations}

    def _states(self, times: ArrayLike) -> tuple[Floats, Floats]:
        t = np.atleast_1d(np.asarray(times, np.float64))
        if t.ndim != 1 or not (np.isfinite(t).all() and (t >= 0.0).all()):
            raise ValueError(
                f"expected finite times >= 0, got {times!r}; W0 is the state at time 0"
            )
        if self._closed:
            return self._closed_states(t, slice(None))
        n = len(self._W0)
        sigma, z = np.empty((2, t.size, n))
        with serial_unless(n > MANY_ROWS):
            kernels.states(
                self._d, self._mean, self._spread,
                self._path, self._counts, t, self._law, self._tableau, sigma, z,
            )  # fmt: skip
        return sigma, z

    def _closed_states(self, t: Floats, rows: slice) -> tuple[Floats, Floats]:
        """λ = 0: 1/E² = e^(−2 g₀ t) + g₁ Q (1 − e^(−2 g₀ t))/g₀, S = 0.
        g₁ = 0: E = e^(g₀ t), S = λ (1 − e^(−g₀ t))/g₀."""
        g0, g1, lam = self._law
        top, unit = self._top[rows], self._unit[rows]
        t = t[:, None]
        with np.errstate(all="ignore"):  # what float64 cannot hold is not chosen
            z = np.exp(-g0 * t) / unit
            if lam > 0.0:
                S = lam * (-np.expm1(-g0 * t) / g0 if g0 else t) / unit
                return np.maximum(top - S, 0.0), np.broadcast_to(z, (t.size, top.size)).copy()
            gap = top - self._mean[rows, -1]
            Q = self._d.shape[1] * gap**2 + self._spread[rows, -1]
            decay = np.exp(-2.0 * g0 * t)
            gain = -np.expm1(-2.0 * g0 * t) / g0 if g0 else 2.0 * t
            square = decay / unit**2 + g1 * Q * gain
            # The same without squares, where float64 does not hold them.
            root = np.sqrt(-np.expm1(-2.0 * abs(g0) * t) / abs(g0)) if g0 else np.sqrt(2.0 * t)
            growth = np.exp(np.maximum(-g0 * t, 0.0)) * np.sqrt(g1) * np.sqrt(Q) * root
            held = (unit == 1.0) & (square > 1e-290) & (square < 1e290)
            z = np.where(held, np.sqrt(square), np.hypot(z, growth))
            z[:, top == 0.0] = 1.0
            return np.broadcast_to(top, z.shape).copy(), z

    def _closed_extinctions(self, size: Floats) -> Floats:
        g0, _, lam = self._law
        if lam == 0.0:
            return np.where(size > 0.0, np.inf, 0.0)
        share = g0 * size / lam
        with np.errstate(divide="ignore"):
            mortal: Floats = -np.log1p(-np.minimum(share, 1.0)) / g0 if g0 else size / lam
        return mortal

    # Intervals of time [enter, leave) in which the largest |dW_ik/dt| of a row is at most a limit.

    def _path_below_speed(self, i: int, limit: float) -> list[tuple[float, float]]:
        path = self._path[i, :, : self._counts[i, 0]]
        after, before = np.empty((2, path.shape[1]))
        row = self._row(i)
        kernels.speeds(row, path, path.shape[1], self._law, after, before)
        after[-1] = 0.0  # at rest, or dead: rounding apart

        def crossing(j: int) -> float:
            crossed: float = kernels.speed_crossing(
                row, path, path.shape[1], j, limit, self._law, self._tableau
            )
            return crossed

        return _below_speed(path[0], after <= limit, before <= limit, True, crossing)

    def _closed_below_speed(self, i: int, limit: float) -> list[tuple[float, float]]:
        """The same in closed form: between the times at which it may turn or jump, the speed is
        monotone."""
        g0, g1, lam = self._law
        row, here = self._row(i), slice(i, i + 1)
        t, sigma = np.zeros(1), self._top[here]
        if lam > 0.0:
            d = np.unique(self._d[i])[::-1]
            ends = self._closed_extinctions(self._unit[i] * (self._top[i] - d))
            mortal = np.isfinite(ends) & (ends > 0.0)
            t, sigma = np.append(t, ends[mortal]), np.append(sigma, d[mortal])
        elif g0 > 0.0 and g1 > 0.0:
            square, fastest = float((self._W0[i].astype(np.float64) ** 2).sum()), g0 / (3.0 * g1)
            unit = float(self._unit[i])
            if unit < 1.0 and square > 0.0:  # g₁ is nothing beside g₀/‖W‖²
                turn = (np.log(0.5 * g0 / g1) - np.log(square) - 2.0 * np.log(unit)) / (2.0 * g0)
                t, sigma = np.append(t, turn), np.append(sigma, sigma)
            elif 0.0 < square < fastest and unit == 1.0:
                turn = np.log((g0 / square - g1) / (g0 / fastest - g1)) / (2.0 * g0)
                t, sigma = np.append(t, turn), np.append(sigma, sigma)
        path = np.vstack([t, sigma, self._closed_states(t, here)[1][:, 0], t])
        after, before = np.empty((2, t.size))
        kernels.speeds(row, path, t.size, self._law, after, before)

        def below(time: float) -> bool:
            at, z = self._closed_states(np.full(1, time), here)
            return bool(kernels.speed(row, row[0].size, at[0, 0], z[0, 0], self._law) <= limit)

        def crossing(j: int) -> float:
            low = float(t[j])
            high = float(t[j + 1]) if j + 1 < t.size else 2.0 * low + 1.0
            first = bool(after[j] <= limit)
            while j + 1 == t.size and below(high) == first:
                low, high = high, 2.0 * high
            for _ in range(60):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if below(middle) == first else (low, middle)
            return high

        dead = sigma[-1] == 0.0
        return _below_speed(t, after <= limit, before <= limit, dead or below(_FOREVER), crossing)


def _units(top: Floats) -> Floats:
    """Powers of two by which rows with these largest weights are divided."""
    low, high = _SQUARES
    held = (top == 0.0) | ((low < top) & (top < high))
    # Not below the inverse of the largest float, so that 1/unit is finite.
    return np.where(held, 1.0, np.ldexp(1.0, np.maximum(np.frexp(top)[1], -1022)))


def _below_speed(
    t: Floats,
    after: NDArray[np.bool_],
    before: NDArray[np.bool_],
    in_the_end: bool,
    crossing: Callable[[int], float],
) -> list[tuple[float, float]]:
    """Intervals in which a row is slow enough, from whether it is so just after and just before
    each of the times t and in the end; crossing(j) is when that changes within interval j."""
    found: list[tuple[float, float]] = []
    times, before = np.append(t, np.inf), np.append(before, in_the_end)
    for j in np.flatnonzero(after | before[1:]).tolist():
        enter = times[j] if after[j] else crossing(j)
        leave = times[j + 1] if before[j + 1] else crossing(j)
        found.append((float(enter), float(leave)))
    return found


def _intersect(
    a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    pairs: list[tuple[float, float]] = []
    i = j = 0
    while i < len(a) and j < len(b):
        low, high = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if low < high:
            pairs.append((low, high))
        i, j = (i + 1, j) if a[i][1] < b[j][1] else (i, j + 1)
    return pairs
