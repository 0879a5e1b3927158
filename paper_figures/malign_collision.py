"""A malign collision: two features on one neuron with the same sign. Every pair that was simulated
ends with the larger weight alone, the equal split is a saddle, and the time of the loser's death is
the closed form's to about a percent, however close the race.

Two features, one neuron, all forces, c = 1. Sources: paper, section 2.5; theory/README, sections 2,
3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from flow import FeatureBenefit, Interference, Regularization, Trajectory, integrate
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data
from theory.collisions import malign_fixed_points, malign_rate, race_time, separatrix
from theory.equilibrium import equal_survivor_roots


@dataclass(frozen=True)
class Parameters:
    """Pairs of the phase plane, and races."""

    lam: float = 0.05
    """of the phase plane"""
    sizes: tuple[float, ...] = (0.15, 0.45, 1.1)
    """larger of the two weights at the start"""
    ratios: tuple[float, ...] = (0.3, 0.6, 0.85, 0.97)
    """smaller over larger, in the phase plane"""
    race_lams: tuple[float, ...] = (0.1, 0.01)
    gaps: tuple[float, ...] = (0.7, 0.5, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3)
    """1 − smaller/larger, in the races, which start at length 1"""
    rtol: float = 1e-6


FULL = Parameters()
FAST = Parameters(gaps=(0.5, 0.1, 0.01))


def collide(u: float, v: float, lam: float, rtol: float, save_at: np.ndarray | None) -> Trajectory:
    """The run of two features with weights u and v on one neuron."""
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    end = None if save_at is None else float(save_at[-1])
    return integrate(
        forces, np.array([[u], [v]]), rtol=rtol, events=True, save_at=save_at, t_end=end
    )


def compute(p: Parameters) -> Data:
    """Paths (pairs, times, 2), and for every λ and gap the simulated and the predicted times."""
    times = np.concatenate([[0.0], np.geomspace(0.05, 20.0 / p.lam, 300)])
    starts = [(s, s * r) for s in p.sizes for r in p.ratios]
    starts += [(v, u) for u, v in starts]
    paths = [collide(u, v, p.lam, p.rtol, times).weights[:, :, 0] for u, v in starts]
    races = []
    for lam in tqdm(p.race_lams, desc="races", leave=False, disable=None):
        for gap in p.gaps:
            a = 1 / np.hypot(1.0, 1.0 - gap)
            b = a * (1.0 - gap)
            deaths = collide(a, b, lam, p.rtol, None).events.extinctions
            [died] = deaths.time[deaths.feature == 1]
            races.append([lam, gap, died, race_time(a, b, lam, order=0), race_time(a, b, lam)])
    points = malign_fixed_points(p.lam)
    low, high = equal_survivor_roots(p.lam)
    return {
        "lam": np.array(p.lam),
        "paths": np.array(paths),
        "races": np.array(races),
        "points": np.array([[point.u, point.v] for point in points]),
        "kinds": np.array([point.kind for point in points]),
        "axis": np.array([low, high]),
        "separatrix": separatrix(p.lam, reach=1.25),
    }


def plot(data: Data) -> Figure:
    """Phase plane, race times, and their errors."""
    figure, axes = style.canvas(11.4, 3, 1, height_ratios=(6.4, 2.8, 1.6))
    _plane(axes[0], data)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    axes[1].sharex(axes[2])
    lams = np.unique(data["races"][:, 0])
    for lam, colour, marker in zip(lams[::-1], style.SEQUENCE[::2], "osD", strict=False):
        _, gap, died, slow, first = data["races"][data["races"][:, 0] == lam].T
        how = {"color": colour, "marker": marker, "ls": "none", "ms": 6}
        axes[1].plot(gap, lam * died, label=f"simulated, λ = {lam:g}", **how)
        axes[2].plot(gap, 100 * (first / died - 1), **(how | {"ls": "-", "lw": 1}))
        if lam == lams[0]:
            axes[1].plot(gap, lam * slow, color="black", lw=1.6, ls=style.DASHED, zorder=0,
                         label="closed form, λ → 0")  # fmt: skip
        axes[1].plot(gap, lam * first, color=colour, lw=1.2, zorder=0,
                     label=None if lam != lams[0] else "closed form, first order")  # fmt: skip
    axes[1].set_ylabel("λT, T: death of the loser")
    axes[1].set_title("How long the race takes")
    axes[1].set_ylim(bottom=0.0)
    axes[1].tick_params(labelbottom=False)
    axes[1].legend(loc="upper right")
    axes[2].axhline(0.0, color="black", lw=1.0)
    axes[2].set_xscale("log")
    axes[2].set_ylabel("closed form\n− simulated (%)")
    axes[2].set_xlabel("1 − smaller / larger weight at the start")
    return figure


def _plane(axis: Axes, data: Data) -> None:
    lam, reach = float(data["lam"]), 1.2
    grid = np.linspace(0.01, reach, 60)
    u, v = np.meshgrid(grid, grid)
    du, dv = malign_rate(u, v, lam)
    axis.streamplot(grid, grid, du, dv, color="0.8", linewidth=0.8, arrowsize=0.8, density=1.1)
    axis.plot(*data["separatrix"].T, color="black", ls=style.DASHED, lw=1.4, zorder=2,
              label="separatrix (theory)")  # fmt: skip
    for k, path in enumerate(data["paths"]):
        label = "simulated pairs" if k == 0 else None
        axis.plot(path[:, 0], path[:, 1], color=style.BLUE, lw=1.8, zorder=3, label=label)
        axis.plot(*path[0], "o", color=style.BLUE, ms=5, zorder=3)
    large = data["axis"][1]
    axis.plot([large, 0.0, 0.0], [0.0, large, 0.0], "*", color=style.ORANGE, ms=17, mec="black",
              clip_on=False, zorder=5, label="attractors (theory)")  # fmt: skip
    for kind, marker in (("saddle", "s"), ("repeller", "D")):
        at = data["points"][data["kinds"] == kind]
        axis.plot(*at.T, marker, color="white", mec="black", mew=1.6, ms=9, ls="none", zorder=5,
                  label=f"{kind} (theory)")  # fmt: skip
    axis.set_aspect("equal")
    axis.set_xlim(-0.05, reach)
    axis.set_ylim(-0.05, reach)
    axis.set_xlabel("weight of one feature")
    axis.set_ylabel("weight of the other")
    axis.set_title(f"Malign collision, λ = {lam:g}, c = 1")


if __name__ == "__main__":
    gallery.main(__file__)
