"""One row of the flow under a drift that is constant in time, for JAX: :mod:`flow.kernels.rows`.

The same equations in the same order of operations, for all rows at once: W : (…, m) with one row
per leading index. Where the Numba kernel loops until *a* row is done, these loops run until every
row is, and rows that are done keep what they have. Scalars of a row are float64 where x64 is on,
whatever the dtype of W. Sums over neurons are plain reductions, so W may be sharded over them.

Derivatives, forward and reverse, do not go through these loops: they are those of the two scalars
of a row integrated in :data:`MAX_PIECES` pieces, each differentiated as the fixed point it is.
Estimates of error steer steps only and carry no derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flow.kernels.rows import KINK, MAX_PIECES

Array = Any
"""A JAX array, or a tracer of one."""

FAILED = 1e15
"""Row error that stands for "this step is too long to be solved"; its square fits a float32."""
_CORRECTIONS = 60
_GUESSES = 4
_PHI3 = np.array([1.0 / math.factorial(k + 3) for k in range(20)]).reshape(5, 4)
"""Coefficients of x^(4a + b) in φ₃."""


def scalar_dtype() -> Any:
    """The dtype of what is summed over a row: float64 where x64 is on."""
    return jnp.result_type(float)


def row_sum(x: Array) -> Array:
    """The sum over the last axis, in the dtype of scalars."""
    return jnp.sum(x, axis=-1, dtype=scalar_dtype())


def phi_functions(x: Array) -> tuple[Array, Array, Array]:
    """φ₁, φ₂, φ₃ of x, with φ_k(x) = Σ_j x^j/(j+k)!."""
    near = jnp.abs(x) < 1.0
    small = jnp.where(near, x, 0.0)
    # As a product, which the compiler evaluates once: a plain series it would repeat at each of
    # the dozen places where its value is used.
    square = small * small
    low = jnp.stack([jnp.ones_like(small), small, square, square * small])
    parts = jnp.tensordot(_PHI3.astype(x.dtype), low, 1, precision=lax.Precision.HIGHEST)
    fourth = square * square
    series = parts[4]
    for part in (parts[3], parts[2], parts[1], parts[0]):
        series = series * fourth + part
    series2 = 0.5 + small * series
    large = jnp.where(near, 1.0, x)
    phi1 = jnp.expm1(large) / large
    phi2 = (phi1 - 1.0) / large
    phi3 = (phi2 - 0.5) / large
    return (
        jnp.where(near, 1.0 + small * series2, phi1),
        jnp.where(near, series2, phi2),
        jnp.where(near, series, phi3),
    )


Pair = tuple[Array, Array]
"""Something at the middle of a piece and at its end. Two arrays, not one with an axis of two: every
row of both then depends on that row alone, and many steps are compiled into one loop over rows."""


class _Piece(NamedTuple):
    """One piece of the way of (y, S): a fixed point x = F(x), the gain of S up to middle and end.

    See :mod:`flow.kernels.rows`.
    """

    S: Array
    q: Array
    """(5, …): Q(S) = q[0] + q[1] S + … + q[4] S⁴."""
    stretch: Pair
    eta: tuple[Pair, Pair, Pair]
    """η = these · (1, Q at the middle, Q at the end), after stretching."""
    gain: tuple[Pair, Pair, Pair]
    """x = these · (1, √η at the middle, √η at the end)."""

    def correct(self, x: Pair) -> tuple[Pair, Array, Array]:
        """F(x), η at the end, and whether η stayed positive."""
        Q = _both(lambda x, stretch: _quartic(self.q, self.S + x) * stretch, x, self.stretch)
        eta = _combined(self.eta, Q)
        positive = (eta[0] > 0.0) & (eta[1] > 0.0)
        root = _both(lambda eta: jnp.sqrt(jnp.where(positive, eta, 1.0)), eta)
        return _combined(self.gain, root), eta[1], positive


def _corrections_at_once() -> int:
    """Corrections between two looks whether all rows are done. An accelerator waits for the answer
    longer than for the corrections; a CPU does not."""
    return 1 if jax.default_backend() == "cpu" else 6


def _both(function: Callable[..., Array], *pairs: Pair) -> Pair:
    middle, end = zip(*pairs, strict=True)
    return function(*middle), function(*end)


def _combined(weights: tuple[Pair, Pair, Pair], values: Pair) -> Pair:
    """weights[0] + weights[1]·values[0] + weights[2]·values[1], at both places."""
    return _both(lambda one, middle, end: one + middle * values[0] + end * values[1], *weights)


def _quartic(q: Array, S: Array) -> Array:
    return q[0] + S * (q[1] + S * (q[2] + S * (q[3] + S * q[4])))


def _begin_piece(
    y: Array, S: Array, dt: Array, g0: Array, g1: Array, q: Array, going: Array
) -> tuple[_Piece, Array, Array]:
    """The piece after (y, S), e^(−2b) with b the growth over it, and whether it can be solved."""
    start = _quartic(q, S)
    a = g0 - g1 * start / y
    b = a * dt
    possible = going & (start >= 0.0) & (jnp.abs(b) < 20.0)
    b = jnp.where(possible, b, 0.0)
    z = jnp.where(possible, 2.0 * (g0 - a) * dt, 0.0)
    fraction = jnp.array([0.5, 1.0, 0.5, 1.0], b.dtype).reshape(4, *(1,) * b.ndim)
    x = fraction * jnp.stack([-z, -z, b, b])
    decay = jnp.exp(jnp.concatenate([x[:2], -x[2:]]))
    phi1, phi2, phi3 = phi_functions(x)
    # What the integrals over p(0), p(1/2), p(1) of a quadratic p are multiplied with.
    scale = jnp.concatenate([
        jnp.broadcast_to(2.0 * g1 * dt, (2, *b.shape)), dt * jnp.sqrt(y) * decay[2:]
    ])  # fmt: skip
    moment0 = scale * fraction * phi1
    moment1 = scale * fraction**2 * phi2
    moment2 = 2.0 * scale * fraction**3 * phi3
    first = moment0 - 3.0 * moment1 + 2.0 * moment2
    middle = 4.0 * (moment1 - moment2)
    last = 2.0 * moment2 - moment1
    piece = _Piece(
        S, q, (jnp.exp(b) / y, jnp.exp(2.0 * b) / y),
        (_pair(decay[:2] + first[:2] * (start / y)), _pair(middle), _pair(last)),
        (_pair(first[2:]), _pair(middle[2:]), _pair(last[2:])),
    )  # fmt: skip
    return piece, jnp.exp(-2.0 * b), possible


def _pair(stacked: Array) -> Pair:
    return stacked[0], stacked[1]


def _solve_piece(piece: _Piece, possible: Array) -> Pair:
    """x of every row where that is possible, NaN where it was not found."""
    rounding = 45.0 * float(np.finfo(scalar_dtype()).eps)
    at_once = _corrections_at_once()

    def step(x: Pair) -> tuple[Pair, Array]:
        new, _, positive = piece.correct(x)
        moved = jnp.abs(new[0] - x[0]) + jnp.abs(new[1] - x[1])
        return _both(lambda new: jnp.where(positive, new, jnp.nan), new), moved

    def correct(carry: tuple[Array, Pair, Array]) -> tuple[Array, Pair, Array]:
        count, x, open_ = carry
        for _ in range(at_once):
            new, moved = step(x)
            x = _both(partial(jnp.where, open_), new, x)
            open_ &= moved > rounding * new[1]
        return count + at_once, x, open_

    start = _both(lambda *parts: parts[0] + parts[1] + parts[2], *piece.gain)
    _, x, _ = lax.while_loop(
        lambda carry: (carry[0] < _CORRECTIONS) & jnp.any(carry[2]),
        correct,
        (0, start, possible),
    )
    new, moved = step(x)
    found = possible & (moved <= 100.0 * rounding * new[1])
    return _both(lambda x: jnp.where(found, x, jnp.nan), x)


def _two_scalars(h: Array, pieces: Array, g0: Array, g1: Array, q: Array, wanted: Array) -> Array:
    """(y, S) : (2, …) of every row `wanted`, over h in that many pieces; NaN if unsolved."""

    def going(k: Array, y: Array) -> Array:
        return wanted & (k < pieces) & ~jnp.isnan(y)

    def advance(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        k, (y, S) = carry
        on = going(k, y)
        piece, shrink, possible = _begin_piece(y, S, h / pieces, g0, g1, q, on)
        x = _solve_piece(piece, possible)
        eta = piece.correct(x)[1]
        return k + 1, jnp.where(on, jnp.stack([y * shrink * eta, S + x[1]]), carry[1])

    start = jnp.stack([jnp.ones_like(q[0]), jnp.zeros_like(q[0])])
    _, end = lax.while_loop(
        lambda carry: jnp.any(going(carry[0], carry[1][0])), advance, (0, start)
    )
    return end


def _smooth_two_scalars(
    h: Array, g0: Array, g1: Array, q: Array, wanted: Array
) -> tuple[Array, Array]:
    """The same in :data:`MAX_PIECES` pieces, and differentiable."""

    def advance(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        y, S = carry
        piece, shrink, possible = _begin_piece(y, S, h / MAX_PIECES, g0, g1, q, wanted)
        fixed = lax.stop_gradient(piece)
        x = _solve_piece(fixed, possible)
        done = ~jnp.isnan(x[1])
        x = _both(lambda x: jnp.where(done, x, 1.0), x)
        # Implicit derivative: x = F(x, p) moves by (1 − ∂F/∂x)⁻¹ ∂F/∂p δp.
        nought, one = jnp.zeros_like(x[0]), jnp.ones_like(x[0])
        (A, C), (B, D) = (
            _both(jnp.subtract, along, jax.jvp(lambda x: fixed.correct(x)[0], (x,), (along,))[1])
            for along in ((one, nought), (nought, one))
        )
        shift = _both(lambda new: new - lax.stop_gradient(new), piece.correct(x)[0])
        turned = D * shift[0] - B * shift[1], A * shift[1] - C * shift[0]
        x = _both(lambda x, turned: x + turned / (A * D - B * C), x, turned)
        eta = piece.correct(x)[1]
        return (jnp.where(done, y * shrink * eta, y), jnp.where(done, S + x[1], S)), None

    start = (jnp.ones_like(q[0]), jnp.zeros_like(q[0]))
    return lax.scan(advance, start, None, length=MAX_PIECES)[0]


class _Pulls(NamedTuple):
    """What acts on the weights of rows in units of E: see :mod:`flow.kernels.rows`."""

    size: Array
    """|W|."""
    d: Array
    v: Array
    """Speed at which |x| falls while x keeps its sign."""
    beyond: Array
    """Speed at which x moves on from zero, 0 where it sticks."""


def _pulls(W: Array, D: Array, scale: Array, lam: Array) -> _Pulls:
    d = D * scale.astype(W.dtype)
    lam = lam.astype(W.dtype)
    v = lam + jnp.where(W > 0.0, d, jnp.where(W < 0.0, -d, jnp.abs(d)))
    return _Pulls(jnp.abs(W), d, v, jnp.maximum(jnp.abs(d) - lam, 0.0))


def _passed(p: _Pulls, S: Array) -> Array:
    """How far a weight has come on the other side of zero at S."""
    moving = p.beyond > 0.0
    return jnp.where(moving, p.beyond * (S - p.size / jnp.where(p.v == 0.0, 1.0, p.v)), 0.0)


def _moments(W: Array, p: _Pulls, lam: Array) -> tuple[Array, Array, Array]:
    """Q(0), half its slope, and Σ x'² at S = 0."""
    lam = lam.astype(W.dtype)
    v = jnp.where(W > 0.0, -(lam + p.d), jnp.where(W < 0.0, lam - p.d, p.beyond))
    return row_sum(W * W), row_sum(W * v), row_sum(v * v)


