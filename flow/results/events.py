"""The event log: when weights died and revived, and when overlaps of features changed sign.

:class:`flow.driver.events.EventRecorder` writes it, off by default. Every support
{k : W_ik(t) ≠ 0} of the run at the end of an accepted step can be rebuilt from W0 and the log.

Resolution: an event is known to lie within its accepted step (t₀, t₁], whose length is recorded,
and is placed inside it by interpolation. A scheme that sees only the mean force over a step lets a
zero leave up to a step late, and the log says what the scheme did. A weight that dies and revives
with the same sign within one step, or revives and dies, leaves no trace. Source: theory/README,
sections 1, 2 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.results.describe import describe_events


def _floats() -> NDArray[np.float64]:
    return np.zeros(0)


def _integers() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class WeightEvents:
    """Deaths of weights, or revivals, in the order of time; each array has shape (events,)."""

    time: NDArray[np.float64] = field(default_factory=_floats)
    """Flow time."""
    feature: NDArray[np.int64] = field(default_factory=_integers)
    neuron: NDArray[np.int64] = field(default_factory=_integers)
    value: NDArray[np.float64] = field(default_factory=_floats)
    """The weight on its non-zero side: at the start of the step in which it died (exact backend:
    at the start of the run), at the end of the step in which it revived."""
    force: NDArray[np.float64] = field(default_factory=_floats)
    """Smooth force on that weight at the end of the step, without the growth of its row: what
    decides against λ whether a zero stays."""
    resolution: NDArray[np.float64] = field(default_factory=_floats)
    """Flow time within which the event is known: the length of its step."""


@dataclass(frozen=True, eq=False)
class OverlapEvents:
    """Changes of sign of G_ij = W_i·W_j, i < j, in the order of time; shapes (events,)."""

    time: NDArray[np.float64] = field(default_factory=_floats)
    """Flow time, from a straight line through G_ij at the ends of the step."""
    first: NDArray[np.int64] = field(default_factory=_integers)
    """i."""
    second: NDArray[np.int64] = field(default_factory=_integers)
    """j."""
    before: NDArray[np.int64] = field(default_factory=_integers)
    """Sign at the start of the step: −1, 0 or 1."""
    after: NDArray[np.int64] = field(default_factory=_integers)
    """Sign at its end."""
    resolution: NDArray[np.float64] = field(default_factory=_floats)
    """Length of the step."""


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """The event log of a run; what was not asked for is empty."""

    weights_logged: bool = False
    """Whether extinctions and revivals were recorded: empty does not mean that none happened."""
    overlaps_logged: bool = False
    """Whether changes of sign of overlaps were recorded."""
    extinctions: WeightEvents = field(default_factory=WeightEvents)
    """Weights that reached zero. One that goes straight through dies and revives at once."""
    revivals: WeightEvents = field(default_factory=WeightEvents)
    """Weights that left zero."""
    overlaps: OverlapEvents = field(default_factory=OverlapEvents)

    def __repr__(self) -> str:
        return describe_events(self)

    def ever_revived(self, feature: np.ndarray, neuron: np.ndarray) -> NDArray[np.bool_]:
        """Whether W_ik was zero at some time and left zero later, for each given (i, k).

        `feature` and `neuron` have one shape, which is that of the answer. Raises ValueError if
        the run did not record events.
        """
        if not self.weights_logged:
            raise ValueError(
                "expected a run that recorded its events, got one that did not; "
                "use integrate(..., events=True)"
            )
        seen = set(zip(self.revivals.feature.tolist(), self.revivals.neuron.tolist(), strict=True))
        asked = zip(np.ravel(feature).tolist(), np.ravel(neuron).tolist(), strict=True)
        return np.array([pair in seen for pair in asked], bool).reshape(np.shape(feature))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, by names such as ``extinctions.time``."""
        found = {
            "weights_logged": np.array(self.weights_logged),
            "overlaps_logged": np.array(self.overlaps_logged),
        }
        for name in ("extinctions", "revivals", "overlaps"):
            group = getattr(self, name)
            found |= {f"{name}.{f.name}": getattr(group, f.name) for f in fields(group)}
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Events:
        """The inverse of :meth:`arrays`; KeyError if one is missing."""

        def group(kind: type, name: str) -> Any:
            return kind(**{f.name: arrays[f"{name}.{f.name}"] for f in fields(kind)})

        return cls(
            weights_logged=bool(arrays["weights_logged"]),
            overlaps_logged=bool(arrays["overlaps_logged"]),
            extinctions=group(WeightEvents, "extinctions"),
            revivals=group(WeightEvents, "revivals"),
            overlaps=group(OverlapEvents, "overlaps"),
        )
