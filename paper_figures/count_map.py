"""The count map ([in words](count_map.md)): polysemantic neurons of the flow at rest over what the
slot law expects, with the 95 % interval, for every m/n and λ√m/c; lines part cells below 0.9
(solid) and above 1.1 (dashed) from the others: it holds at λ√m/c = 1; below there are fewer for m ≥
2n, and more at m = n in large networks.

A star marks cells with runs that did not come to rest, which are in no mean. Every cell with all
that was counted: count_map_table.md. The slot law (a conjecture) and n²/4m differ by less than 2 %
here. Source: theory/README, section 4.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flow.analysis.statistics import mean_and_interval
from flow.sweep.runs import Run, ratios
from paper_figures.tools import fig3_table, gallery, map_table, style
from paper_figures.tools.cache import Data
from theory.counting import slot_mean

OFF = 0.1
"""How far from 1 the cells are that lines part from the others."""


@dataclass(frozen=True)
class Parameters:
    """A rectangle of cells; their runs come from `files` if any, else `seeds` are made."""

    n: tuple[int, ...] = (64, 128, 256)
    m_over_n: tuple[int, ...] = (1, 2, 4, 8, 16)
    coupling: tuple[float, float, int] = (0.01, 1.0, 7)
    """λ√m/c: first, last, and how many in logarithmic steps"""
    seeds: int = 0
    files: tuple[str, ...] = ("paper_figures/data/map.csv.xz",)


FULL = Parameters()
FAST = Parameters(n=(16, 32), m_over_n=(1, 2, 4), coupling=(0.1, 1.0, 3), seeds=6, files=())


def couplings(p: Parameters) -> np.ndarray:
    """The values of λ√m/c."""
    first, last, count = p.coupling
    return np.geomspace(first, last, count)


def rows(p: Parameters) -> Sequence[Mapping[str, Any]]:
    """Runs as rows of a sweep: those of the table, or made here and now."""
    if p.files:
        return map_table.read(gallery.HERE.parent / p.files[0]).rows
    runs = [
        Run(n=n, m=ratio * n, lam=float(f"{coupling / math.sqrt(ratio * n):.9g}"), seed=seed)
        for n in p.n for ratio in p.m_over_n for coupling in couplings(p) for seed in range(p.seeds)
    ]  # fmt: skip
    found = []
    for run, outcome in fig3_table.outcomes(runs):
        measured = {} if outcome.measured is None else vars(outcome.measured)
        found.append(
            {**asdict(run), **ratios(asdict(run)), "finished": outcome.finished, **measured}
        )
    return found


def compute(p: Parameters) -> Data:
    """(n, m/n, λ√m/c): mean of count over slot law, half of its 95 % interval; runs; failures."""
    shape = (len(p.n), len(p.m_over_n), p.coupling[2])
    relative: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    failed = np.zeros(shape, np.int64)
    for row in rows(p):
        near = np.flatnonzero(np.isclose(couplings(p), row["lam_sqrt_m_over_c"], rtol=1e-6))
        if row["n"] not in p.n or row["m_over_n"] not in p.m_over_n or not near.size:
            continue
        place = (p.n.index(row["n"]), p.m_over_n.index(row["m_over_n"]), int(near[0]))
        if row["finished"]:
            relative[place].append(row["polysemantic"] / float(slot_mean(row["n"], row["m"])))
        else:
            failed[place] += 1
    mean, half, done = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.int64)
    for place, values in relative.items():
        mean[place], half[place] = mean_and_interval(values)
        done[place] = len(values)
    return {
        "n": np.array(p.n), "m_over_n": np.array(p.m_over_n), "coupling": couplings(p),
        "ratio": mean, "half_width": half, "runs": done, "failed": failed,
    }  # fmt: skip


def plot(data: Data) -> Figure:
    """One panel for each n, λ√m/c to the right, m/n upwards."""
    figure, axes = style.canvas(0.9 + 2.75 * data["n"].size, data["n"].size, 1, sharex=True,
                                squeeze=False)  # fmt: skip
    for k, axis in enumerate(axes.flat):
        image = _panel(axis, data, k)
    axes.flat[-1].set_xlabel("λ√m/c")
    bar = figure.colorbar(image, ax=list(axes.flat), pad=0.01, fraction=0.04, aspect=40)
    bar.set_label("polysemantic neurons / slot law")
    figure.legend(
        handles=[
            Line2D([], [], color="black", lw=2.6, label="below 0.9"),
            Line2D([], [], color="black", lw=2.6, ls=style.DASHED, label="above 1.1"),
        ],
        loc="outside upper center", ncols=2,
    )  # fmt: skip
    bar.outline.set_visible(False)
    return figure


def _panel(axis: Axes, data: Data, k: int) -> Any:
    ratio, half = data["ratio"][k], data["half_width"][k]
    high, wide = ratio.shape
    axis.grid(False)
    image = axis.imshow(ratio, cmap=style.SIGNED, vmin=0.4, vmax=1.6, origin="lower", aspect="auto")
    for inside, colour, dashes in (
        (ratio < 1.0 - OFF, "black", "solid"),
        (ratio > 1.0 + OFF, "black", style.DASHED),
    ):
        axis.add_collection(LineCollection(_edges(inside), colors=colour, linewidths=2.6,
                                           linestyles=[dashes], zorder=2))  # fmt: skip
    for (row, column), value in np.ndenumerate(ratio):
        if not np.isfinite(value):
            continue
        star = "*" if data["failed"][k, row, column] else ""
        colour = "white" if value < 0.75 else "black"
        how: dict[str, Any] = {"ha": "center", "color": colour, "zorder": 3}
        axis.text(column, row, f"{value:.2f}{star}", va="bottom", fontsize=11.5, **how)
        if not np.isnan(half[row, column]):
            small = f"± {half[row, column]:.2f}".replace("0.", ".")
            axis.text(column, row - 0.06, small, va="top", fontsize=9.5, **how)
    axis.set_xticks(range(wide), [f"{value:.2g}" for value in data["coupling"]])
    axis.set_yticks(range(high), [str(value) for value in data["m_over_n"]])
    axis.set_ylabel("m/n")
    low, high = data["runs"][k].min(), data["runs"][k].max()
    axis.set_title(f"n = {data['n'][k]}, {low}{f' to {high}' if high > low else ''} runs a cell")
    return image


def _edges(inside: np.ndarray) -> list[list[tuple[float, float]]]:
    """Sides, (x, y) to (x, y), that part the cells `inside` : (rows, columns) from the others."""
    upright = [
        [(k + 0.5, i - 0.5), (k + 0.5, i + 0.5)]
        for i, k in np.argwhere(inside[:, 1:] != inside[:, :-1])
    ]
    level = [
        [(k - 0.5, i + 0.5), (k + 0.5, i + 0.5)] for i, k in np.argwhere(inside[1:] != inside[:-1])
    ]
    return upright + level


if __name__ == "__main__":
    gallery.main(__file__)