def _squared_norms(p: _Pulls, S: Array) -> tuple[Array, Array, Array, Array]:
    """Q(S/2), Q(S), Q'(S), and Σ v⁴ over the weights that reached zero before S."""
    S = S.astype(p.size.dtype)[..., None]
    half = 0.5 * S
    x = p.size - p.v * half
    x = jnp.where(x > 0.0, x, _passed(p, half))
    q_half = row_sum(x * x)
    x = p.size - p.v * S
    dx = jnp.where(x > 0.0, -p.v, p.beyond)
    kinks = row_sum(jnp.where((x > 0.0) | (p.size == 0.0), 0.0, p.v**4))
    x = jnp.where(x > 0.0, x, _passed(p, S))
    return q_half, row_sum(x * x), 2.0 * row_sum(x * dx), kinks


def _write_row(W: Array, p: _Pulls, E: Array, S: Array) -> Array:
    S = S.astype(W.dtype)[..., None]
    x = p.size - p.v * S
    # One that passes through zero, or leaves it, goes against its drift.
    passed = _passed(p, S)
    passed = jnp.where(passed > 0.0, jnp.where(p.d > 0.0, -passed, passed), 0.0)
    x = jnp.where(x > 0.0, jnp.where(W > 0.0, x, -x), passed)
    return E.astype(W.dtype)[..., None] * x


