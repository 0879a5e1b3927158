"""The words of the glossary, seen: (a) slots, a benign and a malign collision, (b) the race within
one encoding, with its threshold, its extinctions and its winner, (c) plateau and collapse of the
number of non-zeros, (d) a stuck encoding under noise.

(b) is one encoding without interference, (c) the mean over the features of one run, (d) the end of
the flow of the expected loss. Sources: theory/GLOSSARY; theory/README, sections 2, 3 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow import (
    FeatureBenefit,
    Interference,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    gaussian_init,
    integrate,
)
from flow.integrators.closed_form import ExactFlow
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data
from theory.sparsification import threshold


@dataclass(frozen=True)
class Parameters:
    """One small run for each panel, c = 1 but for (d), which has the paper's 4."""

    weights: int = 8
    """of the encoding of (b)"""
    race_lam: float = 0.03
    n: int = 64
    """features and neurons of (c)"""
    lam: float = 0.004
    sigma: float = 0.15
    """of the bipolar noise of (d), n = 8, m = 12"""
    t_end: float = 400.0
    """of (d)"""
    seed: int = 0


FULL = Parameters()
FAST = Parameters(n=32, t_end=250.0)


def compute(p: Parameters) -> Data:
    """(b) times, sizes (times, m) and θ; (c) λt and m', on and off; (d) W at the end, in order."""
    start = np.abs(gaussian_init(1, p.weights, seed=p.seed, scale=0.9))
    race = ExactFlow(start, growth_constant=1.0, growth_quadratic=1.0, lam=p.race_lam)
    deaths = race.extinction_times()
    times = np.linspace(0.0, 1.15 * float(np.max(deaths[np.isfinite(deaths)])), 400)
    sizes = np.array([race.weights(t)[0] for t in times])
    W0 = gaussian_init(p.n, p.n, seed=p.seed)
    slow = np.geomspace(0.02, 2.0, 160)
    left = []
    for more in ([Interference()], []):
        seen = integrate(
            [FeatureBenefit(), Regularization(p.lam), *more], W0, t_end=2.0 / p.lam
        ).observables
        left.append(np.interp(slow, p.lam * seen.times, seen.nonzeros.mean(axis=1)))
    noisy = [force(p.sigma, "bipolar", 4.0) for force in (NoisyFeatureBenefit, NoisyInterference)]
    W = integrate(noisy, gaussian_init(8, 12, seed=p.seed), t_end=p.t_end).final
    fourths = (W**4).sum(axis=1) / (W**2).sum(axis=1) ** 2
    rows = np.argsort(-fourths, kind="stable")
    # Sparse encodings first, each on a neuron of its own, the stuck one last.
    own = np.argmax(np.abs(W[rows[:-1]]), axis=1)
    columns = [*dict.fromkeys(own), *np.setdiff1d(np.arange(W.shape[1]), own)]
    return {
        "times": times, "sizes": sizes, "theta": threshold((sizes**2).sum(axis=1), p.race_lam),
        "slow": slow, "left": np.array(left), "n": np.array(p.n),
        "W": W[rows][:, columns],
    }  # fmt: skip


def plot(data: Data) -> Figure:
    """Four panels with the words written where they are seen."""
    figure, axes = style.canvas(7.4, 2, 2)
    _slots(axes[0, 0])
    _race(axes[0, 1], data)
    _plateau(axes[1, 0], data)
    _stuck(axes[1, 1], data)
    return figure


