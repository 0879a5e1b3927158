"""Figure 1 of the paper, on a network that was run: tied weights W, a hidden layer, ReLU on the
outputs; at the start every feature is on every neuron, at rest each is on one, and a neuron that
two features share with opposite signs is polysemantic.

Lines are weights: thick for large, solid for positive, dashed for negative. Source: paper, figure
1 and section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis.states import is_polysemantic
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data


@dataclass(frozen=True)
class Parameters:
    """One small run to rest, c = 1."""

    n: int = 5
    m: int = 7
    lam: float = 0.02
    seed: int = 4


FULL = Parameters()
FAST = FULL


def compute(p: Parameters) -> Data:
    """(2, n, m): W at the start and at rest."""
    W0 = gaussian_init(p.n, p.m, seed=p.seed)
    run = integrate([FeatureBenefit(), Interference(), Regularization(p.lam)], W0)
    return {"W": np.array([W0, run.final]), "lam": np.array(p.lam), "seed": np.array(p.seed)}


def plot(data: Data) -> Figure:
    """The network at the start and at rest."""
    figure, axes = style.canvas(9.4, 2, 1)
    for axis, W, when in zip(axes, data["W"], ("at the start", "at rest"), strict=True):
        _network(axis, W)
        axis.set_title(when)
    n, m = data["W"].shape[1:]
    figure.suptitle(f"x → ReLU(W Wᵀx), n = {n} features, m = {m} neurons, "
                    f"λ = {float(data['lam']):g}", fontsize=12, x=0.01, ha="left")  # fmt: skip
    handles = [
        Line2D([], [], color=style.BLUE, lw=2.5, label="W > 0"),
        Line2D([], [], color=style.ORANGE, lw=2.5, ls=style.DASHED, label="W < 0"),
        Line2D([], [], marker="o", color="white", mec="black", mew=2.6, ms=12, ls="none",
               label="polysemantic (two |W| > ½)"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _network(axis: Axes, W: np.ndarray) -> None:
    n, m = W.shape
    features, neurons = -(np.arange(n) + 0.5) / n, -(np.arange(m) + 0.5) / m
    for i in range(n):
        for k in np.flatnonzero(W[i]).tolist():
            size = abs(W[i, k])
            how = {
                "color": style.BLUE if W[i, k] > 0 else style.ORANGE,
                "ls": "-" if W[i, k] > 0 else style.DASHED,
                "lw": 0.4 + 3.2 * size, "alpha": min(1.0, 0.35 + size), "zorder": 1,
            }  # fmt: skip
            axis.plot([0, 1], [features[i], neurons[k]], **how)
            axis.plot([1, 2], [neurons[k], features[i]], **how)
    shared = is_polysemantic(np.abs(W) > 0.5)
    for x, heights, names in ((0, features, "x"), (2, features, "y")):
        axis.plot(np.full(n, x), heights, "o", color="white", mec="black", ms=20, zorder=2)
        for i, y in enumerate(heights):
            axis.text(x, y, f"${names}_{i + 1}$", ha="center", va="center", zorder=3)
    edges = np.where(shared, 3.2, 1.0)
    for k, height in enumerate(neurons):
        axis.plot(1, height, "o", color=style.LIGHT if shared[k] else "white", mec="black",
                  mew=edges[k], ms=17, zorder=2)  # fmt: skip
    for x, text in ((0, "features"), (1, "hidden neurons, $\\ell_1$"), (2, "ReLU outputs")):
        axis.text(x, 0.02, text, ha="center", va="bottom")
    for where, text in ((0.5, "$W^T$"), (1.5, "$W$")):
        axis.text(where, -1.03, text, ha="center", va="top")
    axis.set_xlim(-0.25, 2.25)
    axis.set_ylim(-1.1, 0.08)
    axis.set_axis_off()


if __name__ == "__main__":
    gallery.main(__file__)
