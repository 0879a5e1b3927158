"""Doing the runs of a sweep that are missing, and the command line of it.

Exit codes: 0 when every run got where it was sent, 1 when some did not or the sweep could not go
on, 2 for input that cannot be used, 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from flow.memory import available_bytes
from flow.options import (
    InputError,
    check_output,
    complain,
    exit_code,
    number,
    parse_flags,
    shows_bar,
    value_spec,
    whole,
)
from flow.sweep.config import Config, read_config
from flow.sweep.engine import Engine, Executor, Watch
from flow.sweep.results import Sweep, load
from flow.sweep.runs import PENDING, Outcome, Run
from flow.sweep.store import Store, SweepError
from flow.sweep.workers import Workers

PROG = "python -m flow.sweep"
ABOUT = (
    "CONFIG.toml: does the runs that are missing, each written into one SQLite file as it ends; "
    "stop it at any moment, the same command goes on. FILE.sqlite: reads a sweep, for --report "
    "and --export. Example: python -m flow.sweep map.toml --workers 8 --report\n\n"
    "A config gives every parameter one value or a list, and stands for all combinations, such "
    "as: n = 64; m_over_n = [1, 2, 4]; lam_sqrt_m_over_c = { from = 0.01, to = 1.0, log_steps = 7 "
    "}; seeds = 20, each on a line of its own. Keys: n; m or m_over_n; lam or lam_sqrt_m_over_c; "
    "seeds (a number or a list); c; c_interference; scale; forces (all, no-FORCE, only-FORCE, or "
    "names of flow.forces joined by +) and their mu, sigma, distribution, accuracy; backend; rtol; "
    "t_end (left out: to rest); dtype; max_steps; census. Tables [[grid]] add up."
)
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
    workers : processes on this machine, each with one thread; default one for each core.
    scheduler : address of a Dask scheduler to use instead, such as "tcp://10.0.0.1:8786".
    executor : or anything with ``submit(function, *args, **kwargs)`` that gives a future:
        concurrent.futures, submitit, mpi4py.futures. It is not shut down.
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
                _executor(workers, scheduler, executor, len(missing)) as (chosen, local),
                _shown(progress, len(runs), len(runs) - len(missing)) as watch,
            ):
                Engine(
                    store,
                    chosen,
                    in_flight=local or in_flight or IN_FLIGHT,
                    batch_seconds=0.0 if local else batch_seconds,
                    retries=retries,
                    memory=available_bytes() if local else None,
                    max_seconds=max_seconds,
                    weights=folder,
                    watch=watch,
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
    workers: int | None, scheduler: str | None, executor: Executor | None, runs: int
) -> Iterator[tuple[Executor, int]]:
    """The executor to use, and the number of its processes if they are our own, else 0."""
    if executor is not None:
        yield executor, 0
    elif scheduler is not None:
        with _dask(scheduler) as found:
            yield found, 0
    else:
        count = min(runs, _cores() if workers is None else workers)
        with Workers(count) as pool:
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


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _shown(on: bool, total: int, done: int) -> Iterator[Watch | None]:
    """A bar with counts and time left."""
    if not on:
        yield None
        return
    from tqdm import tqdm

    failed = 0
    with tqdm(total=total, initial=done, unit="run", smoothing=0.05, dynamic_ncols=True) as bar:
        bar.set_postfix_str("getting ready; the first time kernels are compiled, half a minute")

        def watch(outcomes: Sequence[Outcome], again: int) -> None:
            nonlocal failed
            bad = sum(not outcome.finished for outcome in outcomes) - again
            failed += bad
            bar.set_postfix_str(f"{failed} failed" if failed else "", refresh=False)
            bar.update(len(outcomes) - again)

        yield watch


# The command line --------------------------------------------------------------------------------


def _export(token: str) -> str:
    if token != "csv" and not token.endswith(".csv"):
        raise InputError(f"--export: expected csv or a file name that ends in .csv, got {token!r}")
    return token


@dataclass(frozen=True)
class Where:
    """Where the runs are done, and where they go."""

    out: Annotated[
        Path | None,
        value_spec("out", "FILE.sqlite", Path),
        arg(help_behavior_hint="(default: CONFIG with .sqlite)"),
    ] = None
    """the sweep's file"""
    workers: Annotated[
        int | None, whole("workers", 1), arg(help_behavior_hint="(default: one a core)")
    ] = None
    """processes on this machine, of one thread each"""
    scheduler: Annotated[
        str | None,
        value_spec("scheduler", "tcp://HOST:PORT", str),
        arg(help_behavior_hint="(default: none)"),
    ] = None
    """use this Dask scheduler instead"""
    weights: Annotated[
        Path | None,
        value_spec("weights", "FOLDER", Path),
        arg(help_behavior_hint="(default: none)"),
    ] = None
    """keep every final W here, as HASH.npz"""


