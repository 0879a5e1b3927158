"""integrate_ensemble(): many runs of the flow at once, on the device that JAX has."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from flow.defaults import DEFAULT_RTOL
from flow.driver.loop import (
    Run,
    Trial,
    init,
    interrupt,
    judge,
    keep,
    lands_on_look,
    next_trial,
    record,
)
from flow.driver.packing import finish, trajectory
from flow.driver.problem import Problem, RunOptions, make_problem
from flow.driver.threads import prepared
from flow.forces import Force
from flow.results.trajectory import Trajectory

if TYPE_CHECKING:
    from flow.accelerator.batch import Batch


def integrate_ensemble(
    forces: Sequence[Force] | Sequence[Sequence[Force]],
    W0s: Sequence[np.ndarray] | np.ndarray,
    *,
    t_end: float | None = None,
    save_at: Iterable[float] | None = None,
    rtol: float = DEFAULT_RTOL,
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
    same n and dtype are stepped by one vectorised program for each of the widths 64, 128, 256, …
    ≥ m that they are padded to. A member agrees with :func:`flow.integrate` on its own as well as
    `rtol` allows: the steps are the same up to rounding, which races amplify.

    Parameters
    ----------
    forces : the forces of all members, or one set for each.
    W0s : the starts, each (n, m), float32 or float64. One that holds NaN or infinity ends at once
        as NON_FINITE; the others go on.
    t_end, save_at, rtol, events, stationarity_tol, max_steps : as in :func:`flow.integrate`, for
        every member.
    progress : show a bar of members that have ended.
    metadata : recorded with every member, or one mapping for each; its place is added as "member".
    max_seconds : limit on the time of a batch.
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
    with tqdm(total=count, disable=not progress, unit="run", leave=False) as bar:
        for batch in _batches(problems, batch_size or count):
            found |= _run_batch(batch, notes, mesh, bar)
    return [found[b] for b in range(count)]


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

    groups: dict[Any, dict[int, Problem]] = {}
    for b, problem in enumerate(problems):
        (n, m), slots = problem.W0.shape, problem.total
        key = (n, bucket(m), problem.W0.dtype, slots.drifts, slots.keeps_zeros)
        groups.setdefault(key, {})[b] = problem
    batches = []
    for group in groups.values():
        members = list(group)
        batches += [
            {b: group[b] for b in members[k : k + most]} for k in range(0, len(members), most)
        ]
    return batches


def _run_batch(
    problems: Mapping[int, Problem], notes: Sequence[Mapping[str, Any]], mesh: Any, bar: Any
) -> dict[int, Trajectory]:
    """Trajectories of members that one program can step."""
    from flow.accelerator.batch import Batch

    first = next(iter(problems.values()))
    began = time.perf_counter()
    with prepared(first.W0.size):
        batch = Batch(
            [problem.total for problem in problems.values()],
            first.W0.shape[0],
            [problem.W0.shape[1] for problem in problems.values()],
            first.W0.dtype,
            mesh=mesh,
        )
        runs = _drive_together(list(problems.values()), batch, bar)
    seconds = time.perf_counter() - began
    found = {}
    for k, ((b, problem), run) in enumerate(zip(problems.items(), runs, strict=True)):
        finished = finish(problem, run, batch.evaluations(k))
        if not finished.ending.status.finished:
            message = f"member {b}: {finished.ending.message}"
            finished = finished._replace(ending=finished.ending._replace(message=message))
        finished.stats["together"] = len(problems)
        found[b] = trajectory(problem, finished, seconds, {**notes[b], "member": b})
    return found


def _drive_together(problems: Sequence[Problem], batch: Batch, bar: Any) -> list[Run]:
    """All runs from their starts to their ends: the loop of :func:`flow.driver.loop.drive`, a round
    at a time."""
    states = batch.init({b: problem.W0 for b, problem in enumerate(problems)})
    runs = [init(problem, states[b], states[b].sums) for b, problem in enumerate(problems)]
    running = list(range(len(runs)))
    try:
        while trials := _trials(problems, runs, running):
            bar.update(len(running) - len(trials))
            running = list(trials)
            _round(problems, runs, batch, trials)
        bar.update(len(running))
    except KeyboardInterrupt:
        for run in runs:
            if run.ending is None:
                interrupt(run)
    return runs


def _trials(
    problems: Sequence[Problem], runs: Sequence[Run], running: Sequence[int]
) -> dict[int, Trial]:
    """The next step of every member that has not ended."""
    found = {b: next_trial(problems[b], runs[b]) for b in running}
    return {b: trial for b, trial in found.items() if trial is not None}


def _round(
    problems: Sequence[Problem], runs: Sequence[Run], batch: Batch, trials: Mapping[int, Trial]
) -> None:
    """One step of every member, taken or not."""
    proposals = batch.try_steps({b: (trial.step, trial.allowed) for b, trial in trials.items()})
    accepted = [b for b in trials if judge(problems[b], runs[b], trials[b], proposals[b])]
    states = batch.accept(accepted, list(trials))
    landed = {
        b: states[b].dense(problems[b].W0.shape[1])
        for b in accepted
        if lands_on_look(runs[b], trials[b])
    }
    if landed:
        # A canonical layout, so that a run continued from a file is bitwise the same.
        states |= batch.init(landed)
    for b, W in landed.items():
        keep(runs[b], trials[b].end, W)
    for b in trials:
        if b in accepted:
            record(runs[b], trials[b], proposals[b], states[b], states[b].sums)
        else:
            runs[b].state = states[b]
