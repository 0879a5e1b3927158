"""The driver of a sweep: hands out runs, takes in outcomes, writes each down as it comes."""

from __future__ import annotations

import math
import queue
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from flow.results.files import written_aside
from flow.sweep.calls import execute_batch, warm_up, warmup_runs
from flow.sweep.runs import Outcome, Run, refused
from flow.sweep.store import Store, SweepError
from flow.sweep.workers import WorkerLost

POLL_SECONDS = 0.1
"""How often futures are asked that cannot say themselves that they are done."""
WARMUP_ATTEMPTS = 3
"""How often the first call, which compiles the kernels, is tried if its process dies."""


class Executor(Protocol):
    """Anything that takes calls: concurrent.futures, Dask's client.get_executor(), submitit."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        """Call the function somewhere; a future with done() and result()."""


OnOutcomes = Callable[[Sequence[Outcome], int], None]
"""Called with outcomes that were written down, and how many of their runs are tried again."""


class Engine:
    """Executes runs on an executor and writes every outcome down as soon as it is there.

    Parameters
    ----------
    store : holds a row for every run already.
    executor : where runs are executed.
    in_flight : most calls that are handed out and not back.
    batch_seconds : how much work goes into a call, as far as it can be foreseen from runs that
        differ in their seeds only; a run that cannot be foreseen is a call of its own.
    retries : attempts beyond the first over the life of the file, for a run that fails.
    memory : bytes that all runs handed out may take together, where they share this machine's
        memory; None where each looks at the memory of the machine it finds itself on.
    max_seconds : limit for each run.
    threads : how many compute each run.
    weights : folder for the final weights, a file for each run, named by its hash.
    on_outcomes : called with outcomes as they are written down.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        in_flight: int,
        batch_seconds: float = 0.0,
        retries: int = 0,
        memory: int | None = None,
        max_seconds: float = math.inf,
        threads: int = 1,
        weights: Path | None = None,
        on_outcomes: OnOutcomes | None = None,
    ) -> None:
        self._store, self._executor = store, executor
        self._in_flight, self._batch_seconds = in_flight, batch_seconds
        self._retries, self._memory = retries, memory
        self._weights, self._on_outcomes, self._threads = weights, on_outcomes, threads
        self._options = {
            "keep_weights": weights is not None,
            "max_seconds": max_seconds,
            "check_memory": memory is None,
            "threads": threads,
        }
        self._attempts = {hash_: tried for hash_, (_, _, tried) in store.states().items()}
        self._runs: dict[str, Run] = {}
        self._waiting: deque[Run] = deque()
        self._flying: dict[Any, list[Run]] = {}
        self._arrivals = _Arrivals()
        self._costs = _Costs()

    def run(self, runs: Sequence[Run]) -> None:
        """Execute `runs` in this order; return when all are written down.

        Raises SweepError if the executor takes no more work, or the file no more rows.
        """
        self._runs = {run.hash(): run for run in runs}
        self._waiting.extend(runs)
        try:
            self._warm_up(warmup_runs(runs, self._threads))
            while self._waiting or self._flying:
                self._write(self._hand_out())
                if self._flying:
                    arrived = self._arrivals.wait()
                    self._write([o for future in arrived for o in self._collect(future)])
        finally:
            for future in self._flying:
                future.cancel()

    def _warm_up(self, runs: list[Run]) -> None:
        """Have the kernels compiled once: their cache on disk is no place for a race."""
        for _ in range(WARMUP_ATTEMPTS):
            self._submit(warm_up, runs, batch=[], threads=self._threads)
            (future,) = self._arrivals.wait()
            del self._flying[future]
            try:
                future.result()
                return
            except WorkerLost:
                continue
            except Exception as error:
                raise SweepError(
                    f"expected an executor whose workers can run the flow, got "
                    f"{type(error).__name__}: {error}"
                ) from error

    def _hand_out(self) -> list[Outcome]:
        """Fill the executor; outcomes of the runs that are refused."""
        turned_away = []
        while self._waiting and len(self._flying) < self._in_flight:
            if self._memory is not None:
                run = self._waiting[0]
                taken = sum(run.bytes for batch in self._flying.values() for run in batch)
                if run.bytes > self._memory:
                    turned_away.append(refused(self._waiting.popleft(), self._memory))
                    continue
                if taken + run.bytes > self._memory:
                    break
            batch = [self._waiting.popleft()]
            foreseen = self._costs.of(batch[0])
            while self._waiting and foreseen < self._batch_seconds:
                foreseen += self._costs.of(self._waiting[0])
                batch.append(self._waiting.popleft())
            self._submit(execute_batch, batch, batch=batch, **self._options)
        return turned_away

    def _submit(
        self, function: Callable[..., Any], argument: Any, *, batch: list[Run], **options: Any
    ) -> None:
        try:
            future = self._executor.submit(function, argument, **options)
        except Exception as error:
            raise SweepError(
                f"expected an executor that takes work, got {type(error).__name__}: {error}; what "
                f"is done is in {self._store.path}: give the same command again"
            ) from error
        self._flying[future] = batch
        self._arrivals.add(future)

    def _collect(self, future: Any) -> list[Outcome]:
        batch = self._flying.pop(future)
        try:
            outcomes: list[Outcome] = future.result()
        except Exception as error:
            text = (
                str(error) if isinstance(error, WorkerLost) else f"{type(error).__name__}: {error}"
            )
            return [Outcome(hash=run.hash(), status="LOST", message=text) for run in batch]
        for run, outcome in zip(batch, outcomes, strict=True):
            self._costs.add(run, outcome)
        return outcomes

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        """Into the file, weights first; what failed and has attempts left waits again."""
        if not outcomes:
            return
        for outcome in outcomes:
            if outcome.weights is not None and self._weights is not None:
                _keep(self._weights / f"{outcome.hash}.npz", outcome.weights)
        self._store.write(outcomes)
        again = 0
        for outcome in outcomes:
            if outcome.finished or outcome.status == "REFUSED":
                continue
            self._attempts[outcome.hash] += 1
            if self._attempts[outcome.hash] <= self._retries:
                self._waiting.append(self._runs[outcome.hash])
                again += 1
        if self._on_outcomes is not None:
            self._on_outcomes(outcomes, again)


