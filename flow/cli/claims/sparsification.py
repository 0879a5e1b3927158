"""One encoding on its own: paper, section 2.4 and appendix B."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow.cli.claims.comparison import Comparison, flow_of
from flow.driver.integration import integrate
from flow.forces import velocity
from flow.initial import gaussian_init
from flow.integrators.closed_form import ExactFlow
from theory.equilibrium import critical_lambda, early_kill_bound, equal_survivor_roots
from theory.sparsification import (
    affine_law,
    extinction_schedule,
    gamma,
    l1_rate,
    paper_curve,
    relative_variance,
    relative_variance_bounds,
    threshold,
)
from theory.universal import universal_law, universal_law_at

FIGURE_2 = {"m": 100_000, "lam": 1e-5, "scale": 0.9}
"""The encoding of the paper's figure 2."""


def figure_2_start() -> np.ndarray:
    """(1, m) sizes at t = 0, drawn as the authors draw them (seed 0 of NumPy's old generator)."""
    m, scale = int(FIGURE_2["m"]), FIGURE_2["scale"]
    return np.abs(np.random.RandomState(0).normal(0.0, scale / np.sqrt(m), (1, m)))


def alone(start: np.ndarray, lam: float) -> ExactFlow:
    """The closed-form solution of `start` : (1, m) without interference, c = 1."""
    return ExactFlow(start, growth_constant=1.0, growth_quadratic=1.0, lam=lam)


def the_threshold() -> Sequence[Comparison]:
    """Above which size a weight grows: θ = λ/(1 − ‖W_i‖²). One encoding, m = 50, λ = 0.01."""
    lam = 0.01
    W = gaussian_init(1, 50, seed=0, scale=0.8)
    size = np.abs(W[0])
    rate = velocity(flow_of(lam, interference=False), W)[0] * np.sign(W[0])
    slope, offset = np.polyfit(size, rate, 1)
    return [
        Comparison(
            quantity="size at which a weight neither grows nor shrinks",
            predicted=float(threshold((W**2).sum(), lam)),
            simulated=float(-offset / slope),
            within=1e-12,
        ),
        Comparison(
            quantity="rate at which all gaps are stretched, 1 − ‖W_i‖²",
            predicted=float(1 - (W**2).sum()),
            simulated=float(slope),
            within=1e-12,
        ),
    ]


def balance() -> Sequence[Comparison]:
    """The length is nearly at rest, so 1 − ‖W_i‖² ≈ λ‖W_i‖₁/‖W_i‖². m = 10⁴, λ = 1e-4."""
    lam, m = 1e-4, 10_000
    solution = alone(gaussian_init(1, m, seed=0), lam)
    rows = []
    for slow in (0.05, 0.2, 0.8):
        W = solution.weights(slow / lam)
        norm1, square = np.abs(W).sum(), (W**2).sum()
        rows.append(
            Comparison(
                quantity=f"1 − ‖W_i‖² at λt = {slow:g}",
                predicted=float(lam * norm1 / square),
                simulated=float(1 - square),
                within=0.02 * float(lam * norm1),
            )
        )
    return rows


def theta_law() -> Sequence[Comparison]:
    """‖W_i‖₁ falls as 1/λt; the constant is 1, and 1.138 at most. m = 10⁶, λ = 1e-5."""
    m, lam = 1_000_000, 1e-5
    solution = alone(gaussian_init(1, m, seed=0), lam)
    rows = []
    for x in (0.5, 1.5, 3.0):
        law = universal_law(x, coupling=lam * np.sqrt(m))
        time = float(law.time) / (lam * np.sqrt(m))
        norm1 = float(np.abs(solution.weights(time)).sum())
        rows.append(
            Comparison(
                quantity=f"‖W_i‖₁ at λt√m = {float(law.time):.3g}",
                paper=float(paper_curve(time, lam, m)[0]),
                predicted=float(law.l1 * np.sqrt(m)),
                simulated=norm1,
                within=0.01 * norm1,
            )
        )
    peak = universal_law(np.linspace(0.1, 3.5, 300))  # beyond, few weights are left
    times = peak.time / (lam * np.sqrt(m))
    found = solution.observables(times)["l1"][:, 0] * lam * times
    rows.append(
        Comparison(
            quantity="largest ‖W_i‖₁·λt",
            paper=1.0,
            predicted=float(np.max(peak.l1 * peak.time)),
            simulated=float(found.max()),
            within=0.01,
        )
    )
    return rows


