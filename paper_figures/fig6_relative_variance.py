"""Figure 6 of the paper: the relative variance of the weights that are left stays of the order of
1, inside the bounds of appendix B from the same start (those from the mid-quantiles of a normal
start, which no start hits, are left by up to a factor of 2 at the end); the universal law says
which constant, from π/2 − 1 = 0.57 at the start towards 1.

One encoding, interference off, exact solution; bounds from the start itself and from one that hits
the mid-quantiles. Sources: paper, appendix B and figure 6; theory/README, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from flow.integrators.closed_form import ExactFlow
from paper_figures.fig2_sparsification import Parameters as Encoding
from paper_figures.fig2_sparsification import start
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data
from theory.sparsification import (
    half_normal_quantiles,
    relative_variance,
    relative_variance_bounds,
)
from theory.universal import excess_mean, excess_square, survivor_share, universal_law


@dataclass(frozen=True)
class Parameters:
    """One encoding without interference, c = 1."""

    m: int = 100_000
    lam: float = 1e-5
    scale: float = 0.9
    seed: int = 0
    """of NumPy's legacy generator, which the authors used"""
    points: int = 250


FULL = Parameters()
FAST = Parameters(m=10_000, lam=1e-4, points=80)


def compute(p: Parameters) -> Data:
    """Relative variance over time with its bounds, while two weights or more are left."""
    W0 = start(Encoding(m=p.m, lam=p.lam, scale=p.scale, seed=p.seed))
    flow = ExactFlow(W0, growth_constant=1.0, growth_quadratic=1.0, lam=p.lam)
    deaths = flow.extinction_times()
    last = float(np.max(deaths[np.isfinite(deaths)]))
    # Early changes are slow in ln t, late ones happen from one extinction to the next.
    times = np.union1d(
        np.geomspace(1.0, 0.1 * last, p.points),
        np.linspace(0.02 * last, 0.999 * last, 2 * p.points),
    )
    variance = np.array([
        float(relative_variance(flow.weights(t)[0]))
        for t in tqdm(times, desc="times", leave=False, disable=None)
    ])  # fmt: skip
    survivors = flow.observables(times)["nonzeros"][:, 0]
    bounds = {
        "own": relative_variance_bounds(W0[0]),
        "quantiles": relative_variance_bounds(half_normal_quantiles(p.m, scale=p.scale)),
    }
    x = np.linspace(0.0, 6.0, 601)
    law = universal_law(x, coupling=p.lam * np.sqrt(p.m), norm=p.scale)
    limit = survivor_share(x) * excess_square(x) / excess_mean(x) ** 2 - 1.0
    shown = (law.survivors * p.m >= 2.0) & (law.time > 0.0)
    return {
        "m": np.array(p.m), "lam": np.array(p.lam), "times": times, "variance": variance,
        "survivors": survivors,
        **{name: np.array(both)[:, survivors - 1] for name, both in bounds.items()},
        "law": np.array([law.time / (p.lam * np.sqrt(p.m)), limit])[:, shown],
    }  # fmt: skip


def plot(data: Data) -> Figure:
    """Relative variance against time, on a logarithmic axis, with both pairs of bounds."""
    figure, axis = style.canvas(5.0)
    times = data["times"]
    for name, colour, dashes, width, label in (
        ("own", style.RED, "-", 4.0, "bounds from the start itself"),
        ("quantiles", style.ORANGE, style.DASHED, 1.4, "bounds from mid-quantiles"),
    ):
        low, high = data[name]
        axis.plot(times, low, color=colour, ls=dashes, lw=width, label=label)
        axis.plot(times, high, color=colour, ls=dashes, lw=width)
    axis.plot(times, data["variance"], color=style.BLUE, lw=1.8, label="exact solution")
    axis.plot(*data["law"], color="black", lw=1.6, ls=style.DOTTED, label="universal law")
    axis.set_xscale("log")
    axis.set_ylim(0.0, 2.0)
    axis.set_xlabel("flow time t")
    axis.set_ylabel("relative variance of the non-zeros")
    axis.set_title(f"One encoding, m = {int(data['m']):,}, λ = {float(data['lam']):g}, "
                   "interference off")  # fmt: skip
    axis.legend(loc="upper left")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
