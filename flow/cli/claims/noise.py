"""Noise in the hidden layer instead of ℓ1: paper, section 3, appendices C and D."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from flow.cli.claims.comparison import Comparison
from flow.driver.integration import integrate
from flow.forces import Force, NoisyFeatureBenefit, NoisyInterference
from flow.initial import gaussian_init
from theory.noise import (
    expected_loss,
    fourth_moment,
    implicit_path,
    noise_law,
    residual_interference,
    simplex_with_one_stuck,
)

N, M, C = 8, 12, 4.0
"""Features and neurons of this page, and the c of the paper's loss."""


def _forces(sigma: float, law: str) -> list[Force]:
    return [NoisyFeatureBenefit(sigma, law, C), NoisyInterference(sigma, law, C)]


def _fourths(W: np.ndarray) -> np.ndarray:
    """(n,) ‖W_i‖₄⁴/‖W_i‖₂⁴."""
    return np.asarray((W**4).sum(axis=1) / (W**2).sum(axis=1) ** 2)


def rotations_under_normal_noise() -> Sequence[Comparison]:
    """The expected loss after a rotation of the hidden layer over that before it. σ = 0.3."""
    W = gaussian_init(N, M, seed=0)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(M, M)))[0]
    rows = []
    for law in ("normal", "bipolar"):
        before, after = (
            sum(float(np.asarray(force.energy(V))) for force in _forces(0.3, law))
            for V in (W, W @ turn)
        )
        predicted = [
            expected_loss(V, 0.3, noise_law(law), "normal" if law == "normal" else "enumeration")
            for V in (W, W @ turn)
        ]
        rows.append(
            Comparison(
                quantity=f"{law} noise: loss turned over loss, less 1",
                paper=0.0 if law == "normal" else None,
                predicted=predicted[1] / predicted[0] - 1,
                simulated=after / before - 1,
                within=1e-4,
            )
        )
    return rows


def fourth_moment_of_noise() -> Sequence[Comparison]:
    """E (W_i·ξ)⁴ over all 2¹² patterns of bipolar noise against both formulas. σ = 1."""
    w = gaussian_init(1, M, seed=0)[0]
    patterns = np.array(list(itertools.product((-1.0, 1.0), repeat=M)))
    square, fourth = np.sum(w**2) ** 2, np.sum(w**4)
    return [
        Comparison(
            quantity="E (W_i·ξ)⁴; paper: as printed, with its factor 6",
            paper=float(fourth + 6 * (square - fourth)),
            predicted=float(fourth_moment(w, 1.0, -2.0)),
            simulated=float(np.mean((patterns @ w) ** 4)),
            within=1e-12,
        )
    ]


def sign_of_the_kurtosis() -> Sequence[Comparison]:
    """Change of ‖W_i‖₄⁴/‖W_i‖₂⁴ from t = 20 to 200, by the kurtosis of the noise. σ = 0.15."""
    rows = []
    for law, kurtosis in (("bipolar", -2), ("uniform", -1.2), ("normal", 0), ("laplace", 3)):
        run = integrate(
            _forces(0.15, law), gaussian_init(N, M, seed=0), save_at=[20.0, 200.0], t_end=200.0
        )
        early, late = (_fourths(W).mean() for W in run.weights[-2:])
        still = law == "normal"
        rows.append(
            Comparison(
                quantity=f"{law} noise, excess kurtosis {kurtosis:g}",
                predicted=0.0 if still else None,
                within=1e-3 if still else None,
                simulated=float(late - early),
            )
        )
    return rows


