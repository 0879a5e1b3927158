"""What a run asks of whatever computes its steps.

The driver's loop knows no arrays: it asks a :class:`Backend` for the state at some W, for the
proposal of a step, and for the state after a proposal that it accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from flow.integrators.field import Field
from flow.integrators.layout import State
from flow.integrators.schemes import Proposal, Scheme
from flow.kernels.rows import RowSums


class Backend(Protocol):
    """One run's steps. States are values: none that was handed out is changed later."""

    @property
    def evaluations(self) -> int:
        """Evaluations of the field so far."""

    def init(self, W: np.ndarray) -> Any:
        """The state at W : (n, m), in a layout that depends on W alone."""

    def try_step(self, state: Any, h: float, rtol: float) -> Proposal:
        """What the scheme proposes after a step of length h."""

    def accept(self, state: Any, proposal: Proposal) -> Any:
        """The state after the proposed step, its layout brought up to date."""

    def row_sums(self, state: Any) -> RowSums:
        """Norms, non-zeros and speeds of the rows."""


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

    def try_step(self, state: State, h: float, rtol: float) -> Proposal:
        return self.scheme.propose(self.field, state, h, rtol)

    def accept(self, state: State, proposal: Proposal) -> State:
        W, C, coupling, outside, _ = proposal
        return self.field.settle(state.layout, W, C, coupling, outside)

    def row_sums(self, state: State) -> RowSums:
        return self.field.row_sums(state)
