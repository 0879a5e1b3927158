"""integrate_ensemble(): many runs of the flow at once, on the device that JAX has."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from flow.defaults import DEFAULT_RTOL
from flow.driver.integration import (
    Problem,
    check_problem,
    prepared,
    steps,
    trajectory,
)
from flow.forces import Force
from flow.results.trajectory import Trajectory


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
    same n and dtype are stepped by one vectorised program for each rung of a ladder of widths,
    64, 128, 256, … ≥ m. A member agrees with :func:`flow.integrate` on its own as well as `rtol`
    allows: the steps are the same up to rounding, which races amplify.

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
    save_at = None if save_at is None else list(save_at)
    problems = []
    for b, (own, W0) in enumerate(zip(sets, W0s, strict=True)):
        try:
            problem = check_problem(
                own, W0, t_end=t_end, save_at=save_at, rtol=rtol, backend="diffrax",
                events=events, stationarity_tol=stationarity_tol, max_steps=max_steps,
                max_seconds=max_seconds, finite=False,
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise type(error)(f"member {b}: {error}") from error
        problems.append(problem)
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
    from flow.accelerator.batch import rung

    groups: dict[Any, dict[int, Problem]] = {}
    for b, problem in enumerate(problems):
        (n, m), slots = problem.W0.shape, problem.slots
        key = (n, rung(m), problem.W0.dtype, slots.drifts, slots.keeps_zeros)
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
    from flow.accelerator.batch import Batch

    def counted(loop: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        run = yield from loop
        bar.update()
        return run

    first = next(iter(problems.values()))
    began = time.perf_counter()
    with prepared(first.W0.size):
        batch = Batch(
            [problem.slots for problem in problems.values()],
            first.W0.shape[0],
            [problem.W0.shape[1] for problem in problems.values()],
            first.W0.dtype,
            mesh=mesh,
        )
        loops = [
            counted(steps(problem, member, False, None))
            for problem, member in zip(problems.values(), batch.members, strict=True)
        ]
        runs = batch.run(loops)
    seconds = time.perf_counter() - began
    found = {}
    for (b, problem), run in zip(problems.items(), runs, strict=True):
        if not run.status.finished:
            run = run._replace(message=f"member {b}: {run.message}")
        run = run._replace(stats={**run.stats, "together": len(problems)})
        found[b] = trajectory(problem, run, seconds, {**notes[b], "member": b})
    return found
