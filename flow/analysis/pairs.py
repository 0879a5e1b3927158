"""Collisions: pairs of features on one neuron, in a W or along a run, and what came of them.

A pair collides on neuron k where both |W_ik| and |W_jk| exceed a threshold (0: exact non-zeros).
With opposite signs the collision is benign: on its own it exerts no force, for the ReLU clips
G_ij < 0. With equal signs it is malign: both weights are pushed down. Three features on one
neuron are three collisions. Sources: paper, section 2.5; theory/README, section 3.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.analysis.states import is_polysemantic
from flow.initial import check_weights
from flow.results.events import Events


@dataclass(frozen=True)
class Collisions:
    """The collisions of a W, sorted by neuron, then by pair; each array has shape (k,)."""

    first: NDArray[np.int64]
    """Feature i."""
    second: NDArray[np.int64]
    """Feature j > i."""
    neuron: NDArray[np.int64]
    first_weight: NDArray[np.float64]
    """W_ik."""
    second_weight: NDArray[np.float64]
    """W_jk."""
    shared: NDArray[np.int64]
    """Number of neurons on which the pair collides; 1 is the paper's case."""

    @property
    def benign(self) -> NDArray[np.bool_]:
        """(k,) whether the signs are opposite."""
        return np.sign(self.first_weight) != np.sign(self.second_weight)


def collisions(W: np.ndarray, *, threshold: float = 0.0) -> Collisions:
    """Every collision of W : (n, m) with weights above the threshold in size.

    Its number grows as n²m/2 where W is full: use a threshold there, or
    :func:`largest_collisions`. Raises ValueError for a W that is not (n, m) or a threshold < 0.
    """
    return _census(*_above(W, threshold))


def largest_collisions(W: np.ndarray) -> Collisions:
    """Collisions of the largest weights: pairs whose argmax_k |W_ik| is the same neuron.

    What the paper counts at the start to predict the end. Rows that are zero collide with
    nothing; of weights that are equal and largest the first counts.
    Source: paper, section 2.5; theory/README, section 4.
    """
    W, on = _above(W, 0.0)
    largest = np.zeros_like(on)
    rows = np.arange(W.shape[0])
    largest[rows, np.argmax(np.abs(W), axis=1)] = True
    return _census(W, on & largest)


def _above(W: np.ndarray, threshold: float) -> tuple[np.ndarray, NDArray[np.bool_]]:
    W = check_weights(W, finite=False, floats=False)
    if not threshold >= 0.0:
        raise ValueError(f"expected a threshold >= 0, got {threshold!r}; 0 counts exact non-zeros")
    return W, np.abs(W) > threshold


def _census(W: np.ndarray, on: NDArray[np.bool_]) -> Collisions:
    shared_neurons = np.flatnonzero(is_polysemantic(on))
    neuron, row = np.nonzero(on[:, shared_neurons].T)
    # Each entry pairs with those that come after it on its neuron.
    later = np.cumsum(np.bincount(neuron))[neuron] - 1 - np.arange(neuron.size)
    first = np.repeat(np.arange(neuron.size), later)
    begins = np.repeat(np.cumsum(later) - later, later)
    second = first + 1 + np.arange(first.size) - begins
    i, j, neuron = row[first], row[second], shared_neurons[neuron[first]]
    met = np.unique(np.concatenate([i, j]))
    counted = on[met].astype(float)
    together = (counted @ counted.T).astype(np.int64)
    shared = together[np.searchsorted(met, i), np.searchsorted(met, j)]
    weights = (W[i, neuron].astype(float), W[j, neuron].astype(float))
    return Collisions(i, j, neuron, *weights, shared)


class Fate(enum.Enum):
    """What came of a collision; exclusive and complete."""

    BOTH_STAYED = "both features are still on the neuron"
    LARGER_STAYED = "the feature with the smaller weight left"
    SMALLER_STAYED = "the feature with the larger weight left"
    BOTH_LEFT = "both features left the neuron"


@dataclass(frozen=True)
class Fates:
    """Collisions and what came of them; arrays of shape (k,)."""

    met: Collisions
    """The collisions when they were first seen, with the weights of that time."""
    fate: NDArray[np.object_]
    """:class:`Fate`; larger and smaller are those of |W| when the collision was first seen."""

    def counts(self, *, benign: bool) -> dict[Fate, int]:
        """Fates of the benign, or of the malign, collisions."""
        kind = self.met.benign == benign
        return {fate: int(np.sum(kind & (self.fate == fate))) for fate in Fate}


@dataclass(frozen=True)
class History(Fates):
    """Collisions along a run, in the order in which they were met; arrays of shape (k,)."""

    time: NDArray[np.float64]
    """Flow time at which each was first seen."""
    first_left: NDArray[np.float64]
    """Flow time from which feature i is off the neuron for good; infinity if it stayed."""
    second_left: NDArray[np.float64]
    """The same for feature j."""

    @property
    def ended(self) -> NDArray[np.float64]:
        """(k,) flow time at which the first of the two left for good; infinity if none did."""
        return np.minimum(self.first_left, self.second_left)


