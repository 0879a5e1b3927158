"""From what engines leave to a trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from flow.analysis.stationarity import certify
from flow.driver.problem import Problem
from flow.driver.recording import SavedStates
from flow.driver.stopping import Ending
from flow.forces import Force
from flow.results.events import Events, OverlapEvents, WeightEvents
from flow.results.film import Film
from flow.results.observables import Observables
from flow.results.provenance import versions
from flow.results.trajectory import Trajectory


class Segment(NamedTuple):
    """What a run under one set of forces leaves."""

    problem: Problem
    t: float
    """Flow time at its end."""
    final: np.ndarray
    """W : (n, m) at its end."""
    saved: SavedStates
    observables: Observables
    events: Events
    stats: dict[str, int]


def trajectory(
    segments: Sequence[Segment],
    ending: Ending,
    *,
    seconds: float,
    metadata: Mapping[str, Any] | None,
    t_end: float | None,
    film: Film | None,
    checkpoint: Mapping[str, np.ndarray] | None,
) -> Trajectory:
    """Pack a run, which is a row of segments, as a Trajectory."""
    first, last = segments[0].problem, segments[-1]
    problem, options = last.problem, first.options
    times = [t for segment in segments for t in segment.saved.times]
    weights = [W for segment in segments for W in segment.saved.weights]
    if not times or times[-1] < last.t:
        times, weights = [*times, last.t], [*weights, last.final]
    # Only now, when the arrays of the run are free again.
    certificate = ending.certificate or certify(
        problem.forces, last.final, tolerance=problem.tolerance, curvature=False
    )
    on_device = ("jax", "diffrax") if problem.backend == "diffrax" else ()
    stats = {name: sum(s.stats[name] for s in segments) for name in last.stats}
    return Trajectory(
        times=np.array(times),
        weights=np.stack(weights),
        observables=_joined_observables([segment.observables for segment in segments]),
        events=_joined_events([segment.events for segment in segments]),
        status=ending.status,
        message=ending.message,
        certificate=certificate,
        stats={**stats, "t": last.t, "seconds": seconds},
        parameters={
            "forces": _as_data(problem.forces),
            "schedule": [
                {"t": s.problem.options.t_start, "forces": _as_data(s.problem.forces)}
                for s in segments
            ],
            "n": first.W0.shape[0],
            "m": first.W0.shape[1],
            "dtype": str(first.W0.dtype),
            "t_start": float(options.t_start),
            "t_end": None if t_end is None else float(t_end),
            "save_at": list(options.saves),
            "rtol": float(options.rtol),
            "backend": problem.backend,
            "scheme": None if problem.backend == "exact" else type(problem.scheme).__name__,
            "mixed_precision": problem.backend == "numba" and problem.mixed_precision,
            "fixed_step": _number(options.fixed_step),
            "first_step": _number(options.first_step),
            "stationarity_tol": float(problem.tolerance),
            "events": bool(options.events),
            "overlap_events": bool(options.overlap_events),
        },
        versions={**versions("incidental-flow", "numpy", "numba", "scipy", *on_device)},
        metadata=dict(metadata or {}),
        film=film,
        checkpoint=checkpoint,
    )


def _as_data(forces: Sequence[Force]) -> list[dict[str, Any]]:
    return [force.to_dict() for force in forces]


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _joined_observables(parts: Sequence[Observables]) -> Observables:
    """One after the other; the energy of a force is NaN where it was off."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part.energy)
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Observables)
        if field.name != "energy"
    }
    energy = {
        name: np.concatenate(
            [part.energy.get(name, np.full(part.times.size, np.nan)) for part in parts]
        )
        for name in names
    }
    return Observables(energy=energy, **columns)


def _joined_events(parts: Sequence[Events]) -> Events:
    if len(parts) == 1:
        return parts[0]

    def joined(kind: type, name: str) -> Any:
        groups = [getattr(part, name) for part in parts]
        return kind(*(np.concatenate([getattr(g, f.name) for g in groups]) for f in fields(kind)))

    return Events(
        weights_logged=all(part.weights_logged for part in parts),
        overlaps_logged=all(part.overlaps_logged for part in parts),
        extinctions=joined(WeightEvents, "extinctions"),
        revivals=joined(WeightEvents, "revivals"),
        overlaps=joined(OverlapEvents, "overlaps"),
    )
