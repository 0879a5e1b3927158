"""The shipped tables made anew, and how they differ from those that are shipped.

    python -m paper_figures.tools.remake                 every table, cheapest first
    python -m paper_figures.tools.remake fig3 --workers 2
    python -m paper_figures.tools.remake map --compare   what differs so far; runs nothing

Each part says first how long it takes, by what its runs took when the shipped table was made. New
tables are written to a folder of their own, beside the files of their sweeps; a part goes on where
it was stopped (but collisions, which are one piece). The same seeds were run before and now:
counts are compared run by run, and means of the differences have 95 % intervals over runs. Of many
cells one in twenty is outside its interval by chance. ``--ship`` puts a part that is complete in
the place of the old one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks.command import command_line
from flow.analysis.statistics import mean_and_interval
from flow.cli.flags import InputError
from flow.sweep.results import load
from paper_figures.tools import fig3_table, map_table

ROOT = Path(__file__).parents[2]
COMPARED = ("polysemantic", "largest_stayed")
"""Counts of a run: neurons with two features or more, and largest weights that win."""

Key = tuple[Any, ...]
"""The cell of a run and, last, its seed."""
Counts = dict[Key, tuple[int, ...]]
"""COMPARED, run by run."""
PartName = Literal["collisions", "fig3", "noise", "map"]
ALL: tuple[PartName, ...] = ("collisions", "fig3", "noise", "map")


@dataclass(frozen=True)
class Part:
    """One shipped table."""

    make: Callable[[Path, int], list[str]]
    """The module and its arguments that do the runs in a folder, with so many workers."""
    parallel: bool
    """Whether workers share the runs."""
    hours: Callable[[], float]
    """Of one core, when it was made last."""
    made: Callable[[Path], Path]
    """The file in the folder that has the runs."""
    counts: Callable[[], Counts]
    """Of the shipped table; none where tables are read side by side."""
    new_counts: Callable[[Path], Counts]
    """Of the file in the folder."""
    ship: Callable[[Path], None]
    """Put that file's runs in the place of the shipped; InputError if some are lacking."""


# Tables of sweeps --------------------------------------------------------------------------------


def _sweep(config: str, folder: Path, workers: int) -> list[str]:
    return ["flow.sweep", config, "--out", str(_swept(config, folder)), "--workers", str(workers)]


def _swept(config: str, folder: Path) -> Path:
    return folder / f"{Path(config).stem}.sqlite"


def _counts_of_rows(rows: Iterable[Mapping[str, Any]]) -> Counts:
    return {
        (r["n"], r["m"], float(f"{r['lam']:.6g}"), r["seed"]): tuple(r[name] for name in COMPARED)
        for r in rows if r["finished"]
    }  # fmt: skip


def _fig3_counts() -> Counts:
    about = json.loads(fig3_table.TABLE.read_text(encoding="utf-8"))
    same = {"n": about["n"], "lam": about["lam"], "finished": True}
    return _counts_of_rows({**row, **same} for row in fig3_table.read(fig3_table.TABLE))


def _ship_fig3(file: Path) -> None:
    sweep = map_table.asked_for(load(file), FIG3)
    if lost := len(sweep.rows) - len(sweep.finished):
        raise InputError(f"expected all runs of {FIG3} to finish, {lost} did not; look at {file}")
    fig3_table.main(file)


# Tables that one command writes ------------------------------------------------------------------


def _write(module: str, shipped: Path, folder: Path, _workers: int) -> list[str]:
    return [module, "--out", str(folder / shipped.name)]


def _collision_counts(path: Path) -> Counts:
    return {
        (r["n"], r["m"], r["seed"]): tuple(r[name] for name in COMPARED)
        for r in json.loads(path.read_text(encoding="utf-8"))["runs"]
    }


