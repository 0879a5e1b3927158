"""A run whose rows do not act on each other: solved in closed form, looked at when wanted."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from flow.driver.events import exact_events
from flow.driver.loop import Watch
from flow.driver.packing import Finished
from flow.driver.problem import Problem
from flow.driver.recording import SavedStates, force_names
from flow.driver.stopping import Ending, certify_rest, name_rest
from flow.forces import Force, Summary
from flow.integrators.closed_form import ExactFlow
from flow.results.events import Events
from flow.results.observables import Observables
from flow.results.status import Status

RECORDED_TIMES = 200
"""Times at which a run is recorded, evenly spaced in log t."""


def solve(problem: Problem, watch: Watch | None) -> Finished:
    """The run from its start to its end.

    Raises ValueError where it never comes to rest and no end is given.
    """
    total, options, W0 = problem.total, problem.options, problem.W0
    flow = ExactFlow(
        W0,
        growth_constant=total.growth_constant,
        growth_quadratic=total.growth_quadratic,
        lam=total.l1,
    )
    began, stop = options.t_start, _end(problem, flow)
    kept = sorted({*options.saves, stop})
    # The closed form counts from W0.
    saves, end = [t - began for t in kept], stop - began
    times = _recorded_times(1e-2 / total.scale, end, saves)
    weights = [flow.weights(t) for t in saves]
    if watch is not None:
        for t in times:
            watch(began + t, partial(flow.weights, t))
    step = end / RECORDED_TIMES
    return Finished(
        saved=SavedStates(kept, weights, [step] * len(kept)),
        observables=_observables(problem, flow, times),
        events=exact_events(flow, W0, began, stop) if options.events else Events(),
        ending=_ending(problem, weights[-1], stop),
        stats={
            "accepted": int(flow.stats["steps"]),
            "rejected": int(flow.stats["rejected"]),
            "evaluations": int(flow.stats["evaluations"]),
            "t": stop,
        },
    )


def _end(problem: Problem, flow: ExactFlow) -> float:
    """Flow time at which the run ends: t_end, or rest and the last time that was asked for."""
    options = problem.options
    if options.t_end is not None:
        return options.t_end
    rest = options.t_start + flow.stationary_time(0.999 * problem.tolerance)
    if not math.isfinite(rest):
        raise ValueError(
            "expected forces that bring W0 to rest, or t_end, got neither; give t_end=..."
        )
    return max(rest, *options.saves, options.t_start)


def _ending(problem: Problem, W: np.ndarray, stop: float) -> Ending:
    certificate = certify_rest(problem.forces, problem.total, W, problem.tolerance)
    if problem.options.t_end is None:
        return name_rest(certificate, stop)
    return Ending(Status.REACHED_T_END, f"reached t_end = {stop:g}", certificate)


def _recorded_times(first: float, end: float, saves: list[float]) -> np.ndarray:
    """(k,) times since the start, from 0 to `end`, those of `saves` among them."""
    start = min(first, 1e-2 * end)
    grid = np.geomspace(start, end, RECORDED_TIMES) if end > 0.0 else np.zeros(0)
    return np.unique(np.concatenate([[0.0], np.minimum(grid, end), saves]))


def _observables(problem: Problem, flow: ExactFlow, times: np.ndarray) -> Observables:
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
