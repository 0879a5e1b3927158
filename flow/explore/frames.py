"""W and G = W Wᵀ along a run, 8 bits an entry: what a browser needs to scrub through it by itself.

A code is 128 for an exact zero and 128 ± q, q = 1 … 127, for the rest, with

    |w| = REACH ((q − 1)/126)²

so that 0.1 is seen beside 1, a small weight never looks like none, and colours mean the same in
every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flow.analysis.pairs import Collisions, collisions
from flow.analysis.states import AUTHORS_WINDOW, is_polysemantic, polysemantic_neurons

REACH = 1.25
"""Size of the largest weight that has a code of its own."""
ZERO = 128
MET = 0.5
"""Size of both weights from which two features on one neuron are a collision that is marked."""
MOST_BYTES = 8 * 2**20
"""Of the codes of W and G of one run."""
HELD_BYTES = 2**26
"""Of the weights that are held while it goes on."""
MOST_FRAMES = 128

Codes = NDArray[np.uint8]


def encode(values: np.ndarray) -> Codes:
    """Codes of weights, of any shape."""
    # In place: copies of all frames of a run cost more than what is computed on them.
    q = np.abs(values) * (126.0**2 / REACH)
    np.minimum(q, 126.0**2, out=q)
    np.sqrt(q, out=q)
    np.rint(q, out=q)
    q += 1.0
    q *= values != 0.0
    np.copysign(q, values, out=q)
    q += ZERO
    return q.astype(np.uint8)


def decode(codes: Codes) -> NDArray[np.float64]:
    """The weights that codes stand for, to 1/126 of the root of REACH."""
    q = codes.astype(float) - ZERO
    return np.asarray(np.sign(q) * REACH * ((np.maximum(np.abs(q), 1.0) - 1.0) / 126.0) ** 2)


def thinned(times: Sequence[float], most: int, landmarks: Sequence[float] = ()) -> list[int]:
    """Indices of at most `most` of increasing times, evenly spaced in the logarithm.

    The first, the last and landmarks stay.
    """
    count = len(times)
    if count <= most:
        return list(range(count))
    t = np.asarray(times)
    first = t[t > t[0]][0] - t[0]
    scale = np.log(np.maximum(t - t[0], 0.5 * first))
    fixed = {0, count - 1, *np.flatnonzero(np.isin(t, landmarks)).tolist()}
    wanted = np.linspace(scale[0], scale[-1], max(2, most - len(fixed)))
    nearest = np.abs(scale[:, None] - wanted[None, :]).argmin(axis=0)
    return sorted(fixed | set(nearest.tolist()))


@dataclass
class FrameRecorder:
    """Holds W at accepted steps, as float32, and what is counted on it, while a run goes on."""

    most: int
    """Frames that are kept; twice as many are held."""
    times: list[float] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    """Polysemantic neurons by exact zeros, before float32 makes zeros of the smallest weights."""
    landmarks: list[float] = field(default_factory=list)

    @classmethod
    def of_size(cls, n: int, m: int) -> FrameRecorder:
        """One for runs with W : (n, m)."""
        return cls(int(np.clip(HELD_BYTES // (4 * n * m), 16, MOST_FRAMES)))

    def add(self, t: float, W: np.ndarray, *, landmark: bool = False) -> None:
        """Keep W : (n, m) at flow time t; it replaces what was kept of the same time."""
        if self.times and t <= self.times[-1]:
            self.times.pop(), self.weights.pop(), self.counts.pop()
        self.times.append(t)
        with np.errstate(over="ignore"):
            self.weights.append(W.astype(np.float32))
        finite = bool(np.isfinite(self.weights[-1]).all())
        self.counts.append(int(np.sum(is_polysemantic(W != 0.0))) if finite else 0)
        if landmark:
            self.landmarks.append(t)
        if len(self.times) > 2 * self.most:
            self._keep(thinned(self.times, self.most, self.landmarks))

    def frames(self) -> Frames:
        """What is shown of it."""
        (n, m), held = self.weights[-1].shape, len(self.weights)
        shown = np.arange(m)
        if held * n * (m + n) > MOST_BYTES:
            shown = _most_alive(self.weights[-1], MOST_BYTES // held - n**2)
        most = max(2, min(self.most, MOST_BYTES // (n * shown.size + n**2)))
        kept = thinned(self.times, most, self.landmarks)
        W = self._padded(kept)
        if not np.isfinite(W).all():
            W = np.nan_to_num(W)
        return Frames(
            times=np.array(self.times)[kept],
            weights=W,
            W=encode(W if shown.size == m else W[:, :, shown]),
            neurons=shown,
            count=np.array(self.counts)[kept],
            window=np.array([polysemantic_neurons(w, window=AUTHORS_WINDOW) for w in W]),
        )

    def _keep(self, kept: list[int]) -> None:
        for name in ("times", "weights", "counts"):
            held = getattr(self, name)
            setattr(self, name, [held[k] for k in kept])

    def _padded(self, kept: list[int]) -> np.ndarray:
        """Frames with as many neurons as the last, which has copies that others have not."""
        n, m = self.weights[-1].shape
        W = np.empty((len(kept), n, m), np.float32)
        for frame, k in zip(W, kept, strict=True):
            held = self.weights[k]
            frame[:, : held.shape[1]] = held
            frame[:, held.shape[1] :] = 0.0
        return W


@dataclass(frozen=True)
class Frames:
    """What is shown of W along a run."""

    times: NDArray[np.float64]
    """(k,) flow times."""
    weights: NDArray[np.float32]
    """(k, n, m)."""
    W: Codes
    """(k, n, s) codes of the neurons that are shown."""
    neurons: NDArray[np.int64]
    """(s,) which neurons are shown: all, or where they are too many those that live at the end and
    evenly spaced ones."""
    count: NDArray[np.int64]
    """(k,) polysemantic neurons by exact zeros."""
    window: NDArray[np.int64]
    """(k,) neurons with two features of 0.8 ≤ |W| ≤ 1.2, as the paper counts."""

    @cached_property
    def overlaps(self) -> NDArray[np.float32]:
        """(k, n, n) G = W Wᵀ: made when it is first asked for, for W is shown before it."""
        return self.weights @ self.weights.transpose(0, 2, 1)

    @cached_property
    def G(self) -> Codes:
        """(k, n, n) codes of the overlaps."""
        return encode(self.overlaps)

    @cached_property
    def collisions(self) -> list[Collisions]:
        """(k,) the collisions of each W with weights above MET."""
        return [collisions(W, threshold=MET) for W in self.weights]


def _most_alive(W: np.ndarray, most: int) -> NDArray[np.int64]:
    """Neurons that live in W : (n, m), and evenly spaced others, of `most` weights."""
    alive = np.flatnonzero(W.any(axis=0))
    others = np.flatnonzero(~W.any(axis=0))
    room = most // W.shape[0] - alive.size
    # A quarter of the room that is left shows what dies; the rest is for frames.
    extra = others[:: max(1, -(-others.size // max(1, room // 4)))] if room >= 4 else others[:0]
    found = np.sort(np.concatenate([alive, extra]))
    return found if found.size else np.arange(min(W.shape[1], max(1, most // W.shape[0])))
