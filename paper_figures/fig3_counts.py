"""Figure 3 of the paper, on its own terms: polysemantic neurons at the end of the flow of the loss
that its AdamW was given, run to rest, beside AdamW by the authors' protocol, the means they
plotted, n²/4m, and the slot law. At m = n the counts lie above n²/4m, for m ≥ 2n below it, in the
flow as in AdamW: their deficit is not the optimizer's alone.

Bars are 95 % intervals of means (Student's t over seeds); the band holds 95 % of single runs if
the slot law (a conjecture) is true. The authors' own bars were the logarithm of a standard
deviation and are left out. Sources: paper, figure 3; theory/README, sections 4 and 7.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter
from scipy.special import stdtrit

from flow.sweep.runs import Run
from paper_figures.tools import fig3_table, gallery, style
from paper_figures.tools.cache import Data
from theory.counting import paper_count, slot_law

PUBLISHED = (
    72, 24, 13.7, 10.1, 8.4, 8.2, 6.2, 5.4, 5.0, 4.9, 4.2, 3.8, 3.3, 3.5, 3.6, 3.8,
)  # fmt: skip
"""Means plotted in the paper for m = 256, 512, … 4096, read off to ±3 % (theory/README, section
7)."""


@dataclass(frozen=True)
class Parameters:
    """Runs to rest; their rows come from `files` if there are any."""

    n: int = 256
    lam: float = 1e-3
    c: float = 4.0
    ms: tuple[int, ...] = tuple(range(256, 4097, 256))
    seeds: int = 16
    """at most; a table may have fewer so far"""
    files: tuple[str, ...] = (
        "paper_figures/data/fig3_flow.json",
        "paper_figures/data/adamw_figure3.json",
    )


FULL = Parameters()
FAST = Parameters(n=32, lam=0.04, ms=(32, 64, 128), seeds=4, files=())


def rows(p: Parameters) -> list[fig3_table.Row]:
    """What is known of every run."""
    if p.files:
        found = fig3_table.read(gallery.HERE.parent / p.files[0])
        return [row for row in found if row["m"] in p.ms and row["seed"] < p.seeds]
    return fig3_table.run_all(
        [Run(n=p.n, m=m, lam=p.lam, c=p.c, seed=seed) for m in p.ms for seed in range(p.seeds)]
    )


def adamw(files: Sequence[str]) -> np.ndarray:
    """(4, k) as :func:`fig3_table.intervals`, of AdamW's counts by the authors' window."""
    if len(files) < 2:
        return np.empty((4, 0))
    cases = json.loads(Path(gallery.HERE.parent / files[1]).read_text())
    runs = [run for case in cases.values() for run in case["runs"]]
    return fig3_table.intervals(fig3_table.by_m(runs, "polysemantic_window"))


def share_of_paper_count(n: int, groups: Mapping[int, np.ndarray]) -> np.ndarray:
    """(2,) sum of all counts over that of n²/4m, for m ≥ 2n, and half of its 95 % interval.

    The interval is from the scatter between seeds of equal m.
    """
    wide = {m: values for m, values in groups.items() if m >= 2 * n and values.size > 1}
    expected = sum(float(paper_count(n, m)) * values.size for m, values in wide.items())
    variance = sum(values.size * values.var(ddof=1) for values in wide.values())
    half = stdtrit(sum(values.size - 1 for values in wide.values()), 0.975) * np.sqrt(variance)
    return np.array([sum(values.sum() for values in wide.values()), half]) / expected


def compute(p: Parameters) -> Data:
    """Means over seeds of flow and AdamW, and what is predicted for their m."""
    found = rows(p)
    groups = fig3_table.by_m(found, "polysemantic")
    ms = np.unique(np.round(np.geomspace(min(p.ms), max(p.ms), 60))).astype(np.int64)
    laws = [slot_law(p.n, int(m)) for m in ms]
    return {
        "n": np.array(p.n), "lam": np.array(p.lam), "c": np.array(p.c),
        "flow": fig3_table.intervals(groups),
        "runs": np.array([(m, value) for m, values in groups.items() for value in values]).T,
        "share": share_of_paper_count(p.n, groups),
        "adamw": adamw(p.files),
        "published": np.array([range(256, 4097, 256), PUBLISHED] if p.files else np.empty((2, 0))),
        "law": np.array([ms, [law.mean() for law in laws],
                         *np.array([law.interval(0.95) for law in laws]).T]),
        "paper": paper_count(p.n, ms),
    }  # fmt: skip


def plot(data: Data) -> Figure:
    """Counts against m, and below relative to n²/4m."""
    figure, axes = style.canvas(9.0, 2, 1, sharex=True, height_ratios=(1.5, 1.0))
    n = int(data["n"])
    for axis, relative in zip(axes, (False, True), strict=True):
        _panel(axis, data, n, relative)
    top, below = axes
    below.set_xscale("log")
    top.set_yscale("log")
    for values in (top.yaxis, below.xaxis):
        values.set_major_formatter(FormatStrFormatter("%d"))
        values.set_minor_formatter(NullFormatter())
    ticks = data["flow"][0]
    below.set_xticks([m for m in ticks if np.log2(m / ticks[0]) % 1 == 0])
    top.set_yticks([k for k in (1, 2, 5, 10, 20, 50, 100) if k <= n / 2])
    top.set_ylim(0.7, n / 2)
    below.set_ylim(0.0, 1.9)
    top.set_ylabel("polysemantic neurons")
    below.set_ylabel("relative to n²/4m")
    below.set_xlabel("neurons m")
    top.legend(loc="upper right")
    top.set_title(f"n = {n}, λ = {float(data['lam']):g}, c = {float(data['c']):g}")
    style.note(top, _made(data), where="lower left")
    return figure


def _panel(axis: Axes, data: Data, n: int, relative: bool) -> None:
    def scaled(m: np.ndarray, values: np.ndarray) -> np.ndarray:
        return values / paper_count(n, m) if relative else values

    m, mean, low, high = data["law"]
    axis.fill_between(m, scaled(m, np.maximum(low, 0.5)), scaled(m, high), step="mid",
                      color=style.LIGHT, lw=0, label="slot law: 95 % of runs")  # fmt: skip
    axis.plot(
        m,
        scaled(m, mean),
        color="black",
        lw=1.4,
        ls=style.DASHED,
        label="slot law: mean (n²/4m lies on it)",
    )
    axis.plot(m, scaled(m, data["paper"]), color=style.GREY, ls=style.DOTTED)
    at, value = data["runs"]
    axis.plot(at, np.where(value > 0, scaled(at, value), np.nan), ".", color=style.SKY, ms=4,
              label="flow, single runs")  # fmt: skip
    for name, colour, marker, shift, label in (
        ("adamw", style.ORANGE, "s", 1.03, "AdamW"),
        ("flow", style.BLUE, "o", 1.0, "flow to rest"),
    ):
        at, value, half = data[name][:3]
        if at.size:
            axis.errorbar(shift * at, scaled(at, value), scaled(at, np.nan_to_num(half)),
                          fmt=marker, color=colour, ms=6, capsize=3, lw=1.4, zorder=4,
                          label=label)  # fmt: skip
    at, value = data["published"]
    if at.size:
        axis.plot(at / 1.02, scaled(at, value), "x", color=style.RED, ms=7, mew=1.8,
                  label="AdamW, as published", zorder=3)  # fmt: skip


def _made(data: Data) -> str:
    seeds = data["flow"][3].astype(int)
    share, error = data["share"]
    lines = [
        f"flow: {_span(seeds)} seeds for each m;",
        f"m ≥ 2n: {share:.2f} ± {error:.2f} of n²/4m",
    ]
    none = int(np.sum(data["runs"][1] == 0))
    if none:
        lines.append(f"runs with none, off the axis: {none}")
    if data["adamw"].size:
        at, instances = data["adamw"][[0, 3]].astype(int)
        lines += [
            "AdamW: the authors' 7,500 steps,",
            f"{', '.join(map(str, instances))} seeds (theirs: 16 each)",
            f"at m = {', '.join(map(str, at))} only",
        ]
    return "\n".join(lines)


def _span(values: np.ndarray) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


if __name__ == "__main__":
    gallery.main(__file__)
