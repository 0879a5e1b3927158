"""Collisions flipped by hand: a malign sign parts a pair, a benign one does not hold it together.
Of two features on a neuron one weight's sign is turned, at four times of a run, and the run goes
on: benign pairs that are made malign (above, squares) never keep both features, whatever they would
have done (circles); malign ones that are made benign (below, squares) do not keep them either.
Turning both signs (diamonds), which leaves the kind, is the control.

Shares of pairs with 95 % intervals (Wilson), n = 64, m = 128, λ = 0.01, 20 runs; at rest there are
no malign pairs. Measured by `python -m benchmarks.findings.flips`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from flow.analysis.statistics import share_interval
from paper_figures.tools import gallery, style
from paper_figures.tools.benchmark_results import ROOT
from paper_figures.tools.cache import Data

KINDS = ("benign", "malign")
TREATMENTS = ("untouched", "one", "both")


@dataclass(frozen=True)
class Parameters:
    """Where the counts are."""

    files: tuple[str, ...] = ("benchmarks/findings/flips.json",)


FULL = Parameters()
FAST = FULL


def compute(p: Parameters) -> Data:
    """The times, and pairs that keep both features, of how many: (kind, treatment, time, 2)."""
    runs = json.loads((ROOT / p.files[0]).read_text())["runs"].values()
    lines = [line for run in runs for line in run]
    times = list(dict.fromkeys(line["when"] for line in lines))
    counts = np.zeros((len(KINDS), len(TREATMENTS), len(times), 2), int)
    for line in lines:
        if line["treatment"] in TREATMENTS:
            place = (
                KINDS.index(line["kind"]), TREATMENTS.index(line["treatment"]),
                times.index(line["when"]),
            )  # fmt: skip
            counts[place] += line["fates"].get("both", 0), line["pairs"]
    return {"times": np.array(times), "counts": counts}


def plot(data: Data) -> Figure:
    """Benign pairs above, malign ones below."""
    figure, axes = style.canvas(7.0, 2, 1, sharex=True, height_ratios=(1.6, 1.0))
    x = np.arange(len(data["times"]))
    looks = (("o", style.BLUE, "untouched"), ("s", style.RED, "one sign turned"),
             ("D", style.SKY, "both signs turned"))  # fmt: skip
    for axis, kind, of_kind in zip(axes, KINDS, data["counts"], strict=True):
        for k, (marker, colour, label) in enumerate(looks):
            good, total = of_kind[k].T
            there = total > 0
            share = good[there] / total[there]
            ends = np.array([
                share_interval(int(a), int(b))
                for a, b in zip(good[there], total[there], strict=True)
            ])  # fmt: skip
            axis.errorbar(x[there] + 0.13 * (k - 1), 100 * share, 100 * np.abs(ends.T - share),
                          fmt=marker, color=colour, ms=8, capsize=3, lw=1.5,
                          label=label)  # fmt: skip
        axis.set_ylabel(f"{kind} pairs that\nkeep both features (%)")
        axis.set_ylim(-4, 104 if kind == "benign" else 34)
    axes[0].legend(loc="upper left", fontsize=11)
    axes[1].set_xlabel("moment at which a sign was turned")
    axes[1].set_xticks(x, [str(name).replace(", ", "\n") for name in data["times"]])
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
