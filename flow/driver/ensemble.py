"""integrate_ensemble(): many runs of the flow at once, on the device that JAX has."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from flow.defaults import DEFAULT_RTOL
from flow.driver.engine import SteppedEngine
from flow.driver.loop import (
    LastStep,
    Trial,
    init,
    interrupt,
    judge,
    looks_inside,
    next_trial,
    record,
)
from flow.driver.problem import Problem, RunOptions, make_problem
from flow.driver.progress import bar_class
from flow.driver.simulation import Simulation
from flow.driver.threads import run_settings
from flow.forces import Force
from flow.results.trajectory import Trajectory

if TYPE_CHECKING:
    from flow.accelerator.batch import Batch


MOST_PADDING = 1.25
"""By how much padding to one width may enlarge a batch at its start. All members of a batch make as
many stages as the one with most, and wide runs need fewer than narrow ones: the 256 runs of figure
3, in one batch padded 1.9 times, make 12,000 where one alone makes 1,900 on average."""

MemberCallback = Callable[[int, Simulation], "bool | None"]
"""Called with a member's number and its simulation after every step that it makes."""


def integrate_ensemble(
    forces: Sequence[Force] | Sequence[Sequence[Force]],
    W0s: Sequence[np.ndarray] | np.ndarray,
    *,
    t_end: float | None = None,
    save_at: Iterable[float] | None = None,
    rtol: float = DEFAULT_RTOL,
    callback: MemberCallback | None = None,
    progress: bool = False,
    metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    events: bool = False,
    stationarity_tol: float | None = None,
    max_steps: int = 100_000,
    max_seconds: float = math.inf,
    batch_size: int | None = None,
    mesh: Any = None,
) -> list[Trajectory]:
    """Run dW/dt = Σ forces from every W0, each with its own steps and its own end.

    Members may differ in seed, in the strengths of their forces, and in n and m: those with the
    same n and dtype are padded to one of the widths 64, 128, 256, … ≥ m and stepped by one
    vectorised program, narrow ones with wide ones where that adds no more than a quarter to the
    work. A member agrees with :func:`flow.integrate` on its own as well as `rtol` allows: the steps
    are the same up to rounding, which races amplify.

    Parameters
    ----------
    forces : the forces of all members, or one set for each.
    W0s : the starts, each (n, m), float32 or float64. One that holds NaN or infinity ends at once
        as NON_FINITE; the others go on.
    t_end, save_at, rtol, events, stationarity_tol, max_steps : as in :func:`flow.integrate`, for
        every member.
    callback : called with (member, simulation) after every accepted step of each member, as in
        :func:`flow.integrate`. A member whose forces or weights it sets goes on alone.
    progress : show a bar of members that have ended.
    metadata : recorded with every member, or one mapping for each; its place is added as "member".
    max_seconds : limit on the time of the call, however many batches it makes.
    batch_size : most members to compute at once, where memory is short; default all that can be.
    mesh : a ``jax.sharding.Mesh`` with one axis, over whose devices neurons are spread.

    Returns
    -------
    One Trajectory for each member, in order. Look at their `status`: the message of one that did
    not finish begins with the number of the member. `stats["seconds"]` is the time of the batch
    that it was in, `stats["together"]` how many were.

    Raises
    ------
    As :func:`flow.integrate`, and ValueError where the numbers of members disagree.

    Source: theory/README, sections 1 and 5.
    """
    called = time.perf_counter()
    count = len(W0s)
    shared = all(isinstance(force, Force) for force in forces)
    sets = _for_each([forces] * count if shared else forces, count, "forces")
    shared = metadata is None or isinstance(metadata, Mapping)
    notes = _for_each([metadata or {}] * count if shared else metadata, count, "metadata")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be >= 1 or None, got {batch_size!r}")
    options = RunOptions(
        t_end=t_end, save_at=save_at, rtol=rtol, backend="diffrax", events=events,
        stationarity_tol=stationarity_tol, max_steps=max_steps, max_seconds=max_seconds,
    )  # fmt: skip
    problems = []
    for b, (own, W0) in enumerate(zip(sets, W0s, strict=True)):
        try:
            problems.append(make_problem(own, W0, options, finite=False))
        except (ValueError, TypeError) as error:
            raise type(error)(f"member {b}: {error}") from error
    found: dict[int, Trajectory] = {}
    with _bar(count, progress) as bar:
        for batch in _batches(problems, batch_size or count):
            found |= _run_batch(batch, notes, callback, mesh, bar, called=called)
    return [found[b] for b in range(count)]


@contextmanager
def _bar(count: int, on: bool) -> Iterator[Any]:
    """A bar of members that have ended."""
    with bar_class()(total=count, disable=not on, unit="run", leave=False) as bar:
        yield bar


def _for_each(given: Any, count: int, name: str) -> list[Any]:
    """One entry for each member."""
    if len(given) != count:
        raise ValueError(
            f"expected {name} once for all members or for each of {count}, got {len(given)}"
        )
    return list(given)


