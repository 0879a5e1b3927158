"""Ctrl-C, SIGTERM and SIGHUP, at moments at which nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """A signal that asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interruptions:
    """What the signals that ask a process to end do while it is entered.

    They raise :class:`Interrupted` at once; inside :meth:`waiting` the first is only noted in
    `received`, and the second raises; inside :meth:`ignored` all of them are only noted. A signal
    that was ignored before, as under nohup, stays so; outside the main thread, which alone gets
    signals, nothing is changed.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The first signal that came."""
        self._patience = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._arrive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        count = 1 if self.received is None else 2
        self.received = self.received or number
        if count > self._patience:
            raise Interrupted(number)

    @contextmanager
    def _hold(self, patience: float) -> Iterator[None]:
        before, self._patience = self._patience, patience
        try:
            yield
        finally:
            self._patience = before

    def waiting(self) -> Any:
        """For work that looks at `received` now and then."""
        return self._hold(1)

    def ignored(self) -> Any:
        """For work that must be done to its end."""
        return self._hold(float("inf"))
