"""Figure 4 of the paper with what it left out: under bipolar noise the encodings become sparse,
under normal noise they do not, and the gradient flow of the expected loss, which knows no learning
rate, does the same: sparsity from noise is not an effect of finite steps.

Mean of ‖W_i‖₄⁴ over features and five instances; SGD as in the authors' code (η = 0.02, 100,000
steps, all instances under the same noise). Measured by `python -m benchmarks.findings.noise
figure4`. Sources: paper, section 3 and figure 4; theory/README, sections 6 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from paper_figures.tools import benchmark_results, gallery, style
from paper_figures.tools.cache import Data
from theory.noise import simplex_with_one_stuck

PUBLISHED = {0.07: 0.32, 0.1: 0.79, 0.15: 0.77}
"""Ends of the paper's curves for bipolar noise, read off (theory/README, section 7)."""


@dataclass(frozen=True)
class Parameters:
    """Where the measurements are: n = 8, m = 16, c = 4."""

    files: tuple[str, ...] = ("benchmarks/findings/noise.json",)
    n: int = 8
    m: int = 16


FULL = Parameters()
INSTANCES = 5
"""Of the paper, under the same noise."""
FAST = FULL


def compute(p: Parameters) -> Data:
    """(σ, times) of means and standard deviations over instances, for each noise."""
    part = benchmark_results.part(p.files[0], "figure4")
    data = {
        "n": np.array(p.n), "m": np.array(p.m),
        "sgd_times": benchmark_results.array(part["sgd_times"]),
        "flow_times": benchmark_results.array(part["flow_times"]),
        "published": np.array(list(PUBLISHED.items())),
        "simplex": np.mean(np.sum(simplex_with_one_stuck(p.n) ** 4, axis=1)),
    }  # fmt: skip
    for law in ("bipolar", "normal"):
        curves = [curve for curve in part["curves"] if curve["law"] == law]
        data[f"{law}_sigma"] = benchmark_results.array([curve["sigma"] for curve in curves])
        for name in ("sgd", "sgd_std", "flow", "flow_std"):
            data[f"{law}_{name}"] = benchmark_results.array([curve[name] for curve in curves])
    return data


def plot(data: Data) -> Figure:
    """Fourth norms over flow time, bipolar noise above, normal noise below."""
    figure, axes = style.canvas(8.6, 2, 1, sharex=True, height_ratios=(1.5, 1.0))
    m = int(data["m"])
    for axis, law in zip(axes, ("bipolar", "normal"), strict=True):
        for k, (sigma, colour) in enumerate(
            zip(data[f"{law}_sigma"], (style.ORANGE, style.SKY, style.BLUE), strict=True)
        ):
            mean = data[f"{law}_sgd"][k]
            spread = style.half_width(data[f"{law}_sgd_std"][k] / np.sqrt(INSTANCES), INSTANCES)
            axis.fill_between(data["sgd_times"], mean - spread, mean + spread, color=colour,
                              alpha=0.25, lw=0)  # fmt: skip
            axis.plot(data["sgd_times"], mean, color=colour, lw=1.8, marker="os^"[k], ms=5,
                      markevery=(3 + 5 * k, max(1, len(mean) // 9)),
                      label=f"SGD, σ = {sigma:g}")  # fmt: skip
            axis.plot(data["flow_times"], data[f"{law}_flow"][k], color="black", lw=1.4,
                      ls=style.DASHED,
                      label="flow of the expected loss" if k == 2 else None)  # fmt: skip
        axis.axhline(3 / m, color=style.GREY, ls=style.DOTTED, lw=1.4,
                     label="3/m: the paper's line")  # fmt: skip
        axis.axhline(3 / (m + 2), color="black", ls=(0, (5, 2, 1, 2)), lw=1.1,
                     label="3/(m + 2): a random direction")  # fmt: skip
        axis.set_title(f"{law} noise")
        axis.set_ylabel(r"mean $\|W_i\|_4^4$")
    for sigma, time, height in ((0.15, 60, 0.83), (0.1, 480, 0.46), (0.07, 1000, 0.29)):
        axes[0].annotate(f"σ = {sigma:g}", (time, height))
    end = data["sgd_times"][-1]
    beside = end * np.array([1.02, 1.02, 1.06])  # two of the three heights are nearly one
    axes[0].plot(beside, data["published"][:, 1], "x", color=style.RED, ms=9, mew=2.2,
                  clip_on=False, label="ends in the paper")  # fmt: skip
    axes[0].axhline(float(data["simplex"]), color=style.GREY, lw=1.0, zorder=0,
                    label="simplex, one encoding stuck")  # fmt: skip
    axes[0].set_ylim(0.0, 1.0)
    axes[1].set_ylim(0.0, 0.3)
    axes[0].legend(loc="center right", bbox_to_anchor=(1.0, 0.54), fontsize=9.5)
    axes[1].set_xlabel("flow time t (learning rate × steps)")
    figure.suptitle(f"n = {int(data['n'])}, m = {m}, c = 4, {INSTANCES} instances: mean, band: its "
                    "95 % interval", fontsize=12, x=0.01, ha="left")  # fmt: skip
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
