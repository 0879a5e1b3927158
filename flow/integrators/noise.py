"""Drifts and energies of forces for NumPy arrays: kernels evaluate what noise makes of outputs."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from flow.defaults import split_noise_law
from flow.forces import Force, NoisyFeatureBenefit, NoisyInterference
from flow.forces.noise import Expectations, bessel_polynomial, law, nodes
from flow.kernels import noise as kernels

_LAWS = {
    "bipolar": kernels.BIPOLAR,
    "uniform": kernels.UNIFORM,
    "normal": kernels.NORMAL,
    "laplace": kernels.LAPLACE,
    "student-t": kernels.STUDENT,
}


def drift_of(force: Force, W: np.ndarray) -> Any:
    """force.drift(W), (n, m), by kernels where there are any."""
    if isinstance(force, NoisyFeatureBenefit | NoisyInterference):
        return force.drift(W, expect)
    return force.drift(W)


def energy_of(force: Force, W: np.ndarray) -> float:
    """force.energy(W), by kernels where there are any."""
    if isinstance(force, NoisyFeatureBenefit | NoisyInterference):
        return float(force.energy(W, expect))
    return float(force.energy(W))


def expect(
    W: np.ndarray,
    g: np.ndarray,
    weight: np.ndarray,
    sigma: float,
    distribution: str,
    accuracy: float,
    on_square: float = 0.0,
    on_mean: float = 0.0,
) -> Expectations:
    """:func:`flow.forces.noise.expect` by kernels, in the precision of W from double precision."""
    kind, polynomial, root, tail = _law(distribution)
    rule = nodes(distribution, accuracy)
    out = [np.zeros(g.shape) for _ in range(3)]
    gradient = np.zeros(W.shape)
    kernels.expect(
        W, g, weight, sigma, kind, polynomial, root, rule.u, rule.weight, rule.panel, rule.width,
        rule.reach, tail, float(np.finfo(W.dtype).tiny) ** 0.25, on_square, on_mean, *out, gradient,
    )  # fmt: skip
    return Expectations(*(part.astype(W.dtype, copy=False) for part in (*out, gradient)))


@lru_cache
def _law(distribution: str) -> tuple[int, np.ndarray, float, float]:
    """Number of the law, its polynomial and its scale (Student-t), power of its tail."""
    name, degrees = split_noise_law(distribution)
    polynomial, root = np.ones(1), 1.0
    if degrees is not None:
        polynomial, root = np.array(bessel_polynomial((degrees - 1) // 2)), math.sqrt(degrees - 2.0)
    return _LAWS[name], polynomial, root, law(distribution).tail
