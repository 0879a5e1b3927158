"""Figure 7 of the paper: under bipolar noise seven of eight encodings become sparse and one is
stuck, in SGD as in the flow of the expected loss; it has ±1/√7 on the others' neurons, which is
what is left for it when all overlaps are equal and negative. At the caption's σ = 0.01 none of it
happens: σ = 0.15 is drawn.

One instance, n = 8, m = 16, c = 4. Measured by `python -m benchmarks.findings.noise figure7`.
Sources: paper, figure 7 and appendix D; theory/README, sections 6 to 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from flow.pictures.plots import winner_order
from paper_figures.tools import benchmark_results, gallery, style
from paper_figures.tools.cache import Data
from theory.noise import simplex_with_one_stuck


@dataclass(frozen=True)
class Parameters:
    """Where the measurements are."""

    files: tuple[str, ...] = ("benchmarks/findings/noise.json",)
    sigma: float = 0.15
    caption: float = 0.01
    """σ of the paper's caption"""


FULL = Parameters()
FAST = FULL


def compute(p: Parameters) -> Data:
    """(n, times) fourth norms of the flow and of SGD, and the flow's final W."""
    part = benchmark_results.part(p.files[0], "figure7")
    curve, caption = (
        next(c for c in part["curves"] if c["sigma"] == sigma) for sigma in (p.sigma, p.caption)
    )
    W = benchmark_results.array(curve["final"])
    ideal = np.sum(simplex_with_one_stuck(len(W)) ** 4, axis=1)
    return {
        "sigma": np.array(p.sigma),
        "caption": np.array(p.caption),
        "times": benchmark_results.array(part["times"]),
        "flow": benchmark_results.array(curve["flow"]),
        "sgd": benchmark_results.array(curve["sgd"]),
        "flow_at_caption": benchmark_results.array(caption["flow"]),
        "final": W,
        "ideal": np.array([ideal[0], ideal[-1]]),
    }


def plot(data: Data) -> Figure:
    """(a) fourth norm of every encoding over time, (b) W at the end."""
    figure, axes = style.canvas(9.6, 2, 1, height_ratios=(1.25, 1.0))
    times = data["times"]
    axes[0].plot(times, data["flow_at_caption"].mean(axis=0), color=style.LIGHT, lw=7.0, zorder=0,
                 label=f"flow at σ = {float(data['caption']):g}, mean")  # fmt: skip
    for name, colour, width in (("sgd", style.SKY, 0.8), ("flow", style.BLUE, 2.4)):
        # SGD's noise need not leave the same encoding behind that the flow does.
        stuck = int(np.argmin(data[name][:, -20:].mean(axis=1)))
        which = "SGD" if name == "sgd" else "flow"
        others = np.delete(data[name], stuck, axis=0)
        first, *_ = axes[0].plot(times, others.T, color=colour, lw=width)
        first.set_label(f"{which}: the seven that become sparse")
        axes[0].plot(times, data[name][stuck], color=style.ORANGE, lw=1.2 * width,
                     ls="-" if name == "sgd" else style.DASHED,
                     label=f"{which}: the stuck one")  # fmt: skip
    for k, value in enumerate(data["ideal"]):
        axes[0].axhline(value, color="black", lw=1.2, ls=style.DOTTED, zorder=0,
                        label="simplex, one encoding stuck" if k == 0 else None)  # fmt: skip
    axes[0].set_ylim(0.0, 1.2)
    axes[0].set_xlabel("flow time t (learning rate × steps)")
    axes[0].set_ylabel(r"$\|W_i\|_4^4$")
    axes[0].set_title(f"(a) every encoding, bipolar noise, σ = {float(data['sigma']):g}")
    axes[0].legend(loc="center right", bbox_to_anchor=(1.0, 0.41), fontsize=9.5)
    stuck = int(np.argmin(data["flow"][:, -1]))
    rows, columns = winner_order(np.where(np.abs(data["final"]) > 0.5, data["final"], 0.0))
    rows = np.concatenate([rows[rows != stuck], [stuck]])
    shown = data["final"][np.ix_(rows, columns)]
    n, m = shown.shape
    axes[1].grid(False)
    image = axes[1].imshow(shown, cmap=style.SIGNED, vmin=-1, vmax=1, aspect="auto",
                           extent=(0.5, m + 0.5, n + 0.5, 0.5),
                           interpolation="nearest")  # fmt: skip
    for (i, k), value in np.ndenumerate(shown):
        if abs(value) > 0.02:
            large = abs(value) > 0.3
            text = f"{value:.2f}" if large else f"{value:.2f}".replace("0.", ".")
            axes[1].text(k + 1, i + 1, text, ha="center", va="center",
                         fontsize=8.5 if large else 6.5,
                         color="white" if value < -0.6 else "black")  # fmt: skip
    bar = figure.colorbar(image, ax=axes[1], ticks=[-1, 0, 1], pad=0.02, fraction=0.06)
    bar.outline.set_visible(False)
    axes[1].set_xlabel("neurons, ordered by encoding")
    axes[1].set_ylabel("encodings, stuck one last")
    axes[1].set_title("(b) W at the end of the flow")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
