"""The field as the integrators sample it: the drift of a sum of forces, in any layout."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flow.forces import ForceSum
from flow.integrators.layout import COMPACT_BELOW, Layout, State, dense_layout, sparse_layout
from flow.integrators.noise import drift_of
from flow.kernels import interference as kernels
from flow.kernels import rows as row_kernels
from flow.kernels.interference import BLAS, Coupling, SparseScratch
from flow.kernels.rows import RowSums

SPARSE_BELOW = 0.12
"""Fill of W under which the sparse kernels win (benchmarks: kernel table)."""
DENSE_ABOVE = 0.4
"""Fill of the layout above which a sparse state goes back to dense."""
REVIVAL_MARGIN = 0.8
"""Zeros with |drift| above this share of λ are kept in a sparse layout: they may revive."""


class Field:
    """Samples the drift of a sum of forces; counts how often.

    Parameters
    ----------
    slots : the forces, added up.
    n, m : features and neurons.
    dtype : float32 or float64.
    mixed : whether products of dense layouts are made in float32 where W is in float64.
    """

    def __init__(
        self, slots: ForceSum, n: int, m: int, dtype: np.dtype, *, mixed: bool = False
    ) -> None:
        self.slots = slots
        self.n, self.m, self.dtype = n, m, dtype
        self.mixed = mixed
        self.evaluations = 0
        self._may_sparsify = slots.l1 > 0.0 and slots.preserves_dead_neurons and not slots.drifts
        self._capacity = 16
        products = np.dtype(np.float32 if mixed else dtype)
        parts = kernels.slices(m) if slots.interferes else 0
        self._blas = BLAS[products]
        self._vectors = np.empty((2, n))
        self._grams = np.empty((parts, n, n), products)
        self._blocks = np.empty((parts if mixed else 0, 2, n, kernels.MIXED_BLOCK), products)
        # Scratch of the sparse kernels, which are exact: φ(G) of the dense ones where that is too.
        self._sparse_phi = self._grams[1] if parts and not mixed else np.empty((n, n), dtype)

    def copy(self) -> Field:
        """A field that samples the same, with work space of its own."""
        twin = Field(self.slots, self.n, self.m, self.dtype, mixed=self.mixed)
        twin.evaluations, twin._capacity = self.evaluations, self._capacity
        return twin

    def init(self, W: np.ndarray) -> State:
        """The state at W : (n, m), in a layout that depends on W alone."""
        live = (
            np.flatnonzero(W.any(axis=0))
            if self.slots.preserves_dead_neurons
            else np.arange(self.m)
        )
        if live.size == 0:
            live = np.arange(1)
        if live.size > COMPACT_BELOW * self.m:
            live = np.arange(self.m)
        W = np.ascontiguousarray(W[:, live])
        if self._may_sparsify and np.count_nonzero(W) <= SPARSE_BELOW * W.size:
            layout = _layout_of(W != 0.0, live)
            flat = W[W != 0.0]
        else:
            layout, flat = dense_layout(self.n, live), W.ravel()
        C, coupling = np.zeros_like(flat), Coupling.zeros(self.n)
        outside = self.sample(layout, flat, C, coupling, search=True)
        return self.settle(layout, flat, C, coupling, outside)

    def sample(
        self,
        layout: Layout,
        W: np.ndarray,
        out: np.ndarray,
        coupling: Coupling,
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        search: bool = False,
    ) -> RevivalCandidates | None:
        """out ← α C + β out, C the drift at W; with `search`, also look for revivals elsewhere.

        W, out : (entries,) in `layout`. Adding where a sum is wanted spares its caller one array of
        W's size. At β = 0, which a search needs, out is not read.

        Returns the zeros outside a sparse layout that could revive (None when dense).
        """
        if search and beta != 0.0:
            raise ValueError(f"expected beta = 0 with a search for revivals, got {beta}; sum later")
        if not self.slots.couples_rows:
            _scale(out, beta)
            return None
        self.evaluations += 1
        if layout.column is None:
            grid = (layout.n, layout.width)
            if self.slots.drifts:
                C = self._general_drift(W.reshape(grid), coupling)
                _scale(out, beta)
                out += alpha * C.ravel()
            else:
                self._dense_interference(W.reshape(grid), alpha, beta, out.reshape(grid), coupling)
            return None
        assert layout.by_neuron is not None
        scratch = SparseScratch.of(layout.n, layout.width, W)
        while True:
            capacity = self._capacity if search else 0
            counts = np.empty(layout.width, np.int64)
            rows = np.empty((layout.width, capacity), np.int32)
            values = np.empty((layout.width, capacity), self.dtype)
            kernels.sparse_interference(
                layout.start, layout.column, *layout.by_neuron, W, self.slots.pair_strength,
                self.slots.leak_strength, REVIVAL_MARGIN * self.slots.l1, self._sparse_phi,
                alpha, beta, out, *coupling, counts, rows, values, *scratch,
            )  # fmt: skip
            if not search:
                return RevivalCandidates.none(self.dtype)
            most = int(counts.max(initial=0))
            if most <= capacity:
                return RevivalCandidates.collect(counts, rows, values)
            self._capacity = 2 * most

    def _dense_interference(
        self, W: np.ndarray, alpha: float, beta: float, out: np.ndarray, coupling: Coupling
    ) -> None:
        grams = self._grams[: kernels.slices(W.shape[1])]
        strengths = (self.slots.pair_strength, self.slots.leak_strength)
        if self.mixed:
            blocks = self._blocks[: grams.shape[0]]
            kernels.mixed_interference(
                self._blas, W, *strengths, grams, blocks, alpha, beta, out, *coupling
            )
        else:
            kernels.dense_interference(
                self._blas, W, *strengths, grams, alpha, beta, out, *coupling
            )

    def _general_drift(self, W: np.ndarray, coupling: Coupling) -> np.ndarray:
        """C with forces that have a drift of their own, perpendicular to each row as ever."""
        C = np.zeros_like(W)
        for part in coupling:
            part[:] = 0.0
        if self.slots.interferes:
            self._dense_interference(W, 1.0, 0.0, C, coupling)
        for force in self.slots.drifts:
            C -= drift_of(force, W)
        kernels.take_radial(C, W, coupling.radial)
        return C

    def settle(
        self,
        layout: Layout,
        W: np.ndarray,
        C: np.ndarray,
        coupling: Coupling,
        outside: RevivalCandidates | None,
    ) -> State:
        """The state with W, C : (entries,) just sampled in `layout`: its layout brought up to date.

        `outside` are the zeros that a search found could revive: they are taken into the layout.
        """
        if layout.column is None:
            stiffness = self._dense_stiffness(layout, W, coupling)
            if self.slots.preserves_dead_neurons:
                layout, W, C = self._narrow(layout, W, C)
            return State(layout, W, C, coupling, stiffness)
        if outside is None:
            outside = RevivalCandidates.none(self.dtype)
        layout, W, C = self._reselect(layout, W, C, outside)
        if layout.size > DENSE_ABOVE * self.n * layout.width and self.slots.couples_rows:
            return self._densified(layout, W)
        return State(layout, W, C, coupling, self._sparse_stiffness(layout, W, coupling))

    def _reselect(
        self, layout: Layout, W: np.ndarray, C: np.ndarray, outside: RevivalCandidates
    ) -> tuple[Layout, np.ndarray, np.ndarray]:
        """The sparse layout with what is not zero or may revive, and W and C in it."""
        assert layout.column is not None
        size = layout.size + outside.row.size
        start = np.empty_like(layout.start)
        column = np.empty(size, np.int32)
        new_W, new_C = np.empty(size, self.dtype), np.empty(size, self.dtype)
        kernels.select_entries(
            layout.start, layout.column, W, C, REVIVAL_MARGIN * self.slots.l1,
            *outside, start, column, new_W, new_C,
        )  # fmt: skip
        size = int(start[-1])
        return sparse_layout(start, column[:size], layout.neurons), new_W[:size], new_C[:size]

    def _densified(self, layout: Layout, W: np.ndarray) -> State:
        """The same W with the neurons of the layout in full, sampled anew."""
        dense = dense_layout(self.n, layout.neurons)
        W = np.ascontiguousarray(layout.scatter(W, self.m)[:, layout.neurons]).ravel()
        C, coupling = np.zeros_like(W), Coupling.zeros(self.n)
        self.sample(dense, W, C, coupling)
        return State(dense, W, C, coupling, self._dense_stiffness(dense, W, coupling))

    def _narrow(
        self, layout: Layout, W: np.ndarray, C: np.ndarray
    ) -> tuple[Layout, np.ndarray, np.ndarray]:
        """Drop dead neurons; go sparse once few entries are left."""
        W = W.reshape(self.n, layout.width)
        filled = W != 0.0
        C = C.reshape(W.shape)
        sparse = self._may_sparsify and np.count_nonzero(filled) <= SPARSE_BELOW * W.size
        keep = filled | (np.abs(C) > REVIVAL_MARGIN * self.slots.l1) if sparse else filled
        # Halfway to the fill that would send it back, so that layouts do not alternate.
        if sparse and np.count_nonzero(keep) <= 0.5 * DENSE_ABOVE * W.size:
            return _layout_of(keep, layout.neurons), W[keep], C[keep]
        live = filled.any(axis=0)
        if 0 < live.sum() <= COMPACT_BELOW * layout.width:
            layout = dense_layout(self.n, layout.neurons[live])
            W, C = np.ascontiguousarray(W[:, live]), np.ascontiguousarray(C[:, live])
        return layout, W.ravel(), C.ravel()

    # The drift's Jacobian is the Gauss–Newton matrix of the active overlaps plus φ ⊗ 1. Its top
    # eigenvalue is at most 2c λ_max(G) + max_i Σ_j |φ(G_ij)|, c the steepest slope of φ and G taken
    # over the rows that overlap at all. The factor allows for the power iteration not having
    # converged.

    def _stiffness(self, top: float, coupling: Coupling) -> float:
        slope = max(self.slots.pair_strength, self.slots.leak_strength)
        return 1.1 * (2.0 * slope * top + float(coupling.pull.max()))

    def _dense_stiffness(self, layout: Layout, W: np.ndarray, coupling: Coupling) -> float:
        """Of the W that was sampled last, whose G is still there."""
        W = W.reshape(self.n, layout.width)
        stiffness = float(sum(force.stiffness(W) for force in self.slots.drifts))
        if self.slots.interferes:
            top = kernels.dense_top_eigenvalue(self._grams[0], coupling.pull, *self._vectors)
            stiffness += self._stiffness(top, coupling)
        return stiffness

    def _sparse_stiffness(self, layout: Layout, W: np.ndarray, coupling: Coupling) -> float:
        if not self.slots.interferes or not coupling.pull.any():
            return 0.0
        assert layout.column is not None
        top = kernels.sparse_top_eigenvalue(
            layout.start, layout.column, W, coupling.pull, *self._vectors, np.empty(layout.width)
        )
        return self._stiffness(top, coupling)

    def row_sums(self, state: State) -> RowSums:
        """Norms, non-zeros and speeds of the rows of a state."""
        out = RowSums.zeros(self.n)
        slots = self.slots
        row_kernels.sum_rows(
            state.layout.start, state.W, state.C, state.coupling.radial,
            slots.growth_constant, slots.growth_quadratic, slots.l1, *out,
        )  # fmt: skip
        return out


def _layout_of(keep: np.ndarray, neurons: np.ndarray) -> Layout:
    """The sparse layout of the entries `keep` : (n, width) of a dense one."""
    start = np.concatenate([[0], np.cumsum(np.count_nonzero(keep, axis=1))])
    column = np.nonzero(keep)[1]
    return sparse_layout(start.astype(np.int64), column.astype(np.int32), neurons)


def _scale(out: np.ndarray, beta: float) -> None:
    if beta == 0.0:
        out[:] = 0.0  # whatever it held, NaN included
    else:
        out *= beta


class RevivalCandidates(NamedTuple):
    """Zeros outside a sparse layout whose drift is large enough that they may revive, by row."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray

    @classmethod
    def none(cls, dtype: np.dtype) -> RevivalCandidates:
        """No candidates."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, dtype))

    @classmethod
    def collect(cls, counts: np.ndarray, rows: np.ndarray, values: np.ndarray) -> RevivalCandidates:
        """From lists by neuron, counts : (width,), the others (width, capacity)."""
        if not counts.any():
            return cls.none(values.dtype)
        column, place = np.nonzero(np.arange(rows.shape[1]) < counts[:, None])
        row, value = rows[column, place], values[column, place]
        order = np.argsort(row, kind="stable")
        return cls(row[order].astype(np.int64), column[order].astype(np.int32), value[order])
