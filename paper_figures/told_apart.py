"""Incidental or necessary, in networks of every kind. Left: features that share a neuron (points),
beside how many must (ticks): what lies beyond the tick is incidental. Right: a shared neuron is
duplicated; where the copy is added as a neuron more the pair parts without cost whether sharing was
needed or not; where it comes instead of the least used neuron it does so if that was unused, and
not otherwise. In the last of two layers nothing parts a pair.

Each feature is counted where its code is largest; networks where 80 % of the features have a winner
are counted, and those that are not are named. 20 seeds, m = 3n/4 (a quarter of n must share) and
3n/2 (none must), n = 32, contexts 20; bars are 95 % intervals, of means over networks and of shares
(Wilson). Measured by `python -m benchmarks.findings.told_apart`. Source: theory/README, section 4.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow.analysis.statistics import mean_and_interval, share_interval
from paper_figures.tools import gallery, style
from paper_figures.tools.benchmark_results import ROOT
from paper_figures.tools.cache import Data

COPIES = ("added", "instead")


@dataclass(frozen=True)
class Parameters:
    """Where the measurements are, and the rules by which they are read."""

    files: tuple[str, ...] = ("benchmarks/findings/told_apart.json",)
    read: float = 0.8
    """share of features with a winner from which on a layer is read"""
    cost: float = 0.1
    """growth of the loss, in c/4, that counts as none"""


FULL = Parameters()
FAST = FULL


def compute(p: Parameters) -> Data:
    """For every network and m: how many are read, features that share (mean, half-width) and those
    that must; and trials (copy, some unused or none, 3): without cost, in all, median growth of
    the loss."""
    kept = json.loads((ROOT / p.files[0]).read_text())
    names, read, sharing, trials = [], [], [], []
    for name, case in kept.items():
        runs = case["runs"]
        last = max(run.get("layer", 1) for run in runs)
        every = [r for r in runs if r.get("start") == "Gaussian" and r["layer"] == last]
        some = [r for r in every if r["winners"] >= p.read]
        count = [r["shared"] + r["crowd"] for r in some]
        m = every[0]["m"]
        must = [
            max(0, 2 * r["shared"] + r["single"] + r["crowd"] - m) for r in some
        ]  # Living features beyond the neurons.
        names.append(name)
        read.append([len(some), len(every)])
        sharing.append(
            [*mean_and_interval(count), float(np.mean(must))] if len(some) > 1 else [np.nan] * 3
        )
        tolerance = p.cost * case["training"]["network"]["c"] / 4.0
        trials.append([_trials(runs, copy, tolerance) for copy in COPIES])
    return {
        "names": np.array(names), "read": np.array(read), "sharing": np.array(sharing),
        "trials": np.array(trials, float),
    }  # fmt: skip


def _trials(runs: list[dict[str, Any]], copy: str, tolerance: float) -> list[list[float]]:
    found = []
    for unused in (True, False):
        some = [
            r for r in runs
            if r.get("intervention") == copy and r["cost"] is not None
            and (r["before"]["unused"] > 0) == unused
        ]  # fmt: skip
        good = sum(
            bool(r["parted"] and r["died"] <= 0 and r["fewer"] > 0 and r["cost"] < tolerance)
            for r in some
        )
        found.append(
            [good, len(some), float(np.median([r["cost"] for r in some])) if some else np.nan]
        )
    return found


def plot(data: Data) -> Figure:
    """A row for each network."""
    names = [str(name) for name in data["names"]]
    figure, (left, right) = style.canvas(
        1.9 + 0.42 * len(names), 1, 2, sharey=True, width_ratios=(1.0, 1.0)
    )
    rows = np.arange(len(names))
    mean, half, must = data["sharing"].T
    left.errorbar(mean, rows, xerr=half, fmt="o", color=style.BLUE, ms=7, capsize=3, lw=1.6,
                  label="share a neuron")  # fmt: skip
    left.plot(must, rows, ls="none", marker="|", ms=15, mew=2.6, color="black", label="must share")
    for row, (some, every) in enumerate(data["read"]):
        if some < every:
            said = "not read" if some < 2 else f"{some} of {every} read"
            left.text(0.98, row, said, transform=left.get_yaxis_transform(), ha="right",
                      va="center", fontsize=9.5, color="0.35")  # fmt: skip
    left.set_xlim(left=-0.7)
    left.set_xlabel("features beyond the first\non their neuron")
    left.set_yticks(rows, names)
    left.set_ylabel("how it was trained")
    left.invert_yaxis()
    _shares(right, data["trials"], rows)
    right.set_xlim(-4, 104)
    right.set_xlabel("pairs that part\nwithout cost (%)")
    for axis in (left, right):
        axis.grid(axis="y", color="0.93", zorder=0)
        axis.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), fontsize=10, handlelength=1.2)
    return figure


def _shares(axis: Axes, trials: np.ndarray, rows: np.ndarray) -> None:
    looks = (
        (0, 0, -0.24, "o", style.SKY, "added, some unused"),
        (0, 1, -0.08, "s", style.SKY, "added, none unused"),
        (1, 0, 0.08, "o", style.RED, "instead, some unused"),
        (1, 1, 0.24, "s", style.RED, "instead, none unused"),
    )
    for copy, free, shift, marker, colour, label in looks:
        good, total, _ = trials[:, copy, free].T
        there = total > 0
        if not there.any():
            continue
        ends = np.array([
            share_interval(int(a), int(b)) for a, b in zip(good[there], total[there], strict=True)
        ])  # fmt: skip
        share = good[there] / total[there]
        axis.errorbar(
            100 * share, rows[there] + shift,
            xerr=100 * np.abs(ends.T - share), fmt=marker, color=colour, ms=6, capsize=2, lw=1.2,
            mfc=colour if free == 0 else "white", label=label,
        )  # fmt: skip


if __name__ == "__main__":
    gallery.main(__file__)
