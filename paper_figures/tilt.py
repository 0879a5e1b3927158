"""The tilted slot law: with one number θ more than the slot law, chosen for the mean count, its
variance is that of the runs. θ depends on λ√m/c and, for m ≥ 2n, on ε = n/√m alone: for small λ√m/c
it falls from 1, where features hardly meet, to 0.7 near ε = 6 and rises past 1 beyond, highest at
m = n (hollow); at λ√m/c = 1 the slot law holds throughout.

Runs of the count map; bars are 95 % intervals. The curve of θ was seen after the runs and is not
explained. Source: theory/README, section 4; theory.counting.tilted_slot_law.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter

from paper_figures import count_map
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data
from theory.counting import fit_tilt, slot_law, tilted_slot_law


@dataclass(frozen=True)
class Parameters(count_map.Parameters):
    """Cells of the count map."""

    n: tuple[int, ...] = (16, 32, 64, 128, 256)
    m_over_n: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    shown: tuple[float, ...] = (0.01, 0.1, 1.0)
    """λ√m/c at which θ is drawn"""
    fewest: int = 64
    """smallest n whose variances are told: counts of 0 to 2 have no normal errors"""


FULL = Parameters()
FAST = Parameters(n=(16, 32), m_over_n=(1, 2, 4), coupling=(0.1, 1.0, 3), shown=(0.1, 1.0), seeds=6,
                  fewest=8, files=())  # fmt: skip


def compute(p: Parameters) -> Data:
    """θ with its interval, (n, m/n, λ√m/c, 3), NaN where it cannot be told; for every λ√m/c the
    observed variance over the slot law's and over the tilted law's, of all cells, with half of the
    ratio's interval."""
    counts = defaultdict(list)
    for row in count_map.rows(p):
        near = np.flatnonzero(np.isclose(count_map.couplings(p), row["lam_sqrt_m_over_c"],
                                         rtol=1e-6))  # fmt: skip
        if row["finished"] and row["n"] in p.n and row["m_over_n"] in p.m_over_n and near.size:
            place = (p.n.index(row["n"]), p.m_over_n.index(row["m_over_n"]), int(near[0]))
            counts[place].append(row["polysemantic"])
    theta = np.full((len(p.n), len(p.m_over_n), p.coupling[2], 3), np.nan)
    spread = np.zeros((p.coupling[2], 2, 2))
    for j in range(p.coupling[2]):
        ratios: list[list[float]] = [[], []]
        weights = []
        for (a, b, at), seen in sorted(counts.items()):
            if at != j or len(seen) < 3:
                continue
            n, m = p.n[a], p.n[a] * p.m_over_n[b]
            tilt = fit_tilt(seen, n, m)
            theta[a, b, j] = tilt.theta, tilt.low, tilt.high
            if n < p.fewest or not 0.0 < tilt.theta < math.inf:
                continue
            for law, into in zip((slot_law(n, m), tilted_slot_law(n, m, tilt.theta)), ratios,
                                 strict=True):  # fmt: skip
                into.append(float(np.var(seen, ddof=1)) / law.var())
            weights.append(len(seen) - 1)
        if weights:
            total = sum(weights)
            for k, values in enumerate(ratios):
                mean = float(np.dot(weights, values)) / total
                spread[j, k] = mean, 1.96 * mean * math.sqrt(2.0 / total)
    return {
        "n": np.array(p.n), "m_over_n": np.array(p.m_over_n), "coupling": count_map.couplings(p),
        "shown": np.array(p.shown), "fewest": np.array(p.fewest), "theta": theta, "spread": spread,
    }  # fmt: skip


def plot(data: Data) -> Figure:
    """θ against ε, one panel for each λ√m/c; then variances."""
    panels = len(data["shown"])
    figure, axes = style.canvas(2.3 * panels + 3.0, panels + 1, 1)
    ratios = data["m_over_n"]
    for axis, coupling in zip(axes, data["shown"], strict=False):
        j = int(np.argmin(np.abs(np.log(data["coupling"] / coupling))))
        axis.axhline(1.0, color="black", lw=1.2, label="slot law")
        looks = zip(style.SEQUENCE[1:], "Dvos^", strict=True)
        for k, (n, (colour, marker)) in enumerate(zip(data["n"], looks, strict=False)):
            theta, low, top = data["theta"][k, :, j].T
            bars = np.array([theta - low, np.minimum(top, 9.0) - theta])
            at = float(n) ** 0.5 / np.sqrt(ratios) * 1.02 ** (2 * k - data["n"].size + 1)
            shown = np.isfinite(theta)
            for some, filled in ((shown & (ratios > 1), True), (shown & (ratios == 1), False)):
                if some.any():
                    first = filled or not np.any(shown & (ratios > 1))
                    axis.errorbar(at[some], theta[some], bars[:, some], color=colour, ls="none",
                                  marker=marker, ms=7, capsize=3, mew=1.6,
                                  mfc=colour if filled else "white",
                                  label=f"n = {n}" if first else None)  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_ylim(0.4, 2.1)
        axis.set_ylabel("θ")
        axis.set_title(f"λ√m/c = {coupling:g}")
        axis.set_xlabel("ε = n/√m")
    axes[0].legend(loc="upper left", ncols=3, fontsize=10)
    last = axes[-1]
    last.axhline(1.0, color="black", lw=1.2)
    for k, (name, colour, marker) in enumerate(
        (("slot law", style.GREY, "s"), ("tilted slot law", style.BLUE, "o"))
    ):
        mean, half = data["spread"][:, k].T
        last.errorbar(data["coupling"] * 1.04 ** (2 * k - 1), mean, half, color=colour,
                      marker=marker, ms=7, capsize=3, lw=1.2, label=name)  # fmt: skip
    last.set_xscale("log")
    last.set_ylim(0.6, 1.3)
    last.set_xlabel("λ√m/c")
    last.set_ylabel("variance over a law's")
    last.set_title(
        f"Observed variance of the count, all sizes with n ≥ {int(data['fewest'])} together"
    )
    last.legend(loc="lower right", fontsize=10)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
