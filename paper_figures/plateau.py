"""The plateau: with interference the number of non-zeros of an encoding stops falling at about n/2
and then collapses at once, while without it it falls as 1/(λt)². It stands on the pairs of features
that interference holds at G_ij = 0: they leave no freedom below 1 + f(n − 1)/2 non-zeros, f being
their share. It is there where neurons are about as many as features, and gone when they are 32
times as many.

Mean over features of one run each. Sources: theory/README, section 3;
theory.interference.free_directions (the bound; that runs keep to it is measured, why f stays and
when pairs let go is not explained).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data
from theory.interference import free_directions
from theory.universal import universal_law


@dataclass(frozen=True)
class Parameters:
    """The same start with interference on and off, c = 1."""

    n: int = 64
    lam: float = 0.004
    m_over_n: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    seed: int = 0
    last: float = 3.0
    """λt at which runs end"""


FULL = Parameters()
FAST = Parameters(n=32, lam=0.005, m_over_n=(1, 2, 4, 8))


def compute(p: Parameters) -> Data:
    """For every ratio (2, times): mean m', interference on and off; the bound of the pairs that are
    held (2, looks); and the law (2, k)."""
    scaled = np.geomspace(2e-3, p.last, 160)
    looks = np.geomspace(0.05, p.last, 50)
    data = {
        "n": np.array(p.n), "lam": np.array(p.lam), "seed": np.array(p.seed),
        "ratios": np.array(p.m_over_n), "time": scaled,
    }  # fmt: skip
    for ratio in tqdm(p.m_over_n, desc="ratios", leave=False, disable=None):
        m = ratio * p.n
        W0 = gaussian_init(p.n, m, seed=p.seed)
        rows = []
        for more in ([Interference()], []):
            run = integrate(
                [FeatureBenefit(), Regularization(p.lam), *more], W0, t_end=p.last / p.lam,
                save_at=looks / p.lam if more else None,
            )  # fmt: skip
            seen = run.observables
            rows.append(np.interp(scaled, p.lam * seen.times, seen.nonzeros.mean(axis=1)))
            if more:
                data[f"bound{ratio}"] = np.array(
                    [looks, [-free_directions(p.n, 0.0, attracted(W)) for W in run.weights]]
                )
        coupling = p.lam * np.sqrt(m)
        law = universal_law(np.linspace(0.01, 5.0, 400), coupling=min(coupling, 1.0))
        shown = (law.survivors * m >= 2) & (law.time / np.sqrt(m) >= scaled[0])
        data[f"ratio{ratio}"] = np.array(rows)
        data[f"law{ratio}"] = np.array([law.time / np.sqrt(m), law.survivors * m])[:, shown]
    return data


def attracted(W: np.ndarray) -> float:
    """The share f of pairs with G_ij > 0, on which interference acts."""
    G = W @ W.T
    return float(np.mean(G[np.triu_indices(len(W), 1)] > 0.0))


def plot(data: Data) -> Figure:
    """One panel for each ratio."""
    ratios, n = data["ratios"], int(data["n"])
    rows = (len(ratios) + 1) // 2
    figure, axes = style.canvas(0.6 + 2.8 * rows, rows, 2, sharex=True, sharey=True, squeeze=False)
    for axis, ratio in zip(axes.flat, ratios, strict=False):
        on, off = data[f"ratio{ratio}"]
        axis.plot(*data[f"bound{ratio}"], color=style.GREY, lw=1.6, ls=style.DOTTED,
                  label="fewest that the held pairs allow")  # fmt: skip
        axis.plot(data["time"], off, color=style.ORANGE, lw=3.0, label="interference off")
        axis.plot(*data[f"law{ratio}"], color="black", lw=1.2, ls=style.DASHED,
                  label="universal law")  # fmt: skip
        axis.plot(data["time"], on, color=style.BLUE, lw=2.2, label="interference on")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(f"m/n = {ratio}")
    for axis in axes[-1]:
        axis.set_xlabel("λt")
    for axis in axes[:, 0]:
        axis.set_ylabel("non-zeros m'")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    figure.suptitle(f"n = {n}, λ = {float(data['lam']):g}, c = 1, seed {int(data['seed'])}, "
                    "means over features",
                    x=0.01, ha="left", fontsize=12)  # fmt: skip
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