def _batches(problems: Sequence[Problem], most: int) -> list[dict[int, Problem]]:
    """Members that one program can step."""
    from flow.accelerator.batch import bucket

    groups: dict[Any, dict[int, list[int]]] = {}
    for b, problem in enumerate(problems):
        (n, m), slots = problem.W0.shape, problem.total
        key = (n, problem.W0.dtype, slots.drifts, slots.preserves_dead_neurons)
        groups.setdefault(key, {}).setdefault(bucket(m), []).append(b)
    batches = []
    for widths in groups.values():
        for members in _joined_widths(widths):
            batches += [
                {b: problems[b] for b in members[k : k + most]}
                for k in range(0, len(members), most)
            ]
    return batches


def _joined_widths(widths: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Members of several padded widths, in batches that each have the width of their widest.

    A batch is compiled for every width and number of members that it comes down to, and each waits
    for the device at every stage, so that one wide batch soon costs less than several: narrower
    ones join as long as :data:`MOST_PADDING` allows.
    """
    batches: list[list[int]] = []
    widest = weights = 0
    for width in sorted(widths, reverse=True):
        members = widths[width]
        weights += len(members) * width
        padded = (len(batches[-1]) + len(members)) * widest if batches else math.inf
        if padded <= MOST_PADDING * weights:
            batches[-1] += members
        else:
            batches.append(list(members))
            widest, weights = width, len(members) * width
    return batches


def _run_batch(
    problems: Mapping[int, Problem],
    notes: Sequence[Mapping[str, Any]],
    callback: MemberCallback | None,
    mesh: Any,
    bar: Any,
    *,
    called: float,
) -> dict[int, Trajectory]:
    """Trajectories of members that one program can step; their limit counts from `called`."""
    from flow.accelerator.batch import Batch, BatchMember

    first = next(iter(problems.values()))
    began = time.perf_counter()
    with run_settings(first.W0.size, first.threads):
        batch = Batch(
            [problem.total for problem in problems.values()],
            first.W0.shape[0],
            [problem.W0.shape[1] for problem in problems.values()],
            first.W0.dtype,
            mesh=mesh,
        )
        states = batch.init({k: problem.W0 for k, problem in enumerate(problems.values())})
        sims = []
        for k, (b, problem) in enumerate(problems.items()):
            run = init(problem, states[k], states[k].sums)
            run.began = called
            engine = SteppedEngine(problem, BatchMember(batch, k), run)
            own = None if callback is None else partial(callback, b)
            sims.append(Simulation._of(engine, own, {**notes[b], "member": b}, None))
        del states  # or the start would stay in memory to the end
        _Together(batch, sims).run(bar)
    seconds = time.perf_counter() - began
    found = {}
    for b, sim in zip(problems, sims, strict=True):
        traj = sim.trajectory()
        message = traj.message if traj.status.finished else f"member {b}: {traj.message}"
        stats = {**traj.stats, "seconds": seconds, "together": len(problems)}
        found[b] = dataclasses.replace(traj, message=message, stats=stats)
    return found


class _Together:
    """Members that are stepped together: the loop of a run, a round at a time."""

    def __init__(self, batch: Batch, sims: Sequence[Simulation]) -> None:
        self._batch, self._sims = batch, sims
        self._engines: list[SteppedEngine] = [sim._engine for sim in sims]  # type: ignore[misc]
        self._running = list(range(len(sims)))
        self._watched = any(sim._callback is not None for sim in sims)

    def run(self, bar: Any) -> None:
        """Every member to its end."""
        count = len(self._running)
        try:
            while trials := self._trials():
                self._running = list(trials)
                self._round(trials)
                bar.update(count - len(self._running))
                count = len(self._running)
        except KeyboardInterrupt:
            for engine in self._engines:
                if engine.ending is None:
                    interrupt(engine.run)
        bar.update(count)
        for sim, engine in zip(self._sims, self._engines, strict=True):
            if sim._engine is not engine:  # its callback changed it: it goes on alone
                sim.run(engine.problem.options.t_end)

    def _trials(self) -> dict[int, Trial]:
        """The next step of every member that goes on here."""
        found = {}
        for k in self._running:
            engine = self._engines[k]
            if self._sims[k]._engine is engine:
                trial = next_trial(engine.problem, engine.run)
                if trial is not None:
                    found[k] = trial
                else:
                    engine.run.state = engine.run.state.alone()
        return found

    def _round(self, trials: Mapping[int, Trial]) -> None:
        """One step of every member, taken or not."""
        engines, keep = self._engines, self._watched
        inside = keep or any(looks_inside(engines[k].run, trial) for k, trial in trials.items())
        steps = {k: (trial.step, trial.allowed) for k, trial in trials.items()}
        proposals = self._batch.try_steps(steps, keep=inside)
        accepted = [
            k for k in trials if judge(engines[k].problem, engines[k].run, trials[k], proposals[k])
        ]
        states = self._batch.accept(accepted, list(trials))
        for k, state in states.items():
            engine = engines[k]
            if k not in accepted:
                engine.run.state = state
                continue
            last = LastStep(trials[k], engine.run.state, proposals[k])
            record(engine.backend, engine.run, last, state, state.sums, keep=keep)
        if keep:
            for k in accepted:
                self._sims[k]._call(engines[k].problem.options.t_end)
