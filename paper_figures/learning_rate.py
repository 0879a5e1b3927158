"""Sparsity from noise needs no finite learning rate: the smaller η, the closer ‖W_i‖₄⁴ follows the
gradient flow of the expected loss in flow time, and larger η is slower; the paper's implicit term,
which grows with η, would hardly move it, and with one feature or two nothing happens at all.

Bipolar noise, σ = 0.15, m = 16, c = 4; means over 20 instances, bars and bands: their 95 %
intervals (below: of SGD alone). Measured by
`python -m benchmarks.findings.noise rate`. Source: theory/README, section 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from paper_figures.tools import benchmark_results, gallery, style
from paper_figures.tools.cache import Data


@dataclass(frozen=True)
class Parameters:
    """Where the measurements are."""

    files: tuple[str, ...] = ("benchmarks/findings/noise.json",)
    n: int = 8


FULL = Parameters()
FAST = FULL


def compute(p: Parameters) -> Data:
    """Curves (times,) with errors: the flow for every n, SGD and the implicit term for every η."""
    part = benchmark_results.part(p.files[0], "rate")
    flows = {curve["n"]: curve for curve in part["curves"] if curve["what"] == "flow"}
    trained = [c for c in part["curves"] if c["n"] == p.n and c["what"] != "flow"]
    few = [c for c in part["curves"] if c["n"] != p.n and c["what"] == trained[0]["what"]]
    both = ("l4", "error")
    return {
        "n": np.array(p.n), "sigma": np.array(part["sigma"]), "seeds": np.array(part["seeds"]),
        "times": benchmark_results.array(part["times"]),
        "flow": benchmark_results.array([flows[p.n][name] for name in both]),
        "rates": benchmark_results.array([curve["what"] for curve in trained]),
        "sgd": benchmark_results.array([[curve[name] for name in both] for curve in trained]),
        "implicit": benchmark_results.array([curve["implicit"] for curve in trained]),
        "few_n": np.array([curve["n"] for curve in few]),
        "few": benchmark_results.array([[curve[name] for name in both] for curve in few]),
    }  # fmt: skip


def plot(data: Data) -> Figure:
    """Fourth norm against flow time, and below SGD minus flow."""
    figure, axes = style.canvas(8.8, 2, 1, sharex=True, height_ratios=(1.6, 1.0))
    times, exact = data["times"], data["flow"][0]
    n = int(data["n"])
    axes[0].plot(times, exact, color="black", lw=2.0, ls=style.DASHED, zorder=4,
                 label="flow of the expected loss")  # fmt: skip
    every = max(1, len(times) // 20)
    for k, (rate, colour, marker) in enumerate(
        zip(data["rates"], style.SEQUENCE, "os^D", strict=False)
    ):
        mean, error = data["sgd"][k][0], style.half_width(data["sgd"][k][1], int(data["seeds"]))
        at = slice(k % every, None, every)
        how = {"color": colour, "marker": marker, "ms": 5, "capsize": 2, "lw": 1.2}
        axes[0].errorbar(times[at], mean[at], error[at], ls="none", **how,
                         label=f"SGD, η = {rate:g}")  # fmt: skip
        axes[1].errorbar(times[at], (mean - exact)[at], error[at], **how)
    axes[0].plot(times, data["implicit"][0], color=style.RED, lw=1.8, ls=style.DOTTED,
                 label=f"implicit term, η = {data['rates'][0]:g}")  # fmt: skip
    for count, (mean, error), shade in zip(
        data["few_n"], data["few"], ("0.35", "0.65"), strict=True
    ):
        name = "one feature" if count == 1 else f"n = {count}"
        error = style.half_width(error, int(data["seeds"]))
        axes[0].fill_between(times, mean - error, mean + error, color=shade, alpha=0.35, lw=0)
        axes[0].plot(times, mean, color=shade, lw=1.4, label=f"{name}, η = {data['rates'][0]:g}")
    axes[1].axhline(0.0, color="black", lw=1.6, ls=style.DASHED)
    axes[0].set_ylim(0.0, 0.9)
    axes[0].set_ylabel(r"mean $\|W_i\|_4^4$")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=10.5
    )
    axes[0].set_title(f"n = {n}, bipolar noise, σ = {float(data['sigma']):g}; means and 95 % "
                      f"intervals of {int(data['seeds'])}", fontsize=12)  # fmt: skip
    axes[1].set_ylabel("SGD − flow")
    axes[1].set_xlabel("flow time t (learning rate × steps)")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
