"""Curves of a run and of the theory beside it, as columns to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flow.explore.state import State
from flow.pictures.law import closed_form
from flow.results.trajectory import Trajectory
from theory.collisions import malign_fixed_points, separatrix
from theory.counting import paper_count, slot_law, slot_law_applies
from theory.equilibrium import critical_lambda, equal_survivor_roots

Columns = dict[str, Any]
"""Columns of one length, by name."""
ENERGIES = ("FeatureBenefit", "Interference", "Regularization", "L2Regularization")
LEAST = 1e-4
"""Energies below it lie under the axis."""


def steps(parts: Sequence[Trajectory], first: float) -> Columns:
    """At every accepted step: flow time, mean ‖W_i‖₁ and m', energy of each force.

    What is at t = 0 is drawn at `first`. An energy is NaN where its force is off.
    """
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("t", "l1", "survivors", *ENERGIES)
    }
    for part in parts:
        seen = part.observables
        columns["t"].append(np.maximum(seen.times, first))
        columns["l1"].append(seen.l1.mean(axis=1))
        columns["survivors"].append(seen.nonzeros.mean(axis=1))
        for name in ENERGIES:
            energy = seen.energy.get(name, seen.energy.get(f"Noisy{name}"))
            off = np.full(seen.times.size, np.nan)
            columns[name].append(off if energy is None else np.maximum(energy, LEAST))
    return {name: np.concatenate(values) for name, values in columns.items()}


def norms(run: Trajectory, first: float) -> Columns:
    """Flow time, mean ‖W_i‖₁ and m' of a run."""
    seen = run.observables
    kept = np.unique(np.linspace(0, seen.times.size - 1, 400).astype(int))
    return {
        "t": np.maximum(seen.times[kept], first),
        "l1": seen.l1[kept].mean(axis=1),
        "survivors": seen.nonzeros[kept].mean(axis=1),
    }


def law(run: Trajectory, first: float, last: float) -> Columns:
    """The universal law of sparsification where it holds; no rows where it does not."""
    found = closed_form(run)
    if found is None:
        return {"t": [], "l1": [], "survivors": []}
    shown = (found.times >= first) & (found.times <= last)
    return {
        "t": found.times[shown], "l1": found.l1[shown], "survivors": found.survivors[shown],
    }  # fmt: skip


def counting(state: State) -> Columns:
    """What theory says of the polysemantic neurons at rest: one row, or none."""
    n, m = state.n, state.m
    if not slot_law_applies(n, m):
        return {"paper": [], "mean": [], "low": [], "high": []}
    slots = slot_law(n, m)
    low, high = slots.interval(0.95)
    return {
        "paper": [float(paper_count(n, m))], "mean": [slots.mean()], "low": [low], "high": [high],
    }  # fmt: skip


def slot_shares(state: State, seeds: int) -> Columns:
    """How many of so many seeds should have each count, by the slot law."""
    if not slot_law_applies(state.n, state.m):
        return {"count": [], "expected": []}
    slots = slot_law(state.n, state.m)
    low, high = slots.interval(0.9999)
    count = np.arange(low, high + 1)
    return {"count": count, "expected": slots.pmf(count) * seeds}


def plane(state: State) -> dict[str, Columns]:
    """The phase plane of two features on one neuron: separatrix and rest points, in closed form.

    With opposite signs nobody pushes, and of the rest points the attractor is shown. Nothing under
    noise or weight decay, for which the closed form does not hold, nor for a λ without a survivor.
    """
    now = state.at_end()
    push = now.c if now.c_interference is None else now.c_interference
    benefit = 0.0 if "feature-benefit" in now.off else now.c
    push = 0.0 if "interference" in now.off else push
    lam = 0.0 if "regularization" in now.off else now.lam
    nothing: dict[str, Columns] = {
        "separatrix": {"u": [], "v": []}, "rest": {"u": [], "v": [], "kind": []},
    }  # fmt: skip
    other = now.noise != "none" or now.mu > 0.0
    if other or benefit == 0.0 or lam == 0.0 or lam > critical_lambda(c=benefit):
        return nothing
    curve = separatrix(lam, benefit=benefit, interference=push, reach=1.3, points=60)
    points = malign_fixed_points(lam, benefit=benefit, interference=push)
    _, alone = equal_survivor_roots(lam, c=benefit)
    rest = [(p.u, p.v, p.kind) for p in points]
    rest += [(0.0, 0.0, "attractor"), (float(alone), 0.0, "attractor")]
    rest += [(0.0, float(alone), "attractor"), (float(alone), -float(alone), "attractor")]
    u, v, kind = zip(*rest, strict=True)
    mirrored = np.concatenate([curve, [[np.nan, np.nan]], curve[:, ::-1]])
    # Malign in both quadrants of equal signs.
    both = np.concatenate([mirrored, [[np.nan, np.nan]], -mirrored])
    return {
        "separatrix": {"u": both[:, 0], "v": both[:, 1]},
        "rest": {
            "u": [*u, *(-x for x in u)], "v": [*v, *(-x for x in v)], "kind": [*kind, *kind],
        },
    }  # fmt: skip
