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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from flow.analysis.statistics import mean_and_interval
from flow.cli.flags import InputError, complain
from flow.sweep.config import read_config
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

    shipped: Path
    commands: Callable[[Path, int], list[list[str]]]
    """What makes it anew in a folder, with so many workers."""
    hours: Callable[[], float]
    """Of one core, when it was made last."""
    old: Callable[[], Counts]
    new: Callable[[Path], Counts]
    """What is there so far; FileNotFoundError if nothing is."""


def _sweep(config: str, name: str, folder: Path, workers: int) -> list[str]:
    file = str(folder / f"{name}.sqlite")
    return ["flow.sweep", config, "--out", file, "--workers", str(workers)]


def _collisions(path: Path) -> Counts:
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return {(r["n"], r["m"], r["seed"]): tuple(r[name] for name in COMPARED) for r in runs}


def _of_sweep(rows: Iterable[Mapping[str, Any]]) -> Counts:
    return {
        (r["n"], r["m"], float(f"{r['lam']:.6g}"), r["seed"]): tuple(r[name] for name in COMPARED)
        for r in rows if r["finished"]
    }  # fmt: skip


def _swept(path: Path) -> Counts:
    if not path.exists():
        raise FileNotFoundError(path)
    return _of_sweep(load(path).rows)


def _fig3_old() -> Counts:
    about = json.loads(fig3_table.TABLE.read_text(encoding="utf-8"))
    return {
        (about["n"], row["m"], float(f"{about['lam']:.6g}"), row["seed"]):
        tuple(row[name] for name in COMPARED)
        for row in fig3_table.read(fig3_table.TABLE)
    }  # fmt: skip


NOISE = ROOT / "benchmarks/findings/noise.json"
COLLISIONS = ROOT / "benchmarks/findings/collisions.json"
FIG3 = "paper_figures/data/fig3.toml"

PARTS: dict[PartName, Part] = {
    "collisions": Part(
        COLLISIONS,
        lambda folder, _: [["benchmarks.findings.collisions", "--out",
                            str(folder / COLLISIONS.name)]],
        lambda: sum(r["seconds"] for r in json.loads(COLLISIONS.read_text())["runs"]) / 3600.0,
        lambda: _collisions(COLLISIONS),
        lambda folder: _collisions(folder / COLLISIONS.name),
    ),
    "fig3": Part(
        fig3_table.TABLE,
        lambda folder, workers: [
            _sweep(FIG3, "fig3", folder, workers),
            ["paper_figures.tools.fig3_table", "--sweep", str(folder / "fig3.sqlite"), "--out",
             str(folder / fig3_table.TABLE.name)],
        ],
        lambda: 0.4,
        _fig3_old,
        lambda folder: _swept(folder / "fig3.sqlite"),
    ),
    "noise": Part(
        NOISE,
        lambda folder, _: [["benchmarks.findings.noise", "--out", str(folder / NOISE.name)]],
        lambda: 2.0,
        dict,
        lambda _: {},
    ),
    "map": Part(
        map_table.TABLE,
        lambda folder, workers: [_sweep(map_table.CONFIG, "map", folder, workers)],
        lambda: sum(row["seconds"] or 0.0 for row in map_table.read().rows) / 3600.0,
        lambda: _of_sweep(map_table.read().rows),
        lambda folder: _swept(folder / "map.sqlite"),
    ),
}  # fmt: skip


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
    """Run a part's commands; CalledProcessError if one fails."""
    part = PARTS[name]
    share = part.hours() / (workers if name in ("map", "fig3") else 1)
    took = f"{share:.1f} hours" if share >= 1.0 else f"{60.0 * share:.0f} minutes"
    print(f"{name}: about {took} by what it took last", flush=True)
    for command in part.commands(folder, workers):
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)


def _ship(name: PartName, folder: Path) -> None:
    part = PARTS[name]
    if name == "map":
        map_table.main(folder / "map.sqlite")
        return
    if name == "fig3" and (missing := _missing(folder)):
        raise InputError(f"expected all runs of {FIG3}, got a sweep that lacks {missing}; go on")
    shutil.copyfile(folder / part.shipped.name, part.shipped)
    print(part.shipped)


def _missing(folder: Path) -> int:
    finished = {row["hash"] for row in load(folder / "fig3.sqlite").finished}
    return len({run.hash() for run in read_config(ROOT / FIG3)[0]} - finished)


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
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in parts:
        if not compare:
            _make(name, folder, workers)
        if name != "noise":  # its tables are read side by side
            try:
                found = PARTS[name].new(folder)
            except FileNotFoundError:
                print(f"{name}: nothing is there yet")
                continue
            print(f"{name}: " + "\n".join(differences(PARTS[name].old(), found)), flush=True)
        if ship:
            _ship(name, folder)


def _command(words: Sequence[str] | None = None) -> int:
    try:
        tyro.cli(main, args=words)
    except InputError as error:
        return complain(error, 2)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(_command())
