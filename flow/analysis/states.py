"""What is measured on a W : (n, m): end states of features, use of neurons, winners.

Everything here reads exact zeros: a weight is on its neuron if it is not 0. Rows are features,
columns are neurons. Sources: paper, sections 1.1 and 2.5; theory/README, section 4.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.forces import Force, velocity
from flow.initial import check_weights

AUTHORS_WINDOW = (0.8, 1.2)
"""Range of |W_ik| in which the paper's figure 3 counts a feature as being on a neuron."""


class FeatureState(enum.Enum):
    """Where a feature has ended up; exclusive and complete."""

    DEAD = "dead: every weight is zero"
    MONOSEMANTIC = "monosemantic: on one neuron, which it has to itself"
    SHARING = "sharing: on one neuron, with other features on it"
    SPREAD = "spread: on several neurons"
    NOT_CONVERGED = "not converged: its weights still move"


class NeuronState(enum.Enum):
    """How many features are on a neuron; exclusive and complete."""

    UNUSED = "unused: no feature"
    ONE = "one feature"
    TWO = "two features"
    MORE = "more than two features"


@dataclass(frozen=True)
class EndStates:
    """The class of every feature and of every neuron of a W."""

    features: NDArray[np.object_]
    """(n,) of :class:`FeatureState`."""
    neurons: NDArray[np.object_]
    """(m,) of :class:`NeuronState`."""

    def counts(self) -> dict[FeatureState, int]:
        """Features in each state; the numbers add up to n."""
        return {state: int(np.sum(self.features == state)) for state in FeatureState}

    def neuron_counts(self) -> dict[NeuronState, int]:
        """Neurons in each state; the numbers add up to m."""
        return {state: int(np.sum(self.neurons == state)) for state in NeuronState}


def end_states(
    W: np.ndarray, *, residuals: np.ndarray | None = None, tolerance: float | None = None
) -> EndStates:
    """Classify the features and neurons of W : (n, m) by exact non-zeros.

    A feature whose entry of `residuals` : (n,), the largest |dW_ik/dt| of its row
    (:func:`row_residuals`), is not ≤ `tolerance` is NOT_CONVERGED whatever its weights; without
    residuals the question is not asked, unless the row has NaN or infinity in it. A converged
    feature on one neuron is SHARING if any other feature, converged or not, is there too.

    Raises ValueError for a W that is not (n, m), residuals that are not (n,), or only one of
    residuals and tolerance. Source: theory/README, section 4.
    """
    W = check_weights(W, finite=False, floats=False)
    if (residuals is None) != (tolerance is None):
        raise ValueError(
            "expected residuals and tolerance together, got only one of them; pass "
            "row_residuals(forces, W) and the largest |dW/dt| that counts as rest"
        )
    on = W != 0.0
    width = np.count_nonzero(on, axis=1)
    load = np.count_nonzero(on, axis=0)
    alone = load[np.argmax(on, axis=1)] == 1
    features = np.full(W.shape[0], FeatureState.SPREAD, dtype=object)
    features[width == 0] = FeatureState.DEAD
    features[(width == 1) & alone] = FeatureState.MONOSEMANTIC
    features[(width == 1) & ~alone] = FeatureState.SHARING
    if residuals is not None:
        residuals = np.asarray(residuals)
        if residuals.shape != (W.shape[0],):
            raise ValueError(
                f"expected one residual per feature, ({W.shape[0]},), got shape "
                f"{residuals.shape}; pass row_residuals(forces, W)"
            )
        # not (<=) so that NaN counts as moving
        features[~(residuals <= tolerance)] = FeatureState.NOT_CONVERGED
    features[~np.isfinite(W).all(axis=1)] = FeatureState.NOT_CONVERGED
    neurons = np.full(W.shape[1], NeuronState.MORE, dtype=object)
    for features_on, state in enumerate((NeuronState.UNUSED, NeuronState.ONE, NeuronState.TWO)):
        neurons[load == features_on] = state
    return EndStates(features, neurons)


def row_residuals(forces: Sequence[Force], W: np.ndarray) -> np.ndarray:
    """max_k |dW_ik/dt| of every row of W : (n, m), shape (n,), in weight per flow time.

    dW/dt is that of :func:`flow.forces.velocity`, right at zero.
    """
    return np.asarray(np.max(np.abs(velocity(forces, check_weights(W, floats=False))), axis=1))


def is_polysemantic(W: np.ndarray) -> NDArray[np.bool_]:
    """(m,) whether two or more features are on the neuron: non-zero, or true, in W : (n, m)."""
    return np.asarray(np.count_nonzero(W, axis=0) >= 2)


def polysemantic_neurons(W: np.ndarray, *, window: tuple[float, float] | None = None) -> int:
    """Number of neurons with at least two features on them.

    A feature is on a neuron if its weight W_ik is not 0 or, with `window` = (low, high), if
    low ≤ |W_ik| ≤ high; :data:`AUTHORS_WINDOW` is the paper's. Raises ValueError for a W that is
    not a finite (n, m) array or a window that is not 0 < low ≤ high.
    Source: paper, section 2.5 and figure 3; theory/README, sections 4 and 7.
    """
    W = check_weights(W, floats=False)
    if window is None:
        on = W != 0.0
    else:
        low, high = window
        if not 0.0 < low <= high:
            raise ValueError(f"expected a window 0 < low <= high, got {window}; try (0.8, 1.2)")
        size = np.abs(W)
        on = (low <= size) & (size <= high)
    return int(np.sum(is_polysemantic(on)))


@dataclass(frozen=True)
class Winners:
    """For every feature the coordinate that is largest at the end, and where it started."""

    neuron: NDArray[np.int64]
    """(n,) neuron of the largest |W_ik| at the end; −1 for a dead feature."""
    sign: NDArray[np.int64]
    """(n,) its sign at the end, ±1; 0 for a dead feature."""
    initial_rank: NDArray[np.int64]
    """(n,) 1 + number of initial weights of the row larger in size than it; 0 for a dead
    feature."""
    kept_sign: NDArray[np.bool_]
    """(n,) whether its sign at the end is the one it started with; False for a dead feature."""

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(n,) features that have a winner."""
        return self.neuron >= 0

    @property
    def largest_stayed(self) -> NDArray[np.bool_]:
        """(n,) whether the initially largest weight won, with the sign it had."""
        return np.asarray((self.initial_rank == 1) & self.kept_sign)


def winners(W0: np.ndarray, W: np.ndarray) -> Winners:
    """The winner of every feature of a run from W0 to W, both (n, m).

    Of several weights that are equal and largest at the end the first counts. Raises ValueError
    for arrays that are not finite or not of one shape. Source: paper, section 2.4;
    theory/README, section 4.
    """
    W0, W = check_weights(W0, name="W0", floats=False), check_weights(W, floats=False)
    if W0.shape != W.shape:
        raise ValueError(
            f"expected W0 and W of one shape, got {W0.shape} and {W.shape}; pass the first and "
            f"the last weights of one run"
        )
    rows = np.arange(W.shape[0])
    neuron = np.argmax(np.abs(W), axis=1)
    sign = np.sign(W[rows, neuron]).astype(np.int64)
    size = np.abs(W0)
    rank = 1 + np.count_nonzero(size > size[rows, neuron][:, None], axis=1)
    alive = sign != 0
    return Winners(
        neuron=np.where(alive, neuron, -1),
        sign=sign,
        initial_rank=np.where(alive, rank, 0),
        kept_sign=alive & (sign == np.sign(W0[rows, neuron])),
    )
