"""Simulation: a run that can be stepped, looked at, changed, branched and gone on with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flow.defaults import DEFAULT_RTOL, Backend
from flow.driver.engine import Engine, SteppedEngine, make_engine
from flow.driver.filming import KEPT_BYTES, FilmRecorder
from flow.driver.packing import Segment, trajectory
from flow.driver.problem import Problem, RunOptions, make_problem
from flow.driver.progress import Progress
from flow.driver.stopping import Ending
from flow.driver.threads import run_settings
from flow.forces import Force
from flow.initial import check_weights
from flow.integrators.schemes import SCHEMES, Scheme
from flow.kernels.compiling import work_clock
from flow.results.status import Status
from flow.results.trajectory import Trajectory

Callback = Callable[["Simulation"], "bool | None"]
"""Called after every accepted step. It may read, branch, set forces or W, and return True to
stop."""


class Simulation:
    """A run of dW/dt = Σ forces from W0, one step at a time.

        sim = Simulation([FeatureBenefit(), Interference(), Regularization(0.01)], W0)
        sim.run(until=20.0)
        sim.forces = [FeatureBenefit(), Regularization(0.01)]
        other = sim.branch()
        for _ in sim:
            ...
        run = sim.trajectory()

    Looking at it (`W`, `at`, `branch`, `trajectory`, a callback that reads) never changes it: every
    accepted step is bitwise what it is without. A change of forces or of W places the state anew
    and restarts step control; with backend "auto" the backend is chosen again.

    Parameters
    ----------
    forces, W0, save_at, rtol, backend, threads, metadata, events, overlap_events, scheme,
    fixed_step, t_start, first_step, stationarity_tol, max_steps, max_seconds, mesh : as for
        :func:`flow.integrate`; the limits hold for each call of :meth:`run`.
    callback : called with this simulation after every accepted step of :meth:`run`.
    inside : whether `at` works in the callback; without it a step's arrays are dropped at once.
    film : keep frames of W for pictures, of at most 8 MB, or of the number of bytes given.

    Raises
    ------
    As :func:`flow.integrate`.
    """

    def __init__(
        self,
        forces: Sequence[Force],
        W0: ArrayLike,
        *,
        save_at: Iterable[float] | None = None,
        rtol: float = DEFAULT_RTOL,
        backend: Backend = "auto",
        threads: int | None = None,
        callback: Callback | None = None,
        inside: bool = True,
        film: int | bool = False,
        metadata: Mapping[str, Any] | None = None,
        events: bool = False,
        overlap_events: bool = False,
        scheme: Scheme | None = None,
        fixed_step: float | None = None,
        t_start: float = 0.0,
        first_step: float | None = None,
        stationarity_tol: float | None = None,
        max_steps: int = 100_000,
        max_seconds: float = math.inf,
        mesh: Any = None,
    ) -> None:
        options = RunOptions(
            save_at=save_at, rtol=rtol, backend=backend, events=events,
            overlap_events=overlap_events, scheme=scheme, fixed_step=fixed_step, t_start=t_start,
            first_step=first_step, stationarity_tol=stationarity_tol, max_steps=max_steps,
            max_seconds=max_seconds, threads=threads,
        )  # fmt: skip
        self._start(make_problem(forces, np.asarray(W0), options), callback, film, metadata, mesh)
        self._inside = inside

    def _start(
        self,
        problem: Problem,
        callback: Callback | None,
        film: int | bool,
        metadata: Mapping[str, Any] | None,
        mesh: Any,
    ) -> None:
        """Place a checked problem."""
        if mesh is not None and problem.backend != "diffrax":
            raise ValueError(f"expected backend 'diffrax' with mesh, got {problem.backend!r}")
        began = work_clock()
        with run_settings(problem.W0.size, problem.threads):
            engine = make_engine(problem, mesh)
        self._take(engine, callback, metadata, mesh, _film(film, problem))
        self._seconds = work_clock() - began

    @classmethod
    def _started(
        cls,
        problem: Problem,
        callback: Callback | None,
        film: int | bool,
        metadata: Mapping[str, Any] | None,
        mesh: Any,
    ) -> Simulation:
        """The simulation of a checked problem."""
        sim = cls.__new__(cls)
        sim._start(problem, callback, film, metadata, mesh)
        return sim

    @classmethod
    def _of(
        cls, engine: Engine, callback: Callback | None, metadata: Mapping[str, Any], mesh: Any
    ) -> Simulation:
        """The simulation that an engine computes."""
        sim = cls.__new__(cls)
        sim._take(engine, callback, metadata, mesh, None)
        return sim

    @classmethod
    def resume(cls, run: Trajectory, **changes: Any) -> Simulation:
        """Go on from the end of a run, under what it was run with; `changes` win.

        Without changes to forces, W, scheme or precision every step is bitwise the one that the run
        would have made. What is recorded begins anew at the end of `run`.

        Raises ValueError for a run that cannot be gone on with, TypeError for an unknown change.
        """
        before = run.parameters
        forces = tuple(changes.pop("forces", run.forces))
        dtype = changes.pop("dtype", before["dtype"])
        kept = ["rtol", "events", "overlap_events", "fixed_step"]
        same = forces == run.forces and dtype == before["dtype"]
        if same:  # another problem has another tolerance, and perhaps another backend
            kept += ["backend", "stationarity_tol"]
        own = {name: before[name] for name in kept}
        if before["scheme"] is not None and before["backend"] == "numba":
            own["scheme"] = SCHEMES[before["scheme"]]()
        own["metadata"] = dict(run.metadata)
        W0 = run.final.astype(dtype)
        sim = cls(forces, W0, t_start=float(run.times[-1]), **{**own, **changes})
        problem = sim._engine.problem
        same_method = (problem.backend, type(problem.scheme).__name__) == (
            before["backend"], before["scheme"],
        )  # fmt: skip
        if same and same_method and "mesh" not in changes and run.checkpoint is not None:
            with run_settings(W0.size, problem.threads):
                sim._engine = SteppedEngine.resume(problem, run.checkpoint)
        return sim

    def _take(
        self,
        engine: Engine,
        callback: Callback | None,
        metadata: Mapping[str, Any] | None,
        mesh: Any,
        film: FilmRecorder | None,
    ) -> None:
        self._engine, self._callback, self._mesh, self._film = engine, callback, mesh, film
        self.metadata = dict(metadata or {})
        """Recorded with the trajectory; anything JSON can hold."""
        self._inside = True
        self._past: list[Segment] = []
        self._seconds = 0.0
        self._stepping = False
        self._t_end: float | None = None

    # Looking -----------------------------------------------------------------

    @property
    def t(self) -> float:
        """Flow time."""
        return self._engine.t

    @property
    def W(self) -> np.ndarray:
        """(n, m) weights at t: a copy. Setting them, in the same shape, goes on from there."""
        return self._engine.weights()

    @W.setter
    def W(self, W: ArrayLike) -> None:
        shape = self._engine.problem.W0.shape
        new = check_weights(W, name="W").astype(self._engine.problem.W0.dtype)
        if new.shape != shape:
            raise ValueError(
                f"expected W of shape {shape}, as it is, got {new.shape}; another shape is a new "
                f"Simulation"
            )
        self._restart(self.forces, new)

    @property
    def forces(self) -> tuple[Force, ...]:
        """The forces that act. Setting them takes effect with the next step."""
        return self._engine.problem.forces

    @forces.setter
    def forces(self, forces: Sequence[Force]) -> None:
        self._restart(forces, self.W)

    @property
    def backend(self) -> str:
        """Which backend computes: numba, exact or diffrax."""
        return self._engine.problem.backend

    @property
    def status(self) -> Status | None:
        """How the last :meth:`run` ended; None while there is nothing to say."""
        ending = self._engine.ending
        return None if ending is None else ending.status

    def at(self, t: float) -> np.ndarray:
        """W : (n, m) at a flow time inside the last step, which is not landed on.

        Between the ends of a step W is dense output: the rows solved over part of the step, of
        second order, with exact zeros. Raises ValueError for a time outside the last step.
        """
        if t == self.t:
            return self.W
        with self._settings():
            return self._engine.inside(float(t))

    def branch(self) -> Simulation:
        """A copy with the same future, bit for bit, to change or to go on with on its own."""
        twin = Simulation.__new__(Simulation)
        twin.__dict__.update(self.__dict__)
        twin._engine, twin._past = self._engine.copy(), list(self._past)
        twin.metadata, twin._stepping, twin._callback = dict(self.metadata), False, None
        twin._film = None if self._film is None else self._film.copy()
        return twin

    def trajectory(self) -> Trajectory:
        """What :func:`flow.integrate` would have returned, up to here."""
        with self._settings():
            segments = [*self._past, self._engine.segment()]
            ending = self._engine.ending or Ending(
                Status.STOPPED, f"not run further than t = {self.t:g}"
            )
            film = None if self._film is None else self._film.film(self.t, segments[-1].final)
            return trajectory(
                segments, ending, seconds=self._seconds, metadata=self.metadata, t_end=self._t_end,
                film=film, checkpoint=self._engine.checkpoint(),
            )  # fmt: skip

    def __repr__(self) -> str:
        n, m = self._engine.problem.W0.shape
        names = ", ".join(map(repr, self.forces)) or "no forces"
        ended = "" if self.status is None else f", {self.status.name}"
        return f"<Simulation of {n} features × {m} neurons at t = {self.t:g}{ended}: {names}>"

    # Changing ----------------------------------------------------------------

    def _restart(self, forces: Sequence[Force], W: np.ndarray) -> None:
        """Begin a segment of its own under `forces` at W."""
        options = self._engine.problem.options
        ahead = tuple(s for s in options.saves if s > self.t)
        problem = make_problem(
            forces,
            W,
            dataclasses.replace(
                options, save_at=ahead, t_start=self.t, first_step=None, t_end=None
            ),
        )
        with run_settings(W.size, problem.threads):
            engine = make_engine(problem, self._mesh)
            self._past.append(self._engine.segment())
        self._engine = engine

    # Going on ----------------------------------------------------------------

    def step(self) -> bool:
        """Make one accepted step; False where the run has come to rest instead.

        Raises RuntimeError from inside a callback.
        """
        made = self._go_on(None, once=True)
        if self.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return made

    def run(self, until: float | None = None, *, progress: bool = False) -> Status:
        """Go on until flow time `until`, which is landed on, or until rest; say how it ended.

        Raises ValueError for a time that is past; RuntimeError from inside a callback.
        """
        if until is not None and not (math.isfinite(until) and until >= self.t):
            raise ValueError(
                f"expected a finite flow time >= {self.t:g}, where it is, or None for rest, got "
                f"{until!r}; a branch made earlier can go back"
            )
        self._t_end = until
        self._go_on(until, once=False, progress=progress)
        assert self.status is not None
        return self.status

    def __iter__(self) -> Iterator[Simulation]:
        """Step until rest; yields itself after every accepted step."""
        while self.step():
            yield self

    def _go_on(self, until: float | None, *, once: bool, progress: bool = False) -> bool:
        if self._stepping:
            raise RuntimeError(
                "expected a callback to read, branch, set forces or W, got one that steps; step a "
                "branch instead"
            )
        began = work_clock()
        bar = Progress(progress, self.t, until)
        self._stepping = True
        try:
            with self._settings():
                self._engine.go_on(None if until is None else float(until))
                if once:
                    made = self._engine.advance(keep=True)
                    if made and self._film is not None:
                        self._film.add(self.t, self._engine.weights)
                    return made
                while self._engine.advance(keep=self._callback is not None and self._inside):
                    bar.show(self._engine)
                    if self._film is not None:
                        self._film.add(self.t, self._engine.weights)
                    if self._callback is not None and self._call(until):
                        break
        except KeyboardInterrupt:
            self._engine.end(Ending(Status.INTERRUPTED, f"interrupted at t = {self.t:g}"))
        finally:
            self._stepping = False
            self._seconds += work_clock() - began
            bar.close()
        return False

    def _call(self, until: float | None) -> bool:
        """Call the callback; whether it wants to stop."""
        assert self._callback is not None
        engine, outside = self._engine, self._stepping
        self._stepping = True
        try:
            stop = self._callback(self)
        finally:
            self._stepping = outside
        if self._engine is not engine:
            self._engine.go_on(until)
        if stop:
            message = f"stopped by the callback at t = {self.t:g}"
            self._engine.end(Ending(Status.STOPPED, message))
        return bool(stop)

    def _settings(self) -> Any:
        problem = self._engine.problem
        return run_settings(problem.W0.size, problem.threads)


def _film(wanted: int | bool, problem: Problem) -> FilmRecorder | None:
    """A film with its first frame, of at most that many bytes, or of the usual size."""
    if not wanted:
        return None
    film = FilmRecorder(*problem.W0.shape, most=KEPT_BYTES if wanted is True else int(wanted))
    film.add(problem.options.t_start, lambda: problem.W0)
    return film
