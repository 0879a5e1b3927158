"""The loss, its solutions, and how strong interference is: paper, sections 2.2, 2.3 and 2.5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow.cli.claims.comparison import Comparison, flow_of, over_runs
from flow.driver.integration import integrate
from flow.forces import FeatureBenefit, Interference, velocity
from flow.initial import gaussian_init
from theory.interference import (
    free_directions,
    initial_benefit,
    initial_interference,
    pair_decay,
)


def loss_and_forces() -> Sequence[Comparison]:
    """The forces are the slope of the network's squared error, with c = 4. n = 6, m = 9."""
    rng = np.random.default_rng(0)
    W, direction = gaussian_init(6, 9, seed=0), rng.normal(size=(6, 9))
    h = 1e-6

    def loss(weights: np.ndarray) -> float:
        outputs = np.maximum(weights @ weights.T, 0.0)  # column i is the output for input e_i
        return float(((outputs - np.eye(6)) ** 2).sum() + 0.01 * np.abs(weights).sum())

    slope = -(loss(W + h * direction) - loss(W - h * direction)) / (2 * h)
    forces = velocity(flow_of(0.01, c=4.0), W)
    slow = integrate(flow_of(0.01 / 4), W, t_end=20.0, rtol=1e-5).final
    fast = integrate(flow_of(0.01, c=4.0), W, t_end=5.0, rtol=1e-5).final
    return [
        Comparison(
            quantity="forces along a random direction, λ = 0.01",
            predicted=slope,
            simulated=float((forces * direction).sum()),
            within=1e-6,
        ),
        Comparison(
            quantity="largest |W(4, λ, t) − W(1, λ/4, 4t)|",
            predicted=0.0,
            simulated=float(np.abs(slow - fast).max()),
            within=1e-9,
        ),
    ]


def perfect_solutions() -> Sequence[Comparison]:
    """Neurons with 0, 1 or 2 features (of opposite signs) solve the task. n = 5, m = 6."""
    W = np.zeros((5, 6))
    W[[0, 1, 2, 3, 4], [0, 0, 1, 3, 3]] = [1.0, -1.0, -1.0, -1.0, 1.0]
    outputs = np.maximum(W @ W.T, 0.0)
    return [
        Comparison(quantity="squared error of the network", predicted=0.0,
                   simulated=float(((outputs - np.eye(5)) ** 2).sum()), within=0.0),
        Comparison(quantity="largest |dW/dt| without ℓ1", predicted=0.0, within=0.0,
                   simulated=float(np.abs(velocity([FeatureBenefit(), Interference()], W)).max())),
    ]  # fmt: skip


def interference_at_the_start() -> Sequence[Comparison]:
    """Interference along W_i at a Gaussian start has mean (n − 1)s⁴/2m. 200 starts, s = 0.9."""
    rows = []
    for n, m in ((32, 32), (32, 256)):
        found = []
        for seed in range(200):
            W = gaussian_init(n, m, seed=seed, scale=0.9)
            G = W @ W.T
            np.fill_diagonal(G, 0.0)
            found.append(float((np.maximum(G, 0.0) ** 2).sum(axis=1).mean()))
        predicted = float(initial_interference(n, m, 0.9))
        rows.append(
            over_runs(
                f"Σ_j ReLU(G_ij)², n = {n}, m = {m}", found, predicted=predicted,
                within=0.05 * predicted,
            )
        )  # fmt: skip
    return rows


def interference_against_benefit() -> Sequence[Comparison]:
    """Interference over feature benefit at the start, and what it does later; n = 64."""
    rows = []
    for m in (64, 512, 4096):
        ratios = []
        for seed in range(4):
            W = gaussian_init(64, m, seed=seed, scale=0.9)
            benefit = (FeatureBenefit().rate(W) * W).sum()
            ratios.append(float(-(Interference().rate(W) * W).sum() / benefit))
        predicted = float(initial_interference(64, m, 0.9) / initial_benefit(m, 0.9))
        rows.append(
            over_runs(f"interference over benefit at the start, m = {m}", ratios,
                      predicted=predicted, within=0.25 * predicted)
        )  # fmt: skip
    lam, W0 = 0.004, gaussian_init(64, 64, seed=0)
    for interference in (False, True):
        final = integrate(flow_of(lam, interference=interference), W0, t_end=0.5 / lam).final
        rows.append(
            Comparison(
                quantity=f"m' at λt = 0.5, m = 64, {'with' if interference else 'no'} interference",
                simulated=float((final != 0).sum(axis=1).mean()),
            )
        )
    return rows


def decay_of_a_pair() -> Sequence[Comparison]:
    """A positive overlap falls at the rate ‖W_i‖² + ‖W_j‖²; later many stay at the size of λ."""
    h = 1e-5
    W = gaussian_init(2, 8, seed=3)
    W[1] *= np.sign(W[0] @ W[1])
    moved = W + h * velocity([Interference()], W)
    overlap = float(W[0] @ W[1])
    predicted = float(pair_decay(overlap, (W[0] ** 2).sum(), (W[1] ** 2).sum()))
    n, lam = 64, 0.004
    held = integrate(flow_of(lam), gaussian_init(n, n, seed=0), t_end=0.3 / lam).final
    above = (held @ held.T)[np.triu_indices(n, 1)]
    active = float((above > 1e-3 * lam).mean())
    left = float((held != 0).sum(axis=1).mean())
    return [
        Comparison(quantity="d ln G_ij/dt of a pair alone (n = 2, m = 8)",
                   predicted=predicted / overlap, within=1e-3,
                   simulated=float((moved[0] @ moved[1] - overlap) / (h * overlap))),
        Comparison(quantity="share of pairs with G_ij > 0, λt = 0.3, n = 64", paper=0.0,
                   simulated=active),
        Comparison(quantity="their mean G_ij/λ", simulated=float(above[above > 0].mean() / lam)),
        Comparison(quantity="room above 1 + f(n − 1)/2 non-zeros, at least 0",
                   simulated=float(free_directions(n, left, active))),
    ]  # fmt: skip


def without_l1() -> Sequence[Comparison]:
    """Without ℓ1 no weight dies and all angles end at 90° or more. n = 16, m = 32, to t = 2000."""
    run = integrate([FeatureBenefit(), Interference()], gaussian_init(16, 32, seed=0), t_end=2000.0)
    W = run.final
    G = W @ W.T
    return [
        Comparison(quantity="non-zero weights of an encoding", predicted=32.0, within=0.0,
                   simulated=float((W != 0).sum(axis=1).mean())),
        Comparison(quantity="length of an encoding, mean", predicted=1.0, within=1e-3,
                   simulated=float(np.sqrt(np.diag(G)).mean())),
        Comparison(quantity="largest overlap of two encodings", predicted=0.0, within=2e-2,
                   simulated=float(G[np.triu_indices(16, 1)].max())),
    ]  # fmt: skip


def overlaps_as_lambda_falls() -> Sequence[Comparison]:
    """The largest overlap at λt = 0.2 falls with λ, as the limit λ → 0 needs. n = m = 32."""
    rows = []
    for lam in (0.02, 0.005, 0.00125):
        W = integrate(flow_of(lam), gaussian_init(32, 32, seed=0), t_end=0.2 / lam).final
        above = (W @ W.T)[np.triu_indices(32, 1)]
        rows.append(
            Comparison(
                quantity=f"largest G_ij/λ at λ = {lam:g}", simulated=float(above.max() / lam)
            )
        )
    return rows
