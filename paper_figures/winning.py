"""Who wins, on one parameter: the share of features whose initially largest weight wins, against
ε = n/√m. Where m ≥ 2n all sizes lie near one curve for each λ√m/c, the closed form with one fitted
constant; the curve is left, downwards, at m = n for small λ√m/c (crosses), and a little at m = 2n.
Rings are sizes that were predicted before they were run.

Means ± 95 % intervals over runs: those of the count map, and those of
benchmarks/findings/winning.json. Source: theory/README, section 4; theory.winning.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter

from flow.analysis.statistics import mean_and_interval
from paper_figures import count_map
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data
from theory.winning import epsilon, largest_wins, noise


@dataclass(frozen=True)
class Parameters(count_map.Parameters):
    """Cells of the count map, and the couplings that are drawn."""

    n: tuple[int, ...] = (16, 32, 64, 128, 256)
    m_over_n: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    shown: tuple[float, ...] = (0.01, 0.1, 1.0)
    """λ√m/c, of those of the map"""
    files: tuple[str, ...] = ("paper_figures/data/map.csv.xz", "benchmarks/findings/winning.json")


FULL = Parameters()
FAST = Parameters(n=(8, 16), m_over_n=(1, 2, 4), coupling=(1.0, 1.0, 1), shown=(1.0,), seeds=6,
                  files=())  # fmt: skip


def compute(p: Parameters) -> Data:
    """For every Λ, rows (n, m, ε, share, half of its 95 % interval): of the map, and predicted
    (with what was said as a sixth column); and the closed form."""
    cells = defaultdict(list)
    for row in count_map.rows(p):
        if row["finished"] and row["n"] in p.n and row["m_over_n"] in p.m_over_n:
            at = np.flatnonzero(np.isclose(p.shown, row["lam_sqrt_m_over_c"], rtol=1e-6))
            if at.size:
                cells[p.shown[at[0]], row["n"], row["m"]].append(row["largest_stayed"] / row["n"])
    curve = np.geomspace(0.4, 18.0, 120)
    data: dict[str, np.ndarray] = {"shown": np.array(p.shown), "curve": curve}
    for k, coupling in enumerate(p.shown):
        data[f"map{k}"] = np.array([
            [n, m, float(epsilon(n, m)), *mean_and_interval(values)]
            for (found, n, m), values in sorted(cells.items()) if found == coupling
        ])  # fmt: skip
        data[f"law{k}"] = largest_wins(noise(curve, coupling))
        data[f"new{k}"] = _predicted(p, coupling)
    return data


def _predicted(p: Parameters, coupling: float) -> np.ndarray:
    if len(p.files) < 2:
        return np.empty((0, 6))
    kept = json.loads((gallery.HERE.parent / p.files[1]).read_text())
    lines = [
        [
            seen["n"],
            seen["m"],
            said["epsilon"],
            seen["share"],
            float(style.half_width(seen["share_error"], seen["runs"])),
            said["scaling"],
        ]
        for said, seen in zip(kept["predicted"], kept["observed"], strict=True)
        if said["coupling"] == coupling
    ]
    return np.array(lines, float).reshape(-1, 6)


def plot(data: Data) -> Figure:
    """All cells against ε, and what is left of the closed form below."""
    figure, axes = style.canvas(8.6, 2, 1, sharex=True, height_ratios=(1.5, 1.0))
    top, below = axes
    below.axhline(0.0, color="black", lw=1.2)
    colours = (style.BLUE, style.SKY, style.ORANGE)
    for k, (coupling, colour) in enumerate(zip(data["shown"], colours, strict=False)):
        curve, law = data["curve"], data[f"law{k}"]
        valid = (curve >= 1.0) & (curve <= 11.5)
        top.plot(curve[valid], 100 * law[valid], color="black", lw=1.3,
                 label="closed form, one constant a curve" if k == 0 else None)  # fmt: skip
        for which, marker, filled, name in (
            ("map, m ≥ 2n", "o", True, f"λ√m/c = {coupling:g}, m ≥ 2n"),
            ("map, m = n", "X", True, "m = n"),
            ("new, m ≥ 2n", "o", False, "predicted, then run"),
            ("new, m = n", "X", False, "the same, m = n"),
        ):  # fmt: skip
            rows, new = _rows(data, which, k), not filled
            if not len(rows):
                continue
            how = {
                "color": colour, "ls": "none", "marker": marker, "capsize": 2,
                "ms": 11 if new else 7, "mew": 1.6 if new else 0.6,
                "mfc": colour if filled else "none", "mec": "black" if filled else colour,
            }  # fmt: skip
            eps, share, half = rows[:, 2], rows[:, 3], rows[:, 4]
            label = name if k == 0 or which == "map, m ≥ 2n" else None
            top.errorbar(eps, 100 * share, 100 * half, label=label, **how)
            off = share - np.interp(np.log(eps), np.log(curve), law)
            below.errorbar(eps, 100 * off, 100 * half, **how)
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    top.set_ylim(0, 100)
    top.set_ylabel("initially largest weight wins (%)")
    top.legend(loc="lower left", fontsize=10)
    below.set_ylabel("beyond closed form (points)")
    below.set_xlabel("ε = n/√m")
    return figure


def _rows(data: Data, which: str, k: int) -> np.ndarray:
    table, _, shape = which.partition(", ")
    rows = data[f"{table}{k}"]
    square = rows[:, 0] == rows[:, 1]
    return rows[square if shape == "m = n" else ~square]


if __name__ == "__main__":
    gallery.main(__file__)
