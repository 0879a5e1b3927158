"""The event log: when weights die and revive, and when overlaps of features change sign.

:class:`EventRecorder` watches accepted steps for the driver; :class:`Events` is what it leaves in
a trajectory. The log is off by default. Every support {k : W_ik(t) ≠ 0} of the run at the end of
an accepted step can be rebuilt from W0 and the log.

Resolution: an event is known to lie within its accepted step (t₀, t₁], whose length is recorded,
and is placed inside it by interpolation. A scheme that sees only the mean force over a step lets a
zero leave up to a step late, and the log says what the scheme did. A weight that dies and revives
with the same sign within one step, or revives and dies, leaves no trace. Source: THE_FLOW sections
1, 2 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow import event_kernels
from flow.exact import ExactFlow
from flow.field import State
from flow.forces import Slots
from flow.schemes import Proposal


def _floats() -> NDArray[np.float64]:
    return np.zeros(0)


def _integers() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class WeightEvents:
    """Deaths of weights, or revivals, in the order of time; each array has shape (events,)."""

    time: NDArray[np.float64] = field(default_factory=_floats)
    """Flow time."""
    feature: NDArray[np.int64] = field(default_factory=_integers)
    neuron: NDArray[np.int64] = field(default_factory=_integers)
    value: NDArray[np.float64] = field(default_factory=_floats)
    """The weight on its non-zero side: at the start of the step in which it died (exact backend:
    at the start of the run), at the end of the step in which it revived."""
    force: NDArray[np.float64] = field(default_factory=_floats)
    """Smooth force on that weight at the end of the step, without the growth of its row: what
    decides against λ whether a zero stays."""
    resolution: NDArray[np.float64] = field(default_factory=_floats)
    """Flow time within which the event is known: the length of its step."""


@dataclass(frozen=True)
class OverlapEvents:
    """Changes of sign of G_ij = W_i·W_j, i < j, in the order of time; shapes (events,)."""

    time: NDArray[np.float64] = field(default_factory=_floats)
    """Flow time, from a straight line through G_ij at the ends of the step."""
    first: NDArray[np.int64] = field(default_factory=_integers)
    """i."""
    second: NDArray[np.int64] = field(default_factory=_integers)
    """j."""
    before: NDArray[np.int64] = field(default_factory=_integers)
    """Sign at the start of the step: −1, 0 or 1."""
    after: NDArray[np.int64] = field(default_factory=_integers)
    """Sign at its end."""
    resolution: NDArray[np.float64] = field(default_factory=_floats)
    """Length of the step."""


@dataclass(frozen=True)
class Events:
    """The event log of a run; what was not asked for is empty."""

    weights_logged: bool = False
    """Whether extinctions and revivals were recorded: empty does not mean that none happened."""
    overlaps_logged: bool = False
    """Whether changes of sign of overlaps were recorded."""
    extinctions: WeightEvents = field(default_factory=WeightEvents)
    """Weights that reached zero. One that goes straight through dies and revives at once."""
    revivals: WeightEvents = field(default_factory=WeightEvents)
    """Weights that left zero."""
    overlaps: OverlapEvents = field(default_factory=OverlapEvents)

    def ever_revived(self, feature: np.ndarray, neuron: np.ndarray) -> NDArray[np.bool_]:
        """Whether W_ik was zero at some time and left zero later, for each given (i, k).

        `feature` and `neuron` have one shape, which is that of the answer. Raises ValueError if
        the run did not record events.
        """
        if not self.weights_logged:
            raise ValueError(
                "expected a run that recorded its events, got one that did not; "
                "use integrate(..., events=True)"
            )
        seen = set(zip(self.revivals.feature.tolist(), self.revivals.neuron.tolist(), strict=True))
        asked = zip(np.ravel(feature).tolist(), np.ravel(neuron).tolist(), strict=True)
        return np.array([pair in seen for pair in asked], bool).reshape(np.shape(feature))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, by names such as ``extinctions.time``."""
        found = {
            "weights_logged": np.array(self.weights_logged),
            "overlaps_logged": np.array(self.overlaps_logged),
        }
        for name in ("extinctions", "revivals", "overlaps"):
            group = getattr(self, name)
            found |= {f"{name}.{f.name}": getattr(group, f.name) for f in fields(group)}
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Events:
        """The inverse of :meth:`arrays`; KeyError if one is missing."""

        def group(kind: type, name: str) -> Any:
            return kind(**{f.name: arrays[f"{name}.{f.name}"] for f in fields(kind)})

        return cls(
            weights_logged=bool(arrays["weights_logged"]),
            overlaps_logged=bool(arrays["overlaps_logged"]),
            extinctions=group(WeightEvents, "extinctions"),
            revivals=group(WeightEvents, "revivals"),
            overlaps=group(OverlapEvents, "overlaps"),
        )


