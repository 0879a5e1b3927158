"""Numba kernels for one row of the flow under a drift that is constant in time.

Over a step the interference felt by a row, ρ_i W_i + D_i, is replaced by the means of ρ_i and D_i.
What is left, with g₀ standing for g₀ − ρ_i,

    dW_ik/dt = (g₀ − g₁ ‖W_i‖²) W_ik − D_ik − λ·sign(W_ik),

is solved through two scalars per row (theory/README, sections 2 and 5): W_ik(t) = E·x_k(S) with
S' = 1/E. Each x_k is linear in S until it reaches zero, then stays there while |D_ik| ≤ λ and
passes through otherwise, so extinction, sticking and revival are exact. With y = E⁻² and
Q(S) = Σ_k x_k²,

    y' = 2 g₁ Q(S) − 2 g₀ y,    S' = √y,    y(0) = 1, S(0) = 0.

Q enters as the quartic through its values at 0, S/2, S and its slopes at 0, S; growth and
relaxation of y are integrated with φ-functions, so steps may be long against 1/g₀.

All arrays are flat; row i is ``[start[i]:start[i+1]]``: dense and sparse layouts alike.

Loops run over slices of a row: an index that might be negative, as one from ``start`` might, keeps
them from being vectorised.

Kernels that may reorder sums, and all that call them from other kernels, are inlined by force
(in all files of this package). Left to itself the compiler keeps two versions of
them, optimised differently, and which one is linked depends on what the compile cache held: the
same run would give other bits in the process that compiled than in the next one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from flow.kernels.compiling import kernel
from flow.kernels.loops import run_tasks
from flow.kernels.threads import parallel

FAILED = 1e300
"""Row error that stands for "this step is too long to be solved"; the driver shortens it."""


@kernel(inline="always")
def _pairs(x, x2, a, b, c, d):
    """a + b x + c x² + d x³."""
    return (a + b * x) + x2 * (c + d * x)


@kernel(forceinline=True)
def _phi(x):
    """φ₀ = e^x, φ₁, φ₂, φ₃ of x, with φ_k(x) = Σ_j x^j/(j+k)!.

    For |x| < 1 sixteen terms of φ₃ leave 1e-16; they are summed in pairs, as a sum that is one
    chain of operations takes several times as long.
    """
    if abs(x) < 1.0:
        x2 = x * x
        x4 = x2 * x2
        low = _pairs(x, x2, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0)
        low += x4 * _pairs(x, x2, 1.0 / 5040.0, 1.0 / 40320.0, 1.0 / 362880.0, 1.0 / 3628800.0)
        high = _pairs(
            x, x2, 1.0 / 39916800.0, 1.0 / 479001600.0, 1.0 / 6227020800.0, 1.0 / 87178291200.0
        )
        high += x4 * _pairs(
            x, x2, 1.0 / 1307674368e3, 1.0 / 20922789888e3, 1.0 / 355687428096e3,
            1.0 / 6402373705728e3,
        )  # fmt: skip
        phi3 = low + x4 * x4 * high
        phi2 = 0.5 + x * phi3
        phi1 = 1.0 + x * phi2
        return 1.0 + x * phi1, phi1, phi2, phi3
    phi0 = math.exp(x)
    phi1 = (phi0 - 1.0) / x
    phi2 = (phi1 - 1.0) / x
    return phi0, phi1, phi2, (phi2 - 0.5) / x


@kernel(inline="always")
def _moments_of(x, fraction):
    """e^x, and ∫₀^fraction e^(x(fraction−σ)/fraction) σ^k dσ for k = 0, 1, 2."""
    phi0, phi1, phi2, phi3 = _phi(x)
    return phi0, fraction * phi1, fraction**2 * phi2, 2.0 * fraction**3 * phi3


@kernel(forceinline=True)
def _relaxation(z, s, fraction):
    """η(fraction) = w₀ η(0) + w₁ q(0) + w₂ q(1/2) + w₃ q(1) for η' = −z η + s q, q quadratic."""
    decay, moment0, moment1, moment2 = _moments_of(-z * fraction, fraction)
    return (
        decay,
        s * (moment0 - 3.0 * moment1 + 2.0 * moment2),
        s * 4.0 * (moment1 - moment2),
        s * (2.0 * moment2 - moment1),
    )


