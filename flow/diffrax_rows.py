"""One row of the flow under a drift that is constant in time, for JAX: :mod:`flow.row_kernels`.

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
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flow.row_kernels import KINK, MAX_PIECES

Array = Any
"""A JAX array, or a tracer of one."""

FAILED = 1e15
"""Row error that stands for "this step is too long to be solved"; its square fits a float32."""
_CORRECTIONS = 60
_GUESSES = 4
_UNROLLED = 3
"""Corrections between two looks at whether every row has converged."""
_PHI3 = np.array([1.0 / math.factorial(k + 3) for k in range(20)]).reshape(5, 4)
"""Coefficients of x^(4a + b) in φ₃."""


def scalar_dtype() -> Any:
    """The dtype of what is summed over a row: float64 where x64 is on."""
    return jnp.result_type(float)


def row_sum(x: Array) -> Array:
    return jnp.sum(x, axis=-1, dtype=scalar_dtype())


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


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


class _Weights(NamedTuple):
    """Weights of the two quadratures of a piece, (4, …): see :mod:`flow.row_kernels`.

    Entries 0 and 1 are those of the relaxation at half the piece and at its end, 2 and 3 those of
    ∫ e^(−bσ) p(σ) dσ up to there.
    """

    decay: Array
    first: Array
    middle: Array
    last: Array


def _quadrature_weights(z: Array, b: Array) -> _Weights:
    x = jnp.stack([-0.5 * z, -z, 0.5 * b, b])
    fraction = jnp.array([0.5, 1.0, 0.5, 1.0], x.dtype).reshape(4, *(1,) * z.ndim)
    decay = jnp.exp(jnp.concatenate([x[:2], -x[2:]]))
    phi1, phi2, phi3 = phi_functions(x)
    scale = jnp.concatenate([jnp.ones_like(x[:2]), decay[2:]])
    moment0 = scale * fraction * phi1
    moment1 = scale * fraction**2 * phi2
    moment2 = 2.0 * scale * fraction**3 * phi3
    return _Weights(
        decay,
        moment0 - 3.0 * moment1 + 2.0 * moment2,
        4.0 * (moment1 - moment2),
        2.0 * moment2 - moment1,
    )


class _Scalars(NamedTuple):
    y: Array
    S: Array
    solved: Array


class _Piece(NamedTuple):
    """One piece of the way of (y, S): a fixed point for what S gains up to its middle and end."""

    S: Array
    q: Sequence[Array]
    """Q(S) = q[0] + q[1] S + … + q[4] S⁴."""
    weights: _Weights
    s: Array
    unit: Array
    q_start: Array
    stretch_mid: Array
    stretch_full: Array

    def first(self) -> tuple[Array, Array]:
        mid, full = ((w.first + w.middle + w.last) for w in (self._at(2), self._at(3)))
        return self.unit * mid, self.unit * full

    def _at(self, k: int) -> _Weights:
        return _Weights(*(w[k] for w in self.weights))

    def correct(self, mid: Array, full: Array) -> tuple[Array, Array, Array, Array]:
        """Better values of both, η at the end, and whether η stayed positive."""
        q_mid = _quartic(self.q, self.S + mid) * self.stretch_mid
        q_full = _quartic(self.q, self.S + full) * self.stretch_full
        eta_mid, eta_full = (
            w.decay + self.s * (w.first * self.q_start + w.middle * q_mid + w.last * q_full)
            for w in (self._at(0), self._at(1))
        )
        positive = (eta_mid > 0.0) & (eta_full > 0.0)
        root_mid = jnp.sqrt(jnp.where(positive, eta_mid, 1.0))
        root_full = jnp.sqrt(jnp.where(positive, eta_full, 1.0))
        new_mid, new_full = (
            self.unit * (w.first + w.middle * root_mid + w.last * root_full)
            for w in (self._at(2), self._at(3))
        )
        return new_mid, new_full, eta_full, positive


def _quartic(q: Sequence[Array], S: Array) -> Array:
    return q[0] + S * (q[1] + S * (q[2] + S * (q[3] + S * q[4])))


def _begin_piece(
    y: Array, S: Array, dt: Array, g0: Array, g1: Array, q: Sequence[Array], going: Array
) -> tuple[_Piece, Array, Array]:
    """The piece after (y, S), the growth b over it, and whether it can be solved."""
    start = _quartic(q, S)
    a = g0 - g1 * start / y
    b = a * dt
    possible = going & (start >= 0.0) & (jnp.abs(b) < 20.0)
    b = jnp.where(possible, b, 0.0)
    z = jnp.where(possible, 2.0 * (g0 - a) * dt, 0.0)
    piece = _Piece(
        S, q, _quadrature_weights(z, b), 2.0 * g1 * dt, dt * jnp.sqrt(y), start / y,
        jnp.exp(b) / y, jnp.exp(2.0 * b) / y,
    )  # fmt: skip
    return piece, b, possible


def _solve_piece(piece: _Piece, possible: Array) -> tuple[Array, Array, Array, Array]:
    """mid, full and η of every row where that is possible, and where it was."""
    rounding = 45.0 * float(np.finfo(scalar_dtype()).eps)

    def correct(state: Any) -> Any:
        mid, full, _, _, open_, _ = state
        new_mid, new_full, eta, positive = piece.correct(mid, full)
        moved = jnp.abs(new_full - full) + jnp.abs(new_mid - mid)
        again = positive & ~(moved <= rounding * new_full)
        return _choose(open_, (new_mid, new_full, eta, moved, again, positive), state)

    def correct_some(carry: Any) -> Any:
        count, state = carry
        for _ in range(_UNROLLED):
            state = correct(state)
        return count + _UNROLLED, state

    mid, full = piece.first()
    start = (mid, full, jnp.ones_like(mid), jnp.full_like(mid, jnp.inf), possible, possible)
    _, (mid, full, eta, change, _, valid) = lax.while_loop(
        lambda carry: (carry[0] < _CORRECTIONS) & jnp.any(carry[1][4]), correct_some, (0, start)
    )
    return mid, full, eta, possible & valid & (change <= 100.0 * rounding * full)


def _two_scalars(
    h: Array, pieces: Array, g0: Array, g1: Array, q: Sequence[Array], wanted: Array
) -> _Scalars:
    """(y, S) of every row that is `wanted`, over h in that many pieces."""

    def advance(carry: tuple[Array, _Scalars]) -> tuple[Array, _Scalars]:
        k, (y, S, solved) = carry
        going = wanted & solved & (k < pieces)
        piece, b, possible = _begin_piece(y, S, h / pieces, g0, g1, q, going)
        _, full, eta, done = _solve_piece(piece, possible)
        return k + 1, _Scalars(
            jnp.where(done, y * jnp.exp(-2.0 * b) * eta, y),
            jnp.where(done, S + full, S),
            jnp.where(going, done, solved),
        )

    start = _Scalars(jnp.ones_like(q[0]), jnp.zeros_like(q[0]), jnp.ones_like(q[0], bool))
    _, end = lax.while_loop(
        lambda carry: jnp.any(wanted & carry[1].solved & (carry[0] < pieces)), advance, (0, start)
    )
    return end


def _smooth_two_scalars(
    h: Array, g0: Array, g1: Array, q: Sequence[Array], wanted: Array
) -> tuple[Array, Array]:
    """The same in :data:`MAX_PIECES` pieces, and differentiable."""

    def advance(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        y, S = carry
        piece, b, possible = _begin_piece(y, S, h / MAX_PIECES, g0, g1, q, wanted)
        fixed = lax.stop_gradient(piece)
        mid, full, _, done = _solve_piece(fixed, possible)
        # Implicit derivative: x = F(x, p) moves by (1 − ∂F/∂x)⁻¹ ∂F/∂p δp.
        (by_mid, by_full) = (
            jax.jvp(lambda m, f: fixed.correct(m, f)[:2], (mid, full), direction)[1]
            for direction in (
                (jnp.ones_like(mid), jnp.zeros_like(mid)),
                (jnp.zeros_like(mid), jnp.ones_like(mid)),
            )
        )
        A, B, C, D = 1.0 - by_mid[0], -by_full[0], -by_mid[1], 1.0 - by_full[1]
        shift = [new - lax.stop_gradient(new) for new in piece.correct(mid, full)[:2]]
        determinant = A * D - B * C
        mid = mid + (D * shift[0] - B * shift[1]) / determinant
        full = full + (A * shift[1] - C * shift[0]) / determinant
        eta = piece.correct(mid, full)[2]
        return (
            jnp.where(done, y * jnp.exp(-2.0 * b) * eta, y),
            jnp.where(done, S + full, S),
        ), None

    start = (jnp.ones_like(q[0]), jnp.zeros_like(q[0]))
    return lax.scan(advance, start, None, length=MAX_PIECES)[0]


class _Pulls(NamedTuple):
    """What acts on the weights of rows in units of E: see :mod:`flow.row_kernels`."""

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
    """Where the solution of the rows stands after some guesses of S."""

    guess: Array
    pieces: Array
    fine: _Scalars
    """The solution in twice that many pieces."""
    cubic: _Scalars
    """The same for the cubic that ignores the slope of Q at S."""
    error: Array
    q_full: Array
    kinks: Array
    open: Array
    """Rows that go on to the next guess."""


def _difference(norm: Array, speed: Array, one: _Scalars, other: _Scalars) -> Array:
    """How far apart two solutions (y, S) put the row, as a norm."""
    shift = jnp.abs(other.S - one.S) / jnp.sqrt(one.y)
    return 0.5 * jnp.abs(jnp.log(other.y / one.y)) * norm + shift * jnp.sqrt(speed)


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
    p = _pulls(W, D, scale, lam)
    q0, slope, speed = _moments(W, p, lam)
    still = (speed == 0.0) & (q0 == 0.0)
    linear = jnp.broadcast_to(g1 == 0.0, q0.shape)
    wanted = ~(still | linear)
    slope = 2.0 * slope
    one, nought = jnp.ones_like(q0, int), jnp.zeros_like(q0)

    nothing = _Scalars(jnp.ones_like(q0), jnp.ones_like(q0), wanted)
    start = _Guess(nought, one, nothing, nothing, nought, q0, nought, wanted)

    def refine(carry: tuple[Array, _Guess]) -> tuple[Array, _Guess]:
        count, old = carry
        guess = jnp.where(old.open, old.fine.S, 1.0)
        (c2, c3, c4), (cubic2, cubic3), q_full, kinks = _interpolate(p, q0, slope, guess)
        # The quartic and the cubic side by side; before the first guess, Taylor's parabola.
        early = count == 0
        q = [jnp.stack(pair) for pair in ((q0, q0), (slope, slope))]
        for quartic, cubic, parabola in ((c2, cubic2, speed), (c3, cubic3, 0.0), (c4, nought, 0.0)):
            q.append(jnp.where(early, parabola, jnp.stack([quartic, cubic])))

        # As many pieces as it takes for halving them not to matter.
        def halve(carry: Any) -> Any:
            pieces, coarse, best, going = carry
            both = _two_scalars(h, pieces, g0, g1, q, jnp.stack([going, going]))
            fine, cubic = (_Scalars(*(x[k] for x in both)) for k in (0, 1))
            due = going & (early | (2 * best.pieces <= pieces))
            apart = _difference(jnp.sqrt(q_full / fine.y), speed, fine, coarse)
            solved = fine.solved & coarse.solved
            stop = due & (early | (solved & (apart <= accuracy)) | (2 * pieces > MAX_PIECES))
            error = jnp.where(solved, apart, FAILED)
            again = early | ((error < FAILED) & ~(jnp.abs(fine.S - guess) <= 1e-2 * guess))
            S = jnp.where(early & ~((fine.S > 0.0) & (fine.S < 1e30)), h, fine.S)
            half_as_many = jnp.full_like(one, jnp.maximum(pieces // 2, 1))
            found = _Guess(
                guess, half_as_many, fine._replace(S=S), cubic, error, q_full, kinks, again
            )
            return 2 * pieces, fine, _choose(stop, found, best), going & ~stop

        _, _, new, _ = lax.while_loop(
            lambda carry: jnp.any(carry[3]), halve, (1, nothing, old, old.open)
        )
        return count + 1, new

    _, end = lax.while_loop(
        lambda carry: (carry[0] <= _GUESSES) & jnp.any(carry[1].open), refine, (0, start)
    )
    solved = wanted & (end.error < FAILED) & end.cubic.solved
    E = 1.0 / jnp.sqrt(end.fine.y)
    norm = E * jnp.sqrt(end.q_full)
    # The cubic tells how much the shape of Q is in doubt.
    error = end.error + _difference(norm, speed, end.fine, end.cubic)
    # Each extinction within the step bends Q, and three samples may miss it: add what that is
    # worth, as for bends at independent places.
    missed = KINK * end.guess * end.guess * jnp.sqrt(end.kinks)
    tiny = float(np.finfo(scalar_dtype()).tiny)
    error += 0.5 * norm * missed * jnp.minimum(2.0 * g1 * h, 1.0 / jnp.maximum(end.q_full, tiny))
    free = jnp.where(linear, g0, 0.0)
    free_S = h * phi_functions(-free * h)[0]
    E = jnp.where(solved, E, jnp.where(linear, jnp.exp(free * h), 1.0))
    S = jnp.where(solved, end.fine.S, jnp.where(linear, free_S, jnp.where(still, h, 0.0)))
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
        q = (q0, 2.0 * slope, c2, c3, c4)
        y, S = _smooth_two_scalars(h, g0, g1, q, wanted)
        E = 1.0 / jnp.sqrt(y)
        free = (g1 == 0.0) & (rows.error < FAILED)
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
    :func:`flow.row_kernels.advance_rows`, which says what they mean.
    """
    rows = _solve_rows(W, D, scale, h, g0 - rho, g1, lam, accuracy)
    phi1, phi2, _ = phi_functions(-2.0 * g1 * rows.squared * h)
    change = -2.0 * (rho - rho0) * h * (phi2 - 0.5 * phi1)
    E = rows.E * (1.0 + jnp.clip(change, -0.5, 0.5))
    return _write_row(W, _pulls(W, D, scale, lam), E, rows.S), rows.error