@dataclass(frozen=True)
class How:
    """What is done about runs that fail."""

    retries: Annotated[int, whole("retries", 0)] = 0
    """attempts beyond the first for a run that fails, counted over the life of the file"""
    max_seconds: Annotated[
        float | None,
        number("max-seconds", "a number of seconds > 0"),
        arg(help_behavior_hint="(default: no limit)"),
    ] = None
    """limit for each run"""


@dataclass(frozen=True)
class Shown:
    """What is shown at the end."""

    report: bool = False
    """print means, standard errors and the laws beside them"""
    export: Annotated[
        str | None,
        value_spec("export", "csv|FILE.csv", _export),
        arg(help_behavior_hint="(default: none)"),
    ] = None
    """write a table sorted by hash; csv puts it beside the sweep"""
    progress: bool = True
    """show a bar (on a terminal only, unless asked for)"""
    quiet: bool = False
    """print nothing but errors and what was asked for"""


@dataclass(frozen=True)
class SweepOptions:
    """One sweep."""

    where: Where = Where()
    how: How = How()
    shown: Shown = Shown()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return its exit code."""
    try:
        return exit_code(_main, argv)
    except ImportError as error:
        return complain(error, 2)
    except SweepError as error:
        return complain(error, 1)


def _main(argv: list[str]) -> int:
    named = bool(argv) and not argv[0].startswith("-")
    options = parse_flags(SweepOptions, argv[named:], SweepOptions(), f"{PROG} CONFIG.toml", ABOUT)
    if not named:
        raise InputError(
            f"expected CONFIG.toml or FILE.sqlite first, got {' '.join(argv[:1]) or 'nothing'}"
        )
    path = Path(argv[0])
    export = options.shown.export
    if export is not None:
        check_output("export", _table_of(options.where.out or path, export), overwrite=True)
    if path.suffix == ".toml":
        return _do(path, options, argv)
    sweep = load(path)
    if not (options.shown.report or options.shown.export):
        raise InputError(f"expected --report or --export with a sweep's file, got only {path}")
    _show(sweep, options)
    return 0


def _do(config: Path, options: SweepOptions, argv: Sequence[str]) -> int:
    where, how, shown = options.where, options.how, options.shown
    if where.workers is not None and where.scheduler is not None:
        raise InputError("expected --workers or --scheduler, got both; leave one of them out")
    file = where.out or config.with_suffix(".sqlite")
    try:
        sweep = run(
            config,
            file,
            workers=where.workers,
            scheduler=where.scheduler,
            retries=how.retries,
            weights=where.weights,
            max_seconds=math.inf if how.max_seconds is None else how.max_seconds,
            progress=shows_bar(shown.progress, shown.quiet, "--progress" in argv),
        )
    except KeyboardInterrupt:
        done = len(load(file).finished) if file.exists() else 0
        print(
            f"interrupted: {done} finished runs are in {file}; the same command goes on",
            file=sys.stderr,
        )
        return 130
    wanted = {run.hash() for run in read_config(config)[0]}
    rows = [row for row in sweep.rows if row["hash"] in wanted]
    failed = [row for row in rows if not row["finished"]]
    if not shown.quiet:
        print(f"{file}: {len(rows) - len(failed)} of {len(rows)} runs finished", file=sys.stderr)
        if failed:
            tried = max(row["attempts"] for row in failed)
            counts = Sweep(file, failed, {}).counts()
            print(
                f"{len(failed)} failed ({', '.join(f'{k} {s}' for s, k in counts.items())}): "
                f"--report names them, --retries {tried} tries them again",
                file=sys.stderr,
            )
    _show(sweep, options)
    return 1 if failed else 0


def _table_of(path: Path, export: str) -> Path:
    return path.with_suffix(".csv") if export == "csv" else Path(export)


def _show(sweep: Sweep, options: SweepOptions) -> None:
    export = options.shown.export
    if export is not None:
        path = _table_of(sweep.path, export)
        sweep.write_csv(path)
        if not options.shown.quiet:
            print(f"written: {path}", file=sys.stderr)
    if options.shown.report:
        from flow.sweep.report import report

        for line in report(sweep):
            print(line)
