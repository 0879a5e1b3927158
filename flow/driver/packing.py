"""From a finished run to its trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from flow.analysis.stationarity import certify
from flow.driver.loop import Run
from flow.driver.problem import Problem
from flow.driver.recording import SavedStates
from flow.driver.stopping import Ending
from flow.results.events import Events
from flow.results.observables import Observables
from flow.results.provenance import versions
from flow.results.trajectory import Trajectory


class Finished(NamedTuple):
    """What is left of a run when its backend is gone."""

    saved: SavedStates
    """The end is the last of them."""
    observables: Observables
    events: Events
    ending: Ending
    stats: dict[str, Any]


def finish(problem: Problem, run: Run, evaluations: int) -> Finished:
    """A run that has ended, apart from what its backend holds."""
    assert run.ending is not None
    saved = run.saved
    if not saved.times or saved.times[-1] < run.t:
        saved.add(run.t, run.state.dense(problem.W0.shape[1]), run.h)
    stats = {
        "accepted": run.accepted,
        "rejected": run.rejected,
        "evaluations": evaluations,
        "t": run.t,
    }
    return Finished(saved, run.recorder.collect(), run.log.collect(), run.ending, stats)


def trajectory(
    problem: Problem, run: Finished, seconds: float, metadata: Mapping[str, Any] | None
) -> Trajectory:
    """Pack a finished run as a Trajectory."""
    options, W0, saved = problem.options, problem.W0, run.saved
    # Only now, when the arrays of the run are free again.
    certificate = run.ending.certificate or certify(
        problem.forces, saved.weights[-1], tolerance=problem.tolerance, curvature=False
    )
    on_device = ("jax", "diffrax") if problem.backend == "diffrax" else ()
    return Trajectory(
        times=np.array(saved.times),
        weights=np.stack(saved.weights),
        step_sizes=np.array(saved.step_sizes),
        observables=run.observables,
        events=run.events,
        status=run.ending.status,
        message=run.ending.message,
        certificate=certificate,
        stats={**run.stats, "seconds": seconds},
        parameters={
            "forces": [force.to_dict() for force in problem.forces],
            "n": W0.shape[0],
            "m": W0.shape[1],
            "dtype": str(W0.dtype),
            "t_start": options.t_start,
            "t_end": options.t_end,
            "save_at": list(options.saves),
            "rtol": options.rtol,
            "backend": problem.backend,
            "scheme": None if problem.backend == "exact" else type(problem.scheme).__name__,
            "fixed_step": options.fixed_step,
            "first_step": options.first_step,
            "stationarity_tol": problem.tolerance,
            "events": options.events,
            "overlap_events": options.overlap_events,
        },
        versions={**versions("incidental-flow", "numpy", "numba", "scipy", *on_device)},
        metadata=dict(metadata or {}),
    )
