"""The field as the integrators sample it: where the weights are stored, and their drift.

A :class:`State` holds W and its drift C, dW_i/dt = (growth − ρ_i) W_i − C_i − λ·sign W_i with C_i
perpendicular to W_i, as flat arrays in a :class:`Layout`: dense while W is full, a list of entries
per row once few are left. Neurons that are zero in every row are dropped for good, since no
equivariant force can revive them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flow.forces import Slots
from flow.kernels import interference as kernels
from flow.kernels import rows as row_kernels
from flow.kernels.interference import BLAS

SPARSE_BELOW = 0.12
"""Fill of W under which the sparse kernels win (benchmarks: kernel table)."""
DENSE_ABOVE = 0.4
"""Fill of the layout above which a sparse state goes back to dense."""
COMPACT_BELOW = 0.75
"""A layout is narrowed when this share of its neurons, or less, is still in use."""
REVIVAL_MARGIN = 0.8
"""Zeros with |drift| above this share of λ are kept in a sparse layout: they may revive."""


class Layout(NamedTuple):
    """Which entries of W are stored. Row i is ``[start[i]:start[i+1]]`` of a flat array."""

    start: np.ndarray
    """(n + 1,) int64."""
    neurons: np.ndarray
    """(width,) original index of each neuron that is still in use."""
    column: np.ndarray | None
    """(entries,) position in `neurons`; None when dense, where every row has all of them."""
    by_neuron: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    """The same entries by neuron: offsets, rows, entries; None when dense."""

    @property
    def n(self) -> int:
        return self.start.size - 1

    @property
    def width(self) -> int:
        return self.neurons.size

    @property
    def size(self) -> int:
        return int(self.start[-1])


def _dense_layout(n: int, neurons: np.ndarray) -> Layout:
    return Layout(np.arange(n + 1, dtype=np.int64) * neurons.size, neurons, None, None)


def _sparse_layout(start: np.ndarray, column: np.ndarray, neurons: np.ndarray) -> Layout:
    used = np.bincount(column, minlength=neurons.size) > 0
    if used.sum() <= COMPACT_BELOW * neurons.size:
        position = np.cumsum(used) - 1
        column, neurons = position[column].astype(np.int32), neurons[used]
    offsets = np.empty(neurons.size + 1, np.int64)
    rows, entries = np.empty(column.size, np.int32), np.empty(column.size, np.int64)
    kernels.index_neurons(start, column, neurons.size, offsets, rows, entries)
    return Layout(start, neurons, column, (offsets, rows, entries))


@dataclass
class State:
    """Where a run is: W and C in a layout, and the sums that the driver reads."""

    layout: Layout
    W: np.ndarray
    """(entries,)"""
    C: np.ndarray
    """(entries,) drift, without its radial part."""
    overlaps: np.ndarray
    """(n, 3): Σ_j φ(G_ij), Σ_j ReLU(G_ij)², and the radial rate ρ_i of the drift."""
    stiffness: float
    """Upper estimate of the fastest rate of the drift, 1/time."""

    def dense(self, m: int) -> np.ndarray:
        """W : (n, m) with every neuron in its place."""
        layout = self.layout
        full = np.zeros((layout.n, m), self.W.dtype)
        if layout.column is None:
            full[:, layout.neurons] = self.W.reshape(layout.n, layout.width)
        else:
            rows = np.repeat(np.arange(layout.n), np.diff(layout.start))
            full[rows, layout.neurons[layout.column]] = self.W
        return full


class Field:
    """Samples the drift of a sum of forces; counts how often.

    Parameters
    ----------
    slots : the forces, added up.
    n, m : features and neurons.
    dtype : float32 or float64.
    """

    def __init__(self, slots: Slots, n: int, m: int, dtype: np.dtype) -> None:
        self.slots = slots
        self.n, self.m, self.dtype = n, m, dtype
        self.evaluations = 0
        self._may_sparsify = slots.l1 > 0.0 and slots.keeps_zeros and not slots.drifts
        self._capacity = 16
        self._blas = BLAS[np.dtype(dtype)]
        self._squares = np.empty((kernels.slices(m) if slots.overlap else 0, n, n), dtype)

    def place(self, W: np.ndarray) -> State:
        """The state at W : (n, m), in a layout that depends on W alone."""
        live = np.flatnonzero(W.any(axis=0)) if self.slots.keeps_zeros else np.arange(self.m)
        if live.size == 0:
            live = np.arange(1)
        if live.size > COMPACT_BELOW * self.m:
            live = np.arange(self.m)
        W = np.ascontiguousarray(W[:, live])
        if self._may_sparsify and np.count_nonzero(W) <= SPARSE_BELOW * W.size:
            start = np.concatenate([[0], np.cumsum(np.count_nonzero(W, axis=1))])
            rows, column = np.nonzero(W)
            layout = _sparse_layout(start.astype(np.int64), column.astype(np.int32), live)
            flat = W[rows, column]
        else:
            layout, flat = _dense_layout(self.n, live), W.ravel()
        state = State(layout, flat, np.zeros_like(flat), np.zeros((self.n, 3)), 0.0)
        outside = self.sample(state, state.W, state.C, state.overlaps, search=True)
        self.settle(state, outside)
        return state

    def sample(
        self,
        state: State,
        W: np.ndarray,
        out: np.ndarray,
        overlaps: np.ndarray,
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        search: bool = False,
    ) -> Outside | None:
        """out ← α C + β out, C the drift at W; with `search`, also look for revivals elsewhere.

        Adding where a sum is wanted spares its caller one array of W's size. At β = 0, which a
        search needs, out is not read.

        Returns the zeros outside a sparse layout that could revive (None when dense).
        """
        assert beta == 0.0 or not search
        if not self.slots.has_drift:
            _scale(out, beta)
            return None
        self.evaluations += 1
        layout = state.layout
        if layout.column is None:
            grid = (layout.n, layout.width)
            if self.slots.drifts:
                C = self._general_drift(W.reshape(grid), overlaps)
                _scale(out, beta)
                out += alpha * C.ravel()
            else:
                self._dense_interference(W.reshape(grid), alpha, beta, out.reshape(grid), overlaps)
            return None
        assert layout.by_neuron is not None
        while True:
            capacity = self._capacity if search else 0
            counts = np.empty(layout.width, np.int64)
            rows = np.empty((layout.width, capacity), np.int32)
            values = np.empty((layout.width, capacity), self.dtype)
            kernels.sparse_interference(
                layout.start, layout.column, *layout.by_neuron, W, self.slots.overlap,
                REVIVAL_MARGIN * self.slots.l1, self._squares[1], alpha, beta, out, overlaps,
                counts, rows, values,
            )  # fmt: skip
            most = int(counts.max(initial=0))
            if most <= capacity:
                return Outside.collect(counts, rows, values)
            self._capacity = 2 * most

    def _dense_interference(
        self, W: np.ndarray, alpha: float, beta: float, out: np.ndarray, overlaps: np.ndarray
    ) -> None:
        squares = self._squares[: kernels.slices(W.shape[1])]
        kernels.dense_interference(
            self._blas, W, self.slots.overlap, squares, alpha, beta, out, overlaps
        )

    def _general_drift(self, W: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
        """C with forces that have a drift of their own, perpendicular to each row as ever."""
        C = np.zeros_like(W)
        overlaps[:] = 0.0
        if self.slots.overlap:
            self._dense_interference(W, 1.0, 0.0, C, overlaps)
        for force in self.slots.drifts:
            C -= force.drift(W)
        kernels.take_radial(C, W, overlaps)
        return C

    def settle(self, state: State, outside: Outside | None) -> None:
        """Bring the layout up to date with the state's W and C, and estimate its stiffness."""
        layout = state.layout
        if layout.column is None:
            state.stiffness = self._dense_stiffness(state)
            if self.slots.keeps_zeros:
                self._narrow(state)
            return
        assert outside is not None or not self.slots.has_drift
        if outside is None:
            outside = Outside.none(self.dtype)
        size = layout.size + outside.row.size
        start = np.empty_like(layout.start)
        column = np.empty(size, np.int32)
        W, C = np.empty(size, self.dtype), np.empty(size, self.dtype)
        kernels.select_entries(
            layout.start, layout.column, state.W, state.C, REVIVAL_MARGIN * self.slots.l1,
            *outside, start, column, W, C,
        )  # fmt: skip
        size = int(start[-1])
        state.W, state.C = W[:size], C[:size]
        state.layout = _sparse_layout(start, column[:size], layout.neurons)
        if size > DENSE_ABOVE * self.n * state.layout.width and self.slots.has_drift:
            self._densify(state)
            return
        state.stiffness = self._sparse_stiffness(state)

    def _densify(self, state: State) -> None:
        grown = self._dense_from(state, state.layout.neurons)
        state.layout, state.W = _dense_layout(self.n, state.layout.neurons), grown
        state.C = np.zeros_like(grown)
        self.sample(state, state.W, state.C, state.overlaps)
        state.stiffness = self._dense_stiffness(state)

    def _dense_from(self, state: State, neurons: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(state.dense(self.m)[:, neurons]).ravel()

    def _narrow(self, state: State) -> None:
        """Drop dead neurons; go sparse once few entries are left."""
        layout = state.layout
        W = state.W.reshape(self.n, layout.width)
        filled = W != 0.0
        C = state.C.reshape(W.shape)
        sparse = self._may_sparsify and filled.sum() <= SPARSE_BELOW * W.size
        keep = filled | (np.abs(C) > REVIVAL_MARGIN * self.slots.l1) if sparse else filled
        # Halfway to the fill that would send it back, so that layouts do not alternate.
        if sparse and keep.sum() <= 0.5 * DENSE_ABOVE * W.size:
            start = np.concatenate([[0], np.cumsum(np.count_nonzero(keep, axis=1))])
            rows, column = np.nonzero(keep)
            state.layout = _sparse_layout(
                start.astype(np.int64), column.astype(np.int32), layout.neurons
            )
            state.W, state.C = W[rows, column], C[rows, column]
            return
        live = filled.any(axis=0)
        if 0 < live.sum() <= COMPACT_BELOW * layout.width:
            state.layout = _dense_layout(self.n, layout.neurons[live])
            state.W = np.ascontiguousarray(W[:, live]).ravel()
            state.C = np.ascontiguousarray(C[:, live]).ravel()

    # The drift's Jacobian is the Gauss–Newton matrix of the active overlaps plus φ ⊗ 1. Its top
    # eigenvalue is at most c (2 λ_max(G) + max_i Σ_j ReLU(G_ij)), G taken over the rows that
    # overlap at all. The factor allows for the power iteration not having converged.

    def _stiffness(self, top: float, state: State) -> float:
        return 1.1 * (2.0 * self.slots.overlap * top + float(state.overlaps[:, 0].max()))

    def _dense_stiffness(self, state: State) -> float:
        W = state.W.reshape(self.n, state.layout.width)
        stiffness = float(sum(force.stiffness(W) for force in self.slots.drifts))
        if self.slots.overlap:
            top = kernels.dense_top_eigenvalue(self._squares[0], state.overlaps)
            stiffness += self._stiffness(top, state)
        return stiffness

    def _sparse_stiffness(self, state: State) -> float:
        layout = state.layout
        if not self.slots.overlap or not state.overlaps[:, 0].any():
            return 0.0
        assert layout.column is not None
        top = kernels.sparse_top_eigenvalue(
            layout.start, layout.column, layout.width, state.W, state.overlaps
        )
        return self._stiffness(top, state)

    def row_sums(self, state: State) -> np.ndarray:
        """(n, 6): see :func:`flow.kernels.rows.sum_rows`."""
        out = row_kernels.allocate_row_sums(self.n)
        slots = self.slots
        row_kernels.sum_rows(
            state.layout.start, state.W, state.C, state.overlaps[:, 2],
            slots.growth_constant, slots.growth_quadratic, slots.l1, out,
        )  # fmt: skip
        return out


def _scale(out: np.ndarray, beta: float) -> None:
    if beta == 0.0:
        out[:] = 0.0  # whatever it held, NaN included
    else:
        out *= beta


class Outside(NamedTuple):
    """Zeros outside a sparse layout whose drift is large enough that they may revive, by row."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray

    @classmethod
    def none(cls, dtype: np.dtype) -> Outside:
        return cls(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, dtype))

    @classmethod
    def collect(cls, counts: np.ndarray, rows: np.ndarray, values: np.ndarray) -> Outside:
        """From lists by neuron, counts : (width,), the others (width, capacity)."""
        if not counts.any():
            return cls.none(values.dtype)
        column, place = np.nonzero(np.arange(rows.shape[1]) < counts[:, None])
        row, value = rows[column, place], values[column, place]
        order = np.argsort(row, kind="stable")
        return cls(row[order].astype(np.int64), column[order].astype(np.int32), value[order])