class EventRecorder:
    """Watches the accepted steps of a run.

    Parameters
    ----------
    slots : the forces, added up.
    state : where the run starts.
    weights : record extinctions and revivals.
    overlaps : record changes of sign of overlaps.
    """

    def __init__(self, slots: Slots, state: State, *, weights: bool, overlaps: bool) -> None:
        self._slots = slots
        self._weights, self._overlaps = weights, overlaps
        self._extinctions: list[tuple[np.ndarray, ...]] = []
        self._revivals: list[tuple[np.ndarray, ...]] = []
        self._signs: list[tuple[np.ndarray, ...]] = []
        if overlaps:
            self._G = _overlaps(state, state.W)

    def add(self, t0: float, t1: float, state: State, proposal: Proposal) -> None:
        """Record what happened in (t0, t1], before `state` takes over the proposal."""
        if self._weights:
            self._add_weights(t0, t1, state, proposal)
        if self._overlaps:
            self._add_overlaps(t0, t1, state, proposal)

    def _add_weights(self, t0: float, t1: float, state: State, proposal: Proposal) -> None:
        layout, slots, h = state.layout, self._slots, t1 - t0
        # Some backends keep them elsewhere until they are looked at.
        before, after = np.asarray(state.W), np.asarray(proposal.W)
        counts = np.empty((2, layout.n), np.int64)
        event_kernels.count_changes(layout.start, before, after, counts)
        total = int(counts.sum())
        if total == 0:
            return
        C_before, C_after = np.asarray(state.C), np.asarray(proposal.C)
        ends = np.cumsum(counts).reshape(counts.shape)
        entry, delay = np.empty(total, np.int64), np.empty(total)
        event_kernels.write_changes(
            layout.start, before, after, C_before, C_after,
            0.5 * (state.overlaps[:, 2] + proposal.overlaps[:, 2]), h,
            slots.growth_constant, slots.growth_quadratic, slots.l1, ends - counts, entry, delay,
        )  # fmt: skip
        died = int(ends[event_kernels.EXTINCTION, -1])
        row = np.searchsorted(layout.start, entry, side="right") - 1
        position = entry - layout.start[row] if layout.column is None else layout.column[entry]
        for log, W, part in (
            (self._extinctions, before, slice(died)),
            (self._revivals, after, slice(died, total)),
        ):
            e = entry[part]
            log.append(
                (
                    _within(t0, t1, delay[part]),
                    row[part],
                    layout.neurons[position[part]],
                    W[e].astype(float),
                    -C_after[e].astype(float),
                    np.full(e.size, h),
                )
            )

    def _add_overlaps(self, t0: float, t1: float, state: State, proposal: Proposal) -> None:
        before, after = self._G, _overlaps(state, proposal.W)
        first, second = np.nonzero(np.triu(np.sign(before) != np.sign(after), 1))
        g0, g1 = before[first, second], after[first, second]
        signs = [np.sign(g).astype(np.int64) for g in (g0, g1)]
        time = _within(t0, t1, (t1 - t0) * g0 / (g0 - g1))
        self._signs.append((time, first, second, *signs, np.full(g0.size, t1 - t0)))
        self._G = after

    def collect(self) -> Events:
        """The log, sorted by time (a stable sort: events of one time stay in row order)."""
        return Events(
            weights_logged=self._weights,
            overlaps_logged=self._overlaps,
            extinctions=_sorted(WeightEvents, self._extinctions),
            revivals=_sorted(WeightEvents, self._revivals),
            overlaps=_sorted(OverlapEvents, self._signs),
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
    log = [(time[row, neuron], row, neuron, value, none, none)]
    return Events(weights_logged=True, extinctions=_sorted(WeightEvents, log))


def _sorted(kind: type, log: Sequence[tuple[np.ndarray, ...]]) -> Any:
    if not log:
        return kind()
    columns = [np.concatenate(column) for column in zip(*log, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return kind(*(column[order] for column in columns))


def _overlaps(state: State, W: np.ndarray) -> np.ndarray:
    """G_ij for i < j of weights W stored in the state's layout, (n, n)."""
    layout = state.layout
    if layout.by_neuron is None:
        rows = W.reshape(layout.n, layout.width)
        return np.asarray(rows @ rows.T, dtype=float)
    G = np.empty((layout.n, layout.n))
    event_kernels.sparse_overlaps(*layout.by_neuron, W, G)
    return G
