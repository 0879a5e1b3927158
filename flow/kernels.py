"""Numba kernels for interference: drift c Σ_{j≠i} ReLU(G_ij) W_j = ρ_i W_i + C_i, dense and sparse.

C_i is perpendicular to W_i. The radial part is linear in the length of W_i just as growth is, which
it may nearly cancel, so integrators treat the two together.

Dense: G = W Wᵀ and C = φ(G) W over slices of neurons whose number is fixed by m, each slice one
single-threaded BLAS product, threads across slices; so results do not depend on the number of
threads. G is a symmetric product, half the work.

Sparse: rows are lists of (neuron, weight); G_ij is summed over shared neurons only and C only over
pairs that overlap, so the cost follows the non-zeros.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange  # type: ignore[attr-defined]

from flow.blas import gram_lower, multiply

POWER_ITERATIONS = 8


def slices(m: int) -> int:
    """Into how many slices of neurons the dense products are cut: fixed by the size alone."""
    return max(2, min(4, m // 1024))


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def _row_total(row):
    """Sum and sum of squares."""
    total = 0.0
    squared = 0.0
    for j in range(row.size):
        total += row[j]
        squared += row[j] * row[j]
    return total, squared


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def _radial_rate(C, W):
    """C·W/‖W‖²; zero for a zero row."""
    along = 0.0
    squared = 0.0
    for k in range(W.size):
        along += C[k] * W[k]
        squared += W[k] * W[k]
    return along / squared if squared > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def _take_radial(C, W):
    """Make C perpendicular to W; returns ρ."""
    rho = _radial_rate(C, W)
    if rho != 0.0:
        for k in range(W.size):
            C[k] -= rho * W[k]
    return rho


@njit(cache=True, parallel=True, error_model="numpy")
def take_radial(C, W, row_sums):
    """The same for every row of C, W : (n, m), added to what row_sums[:, 2] holds."""
    for i in prange(W.shape[0]):
        row_sums[i, 2] += _take_radial(C[i], W[i])


_BAND = 32
"""Rows per task of the element-wise passes: what is mirrored stays in the first cache."""


@njit(cache=True, parallel=True, error_model="numpy")
def dense_interference(blas, W, strength, squares, C, row_sums):
    """C = φ(G) W − ρ W for W : (n, m); row_sums : (n, 3), see Field.sample.

    squares : (slices(m), n, n); on return the first holds G, the second φ(G) with −ρ_i on its
    diagonal. The radial part costs nothing: ρ_i = Σ_j φ_ij G_ij / G_ii.
    """
    n, m = W.shape
    parts = squares.shape[0]
    width = (m + parts - 1) // parts
    for p in prange(parts):
        gram_lower(blas, W[:, p * width : (p + 1) * width], squares[p])
    G, phi = squares[0], squares[1]
    bands = (n + _BAND - 1) // _BAND
    for a in prange(bands):
        last = min((a + 1) * _BAND, n)
        for b in range(a + 1):
            for i in range(a * _BAND, last):
                for j in range(b * _BAND, min((b + 1) * _BAND, i + 1)):
                    g = G[i, j]
                    for p in range(1, parts):
                        g += squares[p, i, j]
                    f = strength * max(g, 0.0)
                    G[i, j] = g
                    G[j, i] = g
                    phi[i, j] = f
                    phi[j, i] = f
    for a in prange(bands):
        for i in range(a * _BAND, min((a + 1) * _BAND, n)):
            phi[i, i] = 0.0
            total, squared = _row_total(phi[i])
            row_sums[i, 0] = total
            row_sums[i, 1] = squared / (strength * strength)
            rho = squared / (strength * G[i, i]) if G[i, i] > 0.0 else 0.0
            row_sums[i, 2] = rho
            phi[i, i] = -rho
    for p in prange(parts):
        columns = slice(p * width, (p + 1) * width)
        multiply(blas, phi, W[:, columns], C[:, columns])


@njit(cache=True, error_model="numpy")
def dense_top_eigenvalue(G, row_sums):
    """Power-iteration estimate of the top eigenvalue of G among rows that overlap with another."""
    n = G.shape[0]
    v = np.empty(n, G.dtype)
    for i in range(n):
        v[i] = 1.0 + 0.5 * math.cos(1.0 + i) if row_sums[i, 0] > 0.0 else 0.0
    top = 0.0
    for _ in range(POWER_ITERATIONS):
        u = np.dot(G, v)
        top = 0.0
        norm = 0.0
        for i in range(n):
            if row_sums[i, 0] == 0.0:
                u[i] = 0.0
            top += u[i] * v[i]
            norm += v[i] * v[i]
        top = top / norm if norm > 0.0 else 0.0
        length = math.sqrt((u * u).sum())
        if length == 0.0:
            return 0.0
        v = u / np.array(length, G.dtype).item()
    return top


@njit(cache=True, error_model="numpy")
def live_entries(start, column, W, width):
    """The entries that are not zero, by row and by neuron (a counting sort).

    Returns, for each of the two: offsets, the other index, weights.
    """
    n = start.size - 1
    row_start = np.empty(n + 1, np.int64)
    neuron_start = np.zeros(width + 1, np.int64)
    count = 0
    row_neuron, row_weight = np.empty(W.size, np.uint32), np.empty_like(W)
    for i in range(n):
        row_start[i] = count
        for e in range(start[i], start[i + 1]):
            if W[e] != 0.0:
                row_neuron[count] = column[e]
                row_weight[count] = W[e]
                neuron_start[column[e] + 1] += 1
                count += 1
    row_start[n] = count
    for k in range(width):
        neuron_start[k + 1] += neuron_start[k]
    fill = neuron_start[:-1].copy()
    neuron_row, neuron_weight = np.empty(count, np.uint32), np.empty(count, W.dtype)
    for i in range(n):
        for e in range(row_start[i], row_start[i + 1]):
            p = fill[row_neuron[e]]
            neuron_row[p] = i
            neuron_weight[p] = row_weight[e]
            fill[row_neuron[e]] += 1
    return row_start, row_neuron, row_weight, neuron_start, neuron_row, neuron_weight


@njit(cache=True, parallel=True, error_model="numpy")
def sparse_interference(
    start, column, W, strength, threshold, drift, overlap,
    C, row_sums, outside_count, outside_column, outside_value,
):  # fmt: skip
    """C on the entries of the layout; also which other entries have |C| > threshold.

    drift : (threads, width), zero on entry and on return, and overlap : (threads, n) are
    scratch. ``outside_*`` : (n, capacity) list the entries that are not in
    the layout and could revive; a count above the capacity means that the lists were too short and
    the call must be repeated with longer ones. A capacity of zero skips the search.
    """
    n = start.size - 1
    width = drift.shape[1]
    capacity = outside_column.shape[1]
    row_start, row_neuron, row_weight, neuron_start, neuron_row, neuron_weight = live_entries(
        start, column, W, width
    )
    largest = np.zeros(n)
    if capacity > 0:
        for i in range(n):
            for e in range(row_start[i], row_start[i + 1]):
                largest[i] = max(largest[i], abs(row_weight[e]))
    for i in prange(n):
        thread = get_thread_id()
        g, buffer = overlap[thread], drift[thread]
        g[:] = 0.0
        for e in range(row_start[i], row_start[i + 1]):
            k = row_neuron[e]
            w = row_weight[e]
            for p in range(neuron_start[k], neuron_start[k + 1]):
                g[neuron_row[p]] += w * neuron_weight[p]
        own = g[i]
        g[i] = 0.0
        for j in range(n):
            g[j] = max(g[j], 0.0)
        total, squared = _row_total(g)
        rho = strength * squared / own if own > 0.0 else 0.0
        for e in range(start[i], start[i + 1]):
            k = column[e]
            value = 0.0
            for p in range(neuron_start[k], neuron_start[k + 1]):
                value += g[neuron_row[p]] * neuron_weight[p]
            C[e] = strength * value - rho * W[e]
        row_sums[i, 0] = strength * total
        row_sums[i, 1] = squared
        row_sums[i, 2] = rho
        outside_count[i] = 0
        # No neuron feels more than the bound.
        if capacity > 0 and strength * np.dot(g, largest) > threshold:
            outside_count[i] = _search_outside(
                column[start[i] : start[i + 1]], row_start, row_neuron, row_weight,
                strength, threshold, g, buffer, outside_column[i], outside_value[i],
            )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _search_outside(
    inside, row_start, row_neuron, row_weight, strength, threshold, g, buffer,
    found_column, found_value,
):  # fmt: skip
    """Neurons that are not `inside` and feel a drift above the threshold; returns how many.

    `buffer` is zero on entry and on return: read as a whole where the rows that overlap have more
    entries than there are neurons, otherwise only where they have entries.
    """
    entries = 0
    for j in range(g.size):
        if g[j] > 0.0:
            f = strength * g[j]
            entries += row_start[j + 1] - row_start[j]
            for e in range(row_start[j], row_start[j + 1]):
                buffer[row_neuron[e]] += f * row_weight[e]
    for k in inside:
        buffer[k] = 0.0
    count = 0
    if entries > buffer.size:
        for k in range(buffer.size):
            if abs(buffer[k]) > threshold:
                if count < found_column.size:
                    found_column[count] = k
                    found_value[count] = buffer[k]
                count += 1
        buffer[:] = 0.0
        return count
    for j in range(g.size):
        if g[j] > 0.0:
            for e in range(row_start[j], row_start[j + 1]):
                k = row_neuron[e]
                if abs(buffer[k]) > threshold:
                    if count < found_column.size:
                        found_column[count] = k
                        found_value[count] = buffer[k]
                    count += 1
                buffer[k] = 0.0
    return count


@njit(cache=True, error_model="numpy")
def sparse_top_eigenvalue(start, column, width, W, row_sums):
    """The same estimate as :func:`dense_top_eigenvalue`, from W(Wᵀv)."""
    n = start.size - 1
    v = np.empty(n)
    for i in range(n):
        v[i] = 1.0 + 0.5 * math.cos(1.0 + i) if row_sums[i, 0] > 0.0 else 0.0
    top = 0.0
    u = np.empty(n)
    for _ in range(POWER_ITERATIONS):
        t = np.zeros(width)
        for i in range(n):
            if v[i] != 0.0:
                for e in range(start[i], start[i + 1]):
                    t[column[e]] += v[i] * W[e]
        norm = 0.0
        length = 0.0
        top = 0.0
        for i in range(n):
            s = 0.0
            if row_sums[i, 0] > 0.0:
                for e in range(start[i], start[i + 1]):
                    s += t[column[e]] * W[e]
            u[i] = s
            top += s * v[i]
            norm += v[i] * v[i]
            length += s * s
        top = top / norm if norm > 0.0 else 0.0
        if length == 0.0:
            return 0.0
        v[:] = u / math.sqrt(length)
    return top


@njit(cache=True, error_model="numpy")
def select_entries(
    start, column, W, C, threshold, outside_count, outside_column, outside_value,
    new_start, new_column, new_W, new_C,
):  # fmt: skip
    """Keep the entries that are non-zero or could revive, and take in those from outside."""
    position = 0
    for i in range(start.size - 1):
        new_start[i] = position
        for e in range(start[i], start[i + 1]):
            if W[e] != 0.0 or abs(C[e]) > threshold:
                new_column[position] = column[e]
                new_W[position] = W[e]
                new_C[position] = C[e]
                position += 1
        for p in range(outside_count[i]):
            new_column[position] = outside_column[i, p]
            new_W[position] = 0.0
            new_C[position] = outside_value[i, p]
            position += 1
    new_start[start.size - 1] = position


@njit(cache=True, error_model="numpy")
def late_revivals(lam, h, outside_count, outside_value, row_error):
    """Charge each row for weights outside the layout whose force passed λ within the step."""
    for i in range(row_error.size):
        squared = 0.0
        for p in range(outside_count[i]):
            beyond = abs(outside_value[i, p]) - lam
            if beyond > 0.0:
                squared += beyond * beyond
        row_error[i] += 0.5 * h * math.sqrt(squared)


class Scratch(NamedTuple):
    """Scratch of :func:`sparse_interference`, a row per thread."""

    drift: np.ndarray
    overlap: np.ndarray

    @classmethod
    def allocate(cls, n: int, width: int, dtype: np.dtype) -> Scratch:
        threads = get_num_threads()
        return cls(np.zeros((threads, width), dtype), np.empty((threads, n)))
