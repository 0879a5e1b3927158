"""How a run ended."""

from __future__ import annotations

import enum


class Status(enum.Enum):
    """How a run ended."""

    STATIONARY = "stationary: the flow has come to rest where it would stay"
    REACHED_T_END = "reached t_end"
    SADDLE = "saddle: at rest, but a direction of the non-zero weights still goes downhill"
    STOPPED = "not finished: stopped by the callback, or not run further"
    STEP_LIMIT = "not finished: the limit on steps was reached"
    TIME_LIMIT = "not finished: the limit on wall-clock time was reached"
    STEP_TOO_SMALL = "not finished: no step was short enough for rtol"
    NON_FINITE = "failed: a weight became infinite or NaN"
    INTERRUPTED = "not finished: interrupted"

    @property
    def finished(self) -> bool:
        """Whether the run got where it was sent: to rest, or to t_end."""
        return self in (Status.STATIONARY, Status.REACHED_T_END)
