"""Film: weights picked up along a run for its pictures, without making it stop for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FRAMES = 96
"""Most frames that are kept."""
BYTES = 2**27
"""Most memory that they take."""


def film_rows(n: int, m: int) -> int:
    """How many features of W : (n, m) a film keeps."""
    return min(n, max(1, BYTES // (4 * FRAMES * m)))


def film_bytes(n: int, m: int) -> int:
    """Bytes that a film of W : (n, m) takes at its most: frames, the array of them, its sizes."""
    return 3 * 4 * (FRAMES + 1) * film_rows(n, m) * m


class Film:
    """Keeps float32 copies of W evenly spaced in the logarithm of time since the start.

    Give it to :func:`flow.driver.integration.integrate` as `watch`. Steps are not changed by it.
    Whenever more than FRAMES are held, every second one is dropped. Where all rows at all times
    would take more than BYTES, only evenly spaced rows are kept.

    n, m : features and neurons of the run.
    """

    def __init__(self, n: int, m: int) -> None:
        self.rows = np.unique(np.linspace(0, n - 1, film_rows(n, m)).round().astype(np.int64))
        """(r,) features that are kept."""
        self._times: list[float] = []
        self._frames: list[np.ndarray] = []
        self._ratio = 1.02
        self._next = 0.0

    def __call__(self, t: float, weights: Callable[[], np.ndarray]) -> None:
        if self._times and t - self._times[0] < self._next:
            return
        self._keep(t, weights())
        self._next = (t - self._times[0]) * self._ratio
        if len(self._times) > FRAMES:
            self._times, self._frames = self._times[::2], self._frames[::2]
            self._ratio **= 2

    def finish(self, t: float, W: np.ndarray) -> None:
        """Add the end of the run, if it is not there yet."""
        if not self._times or self._times[-1] < t:
            self._keep(t, W)

    def _keep(self, t: float, W: np.ndarray) -> None:
        self._times.append(t)
        self._frames.append(W[self.rows].astype(np.float32))

    @property
    def times(self) -> np.ndarray:
        """(k,) flow times of the frames."""
        return np.array(self._times)

    @property
    def weights(self) -> np.ndarray:
        """(k, r, m) frames."""
        return np.stack(self._frames)
