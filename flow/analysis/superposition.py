"""Superposition and polysemanticity, measured apart.

Superposition is a matter of directions: features whose encodings are not orthogonal. Polysemantic
neurons are a matter of the basis: features that use one neuron. Turning all encodings together,
W → WR with R orthogonal, changes the second but not the first, and either can be without the
other: two orthogonal encodings may both spread over two neurons (no superposition, two polysemantic
neurons). So the measures come in two groups, :class:`Geometry`, which is the same for W and WR,
and :class:`Alignment`, which is not. Any n and m, m < n too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.initial import check_weights

Floats = NDArray[np.float64]

REPRESENTED_ABOVE = 0.5
"""‖W_i‖² above which a feature counts as represented: its own output is then over one half."""


@dataclass(frozen=True)
class Geometry:
    """Rotation-invariant: what depends on G = W Wᵀ alone, and so not on the choice of neurons."""

    squared_norm: Floats
    """(n,) ‖W_i‖²."""
    dimensionality: Floats
    """(n,) ‖W_i‖² / Σ_j (Ŵ_i·W_j)², between 0 and 1: the share of a dimension that feature i
    has to itself, also called its capacity; 0 for a dead feature. The sum over i is at most the
    rank of W."""
    interference: Floats
    """(n,) Σ_{j≠i} ReLU(G_ij)²: what overlap costs in the loss. Overlaps < 0 cost nothing."""
    coherence: float
    """max_{i≠j} |Ŵ_i·Ŵ_j|, between 0 and 1, over features that are not dead; 0 if there are
    fewer than two."""
    represented: int
    """Number of features with ‖W_i‖² above :data:`REPRESENTED_ABOVE`. More than m of them cannot
    be represented without superposition."""


@dataclass(frozen=True)
class Alignment:
    """Basis-dependent: how features are spread over neurons."""

    neuron_index: Floats
    """(m,) max_i W_ik² / ‖W_·k‖²: 1 for a neuron with one feature, down to 1/n; NaN where the
    neuron is unused."""
    features_per_neuron: Floats
    """(m,) participation ratio (Σ_i W_ik²)² / Σ_i W_ik⁴: effective number of features on the
    neuron; 0 where it is unused."""
    neurons_per_feature: Floats
    """(n,) participation ratio ‖W_i‖₂⁴ / ‖W_i‖₄⁴: effective number of neurons of the feature;
    0 where it is dead."""


def geometry(W: np.ndarray) -> Geometry:
    """The rotation-invariant measures of W : (n, m).

    D_i = ‖W_i‖² / Σ_j (Ŵ_i·W_j)² = G_ii² / (G²)_ii. Raises ValueError for a W that is not finite
    and (n, m). Sources: dimensionality, Elhage et al. 2022 (Toy models of superposition);
    capacity, Scherlis et al. 2022; interference, paper, section 2.3.
    """
    W = check_weights(W, floats=False).astype(np.float64)
    G = W @ W.T
    squared = np.diagonal(G).copy()
    dimensionality = _ratio(squared**2, (G**2).sum(axis=1))
    size = np.sqrt(squared)
    cosine = np.abs(_ratio(G, np.outer(size, size)))
    np.fill_diagonal(cosine, 0.0)
    overlap = np.maximum(G, 0.0)
    np.fill_diagonal(overlap, 0.0)
    return Geometry(
        squared_norm=squared,
        dimensionality=dimensionality,
        interference=(overlap**2).sum(axis=1),
        coherence=float(cosine.max()),
        represented=int(np.sum(squared > REPRESENTED_ABOVE)),
    )


def alignment(W: np.ndarray) -> Alignment:
    """The basis-dependent measures of W : (n, m).

    Raises ValueError for a W that is not finite and (n, m). Source: the participation ratio of a
    row is the inverse of the paper's fourth norm of an encoding of unit length (section 3).
    """
    squares = check_weights(W, floats=False).astype(np.float64) ** 2
    load, weight = squares.sum(axis=0), squares.sum(axis=1)
    return Alignment(
        neuron_index=_ratio(squares.max(axis=0), load, empty=np.nan),
        features_per_neuron=_ratio(load**2, (squares**2).sum(axis=0)),
        neurons_per_feature=_ratio(weight**2, (squares**2).sum(axis=1)),
    )


def _ratio(top: Floats, bottom: Floats, *, empty: float = 0.0) -> Floats:
    """top/bottom, `empty` where bottom is zero."""
    return np.divide(top, bottom, out=np.full(top.shape, empty), where=bottom != 0.0)
