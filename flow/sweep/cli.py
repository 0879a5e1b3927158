"""The command line of sweeps: flags, what is said at the end.

Exit codes: 0 when every run got where it was sent, 1 when some did not or the sweep could not go
on, 2 for input that cannot be used, 130 after Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flow.cli.flags import (
    InputError,
    MaxSeconds,
    check_output,
    complain,
    exit_code,
    named_flags,
    parse_flags,
    shows_bar,
    value,
    whole,
)
from flow.sweep.config import read_config
from flow.sweep.launch import run
from flow.sweep.results import Sweep, load
from flow.sweep.store import SweepError

PROG = "python -m flow.sweep"
ABOUT = (
    "CONFIG.toml: does the runs that are missing, each written into one SQLite file as it ends; "
    "stop it at any moment, the same command goes on. FILE.sqlite: reads a sweep, for --report "
    "and --export. Example: python -m flow.sweep map.toml --workers 8 --report\n\n"
    "A config gives every parameter one value or a list, and stands for all combinations, such "
    "as: n = 64; m_over_n = [1, 2, 4]; lam_sqrt_m_over_c = { from = 0.01, to = 1.0, log_steps = 7 "
    "}; seeds = 20, each on a line of its own. Keys: n; m or m_over_n; lam or lam_sqrt_m_over_c; "
    "seeds (a number or a list); c; c_interference; leak; scale; forces (all, no-FORCE, "
    "only-FORCE, or names of flow.forces joined by +) and their mu, sigma, distribution, accuracy, "
    "p, most_active; backend; rtol; t_end (left out: to rest); dtype; max_steps; census. Tables "
    "[[grid]] add up."
)


def _export(token: str) -> str:
    if token != "csv" and not token.endswith(".csv"):
        raise ValueError(f"expected csv or a file name that ends in .csv, got {token!r}")
    return token


@dataclass(frozen=True)
@named_flags
class Where:
    """Where the runs are done, and where they go."""

    out: Annotated[
        Path | None, value("FILE.sqlite", Path, hint="(default: CONFIG with .sqlite)")
    ] = None
    """the sweep's file"""
    workers: Annotated[int | None, whole(1, hint="(default: one a core)")] = None
    """processes on this machine"""
    threads: Annotated[int, whole(1)] = 1
    """how many threads compute each run"""
    scheduler: Annotated[str | None, value("tcp://HOST:PORT", str, hint="(default: none)")] = None
    """use this Dask scheduler instead"""
    weights: Annotated[Path | None, value("FOLDER", Path, hint="(default: none)")] = None
    """keep every final W here, as HASH.npz"""


@dataclass(frozen=True)
@named_flags
class How:
    """What is done about runs that fail."""

    retries: Annotated[int, whole(0)] = 0
    """attempts beyond the first for a run that fails, counted over the life of the file"""
    max_seconds: MaxSeconds = None
    """limit for each run"""


@dataclass(frozen=True)
@named_flags
class Shown:
    """What is shown at the end."""

    report: bool = False
    """print means, 95 % intervals and the slot law beside them"""
    full: bool = False
    """with --report: all that was counted, in wide tables"""
    export: Annotated[str | None, value("csv|FILE.csv", _export, hint="(default: none)")] = None
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
            threads=where.threads,
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

        for line in report(sweep, full=options.shown.full):
            print(line)
