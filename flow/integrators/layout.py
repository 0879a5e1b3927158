"""Where the weights are stored: dense while W is full, a list of entries per row once few are left.

A :class:`State` holds W and its drift C, dW_i/dt = (growth − ρ_i) W_i − C_i − λ·sign W_i with C_i
perpendicular to W_i, as flat arrays in a :class:`Layout`. Neurons that are zero in every row are
dropped for good where no force can revive them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flow.kernels import interference as kernels
from flow.kernels.interference import Coupling

COMPACT_BELOW = 0.75
"""A layout is narrowed when this share of its neurons, or less, is still in use."""


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
        """Features."""
        return self.start.size - 1

    @property
    def width(self) -> int:
        """Neurons that are in use."""
        return self.neurons.size

    @property
    def size(self) -> int:
        """Entries that are stored."""
        return int(self.start[-1])

    def scatter(self, W: np.ndarray, m: int) -> np.ndarray:
        """The (n, m) array of the entries W : (entries,), every neuron in its place."""
        full = np.zeros((self.n, m), W.dtype)
        if self.column is None:
            full[:, self.neurons] = W.reshape(self.n, self.width)
        else:
            rows = np.repeat(np.arange(self.n), np.diff(self.start))
            full[rows, self.neurons[self.column]] = W
        return full


def dense_layout(n: int, neurons: np.ndarray) -> Layout:
    """Every row with all of `neurons`."""
    return Layout(np.arange(n + 1, dtype=np.int64) * neurons.size, neurons, None, None)


def sparse_layout(start: np.ndarray, column: np.ndarray, neurons: np.ndarray) -> Layout:
    """Entries row by row, without the neurons that have none if that is worth it."""
    used = np.bincount(column, minlength=neurons.size) > 0
    if used.sum() <= COMPACT_BELOW * neurons.size:
        position = np.cumsum(used) - 1
        column, neurons = position[column].astype(np.int32), neurons[used]
    return Layout(start, neurons, column, by_neuron(start, column, neurons.size))


def by_neuron(
    start: np.ndarray, column: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The entries of a sparse layout neuron by neuron: offsets, rows, entries."""
    offsets = np.empty(width + 1, np.int64)
    rows, entries = np.empty(column.size, np.int32), np.empty(column.size, np.int64)
    kernels.index_neurons(start, column, np.empty(width, np.int64), offsets, rows, entries)
    return offsets, rows, entries


@dataclass(frozen=True)
class State:
    """Where a run is. It is never changed: a step makes a new one."""

    layout: Layout
    W: np.ndarray
    """(entries,)"""
    C: np.ndarray
    """(entries,) drift, without its radial part."""
    coupling: Coupling
    stiffness: float
    """Upper estimate of the fastest rate of the drift, 1/time."""

    def dense(self, m: int) -> np.ndarray:
        """W : (n, m) with every neuron in its place."""
        return self.layout.scatter(self.W, m)
