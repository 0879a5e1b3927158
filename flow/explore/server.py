"""The server of pages: on this machine alone, behind a token that is drawn anew each time."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.models import Div
from bokeh.server.server import Server
from tornado.ioloop import IOLoop

from flow.explore.links import state_of
from flow.explore.session import Session
from flow.explore.state import State
from flow.explore.worker import Worker

HOST = "127.0.0.1"
MOST_SESSIONS = 16
MOST_MESSAGE = 2**16
"""Bytes of a message from a browser: controls, never frames."""


class Bench:
    """A server, and the process that computes for it. Use it as a context."""

    def __init__(self, state: State, port: int = 0) -> None:
        """Serve `state` on a port of the loopback, any free one for 0; OSError if it is taken."""
        self.state = state
        self.worker = Worker()
        self._sessions: dict[str, Session] = {}
        token = secrets.token_urlsafe(24)
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)  # where sockets are made, Tornado asks for the current
        try:
            self.server = Server(
                {"/": Application(FunctionHandler(self._open))}, io_loop=IOLoop.current(),
                address=HOST, port=port, prefix=token, use_index=False, redirect_root=False,
                websocket_max_message_size=MOST_MESSAGE,
                unused_session_lifetime=5_000, check_unused_sessions=1_000,
            )  # fmt: skip
        except BaseException:
            self._end()
            raise
        # The origin that Bokeh lets open a connection where no other is named.
        self.address = f"http://localhost:{self.server.port}/{token}/"

    def _open(self, document: Document) -> None:
        """A browser opens the page, with the state of its link."""
        if len(self._sessions) >= MOST_SESSIONS:
            told = f"Expected at most {MOST_SESSIONS} pages at once; close one and load this again."
            document.add_root(Div(text=told))
            return
        state, complaint = self.state, ""
        context = document.session_context
        asked = {} if context is None or context.request is None else context.request.arguments
        pairs = [(name, value.decode(errors="replace")) for name, values in asked.items()
                 for value in values]  # fmt: skip
        if pairs:
            try:
                state = state_of(pairs)
            except ValueError as error:
                complaint = str(error)
        session = Session(document, self.worker, state, complaint)
        self._sessions[session.name] = session
        document.on_session_destroyed(self._closed(session))

    def _closed(self, session: Session) -> Callable[[object], None]:
        def closed(_: object) -> None:
            self._sessions.pop(session.name, None)
            session.close()

        return closed

    def serve(self, ready: Callable[[str], None]) -> None:
        """Serve until interrupted; `ready` is called with the address once it can be opened."""
        asyncio.set_event_loop(self._loop)
        self.server.start()
        self.server.io_loop.add_callback(ready, self.address)
        self.server.io_loop.start()

    def close(self) -> None:
        """End the server and the process that computes."""
        with suppress(AssertionError, RuntimeError):  # never started, or stopped already
            self.server.stop()
        self._end()

    def _end(self) -> None:
        self.worker.close()
        asyncio.set_event_loop(None)
        self._loop.close()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def quiet() -> None:
    """Let Bokeh and Tornado say only what is wrong."""
    for name in ("bokeh", "tornado"):
        logging.getLogger(name).setLevel(logging.ERROR)
