"""Figure 5 of the paper: the final fourth norm against the strength of ℓ1 (a) and of bipolar noise
(b), in training and in the flow: it grows with strength and collapses where encodings lose their
length; for ℓ1 that is at the critical λ = 2c/3√3, above which no weight survives.

Means over five instances with their 95 % intervals, n = 8, m = 16, c = 4, at t = 2000. Measured by
`python -m benchmarks.findings.noise figure5a figure5b`. The paper does not state its settings.
Sources: paper, appendix D; theory/README, sections 2, 6 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from paper_figures.tools import benchmark_results, gallery, style
from paper_figures.tools.cache import Data
from theory.equilibrium import critical_lambda


@dataclass(frozen=True)
class Parameters:
    """Where the measurements are: n = 8, m = 16."""

    files: tuple[str, ...] = ("benchmarks/findings/noise.json",)
    n: int = 8
    m: int = 16
    c: float = 4.0


FULL = Parameters()
INSTANCES = 5
TICKS_A, TICKS_B = (1e-4, 1e-3, 0.01, 0.1, 1.0), (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
FAST = FULL


def compute(p: Parameters) -> Data:
    """Per panel: strengths, and (k, 2, 2) fourth norm and length, mean and standard deviation."""
    data = {
        "m": np.array(p.m), "n": np.array(p.n), "critical": critical_lambda(c=p.c),
    }  # fmt: skip
    for panel, strength in (("a", "lam"), ("b", "sigma")):
        curves = benchmark_results.part(p.files[0], f"figure5{panel}")["curves"]
        data[f"{panel}_strength"] = benchmark_results.array([curve[strength] for curve in curves])
        for name in ("flow", "sgd"):
            data[f"{panel}_{name}"] = benchmark_results.array([curve[name] for curve in curves])
    return data


def plot(data: Data) -> Figure:
    """Fourth norm and length against λ and σ."""
    figure, axes = style.canvas(8.6, 2, 1)
    _panel(axes[0], data, "a")
    _panel(axes[1], data, "b")
    critical = float(data["critical"])
    axes[0].axvline(critical, color="black", lw=1.2, ls=style.DASHED)
    axes[0].annotate(f"critical λ = {critical:.2f}", (critical, 0.06), xytext=(-6, 0),
                     textcoords="offset points", ha="right", va="center")  # fmt: skip
    axes[0].set_title("(a) ℓ1, no noise")
    axes[0].set_xlabel("λ")
    axes[1].set_title("(b) bipolar noise, no ℓ1")
    axes[1].set_xlabel("σ")
    axes[0].legend(loc="center", bbox_to_anchor=(0.5, 0.5))
    figure.suptitle(f"n = {int(data['n'])}, m = {int(data['m'])}, c = 4, t = 2000, {INSTANCES} "
                    "instances: mean, bars: its 95 % interval",
                    fontsize=12, x=0.01, ha="left")  # fmt: skip
    return figure


def _panel(axis: Axes, data: Data, panel: str) -> None:
    x = data[f"{panel}_strength"]
    flow, sgd = data[f"{panel}_flow"], data[f"{panel}_sgd"]
    m = int(data["m"])
    axis.axhline(3 / m, color=style.GREY, ls=style.DOTTED, lw=1.4, label="3/m: the paper's line")
    axis.axhline(3 / (m + 2), color="black", ls=(0, (5, 2, 1, 2)), lw=1.1,
                 label="3/(m + 2): a random direction")  # fmt: skip
    # Nothing was measured between the strengths below and above the critical one: no line there.
    shown = flow.copy()
    if panel == "a":
        x, shown = _broken(x, shown, float(data["critical"]))
    axis.plot(x, shown[:, 1, 0], color=style.ORANGE, lw=1.8, ls=style.DASHED,
              label=r"$\|W_i\|_2$, flow")  # fmt: skip
    axis.errorbar(x, *_intervals(shown), color=style.BLUE, lw=1.8, capsize=3,
                  label=r"$\|W_i\|_4^4$, flow")  # fmt: skip
    x = data[f"{panel}_strength"]
    axis.errorbar(1.03 * x, *_intervals(sgd), fmt="s", color=style.RED, mfc="white",
                  ms=6, lw=1.2, capsize=3, label=r"$\|W_i\|_4^4$, training, η = 0.02")  # fmt: skip
    diverged = x[np.isnan(sgd[:, 0, 0])]
    if diverged.size:
        axis.axvspan(np.sqrt(diverged[0] * x[x < diverged[0]][-1]), 1.06 * x[-1], color="0.92",
                     lw=0, zorder=0)  # fmt: skip
        axis.annotate("training diverges", (diverged[0], 1.0), va="center", fontsize=10)
    axis.set_xscale("log")
    axis.set_xlim(x[0] / 1.1, 1.12 * x[-1])
    ticks = [t for t in (TICKS_A if panel == "a" else TICKS_B) if x[0] <= t <= x[-1]]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(-0.02, 1.08)
    axis.set_ylabel("mean over encodings")


def _intervals(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the fourth norm and half the widths of their 95 % intervals."""
    return seen[:, 0, 0], style.half_width(seen[:, 0, 1] / np.sqrt(INSTANCES), INSTANCES)


def _broken(x: np.ndarray, seen: np.ndarray, at: float) -> tuple[np.ndarray, np.ndarray]:
    """With a gap in the line at a strength."""
    k = int(np.searchsorted(x, at))
    return np.insert(x, k, at), np.insert(seen, k, np.nan, axis=0)


if __name__ == "__main__":
    gallery.main(__file__)
