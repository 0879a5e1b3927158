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


@kernel
def _count_changes_of(i, start, before, after, counts):
    died = 0
    revived = 0
    # No branches: this pass is over every entry at every step, and vectorises.
    for e in range(start[i], start[i + 1]):
        w0 = before[e]
        w1 = after[e]
        died += ((w0 > 0.0) & ~(w1 > 0.0)) | ((w0 < 0.0) & ~(w1 < 0.0))
        revived += ((w1 > 0.0) & ~(w0 > 0.0)) | ((w1 < 0.0) & ~(w0 < 0.0))
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
    total = 0.0
    for e in range(begin, end):
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
def _write_changes_of(
    i, start, before, after, drift_before, drift_after, radial, h, g0, g1, lam, first, entry, delay
):
    begin, end = start[i], start[i + 1]
    dead, born = first[EXTINCTION, i], first[REVIVAL, i]
    squared = _squared_norm(before, begin, end) + _squared_norm(after, begin, end)
    growth = g0 - radial[i] - 0.5 * g1 * squared
    for e in range(begin, end):
        w0 = before[e]
        w1 = after[e]
        if ((w0 > 0.0) == (w1 > 0.0)) & ((w0 < 0.0) == (w1 < 0.0)):
            continue
        if w0 != 0.0:
            mean = 0.5 * (drift_before[e] + drift_after[e])
            pull = lam + (mean if w0 > 0.0 else -mean)
            after_start = _time_to_zero(abs(w0), growth, pull, h)
            entry[dead] = e
            delay[dead] = after_start
            dead += 1
        else:
            c0 = abs(drift_before[e])
            c1 = abs(drift_after[e])
            after_start = h * (lam - c0) / (c1 - c0) if c0 < lam < c1 else 0.0
        if w1 != 0.0:
            entry[born] = e
            delay[born] = after_start
            born += 1


@parallel
def write_changes(
    loop: int,
    start: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    drift_before: np.ndarray,
    drift_after: np.ndarray,
    radial: np.ndarray,
    h: float,
    g0: float,
    g1: float,
    lam: float,
    first: np.ndarray,
    entry: np.ndarray,
    delay: np.ndarray,
) -> None:
    """Entry and delay : (events,) of every change; row i writes from first[kind, i] on.

    radial : (n,) mean radial rate of the drift, part of a. The delay is the time since the start
    of the step. A weight dies where u' = a u − (λ ± C) reaches zero with a and C the means over
    the step; it revives where |C|, taken as linear in time, passes λ, or together with its death
    if it goes straight through zero.
    """
    run_tasks(
        loop, _write_changes_of, start.size - 1,
        (start, before, after, drift_before, drift_after, radial, h, g0, g1, lam, first, entry,
         delay),
    )  # fmt: skip


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
