"""Who wins: the share of features whose winner was, at the start, among the r largest of its
weights (dotted: by chance). The initially largest weight wins for a sixth of the features at m = n
and for half of them at m = 16n: what is counted at the start is not what is decided there.

The runs are those of figure 3 (the flow of its loss, to rest). Bars are 95 % intervals over seeds.
Sources: paper, section 1.1; theory/README, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter

from paper_figures import fig3_counts
from paper_figures.tools import fig3_table, gallery, style
from paper_figures.tools.cache import Data


@dataclass(frozen=True)
class Parameters(fig3_counts.Parameters):
    """Some of figure 3's runs."""

    ms: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    files: tuple[str, ...] = ("paper_figures/data/fig3_flow.json",)


FULL = Parameters()
FAST = Parameters(n=32, lam=0.04, ms=(32, 64, 128), seeds=4, files=())


def compute(p: Parameters) -> Data:
    """For every m, (3, ranks): share of winners of initial rank ≤ r, its half-width, seeds."""
    found = fig3_counts.rows(p)
    data = {
        "n": np.array(p.n), "lam": np.array(p.lam), "c": np.array(p.c), "ms": np.array(p.ms),
        "ranks": fig3_table.RANKS,
    }  # fmt: skip
    for m in p.ms:
        shares = np.array([row["rank_at_most"] for row in found if row["m"] == m]) / p.n
        each = {int(rank): shares[:, k] for k, rank in enumerate(fig3_table.RANKS)}
        data[f"m{m}"] = fig3_table.intervals(each)[1:]
    return data


def plot(data: Data) -> Figure:
    """Cumulative shares, one line for each m."""
    figure, axis = style.canvas(5.9)
    for k, (m, colour, marker) in enumerate(zip(data["ms"], style.SEQUENCE, "os^Dv", strict=False)):
        share, half, seeds = data[f"m{m}"]
        shown = data["ranks"] <= 64
        axis.errorbar(
            data["ranks"][shown],
            100 * share[shown],
            100 * np.nan_to_num(half[shown]),
            color=colour, marker=marker, ms=6, capsize=3, lw=1.6,
            label=f"m = {m}, {seeds[0]:.0f} seeds",
        )  # fmt: skip
        axis.plot(data["ranks"][shown], 100 * data["ranks"][shown] / m, color=colour, lw=1.0,
                  ls=style.DOTTED, label="by chance, r/m" if k == 0 else None)  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(FormatStrFormatter("%d"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(0, 103)
    axis.set_xlabel("initial rank r of the winning weight (1 is the largest)")
    axis.set_ylabel("winners of rank ≤ r (%)")
    axis.set_title(f"n = {int(data['n'])}, λ = {float(data['lam']):g}, c = {float(data['c']):g}, "
                   "flow to rest")  # fmt: skip
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
