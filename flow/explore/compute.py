"""The run of a state: a :class:`flow.Simulation`, changed on the way by its own means.

A change at t is made where the run lands on t. What follows has the bits of
``simulate --t-end t --out a.npz`` and then ``simulate --init a.npz …``, whatever was looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from flow.analysis.states import polysemantic_neurons
from flow.driver.simulation import Simulation
from flow.explore.frames import FrameRecorder, Frames
from flow.explore.links import link
from flow.explore.state import State
from flow.forces import Force, Interference, NoisyInterference
from flow.initial import gaussian_init
from flow.kernels.cores import usable_cores
from flow.results.trajectory import Trajectory

MOST_STEPS = 20_000
MOST_SECONDS = 60.0
"""Of a page's run between two changes."""


class Abandoned(Exception):
    """Nobody waits for this any more."""


class Look(NamedTuple):
    """Where a run is."""

    t: float
    steps: int


Watch = Callable[[Look], None]
"""Called after every accepted step; raises :class:`Abandoned` to end the computation."""


@dataclass(frozen=True)
class Outcome:
    """The run of a state."""

    state: State
    parts: tuple[Trajectory, ...]
    """The run, in parts that each have one number of neurons."""
    frames: Frames

    @property
    def run(self) -> Trajectory:
        """The last part."""
        return self.parts[-1]


def start(state: State) -> np.ndarray:
    """W : (n, m) at the start."""
    return gaussian_init(state.n, state.m, seed=state.seed, scale=state.scale)


def outcome(state: State, watch: Watch | None = None) -> Outcome:
    """Run a state, keeping frames and the log of deaths and revivals.

    Raises ValueError for forces under which no run ends, Abandoned where `watch` does.
    """
    recorder = FrameRecorder.of_size(state.n, state.m)
    parts = tuple(_parts(state, recorder, watch))
    return Outcome(state, parts, recorder.frames())


def _parts(state: State, recorder: FrameRecorder, watch: Watch | None) -> Iterator[Trajectory]:
    steps = 0

    def callback(sim: Simulation) -> None:
        nonlocal steps
        steps += 1
        recorder.add(sim.t, sim.W)
        if watch is not None:
            watch(Look(sim.t, steps))

    def simulation(forces: tuple[Force, ...], W: np.ndarray, t: float) -> Simulation:
        return Simulation(
            forces, W, t_start=t, rtol=state.rtol, events=True, callback=callback, inside=False,
            max_steps=MOST_STEPS, max_seconds=MOST_SECONDS, metadata=about(state),
            threads=usable_cores(),
        )  # fmt: skip

    sim = simulation(state.forces(), start(state), 0.0)
    recorder.add(0.0, sim.W, landmark=True)
    for t, edits, after in state.stages():
        if not _run(sim, t):
            break
        W = before = sim.W
        for edit in edits:
            W = edit.of(W)
        if W.shape != before.shape:
            yield sim.trajectory()
            sim = simulation(sim.forces, W, t)
        elif edits:
            sim.W = W
        if after.forces() != sim.forces:
            sim.forces = after.forces()
        recorder.add(t, sim.W, landmark=True)
    else:
        _run(sim, state.t_end)
    recorder.add(sim.t, sim.W, landmark=True)
    yield sim.trajectory()


def _run(sim: Simulation, until: float | None) -> bool:
    """Whether a run got to `until`, or to rest."""
    status = sim.run(until)
    return status.finished or status.name == "SADDLE"


def about(state: State) -> dict[str, object]:
    """What is recorded with a run."""
    return {"seed": state.seed, "scale": state.scale, "explore": link(state)}


# Beside the run ----------------------------------------------------------------------------------


def alone(state: State, watch: Watch | None = None) -> Trajectory | None:
    """The same start with interference off, in closed form; None where there is none.

    Weights are there to the time at which it rests, or to t_end.
    """
    forces = tuple(
        force for force in state.forces() if not isinstance(force, Interference | NoisyInterference)
    )
    if state.noise != "none" or not any(force.l1 > 0.0 for force in forces):
        return None

    def callback(sim: Simulation) -> None:
        if watch is not None:
            watch(Look(sim.t, 0))

    sim = Simulation(forces, start(state), rtol=state.rtol, backend="exact", callback=callback)
    sim.run(state.t_end)
    return sim.trajectory()


def counts(state: State, seeds: int, watch: Watch | None = None) -> Iterator[tuple[int, int]]:
    """Seed and polysemantic neurons at the end of the runs of the next `seeds` seeds.

    Runs that do not come to an end are left out.
    """

    def callback(sim: Simulation) -> None:
        if watch is not None:
            watch(Look(sim.t, 0))

    plain = replace(state, changes=())
    for seed in range(state.seed + 1, state.seed + 1 + seeds):
        one = replace(plain, seed=seed)
        sim = Simulation(
            one.forces(), start(one), rtol=one.rtol, callback=callback, inside=False,
            max_steps=MOST_STEPS, max_seconds=MOST_SECONDS, threads=usable_cores(),
        )  # fmt: skip
        if _run(sim, one.t_end):
            yield seed, polysemantic_neurons(sim.W)


def finite(run: Trajectory) -> bool:
    """Whether the weights of a run are numbers at its end."""
    return bool(np.isfinite(run.final).all()) and math.isfinite(run.times[-1])
