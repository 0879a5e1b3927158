"""Filming a run: which of its accepted steps become frames."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from flow.results.film import Film

FRAMES = 96
"""Most frames that are kept."""
KEPT_BYTES = 2**23
"""Most memory that the film of a saved run takes."""
SHOWN_BYTES = 2**27
"""Most memory that a film to be shown takes, with more rows."""


def film_bytes(n: int, m: int, most: int) -> int:
    """What a film of a run with W : (n, m) takes at its most."""
    return 4 * FRAMES * m * _rows_kept(n, m, most)


def _rows_kept(n: int, m: int, most: int) -> int:
    return min(n, max(1, most // (4 * FRAMES * m)))


class FilmRecorder:
    """Keeps float32 copies of W evenly spaced in the logarithm of time since the start.

    Steps are not changed by it. Whenever more than FRAMES are held, every second one is dropped.
    Where all rows at all times would take more than `most` bytes, only evenly spaced ones are kept.

    n, m : features and neurons of the run.
    """

    def __init__(self, n: int, m: int, *, most: int = KEPT_BYTES) -> None:
        count = _rows_kept(n, m, most)
        self._rows = np.unique(np.linspace(0, n - 1, count).round().astype(np.int64))
        self._times: list[float] = []
        self._frames: list[np.ndarray] = []
        self._ratio = 1.02
        self._next = 0.0

    def add(self, t: float, weights: Callable[[], np.ndarray]) -> None:
        """Look at a run at flow time t, where weights() makes W : (n, m)."""
        if self._times and t - self._times[0] < self._next:
            return
        self._keep(t, weights())
        self._next = (t - self._times[0]) * self._ratio
        if len(self._times) > FRAMES:
            self._times, self._frames = self._times[::2], self._frames[::2]
            self._ratio **= 2

    def copy(self) -> FilmRecorder:
        """The same film, to be gone on with on its own."""
        twin = copy.copy(self)
        twin._times, twin._frames = list(self._times), list(self._frames)
        return twin

    def film(self, t: float, W: np.ndarray) -> Film:
        """All frames, and W : (n, m) at the end t of the run."""
        twin = self.copy()
        if not twin._times or twin._times[-1] < t:
            twin._keep(t, W)
        return Film(np.array(twin._times), twin._rows, np.stack(twin._frames))

    def _keep(self, t: float, W: np.ndarray) -> None:
        self._times.append(t)
        with np.errstate(over="ignore"):  # weights beyond float32 are not drawn
            self._frames.append(W[self._rows].astype(np.float32))
