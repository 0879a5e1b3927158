"""Compiled kernels of the interference-off flow (theory/README, section 2).

A row starts at a_k = |W_ik(0)|, with a₁ the largest. All its later states are

    |W_ik| = max(sigma − d_k, 0) / z,    d_k = a₁ − a_k,    sigma = a₁ − S,    z = 1/E,

and with S as the independent variable the two scalars of theory/README become one equation and one
quadrature, with Q the sum of (sigma − d_k)² over the survivors, those with d_k < sigma:

    λ dz/dS = g₁ Q/z² − g₀,        λ dt/dS = 1/z.

Why this form: every extinction lies at a known S; the right-hand side falls in z, so the equation
contracts and an algebraically stable implicit method cannot amplify an error; errors of the time t
never feed back. Why distances from the winner: d, and the moments of its prefixes, are sums of
non-negative terms, so nothing cancels however few or however close the survivors are.

Arguments that recur:

    row = (d, mean, spread)    (m,) each: sorted distances and the moments of their prefixes
    law = (g0, g1, lam)        g₀, g₁ and λ
    tableau                    what `radau` returns
    path                       (5, capacity) points of a row's path, see `row_path`
    count, high                number of survivors, and a bound of it
    rest, offset               size at which equal weights rest (0 if they die), distance from it
    work                       (stages + 5, stages) scratch
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flow.kernels.compiling import kernel
from flow.kernels.loops import run_tasks
from flow.kernels.threads import parallel

SNAP = 256  # with so few survivors a step may not cross an extinction, but lands on it
BLOCK = 65536  # columns per parallel task
MAX_NEWTON = 12
MAX_POINTS = 1_000_000  # of one path; 2,500 were the most seen


def radau(stages: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Tableau A of Radau IIA collocation, its error weights e, and their weight g at the start.

    The error estimate of a step h is h (g f₀ + Σ_i e_i f_i): zero for polynomials below degree
    `stages`. Hairer and Wanner, Solving ODEs II, section IV.8. `stages` must be odd, so that A
    has one real eigenvalue, which is g.
    """
    legendre = np.polynomial.legendre.Legendre.basis
    right_radau = legendre(stages, domain=[0, 1]) - legendre(stages - 1, domain=[0, 1])
    nodes = np.sort(right_radau.roots().real)
    nodes[-1] = 1.0
    powers = np.vander(nodes, increasing=True)
    degree = np.arange(1, stages + 1)
    matrix = (nodes[:, None] ** degree / degree) @ np.linalg.inv(powers)
    eigenvalues = np.linalg.eigvals(matrix)
    start = float(eigenvalues[np.argmin(np.abs(eigenvalues.imag))].real)
    errors = np.linalg.solve(powers.T, -start * (degree == 1))
    return np.ascontiguousarray(matrix), errors, start


@kernel
def _distances_in_block(task, W, largest, out):
    m = W.shape[1]
    blocks = (m + BLOCK - 1) // BLOCK
    i = task // blocks
    first = (task % blocks) * BLOCK
    for k in range(first, min(first + BLOCK, m)):
        out[i, k] = largest[i] - abs(np.float64(W[i, k]))