def the_drawn_curve() -> Sequence[Comparison]:
    """Figure 2 itself (m = 10⁵, λ = 1e-5): how far the curve that it draws is from the solution."""
    m, lam = int(FIGURE_2["m"]), FIGURE_2["lam"]
    solution = alone(figure_2_start(), lam)
    deaths = solution.extinction_times()
    last = float(np.max(deaths[np.isfinite(deaths)]))
    times = np.union1d(
        np.geomspace(1.0, last, 400), np.linspace(0.1 * last, last * (1 - 1e-9), 800)
    )
    seen = solution.observables(times)
    norm1, few = paper_curve(times, lam, m)
    over = norm1 / seen["l1"][:, 0]
    return [
        Comparison(quantity="drawn over exact ‖W_i‖₁, most", paper=1.0, predicted=1.275,
                   simulated=float(over.max()), within=0.005),
        Comparison(quantity="drawn over exact ‖W_i‖₁, least", paper=1.0, predicted=0.684,
                   simulated=float(over.min()), within=0.005),
        Comparison(quantity="exact over drawn m', most", paper=1.0, predicted=3.0,
                   simulated=float((seen["nonzeros"][:, 0] / few).max()), within=0.05),
    ]  # fmt: skip


def survivors_and_l1() -> Sequence[Comparison]:
    """m' ≈ ‖W_i‖₁² up to a factor that runs from π/2 to 2. m = 10⁶, λ = 1e-5."""
    m, lam = 1_000_000, 1e-5
    solution = alone(gaussian_init(1, m, seed=0), lam)
    rows = []
    for x in (1e-3, 1.0, 3.0):
        law = universal_law(x, coupling=lam * np.sqrt(m))
        seen = solution.observables([float(law.time) / (lam * np.sqrt(m))])
        rows.append(
            Comparison(
                quantity=f"m'/‖W_i‖₁² at λt√m = {float(law.time):.3g}",
                paper=1.0,
                predicted=float(law.survivors / law.l1**2),
                simulated=float(seen["nonzeros"][0, 0] / seen["l1"][0, 0] ** 2),
                within=0.05,
            )
        )
    return rows


def one_weight_left() -> Sequence[Comparison]:
    """When one weight is left in figure 2 (m = 10⁵, λ = 1e-5); the paper says Θ(1/λ)."""
    lam = FIGURE_2["lam"]
    start = figure_2_start()
    deaths = alone(start, lam).extinction_times()
    simulated = float(np.max(deaths[np.isfinite(deaths)]))
    times = extinction_schedule(start[0], lam).times
    predicted = float(np.max(times[np.isfinite(times)]))
    return [
        Comparison(quantity="time at which one weight is left", paper=1 / lam,
                   predicted=predicted, simulated=simulated, within=0.01),
        Comparison(quantity="the same times λ", paper=1.0, predicted=predicted * lam,
                   simulated=simulated * lam, within=1e-6),
    ]  # fmt: skip


def a_row_that_is_not_killed() -> Sequence[Comparison]:
    """λ ≤ 1/√m keeps a row alive up to a constant: λ√m ≤ 0.482 is safe. 100 rows, m = 1000."""
    n, m = 100, 1000
    W0 = gaussian_init(n, m, seed=0)
    safe = float(early_kill_bound(W0).min())
    rows = []
    for lam, predicted in ((safe, 1.0), *((k / np.sqrt(m), None) for k in (1, 2, 3, 4))):
        final = integrate(flow_of(lam, interference=False), W0).final
        rows.append(
            Comparison(
                quantity=f"share of rows alive at the end, λ√m = {lam * np.sqrt(m):.3g}",
                paper=1.0 if lam <= 1 / np.sqrt(m) else None,
                predicted=predicted,
                within=None if predicted is None else 0.0,
                simulated=float((final != 0).any(axis=1).mean()),
            )
        )
    return rows


