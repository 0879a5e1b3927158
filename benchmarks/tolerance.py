"""``python -m benchmarks.tolerance``: what a looser tolerance costs in results, and saves in work.

``run`` takes the same starts to rest at several rtol and counts, against rtol 2e-5, the features
whose winner (neuron and sign) is another and the runs whose number of polysemantic neurons is
another. Every seed is kept as soon as it is done, so that it goes on where it was stopped; ``show``
prints the table. Intervals are 95 %, after Wilson. Features of one run are not independent of each
other, so that those of winners are too narrow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.command import command_line
from benchmarks.tables import keep_runs, kept_runs, markdown, provenance
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis.states import polysemantic_neurons, winners
from flow.analysis.statistics import share_interval

FILE = Path(__file__).with_suffix(".json")
RTOLS = (5e-3, 2e-3, 1e-3, 5e-4)
REFERENCE = 2e-5
SEEDS = 32


class Cell(NamedTuple):
    """A cell of the map of counts, of the loss with c = 1."""

    n: int
    m: int
    coupling: float
    """λ√m/c."""


CELLS = (Cell(64, 64, 0.1), Cell(64, 64, 1.0), Cell(64, 256, 0.1), Cell(64, 256, 1.0))


class End(NamedTuple):
    """Where a run ended, and what it took."""

    winner: np.ndarray
    """(n,) sign·(neuron + 1) of the largest weight of each feature; 0 for a dead one."""
    polysemantic: int
    evaluations: int


def end(cell: Cell, seed: int, rtol: float, threads: int) -> End:
    """A run of that cell to rest. Raises RuntimeError for one that does not get there."""
    W0 = gaussian_init(cell.n, cell.m, seed=seed)
    lam = cell.coupling / np.sqrt(cell.m)
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    run = integrate(forces, W0, rtol=rtol, threads=threads)
    if not run.status.finished:
        raise RuntimeError(f"expected a run to rest, got {run.message} ({cell}, seed {seed})")
    won = winners(W0, run.final)
    evaluations = int(run.stats["evaluations"])
    return End(won.sign * (won.neuron + 1), polysemantic_neurons(run.final), evaluations)


def compare(cell: Cell, seed: int, threads: int) -> list[dict[str, Any]]:
    """A line for every rtol, the reference last."""
    exact = end(cell, seed, REFERENCE, threads)
    lines = []
    for rtol in (*RTOLS, REFERENCE):
        found = exact if rtol == REFERENCE else end(cell, seed, rtol, threads)
        lines.append({
            **cell._asdict(), "seed": seed, "rtol": rtol,
            "winners_kept": int(np.count_nonzero(found.winner == exact.winner)),
            "polysemantic": found.polysemantic, "polysemantic_exact": exact.polysemantic,
            "evaluations": found.evaluations,
        })  # fmt: skip
    return lines


def run(seeds: int = SEEDS, threads: int = 1, out: Path = FILE) -> None:
    """Make the runs that are not kept yet, then print the table.

    Args:
        seeds: starts per cell, from seed 0 on.
        threads: how many compute a run; no result depends on it.
        out: JSON file.
    """
    kept = kept_runs(out)
    done = {(line["n"], line["m"], line["coupling"], line["seed"]) for line in kept}
    for seed, cell in product(range(seeds), CELLS):
        if (*cell, seed) not in done:
            kept += compare(cell, seed, threads)
            keep_runs(out, kept, software=provenance())
    print(table(kept))


def show(out: Path = FILE) -> None:
    """Print the table of the runs that are kept.

    Args:
        out: JSON file.
    """
    print(table(kept_runs(out)))


def table(kept: Sequence[dict[str, Any]]) -> str:
    """A row for every cell and rtol, then for every rtol over all cells."""
    groups: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in kept:
        groups[line["n"], line["m"], line["coupling"], line["rtol"]].append(line)
    for line in kept:
        groups["all", "", "", line["rtol"]].append(line)
    columns = ["n", "m", "λ√m/c", "rtol", "runs", "winners kept, %", "another count, % of runs",
               "count − exact", "evaluations"]  # fmt: skip
    rows = []
    for (n, m, coupling, rtol), lines in groups.items():
        runs, features = len(lines), sum(line["n"] for line in lines)
        same = sum(line["winners_kept"] for line in lines)
        off = [line["polysemantic"] - line["polysemantic_exact"] for line in lines]
        rows.append([
            str(n), str(m), str(coupling), f"{rtol:g}", str(runs), _share(same, features),
            _share(np.count_nonzero(off), runs), f"{np.mean(off):+.2f}",
            f"{np.mean([line['evaluations'] for line in lines]):,.0f}",
        ])  # fmt: skip
    return markdown(columns, rows)


def _share(count: int, total: int) -> str:
    low, high = share_interval(int(count), total)
    return f"{100 * count / total:.2f} ({100 * low:.2f} to {100 * high:.2f})"


if __name__ == "__main__":
    command_line({"run": run, "show": show})