@parallel
def distances(loop, W, largest, out):
    """out_ik = a₁ − |W_ik|, exact for all weights above half the largest."""
    n, m = W.shape
    run_tasks(loop, _distances_in_block, n * ((m + BLOCK - 1) // BLOCK), (W, largest, out))


@kernel
def _prefix_moments_of(i, d, mean, spread):
    average = 0.0
    squares = 0.0
    for k in range(d.shape[1]):
        deviation = d[i, k] - average
        average += deviation / (k + 1)
        squares += deviation * (d[i, k] - average)
        mean[i, k] = average
        spread[i, k] = squares


@parallel
def prefix_moments(loop, d, mean, spread):
    """Mean of, and sum of squared deviations in, every prefix of the sorted rows of d (Welford)."""
    run_tasks(loop, _prefix_moments_of, d.shape[0], (d, mean, spread))


@kernel
def survivors(d, sigma, high):
    """Number of entries of the sorted d[:high] below sigma, found from the far end."""
    low = high - 1
    stride = 1
    while low >= 0 and d[low] >= sigma:
        high = low
        low -= stride
        stride *= 2
    low = max(low, -1)
    while high - low > 1:
        middle = (low + high) // 2
        if d[middle] < sigma:
            low = middle
        else:
            high = middle
    return high


@kernel
def squared_norm(d, mean, spread, sigma, high):
    """Q(sigma), without cancellation; `high` bounds the number of survivors."""
    count = survivors(d, sigma, high)
    if count == 0:
        return 0.0
    gap = sigma - mean[count - 1]
    return count * gap * gap + spread[count - 1]


@kernel
def step(row, high, sigma, z, h, law, tableau, work):
    """One collocation step from S to S + h.

    Returns z after it, the time it takes, the relative error of z, the error of the time, and the
    number of evaluations; z is nan where Newton's iteration failed. One kernel: Newton's matrix and
    its factors live in the same work space.
    """
    d, mean, spread = row
    g0, g1, lam = law
    A, errors, start = tableau
    stages = errors.size
    Q, Z, f, slope = work[0], work[1], work[2], work[3]
    M = work[4:]
    Q0 = squared_norm(d, mean, spread, sigma, high)
    f0 = (g1 * Q0 / (z * z) - g0) / lam
    slope0 = 2.0 * g1 * Q0 / (lam * z * z * z)
    for i in range(stages):
        node = 0.0
        for j in range(stages):
            node += A[i, j]
        left = sigma - h if i == stages - 1 else sigma - node * h
        Q[i] = squared_norm(d, mean, spread, left, high)
        # the linearly implicit Euler value: right both where z is slaved to Q and where it is free
        Z[i] = max(z + node * h * f0 / (1.0 + node * h * slope0), 0.1 * z)
    converged = False
    iterations = 0
    while not converged and iterations < MAX_NEWTON:
        iterations += 1
        for i in range(stages):
            f[i] = (g1 * Q[i] / (Z[i] * Z[i]) - g0) / lam
            slope[i] = 2.0 * g1 * Q[i] / (lam * Z[i] * Z[i] * Z[i])
        # Newton: (I + h A diag(slope)) D = z + h A f − Z. No pivoting: times the quadrature
        # weights, A has a positive semidefinite symmetric part, so every pivot is positive.
        for i in range(stages):
            total = 0.0
            for j in range(stages):
                total += A[i, j] * f[j]
                M[i, j] = h * A[i, j] * slope[j]
            M[i, i] += 1.0
            work[-1, i] = z - Z[i] + h * total
        right = work[-1]
        for k in range(stages):
            for i in range(k + 1, stages):
                factor = M[i, k] / M[k, k]
                for j in range(k + 1, stages):
                    M[i, j] -= factor * M[k, j]
                right[i] -= factor * right[k]
        change = 0.0
        for i in range(stages - 1, -1, -1):
            for j in range(i + 1, stages):
                right[i] -= M[i, j] * right[j]
            right[i] /= M[i, i]
            change = max(change, abs(right[i]) / Z[i])
            Z[i] = max(Z[i] + right[i], 0.1 * Z[i])
        converged = change < 1e-8  # quadratic convergence: what is left is below rounding
    if not converged:
        return np.nan, 0.0, np.nan, np.nan, stages * iterations
    duration = 0.0
    z_error = start * f0
    t_error = start / z
    for i in range(stages):
        f[i] = (g1 * Q[i] / (Z[i] * Z[i]) - g0) / lam
        duration += A[stages - 1, i] / Z[i]
        z_error += errors[i] * f[i]
        t_error += errors[i] / Z[i]
    scale = min(z, Z[stages - 1])
    z_error = abs(h * z_error) / ((1.0 + h * start * slope0) * scale)
    return (
        Z[stages - 1],
        h * duration / lam,
        z_error,
        abs(h * t_error) / lam,
        stages * (iterations + 1),
    )


@kernel
def tied_rest(u, count, law):
    """The size at which `count` equal weights of size u come to rest: 0 if they die.

    du/dt = (g₀ − g₁ count u²) u − λ, whose stable root is the one above the crest.
    """
    g0, g1, lam = law
    if g0 <= 0.0:
        return 0.0
    crest = math.sqrt(g0 / (3.0 * g1 * count))
    fall = (g0 - g1 * count * u * u) * u - lam
    if lam > (2.0 / 3.0) * g0 * crest or (u < crest and fall < 0.0):
        return 0.0
    if u < crest and fall == 0.0:
        return u
    return 2.0 * crest * math.cos(math.acos(-min(1.0, 1.5 * lam / (g0 * crest))) / 3.0)


@kernel
def tied_rate(offset, rest, count, law):
    """du/dt at u = rest + offset, expanded about where it nearly vanishes: the rest, the crest."""
    g0, g1, lam = law
    cubic = g1 * count
    if rest > 0.0:
        return offset * (g0 - 3.0 * cubic * rest * rest - offset * cubic * (3.0 * rest + offset))
    crest = math.sqrt(max(g0, 0.0) / (3.0 * cubic))
    if g0 <= 0.0 or offset < 0.5 * crest:
        return offset * (g0 - cubic * offset * offset) - lam
    left = offset - crest
    return (2.0 / 3.0) * g0 * crest - lam - cubic * left * left * (3.0 * crest + left)


@kernel
def tied_left(offset, h, rest):
    """Distance from rest after a step h: logarithmic towards a rest never reached, else linear."""
    return offset * math.exp(-h) if rest > 0.0 else offset * (1.0 - h)


@kernel
def tied_step(offset, h, rest, count, law, tableau):
    """Time in which equal weights come closer to rest by a step h, and its error."""
    A, errors, start = tableau
    stages = errors.size
    duration = 0.0
    error = 0.0
    for i in range(-1, stages):
        node = 0.0
        for j in range(stages):
            node += A[i, j] if i >= 0 else 0.0
        left = tied_left(offset, h if i == stages - 1 else node * h, rest)
        pace = -(left if rest > 0.0 else offset) / tied_rate(left, rest, count, law)
        duration += A[stages - 1, i] * pace if i >= 0 else 0.0
        error += errors[i] * pace if i >= 0 else start * pace
    return h * duration, abs(h * error)


@kernel
def record(path, point, t, sigma, z, offset):
    """Keep a point of a path, if there is room for it."""
    if point < path.shape[1]:
        path[0, point] = t
        path[1, point] = sigma
        path[2, point] = z
        path[3, point] = 0.0
        path[4, point] = offset


@kernel
def tied_path(t, sigma, z, count, law, tolerance, tableau, path, points):
    """The end of `row_path`: equal weights alone, followed to rest with their size as the
    independent variable (E diverges, so S is of no use). sigma stays what it was."""
    u = sigma / z
    rest = tied_rest(u, count, law)
    offset = u - rest
    h = 0.1
    order = tableau[1].size + 1
    rejected = 0
    evaluations = 0
    while abs(offset) > 1e-15 * rest:
        rate = tied_rate(offset, rest, count, law)
        # what rounding leaves of the rate, for instance next to the unstable root
        blur = 2e-15 * (abs(law[0] * offset) + (law[2] if rest == 0.0 else 0.0)) / abs(rate)
        record(path, points, t, sigma, sigma / (rest + offset), offset)
        points += 1
        while True:
            duration, error = tied_step(offset, h, rest, count, law, tableau)
            evaluations += order
            error /= max(tolerance, blur) * abs(duration)
            used = h
            h *= min(max(0.9 * max(error, 1e-30) ** (-1.0 / order), 0.1), 4.0)
            h = min(h, 4.0) if rest > 0.0 else (1.0 if h > 0.9 else h)
            if error <= 1.0 and duration > 0.0:
                break
            rejected += 1
            if h < 1e-12 or points > MAX_POINTS:
                return -1, rejected, evaluations
        if points <= path.shape[1]:
            path[3, points - 1] = used
        t += duration
        offset = tied_left(offset, used, rest)
    record(
        path, points, t, 0.0 if rest == 0.0 else sigma, 1.0 if rest == 0.0 else sigma / rest, 0.0
    )
    return points + 1, rejected, evaluations


@kernel
def row_path(row, top, start, law, tolerance, tableau, path, work):
    """Follow one row until only its equal largest weights are left and at rest, or all are dead.

    It starts at sigma = top, z = start, which is 1 over the unit of sigma and d.

    `path` (5, capacity) takes, as far as they fit: t, sigma, z, the length of the step from there
    and, for equal weights alone, their distance from rest (the length is then for `tied_left`).
    Returns the number of points, rejected steps and evaluations; −1 points if it got stuck.
    """
    d, mean, spread = row
    g0, g1, lam = law
    order = tableau[1].size + 1
    points = 0
    rejected = 0
    evaluations = 0
    tied = survivors(d, 5e-324, d.size)  # weights equal to the largest
    t = 0.0
    sigma = top
    z = start
    count = survivors(d, sigma, d.size)
    if count == 0:
        record(path, 0, t, 0.0, 1.0, 0.0)
        return 1, 0, 0
    rate = abs(g1 * squared_norm(d, mean, spread, sigma, count) / (z * z) - g0) / lam
    h = 0.01 * min(sigma, z / max(rate, 1e-300))
    while True:
        if count == tied:
            rest = tied_rest(sigma / z, count, law)
            if sigma / z >= 0.5 * rest:
                break
        record(path, points, t, sigma, z, 0.0)
        points += 1
        target = d[count - 1] if count > tied else 0.5 * sigma
        while True:
            landing = tied < count <= SNAP and h >= 0.999 * (sigma - target)
            length = (
                sigma - target if landing else min(h, sigma - (d[tied] if count > tied else target))
            )
            z1, duration, z_error, t_error, used = step(
                row, count, sigma, z, length, law, tableau, work
            )
            evaluations += used
            error = max(z_error, t_error / (t + duration)) / tolerance
            if error <= 1.0:  # false for nan
                growth = min(0.9 * max(error, 1e-30) ** (-1.0 / order), 4.0)
                h = max(h, length * growth) if landing else length * growth
                break
            rejected += 1
            h = length * (0.2 if math.isnan(z1) else max(0.9 * error ** (-1.0 / order), 0.1))
            if not h > 1e-300 or points > MAX_POINTS:
                return -1, rejected, evaluations
        if points <= path.shape[1]:
            path[3, points - 1] = length
        t += duration
        sigma = target if landing else sigma - length
        z = z1
        count = survivors(d, sigma, count)
    points, more, used = tied_path(t, sigma, z, tied, law, tolerance, tableau, path, points)
    return points, rejected + more, evaluations + used


@kernel
def _path_of(i, d, mean, spread, top, start, law, tolerance, tableau, path, counts):
    stages = tableau[1].size
    work = np.empty((5 + stages, stages))
    row = (d[i], mean[i], spread[i])
    points, rejected, evaluations = row_path(
        row, top[i], start[i], law, tolerance, tableau, path[i], work
    )
    counts[i, 0] = points
    counts[i, 1] = rejected
    counts[i, 2] = evaluations


@parallel
def all_paths(loop, d, mean, spread, top, start, law, tolerance, tableau, path, counts):
    """`row_path` for every row; counts[i] = points, rejected steps, evaluations."""
    run_tasks(
        loop, _path_of, d.shape[0],
        (d, mean, spread, top, start, law, tolerance, tableau, path, counts),
    )  # fmt: skip


@kernel
def part_step(row, path, j, h, count, rest, law, tableau, work):
    """sigma, z, elapsed time and its inverse derivative after the part h of step j of a path."""
    sigma, z, offset = path[1, j], path[2, j], path[4, j]
    if offset == 0.0:
        z1, duration, _, _, _ = step(row, count, sigma, z, h, law, tableau, work)
        return sigma - h, z1, duration, law[2] * z1
    duration, _ = tied_step(offset, h, rest, count, law, tableau)
    left = tied_left(offset, h, rest)
    slope = -tied_rate(left, rest, count, law) / (left if rest > 0.0 else offset)
    return sigma, sigma / (rest + left), duration, slope


@kernel
def rest_of(path, last):
    """Size of the largest weight at the end of a path."""
    return path[1, last] / path[2, last]


@kernel
def within_step(row, t, path, j, rest, law, tableau, work):
    """(sigma, z) at a time t inside step j of a path: the shorter step that takes t − t_j."""
    count = survivors(row[0], path[1, j], row[0].size)
    wanted = t - path[0, j]
    low, high = 0.0, path[3, j]
    h = high * (wanted / (path[0, j + 1] - path[0, j]))
    sigma, z = path[1, j], path[2, j]
    for _ in range(100):
        sigma, z, elapsed, slope = part_step(row, path, j, h, count, rest, law, tableau, work)
        if elapsed > wanted:
            high = h
        else:
            low = h
        change = (wanted - elapsed) * slope
        if abs(change) <= 4e-16 * h or high - low <= 4e-16 * high:
            break
        h = h + change if low < h + change < high else 0.5 * (low + high)
    return sigma, z


@kernel
def _states_of(i, d, mean, spread, path, counts, times, law, tableau, sigma, z):
    stages = tableau[1].size
    work = np.empty((5 + stages, stages))
    row = (d[i], mean[i], spread[i])
    last = counts[i, 0] - 1
    for k in range(times.size):
        j = np.searchsorted(path[i, 0, : last + 1], times[k], side="right") - 1
        if j == last or path[i, 0, j] == times[k]:
            sigma[k, i] = path[i, 1, j]
            z[k, i] = path[i, 2, j]
        else:
            sigma[k, i], z[k, i] = within_step(
                row, times[k], path[i], j, rest_of(path[i], last), law, tableau, work
            )


@parallel
def states(loop, d, mean, spread, path, counts, times, law, tableau, sigma, z):
    """sigma and z (k, n) of every row at k times."""
    run_tasks(
        loop, _states_of, d.shape[0],
        (d, mean, spread, path, counts, times, law, tableau, sigma, z),
    )  # fmt: skip


@kernel
def _extinctions_in_block(task, row, path, points, never, law, tableau, out):
    d = row[0]
    stages = tableau[1].size
    sigmas = path[1, :points]
    tied = survivors(d, 5e-324, d.size)
    work = np.empty((5 + stages, stages))
    for k in range(task * BLOCK, min((task + 1) * BLOCK, d.size)):
        if k < tied:
            out[k] = never
        elif d[k] >= sigmas[0]:
            out[k] = 0.0
        else:
            low, high = 0, points - 1  # the last point still above d_k
            while high - low > 1:
                middle = (low + high) // 2
                if sigmas[middle] > d[k]:
                    low = middle
                else:
                    high = middle
            count = survivors(d, sigmas[low], d.size)
            h = sigmas[low] - d[k]
            _, duration, _, _, _ = step(
                row, count, sigmas[low], path[2, low], h, law, tableau, work
            )
            out[k] = path[0, low] + duration


@parallel
def extinctions(loop, row, path, points, never, law, tableau, out):
    """Extinction time of every weight of one row, in the order of the sorted d."""
    blocks = (out.size + BLOCK - 1) // BLOCK
    run_tasks(loop, _extinctions_in_block, blocks, (row, path, points, never, law, tableau, out))


@kernel
def _fill_block(task, W0, top, sigma, z, out):
    m = W0.shape[1]
    blocks = (m + BLOCK - 1) // BLOCK
    i = task // blocks
    first = (task % blocks) * BLOCK
    for k in range(first, min(first + BLOCK, m)):
        value = np.float64(W0[i, k])
        left = sigma[i] - (top[i] - abs(value))
        if left > 0.0 and value != 0.0:
            out[i, k] = math.copysign(left / z[i], value)
        else:
            out[i, k] = 0.0


@parallel
def fill_weights(loop, W0, top, sigma, z, out):
    """out_ik = sign(W0_ik) max(sigma_i − d_ik, 0) / z_i, in the dtype of W0."""
    n, m = W0.shape
    run_tasks(loop, _fill_block, n * ((m + BLOCK - 1) // BLOCK), (W0, top, sigma, z, out))


@kernel
def _measure_row(i, d, mean, spread, sigma, z, l1, l2, l4, nonzeros):
    for k in range(sigma.shape[0]):
        count = survivors(d[i], sigma[k, i], d.shape[1])
        nonzeros[k, i] = count
        fourth = 0.0
        if count > 0:
            gap = sigma[k, i] - mean[i, count - 1]
            l1[k, i] = count * gap / z[k, i]
            l2[k, i] = math.sqrt(count * gap * gap + spread[i, count - 1]) / z[k, i]
            for j in range(count):
                u = (sigma[k, i] - d[i, j]) / z[k, i]
                fourth += u * u * u * u
        else:
            l1[k, i] = 0.0
            l2[k, i] = 0.0
        l4[k, i] = fourth


@parallel
def measure(loop, d, mean, spread, sigma, z, l1, l2, l4, nonzeros):
    """The norms and the number of survivors of every row, at k states (k, n)."""
    run_tasks(loop, _measure_row, sigma.shape[1], (d, mean, spread, sigma, z, l1, l2, l4, nonzeros))


@kernel
def speed(row, high, sigma, z, law):
    """Largest |dW_ik/dt| of a row. It is linear in |W_ik|, so the ends of the survivors decide."""
    d, mean, spread = row
    g0, g1, lam = law
    count = survivors(d, sigma, high)
    if count == 0:
        return 0.0
    growth = g0 - g1 * squared_norm(d, mean, spread, sigma, count) / (z * z)
    largest = abs(growth * (sigma / z) - lam)
    return max(largest, abs(growth * ((sigma - d[count - 1]) / z) - lam))


@kernel
def speeds(row, path, points, law, after, before):
    """Speed at every point of a path, and just before it (before an extinction there)."""
    d = row[0]
    high = d.size
    for j in range(points):
        sigma, z = path[1, j], path[2, j]
        # one step of rounding before an extinction, the weight that dies there is still counted
        before[j] = speed(row, high, np.nextafter(sigma, np.inf), z, law)
        high = survivors(d, sigma, high)
        after[j] = speed(row, high, sigma, z, law)


@kernel
def speed_crossing(row, path, points, j, limit, law, tableau):
    """Time within step j at which the speed crosses a limit that its ends lie on two sides of."""
    stages = tableau[1].size
    work = np.empty((5 + stages, stages))
    count = survivors(row[0], path[1, j], row[0].size)
    rest = rest_of(path, points - 1)
    quiet = speed(row, count, path[1, j], path[2, j], law) <= limit
    low, high, elapsed = 0.0, 1.0, 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        h = middle * path[3, j]
        sigma, z, elapsed, _ = part_step(row, path, j, h, count, rest, law, tableau, work)
        if (speed(row, count, sigma, z, law) <= limit) == quiet:
            low = middle
        else:
            high = middle
    return path[0, j] + elapsed
