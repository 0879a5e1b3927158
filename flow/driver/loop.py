"""The loop of a run: init, step, terminate, record; its whole state is one :class:`Run`.

The loop knows no arrays: a :class:`flow.integrators.backend.Backend` computes. One run goes through
:func:`drive`; many that are computed together call the same functions, a round at a time
(:mod:`flow.driver.ensemble`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from flow.driver.events import EventRecorder
from flow.driver.problem import Problem
from flow.driver.progress import Progress
from flow.driver.recording import Recorder, SavedStates
from flow.driver.stopping import Ending, terminate
from flow.integrators.backend import Backend
from flow.integrators.schemes import Proposal
from flow.kernels.rows import RowSums
from flow.results.status import Status

Watch = Callable[[float, Callable[[], np.ndarray]], None]
"""Called with (t, weights) as a run goes on; weights() makes W : (n, m) on demand."""

LANDING = 1.0000001
"""A step that would end just short of a time to land on is stretched to it."""


@dataclass
class Run:
    """Where a run is between two steps: all that what follows depends on."""

    t: float
    """Flow time."""
    h: float
    """Length of the step to try next."""
    state: Any
    """W and its drift, in the backend's layout."""
    sums: RowSums
    looks: list[float]
    """Times at which the weights are still to be kept, all ahead."""
    recorder: Recorder
    log: EventRecorder
    saved: SavedStates = field(default_factory=SavedStates)
    accepted: int = 0
    """Steps that were taken."""
    rejected: int = 0
    """Steps that were tried and not taken."""
    began: float = field(default_factory=time.perf_counter)
    """Wall-clock time at which it began, in seconds."""
    ending: Ending | None = None
    """How it ended; None while it goes on."""


class Trial(NamedTuple):
    """A step that is to be tried."""

    step: float
    """Its length."""
    wanted: float
    """Its length if it need not land anywhere."""
    end: float
    """Flow time at its end."""
    allowed: float
    """The error that it may make."""


def init(problem: Problem, state: Any, sums: RowSums) -> Run:
    """The run at its start, where the backend has placed it."""
    options = problem.options
    t, W0 = options.t_start, problem.W0
    recorder = Recorder(problem.forces, W0.shape[1])
    recorder.add(t, state, sums)
    log = EventRecorder(
        problem.total, state, weights=options.events, overlaps=options.overlap_events
    )
    first = problem.control.first(sums)
    h = first if options.fixed_step or options.first_step is None else options.first_step
    run = Run(t, h, state, sums, [s for s in options.saves if s > t], recorder, log)
    if t in options.saves:
        run.saved.add(t, W0.copy(), h)
    return run


def next_trial(problem: Problem, run: Run) -> Trial | None:
    """The step to try next; None, and :attr:`Run.ending` set, where the run has ended."""
    run.ending = run.ending or terminate(problem, run)
    if run.ending is not None:
        return None
    control = problem.control
    wanted = min(run.h, control.longest(run.sums, run.state.coupling))
    step, end = wanted, run.t + wanted
    target = run.looks[0] if run.looks else problem.options.t_end
    if target is not None and run.t + LANDING * wanted >= target:
        step, end = target - run.t, target
    return Trial(step, wanted, end, control.allowed(step))


def judge(problem: Problem, run: Run, trial: Trial, proposal: Proposal) -> bool:
    """Whether the step is taken; the length of the next one follows from its error."""
    control, error = problem.control, proposal.error
    if control.accepts(error, trial.allowed):
        run.h = control.after_acceptance(trial.step, trial.wanted, error, trial.allowed)
        run.accepted += 1
        return True
    run.rejected += 1
    run.h = control.after_rejection(trial.step, error, trial.allowed)
    if control.too_small(run.h, run.t):
        finite = math.isfinite(error)
        status = Status.STEP_TOO_SMALL if finite else Status.NON_FINITE
        message = f"steps shrank to {run.h:.1e} at t = {run.t:g} with error {error:.1e}"
        run.ending = Ending(status, message)
    return False


def lands_on_look(run: Run, trial: Trial) -> bool:
    """Whether weights are to be kept where the step ends."""
    return bool(run.looks) and trial.end == run.looks[0]


def keep(run: Run, t: float, W: np.ndarray) -> None:
    """Keep W : (n, m), at a time that was asked for."""
    run.looks.pop(0)
    run.saved.add(t, W, run.h)


def record(run: Run, trial: Trial, proposal: Proposal, state: Any, sums: RowSums) -> None:
    """Go over to `state` at the end of the step, and record it."""
    run.log.add(run.t, trial.end, run.state, proposal)
    run.t, run.state, run.sums = trial.end, state, sums
    run.recorder.add(run.t, state, sums)


def drive(problem: Problem, backend: Backend, progress: Progress, watch: Watch | None) -> Run:
    """A run from its start to its end, whatever ends it."""
    m = problem.W0.shape[1]
    state = backend.init(problem.W0)
    run = init(problem, state, backend.row_sums(state))
    if watch is not None:
        watch(run.t, problem.W0.copy)
    try:
        while (trial := next_trial(problem, run)) is not None:
            proposal = backend.try_step(run.state, trial.step, trial.allowed)
            if not judge(problem, run, trial, proposal):
                continue
            state = backend.accept(run.state, proposal)
            if lands_on_look(run, trial):
                W = state.dense(m)
                # A canonical layout, so that a run continued from this file is bitwise the same.
                state = backend.init(W)
                keep(run, trial.end, W)
            record(run, trial, proposal, state, backend.row_sums(state))
            progress.show(run.t, trial.step, run.sums)
            if watch is not None:
                watch(run.t, partial(run.state.dense, m))
    except KeyboardInterrupt:
        interrupt(run)
    finally:
        progress.close()
    return run


def interrupt(run: Run) -> None:
    """End the run where it is."""
    run.ending = Ending(Status.INTERRUPTED, f"interrupted at t = {run.t:g}")
