"""What was measured along a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flow.results.describe import describe_observables


@dataclass(frozen=True, eq=False, repr=False)
class Observables:
    """What was measured at every accepted step (exact backend: at its own times)."""

    times: np.ndarray
    """(k,) flow time."""
    l1: np.ndarray
    """(k, n) ‖W_i‖₁."""
    l2: np.ndarray
    """(k, n) ‖W_i‖₂."""
    l4: np.ndarray
    """(k, n) ‖W_i‖₄⁴, the paper's fourth norm."""
    nonzeros: np.ndarray
    """(k, n) number of non-zero weights."""
    energy: Mapping[str, np.ndarray]
    """(k,) energy of each force, by its name."""
    dissipation: np.ndarray
    """(k,) ‖dW/dt‖², the rate at which the total energy falls."""

    @property
    def total_energy(self) -> np.ndarray:
        """(k,) sum over the forces."""
        return np.sum([np.zeros_like(self.times), *self.energy.values()], axis=0)

    def __repr__(self) -> str:
        return describe_observables(self)