class _Guess(NamedTuple):
    """Where the solution of a row stands after some guesses of S; kept as one array, (9, …)."""

    guess: Array
    pieces: Array
    y: Array
    """The solution in twice that many pieces; NaN if there is none."""
    S: Array
    cubic_y: Array
    """The same for the cubic that ignores the slope of Q at S."""
    cubic_S: Array
    q_full: Array
    kinks: Array
    error: Array


def _difference(norm: Array, speed: Array, one: tuple[Array, Array], other: Any) -> Array:
    """How far apart two solutions (y, S) put the row, as a norm."""
    shift = jnp.abs(other[1] - one[1]) / jnp.sqrt(one[0])
    return 0.5 * jnp.abs(jnp.log(other[0] / one[0])) * norm + shift * jnp.sqrt(speed)


class _Rows(NamedTuple):
    """The solution of every row over a step."""

    E: Array
    S: Array
    squared: Array
    """‖W_i‖² after it; 0 where g₁ = 0, since nothing depends on it then."""
    error: Array
    """Estimate of the row's error, a norm."""
    guess: Array
    """The S up to which Q was interpolated."""


@jax.custom_jvp
def _solve_rows(
    W: Array, D: Array, scale: Array, h: Array, g0: Array, g1: Array, lam: Array, accuracy: Array
) -> _Rows:
    """Every row at once: guesses of S are refined, and pieces halved, until all rows are solved.

    One idea: the loops are those of flow.kernels.rows, closed over the same rows.
    """
    q0, slope, speed = _moments(W, _pulls(W, D, scale, lam), lam)
    # Zero, or so small that its square is; or without a quadratic part.
    linear = ((speed == 0.0) & (q0 == 0.0)) | (g1 == 0.0)
    wanted = ~linear
    slope = 2.0 * slope
    nought = jnp.zeros_like(q0)

    def refine(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, packed, open_ = carry
        old = _Guess(*packed)
        early = count == 0  # before the first guess, Taylor's parabola for Q
        guess = jnp.where(open_ & ~early, old.S, 1.0)
        # From W and D at each turn: the compiler would keep what it takes to be the same at all of
        # them, several arrays of the size of W, and read those.
        here, drift, _ = lax.optimization_barrier((W, D, guess))
        p = _pulls(here, drift, scale, lam)
        (c2, c3, c4), (cubic2, cubic3), q_full, kinks = _interpolate(p, q0, slope, guess)
        # The quartic and the cubic side by side.
        q = jnp.stack([
            jnp.stack([q0, slope, c2, c3, c4]), jnp.stack([q0, slope, cubic2, cubic3, nought])
        ], axis=1)  # fmt: skip
        parabola = jnp.stack([q0, slope, speed, nought, nought])[:, None]
        q = jnp.where(early, parabola, q)

        # As many pieces as it takes for halving them not to matter.
        def halve(carry: Any) -> Any:
            pieces, coarse, best, going = carry
            (y, cubic_y), (S, cubic_S) = _two_scalars(h, pieces, g0, g1, q, going)
            S = jnp.where(early & ~((S > 0.0) & (S < 1e30)), h, S)
            apart = _difference(jnp.sqrt(q_full / y), speed, (y, S), coarse)
            apart = jnp.where(jnp.isnan(apart), FAILED, apart)
            due = going & (early | (2 * best[1] <= pieces))
            stop = due & (early | (apart <= accuracy) | (2 * pieces > MAX_PIECES))
            used = jnp.broadcast_to(jnp.maximum(pieces // 2, 1), y.shape).astype(y.dtype)
            found = _Guess(guess, used, y, S, cubic_y, cubic_S, q_full, kinks, apart)
            best = jnp.where(stop, jnp.stack(found), best)
            return 2 * pieces, jnp.stack([y, S]), best, going & ~stop

        start = (1, jnp.full((2, *q0.shape), jnp.nan, q0.dtype), packed, open_)
        _, _, packed, _ = lax.while_loop(lambda carry: jnp.any(carry[3]), halve, start)
        new = _Guess(*packed)
        unsettled = (new.error < FAILED) & ~(jnp.abs(new.S - guess) <= 1e-2 * guess)
        return count + 1, packed, open_ & (early | unsettled)

    one = jnp.ones_like(q0)
    start = jnp.stack(_Guess(nought, one, one, one, one, one, q0, nought, nought))
    _, packed, _ = lax.while_loop(
        lambda carry: (carry[0] <= _GUESSES) & jnp.any(carry[2]), refine, (0, start, wanted)
    )
    end = _Guess(*packed)
    E = 1.0 / jnp.sqrt(end.y)
    norm = E * jnp.sqrt(end.q_full)
    # The cubic tells how much the shape of Q is in doubt.
    doubt = _difference(norm, speed, (end.y, end.S), (end.cubic_y, end.cubic_S))
    # Each extinction within the step bends Q, and three samples may miss it: add what that is
    # worth, as for bends at independent places.
    missed = KINK * end.guess * end.guess * jnp.sqrt(end.kinks)
    tiny = float(np.finfo(scalar_dtype()).tiny)
    bends = 0.5 * norm * missed * jnp.minimum(2.0 * g1 * h, 1.0 / jnp.maximum(end.q_full, tiny))
    error = end.error + doubt + bends
    solved = wanted & (end.error < FAILED) & ~jnp.isnan(doubt)
    free = jnp.where(linear, g0, 0.0)
    free_S = h * phi_functions(-free * h)[0]
    E = jnp.where(solved, E, jnp.where(linear, jnp.exp(free * h), 1.0))
    S = jnp.where(solved, end.S, jnp.where(linear, free_S, 0.0))
    error = jnp.where(solved, error, jnp.where(wanted, FAILED, 0.0))
    return _Rows(E, S, jnp.where(solved, E * E * end.q_full, 0.0), error, end.guess)


@_solve_rows.defjvp
def _solve_rows_jvp(primals: Any, tangents: Any) -> tuple[_Rows, _Rows]:
    rows = _solve_rows(*primals)
    wanted = (rows.error < FAILED) & (rows.guess > 0.0)

    def smooth(
        W: Array, D: Array, scale: Array, h: Array, g0: Array, g1: Array, lam: Array
    ) -> tuple[Array, Array, Array]:
        p = _pulls(W, D, scale, lam)
        q0, slope, _ = _moments(W, p, lam)
        guess = jnp.where(wanted, rows.guess, 1.0)
        (c2, c3, c4), _, _, _ = _interpolate(p, q0, 2.0 * slope, guess)
        q = jnp.stack([q0, 2.0 * slope, c2, c3, c4])
        y, S = _smooth_two_scalars(h, g0, g1, q, wanted)
        E = 1.0 / jnp.sqrt(y)
        free = ~wanted & (rows.error < FAILED)
        rate = jnp.where(free, g0, 0.0)
        return (
            jnp.where(wanted, E, jnp.where(free, jnp.exp(rate * h), 1.0)),
            jnp.where(wanted, S, jnp.where(free, h * phi_functions(-rate * h)[0], 0.0)),
            jnp.where(wanted, E * E * _quartic(q, S), 0.0),
        )

    _, (E, S, squared) = jax.jvp(smooth, primals[:-1], tangents[:-1])
    nought = jnp.zeros_like(rows.error)
    return rows, _Rows(E, S, squared, nought, nought)


def _interpolate(
    p: _Pulls, q0: Array, slope: Array, guess: Array
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array], Array, Array]:
    """Coefficients of the quartic and of the cubic from S² on, Q(guess), and its bends."""
    q_half, q_full, end_slope, kinks = _squared_norms(p, guess)
    full = (q_full - q0 - slope * guess) / (guess * guess)
    half = (q_half - q0 - 0.5 * slope * guess) / (0.25 * guess * guess)
    cubic3 = 2.0 * (full - half) / guess
    cubic2 = full - cubic3 * guess
    c4 = 2.0 * (end_slope - slope - guess * (2.0 * cubic2 + 3.0 * guess * cubic3)) / guess**3
    quartic = cubic2 + 0.5 * guess * guess * c4, cubic3 - 1.5 * guess * c4, c4
    return quartic, (cubic2, cubic3), q_full, kinks


def advance_rows(
    W: Array, D: Array, scale: Array, rho: Array, rho0: Array, h: Array, g0: Array, g1: Array,
    lam: Array, accuracy: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """W after time h under the mean drift scale·D and mean radial rates rho, and row errors.

    W, D : (…, m); rho, rho0 and the errors : (…); the rest are scalars. As
    :func:`flow.kernels.rows.advance_rows`, which says what they mean.
    """
    rows = _solve_rows(W, D, scale, h, g0 - rho, g1, lam, accuracy)
    phi1, phi2, _ = phi_functions(-2.0 * g1 * rows.squared * h)
    change = -2.0 * (rho - rho0) * h * (phi2 - 0.5 * phi1)
    E = rows.E * (1.0 + jnp.clip(change, -0.5, 0.5))
    return _write_row(W, _pulls(W, D, scale, lam), E, rows.S), rows.error