@kernel(forceinline=True)
def _quadrature(b, fraction):
    """∫₀^fraction e^(−bσ) p(σ) dσ = w₀ p(0) + w₁ p(1/2) + w₂ p(1), exact for p quadratic.

    Returns the three weights and e^(b·fraction).
    """
    growth, moment0, moment1, moment2 = _moments_of(b * fraction, fraction)
    decay = 1.0 / growth
    return (
        decay * (moment0 - 3.0 * moment1 + 2.0 * moment2),
        decay * 4.0 * (moment1 - moment2),
        decay * (2.0 * moment2 - moment1),
        growth,
    )


@kernel
def _two_scalars(h, pieces, g0, g1, q0, q1, q2, q3, q4):
    """Integrate (y, S) over h for Q(S) = q0 + q1 S + … + q4 S⁴; returns y, S, solved.

    Each piece factors out the growth a = g₀ − g₁ Q/y at its start: y = y₀ e^(−2aτ) η, where η
    relaxes towards the slowly varying Q e^(2aτ)/y₀ and is 1 throughout at a fixed point of the
    row. So long steps near rest make no error at all.
    """
    dt = h / pieces
    y = 1.0
    S = 0.0
    for _ in range(pieces):
        start = q0 + S * (q1 + S * (q2 + S * (q3 + S * q4)))
        if not start >= 0.0:
            return y, S, False
        a = g0 - g1 * start / y
        b = a * dt
        if not abs(b) < 20.0:
            return y, S, False
        z = 2.0 * (g0 - a) * dt
        s = 2.0 * g1 * dt
        m0, m1, m2, m3 = _relaxation(z, s, 0.5)
        f0, f1, f2, f3 = _relaxation(z, s, 1.0)
        u0, u1, u2, _ = _quadrature(b, 0.5)
        v0, v1, v2, grown = _quadrature(b, 1.0)
        stretch_mid = grown / y
        stretch_full = grown * grown / y
        unit = dt * math.sqrt(y)
        q_start = start / y
        mid = unit * (u0 + u1 + u2)
        full = unit * (v0 + v1 + v2)
        eta_full = 1.0
        solved = False
        for _ in range(60):
            x = S + mid
            q_mid = (q0 + x * (q1 + x * (q2 + x * (q3 + x * q4)))) * stretch_mid
            x = S + full
            q_full = (q0 + x * (q1 + x * (q2 + x * (q3 + x * q4)))) * stretch_full
            eta_mid = m0 + m1 * q_start + m2 * q_mid + m3 * q_full
            eta_full = f0 + f1 * q_start + f2 * q_mid + f3 * q_full
            if not (eta_mid > 0.0 and eta_full > 0.0):
                return y, S, False
            root_mid, root_full = math.sqrt(eta_mid), math.sqrt(eta_full)
            new_mid = unit * (u0 + u1 * root_mid + u2 * root_full)
            new_full = unit * (v0 + v1 * root_mid + v2 * root_full)
            change = abs(new_full - full) + abs(new_mid - mid)
            full, mid = new_full, new_mid
            if change <= 1e-14 * full:
                solved = True
                break
        if not (solved or change <= 1e-12 * full):
            return y, S, False
        y *= eta_full / (grown * grown)
        S += full
    return y, S, True


@kernel(inline="always")
def _difference(E, norm, speed, y, S, y_other, S_other):
    """How far apart two solutions (y, S) put the row, as a norm."""
    return 0.5 * abs(math.log(y_other / y)) * norm + E * abs(S_other - S) * math.sqrt(speed)


# Sums over a row. Reassociation lets these vectorise; NaN still propagates and no sign of zero
# is read from them.
_REDUCTION = {"reassoc", "nsz", "contract"}


@kernel(forceinline=True, fastmath=_REDUCTION)
def _moments(W, D, scale, lam):
    """Q(0), half its slope, and Σ x'² at S = 0."""
    q = 0.0
    slope = 0.0
    speed = 0.0
    for k in range(W.size):
        w = W[k]
        d = D[k] * scale
        beyond = max(abs(d) - lam, 0.0)
        v = -(lam + d) if w > 0.0 else (lam - d if w < 0.0 else beyond)
        q += w * w
        slope += w * v
        speed += v * v
    return q, slope, speed


