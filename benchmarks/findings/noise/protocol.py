"""What the parts have in common: figure 4's protocol, in training and as a flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flow import NoisyFeatureBenefit, NoisyInterference, gaussian_init, integrate
from flow.defaults import DEFAULT_DEGREES, split_noise_law
from flow.forces import Force
from flow.training.setup import FIGURE_4, FIGURE_4_STEPS, Noise, Training

LAWS = ("bipolar", "uniform", "normal", "laplace", "student-t:5")
N, M, C = 8, 16, 4.0
RATE = FIGURE_4.optimizer.rate
T_END = RATE * FIGURE_4_STEPS
STUCK = 0.3
"""Encodings of smaller r₄, among others that are sparse, count as stuck."""
CARRIED = 0.9
"""A feature is on the fewest neurons that carry this share of ‖W_i‖²."""

Part = dict[str, Any]


def forces(law: str, sigma: float, accuracy: float = 1e-4) -> list[Force]:
    """Feature benefit and interference of the expected loss, c = 4."""
    return [
        NoisyFeatureBenefit(sigma, law, C, accuracy),
        NoisyInterference(sigma, law, C, accuracy),
    ]


def starts(seeds: Sequence[int], n: int = N, m: int = M) -> np.ndarray:
    """Random starts, (k, n, m)."""
    return np.stack([gaussian_init(n, m, seed=seed) for seed in seeds])


def flow(W0: np.ndarray, acting: Sequence[Force], times: np.ndarray) -> np.ndarray:
    """Weights (k, times, n, m) of the flow from every W0 : (k, n, m)."""
    end = float(times[-1])
    return np.stack([integrate(acting, W, t_end=end, save_at=times).weights for W in W0])


def sgd(
    W0: np.ndarray, training: Training, times: np.ndarray, *, seed: int, together: bool
) -> np.ndarray:
    """‖W_i‖₄⁴ and ‖W_i‖₂, (2, k, times, n), of training at evenly spaced times from 0.

    Instances that are trained together see the same noise, as in the authors' code; otherwise
    each sees noise of its own.
    """
    from flow.training import train

    rate = training.optimizer.rate
    every = round(float(times[1]) / rate)
    how: dict[str, Any] = {"steps": every * (times.size - 1), "record_every": every, "save_at": []}
    W0 = W0.astype(np.float32)
    if together:
        runs = train(training, W0, seed=seed, **how)
    else:
        runs = [train(training, W, seed=seed + k, **how)[0] for k, W in enumerate(W0)]
    return np.array(
        [[run.observables.l4 for run in runs], [run.observables.l2 for run in runs]], float
    )


def noisy(law: str, sigma: float, rate: float = RATE) -> Training:
    """Figure 4's protocol with other noise or another learning rate."""
    name, degrees = split_noise_law(law)
    noise = Noise(distribution=name, sigma=sigma, degrees=degrees or DEFAULT_DEGREES)
    return replace(FIGURE_4, noise=noise, optimizer=replace(FIGURE_4.optimizer, rate=rate))


def fourth(W: np.ndarray) -> np.ndarray:
    """‖W_i‖₄⁴ of (…, n, m)."""
    return np.sum(W**4, axis=-1)


def sparsity(W: np.ndarray) -> np.ndarray:
    """r₄ of (…, n, m)."""
    return fourth(W) / np.maximum(np.sum(W * W, axis=-1) ** 2, 1e-300)


def short(values: Any) -> Any:
    """To four digits, for keeping; JSON has no NaN."""
    rounded = np.vectorize(lambda x: float(f"{x:.4g}") if np.isfinite(x) else None, otypes=[object])
    return rounded(values).tolist()