def _slots(axis: Axes) -> None:
    """Three neurons, each with a slot for either sign."""
    on = {
        1: ((1, "A", style.BLUE),),
        2: ((1, "B", style.BLUE), (-1, "C", style.ORANGE)),
        3: ((1, "D and E", style.RED),),
    }
    names = {1: "mono-\nsemantic", 2: "poly-\nsemantic:\nbenign", 3: "malign\ncollision"}
    for neuron in (1, 2, 3):
        taken = {sign: (feature, color) for sign, feature, color in on[neuron]}
        for sign in (1, -1):
            feature, color = taken.get(sign, ("free slot", "white"))
            axis.bar(
                neuron, 0.92 * sign, width=0.78, color=color, edgecolor=style.GREY,
                ls="-" if sign in taken else style.DASHED, lw=1.2,
            )  # fmt: skip
            axis.text(neuron, 0.46 * sign, feature, ha="center", va="center", fontsize=10.5,
                      color="white" if color in (style.BLUE, style.RED) else "black")  # fmt: skip
        axis.text(neuron, -1.08, names[neuron], ha="center", va="top", fontsize=10.5)
    axis.axhline(0.0, color="black", lw=1.0)
    axis.set(
        title="(a) slots", xticks=[1, 2, 3], yticks=[-1, 0, 1], xlim=(0.5, 3.5), ylim=(-1.95, 1.1)
    )
    axis.set_xlabel("neuron")
    axis.set_ylabel("weight of a feature")


def _race(axis: Axes, data: Data) -> None:
    """Sizes of one row, its threshold, deaths and winner."""
    times, sizes = data["times"], data["sizes"]
    winner = int(np.argmax(sizes[-1]))
    for k in range(sizes.shape[1]):
        axis.plot(times, sizes[:, k], color=style.BLUE if k == winner else style.SKY,
                  lw=2.4 if k == winner else 1.4)  # fmt: skip
        dead = np.flatnonzero(sizes[:, k] == 0.0)
        if dead.size:
            axis.plot(times[dead[0]], 0.0, "x", color="black", ms=7, clip_on=False, zorder=5)
    shown = data["theta"] < 1.05
    axis.plot(times[shown], data["theta"][shown], color=style.RED, ls=style.DASHED, lw=1.8)
    axis.set(title="(b) one encoding: the race", ylim=(0.0, 1.05), xlim=(0.0, times[-1]))
    middle = times.size // 2
    axis.text(times[middle], sizes[middle, winner] + 0.04, "winner", ha="right", fontsize=10.5)
    half = int(0.3 * times.size)
    axis.text(times[half], data["theta"][half] - 0.04, "threshold θ", va="top",
              color=style.RED, fontsize=10.5)  # fmt: skip
    axis.text(0.98, 0.22, "× extinctions", transform=axis.transAxes, ha="right", fontsize=10.5)
    axis.set_xlabel("flow time t")
    axis.set_ylabel("|W_ik|")


def _plateau(axis: Axes, data: Data) -> None:
    """Non-zeros with interference on and off."""
    n = int(data["n"])
    on, off = data["left"]
    axis.plot(data["slow"], off, color=style.ORANGE, lw=2.6, ls=style.DASHED,
              label="interference off")  # fmt: skip
    axis.plot(data["slow"], on, color=style.BLUE, lw=2.4, label="interference on")
    axis.axhline(n / 2, color=style.GREY, lw=1.2, ls=style.DOTTED)
    axis.set(title="(c) plateau and collapse", xscale="log", yscale="log", ylim=(0.8, 1.3 * n))
    axis.text(0.022, 0.86 * n / 2, "n/2", va="top", color=style.GREY, fontsize=10.5)
    axis.text(0.3, 1.25 * n / 2, "plateau", fontsize=10.5)
    axis.text(0.72, 0.25 * n, "collapse", fontsize=10.5)
    axis.legend(loc="lower left")
    axis.set_xlabel("λt")
    axis.set_ylabel("non-zeros m' of an encoding")


def _stuck(axis: Axes, data: Data) -> None:
    """W with its stuck row last."""
    W = data["W"]
    axis.imshow(W, cmap=style.SIGNED, vmin=-1.0, vmax=1.0, aspect="auto")
    axis.set(title="(d) the last is stuck", xticks=[], yticks=range(len(W)))
    axis.set_yticklabels([str(k + 1) for k in range(len(W))])
    axis.grid(False)
    axis.set_xlabel("neurons")
    axis.set_ylabel("encodings, one a row")


if __name__ == "__main__":
    gallery.main(__file__)
