"""Numba kernels for outputs under noise: E ReLU(g + z)², its slopes, and what turns their rows.

The equations are those of flow/forces/noise.py, one row of W at a time. Waves at evenly spaced
nodes follow from one another by rotation, e^(i(k+1)x) = e^(ikx) e^(ix), from an exact value every
:data:`ANCHOR` nodes, so that no node costs a sine, and errors of rounding stay below 1e-13. The
normal distribution function is a table of Taylor polynomials, in error by less than 3e-15.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from flow.kernels.compiling import kernel
from flow.kernels.loops import run_tasks
from flow.kernels.threads import parallel

BIPOLAR, UNIFORM, LAPLACE, STUDENT, NORMAL = range(5)
"""Laws of the noise."""
ENUMERATED = 4
"""Weights of a row whose bipolar noise is summed over sign by sign."""
ANCHOR = 256
"""Rotations from one exact wave to the next."""
SQUARE, MEAN, PROBABILITY = range(3)
ROOT3 = math.sqrt(3.0)

_signs = np.array(list(product((-1.0, 1.0), repeat=ENUMERATED)))


# The normal distribution -------------------------------------------------------------------------

_CELLS, _FARTHEST, _DEGREE = 32, 8.5, 7
"""Polynomials per unit, |t| beyond which Φ is 0 or 1 to rounding, and degree of the polynomials."""


def _normal_table() -> np.ndarray:
    """Taylor coefficients of Φ about the points k/_CELLS, |t| ≤ _FARTHEST, (points, degree + 1)."""
    size = round(_CELLS * _FARTHEST)
    table = np.empty((2 * size + 1, _DEGREE + 1))
    for row, k in zip(table, range(-size, size + 1), strict=True):
        t = k / _CELLS
        # Derivatives of Φ after the first are those of φ: φ⁽ʲ⁺¹⁾ = −t φ⁽ʲ⁾ − j φ⁽ʲ⁻¹⁾.
        derivatives = [0.5 * math.erfc(-t / math.sqrt(2.0)),
                       math.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi), 0.0]  # fmt: skip
        derivatives[2] = -t * derivatives[1]
        for j in range(1, _DEGREE - 1):
            derivatives.append(-t * derivatives[-1] - j * derivatives[-2])
        row[:] = [value / math.factorial(j) for j, value in enumerate(derivatives)]
    return table


_table = _normal_table()


@kernel(forceinline=True)
def _normal(t: float) -> tuple[float, float]:
    """Φ and φ at t."""
    if not abs(t) <= _FARTHEST:
        # NaN stays NaN.
        return (0.0, 0.0) if t < 0.0 else (1.0, 0.0) if t > 0.0 else (t, t)
    k = int(_CELLS * (t + _FARTHEST) + 0.5)
    d = t - (k / _CELLS - _FARTHEST)
    a = _table[k]
    Phi = a[_DEGREE]
    phi = _DEGREE * a[_DEGREE]  # by its derivative
    for j in range(_DEGREE - 1, 0, -1):
        Phi = Phi * d + a[j]
        phi = phi * d + j * a[j]
    Phi = Phi * d + a[0]
    return Phi, phi


# Waves -------------------------------------------------------------------------------------------


@kernel(forceinline=True)
def _begin_waves(x, at, cosine, sine):
    for c in range(x.size):
        cosine[c], sine[c] = math.cos(x[c] * at), math.sin(x[c] * at)


@kernel(forceinline=True)
def _turn_waves(cosine, sine, turn_cosine, turn_sine):
    for c in range(cosine.size):
        before = cosine[c]
        cosine[c] = before * turn_cosine[c] - sine[c] * turn_sine[c]
        sine[c] = sine[c] * turn_cosine[c] + before * turn_sine[c]


@kernel(forceinline=True)
def _next_waves(turns, x, at, width, cosine, sine, turn_cosine, turn_sine):
    """From the waves at the node before, or anew, those at node `at`."""
    if turns % ANCHOR == 0:
        if at == width:
            cosine[:], sine[:] = turn_cosine, turn_sine
        else:
            _begin_waves(x, at, cosine, sine)
    else:
        _turn_waves(cosine, sine, turn_cosine, turn_sine)


# Characteristic functions ------------------------------------------------------------------------


@kernel(forceinline=True, fastmath={"reassoc", "contract"})
def _transform(law, polynomial, root, weight, u, cosine, sine):
    """Π_c ψ(weight_c u) of weights that are not zero; Student-t without its exponential."""
    value = 1.0
    if law == BIPOLAR:
        for c in range(cosine.size):
            value *= cosine[c]
    elif law == UNIFORM:
        for c in range(sine.size):
            value *= sine[c] / (ROOT3 * weight[c] * u)
    elif law == LAPLACE:
        for c in range(weight.size):
            theta = weight[c] * u
            value *= 1.0 / (1.0 + 0.5 * theta * theta)
    elif law == STUDENT:
        for c in range(weight.size):
            y = root * abs(weight[c]) * u
            # e^(−y) is at most one over any of its partial sums: no product overflows before it.
            value *= _polynomial(polynomial, y) * math.exp(-y)
    return value


@kernel(forceinline=True)
def _polynomial(coefficients, y):
    value = coefficients[-1]
    for k in range(coefficients.size - 2, -1, -1):
        value = value * y + coefficients[k]
    return value


@kernel(forceinline=True)
def _derivative(coefficients, y):
    value = 0.0
    for k in range(coefficients.size - 1, 0, -1):
        value = value * y + k * coefficients[k]
    return value


@kernel(forceinline=True)
def _add_slopes(law, polynomial, root, weight, u, cosine, sine, factor, out):
    """out_c += factor·(−ψ'/ψ)(weight_c u)."""
    tiny = np.finfo(np.float64).tiny
    if law == BIPOLAR:
        for c in range(out.size):
            below = cosine[c] if cosine[c] != 0.0 else tiny
            out[c] += factor * (sine[c] / below)
    elif law == UNIFORM:
        # −(sinc x)'/sinc x = 1/x − cot x = x/3 + x³/45 + …
        for c in range(out.size):
            x = ROOT3 * weight[c] * u
            below = sine[c] if sine[c] != 0.0 else tiny
            slope = (sine[c] - x * cosine[c]) / (x * below)
            near = x / 3.0 * (1.0 + x * x / 15.0)
            out[c] += factor * (ROOT3 * (near if abs(x) < 0.02 else slope))
    elif law == LAPLACE:
        for c in range(out.size):
            theta = weight[c] * u
            out[c] += factor * (theta / (1.0 + 0.5 * theta * theta))
    elif law == STUDENT:
        for c in range(out.size):
            y = root * abs(weight[c]) * u
            slope = 1.0 - _derivative(polynomial, y) / _polynomial(polynomial, y)
            out[c] += factor * (root * (slope if weight[c] > 0.0 else -slope))


# One row -----------------------------------------------------------------------------------------


@kernel
def _largest_first(unit, weight, place):
    """The weights that are not zero and where they are, those to be enumerated first."""
    size = 0
    for k in range(unit.size):
        if unit[k] != 0.0:
            weight[size], place[size] = unit[k], k
            size += 1
    for first in range(min(ENUMERATED, size)):
        largest = first
        for c in range(first + 1, size):
            if abs(weight[c]) > abs(weight[largest]):
                largest = c
        weight[first], weight[largest] = weight[largest], weight[first]
        place[first], place[largest] = place[largest], place[first]
    return size


@kernel(forceinline=True, fastmath={"reassoc", "contract"})
def _norm(x):
    total = 0.0
    for c in range(x.size):
        total += x[c] * x[c]
    return math.sqrt(total)


@kernel(forceinline=True, fastmath={"reassoc", "contract"})
def _add_waves(
    cosine, sine, on_square, on_mean, on_probability, by_sine, by_cosine, square, mean, probability
):  # fmt: skip
    """Add a node's share to f, e and p; returns Σ_q by_sine·sin and Σ_q by_cosine·cos."""
    sines = 0.0
    cosines = 0.0
    for q in range(sine.size):
        square[q] += on_square * sine[q]
        mean[q] += on_mean * cosine[q]
        probability[q] += on_probability * sine[q]
        sines += by_sine[q] * sine[q]
        cosines += by_cosine[q] * cosine[q]
    return sines, cosines


@kernel
def _transform_row(
    law, polynomial, root, weight, count, share, u, panel, width, x, waves, psi, bell
):  # fmt: skip
    """ψ and ψ₀ of a row at every node, its first `count` weights enumerated."""
    top, rest = weight[:count], weight[count:]
    cosine, sine, turn_cosine, turn_sine = waves
    cosine_top, cosine_rest, sine_top, sine_rest = (
        cosine[:count], cosine[count:], sine[:count], sine[count:],
    )  # fmt: skip
    for offset in range(panel):
        for k in range(offset, u.size, panel):
            turns = (k - offset) // panel
            _next_waves(turns, x, u[k], width, cosine, sine, turn_cosine, turn_sine)
            fixed = 1.0
            if count > 0:
                fixed = _transform(law, polynomial, root, top, u[k], cosine_top, sine_top)
            psi[k] = fixed * _transform(law, polynomial, root, rest, u[k], cosine_rest, sine_rest)
            bell[k] = fixed * math.exp(-0.5 * (share * u[k]) ** 2)


@kernel
def _sum_waves(x, u, missing, panel, width, waves, by_sine, by_cosine, sums, sines, cosines):
    """sums : (3, q), the corrections of f, e, p at x : (q,); of every node what x adds up to."""
    cosine, sine, turn_cosine, turn_sine = waves
    square, mean, probability = sums
    for offset in range(panel):
        for k in range(offset, u.size, panel):
            turns = (k - offset) // panel
            _next_waves(turns, x, u[k], width, cosine, sine, turn_cosine, turn_sine)
            on_probability = missing[k] / u[k]
            on_mean = on_probability / u[k]
            sines[k], cosines[k] = _add_waves(
                cosine, sine, on_mean / u[k], on_mean, on_probability, by_sine, by_cosine,
                square, mean, probability,
            )  # fmt: skip


@kernel
def _turn_row(
    law, polynomial, root, weight, count, u, panel, width, x, waves, on_top, on_rest, turn
):  # fmt: skip
    """Add to turn : (weights,) what ψ and ψ₀ change with a row, at every node so much of it."""
    top, rest = weight[:count], weight[count:]
    turn_top, turn_rest = turn[:count], turn[count:]
    cosine, sine, turn_cosine, turn_sine = waves
    cosine_top, cosine_rest, sine_top, sine_rest = (
        cosine[:count], cosine[count:], sine[:count], sine[count:],
    )  # fmt: skip
    for offset in range(panel):
        for k in range(offset, u.size, panel):
            turns = (k - offset) // panel
            _next_waves(turns, x, u[k], width, cosine, sine, turn_cosine, turn_sine)
            if count > 0:
                _add_slopes(
                    law, polynomial, root, top, u[k], cosine_top, sine_top, on_top[k], turn_top
                )
            _add_slopes(
                law, polynomial, root, rest, u[k], cosine_rest, sine_rest, on_rest[k], turn_rest
            )


@kernel(forceinline=True, fastmath={"reassoc", "contract"})
def _add_atom(y, share, Phi, phi, weight, f, e, p):
    """Add an atom's share to f, e and p, each (q,), in units of s; returns sums over q of
    weight·ramp, weight·Φ and weight·φ."""
    ramps = 0.0
    above = 0.0
    densities = 0.0
    for i in range(y.size):
        ramp = y[i] * Phi[i] + share * phi[i]
        f[i] += y[i] * ramp + share * share * Phi[i]
        e[i] += ramp
        p[i] += Phi[i]
        ramps += weight[i] * ramp
        above += weight[i] * Phi[i]
        densities += weight[i] * phi[i]
    return ramps, above, densities


@kernel
def _closed_form(x, atoms, share, tiny, weight, on_square, on_mean, f, e, p, along):
    """f, e, p : (q,), zero before, with all but the atoms normal, in units of s; along : (atoms,),
    where f and e move with an atom; returns how they move with `share`, over `share`."""
    y, Phi, phi = np.empty((3, x.size))
    narrow = 0.0
    for b in range(atoms.size):
        for i in range(x.size):
            y[i] = x[i] + atoms[b]
            Phi[i], phi[i] = _normal(y[i] / max(share, 1e-12 * abs(y[i]) + tiny))
        ramps, above, densities = _add_atom(y, share, Phi, phi, weight, f, e, p)
        along[b] = (2.0 * on_square * ramps + on_mean * above) / atoms.size
        narrow += 2.0 * on_square * above
        if share > 0.0:
            narrow += on_mean * densities / share
    for mean in (f, e, p):
        mean /= atoms.size
    return narrow / atoms.size


@kernel
def _outputs_of(
    j, W, g, weight, sigma, law, polynomial, root, u, du, panel, width, reach, tail, tiny,
    on_square, on_mean, square, mean, probability, gradient,
):  # fmt: skip
    m, q = W.shape[1], g.shape[1]
    row = W[j].astype(np.float64)
    length = max(_norm(row), tiny)
    s = max(sigma * length, tiny)
    theta, place = np.empty(m), np.empty(m, np.int64)
    size = _largest_first(row / length, theta, place)
    theta, place = theta[:size], place[:size]
    count = min(ENUMERATED, size) if law == BIPOLAR else 0
    # The part of s that is taken for normal; the rest is in the atoms.
    share = _norm(theta[count:])
    signs = _signs[: 2**count, ENUMERATED - count :]
    atoms = np.zeros(signs.shape[0])
    for b in range(atoms.size):
        for c in range(count):
            atoms[b] += signs[b, c] * theta[c]

    x = g[j] / s
    f, e, p = np.zeros((3, q))
    along = np.empty(atoms.size)
    narrow = _closed_form(
        x, atoms, share, tiny, weight[j], on_square * s, on_mean, f, e, p, along
    )  # fmt: skip
    # How the row turns, along `theta` and in units of σ.
    turn = narrow * theta
    for c in range(count):
        turn[c] = 0.0
        for b in range(atoms.size):
            turn[c] += signs[b, c] * along[b]

    # Of a law without a tail, nothing is left out beyond reach.
    seen = np.empty(q, np.int64)
    near = 0
    for i in range(q):
        seen[near] = i
        near += abs(x[i]) <= reach or math.isfinite(tail)
    seen = seen[:near]
    if u.size > 0 and near > 0:
        rotates = size if law in (BIPOLAR, UNIFORM) else 0
        frequency = (ROOT3 if law == UNIFORM else 1.0) * theta[:rotates]
        waves = np.empty((4, rotates))
        _begin_waves(frequency, width, waves[2], waves[3])
        psi, bell = np.empty((2, u.size))
        _transform_row(
            law, polynomial, root, theta, count, share, u, panel, width, frequency,
            (waves[0], waves[1], waves[2], waves[3]), psi, bell,
        )  # fmt: skip

        clipped, by_sine, by_cosine = np.empty((3, near))
        fade = np.ones((3, near))
        for r in range(near):
            far = abs(x[seen[r]])
            clipped[r] = min(max(x[seen[r]], -reach), reach)
            for derivatives in range(3):
                if far > reach:
                    fade[derivatives, r] = (reach / far) ** (tail + derivatives)
            by_sine[r] = weight[j, seen[r]] * fade[SQUARE, r]
            by_cosine[r] = weight[j, seen[r]] * fade[MEAN, r]
        sums, phases = np.zeros((3, near)), np.empty((4, near))
        sines, cosines = np.empty((2, u.size))
        _begin_waves(clipped, width, phases[2], phases[3])
        _sum_waves(
            clipped, u, du * (bell - psi), panel, width,
            (phases[0], phases[1], phases[2], phases[3]), by_sine, by_cosine,
            (sums[0], sums[1], sums[2]), sines, cosines,
        )  # fmt: skip
        for r in range(near):
            f[seen[r]] += 2.0 / math.pi * fade[SQUARE, r] * sums[SQUARE, r]
            e[seen[r]] += fade[MEAN, r] * sums[MEAN, r] / math.pi
            p[seen[r]] -= fade[PROBABILITY, r] * sums[PROBABILITY, r] / math.pi

        if on_square != 0.0 or on_mean != 0.0:
            on_slope = du / math.pi * (2.0 * on_square * s * sines / u + on_mean * cosines) / u
            _turn_row(
                law, polynomial, root, theta, count, u, panel, width, frequency,
                (waves[0], waves[1], waves[2], waves[3]),
                on_slope * (psi - bell), on_slope * psi, turn,
            )  # fmt: skip
            on_bell = np.sum(on_slope * u * bell)
            for c in range(count, size):
                turn[c] -= on_bell * theta[c]
    for i in range(q):
        square[j, i], mean[j, i], probability[j, i] = s * s * f[i], s * e[i], p[i]
    for c in range(size):
        gradient[j, place[c]] = sigma * turn[c]


@parallel
def expect(
    loop: int,
    W: np.ndarray,
    g: np.ndarray,
    weight: np.ndarray,
    sigma: float,
    law: int,
    polynomial: np.ndarray,
    root: float,
    u: np.ndarray,
    du: np.ndarray,
    panel: int,
    width: float,
    reach: float,
    tail: float,
    tiny: float,
    on_square: float,
    on_mean: float,
    square: np.ndarray,
    mean: np.ndarray,
    probability: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """f, e, p : (n, q), and their gradient : (n, m), zero before, of rows W : (n, m) at g : (n, q).

    polynomial, root : of Student-t noise, ψ(θ) = e^(−y) Σ_k polynomial_k yᵏ, y = root·|θ|. u, du,
    panel, width, reach : the nodes. tail : power of the law, or infinite. tiny : lengths no less.
    """
    run_tasks(
        loop, _outputs_of, W.shape[0],
        (W, g, weight, sigma, law, polynomial, root, u, du, panel, width, reach, tail, tiny,
         on_square, on_mean, square, mean, probability, gradient),
    )  # fmt: skip
