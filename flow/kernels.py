"""Numba kernels for interference: drift c Σ_{j≠i} ReLU(G_ij) W_j = ρ_i W_i + C_i, dense and sparse.

C_i is perpendicular to W_i. The radial part is linear in the length of W_i just as growth is, which
it may nearly cancel, so integrators treat the two together.

Dense: G = W Wᵀ and C = φ(G) W in row tiles of a size fixed by (n, m), each tile one
single-threaded BLAS product, threads across tiles; so results do not depend on the number of
threads. G is symmetric: only tiles on and above the diagonal are computed.

Sparse: rows are lists of (neuron, weight); G_ij is summed over shared neurons only and C only over
pairs that overlap, so the cost follows the non-zeros.
"""

from __future__ import annotations

import math

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange  # type: ignore[attr-defined]

POWER_ITERATIONS = 8


def tile_rows(n: int, m: int) -> int:
    """Rows per tile of the dense product: a function of the size alone, never of the machine."""
    return max(16, min(128, -(-n // 8)))


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


@njit(cache=True, parallel=True, error_model="numpy")
def dense_interference(W, strength, tile, G, phi, C, row_sums):
    """C = φ W for W : (n, m); fills G, phi : (n, n) and row_sums : (n, 3), see Field.sample."""
    n = W.shape[0]
    blocks = (n + tile - 1) // tile
    for p in prange(blocks * (blocks + 1) // 2):
        # p counts the pairs (a, b) with a <= b
        b = int((math.sqrt(8.0 * p + 1.0) - 1.0) / 2.0)
        while b * (b + 1) // 2 > p:
            b -= 1
        while (b + 1) * (b + 2) // 2 <= p:
            b += 1
        a = p - b * (b + 1) // 2
        first, second = a * tile, b * tile
        product = np.dot(W[first : first + tile], W[second : second + tile].T)
        for i in range(product.shape[0]):
            for j in range(i if a == b else 0, product.shape[1]):
                g = product[i, j]
                f = strength * max(g, 0.0) if first + i != second + j else 0.0
                G[first + i, second + j] = g
                G[second + j, first + i] = g
                phi[first + i, second + j] = f
                phi[second + j, first + i] = f
    for a in prange(blocks):
        first = a * tile
        np.dot(phi[first : first + tile], W, C[first : first + tile])
        for i in range(first, min(first + tile, n)):
            total = 0.0
            squares = 0.0
            for j in range(n):
                total += phi[i, j]
                squares += phi[i, j] * phi[i, j]
            row_sums[i, 0] = total
            row_sums[i, 1] = squares / (strength * strength)
            row_sums[i, 2] = _take_radial(C[i], W[i])


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
def index_columns(start, column, width, column_start, column_row, column_entry):
    """For each neuron, which rows hold it and at which entry (a counting sort)."""
    column_start[:] = 0
    for e in range(start[-1]):
        column_start[column[e] + 1] += 1
    for k in range(width):
        column_start[k + 1] += column_start[k]
    fill = column_start[:-1].copy()
    for i in range(start.size - 1):
        for e in range(start[i], start[i + 1]):
            k = column[e]
            column_row[fill[k]] = i
            column_entry[fill[k]] = e
            fill[k] += 1


@njit(cache=True, parallel=True, error_model="numpy")
def sparse_interference(
    start, column, column_start, column_row, column_entry, W, strength, threshold,
    scratch, C, row_sums, outside_count, outside_column, outside_value,
):  # fmt: skip
    """C on the entries of the layout; also which other entries have |C| > threshold.

    scratch : (threads, width), zero on entry and on return. ``outside_*`` : (n, capacity) list the
    entries that are not in the layout and could revive; a count above the capacity means that
    the lists were too short and the call must be repeated with longer ones. A capacity of zero
    skips the search.
    """
    n = start.size - 1
    capacity = outside_column.shape[1]
    for i in prange(n):
        buffer = scratch[get_thread_id()]
        g = np.zeros(n, np.float64)
        for e in range(start[i], start[i + 1]):
            w = W[e]
            if w != 0.0:
                k = column[e]
                for p in range(column_start[k], column_start[k + 1]):
                    g[column_row[p]] += w * W[column_entry[p]]
        total = 0.0
        squares = 0.0
        for j in range(n):
            if g[j] > 0.0 and j != i:
                total += g[j]
                squares += g[j] * g[j]
                f = strength * g[j]
                for e in range(start[j], start[j + 1]):
                    buffer[column[e]] += f * W[e]
        for e in range(start[i], start[i + 1]):
            C[e] = buffer[column[e]]
            buffer[column[e]] = 0.0
        count = 0
        if total > 0.0:
            for j in range(n):
                if g[j] > 0.0 and j != i:
                    for e in range(start[j], start[j + 1]):
                        value = buffer[column[e]]
                        buffer[column[e]] = 0.0
                        if capacity > 0 and abs(value) > threshold:
                            if count < capacity:
                                outside_column[i, count] = column[e]
                                outside_value[i, count] = value
                            count += 1
        outside_count[i] = count
        row_sums[i, 0] = strength * total
        row_sums[i, 1] = squares
        row_sums[i, 2] = _take_radial(C[start[i] : start[i + 1]], W[start[i] : start[i + 1]])


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


def thread_scratch(width: int, dtype: np.dtype) -> np.ndarray:
    """Zeroed scratch of :func:`sparse_interference`."""
    return np.zeros((get_num_threads(), width), dtype)
