"""What happened in a run, and when: deaths, revivals, collisions, plateau and collapse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flow.analysis.pairs import follow_collisions
from flow.explore.frames import Frames
from flow.results.trajectory import Trajectory

BINS = 60
MOST_MOMENTS = 400
"""Deaths and revivals that are marked one by one: the last ones."""
SHOULDER = 0.75
"""Share of the neurons below which non-zeros have begun to fall."""
FLAT, STEEP = 0.35, 2.0
"""|d ln m'/d ln t| below which non-zeros stand on a plateau, and above which they collapse."""


@dataclass(frozen=True)
class Rates:
    """Deaths and revivals of weights over time."""

    edges: NDArray[np.float64]
    """(BINS + 1,) flow times, evenly spaced in the logarithm."""
    deaths: NDArray[np.int64]
    revivals: NDArray[np.int64]


def rates(parts: Sequence[Trajectory], first: float, last: float) -> Rates:
    """Deaths and revivals in bins from `first` > 0 to `last`; what came earlier is in the first."""
    edges = np.geomspace(first, max(last, first * 1.01), BINS + 1)

    def counted(name: str) -> NDArray[np.int64]:
        times = np.concatenate([getattr(part.events, name).time for part in parts])
        return np.histogram(np.clip(times, first, edges[-1]), edges)[0]

    return Rates(edges, counted("extinctions"), counted("revivals"))


class Moments(NamedTuple):
    """Single deaths and revivals of weights, in the order of time; arrays of shape (k,)."""

    time: NDArray[np.float64]
    feature: NDArray[np.int64]
    neuron: NDArray[np.int64]
    died: NDArray[np.bool_]
    """Whether the weight reached zero; else it left it."""


def moments(parts: Sequence[Trajectory], most: int = MOST_MOMENTS) -> Moments:
    """The last `most` deaths and revivals of a run: before them there are too many to be told
    apart."""
    found = [(part.events.extinctions, True) for part in parts]
    found += [(part.events.revivals, False) for part in parts]
    columns = [
        np.concatenate([getattr(events, name) for events, _ in found])
        for name in ("time", "feature", "neuron")
    ]
    died = np.concatenate([np.full(events.time.size, which) for events, which in found])
    last = np.argsort(columns[0], kind="stable")[-most:]
    return Moments(*(column[last] for column in (*columns, died)))


class Meeting(NamedTuple):
    """A collision: two features on one neuron."""

    began: float
    """Flow time at which both weights were first seen above MET."""
    ended: float
    """Flow time at which one of the two had left; infinity where none did."""
    first: int
    second: int
    neuron: int
    benign: bool
    """Whether the signs are opposite."""


def meetings(frames: Frames) -> list[Meeting]:
    """The collisions of a run, in the order in which they began."""
    found = follow_collisions(frames.times, frames.weights, found=frames.collisions)
    met = found.met
    rows = zip(
        found.time.tolist(), found.ended.tolist(), met.first.tolist(), met.second.tolist(),
        met.neuron.tolist(), met.benign.tolist(), strict=True,
    )  # fmt: skip
    return sorted(Meeting(*row) for row in rows)


class Span(NamedTuple):
    """A stretch of time that has a name."""

    began: float
    ended: float
    name: str
    """plateau or collapse."""


def spans(times: np.ndarray, survivors: np.ndarray) -> list[Span]:
    """The plateau of non-zeros per feature, and the collapse that ends it.

    m' falls as 1/t² without interference. A plateau is where it has stopped falling, below SHOULDER
    of m and above two, for at least a factor of 2 in time; a collapse is where it then falls faster
    than 1/t². Source: theory/README, section 3.

    times, survivors : (k,) flow times and mean m'.
    """
    inside = (times > 0.0) & (survivors > 2.0) & (survivors < SHOULDER * survivors[0])
    if inside.sum() < 8:
        return []
    t = np.geomspace(times[inside][0], times[inside][-1], 200)
    # Over a fifth of the time each: m' is a mean over few features, and falls in steps.
    later, earlier = (np.interp(t * side, times, survivors) for side in (1.2**0.5, 1.2**-0.5))
    slope = np.log(later / earlier) / np.log(1.2)
    flat = max(_runs(slope > -FLAT), key=lambda run: run[1] - run[0], default=(0, 0))
    if flat[1] - flat[0] < 2 or t[flat[1] - 1] < 2.0 * t[flat[0]]:
        return []
    found = [Span(float(t[flat[0]]), float(t[flat[1] - 1]), "plateau")]
    steep = [run for run in _runs(slope < -STEEP) if run[0] >= flat[1] - 1]
    if steep:
        found.append(Span(float(t[steep[0][0]]), float(t[steep[-1][1] - 1]), "collapse"))
    return found


def _runs(true: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where an array is true without a break: first, and one past the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], true.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
