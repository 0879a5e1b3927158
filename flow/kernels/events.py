"""Numba kernels of the event log: which weights reached zero or left it within one step.

They compare W before and after a step in the layout in which the step was made, so they cost one
pass over its entries, dense or sparse. Row i of a flat array is ``[start[i]:start[i+1]]``.
"""

from __future__ import annotations

import math

import numpy as np

from flow.kernels.compiling import kernel
from flow.kernels.loops import run_tasks
from flow.kernels.threads import parallel

EXTINCTION, REVIVAL = 0, 1
LANES = 32
"""Entries of a row that are squared side by side; those left over follow."""


@kernel
def _count_changes_of(i, start, before, after, counts):
    # This pass is over every entry at every step. It vectorises: there are no branches, and slices
    # are indexed from zero, so that no index can count from the end.
    w0, w1 = before[start[i] : start[i + 1]], after[start[i] : start[i + 1]]
    died = 0
    revived = 0
    for e in range(w0.size):
        died += ((w0[e] > 0.0) & ~(w1[e] > 0.0)) | ((w0[e] < 0.0) & ~(w1[e] < 0.0))
        revived += ((w1[e] > 0.0) & ~(w0[e] > 0.0)) | ((w1[e] < 0.0) & ~(w0[e] < 0.0))
    counts[EXTINCTION, i] = died
    counts[REVIVAL, i] = revived


@parallel
def count_changes(
    loop: int, start: np.ndarray, before: np.ndarray, after: np.ndarray, counts: np.ndarray
) -> None:
    """counts : (2, n), extinctions and revivals of each row. A change of sign is one of each."""
    run_tasks(loop, _count_changes_of, start.size - 1, (start, before, after, counts))


@kernel(forceinline=True, fastmath={"reassoc", "contract"})
def _squared_norm(W: np.ndarray, begin: int, end: int) -> float:
    whole = W[begin : begin + (end - begin) // LANES * LANES]
    total = 0.0
    for e in range(whole.size):
        total += whole[e] * whole[e]
    for e in range(begin + whole.size, end):
        total += W[e] * W[e]
    return total


@kernel
def _time_to_zero(size: float, growth: float, pull: float, h: float) -> float:
    """When u' = growth·u − pull, u(0) = size, is zero; h if that is not within [0, h]."""
    if not pull > 0.0:
        return h
    x = growth * size / pull
    if x >= 1.0:
        return h
    t = -math.log1p(-x) / growth if abs(x) > 1e-8 else size / pull
    return min(t, h)


@kernel
def _find_changes(w0, w1, found):
    """Write the places where an entry died or revived; returns how many there are."""
    changed = np.empty(w0.size, np.bool_)
    for e in range(w0.size):
        changed[e] = ((w0[e] > 0.0) ^ (w1[e] > 0.0)) | ((w0[e] < 0.0) ^ (w1[e] < 0.0))
    count = 0
    for e in range(w0.size):
        # Where it has not changed, the next one that has takes its place.
        found[count] = e
        count += changed[e]
    return count


@kernel
def _write_changes_of(
    i, start, column, neurons, before, after, drift_before, drift_after, radial, t0, t1, g0, g1,
    lam, counts, first, time, row, neuron, value, force,
):  # fmt: skip
    if counts[EXTINCTION, i] + counts[REVIVAL, i] == 0:
        return
    begin, end = start[i], start[i + 1]
    found = np.empty(end - begin, np.int64)
    count = _find_changes(before[begin:end], after[begin:end], found)
    dead, born = first[EXTINCTION, i], first[REVIVAL, i]
    squared = _squared_norm(before, begin, end) + _squared_norm(after, begin, end)
    growth = g0 - radial[i] - 0.5 * g1 * squared
    h = t1 - t0
    soonest = np.nextafter(t0, np.inf)
    for place in found[:count]:
        e = begin + place
        w0 = before[e]
        w1 = after[e]
        if w0 != 0.0:
            mean = 0.5 * (drift_before[e] + drift_after[e])
            pull = lam + (mean if w0 > 0.0 else -mean)
            delay = _time_to_zero(abs(w0), growth, pull, h)
        else:
            c0 = abs(drift_before[e])
            c1 = abs(drift_after[e])
            delay = h * (lam - c0) / (c1 - c0) if c0 < lam < c1 else 0.0
        # At the end of a step all of its events have happened.
        happened = min(max(t0 + delay, soonest), t1)
        where = neurons[column[e] if column.size else place]
        if w0 != 0.0:
            time[dead], row[dead], neuron[dead] = happened, i, where
            value[dead], force[dead] = w0, -drift_after[e]
            dead += 1
        if w1 != 0.0:
            time[born], row[born], neuron[born] = happened, i, where
            value[born], force[born] = w1, -drift_after[e]
            born += 1


@parallel
def write_changes(
    loop: int,
    start: np.ndarray,
    column: np.ndarray,
    neurons: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    drift_before: np.ndarray,
    drift_after: np.ndarray,
    radial: np.ndarray,
    t0: float,
    t1: float,
    g0: float,
    g1: float,
    lam: float,
    counts: np.ndarray,
    first: np.ndarray,
    time: np.ndarray,
    row: np.ndarray,
    neuron: np.ndarray,
    value: np.ndarray,
    force: np.ndarray,
) -> None:
    """What is logged of each change in (t0, t1], (events,): row i writes from first[kind, i] on.

    column : (entries,) position in `neurons`; of no length where every row has all of them. counts
    : (2, n) from :func:`count_changes`. radial : (n,) mean radial rate of the drift, part of a. A
    weight dies where u' = a u − (λ ± C) reaches zero with a and C the means over the step; it
    revives where |C|, taken as linear in time, passes λ, or together with its death if it goes
    straight through zero.
    """
    run_tasks(
        loop, _write_changes_of, start.size - 1,
        (start, column, neurons, before, after, drift_before, drift_after, radial, t0, t1, g0, g1,
         lam, counts, first, time, row, neuron, value, force),
    )  # fmt: skip


@kernel
def sort_ties(time: np.ndarray, order: np.ndarray) -> None:
    """Put events of one time into the order of their numbers; order : (events,) sorts the times.

    The fastest sort, and this, take half as long as a stable one.
    """
    begin = 0
    for k in range(1, order.size + 1):
        if k == order.size or time[order[k]] != time[order[begin]]:
            if k > begin + 1:
                order[begin:k].sort()
            begin = k


@kernel
def sparse_overlaps(
    column_start: np.ndarray,
    column_row: np.ndarray,
    column_entry: np.ndarray,
    W: np.ndarray,
    out: np.ndarray,
) -> None:
    """out[i, j] = Σ_k W_ik W_jk for i < j, from the entries of each neuron; out : (n, n)."""
    out[:] = 0.0
    for k in range(column_start.size - 1):
        for p in range(column_start[k], column_start[k + 1]):
            w = W[column_entry[p]]
            if w != 0.0:
                for q in range(p + 1, column_start[k + 1]):
                    out[column_row[p], column_row[q]] += w * W[column_entry[q]]
