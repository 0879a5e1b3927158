"""Doing the runs of a sweep that are missing: which they are, who does them, what is shown."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flow.cli.flags import InputError
from flow.driver.memory import available_bytes
from flow.kernels.cores import usable_cores
from flow.sweep.config import Config, read_config
from flow.sweep.engine import Engine, Executor, OnOutcomes
from flow.sweep.results import Sweep, load
from flow.sweep.runs import PENDING, Outcome, Run
from flow.sweep.store import Store
from flow.sweep.workers import Workers

BATCH_SECONDS = 0.1
"""Work in a call to a scheduler or an executor: handing one out costs them milliseconds."""
CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer."""
IN_FLIGHT = 64
"""Calls handed to an executor that are not back, where nothing else is asked for."""


def run(
    config: Config,
    file: str | os.PathLike[str],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    executor: Executor | None = None,
    threads: int = 1,
    retries: int = 0,
    weights: str | os.PathLike[str] | None = None,
    max_seconds: float = math.inf,
    batch_seconds: float = BATCH_SECONDS,
    in_flight: int | None = None,
    progress: bool = False,
) -> Sweep:
    """Do the runs of `config` that `file` does not have yet; return what it has then.

    Results are bitwise the same for any number of workers and any executor on one type of machine,
    and after any interruption: a run depends on its parameters alone.

    Parameters
    ----------
    config : a TOML file, a mapping with the same keys, or a list of :class:`Run`.
    file : the SQLite file; made if it is not there, added to if it is.
    workers : processes on this machine; by default as many as keep the cores busy that affinity
        and quota allow.
    scheduler : address of a Dask scheduler to use instead, such as "tcp://10.0.0.1:8786".
    executor : or anything with ``submit(function, *args, **kwargs)`` that gives a future:
        concurrent.futures, submitit, mpi4py.futures. It is not shut down.
    threads : how many compute each run: more than one where there are fewer runs than cores.
    retries : a run that failed is tried again until it has had 1 + `retries` attempts, those of
        earlier calls counted. One that was refused for want of memory is looked at every time.
    weights : folder for the final weights, ``HASH.npz`` each, which ``flow.simulate --init`` reads.
    max_seconds : limit for each run; one that meets it fails, with status TIME_LIMIT.
    batch_seconds : seconds of work in a call to a scheduler or executor, as far as that can be
        foreseen from runs that are done; on a cluster with a queue, minutes.
    in_flight : calls handed to a scheduler or executor that are not back yet.
    progress : show a bar with counts and time left.

    Raises InputError for a config or a file that cannot be used; SweepError where a sweep cannot go
    on: the file has a driver already, the disk is full, the executor fails; ImportError where Dask
    is missing.
    """
    if sum(given is not None for given in (workers, scheduler, executor)) > 1:
        raise InputError("expected one of workers, scheduler and executor, got several")
    if workers is not None and workers < 1:
        raise InputError(f"workers: expected a whole number >= 1, got {workers!r}")
    if threads < 1:
        raise InputError(f"threads: expected a whole number >= 1, got {threads!r}")
    runs, text = read_config(config)
    folder = None if weights is None else Path(weights)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"expected a folder that can be made for weights, got {error}"
            ) from None
    store = Store(file)
    try:
        store.add(runs, text)
        missing = _missing(store, runs, retries, folder)
        if missing:
            with (
                _executor(workers, threads, scheduler, executor, len(missing)) as (chosen, local),
                _shown(progress, len(runs), len(runs) - len(missing)) as on_outcomes,
            ):
                Engine(
                    store,
                    chosen,
                    in_flight=local or in_flight or IN_FLIGHT,
                    batch_seconds=0.0 if local else batch_seconds,
                    retries=retries,
                    memory=available_bytes() if local else None,
                    max_seconds=max_seconds,
                    threads=threads,
                    weights=folder,
                    on_outcomes=on_outcomes,
                ).run(missing)
    finally:
        store.close()
    return load(file)


def _missing(store: Store, runs: Sequence[Run], retries: int, weights: Path | None) -> list[Run]:
    states = store.states()

    def wanted(run: Run) -> bool:
        status, finished, attempts = states[run.hash()]
        if finished:
            return weights is not None and not (weights / f"{run.hash()}.npz").exists()
        return status in (PENDING, "REFUSED") or attempts <= retries

    return [run for run in runs if wanted(run)]


@contextlib.contextmanager
def _executor(
    workers: int | None,
    threads: int,
    scheduler: str | None,
    executor: Executor | None,
    runs: int,
) -> Iterator[tuple[Executor, int]]:
    """The executor to use, and the number of its processes if they are our own, else 0."""
    if executor is not None:
        yield executor, 0
    elif scheduler is not None:
        with _dask(scheduler) as found:
            yield found, 0
    else:
        count = min(runs, max(1, usable_cores() // threads) if workers is None else workers)
        with Workers(count, threads) as pool:
            yield pool, count


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "--scheduler needs Dask: pip install 'incidental-flow[cluster]'"
        ) from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler: expected the address of a Dask scheduler that answers, such as "
            f"tcp://127.0.0.1:8786, got {address!r} ({' '.join(str(error).split())})"
        ) from error
    with client, client.get_executor(pure=False) as executor:
        yield executor


@contextlib.contextmanager
def _shown(on: bool, total: int, done: int) -> Iterator[OnOutcomes | None]:
    """A bar with counts and time left."""
    if not on:
        yield None
        return
    from tqdm import tqdm

    failed = 0
    with tqdm(total=total, initial=done, unit="run", smoothing=0.05, dynamic_ncols=True) as bar:
        bar.set_postfix_str("getting ready; the first time kernels are compiled, half a minute")

        def count(outcomes: Sequence[Outcome], again: int) -> None:
            nonlocal failed
            bad = sum(not outcome.finished for outcome in outcomes) - again
            failed += bad
            bar.set_postfix_str(f"{failed} failed" if failed else "", refresh=False)
            bar.update(len(outcomes) - again)

        yield count
