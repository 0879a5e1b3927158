"""What is kept of a run while it goes on: observables at every step, weights at chosen times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flow.forces import Force, Summary
from flow.integrators.noise import energy_of
from flow.kernels.rows import RowSums
from flow.results.observables import Observables


class Recorder:
    """Collects observables step by step."""

    def __init__(self, forces: Sequence[Force], m: int) -> None:
        self._forces = forces
        self.m = m
        self._times: list[float] = []
        self._sums: list[RowSums] = []
        self._energies: list[list[float]] = []

    def add(self, t: float, state: Any, sums: RowSums) -> None:
        """Record the state at flow time t."""
        summary = Summary(sums.l1, sums.squared_norm, state.coupling.squares)
        energies = []
        for force in self._forces:
            energy = force.energy_from(summary)
            if energy is None:
                energy = energy_of(force, state.dense(self.m))
            energies.append(energy)
        self._times.append(t)
        self._sums.append(sums)
        self._energies.append(energies)

    def copy(self) -> Recorder:
        """The same record, to be added to on its own."""
        twin = Recorder(self._forces, self.m)
        twin._times, twin._sums = list(self._times), list(self._sums)
        twin._energies = list(self._energies)
        return twin

    def collect(self) -> Observables:
        """Everything so far."""
        sums = RowSums(*(np.stack(part) for part in zip(*self._sums, strict=True)))
        energies = np.array(self._energies).reshape(len(self._times), len(self._forces))
        return Observables(
            times=np.array(self._times),
            l1=sums.l1,
            l2=np.sqrt(sums.squared_norm),
            l4=sums.l4,
            nonzeros=sums.nonzeros.astype(np.int64),
            energy=dict(zip(force_names(self._forces), energies.T, strict=True)),
            dissipation=sums.dissipation.sum(axis=1),
        )


def force_names(forces: Sequence[Force]) -> list[str]:
    """Force names, numbered where one occurs twice."""
    names = [type(force).__name__ for force in forces]
    return [
        name if names.count(name) == 1 else f"{name} {names[: k + 1].count(name)}"
        for k, name in enumerate(names)
    ]


@dataclass
class SavedStates:
    """Weights that were asked for."""

    times: list[float] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)

    def add(self, t: float, W: np.ndarray) -> None:
        """Keep W : (n, m), where the run was at flow time t."""
        self.times.append(t)
        self.weights.append(W)

    def copy(self) -> SavedStates:
        """The same, to be added to on its own."""
        return SavedStates(list(self.times), list(self.weights))