@kernel(forceinline=True, fastmath=_REDUCTION)
def _squared_norms(W, D, scale, lam, S):
    """Q(S/2), Q(S), Q'(S), and Σ v⁴ over the weights that reached zero before S."""
    half = 0.5 * S
    q_half = 0.0
    q_full = 0.0
    slope = 0.0
    kinks = 0.0
    for k in range(W.size):
        w = W[k]
        d = D[k] * scale
        size = abs(w)
        v = lam + (d if w > 0.0 else (-d if w < 0.0 else abs(d)))
        beyond = max(abs(d) - lam, 0.0)
        x = size - v * half
        x = x if x > 0.0 else (beyond * (half - size / v) if beyond > 0.0 else 0.0)
        q_half += x * x
        x = size - v * S
        dx = -v if x > 0.0 else beyond
        kinks += 0.0 if x > 0.0 or size == 0.0 else v * v * v * v
        x = x if x > 0.0 else (beyond * (S - size / v) if beyond > 0.0 else 0.0)
        q_full += x * x
        slope += x * dx
    return q_half, q_full, 2.0 * slope, kinks


@kernel(inline="always")
def _write_row(W, D, scale, lam, E, S, out):
    for k in range(W.size):
        w = W[k]
        d = D[k] * scale
        size = abs(w)
        v = lam + (d if w > 0.0 else (-d if w < 0.0 else abs(d)))
        beyond = max(abs(d) - lam, 0.0)
        x = size - v * S
        # One that passes through zero, or leaves it, goes against its drift.
        against = -beyond if d > 0.0 else beyond
        passed = against * (S - size / v) if beyond > 0.0 else 0.0
        forward = x if w > 0.0 else -x
        out[k] = E * (forward if x > 0.0 else passed)


@kernel(inline="always")
def _recur(mu, D, nu, previous, gamma_tilde, C0):
    for k in range(D.size):
        previous[k] = mu * D[k] + nu * previous[k] + gamma_tilde * C0[k]


MAX_PIECES = 64
KINK = 0.01
"""Error of the quartic for a truncated parabola v²(S_k − S)₊² of unit size, at a typical S_k."""


@kernel(inline="always")
def _solve_row(W, D, scale, h, g0, g1, lam, accuracy, estimate):
    """E, S over a step h, ‖W_i‖² after it, and the row's error (a norm) if an `estimate` is wanted.

    ‖W_i‖² is 0 where g1 = 0: nothing depends on it then. Without an estimate the error is that of
    the two scalars alone.
    """
    if g1 == 0.0:
        return math.exp(g0 * h), h * _phi(-g0 * h)[1], 0.0, 0.0
    q0, slope, speed = _moments(W, D, scale, lam)
    if speed == 0.0 and q0 == 0.0:  # zero, or so small that its square is
        return math.exp(g0 * h), h * _phi(-g0 * h)[1], 0.0, 0.0
    slope *= 2.0
    pieces = int(1.0)  # no literal, for which the callee would be compiled once more
    y, S, solved = _two_scalars(h, pieces, g0, g1, q0, slope, speed, 0.0, 0.0)
    if not (0.0 < S < 1e100):
        S = h
    kinks = q_half = q_full = guess = c2 = c3 = c4 = cubic2 = cubic3 = E = norm = 0.0
    error = FAILED
    for _ in range(4):
        guess = S
        q_half, q_full, end_slope, kinks = _squared_norms(W, D, scale, lam, guess)
        full = (q_full - q0 - slope * guess) / (guess * guess)
        half = (q_half - q0 - 0.5 * slope * guess) / (0.25 * guess * guess)
        c3 = 2.0 * (full - half) / guess
        c2 = full - c3 * guess
        cubic2, cubic3 = c2, c3
        c4 = 2.0 * (end_slope - slope - guess * (2.0 * c2 + 3.0 * guess * c3)) / guess**3
        c3 -= 1.5 * guess * c4
        c2 += 0.5 * guess * guess * c4
        # As many pieces as it takes for halving them not to matter.
        y_low, S_low, solved_low = _two_scalars(h, pieces, g0, g1, q0, slope, c2, c3, c4)
        while True:
            y, S, solved = _two_scalars(h, 2 * pieces, g0, g1, q0, slope, c2, c3, c4)
            E = 1.0 / math.sqrt(y)
            norm = E * math.sqrt(q_full)
            error = FAILED
            if solved and solved_low:
                error = _difference(E, norm, speed, y, S, y_low, S_low)
                if error <= accuracy:
                    break
            if 4 * pieces > MAX_PIECES:
                break
            pieces *= 2
            y_low, S_low, solved_low = y, S, solved
        if not error < FAILED:
            return 1.0, 0.0, 0.0, FAILED
        if abs(S - guess) <= 1e-2 * guess:
            break
    if not estimate:
        return E, S, E * E * q_full, error
    # The cubic that ignores the slope at S tells how much the shape of Q is in doubt.
    y_low, S_low, solved = _two_scalars(h, 2 * pieces, g0, g1, q0, slope, cubic2, cubic3, 0.0)
    if not solved:
        return 1.0, 0.0, 0.0, FAILED
    error += _difference(E, norm, speed, y, S, y_low, S_low)
    # Each extinction within the step bends Q, and three samples may miss it: add what that is
    # worth, as for bends at independent places.
    missed = KINK * guess * guess * math.sqrt(kinks)
    error += 0.5 * norm * missed * min(2.0 * g1 * h, 1.0 / max(q_full, 1e-300))
    return E, S, E * E * q_full, error


