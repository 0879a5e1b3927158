"""The loop of a run: init, step, terminate, record; its whole state is one :class:`Run`.

The loop knows no arrays: a :class:`flow.integrators.backend.Backend` computes. One run is stepped
by :func:`advance`; many that are computed together call the same functions, a round at a time
(:mod:`flow.driver.ensemble`). Looking at a run never changes it: weights at times inside a step are
dense output (:func:`look`), and no step is made for them.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from flow.driver.events import EventRecorder
from flow.driver.problem import Problem
from flow.driver.recording import Recorder, SavedStates
from flow.driver.stopping import Ending, terminate
from flow.integrators.backend import Backend
from flow.integrators.schemes import Proposal
from flow.kernels.rows import RowSums
from flow.results.status import Status

LANDING = 1.0000001
"""A step that would end just short of a time to land on is stretched to it."""


class Trial(NamedTuple):
    """A step that is to be tried."""

    start: float
    """Flow time at its beginning."""
    step: float
    """Its length."""
    wanted: float
    """Its length if it need not land anywhere."""
    end: float
    """Flow time at its end."""
    allowed: float
    """The error that it may make."""


class LastStep(NamedTuple):
    """The step that led to where a run is, for looking inside it."""

    trial: Trial
    state: Any
    """Where it began."""
    proposal: Proposal


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
    until: float | None = None
    """Flow time to land on; None: rest."""
    accepted: int = 0
    """Steps that were taken."""
    rejected: int = 0
    """Steps that were tried and not taken."""
    last: LastStep | None = None
    """None before the first step, and where nobody will look inside it."""
    ending: Ending | None = None
    """How it ended; None while it goes on."""
    next_check: int = 0
    """Accepted steps before which rest is not looked for again."""
    tried_before: int = 0
    """Steps that do not count against the limit: those of an earlier call."""
    began: float = field(default_factory=time.perf_counter)
    """Wall-clock time from which the limit on time counts, in seconds."""

    def copy(self) -> Run:
        """The same run, to be gone on with on its own; arrays are shared, as none is changed."""
        twin = copy.copy(self)
        twin.looks, twin.saved = list(self.looks), self.saved.copy()
        twin.recorder, twin.log = self.recorder.copy(), self.log.copy()
        return twin

    def go_on(self, until: float | None) -> None:
        """Take up a run again, for `until` and with the full limits of a call."""
        self.until, self.ending = until, None
        self.tried_before, self.began = self.accepted + self.rejected, time.perf_counter()


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
    looks = [s for s in options.saves if s > t]
    run = Run(t, h, state, sums, looks, recorder, log, until=options.t_end)
    if t in options.saves:
        run.saved.add(t, W0.copy())
    return run


def next_trial(problem: Problem, run: Run) -> Trial | None:
    """The step to try next; None, and :attr:`Run.ending` set, where the run has ended."""
    run.ending = run.ending or terminate(problem, run)
    if run.ending is not None:
        return None
    control = problem.control
    wanted = min(run.h, control.longest(run.sums, run.state.coupling))
    step, end = wanted, run.t + wanted
    if run.until is not None and run.t + LANDING * wanted >= run.until:
        step, end = run.until - run.t, run.until
    if end <= run.t:
        message = f"steps shrank to {step:.1e} at t = {run.t:g}"
        run.ending = Ending(Status.STEP_TOO_SMALL, message)
        return None
    return Trial(run.t, step, wanted, end, control.allowed(step))


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


def looks_inside(run: Run, trial: Trial) -> bool:
    """Whether weights are to be kept at a time that lies inside the step."""
    return bool(run.looks) and run.looks[0] < trial.end


def look(backend: Backend, last: LastStep, t: float) -> np.ndarray:
    """W : (n, m) at a flow time inside a step, from what the step was made of."""
    trial = last.trial
    theta = (t - trial.start) / trial.step
    return backend.inside(last.state, last.proposal, trial.step, theta, trial.allowed)


def record(
    backend: Backend, run: Run, last: LastStep, state: Any, sums: RowSums, *, keep: bool
) -> None:
    """Go over to `state` at the end of the step `last`, and record what is asked for."""
    trial = last.trial
    run.log.add(trial.start, trial.end, last.state, last.proposal)
    while run.looks and run.looks[0] <= trial.end:
        t = run.looks.pop(0)
        W = state.dense(run.recorder.m) if t == trial.end else look(backend, last, t)
        run.saved.add(t, W)
    run.t, run.state, run.sums = trial.end, state, sums
    run.last = last if keep else None
    run.recorder.add(run.t, state, sums)


def advance(problem: Problem, backend: Backend, run: Run, *, keep: bool) -> bool:
    """Make one accepted step; False where the run has ended instead.

    With `keep` the step can be looked into afterwards.
    """
    while (trial := next_trial(problem, run)) is not None:
        inside = keep or looks_inside(run, trial)
        proposal = backend.try_step(run.state, trial.step, trial.allowed, keep=inside)
        if not judge(problem, run, trial, proposal):
            del proposal  # two copies of W, which the next trial would find beside its own
            continue
        state = backend.accept(run.state, proposal)
        last = LastStep(trial, run.state, proposal)
        record(backend, run, last, state, backend.row_sums(state), keep=keep)
        return True
    return False


def interrupt(run: Run) -> None:
    """End the run where it is."""
    run.ending = Ending(Status.INTERRUPTED, f"interrupted at t = {run.t:g}")
