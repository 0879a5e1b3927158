"""The universal law: whatever the number of neurons, from a thousand to ten million, an encoding
sparsifies along one curve without a fitted constant; what is left below is the scatter of a random
start, of the size 1/√m' of the survivors that there are.

One encoding, interference off, exact solution. Source: theory/README, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from flow import gaussian_init
from flow.integrators.closed_form import ExactFlow
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data
from theory.universal import universal_law, universal_law_at


@dataclass(frozen=True)
class Parameters:
    """One encoding without interference, c = 1."""

    ms: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6, 10**7)
    coupling: float = 3e-3
    """λ√m"""
    seed: int = 0
    fewest: float = 30.0
    """each is drawn while the law leaves so many survivors"""


FULL = Parameters()
FAST = Parameters(ms=(10**3, 10**4, 10**5))


def compute(p: Parameters) -> Data:
    """For every m, (3, k): λt√m, simulated ‖W‖₁/√m and m'/m; and the law at the same times."""
    law = universal_law_at(np.geomspace(0.02, 2e3, 151), coupling=p.coupling)
    law = universal_law(law.x[law.survivors * max(p.ms) >= p.fewest], coupling=p.coupling)
    data = {
        "ms": np.array(p.ms), "coupling": np.array(p.coupling), "seed": np.array(p.seed),
        "law": np.array([law.time, law.l1, law.survivors]),
    }  # fmt: skip
    for m in tqdm(p.ms, desc="neurons", leave=False, disable=None):
        lam = p.coupling / np.sqrt(m)
        W0 = gaussian_init(1, m, seed=p.seed)
        flow = ExactFlow(W0, growth_constant=1.0, growth_quadratic=1.0, lam=lam)
        shown = law.survivors * m >= p.fewest
        seen = flow.observables(law.time[shown] / p.coupling)
        data[f"m{m}"] = np.array([
            law.time[shown], seen["l1"][:, 0] / np.sqrt(m), seen["nonzeros"][:, 0] / m,
        ])  # fmt: skip
    return data


def plot(data: Data) -> Figure:
    """The curves on one another, and their residuals."""
    figure, axes = style.canvas(8.4, 2, 1, sharex=True, height_ratios=(1.35, 1.0))
    top, below = axes
    time, l1, _ = data["law"]
    drawn = 1 / (1 + time)
    top.plot(time, l1, color="black", lw=1.6, label="universal law, nothing fitted", zorder=3)
    top.plot(time, drawn, color=style.GREY, ls=style.DOTTED, label="paper's curve")
    below.axhline(0.0, color="black", lw=1.6)
    below.plot(time, 100 * (drawn / l1 - 1), color=style.GREY, ls=style.DOTTED)
    for m, colour, marker in zip(data["ms"], style.SEQUENCE[1:], "os^Dv", strict=False):
        seen = data[f"m{m}"]
        law = l1[: seen.shape[1]]
        label = f"$m = 10^{{{round(np.log10(m))}}}$"
        how = {"color": colour, "marker": marker, "ms": 5, "markeredgewidth": 0.0}
        # Staggered, so that each is seen although they lie on one another.
        every = slice(int(np.log10(m)) % 5, None, 5)
        top.plot(seen[0, every], seen[1, every], ls="none", label=label, **how)
        below.plot(seen[0, every], 100 * (seen[1] / law - 1)[every], lw=1.0, **how)
    for axis in axes:
        axis.set_xscale("log")
    top.set_yscale("log")
    top.set_ylabel(r"$\|W_i\|_1\,/\sqrt{m}$")
    top.set_title(f"One curve for all m (exact solution, λ√m = {float(data['coupling']):g}, "
                  f"seed {int(data['seed'])})")  # fmt: skip
    top.legend(loc="lower left")
    below.set_ylim(-22, 30)
    below.set_ylabel("relative to the law (%)")
    below.set_xlabel(r"$\lambda t\sqrt{m}$")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