def cause_of_the_sparsity() -> Sequence[Comparison]:
    """Rise of ‖W_i‖₄⁴ from t = 20 to 200, bipolar noise of 0.15: paper's cause, and flow."""
    W0 = gaussian_init(N, M, seed=0)
    run = integrate(_forces(0.15, "bipolar"), W0, save_at=[20.0, 200.0], t_end=200.0)
    early = run.weights[-2]
    implicit = implicit_path(early, [0.0, 180.0], 0.02, 0.15, -2.0)
    lone = integrate(_forces(0.15, "bipolar"), W0[:1], save_at=[20.0, 200.0], t_end=200.0)
    return [
        Comparison(
            quantity="eight features (paper: its term alone, η = 0.02)",
            paper=float((implicit[1] - implicit[0]).mean()),
            simulated=float(_fourths(run.final).mean() - _fourths(early).mean()),
        ),
        Comparison(
            quantity="one feature alone, same term",
            paper=float(implicit[1, 0] - implicit[0, 0]),
            predicted=0.0,
            simulated=float(_fourths(lone.final)[0] - _fourths(lone.weights[-2])[0]),
            within=1e-3,
        ),
    ]


def strength_of_the_noise() -> Sequence[Comparison]:
    """Mean ‖W_i‖₄⁴/‖W_i‖₂⁴ at t = 400 for bipolar noise; as σ⁴ it would change steadily."""
    W0 = gaussian_init(N, M, seed=0)
    rows = [Comparison(quantity="at the start", simulated=float(_fourths(W0).mean()))]
    for sigma in (0.01, 0.0375, 0.075, 0.15):
        final = integrate(_forces(sigma, "bipolar"), W0, t_end=400.0).final
        bound = float(residual_interference(N, sigma))
        rows.append(
            Comparison(
                quantity=f"σ = {sigma:g} (noise can cost a pair ≤ {bound:.1e})",
                simulated=float(_fourths(final).mean()),
            )
        )
    return rows


def stuck_encoding() -> Sequence[Comparison]:
    """Where bipolar noise of 0.15 ends: seven sparse encodings and one stuck on their neurons."""
    run = integrate(_forces(0.15, "bipolar"), gaussian_init(N, M, seed=0), t_end=400.0)
    found = np.sort(_fourths(run.final))
    simplex = np.sort(_fourths(simplex_with_one_stuck(N)))
    G = run.final @ run.final.T
    length = np.sqrt(np.diag(G))
    cosines = (G / np.outer(length, length))[np.triu_indices(N, 1)]
    return [
        Comparison(quantity="‖W_i‖₄⁴/‖W_i‖₂⁴ of the stuck one (paper: below)", paper=0.2,
                   predicted=float(simplex[0]), simulated=float(found[0]), within=0.02),
        Comparison(quantity="… of the other seven, mean", paper=1.0,
                   predicted=float(simplex[1:].mean()), simulated=float(found[1:].mean()),
                   within=0.03),
        Comparison(quantity="… of all eight, mean: where figure 4 ends", paper=0.77,
                   predicted=float(simplex.mean()), simulated=float(found.mean()), within=0.03),
        Comparison(quantity="cosine of two encodings, mean", predicted=-1 / (N - 1),
                   simulated=float(cosines.mean()), within=0.01),
    ]  # fmt: skip


def noise_of_the_caption() -> Sequence[Comparison]:
    """The σ = 0.01 of figure 7's caption: change of ‖W_i‖₄⁴ from t = 20 to t = 2000, none."""
    run = integrate(
        _forces(0.01, "bipolar"), gaussian_init(N, M, seed=0), save_at=[20.0, 2000.0], t_end=2000.0
    )
    early, late = (_fourths(W).mean() for W in run.weights[-2:])
    return [
        Comparison(
            quantity="change of the mean ‖W_i‖₄⁴/‖W_i‖₂⁴",
            predicted=0.0,
            simulated=float(late - early),
            within=0.01,
        )
    ]


def length_under_noise() -> Sequence[Comparison]:
    """One feature under bipolar noise: its squared length at rest is 1 − σ²/2. m = 4."""
    rows = []
    for sigma in (0.1, 0.3, 0.5):
        final = integrate(_forces(sigma, "bipolar"), gaussian_init(1, 4, seed=0), t_end=60.0).final
        rows.append(
            Comparison(
                quantity=f"‖W_i‖² at σ = {sigma:g}",
                predicted=1 - sigma**2 / 2,
                simulated=float((final**2).sum()),
                within=0.02,
            )
        )
    return rows