@kernel(forceinline=True)
def _advance_row(
    i, start, W, D, scale, rho, rho0, h, g0, g1, lam, accuracy, out, row_error,
    mu, nu, gamma_tilde, C0, previous,
):  # fmt: skip
    begin, end = start[i], start[i + 1]
    w, d = W[begin:end], D[begin:end]
    on_the_way = previous.size > 0  # a stage, of which the end of the step is the judge
    E, S, squared, row_error[i] = _solve_row(
        w, d, scale, h, g0 - rho[i], g1, lam, accuracy, not on_the_way
    )
    _, phi1, phi2, _ = _phi(-2.0 * g1 * squared * h)
    change = -2.0 * (rho[i] - rho0[i]) * h * (phi2 - 0.5 * phi1)
    E *= 1.0 + min(max(change, -0.5), 0.5)
    _write_row(w, d, scale, lam, E, S, out[begin:end])
    if on_the_way:
        _recur(mu, d, nu, previous[begin:end], gamma_tilde, C0[begin:end])


@parallel
def advance_rows(
    loop, start, W, D, scale, rho, rho0, h, g0, g1, lam, accuracy, out, row_error,
    mu, nu, gamma_tilde, C0, previous,
):  # fmt: skip
    """out = W after time h under the mean drift scale·D and mean radial rates rho : (n,).

    rho0 : (n,) radial rates at the beginning. The length of a row answers to them within
    1/growth, so after a longer step it must reflect the rate as it ends, 2·mean − rho0: to first
    order the relative change of length is −2 (ρ − ρ₀) h (φ₂ − φ₁/2)(−2 g₁ ‖W_i‖² h), which is
    O(h²) on short steps. row_error : (n,) in units of ‖W_i‖₂; `accuracy` is the error of the two
    scalars that is small enough not to be reduced further.

    Besides, previous ← μ D + ν previous + γ̃ C0, a line of a Chebyshev recurrence but for μ̃ C;
    an empty `previous` asks for none. With a line to go on, errors are not those of the whole row:
    a step is judged by its last stage.
    """
    run_tasks(
        loop, _advance_row, start.size - 1,
        (start, W, D, scale, rho, rho0, h, g0, g1, lam, accuracy, out, row_error,
         mu, nu, gamma_tilde, C0, previous),
    )  # fmt: skip


@kernel(forceinline=True, fastmath=_REDUCTION)
def _defect(W, P, C0, C1):
    """‖W‖² and ‖P − (C0 + C1)/2‖² over the non-zeros."""
    squared = 0.0
    defect = 0.0
    for k in range(W.size):
        e = P[k] - 0.5 * (C0[k] + C1[k])
        squared += W[k] * W[k]
        defect += e * e if W[k] != 0.0 else 0.0
    return squared, defect


@kernel(forceinline=True)
def _add_drift_error_of(i, start, W, P, C0, C1, rho, rho0, rho1, h, g1, factor, row_error):
    begin, end = start[i], start[i + 1]
    squared, defect = _defect(W[begin:end], P[begin:end], C0[begin:end], C1[begin:end])
    radial = (rho[i] - 0.5 * (rho0[i] + rho1[i])) * _phi(-2.0 * g1 * squared * h)[1]
    defect += squared * radial * radial
    row_error[i] = (row_error[i] + factor * h * math.sqrt(defect)) / max(1.0, math.sqrt(squared))


@parallel
def add_drift_error(loop, start, W, P, C0, C1, rho, rho0, rho1, h, g1, factor, row_error):
    """Add factor·h·‖P − (C0 + C1)/2‖ over the non-zeros, then divide by max(1, ‖W_i‖₂).

    The same for the radial rates, rho against (rho0 + rho1)/2, damped as the length is.
    """
    run_tasks(
        loop, _add_drift_error_of, start.size - 1,
        (start, W, P, C0, C1, rho, rho0, rho1, h, g1, factor, row_error),
    )  # fmt: skip