def _keep(path: Path, weights: bytes) -> None:
    try:
        with written_aside(path) as file:
            file.write(weights)
    except OSError as error:
        raise SweepError(
            f"expected a folder for weights that can be written and has room, got {error}; what "
            f"was written before is whole: make room and give the same command again"
        ) from error


class _Costs:
    """Mean seconds of runs that differ in their seeds only."""

    def __init__(self) -> None:
        self._seconds: defaultdict[Run, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, run: Run, outcome: Outcome) -> None:
        if outcome.seconds is not None:
            total = self._seconds[replace(run, seed=0)]
            total[0] += outcome.seconds
            total[1] += 1.0

    def of(self, run: Run) -> float:
        """Foreseen seconds; infinite where nothing is known."""
        total = self._seconds.get(replace(run, seed=0))
        return math.inf if total is None else total[0] / total[1]


class _Arrivals:
    """Futures that are done, of every kind."""

    def __init__(self) -> None:
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._polled: list[Any] = []

    def add(self, future: Any) -> None:
        if hasattr(future, "add_done_callback"):
            future.add_done_callback(self._done.put)
        else:
            self._polled.append(future)

    def wait(self) -> list[Any]:
        """Those that are done; at least one."""
        arrived: list[Any] = []
        pause = 0.0
        while not arrived:
            with suppress(queue.Empty):
                arrived.append(self._done.get(timeout=pause if self._polled else None))
                while True:
                    arrived.append(self._done.get_nowait())
            arrived += [future for future in self._polled if future.done()]
            self._polled = [future for future in self._polled if future not in arrived]
            pause = POLL_SECONDS
        return arrived
