"""When the plateau collapses, λt_c, against its time T/√n without interference: the delay grows in
proportion to n at every m/n, as was written down before the runs (lines), up to n = 128, and less
beyond at m = n and 2n. As far as was looked it has no limit in the time λt√n, in which the start of
the flow has one. Linear outputs (hollow), under which all overlaps are held at zero, wait longer.
Below, the height of the plateau, at 60 % of λt_c: for ReLU outputs and m = n it stands near the
(n + 1)/2 non-zeros that orthogonality needs.

Means of the runs of benchmarks/findings/plateau.json, λ√m/c = 0.01, and 95 % intervals. Source:
theory/README, section 3; theory.plateau.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter

from benchmarks.findings import plateau
from flow.analysis.statistics import standard_error
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data
from theory.plateau import plateau_height


@dataclass(frozen=True)
class Parameters:
    """Which runs are drawn; those of no file are made."""

    n: tuple[int, ...] = (32, 64, 128, 256, 512)
    m_over_n: tuple[int, ...] = (1, 2, 4, 8)
    leaks: tuple[float, ...] = (0.0, 1.0)
    """slopes of the output below zero: ReLU, linear"""
    seeds: int = 0
    """runs to make of each, where there is no file"""
    files: tuple[str, ...] = ("benchmarks/findings/plateau.json",)


FULL = Parameters()
FAST = Parameters(n=(16, 24), m_over_n=(1, 2), seeds=2, files=())


def compute(p: Parameters) -> Data:
    """Lines (leak, m/n, n, delay, its half-width, m'/n, its half-width); delays that were predicted
    (m/n, n)."""
    if p.files:
        runs = json.loads((gallery.HERE.parent / p.files[0]).read_text())["runs"]
    else:
        runs = [
            plateau.measure(n, ratio * n, leak, seed)
            for n in p.n for ratio in p.m_over_n for leak in p.leaks for seed in range(p.seeds)
        ]  # fmt: skip
    cells = defaultdict(list)
    for row in runs:
        place = row["leak"], row["m"] // row["n"], row["n"]
        if place[0] in p.leaks and place[1] in p.m_over_n and place[2] in p.n:
            cells[place].append((row["collapse"], row["height"]))
    lines = []
    for (leak, ratio, n), found in sorted(cells.items()):
        if len(found) < 2:
            continue
        times, heights = np.array(found).T
        unit = plateau.alone(ratio) / math.sqrt(n)
        half = [
            float(style.half_width(standard_error(x), len(found))) for x in (times / unit, heights)
        ]
        lines.append([leak, ratio, n, times.mean() / unit - 1, half[0], heights.mean(), half[1]])
    said = [[plateau.predicted(n, r) * math.sqrt(n) / plateau.alone(r) - 1 for n in p.n]
            for r in p.m_over_n]  # fmt: skip
    return {"lines": np.array(lines), "n": np.array(p.n), "m_over_n": np.array(p.m_over_n),
            "said": np.array(said)}  # fmt: skip


def plot(data: Data) -> Figure:
    """Delays above, heights below."""
    figure, (top, below) = style.canvas(8.4, 2, 1)
    sizes = data["lines"][:, 2] / data["lines"][:, 1]
    eps = np.sqrt(np.geomspace(sizes.min(), sizes.max(), 50))
    below.plot(eps, plateau_height(eps**2) / eps**2, color="black", lw=1.2, ls=style.DASHED,
               label="(n + 1)/2n at m = n")  # fmt: skip
    for k, (ratio, colour, marker) in enumerate(
        zip(data["m_over_n"], style.SEQUENCE, "ovsD", strict=False)
    ):
        top.plot(data["n"], data["said"][k], color=colour, lw=1.2,
                 label="predicted, ReLU" if k == 0 else None)  # fmt: skip
        for leak, filled in ((0.0, True), (1.0, False)):
            rows = data["lines"][(data["lines"][:, 0] == leak) & (data["lines"][:, 1] == ratio)]
            if not len(rows):
                continue
            n, delay, off, height, width = rows[:, 2:].T
            how = {"color": colour, "marker": marker, "ms": 8, "capsize": 3, "ls": "none",
                   "mew": 1.6, "mfc": colour if filled else "white"}  # fmt: skip
            shown = delay > off
            top.errorbar(n[shown], delay[shown], off[shown],
                         label=f"m/n = {ratio}" if filled else None, **how)  # fmt: skip
            name = "linear outputs" if not filled and k == 0 else None
            below.errorbar(np.sqrt(n / ratio), height, width, label=name, **how)
    for axis in (top, below):
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    top.set_yscale("log")
    top.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    top.set_xlabel("n")
    top.set_ylabel("delay of the collapse, over T/√n")
    top.legend(loc="lower right", fontsize=10, ncols=2)
    below.set_xlabel("ε = n/√m")
    below.set_ylabel("non-zeros on the plateau, m'/n")
    below.set_ylim(0.4, 1.15)
    below.legend(loc="upper right", fontsize=10)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
