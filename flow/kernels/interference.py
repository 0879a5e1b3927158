"""Numba kernels for interference: drift Σ_{j≠i} φ(G_ij) W_j = ρ_i W_i + C_i, dense and sparse.

φ(g) = c·ReLU(g) − c'·ReLU(−g), with `strength` c and `leak` c', which most runs have at zero.
C_i is perpendicular to W_i. The radial part is linear in the length of W_i just as growth is, which
it may nearly cancel, so integrators treat the two together.

Dense: G = W Wᵀ and C = φ(G) W over slices of neurons whose number is fixed by m, each slice one
single-threaded BLAS product, threads across slices; so results do not depend on the number of
threads. G is a symmetric product, half the work.

Sparse: rows and neurons are lists of weights; G_ij is summed over shared neurons only, and the
drift of a neuron over its own weights only, so the cost follows the non-zeros.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import get_cython_function_address, intrinsic

from flow.kernels.compiling import kernel
from flow.kernels.loops import run_tasks
from flow.kernels.threads import parallel

POWER_ITERATIONS = 8


class Coupling(NamedTuple):
    """What the other rows do to each row; three arrays of shape (n,), of NumPy or JAX.

    Kernels take them one by one: Numba drops what a parallel loop writes into arrays of a tuple.
    """

    pull: Any
    """Σ_{j≠i} |φ(G_ij)|."""
    squares: Any
    """Σ_{j≠i} ReLU(G_ij)²."""
    radial: Any
    """ρ_i, the rate at which the drift shortens row i."""

    @classmethod
    def zeros(cls, n: int) -> Coupling:
        """For rows that nothing acts on."""
        return cls(np.zeros(n), np.zeros(n), np.zeros(n))


# BLAS products on slices of arrays ---------------------------------------------------------------
#
# ``numpy.dot`` inside Numba wants whole contiguous arrays and has no symmetric product. These call
# SciPy's BLAS directly, on row-major arrays whose rows may be slices of longer ones. The routines
# are handed to the kernels as arguments, so that compiled kernels can be cached on disk.

_TRANSPOSED, _PLAIN, _UPPER = np.uint8(ord("T")), np.uint8(ord("N")), np.uint8(ord("U"))


class Blas(NamedTuple):
    """The routines for one precision; a kernel takes it as an argument."""

    syrk: Any
    gemm: Any


def _routine(name: str, arguments: int) -> Any:
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)
    return prototype(get_cython_function_address("scipy.linalg.cython_blas", name))


BLAS = {
    np.dtype(np.float64): Blas(_routine("dsyrk", 10), _routine("dgemm", 13)),
    np.dtype(np.float32): Blas(_routine("ssyrk", 10), _routine("sgemm", 13)),
}
"""The routines by dtype."""


_intrinsic: Any = intrinsic


@_intrinsic
def _address_of(_typing, value):
    """Where a number is, for routines that take their arguments by reference."""

    def generate(_context, builder, _signature, values):
        slot = cgutils.alloca_once_value(builder, values[0])
        return builder.bitcast(slot, cgutils.voidptr_t)

    return types.voidptr(types.unliteral(value)), generate


@_intrinsic
def _from_element(_typing, array, _index):
    """Where an array goes on from the element that is so many places after its first."""
    if array.layout != "C":
        raise TypingError(f"expected a contiguous array, got {array}")

    def generate(context, builder, _signature, values):
        data = context.make_array(array)(context, builder, values[0]).data
        return builder.bitcast(builder.gep(data, [values[1]]), cgutils.voidptr_t)

    return types.voidptr(array, types.int64), generate


@kernel(forceinline=True)
def gram_lower(blas, A, first, columns, beta, out, start):
    """Lower triangle of out ← A Aᵀ + β out for `columns` columns of A from `first` on; the rest of
    out, (n, n) from element `start` of its array on, is untouched. Rows are contiguous. At β = 0
    out is not read.
    """
    one = A.dtype.type(1.0)
    rows = np.int32(A.shape[0])
    # row-major lower is column-major upper
    blas.syrk(
        _address_of(_UPPER), _address_of(_TRANSPOSED),
        _address_of(rows), _address_of(np.int32(columns)),
        _address_of(one), _from_element(A, first), _address_of(np.int32(A.shape[1])),
        _address_of(A.dtype.type(beta)), _from_element(out, start), _address_of(rows),
    )  # fmt: skip


@kernel(forceinline=True)
def multiply(blas, alpha, A, start, B, first, columns, beta, out):
    """out ← α A B + β out for `columns` columns of B and out from `first` on, with A : (n, n) from
    element `start` of its array on. Rows are contiguous. At β = 0 out is not read.
    """
    plain = _address_of(_PLAIN)
    rows = np.int32(B.shape[0])
    width = np.int32(B.shape[1])
    blas.gemm(
        plain, plain, _address_of(np.int32(columns)), _address_of(rows), _address_of(rows),
        _address_of(B.dtype.type(alpha)), _from_element(B, first), _address_of(width),
        _from_element(A, start), _address_of(rows),
        _address_of(B.dtype.type(beta)), _from_element(out, first), _address_of(width),
    )  # fmt: skip


# Dense -------------------------------------------------------------------------------------------


def slices(m: int) -> int:
    """Into how many slices of neurons the dense products are cut: fixed by the size alone."""
    return max(2, min(4, m // 1024))


@kernel(forceinline=True, fastmath={"reassoc", "nsz", "contract"})
def _row_total(row):
    """Sum and sum of squares."""
    total = 0.0
    squared = 0.0
    for j in range(row.size):
        total += row[j]
        squared += row[j] * row[j]
    return total, squared


@kernel(forceinline=True, fastmath={"reassoc", "nsz", "contract"})
def _radial_rate(C, W):
    """C·W/‖W‖²; zero for a zero row."""
    along = 0.0
    squared = 0.0
    for k in range(W.size):
        along += C[k] * W[k]
        squared += W[k] * W[k]
    return along / squared if squared > 0.0 else 0.0


@kernel(inline="always")
def _take_radial(C, W):
    """Make C perpendicular to W; returns ρ."""
    rho = _radial_rate(C, W)
    if rho != 0.0:
        for k in range(W.size):
            C[k] -= rho * W[k]
    return rho


@kernel(forceinline=True)
def _take_radial_of(i, C, W, radial):
    radial[i] += _take_radial(C[i], W[i])


@parallel
def take_radial(loop, C, W, radial):
    """The same for every row of C, W : (n, m), added to what radial : (n,) holds."""
    run_tasks(loop, _take_radial_of, W.shape[0], (C, W, radial))


_BAND = 32
"""Rows per task of the element-wise passes: what is mirrored stays in the first cache."""


@kernel(forceinline=True, fastmath={"reassoc", "nsz", "contract"})
def _leaky_totals(phi, g):
    """Sums of |φ|, ReLU(g)² and φ·g over a row."""
    total = 0.0
    squared = 0.0
    pairing = 0.0
    for j in range(g.size):
        total += abs(phi[j])
        squared += max(g[j], 0.0) * max(g[j], 0.0)
        pairing += phi[j] * g[j]
    return total, squared, pairing


@kernel(inline="always")
def _mirror_band(a, strength, leak, grams):
    """G, the sum of `grams`, and φ(G) from the lower triangle, for the rows of band a."""
    G, phi = grams[0], grams[1]
    last = min((a + 1) * _BAND, G.shape[0])
    for b in range(a + 1):
        for i in range(a * _BAND, last):
            for j in range(b * _BAND, min((b + 1) * _BAND, i + 1)):
                g = G[i, j]
                for p in range(1, grams.shape[0]):
                    g += grams[p, i, j]
                f = strength * max(g, 0.0)
                if leak != 0.0:
                    f += leak * min(g, 0.0)
                G[i, j] = g
                G[j, i] = g
                phi[i, j] = f
                phi[j, i] = f


@kernel(inline="always")
def _sum_band(a, strength, leak, grams, pull, squares, radial):
    """The coupling of the rows of band a, and −ρ_i on the diagonal of φ."""
    G, phi = grams[0], grams[1]
    for i in range(a * _BAND, min((a + 1) * _BAND, G.shape[0])):
        phi[i, i] = 0.0
        if leak == 0.0:
            total, squared = _row_total(phi[i])
            squares[i] = squared / (strength * strength)
            rho = squared / (strength * G[i, i]) if G[i, i] > 0.0 else 0.0
        else:
            total, squared, pairing = _leaky_totals(phi[i, :i], G[i, :i])
            after = _leaky_totals(phi[i, i + 1 :], G[i, i + 1 :])
            total += after[0]
            pairing += after[2]
            squares[i] = squared + after[1]
            rho = pairing / G[i, i] if G[i, i] > 0.0 else 0.0
        pull[i] = total
        radial[i] = rho
        phi[i, i] = -rho


@kernel(forceinline=True)
def _dense_task(
    task, phase, blas, W, strength, leak, grams, alpha, beta, out, pull, squares, radial
):
    n, m, parts = W.shape[0], W.shape[1], grams.shape[0]
    if phase == 1:
        _mirror_band(task, strength, leak, grams)
    elif phase == 2:
        _sum_band(task, strength, leak, grams, pull, squares, radial)
    else:
        width = (m + parts - 1) // parts
        first = task * width
        columns = m - first if first + width > m else width
        if columns < 0:
            first = columns = 0
        if phase == 0:
            gram_lower(blas, W, first, columns, 0.0, grams, task * n * n)
        else:
            multiply(blas, alpha, grams, n * n, W, first, columns, beta, out)


@parallel
def dense_interference(
    loop, blas, W, strength, leak, grams, alpha, beta, out, pull, squares, radial
):
    """out ← α C + β out, C = φ(G) W − ρ W, for W : (n, m), and its :class:`Coupling`.

    grams : (slices(m), n, n); on return the first holds G, the second φ(G) with −ρ_i on its
    diagonal. The radial part costs nothing: ρ_i = Σ_j φ_ij G_ij / G_ii.
    """
    parts, bands = grams.shape[0], (W.shape[0] + _BAND - 1) // _BAND
    run_tasks(
        loop, _dense_task, (parts, bands, bands, parts),
        (blas, W, strength, leak, grams, alpha, beta, out, pull, squares, radial),
    )  # fmt: skip


MIXED_BLOCK = 128
"""Neurons that are converted at a time: their columns of W and of the product stay in the cache."""


@kernel(forceinline=True)
def _convert(x, out):
    for j in range(x.size):
        out[j] = x[j]


@kernel(forceinline=True)
def _add_product(alpha, x, beta, out):
    for j in range(x.size):
        kept = beta * out[j] if beta != 0.0 else 0.0
        out[j] = alpha * x[j] + kept


@kernel(forceinline=True)
def _mixed_task(
    task, phase, blas, W, strength, leak, grams, blocks, alpha, beta, out, pull, squares, radial
):
    n, m, parts = W.shape[0], W.shape[1], grams.shape[0]
    if phase == 1:
        _mirror_band(task, strength, leak, grams)
    elif phase == 2:
        _sum_band(task, strength, leak, grams, pull, squares, radial)
    else:
        columns, product = blocks[task, 0], blocks[task, 1]
        count = (m + MIXED_BLOCK - 1) // MIXED_BLOCK
        begin, end = task * count // parts, (task + 1) * count // parts
        if phase == 0 and begin == end:
            gram_lower(blas, columns, 0, 0, 0.0, grams, task * n * n)
        for block in range(begin, end):
            first = block * MIXED_BLOCK
            last = min(first + MIXED_BLOCK, m)
            width = last - first
            for i in range(n):
                _convert(W[i, first:last], columns[i, :width])
            if phase == 0:
                kept = 0.0 if block == begin else 1.0
                gram_lower(blas, columns, 0, width, kept, grams, task * n * n)
            else:
                multiply(blas, 1.0, grams, n * n, columns, 0, width, 0.0, product)
                for i in range(n):
                    _add_product(alpha, product[i, :width], beta, out[i, first:last])


@parallel
def mixed_interference(
    loop, blas, W, strength, leak, grams, blocks, alpha, beta, out, pull, squares, radial
):
    """:func:`dense_interference` of W in float64, with products in float32: half the time.

    grams, blocks : (slices(m), n, n) and (slices(m), 2, n, MIXED_BLOCK) float32; `blas` that of
    float32. Its error is that of rounding W, G and φ to 24 bits: about 1e-7 c.
    """
    parts, bands = grams.shape[0], (W.shape[0] + _BAND - 1) // _BAND
    run_tasks(
        loop, _mixed_task, (parts, bands, bands, parts),
        (blas, W, strength, leak, grams, blocks, alpha, beta, out, pull, squares, radial),
    )  # fmt: skip


@kernel(forceinline=True, fastmath={"reassoc", "nsz", "contract"})
def _dot(x, y):
    total = 0.0
    for j in range(x.size):
        total += x[j] * y[j]
    return total


@kernel
def dense_top_eigenvalue(G, pull, u, v):
    """Power-iteration estimate of the top eigenvalue of G among rows that overlap with another.

    u, v : (n,) float64 scratch.
    """
    n = G.shape[0]
    for i in range(n):
        v[i] = 1.0 + 0.5 * math.cos(1.0 + i) if pull[i] > 0.0 else 0.0
    top = 0.0
    for _ in range(POWER_ITERATIONS):
        top = 0.0
        norm = 0.0
        length = 0.0
        for i in range(n):
            u[i] = _dot(G[i], v) if pull[i] > 0.0 else 0.0
            top += u[i] * v[i]
            norm += v[i] * v[i]
            length += u[i] * u[i]
        top = top / norm if norm > 0.0 else 0.0
        if length == 0.0:
            return 0.0
        for i in range(n):
            v[i] = u[i] / math.sqrt(length)
    return top


# Sparse ------------------------------------------------------------------------------------------


@kernel
def index_neurons(start, column, fill, neuron_start, neuron_row, neuron_entry):
    """For each neuron, which rows hold it, ascending, and at which entry (a counting sort).

    fill : (width,) scratch.
    """
    for k in range(neuron_start.size):
        neuron_start[k] = 0
    for e in range(start[-1]):
        neuron_start[column[e] + 1] += 1
    for k in range(fill.size):
        neuron_start[k + 1] += neuron_start[k]
        fill[k] = neuron_start[k]
    for i in range(start.size - 1):
        for e in range(start[i], start[i + 1]):
            k = column[e]
            neuron_row[fill[k]] = i
            neuron_entry[fill[k]] = e
            fill[k] += 1


_ROWS = 4
"""Rows per task of the sparse coupling."""
_GROUP = 32
"""Neurons per task of the sparse drift."""
_VECTOR = 16
"""About how many rows are accumulated in the time that one sum on its own takes per term."""
_BLOCK = 256
"""Rows whose drift is accumulated at once: their slice of φ stays in the second cache."""


@kernel
def _rectify(row, strength):
    """row ← strength·ReLU(row); returns the largest."""
    largest = 0.0
    for j in range(row.size):
        row[j] = strength * row[j] if not (row[j] <= 0.0) else 0.0  # NaN stays
        largest = row[j] if row[j] > largest else largest
    return largest


@kernel(forceinline=True)
def _rectify_leaky(row, strength, leak):
    """row ← strength·ReLU(row) − leak·ReLU(−row); the largest |φ|, and the sums of |φ|, ReLU(g)²
    and φ·g."""
    largest = 0.0
    total = 0.0
    squared = 0.0
    pairing = 0.0
    for j in range(row.size):
        g = row[j]
        f = strength * g if g > 0.0 else leak * g
        row[j] = f
        largest = max(largest, abs(f))
        total += abs(f)
        squared += g * g if g > 0.0 else 0.0
        pairing += f * g
    return largest, total, squared, pairing


@kernel(forceinline=True, fastmath={"reassoc", "nsz", "contract"})
def _add_scaled(out, factor, x):
    for j in range(x.size):  # x is a slice: an index that might be negative does not vectorise
        out[j] += factor * x[j]


@kernel(forceinline=True, fastmath={"reassoc", "nsz", "contract"})
def _add_four(out, factors, a, b, c, d):
    """Four at once, for which `out` is read and written once."""
    fa, fb, fc, fd = factors
    for j in range(a.size):
        out[j] += (fa * a[j] + fb * b[j]) + (fc * c[j] + fd * d[j])


@kernel(inline="always")
def _accumulate(out, rows, weights, phi, begin, end):
    """out ← out + Σ_p weights[p] phi[rows[p], begin:end]."""
    fours = rows.size // 4 * 4
    for p in range(0, fours, 4):
        _add_four(
            out, (weights[p], weights[p + 1], weights[p + 2], weights[p + 3]),
            phi[rows[p], begin:end], phi[rows[p + 1], begin:end],
            phi[rows[p + 2], begin:end], phi[rows[p + 3], begin:end],
        )  # fmt: skip
    for p in range(fours, rows.size):
        _add_scaled(out, weights[p], phi[rows[p], begin:end])


@kernel(forceinline=True, fastmath={"reassoc", "nsz", "contract"})
def _any_above(x, size, threshold):
    count = 0
    for j in range(size):
        count += 1 if abs(x[j]) > threshold else 0
    return count > 0


class SparseScratch(NamedTuple):
    """Work space of :func:`sparse_interference`: the entries that are not zero, at the front of
    the lists of their rows and of their neurons, and what else its passes hand on."""

    row_live: np.ndarray
    """(n,) where the list of each row ends."""
    row_neuron: np.ndarray
    row_weight: np.ndarray
    live: np.ndarray
    """(width,) where the list of each neuron ends."""
    live_row: np.ndarray
    live_weight: np.ndarray
    largest: np.ndarray
    """(n,) the largest φ_ij of each row."""
    cursor: np.ndarray
    """(width,) the entry of each neuron that comes next."""

    @classmethod
    def of(cls, n: int, width: int, W: np.ndarray) -> SparseScratch:
        """For a layout of n rows and `width` neurons with the entries W."""
        size = W.size
        return cls(
            np.empty(n, np.int64), np.empty(size, np.uint32), np.empty_like(W),
            np.empty(width, np.int64), np.empty(size, np.uint32), np.empty_like(W),
            np.empty(n), np.empty(width, np.int64),
        )  # fmt: skip


@kernel(inline="always")
def _live_of_row(i, start, column, W, row_live, row_neuron, row_weight):
    p = start[i]
    for e in range(start[i], start[i + 1]):
        row_neuron[p] = column[e]
        row_weight[p] = W[e]
        p += W[e] != 0.0
    row_live[i] = p


@kernel(inline="always")
def _live_of_neuron(k, neuron_start, neuron_row, neuron_entry, W, live, live_row, live_weight):
    p = neuron_start[k]
    for q in range(neuron_start[k], neuron_start[k + 1]):
        w = W[neuron_entry[q]]
        live_row[p] = neuron_row[q]
        live_weight[p] = w
        p += w != 0.0
    live[k] = p


@kernel(inline="always")
def _couple_row(
    i, start, neuron_start, row_live, row_neuron, row_weight, live, live_row, live_weight,
    strength, leak, phi, largest, pull, squares, radial,
):  # fmt: skip
    """Row i of φ(G), with −ρ_i on the diagonal, and the coupling of the row."""
    row = phi[i]
    for j in range(row.size):
        row[j] = 0.0
    for e in range(start[i], row_live[i]):
        w = row_weight[e]
        k = row_neuron[e]
        rows, weights = live_row[neuron_start[k] : live[k]], live_weight[neuron_start[k] : live[k]]
        for p in range(rows.size):
            row[rows[p]] += w * weights[p]
    own = row[i]
    row[i] = 0.0
    if leak == 0.0:
        largest[i] = _rectify(row, strength)
        total, squared = _row_total(row)
        squares[i] = squared / (strength * strength)
        rho = squared / (strength * own) if own > 0.0 else 0.0
    else:
        largest[i], total, squared, pairing = _rectify_leaky(row, strength, leak)
        squares[i] = squared
        rho = pairing / own if own > 0.0 else 0.0
    row[i] = -rho
    pull[i] = total
    radial[i] = rho


@kernel(forceinline=True, fastmath={"reassoc", "nsz", "contract"})
def _gathered_sum(weights, rows, x):
    """Σ_p weights[p] x[rows[p]]."""
    total = 0.0
    for p in range(rows.size):
        total += weights[p] * x[rows[p]]
    return total


@kernel(inline="always")
def _drift_of_row(
    i, start, column, neuron_start, live, live_row, live_weight, phi, alpha, beta, out
):  # fmt: skip
    """The drift of the entries of row i, while its φ is in the first cache."""
    row = phi[i]
    for e in range(start[i], start[i + 1]):
        own = slice(neuron_start[column[e]], live[column[e]])
        total = _gathered_sum(live_weight[own], live_row[own], row)
        kept = beta * out[e] if beta != 0.0 else 0.0
        out[e] = alpha * total + kept


@kernel(inline="always")
def _drift_of_group(
    group, neuron_start, neuron_row, neuron_entry, live, live_row, live_weight, largest, cursor,
    threshold, phi, alpha, beta, out, outside_count, outside_row, outside_value,
):  # fmt: skip
    """The drift at the neurons of a group, and which zeros of theirs could revive."""
    n = phi.shape[0]
    capacity = outside_row.shape[1]
    first, last = group * _GROUP, min((group + 1) * _GROUP, neuron_start.size - 1)
    drift = np.empty(min(n, _BLOCK), out.dtype)
    for k in range(first, last):
        cursor[k] = neuron_start[k]
        outside_count[k] = 0
    for begin in range(0, n, _BLOCK):
        end = min(begin + _BLOCK, n)
        for k in range(first, last):
            q = cursor[k]
            stop = q
            while stop < neuron_start[k + 1] and neuron_row[stop] < end:
                stop += 1
            cursor[k] = stop
            bound = 0.0  # of what any row feels at this neuron
            for p in range(neuron_start[k], live[k]):
                bound += abs(live_weight[p]) * largest[live_row[p]]
            search = capacity > 0 and not bound <= threshold
            if not search and (stop - q) * _VECTOR <= end - begin:
                # Few entries: one sum for each, rather than the drift of every row.
                for e in range(q, stop):
                    column_of_phi = phi[neuron_row[e]]
                    total = 0.0
                    for p in range(neuron_start[k], live[k]):
                        total += live_weight[p] * column_of_phi[live_row[p]]
                    kept = beta * out[neuron_entry[e]] if beta != 0.0 else 0.0
                    out[neuron_entry[e]] = alpha * total + kept
                continue
            for j in range(end - begin):
                drift[j] = 0.0
            own = slice(neuron_start[k], live[k])
            _accumulate(drift, live_row[own], live_weight[own], phi, begin, end)
            for e in range(q, stop):
                kept = beta * out[neuron_entry[e]] if beta != 0.0 else 0.0
                out[neuron_entry[e]] = alpha * drift[neuron_row[e] - begin] + kept
                drift[neuron_row[e] - begin] = 0.0
            if search and _any_above(drift, end - begin, threshold):
                for j in range(end - begin):
                    if abs(drift[j]) > threshold:
                        if outside_count[k] < capacity:
                            outside_row[k, outside_count[k]] = begin + j
                            outside_value[k, outside_count[k]] = drift[j]
                        outside_count[k] += 1


@kernel(forceinline=True)
def _by_rows(n, capacity):
    """Whether the drift is summed row by row: nothing is searched, and φ is beyond the caches.

    By neurons, each sum is gathered from another row of φ: at n = 2048 that takes two to three
    times as long, at n = 256 it is as fast.
    """
    return capacity == 0 and n > _BLOCK


@kernel(forceinline=True)
def _sparse_task(
    task, phase, start, column, neuron_start, neuron_row, neuron_entry, W, strength, leak,
    threshold, phi, alpha, beta, out, pull, squares, radial, outside_count, outside_row,
    outside_value, row_live, row_neuron, row_weight, live, live_row, live_weight, largest, cursor,
):  # fmt: skip
    n, width = phi.shape[0], live.size
    if phase == 0:
        groups = max(1, (width + _GROUP - 1) // _GROUP)
        for i in range(task * n // groups, (task + 1) * n // groups):
            _live_of_row(i, start, column, W, row_live, row_neuron, row_weight)
        for k in range(task * _GROUP, min((task + 1) * _GROUP, width)):
            _live_of_neuron(
                k, neuron_start, neuron_row, neuron_entry, W, live, live_row, live_weight
            )
    elif phase == 1:
        for i in range(task * _ROWS, min((task + 1) * _ROWS, n)):
            _couple_row(
                i, start, neuron_start, row_live, row_neuron, row_weight, live, live_row,
                live_weight, strength, leak, phi, largest, pull, squares, radial,
            )  # fmt: skip
            if _by_rows(n, outside_row.shape[1]):
                _drift_of_row(
                    i, start, column, neuron_start, live, live_row, live_weight, phi, alpha, beta,
                    out,
                )  # fmt: skip
    else:
        _drift_of_group(
            task, neuron_start, neuron_row, neuron_entry, live, live_row, live_weight, largest,
            cursor, threshold, phi, alpha, beta, out, outside_count, outside_row, outside_value,
        )  # fmt: skip


@parallel
def sparse_interference(
    loop, start, column, neuron_start, neuron_row, neuron_entry, W, strength, leak, threshold,
    phi, alpha, beta, out, pull, squares, radial, outside_count, outside_row, outside_value,
    row_live, row_neuron, row_weight, live, live_row, live_weight, largest, cursor,
):  # fmt: skip
    """out ← α C + β out on the layout's entries; also which other entries have |C| > threshold.

    phi : (n, n) is scratch and holds φ(G) with −ρ_i on its diagonal on return. ``outside_*`` :
    (width, capacity) list by neuron the entries that are not in the layout and could revive; a
    count above the capacity means that the lists were too short and the call must be repeated with
    longer ones. A capacity of zero skips the search and may leave the lists as they are. The rest
    is a :class:`SparseScratch`.
    """
    n, width = start.size - 1, neuron_start.size - 1
    groups = max(1, (width + _GROUP - 1) // _GROUP)
    run_tasks(
        loop, _sparse_task,
        (groups, (n + _ROWS - 1) // _ROWS, 0 if _by_rows(n, outside_row.shape[1]) else groups),
        (start, column, neuron_start, neuron_row, neuron_entry, W, strength, leak, threshold,
         phi, alpha, beta, out, pull, squares, radial, outside_count, outside_row,
         outside_value, row_live, row_neuron, row_weight, live, live_row, live_weight, largest,
         cursor),
    )  # fmt: skip


@kernel
def sparse_top_eigenvalue(start, column, W, pull, u, v, t):
    """The same estimate as :func:`dense_top_eigenvalue`, from W(Wᵀv).

    u, v : (n,), t : (width,) scratch.
    """
    n = start.size - 1
    for i in range(n):
        v[i] = 1.0 + 0.5 * math.cos(1.0 + i) if pull[i] > 0.0 else 0.0
    top = 0.0
    for _ in range(POWER_ITERATIONS):
        for k in range(t.size):
            t[k] = 0.0
        for i in range(n):
            if v[i] != 0.0:
                for e in range(start[i], start[i + 1]):
                    t[column[e]] += v[i] * W[e]
        norm = 0.0
        length = 0.0
        top = 0.0
        for i in range(n):
            s = 0.0
            if pull[i] > 0.0:
                for e in range(start[i], start[i + 1]):
                    s += t[column[e]] * W[e]
            u[i] = s
            top += s * v[i]
            norm += v[i] * v[i]
            length += s * s
        top = top / norm if norm > 0.0 else 0.0
        if length == 0.0:
            return 0.0
        for i in range(n):
            v[i] = u[i] / math.sqrt(length)
    return top


@kernel
def select_entries(
    start, column, W, C, threshold, outside_row, outside_column, outside_value,
    new_start, new_column, new_W, new_C,
):  # fmt: skip
    """Keep the entries that are non-zero or could revive, and take in those from outside.

    ``outside_*`` : (found,) sorted by row.
    """
    position = 0
    p = 0
    for i in range(start.size - 1):
        new_start[i] = position
        for e in range(start[i], start[i + 1]):
            if W[e] != 0.0 or abs(C[e]) > threshold:
                new_column[position] = column[e]
                new_W[position] = W[e]
                new_C[position] = C[e]
                position += 1
        while p < outside_row.size and outside_row[p] == i:
            new_column[position] = outside_column[p]
            new_W[position] = 0.0
            new_C[position] = outside_value[p]
            position += 1
            p += 1
    new_start[start.size - 1] = position


@kernel
def late_revivals(lam, h, outside_row, outside_value, row_error):
    """Charge each row for weights outside the layout whose force passed λ within the step."""
    p = 0
    while p < outside_row.size:  # they are sorted by row
        i = outside_row[p]
        squared = 0.0
        while p < outside_row.size and outside_row[p] == i:
            beyond = abs(outside_value[p]) - lam
            if beyond > 0.0:
                squared += beyond * beyond
            p += 1
        row_error[i] += 0.5 * h * math.sqrt(squared)
