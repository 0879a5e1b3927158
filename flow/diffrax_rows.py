"""One row of the flow under a drift that is constant in time, for JAX: :mod:`flow.row_kernels`.

The same equations in the same order of operations, for all rows at once: W : (…, m) with one row
per leading index. Where the Numba kernel loops until *a* row is done, these loops run until every
row is, and rows that are done keep what they have. Scalars of a row are float64 where x64 is on,
whatever the dtype of W. Sums over neurons are plain reductions, so W may be sharded over them.

Every loop has a static bound, which reverse-mode differentiation needs (`reverse`); estimates of
error steer steps only and carry no derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox.internal as eqxi
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


def loop(
    condition: Callable[[Any], Array], body: Callable[[Any], Any], start: Any, *, most: int,
    reverse: bool,
) -> Any:  # fmt: skip
    """``while condition``; at most `most` times, and differentiable in reverse if asked."""
    if reverse:
        return eqxi.while_loop(condition, body, start, max_steps=most, kind="checkpointed")
    return lax.while_loop(condition, body, start)


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


def _two_scalars(
    h: Array, pieces: Array, g0: Array, g1: Array, q: Sequence[Array], wanted: Array,
    reverse: bool,
) -> _Scalars:  # fmt: skip
    """(y, S) of every row that is `wanted`, over h in that many pieces."""
    dt = h / pieces
    rounding = 45.0 * float(np.finfo(scalar_dtype()).eps)

    def Q(S: Array) -> Array:
        return q[0] + S * (q[1] + S * (q[2] + S * (q[3] + S * q[4])))

    def piece(carry: tuple[Array, _Scalars]) -> tuple[Array, _Scalars]:
        k, (y, S, solved) = carry
        going = wanted & solved & (k < pieces)
        start = Q(S)
        a = g0 - g1 * start / y
        b = a * dt
        possible = going & (start >= 0.0) & (jnp.abs(b) < 20.0)
        b = jnp.where(possible, b, 0.0)
        z = jnp.where(possible, 2.0 * (g0 - a) * dt, 0.0)
        s = 2.0 * g1 * dt
        weights = _quadrature_weights(z, b)
        (m0, f0, _, _), (m1, f1, u0, v0), (m2, f2, u1, v1), (m3, f3, u2, v2) = weights
        m1, m2, m3, f1, f2, f3 = (s * w for w in (m1, m2, m3, f1, f2, f3))
        stretch_mid = jnp.exp(b) / y
        stretch_full = jnp.exp(2.0 * b) / y
        unit = dt * jnp.sqrt(y)
        q_start = start / y

        def correct(state: Any) -> Any:
            mid, full, _, change, open_, valid = state
            q_mid = Q(S + mid) * stretch_mid
            q_full = Q(S + full) * stretch_full
            eta_mid = m0 + m1 * q_start + m2 * q_mid + m3 * q_full
            eta_full = f0 + f1 * q_start + f2 * q_mid + f3 * q_full
            positive = (eta_mid > 0.0) & (eta_full > 0.0)
            root_mid = jnp.sqrt(jnp.where(positive, eta_mid, 1.0))
            root_full = jnp.sqrt(jnp.where(positive, eta_full, 1.0))
            new_mid = unit * (u0 + u1 * root_mid + u2 * root_full)
            new_full = unit * (v0 + v1 * root_mid + v2 * root_full)
            moved = jnp.abs(new_full - full) + jnp.abs(new_mid - mid)
            new = (
                new_mid,
                new_full,
                eta_full,
                moved,
                positive & ~(moved <= rounding * new_full),
                positive,
            )
            return _choose(open_, new, (mid, full, eta_full, change, open_, valid))

        def correct_some(carry: Any) -> Any:
            count, state = carry
            for _ in range(_UNROLLED):
                state = correct(state)
            return count + _UNROLLED, state

        first = (
            unit * (u0 + u1 + u2),
            unit * (v0 + v1 + v2),
            jnp.ones_like(y),
            jnp.full_like(y, jnp.inf),
            possible,
            possible,
        )
        _, (_, full, eta_full, change, _, valid) = loop(
            lambda carry: (carry[0] < _CORRECTIONS) & jnp.any(carry[1][4]),
            correct_some,
            (0, first),
            most=_CORRECTIONS // _UNROLLED,
            reverse=reverse,
        )
        done = possible & valid & (change <= 100.0 * rounding * full)
        return k + 1, _Scalars(
            jnp.where(done, y * jnp.exp(-2.0 * b) * eta_full, y),
            jnp.where(done, S + full, S),
            jnp.where(going, done, solved),
        )

    start = _Scalars(jnp.ones_like(q[0]), jnp.zeros_like(q[0]), jnp.ones_like(q[0], bool))
    _, end = loop(
        lambda carry: jnp.any(wanted & carry[1].solved & (carry[0] < pieces)),
        piece,
        (0, start),
        most=MAX_PIECES,
        reverse=reverse,
    )
    return end


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


def _solve_rows(
    W: Array, p: _Pulls, h: Array, g0: Array, g1: Array, lam: Array, accuracy: Array, reverse: bool
) -> tuple[Array, Array, Array, Array]:
    """E, S over a step h, ‖W_i‖² after it, and an estimate of each row's error (a norm)."""
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
        q_half, q_full, end_slope, kinks = _squared_norms(p, guess)
        full = (q_full - q0 - slope * guess) / (guess * guess)
        half = (q_half - q0 - 0.5 * slope * guess) / (0.25 * guess * guess)
        cubic3 = 2.0 * (full - half) / guess
        cubic2 = full - cubic3 * guess
        c4 = 2.0 * (end_slope - slope - guess * (2.0 * cubic2 + 3.0 * guess * cubic3)) / guess**3
        c3 = cubic3 - 1.5 * guess * c4
        c2 = cubic2 + 0.5 * guess * guess * c4
        # The quartic and the cubic side by side; before the first guess, Taylor's parabola.
        early = count == 0
        q = [jnp.stack(pair) for pair in ((q0, q0), (slope, slope))]
        for quartic, cubic, parabola in ((c2, cubic2, speed), (c3, cubic3, 0.0), (c4, nought, 0.0)):
            q.append(jnp.where(early, parabola, jnp.stack([quartic, cubic])))

        # As many pieces as it takes for halving them not to matter.
        def halve(carry: Any) -> Any:
            pieces, coarse, best, going = carry
            both = _two_scalars(h, pieces, g0, g1, q, jnp.stack([going, going]), reverse)
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

        _, _, new, _ = loop(
            lambda carry: jnp.any(carry[3]),
            halve,
            (1, nothing, old, old.open),
            most=7,
            reverse=reverse,
        )
        return count + 1, new

    _, end = loop(
        lambda carry: (carry[0] <= _GUESSES) & jnp.any(carry[1].open),
        refine,
        (0, start),
        most=_GUESSES + 1,
        reverse=reverse,
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
    return E, S, jnp.where(solved, E * E * end.q_full, 0.0), lax.stop_gradient(error)


def advance_rows(
    W: Array, D: Array, scale: Array, rho: Array, rho0: Array, h: Array, g0: Array, g1: Array,
    lam: Array, accuracy: Array, *, reverse: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """W after time h under the mean drift scale·D and mean radial rates rho, and row errors.

    W, D : (…, m); rho, rho0 and the errors : (…); the rest are scalars. As
    :func:`flow.row_kernels.advance_rows`, which says what they mean.
    """
    p = _pulls(W, D, scale, lam)
    E, S, squared, error = _solve_rows(W, p, h, g0 - rho, g1, lam, accuracy, reverse)
    phi1, phi2, _ = phi_functions(-2.0 * g1 * squared * h)
    change = -2.0 * (rho - rho0) * h * (phi2 - 0.5 * phi1)
    return _write_row(W, p, E * (1.0 + jnp.clip(change, -0.5, 0.5)), S), error
