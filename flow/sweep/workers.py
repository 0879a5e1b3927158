"""Worker processes on this machine, each with few threads, each of which may die.

:class:`Workers` is an executor (submit gives a future) whose processes are started afresh, never
forked, and do not import the program that started them: no ``if __name__ == "__main__"`` is
needed. A process that dies while it works fails that one future and is replaced. All of them exit
when the process that started them does, however that happens.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any, BinaryIO, NamedTuple, NoReturn

_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from flow.sweep.workers import serve; serve()"
)
_ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
_ONE_XLA_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
_READY = "ready"
_TRIES = 8
"""Starts that may fail in a row before a worker is given up: one that is killed while it starts
fails, so a few are bad luck."""
_CUT_SHORT = (EOFError, pickle.UnpicklingError)
"""What reading from a process raises that died, before an answer or within one."""
_GRACE = 5.0
"""Seconds that a process which has closed its pipe may take to exit by itself."""


class WorkerLost(Exception):
    """The process that worked on this died."""


class _Task(NamedTuple):
    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class Workers:
    """A pool of `count` processes, in which kernels may use `threads` threads, all else one.

    What they print goes to the standard error of this process. Use it as a context: leaving it
    ends the processes, and fails what they still work on.
    """

    def __init__(self, count: int, threads: int = 1) -> None:
        self._thread_count = threads
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._guard = threading.Lock()
        self._closed = False
        self._alive = count
        self._broken = ""
        self._threads = [
            threading.Thread(target=self._serve_worker, args=(k,), name=f"worker {k}", daemon=True)
            for k in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future:
        """Call a function, importable by its name, in the next free process.

        The future raises what the function raises, or WorkerLost. Raises BrokenExecutor if no
        process can be started.
        """
        if self._broken:
            raise BrokenExecutor(self._broken)
        future: Future[Any] = Future()
        self._tasks.put(_Task(future, function, arguments, keywords))
        return future

    @property
    def processes(self) -> list[int]:
        """Identifiers of the processes that live now."""
        with self._guard:
            return [process.pid for process in self._processes.values() if process.poll() is None]

    def close(self) -> None:
        """End the processes now; what they work on fails with WorkerLost."""
        with self._guard:
            self._closed = True
            for process in self._processes.values():
                process.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # One thread serves one process ---------------------------------------------------------------

    def _serve_worker(self, k: int) -> None:
        process = self._start(k)
        while process is not None:
            task = self._tasks.get()
            if task is None:
                break
            if not task.future.set_running_or_notify_cancel():
                continue
            process = self._work(k, process, task)
        if process is not None:
            _end(process)
        with self._guard:
            self._processes.pop(k, None)
            self._alive -= 1
            last = self._alive == 0
        if last:
            self._refuse_the_rest()

    def _work(
        self, k: int, process: subprocess.Popen[bytes], task: _Task
    ) -> subprocess.Popen[bytes] | None:
        """Have `task` done; the process that is there afterwards, if one can be had."""
        try:
            # Wrapped twice, so that what cannot be read there fails this call and not the worker.
            call = pickle.dumps(pickle.dumps(task[1:]))
        except Exception as error:
            task.future.set_exception(error)
            return process
        while True:
            try:
                _send(process, call)
                break
            except OSError:
                # It had died while it had nothing to do: another one does this task.
                fresh = self._replace(k, process)
                if fresh is None:
                    task.future.set_exception(WorkerLost(self._broken or "the pool was closed"))
                    return None
                process = fresh
        try:
            done, value = pickle.load(_pipe(process.stdout))
        except Exception as error:  # cut short by its death, or something that cannot be read here
            code = _end(process, grace=_GRACE if isinstance(error, _CUT_SHORT) else 0.0)
            fresh = self._replace(k, process)
            task.future.set_exception(WorkerLost(f"the process that ran it {_death(code)}"))
            return fresh
        if done:
            task.future.set_result(value)
        else:
            task.future.set_exception(value)
        return process

    def _replace(self, k: int, dead: subprocess.Popen[bytes]) -> subprocess.Popen[bytes] | None:
        _end(dead)
        return self._start(k)

    def _start(self, k: int) -> subprocess.Popen[bytes] | None:
        """A process that is ready; None if the pool is closed or none can be had."""
        for _ in range(_TRIES):
            with self._guard:
                if self._closed:
                    return None
                process = _spawn(self._thread_count)
                self._processes[k] = process
            try:
                _send(process, pickle.dumps(sys.path))
                if pickle.load(_pipe(process.stdout)) == _READY:
                    return process
            except (OSError, *_CUT_SHORT):
                pass
            code = _end(process, grace=_GRACE)
        if not self._closed:
            self._broken = (
                f"expected worker processes that start, got {_TRIES} in a row that did not (the "
                f"last {_death(code)}); what they printed is above"
            )
        return None

    def _refuse_the_rest(self) -> None:
        reason = self._broken or "the pool was closed"
        with contextlib.suppress(queue.Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is not None and task.future.set_running_or_notify_cancel():
                    task.future.set_exception(WorkerLost(reason))


def _spawn(threads: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter, out of reach of the terminal's Ctrl-C, with so many threads."""
    kernels = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    group: dict[str, Any] = (
        {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
        if sys.platform == "win32"
        else {"process_group": 0}
    )
    xla = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_XLA_THREAD}".strip()
    return subprocess.Popen(
        [sys.executable, "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **_ONE_THREAD, **kernels, "XLA_FLAGS": xla},
        **group,
    )


def _pipe(pipe: Any) -> Any:
    assert pipe is not None
    return pipe


def _send(process: subprocess.Popen[bytes], message: bytes) -> None:
    pipe = _pipe(process.stdin)
    pipe.write(message)
    pipe.flush()


def _end(process: subprocess.Popen[bytes], grace: float = 0.0) -> int:
    """Kill the process if it lives after `grace` seconds, and close its pipes; its exit code.

    One that exits closes its pipe first: killed in between, it would not tell its own exit code.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            _pipe(pipe).close()
    return process.wait()


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = "; the system may have been out of memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


# In the worker -----------------------------------------------------------------------------------


def serve() -> None:
    """Answer calls on standard input until it is closed, which the system does to orphans."""
    answers = _private_output()
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # Imports take their time: while they do, this process can already be told to end.
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    import flow.sweep.execute  # noqa: F401

    _answer(answers, pickle.dumps(_READY))
    while True:
        call = calls.get()
        try:
            function, arguments, keywords = pickle.loads(call)
            result = pickle.dumps((True, function(*arguments, **keywords)))
        except SystemExit as error:
            _exit(error.code)
        except Exception as error:
            result = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()  # or what was printed is lost when the worker is killed
        _answer(answers, result)


def _exit(code: str | int | None) -> NoReturn:
    """What sys.exit does, but at once: a shutdown of Python would wait for `_listen`, and abort."""
    if isinstance(code, int | None):
        status = code or 0
    else:
        sys.stderr.write(f"{code}\n")
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _listen(calls: queue.SimpleQueue[bytes]) -> None:
    try:
        while True:
            calls.put(pickle.load(sys.stdin.buffer))
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(0)  # the driver is gone, and with it whoever would want the result


def _private_output() -> BinaryIO:
    """The pipe to the driver, out of reach of whatever else prints."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _answer(answers: BinaryIO, message: bytes) -> None:
    try:
        answers.write(message)
        answers.flush()
    except OSError:
        os._exit(0)
