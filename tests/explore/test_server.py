"""The server is for this machine and this token alone; what computes is kept and replaced."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import suppress

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from flow.explore import worker as workers
from flow.explore.server import Bench
from flow.explore.state import Flip, State
from flow.explore.worker import Worker
from tests import ROOT


@pytest.fixture(scope="module")
def bench():
    with Bench(State(n=4, m=6, lam=0.05)) as found:
        loop = found.server.io_loop
        ready = threading.Event()
        thread = threading.Thread(target=found.serve, args=(lambda _: ready.set(),), daemon=True)
        thread.start()
        assert ready.wait(20)
        yield found
        loop.add_callback(loop.stop)
        thread.join(20)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_address_is_the_loopback(bench):
    sockets = bench.server._http._sockets.values()
    assert {s.getsockname()[0] for s in sockets} == {"127.0.0.1"}


def test_a_bench_that_is_closed_listens_no_more():
    bench = Bench(State(n=4, m=6, lam=0.05))
    sockets = list(bench.server._http._sockets.values())
    bench.close()
    assert sockets
    assert {s.fileno() for s in sockets} == {-1}


def test_without_the_token_there_is_nothing(bench):
    base = bench.address.rsplit("/", 2)[0]
    assert len(bench.address.rsplit("/", 2)[1]) >= 32
    assert {status(f"{base}/{path}") for path in ("", "wrong/", "static/js/bokeh.min.js")} == {404}
    assert status(bench.address) == 200


@pytest.mark.parametrize(("origin", "open_"), [("http://evil.example", False), ("", True)])
def test_a_page_of_another_origin_opens_no_connection(bench, origin, open_):
    here = bench.address.rsplit("/", 2)[0]
    url = bench.address.replace("http", "ws", 1) + "ws"
    request = HTTPRequest(url, headers={"Origin": origin or here})

    async def connect() -> int:
        try:
            connection = await websocket_connect(request, subprotocols=["bokeh", "no-token"])
        except HTTPClientError as error:
            return error.code
        connection.close()
        return 101

    code = asyncio.run(connect())
    assert (code != 403) == open_


def answers(worker: Worker, who: str, kind: str, *arguments: object) -> queue.SimpleQueue:
    found: queue.SimpleQueue = queue.SimpleQueue()
    worker.ask(who, kind, arguments, found.put)
    return found


def last(found: queue.SimpleQueue) -> workers.Answer:
    while not (answer := found.get(timeout=60)).done:
        pass
    return answer


def test_a_worker_is_kept_abandons_what_is_old_and_is_replaced_when_it_dies():
    long = State(n=64, m=64, lam=0.001)
    small = State(n=4, m=6, lam=0.05)
    with Worker() as worker:
        process = worker.pid
        old = answers(worker, "a", "scene", long)
        other = answers(worker, "b", "scene", small)
        new = answers(worker, "a", "scene", small)
        assert not last(new).error
        assert not last(other).error
        assert worker.pid == process
        while not old.empty():
            assert not old.get().done
        wrong = answers(worker, "a", "scene", State(n=4, m=6, lam=0.5).changed(1e3, Flip(0, 0)))
        assert "which is 0" in last(wrong).error
        lost = answers(worker, "a", "scene", long)
        os.kill(process, signal.SIGKILL)
        assert "died" in last(lost).error
        assert not last(answers(worker, "a", "scene", small)).error
        assert worker.pid != process


def test_a_worker_and_one_that_replaced_it_leave_ctrl_c_to_the_server():
    small = State(n=4, m=6, lam=0.05)
    with Worker() as worker:
        for _ in range(2):
            assert not last(answers(worker, "a", "scene", small)).error
            process = worker.pid
            os.kill(process, signal.SIGINT)
            assert not last(answers(worker, "a", "scene", small)).error
            assert worker.pid == process
            lost = answers(worker, "a", "scene", State(n=64, m=64, lam=0.001))
            os.kill(process, signal.SIGKILL)
            assert "died" in last(lost).error


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is not a signal to a group there")
def test_ctrl_c_in_a_terminal_which_tells_the_solver_too_ends_both_in_a_word():
    command = [sys.executable, "-m", "flow.explore", "--no-browser"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://localhost:")
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert said.strip() == "interrupted"
    assert process.returncode == 130
