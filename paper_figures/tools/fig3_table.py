"""Runs to rest and what is counted at their ends: computed here, or read from a table of a sweep.

    python -m flow.sweep paper_figures/data/fig3.toml --out FILE.sqlite
    python -m paper_figures.tools.fig3_table --sweep FILE.sqlite

does figure 3's runs (it goes on where it was stopped) and writes those that are finished to
``data/fig3_flow.json``, with the software that made them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.command import command_line
from flow.analysis.statistics import mean_and_interval
from flow.results.files import write_text
from flow.sweep.calls import execute_batch
from flow.sweep.results import load, winners_of
from flow.sweep.runs import Outcome, Run

TABLE = Path(__file__).parents[1] / "data" / "fig3_flow.json"
RANKS = 2 ** np.arange(13)
"""Winners are counted by whether their initial rank is at most 1, 2, 4, …, 4096."""
COLUMNS = ("m", "seed", "t", "polysemantic", "polysemantic_window", "largest_stayed", "kept_sign")

Row = dict[str, Any]
"""COLUMNS of one run, and `rank_at_most`: its winners by RANKS."""


def outcomes(runs: Sequence[Run]) -> Iterator[tuple[Run, Outcome]]:
    """Runs with what comes of them, made here and now, one after the other."""
    for run in tqdm(runs, desc="runs", leave=False, disable=None):
        [outcome] = execute_batch([run])
        yield run, outcome


def run_all(runs: Sequence[Run]) -> list[Row]:
    """Rows of runs, made here and now; RuntimeError for one that does not come to rest."""
    rows = []
    for run, outcome in outcomes(runs):
        if not outcome.finished or outcome.measured is None:
            raise RuntimeError(f"expected a run that comes to rest, got {outcome.message} of {run}")
        rows.append(_row({"m": run.m, "seed": run.seed, **vars(outcome.measured)}))
    return rows


def read(path: Path) -> list[Row]:
    """Rows of a table written by :func:`write`."""
    table = json.loads(path.read_text())
    names = table["columns"]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


def write(sweep: Path, path: Path) -> int:
    """Write the finished runs of a sweep as a table; returns their number."""
    found = load(sweep)
    rows = sorted((_row(row) for row in found.finished), key=lambda row: (row["m"], row["seed"]))
    first = found.finished[0]
    names = list(rows[0])
    table = {
        "about": "runs of figure 3 to rest: python -m flow.sweep paper_figures/data/fig3.toml "
        "--out FILE.sqlite; python -m paper_figures.tools.fig3_table --sweep FILE.sqlite",
        **{name: first[name] for name in ("n", "lam", "c", "scale", "forces", "rtol", "dtype")},
        "software": list(found.published_software().values()),
        "columns": names,
    }  # fmt: skip
    lines = ",\n".join(json.dumps([row[name] for name in names]) for row in rows)
    write_text(path, f'{json.dumps(table, indent=0)[:-2]},\n"rows": [\n{lines}\n]}}\n')
    return len(rows)


def _row(found: Mapping[str, Any]) -> Row:
    ranks = winners_of(found)[1]
    at_most = [int(np.sum((ranks > 0) & (ranks <= limit))) for limit in RANKS]
    return {**{name: found[name] for name in COLUMNS}, "rank_at_most": at_most}


def by_m(rows: Sequence[Row], name: str) -> dict[int, np.ndarray]:
    """Values of a column, one per seed, by the number of neurons, in growing order."""
    ms = sorted({row["m"] for row in rows})
    return {m: np.array([row[name] for row in rows if row["m"] == m], float) for m in ms}


def intervals(groups: Mapping[int, np.ndarray]) -> np.ndarray:
    """(4, k): m, mean, half the width of its 95 % interval (Student's t over seeds), seeds."""
    return np.array(
        [[m, *mean_and_interval(values), values.size] for m, values in groups.items()]
    ).T


def main(sweep: Path, out: Path = TABLE) -> None:
    """Write the table of figure 3's runs.

    Args:
        sweep: file of the sweep of data/fig3.toml.
        out: table to write.
    """
    print(f"{write(sweep, out)} runs: {out}")


if __name__ == "__main__":
    command_line(main)
