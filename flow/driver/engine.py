"""What moves a simulation on: steps, or the closed form where rows do not act on each other."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from flow.driver.closed_form import observables_at, recorded_times, rest_time
from flow.driver.events import exact_events
from flow.driver.loop import Run, advance, init, interrupt, look
from flow.driver.packing import Segment
from flow.driver.problem import Problem
from flow.driver.recording import SavedStates
from flow.driver.stopping import Ending, certify_rest, name_rest
from flow.integrators.backend import Backend, NumbaBackend
from flow.integrators.closed_form import ExactFlow
from flow.integrators.field import Field
from flow.results.events import Events
from flow.results.status import Status

COUNTERS = ("h", "accepted", "rejected", "next_check")
"""What a checkpoint keeps of a run beside its state."""


class Engine(Protocol):
    """A run under one set of forces."""

    problem: Problem

    @property
    def t(self) -> float:
        """Flow time."""

    @property
    def ending(self) -> Ending | None:
        """How the last call of `advance` found that it had ended; None while it goes on."""

    def weights(self) -> np.ndarray:
        """W : (n, m) at t."""

    def go_on(self, until: float | None) -> None:
        """Take it up (again), to land on `until`, or to come to rest."""

    def advance(self, *, keep: bool) -> bool:
        """One step; False where it has ended instead. With `keep`, `inside` works afterwards."""

    def inside(self, t: float) -> np.ndarray:
        """W : (n, m) at a flow time within the last step."""

    def end(self, ending: Ending) -> None:
        """End it, for a reason from outside."""

    def describe(self) -> str:
        """How it goes, for a progress bar."""

    def copy(self) -> Engine:
        """The same engine with the same future."""

    def segment(self) -> Segment:
        """What it leaves."""

    def checkpoint(self) -> dict[str, np.ndarray] | None:
        """All that what follows depends on, as arrays; None where the weights are enough."""


def make_engine(problem: Problem, mesh: Any = None) -> Engine:
    """The engine of a problem, on the backend that was chosen for it."""
    if problem.backend == "exact":
        return ClosedFormEngine(problem)
    return SteppedEngine(problem, make_backend(problem, mesh))


def make_backend(problem: Problem, mesh: Any = None) -> Backend:
    """What computes the steps of a problem."""
    n, m = problem.W0.shape
    if problem.backend == "diffrax":
        from flow.accelerator.batch import Batch, BatchMember

        return BatchMember(Batch([problem.total], n, m, problem.W0.dtype, mesh=mesh))
    field = Field(problem.total, n, m, problem.W0.dtype, mixed=problem.mixed_precision)
    return NumbaBackend(field, problem.scheme)


class SteppedEngine:
    """Steps of a scheme, under error control."""

    def __init__(self, problem: Problem, backend: Backend, run: Run | None = None) -> None:
        self.problem, self.backend = problem, backend
        if run is None:
            state = backend.init(problem.W0)
            run = init(problem, state, backend.row_sums(state))
        self.run = run

    @property
    def t(self) -> float:
        return self.run.t

    @property
    def ending(self) -> Ending | None:
        return self.run.ending

    def weights(self) -> np.ndarray:
        return np.asarray(self.run.state.dense(self.problem.W0.shape[1]))

    def go_on(self, until: float | None) -> None:
        self.run.go_on(until)

    def advance(self, *, keep: bool) -> bool:
        try:
            return advance(self.problem, self.backend, self.run, keep=keep)
        except KeyboardInterrupt:
            interrupt(self.run)
            return False

    def inside(self, t: float) -> np.ndarray:
        last = self.run.last
        if last is None or not last.trial.start <= t <= last.trial.end:
            raise _outside(t, self.t if last is None else last.trial.start, self.t)
        if t == last.trial.start:
            return np.asarray(last.state.dense(self.problem.W0.shape[1]))
        return look(self.backend, last, t)

    def end(self, ending: Ending) -> None:
        self.run.ending = ending

    def checkpoint(self) -> dict[str, np.ndarray]:
        run = self.run
        numbers = {name: np.array(getattr(run, name)) for name in COUNTERS}
        return {**self.backend.dump(run.state), **numbers}

    @classmethod
    def resume(cls, problem: Problem, arrays: Mapping[str, np.ndarray]) -> SteppedEngine:
        """The engine that a checkpoint was made of, its record begun anew."""
        backend = make_backend(problem)
        state = backend.load(arrays)
        run = init(problem, state, backend.row_sums(state))
        for name in COUNTERS:
            setattr(run, name, arrays[name].item())
        return cls(problem, backend, run)

    def describe(self) -> str:
        run = self.run
        return (
            f"step {run.h:.2g}, non-zeros per feature {run.sums.nonzeros.mean():.4g}, "
            f"largest |dW/dt| {run.sums.violation.max():.1e}"
        )

    def copy(self) -> SteppedEngine:
        return SteppedEngine(self.problem, self.backend.copy(), self.run.copy())

    def segment(self) -> Segment:
        run = self.run
        stats = {
            "accepted": run.accepted,
            "rejected": run.rejected,
            "evaluations": self.backend.evaluations,
        }
        return Segment(
            self.problem, run.t, self.weights(), run.saved, run.recorder.collect(),
            run.log.collect(), stats,
        )  # fmt: skip


class ClosedFormEngine:
    """Rows in closed form; its steps are the times at which the run is recorded."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        total = problem.total
        self._flow = ExactFlow(
            problem.W0,
            growth_constant=total.growth_constant,
            growth_quadratic=total.growth_quadratic,
            lam=total.l1,
        )
        self.t = problem.options.t_start
        self.ending: Ending | None = None
        self._until: float | None = None
        self._planned: list[float] = []
        self._recorded = [0.0]
        """Times since the start, which the closed form counts from."""

    @property
    def _start(self) -> float:
        return self.problem.options.t_start

    def weights(self) -> np.ndarray:
        return self._flow.weights(self._recorded[-1])

    def go_on(self, until: float | None) -> None:
        planned = bool(self._planned) and until == self._until
        self.ending, self._until = None, until
        if planned:
            return  # the time of rest need not be found again for every step
        end = until
        if end is None:
            rest = rest_time(self.problem, self._flow, self.t)
            end = max([rest, *self.problem.options.saves])
        first, here = 1e-2 / self.problem.total.scale, self._recorded[-1]
        if not math.isfinite(end):
            raise ValueError(
                "expected forces that bring W0 to rest, or t_end, got neither; give t_end=..."
            )
        times = recorded_times(first, end - self._start).tolist()
        self._planned = [t for t in times if t > here]

    def advance(self, *, keep: bool) -> bool:
        if self._planned:
            here = self._planned.pop(0)
            # The last of them is where the run is sent, to the last bit.
            at_end = self._until is not None and not self._planned
            self.t = self._until if at_end and self._until is not None else self._start + here
            self._recorded.append(here)
            return True
        if self._until is not None:
            self.ending = Ending(Status.REACHED_T_END, f"reached t_end = {self.t:g}")
            return False
        certificate = certify_rest(self.problem.forces, self.weights(), self.problem.tolerance)
        self.ending = name_rest(certificate, self.t, 1e-9)
        return False

    def inside(self, t: float) -> np.ndarray:
        before = self._start + self._recorded[max(0, len(self._recorded) - 2)]
        if not before <= t <= self.t:
            raise _outside(t, before, self.t)
        return self._flow.weights(t - self._start)

    def end(self, ending: Ending) -> None:
        self.ending = ending

    def checkpoint(self) -> None:
        return None

    def describe(self) -> str:
        return "in closed form"

    def copy(self) -> ClosedFormEngine:
        twin = copy.copy(self)
        twin._planned, twin._recorded = list(self._planned), list(self._recorded)
        return twin

    def segment(self) -> Segment:
        problem, flow, start = self.problem, self._flow, self._start
        saves = [s for s in problem.options.saves if s <= self.t]
        saved = SavedStates(saves, [flow.weights(s - start) for s in saves])
        times = np.array(self._recorded)
        logged = problem.options.events
        stats = {
            "accepted": int(flow.stats["steps"]),
            "rejected": int(flow.stats["rejected"]),
            "evaluations": int(flow.stats["evaluations"]),
        }
        return Segment(
            problem, self.t, self.weights(), saved, observables_at(problem, flow, times),
            exact_events(flow, problem.W0, start, self.t) if logged else Events(), stats,
        )  # fmt: skip


def _outside(t: float, start: float, end: float) -> ValueError:
    return ValueError(
        f"expected a flow time within the last step, {start:g} to {end:g}, got {t!r}; "
        f"run(until={t!r}) goes there"
    )