def initial_collisions(W0: np.ndarray, W: np.ndarray) -> Fates:
    """Collisions of the largest weights of W0 : (n, m), and their fate at the end W : (n, m).

    A feature stays if its weight on the neuron is not zero at the end and has the sign it started
    with; equal weights count the first feature as larger. Raises ValueError for arrays that are
    not of one shape. Source: paper, section 2.5.
    """
    if np.shape(W0) != np.shape(W):
        raise ValueError(
            f"expected W0 and W of one shape, got {np.shape(W0)} and {np.shape(W)}; pass the first "
            f"and the last weights of one run"
        )
    met = largest_collisions(W0)
    first, second = (
        np.sign(W[feature, met.neuron]) == np.sign(weight)
        for feature, weight in ((met.first, met.first_weight), (met.second, met.second_weight))
    )
    return Fates(met, _fate(met, first, second))


def _fate(
    met: Collisions, first_stayed: NDArray[np.bool_], second_stayed: NDArray[np.bool_]
) -> NDArray[np.object_]:
    first_larger = np.abs(met.first_weight) >= np.abs(met.second_weight)
    one_left = first_stayed != second_stayed
    fate = np.full(first_larger.size, Fate.BOTH_LEFT, dtype=object)
    fate[first_stayed & second_stayed] = Fate.BOTH_STAYED
    fate[one_left & (first_stayed == first_larger)] = Fate.LARGER_STAYED
    fate[one_left & (first_stayed != first_larger)] = Fate.SMALLER_STAYED
    return fate


def follow_collisions(
    times: np.ndarray,
    weights: np.ndarray | Sequence[np.ndarray],
    *,
    threshold: float = 0.0,
    largest: bool = False,
    from_start: bool = False,
    events: Events | None = None,
    found: Sequence[Collisions] | None = None,
) -> History:
    """Meet every collision of a run and follow it to the end of the run.

    Parameters
    ----------
    times : (s,) increasing flow times.
    weights : (s, n, m), W at these times, such as ``traj.weights``.
    threshold : a collision is met at the first of the times at which both weights exceed it.
    largest : follow only collisions of largest weights (:func:`largest_collisions`); the
        threshold is then not used.
    from_start : follow only the collisions of the first W.
    events : log of the run; dates departures as well as it can. Without it a feature has left
        at the first of the times after which it is never seen on the neuron again.
    found : collisions of each W where they are known; threshold and the two choices are then not
        used.

    A feature stays if at the end its weight on the neuron is not zero and has the sign it met
    with. One pair on one neuron is met once as a benign and once as a malign collision at most;
    equal weights count the first feature as larger. Raises ValueError for times and weights that
    do not belong together, or a log without extinctions. Source: paper, section 2.5.
    """
    times = np.asarray(times, float)
    if times.ndim != 1 or len(times) != len(weights) or np.any(np.diff(times) <= 0.0):
        raise ValueError(
            f"expected increasing times, one for each W, got {times.shape} times and "
            f"{len(weights)} weights; pass traj.times and traj.weights"
        )
    if events is not None and not events.weights_logged:
        raise ValueError(
            "expected a log with extinctions, got one that is off; use integrate(..., events=True)"
        )
    if found is None:
        found = [
            largest_collisions(W) if largest else collisions(W, threshold=threshold)
            for W in (weights[:1] if from_start else weights)
        ]
    seen = np.concatenate([np.full(c.first.size, s) for s, c in enumerate(found)])
    columns = ("first", "second", "neuron", "first_weight", "second_weight", "shared")
    met = Collisions(*(np.concatenate([getattr(c, name) for c in found]) for name in columns))
    key = np.stack([met.first, met.second, met.neuron, met.benign], axis=1)
    keep = np.sort(np.unique(key, axis=0, return_index=True)[1])
    met = Collisions(*(getattr(met, name)[keep] for name in columns))
    left = [
        _departures(times, weights, feature, met.neuron, np.sign(weight), seen[keep], events)
        for feature, weight in ((met.first, met.first_weight), (met.second, met.second_weight))
    ]
    fate = _fate(met, *(np.isinf(gone) for gone in left))
    return History(met, fate, times[seen[keep]], *left)


def _departures(
    times: np.ndarray,
    weights: np.ndarray | Sequence[np.ndarray],
    feature: np.ndarray,
    neuron: np.ndarray,
    sign: np.ndarray,
    met: np.ndarray,
    events: Events | None,
) -> NDArray[np.float64]:
    """Time from which each (feature, neuron, sign) is gone for good; infinity if it is there."""
    last = met.copy()
    for s in range(len(times)):
        there = np.sign(weights[s][feature, neuron]) == sign
        last[there] = np.maximum(last[there], s)
    gone = last < len(times) - 1
    left = np.where(gone, times[np.minimum(last + 1, len(times) - 1)], np.inf)
    if events is not None:
        died = events.extinctions
        # In the order of time: a later extinction of the same weight replaces an earlier one.
        at = dict(
            zip(
                zip(died.feature.tolist(), died.neuron.tolist(), np.sign(died.value), strict=True),
                died.time.tolist(),
                strict=True,
            )
        )
        asked = zip(feature.tolist(), neuron.tolist(), sign.tolist(), strict=True)
        logged = np.array([at.get(which, np.inf) for which in asked])
        left = np.where(gone & np.isfinite(logged), logged, left)
    return left
