"""What a run asks of the backend that computes for it.

The driver's loop is a generator: it yields one of these and is sent the answer, so that one loop
serves a run on its own and many runs that are computed together.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np


class Place(NamedTuple):
    """Wanted: the state at W : (n, m), in a layout that depends on W alone."""

    W: np.ndarray


class Attempt(NamedTuple):
    """Wanted: what the scheme proposes after a step."""

    state: Any
    step: float
    rtol: float


class Renew(NamedTuple):
    """Wanted: the same state in the layout that depends on its W alone."""

    state: Any


Request = Place | Attempt | Renew


class Computer(Protocol):
    """What the driver's loop needs besides the answers to its requests."""

    evaluations: int

    def settle(self, state: Any, outside: Any) -> bool | None:
        """Bring a state up to date that took over a proposal; whether it should be renewed."""
        ...

    def row_sums(self, state: Any) -> np.ndarray: ...
