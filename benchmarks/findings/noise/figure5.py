"""Figure 5: final sparsity against the strength of the noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.findings.noise.protocol import (
    RATE,
    T_END,
    C,
    Part,
    flow,
    forces,
    fourth,
    noisy,
    sgd,
    short,
    starts,
)
from flow import FeatureBenefit, Interference, Regularization
from flow.forces import Force
from flow.training.setup import Network, Optimizer, Training


def figure5a(fast: bool) -> Part:
    """Final fourth norm and length against λ without noise, five instances, at the end of figure
    4's protocol."""
    rows, curves = [], []
    plain = Training(
        network=Network(c=C, lam=0.0), optimizer=Optimizer(method="proximal", rate=RATE)
    )
    for lam in np.geomspace(1e-4, 2.0, 3 if fast else 17).tolist():
        training = replace(plain, network=replace(plain.network, lam=lam))
        acting: list[Force] = [FeatureBenefit(C), Interference(C), Regularization(lam)]
        cells, kept = _finals(fast, acting, {"sgd": training})
        rows.append([lam, *cells])
        curves.append({"lam": short(lam), **kept})
    return {
        "columns": ["λ", "‖W_i‖₄⁴ (‖W_i‖₂), flow", f"training, η = {RATE:g}"],
        "rows": rows,
        "curves": curves,
    }


def figure5b(fast: bool) -> Part:
    """Final fourth norm and length against σ (bipolar, no ℓ1), five instances, at the end of figure
    4's protocol; also with a quarter of its learning rate and four times its steps."""
    rows, curves = [], []
    for sigma in np.geomspace(0.02, 0.8, 3 if fast else 13).tolist():
        trained = {"sgd": noisy("bipolar", sigma), "slow": noisy("bipolar", sigma, RATE / 4)}
        cells, kept = _finals(fast, forces("bipolar", sigma, 1e-3), trained)
        rows.append([sigma, *cells])
        curves.append({"sigma": short(sigma), **kept})
    return {
        "columns": ["σ", "‖W_i‖₄⁴ (‖W_i‖₂), flow", f"training, η = {RATE:g}", f"η = {RATE / 4:g}"],
        "rows": rows,
        "curves": curves,
    }


def _finals(
    fast: bool, acting: list[Force], trained: dict[str, Training]
) -> tuple[list[str], dict[str, Any]]:
    """Means over instances as text; mean and standard deviation of ‖W_i‖₄⁴ and ‖W_i‖₂ to keep."""
    W0, times = starts(range(5)), np.array([0.0, 0.02 * T_END if fast else T_END])
    W = flow(W0, acting, times)[:, -1]
    seen = {"flow": np.array([fourth(W), np.linalg.norm(W, axis=-1)])}
    for name, training in trained.items():
        seen[name] = sgd(W0, training, times, seed=0, together=True)[:, :, -1]
    means = {name: both.mean(axis=2) for name, both in seen.items()}
    cells = [
        f"{l4.mean():.4g} ({l2.mean():.3g})" if np.isfinite(l4).all() else "diverges"
        for l4, l2 in means.values()
    ]
    kept = {
        name: [[short(a.mean()), short(a.std(ddof=1))] for a in both]
        for name, both in means.items()
    }
    return cells, kept
