"""A run whose rows do not act on each other: when it ends, when and how it is recorded."""

from __future__ import annotations

import math

import numpy as np

from flow.driver.problem import Problem
from flow.driver.recording import force_names
from flow.driver.stopping import certify_rest
from flow.forces import Force, Summary
from flow.integrators.closed_form import ExactFlow
from flow.results.observables import Observables

RECORDED_TIMES = 200
"""Times at which a run is recorded, evenly spaced in log t."""


def rest_time(problem: Problem, flow: ExactFlow, t: float) -> float:
    """Flow time from which the run is at rest, but not before t; infinity if it never is."""
    start, tolerance = problem.options.t_start, 0.999 * problem.tolerance
    while True:
        slow = flow.stationary_times(tolerance)
        for rest in slow:
            certificate = certify_rest(problem.forces, flow.weights(rest), problem.tolerance)
            if not certificate.stationary:  # rounding kept the last weight from reaching zero
                rest = rest * (1.0 + 1e-14)
                certificate = certify_rest(problem.forces, flow.weights(rest), problem.tolerance)
            # A row that passes close by a saddle is as slow as one at rest, for a while.
            if not certificate.unstable or certificate.residual <= certificate.rounding:
                return max(start + rest, t)
        if not slow:
            return math.inf
        tolerance = 0.1 * min(tolerance, certificate.residual)


def recorded_times(first: float, end: float) -> np.ndarray:
    """(k,) times since the start, from 0 to `end`, evenly spaced in their logarithm."""
    start = min(first, 1e-2 * end)
    grid = np.geomspace(start, end, RECORDED_TIMES) if end > 0.0 else np.zeros(0)
    return np.unique(np.concatenate([[0.0], np.minimum(grid, end)]))


def observables_at(problem: Problem, flow: ExactFlow, times: np.ndarray) -> Observables:
    """What is measured at (k,) times since the start."""
    total, forces = problem.total, problem.forces
    seen = flow.observables(times)
    l1, squared = seen["l1"], seen["l2"] ** 2
    growth = total.growth_constant - total.growth_quadratic * squared
    # Σ_k (growth·w − λ sign w)² over the non-zeros; zeros stay where they are.
    speed = growth**2 * squared - 2.0 * growth * total.l1 * l1 + total.l1**2 * seen["nonzeros"]
    none = np.zeros(problem.W0.shape[0])
    energies = [
        [_energy(force, Summary(a, q, none), flow, t) for force in forces]
        for a, q, t in zip(l1, squared, times, strict=True)
    ]
    columns = np.array(energies).reshape(times.size, len(forces)).T
    return Observables(
        times=problem.options.t_start + times,
        l1=l1,
        l2=seen["l2"],
        l4=seen["l4"],
        nonzeros=seen["nonzeros"],
        energy=dict(zip(force_names(forces), columns, strict=True)),
        dissipation=np.maximum(speed, 0.0).sum(axis=1),
    )


def _energy(force: Force, summary: Summary, flow: ExactFlow, t: float) -> float:
    energy = force.energy_from(summary)
    return float(force.energy(flow.weights(t))) if energy is None else energy
