"""What a run asks of whatever computes its steps.

The driver's loop knows no arrays: it asks a :class:`Backend` for the state at some W, for the
proposal of a step, and for the state after a proposal that it accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from flow.integrators.field import Field
from flow.integrators.layout import Layout, State, by_neuron
from flow.integrators.schemes import Proposal, Scheme
from flow.kernels.interference import Coupling
from flow.kernels.rows import RowSums


class Backend(Protocol):
    """One run's steps. States are values: none that was handed out is changed later."""

    @property
    def evaluations(self) -> int:
        """Evaluations of the field so far."""

    def init(self, W: np.ndarray) -> Any:
        """The state at W : (n, m), in a layout that depends on W alone."""

    def try_step(self, state: Any, h: float, rtol: float, *, keep: bool) -> Proposal:
        """What the scheme proposes after a step of length h; with `keep`, what `inside` needs."""

    def inside(
        self, state: Any, proposal: Proposal, h: float, theta: float, rtol: float
    ) -> np.ndarray:
        """W : (n, m) at the share 0 < theta < 1 of a step that was tried with `keep`."""

    def accept(self, state: Any, proposal: Proposal) -> Any:
        """The state after the proposed step, its layout brought up to date."""

    def row_sums(self, state: Any) -> RowSums:
        """Norms, non-zeros and speeds of the rows."""

    def dump(self, state: Any) -> dict[str, np.ndarray]:
        """The state as arrays, for :meth:`load`."""

    def load(self, arrays: Mapping[str, np.ndarray]) -> Any:
        """The state that was dumped, bit for bit; nothing is laid out anew."""

    def copy(self) -> Backend:
        """A backend that goes on from the same states, with the same bits, on its own."""


@dataclass(frozen=True)
class NumbaBackend:
    """A scheme on a field that is sampled by the Numba kernels."""

    field: Field
    scheme: Scheme

    @property
    def evaluations(self) -> int:
        return self.field.evaluations

    def init(self, W: np.ndarray) -> State:
        return self.field.init(W)

    def try_step(self, state: State, h: float, rtol: float, *, keep: bool) -> Proposal:
        proposal = self.scheme.propose(self.field, state, h, rtol)
        return proposal if keep else proposal._replace(mean=None)

    def inside(
        self, state: State, proposal: Proposal, h: float, theta: float, rtol: float
    ) -> np.ndarray:
        W = self.scheme.inside(self.field, state, proposal, h, theta, rtol)
        return state.layout.scatter(W, self.field.m)

    def accept(self, state: State, proposal: Proposal) -> State:
        return self.field.settle(
            state.layout, proposal.W, proposal.C, proposal.coupling, proposal.outside
        )

    def row_sums(self, state: State) -> RowSums:
        return self.field.row_sums(state)

    def dump(self, state: State) -> dict[str, np.ndarray]:
        layout = state.layout
        arrays = {
            "start": layout.start,
            "neurons": layout.neurons,
            "W": state.W,
            "C": state.C,
            **state.coupling._asdict(),
            "stiffness": np.array(state.stiffness),
            "evaluations": np.array(self.evaluations),
        }
        return arrays if layout.column is None else {**arrays, "column": layout.column}

    def load(self, arrays: Mapping[str, np.ndarray]) -> State:
        self.field.evaluations = int(arrays["evaluations"])
        start, neurons, column = arrays["start"], arrays["neurons"], arrays.get("column")
        layout = Layout(start, neurons, column, None)
        if column is not None:
            layout = layout._replace(by_neuron=by_neuron(start, column, neurons.size))
        coupling = Coupling(*(arrays[name] for name in Coupling._fields))
        return State(layout, arrays["W"], arrays["C"], coupling, float(arrays["stiffness"]))

    def copy(self) -> NumbaBackend:
        return NumbaBackend(self.field.copy(), self.scheme)