@kernel
def _soft_threshold_row(i, start, W, D, rho, h, g0, g1, lam, out):
    squared = 0.0
    for k in range(start[i], start[i + 1]):
        squared += W[k] * W[k]
    growth = g0 - rho[i] - g1 * squared
    for k in range(start[i], start[i + 1]):
        x = W[k] + h * (growth * W[k] - D[k])
        size = abs(x) - h * lam
        out[k] = math.copysign(size, x) if size > 0.0 else 0.0


@parallel
def soft_threshold_step(loop, start, W, D, rho, h, g0, g1, lam, out):
    """Proximal Euler: out = shrink(W + h[(g₀ − ρ_i − g₁‖W_i‖²)W_i − D_i], hλ)."""
    run_tasks(loop, _soft_threshold_row, start.size - 1, (start, W, D, rho, h, g0, g1, lam, out))


class RowSums(NamedTuple):
    """What :func:`sum_rows` says of each row; six arrays of shape (n,), of NumPy
    or JAX."""

    l1: Any
    """‖W_i‖₁."""
    squared_norm: Any
    """‖W_i‖²."""
    l4: Any
    """‖W_i‖₄⁴."""
    nonzeros: Any
    """Number of weights that are not zero, as floats."""
    violation: Any
    """max_k |dW_ik/dt|: 0 at rest."""
    dissipation: Any
    """Σ_k (dW_ik/dt)²."""

    @classmethod
    def zeros(cls, n: int) -> RowSums:
        """Room for n rows."""
        return cls(*(np.zeros(n) for _ in cls._fields))


@kernel(forceinline=True, fastmath=_REDUCTION)
def _powers(W):
    """‖W‖₁, ‖W‖₂², ‖W‖₄⁴ and the number of non-zeros of a row."""
    l1 = 0.0
    squared = 0.0
    fourth = 0.0
    nonzeros = 0.0
    for k in range(W.size):
        size = abs(W[k])
        square = size * size
        l1 += size
        squared += square
        fourth += square * square
        nonzeros += 1.0 if size != 0.0 else 0.0
    return l1, squared, fourth, nonzeros


@kernel
def _speed(w, c, growth, lam):
    """|dW/dt| of one weight, the right one at zero."""
    if w == 0.0:
        return max(abs(c) - lam, 0.0)
    return abs(growth * w - c - (lam if w > 0.0 else -lam))


@kernel(forceinline=True, fastmath=_REDUCTION)
def _dissipation(W, C, growth, lam):
    total = 0.0
    for k in range(W.size):
        v = _speed(W[k], C[k], growth, lam)
        total += v * v
    return total


@kernel(forceinline=True, fastmath={*_REDUCTION, "nnan"})
def _largest_speed(W, C, growth, lam):
    """For weights without NaN."""
    largest = 0.0
    for k in range(W.size):
        largest = max(largest, _speed(W[k], C[k], growth, lam))
    return largest


@kernel(forceinline=True)
def _sum_row(
    i, start, W, C, rho, g0, g1, lam,
    out_l1, out_squared_norm, out_l4, out_nonzeros, out_violation, out_dissipation,
):  # fmt: skip
    begin, end = start[i], start[i + 1]
    w, c = W[begin:end], C[begin:end]
    l1, squared, fourth, nonzeros = _powers(w)
    growth = g0 - rho[i] - g1 * squared
    dissipation = _dissipation(w, c, growth, lam)
    out_l1[i] = l1
    out_squared_norm[i] = squared
    out_l4[i] = fourth
    out_nonzeros[i] = nonzeros
    # A NaN or infinity anywhere stays in sight: max() would drop it.
    finite = math.isfinite(dissipation)
    out_violation[i] = _largest_speed(w, c, growth, lam) if finite else dissipation
    out_dissipation[i] = dissipation


@parallel
def sum_rows(
    loop, start, W, C, rho, g0, g1, lam,
    out_l1, out_squared_norm, out_l4, out_nonzeros, out_violation, out_dissipation,
):  # fmt: skip
    """The :class:`RowSums` of W, C in a layout; rho : (n,) the radial rates of the drift."""
    run_tasks(
        loop, _sum_row, start.size - 1,
        (start, W, C, rho, g0, g1, lam,
         out_l1, out_squared_norm, out_l4, out_nonzeros, out_violation, out_dissipation),
    )  # fmt: skip
