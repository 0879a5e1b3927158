"""Recording events: what happened to weights and overlaps within each accepted step."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from flow.forces import ForceSum
from flow.integrators.closed_form import ExactFlow
from flow.integrators.layout import State
from flow.integrators.schemes import Proposal
from flow.kernels import events as event_kernels
from flow.results.events import Events, OverlapEvents, WeightEvents

_NO_COLUMNS = np.empty(0, np.int32)


class EventRecorder:
    """Watches the accepted steps of a run.

    Parameters
    ----------
    slots : the forces, added up.
    state : where the run starts.
    weights : record extinctions and revivals.
    overlaps : record changes of sign of overlaps.
    """

    def __init__(self, slots: ForceSum, state: State, *, weights: bool, overlaps: bool) -> None:
        self._slots = slots
        self._weights, self._overlaps = weights, overlaps
        self._extinctions: list[tuple[np.ndarray, ...]] = []
        self._revivals: list[tuple[np.ndarray, ...]] = []
        self._signs: list[tuple[np.ndarray, ...]] = []
        if overlaps:
            self._G = _overlaps(state, state.W)

    def copy(self) -> EventRecorder:
        """The same log, to be added to on its own."""
        twin = copy.copy(self)
        for name in ("_extinctions", "_revivals", "_signs"):
            setattr(twin, name, list(getattr(self, name)))
        return twin

    def add(self, t0: float, t1: float, state: State, proposal: Proposal) -> None:
        """Record what happened in (t0, t1], before `state` takes over the proposal."""
        if self._weights:
            self._add_weights(t0, t1, state, proposal)
        if self._overlaps:
            self._add_overlaps(t0, t1, state, proposal)

    def _add_weights(self, t0: float, t1: float, state: State, proposal: Proposal) -> None:
        layout, slots = state.layout, self._slots
        # Some backends keep them elsewhere until they are looked at.
        before, after = np.asarray(state.W), np.asarray(proposal.W)
        counts = np.empty((2, layout.n), np.int64)
        event_kernels.count_changes(layout.start, before, after, counts)
        ends = np.cumsum(counts).reshape(counts.shape)
        died, total = (int(end) for end in ends[:, -1])
        if total == 0:
            return
        row, neuron = np.empty((2, total), np.int64)
        time, value, force = np.empty((3, total))
        event_kernels.write_changes(
            layout.start, _NO_COLUMNS if layout.column is None else layout.column, layout.neurons,
            before, after, np.asarray(state.C), np.asarray(proposal.C),
            0.5 * (state.coupling.radial + proposal.coupling.radial), t0, t1,
            slots.growth_constant, slots.growth_quadratic, slots.l1, counts, ends - counts,
            time, row, neuron, value, force,
        )  # fmt: skip
        columns = (time, row, neuron, value, force, np.full(total, t1 - t0))
        for log, part in (
            (self._extinctions, slice(died)),
            (self._revivals, slice(died, total)),
        ):
            log.append(_sorted(*(column[part] for column in columns)))

    def _add_overlaps(self, t0: float, t1: float, state: State, proposal: Proposal) -> None:
        before, after = self._G, _overlaps(state, proposal.W)
        first, second = np.nonzero(np.triu(np.sign(before) != np.sign(after), 1))
        g0, g1 = before[first, second], after[first, second]
        signs = [np.sign(g).astype(np.int64) for g in (g0, g1)]
        time = _within(t0, t1, (t1 - t0) * g0 / (g0 - g1))
        self._signs.append(_sorted(time, first, second, *signs, np.full(g0.size, t1 - t0)))
        self._G = after

    def collect(self) -> Events:
        """The log, sorted by time; events of one time stay in row order."""
        return Events(
            weights_logged=self._weights,
            overlaps_logged=self._overlaps,
            extinctions=_joined(WeightEvents, self._extinctions),
            revivals=_joined(WeightEvents, self._revivals),
            overlaps=_joined(OverlapEvents, self._signs),
        )


def _within(t0: float, t1: float, delay: np.ndarray) -> np.ndarray:
    """t0 + delay, kept in (t0, t1]: at the end of a step all of its events have happened."""
    return np.clip(t0 + delay, math.nextafter(t0, math.inf), t1)


def exact_events(flow: ExactFlow, W0: np.ndarray, t_start: float, t_end: float) -> Events:
    """The log of a run without interference: extinctions to rounding, and no revivals."""
    time = t_start + np.stack([flow.extinction_times(i) for i in range(W0.shape[0])])
    row, neuron = np.nonzero((W0 != 0.0) & (time <= t_end))
    value = W0[row, neuron].astype(float)
    none = np.zeros(row.size)
    log = _sorted(time[row, neuron], row, neuron, value, none, none)
    return Events(weights_logged=True, extinctions=WeightEvents(*log))


def _sorted(time: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Columns of one step, (events,) each, by time; events of one time stay as they are."""
    order = np.argsort(time)
    event_kernels.sort_ties(time, order)
    return tuple(column[order] for column in (time, *others))


def _joined(kind: type, log: Sequence[tuple[np.ndarray, ...]]) -> Any:
    """The log of all steps, each of which ends before the next one has events."""
    return kind(*(np.concatenate(column) for column in zip(*log, strict=True)))


def _overlaps(state: State, W: np.ndarray) -> np.ndarray:
    """G_ij for i < j of weights W stored in the state's layout, (n, n)."""
    layout = state.layout
    if layout.by_neuron is None:
        rows = W.reshape(layout.n, layout.width)
        return np.asarray(rows @ rows.T, dtype=float)
    G = np.empty((layout.n, layout.n))
    event_kernels.sparse_overlaps(*layout.by_neuron, W, G)
    return G