def too_large_a_lambda() -> Sequence[Comparison]:
    """Above λ = 2c/(3√3) not even a sparse encoding lives. One weight of size 1, c = 4."""
    critical = float(critical_lambda(c=4.0))
    rows = []
    for share, quantity in ((0.99, "1 % below"), (1.01, "1 % above")):
        final = integrate(flow_of(share * critical, c=4.0), np.array([[1.0]])).final
        root = 0.0 if share > 1 else float(equal_survivor_roots(share * critical, c=4.0)[1])
        rows.append(
            Comparison(
                quantity=f"weight at rest, λ {quantity} {critical:.4g}",
                predicted=root,
                simulated=float(final[0, 0]),
                within=1e-3,
            )
        )
    return rows


def l1_rate_identity() -> Sequence[Comparison]:
    """−d‖W_i‖₁/dt = λm' − (1 − ‖W_i‖²)‖W_i‖₁, against a difference quotient. m = 1000, λ = 1e-3."""
    lam, h = 1e-3, 1e-4
    solution = alone(gaussian_init(1, 1000, seed=0), lam)
    rows = []
    for time in (1.0, 30.0, 300.0):
        before, after = (np.abs(solution.weights(time + s * h)).sum() for s in (-1, 1))
        W = solution.weights(time)
        rate = l1_rate(np.abs(W).sum(), (W**2).sum(), (W != 0).sum(), lam)
        rows.append(
            Comparison(
                quantity=f"d‖W_i‖₁/dt at t = {time:g}",
                predicted=float(rate),
                simulated=float((after - before) / (2 * h)),
                within=1e-6,
            )
        )
    return rows


def variance_of_survivors() -> Sequence[Comparison]:
    """The relative variance of the survivors is of order 1: from π/2 − 1 towards 1. Figure 2."""
    lam, m = FIGURE_2["lam"], int(FIGURE_2["m"])
    start = figure_2_start()
    solution = alone(start, lam)
    low, high = relative_variance_bounds(start[0])
    rows = []
    for time in (10.0, 1e3, 1e4):
        law = universal_law_at(
            lam * time * np.sqrt(m), coupling=lam * np.sqrt(m), norm=FIGURE_2["scale"]
        )
        W = solution.weights(time)[0]
        found, left = float(relative_variance(W)), int((W != 0).sum())
        rows.append(
            Comparison(
                quantity=f"relative variance with {left:,} weights left",
                paper=1.0,
                predicted=_relative_variance_at(float(law.x)),
                simulated=found,
                within=0.01 + 2 / np.sqrt(left),
            )
        )
        rows.append(
            Comparison(
                quantity=f"… within its bounds {low[left - 1]:.3f} … {high[left - 1]:.3f} (1: yes)",
                predicted=1.0,
                simulated=float(low[left - 1] <= found <= high[left - 1]),
                within=0.0,
            )
        )
    return rows


def _relative_variance_at(x: float) -> float:
    """E[X²]/E[X]² − 1 of the survivors of a wide Gaussian row."""
    law = universal_law(x)
    return float(law.survivors / law.l1**2 - 1)


def one_affine_map() -> Sequence[Comparison]:
    """All weights that live are one affine function of where they started. m = 1000, λ = 1e-3."""
    lam = 1e-3
    start = np.abs(gaussian_init(1, 1000, seed=0))
    solution = alone(start, lam)
    rows = []
    for time in (10.0, 100.0, 500.0):
        W = solution.weights(time)[0]
        order = np.argsort(start[0])
        winner, second = order[-1], order[-2]
        stretch = (1 - W[second] / W[winner]) / (1 - start[0, second] / start[0, winner])
        shift = start[0, winner] * (1 - 1 / stretch)
        error = np.abs(affine_law(start[0], W[winner], gamma(shift, start[0, winner])) - W).max()
        rows.append(
            Comparison(
                quantity=f"largest error of the map, t = {time:g}, {int((W != 0).sum())} left",
                predicted=0.0,
                simulated=float(error),
                within=1e-9,
            )
        )
    return rows