def _noise_keys(path: Path) -> set[Key]:
    """Parts, and runs of ``counts``."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    runs = kept["counts"]["runs"] if "counts" in kept else {}
    which = [runs.get(name, []) for name in ("n", "m", "kind", "seed", "t")]
    return {(name,) for name in kept} | set(zip(*which, strict=True))


def _copy(shipped: Path, keys: Callable[[Path], Iterable[Key]], file: Path) -> None:
    if missing := len(set(keys(shipped)) - set(keys(file))):
        raise InputError(f"expected all that {shipped} has, got {file}, which lacks {missing}")
    shutil.copyfile(file, shipped)
    print(shipped)


def _noise_hours() -> float:
    runs = json.loads(NOISE.read_text(encoding="utf-8"))["counts"]["runs"]
    return sum(runs["seconds"]) / 3600.0  # nearly all; what other parts took was not kept


def _collision_hours() -> float:
    runs = json.loads(COLLISIONS.read_text(encoding="utf-8"))["runs"]
    return sum(run["seconds"] for run in runs) / 3600.0


NOISE = ROOT / "benchmarks/findings/noise.json"
COLLISIONS = ROOT / "benchmarks/findings/collisions.json"
FIG3 = "paper_figures/data/fig3.toml"

PARTS: dict[PartName, Part] = {
    "collisions": Part(
        make=partial(_write, "benchmarks.findings.collisions", COLLISIONS),
        parallel=False,
        hours=_collision_hours,
        made=lambda folder: folder / COLLISIONS.name,
        counts=partial(_collision_counts, COLLISIONS),
        new_counts=_collision_counts,
        ship=partial(_copy, COLLISIONS, _collision_counts),
    ),
    "fig3": Part(
        make=partial(_sweep, FIG3),
        parallel=True,
        hours=lambda: 0.5,  # its table does not say
        made=partial(_swept, FIG3),
        counts=_fig3_counts,
        new_counts=lambda file: _counts_of_rows(load(file).rows),
        ship=_ship_fig3,
    ),
    "noise": Part(
        make=partial(_write, "benchmarks.findings.noise", NOISE),
        parallel=False,
        hours=_noise_hours,
        made=lambda folder: folder / NOISE.name,
        counts=dict,
        new_counts=lambda _: {},
        ship=partial(_copy, NOISE, _noise_keys),
    ),
    "map": Part(
        make=partial(_sweep, map_table.CONFIG),
        parallel=True,
        hours=lambda: sum(row["seconds"] or 0.0 for row in map_table.read().rows) / 3600.0,
        made=partial(_swept, map_table.CONFIG),
        counts=lambda: _counts_of_rows(map_table.read().rows),
        new_counts=lambda file: _counts_of_rows(load(file).rows),
        ship=map_table.main,
    ),
}


# What differs ------------------------------------------------------------------------------------


def differences(old: Counts, new: Counts) -> list[str]:
    """Lines: the runs that are in both, how many differ, and means of the differences by cell."""
    both = sorted(old.keys() & new.keys())
    if not both:
        return ["no run is in both yet"]
    lines = [f"{len(both):,} runs of {len(old):,} are in both"]
    for place, name in enumerate(COMPARED):
        apart = {key: new[key][place] - old[key][place] for key in both}
        other = sum(value != 0 for value in apart.values())
        cells = defaultdict(list)
        for key, value in apart.items():
            cells[key[:-1]].append(value)
        found = {cell: mean_and_interval(v) for cell, v in cells.items() if len(v) > 1}
        outside = [c for c, (mean, half) in found.items() if abs(mean) > half]
        mean, half = mean_and_interval(list(apart.values()))
        lines.append(
            f"{name}: another number in {other:,} runs, mean difference {mean:+.3g} ± {half:.2g}; "
            f"{len(outside)} of {len(found)} cells outside their interval"
        )
        lines += [
            f"    {cell}: {found[cell][0]:+.3g} ± {found[cell][1]:.2g} ({len(cells[cell])} runs)"
            for cell in outside
        ]
    return lines


# Doing it ----------------------------------------------------------------------------------------


def _make(name: PartName, folder: Path, workers: int) -> None:
    """Run a part's command; SystemExit with its code if it fails, of which it has told."""
    part = PARTS[name]
    hours = part.hours() / (workers if part.parallel else 1)
    took = f"{hours:.1f} hours" if hours >= 1.0 else f"{60.0 * hours:.0f} minutes"
    print(f"{name}: about {took} by what it took last", flush=True)
    command = [sys.executable, "-m", *part.make(folder, workers)]
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise SystemExit(code)


def main(
    parts: Annotated[tuple[PartName, ...], tyro.conf.Positional] = ALL,
    folder: Path = Path("remade"),
    workers: int = os.cpu_count() or 1,
    compare: bool = False,
    ship: bool = False,
) -> None:
    """Make shipped tables anew.

    Args:
        parts: any of collisions, fig3, noise, map.
        folder: where files of sweeps and new tables go.
        workers: runs at once, of sweeps.
        compare: run nothing, say what differs in what is there.
        ship: put what was made in the place of the old.
    """
    if workers < 1:
        raise InputError(f"expected --workers >= 1, got {workers}")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in parts:
        part = PARTS[name]
        if not compare:
            _make(name, folder, workers)
        if not (file := part.made(folder)).exists():
            print(f"{name}: nothing is there yet")
            continue
        if shipped := part.counts():
            print(f"{name}: " + "\n".join(differences(shipped, part.new_counts(file))), flush=True)
        if ship:
            part.ship(file)


if __name__ == "__main__":
    command_line(main)
