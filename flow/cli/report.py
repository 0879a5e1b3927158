"""Text about finished runs: a summary of one, a table of several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from flow.analysis.pairs import Fate, initial_collisions
from flow.analysis.states import (
    AUTHORS_WINDOW,
    FeatureState,
    polysemantic_neurons,
    winners,
)
from flow.analysis.statistics import mean_and_interval
from flow.analysis.superposition import alignment, geometry
from flow.forces import FeatureBenefit, Interference, Regularization
from flow.results.trajectory import Trajectory
from theory.counting import paper_count, slot_law, slot_law_applies
from theory.occupancy import occupancy

FATES = {
    Fate.BOTH_STAYED: "both stayed",
    Fate.LARGER_STAYED: "larger stayed",
    Fate.SMALLER_STAYED: "smaller stayed",
    Fate.BOTH_LEFT: "both left",
}


@dataclass(frozen=True)
class Expected:
    """Predicted numbers of polysemantic neurons."""

    paper: float
    """n²/4m."""
    slot_mean: float
    """Mean of the slot law (conjecture)."""
    slot_std: float
    """Its standard deviation."""


def expected_counts(traj: Trajectory) -> Expected | None:
    """What theory says of the polysemantic neurons of a run; None where it says nothing.

    The laws are for n ≤ 2m features at rest under benefit, interference and ℓ1, with outputs that
    do not leak.
    """
    n, m = traj.final.shape
    acting = {type(force) for force in traj.forces}
    complete = {FeatureBenefit, Interference, Regularization} <= acting
    leaks = any(force.leak_strength for force in traj.forces)
    if not (complete and not leaks and traj.certificate.stationary and slot_law_applies(n, m)):
        return None
    law = slot_law(n, m)
    return Expected(paper=float(paper_count(n, m)), slot_mean=law.mean(), slot_std=law.std())


def summary(
    traj: Trajectory,
    expected: Expected | None,
    *,
    W0: np.ndarray | None = None,
    superposition: bool = False,
) -> Iterator[str]:
    """Lines about one run.

    With W0 : (n, m), its start, also what became of the winners; with `superposition` how far
    directions and neurons are shared.
    """
    about, W = traj.parameters, traj.final
    yield f"{'forces':<14}{_forces_line(about['forces'])}"
    yield f"{'start':<14}{_start_line(traj)}"
    label, _, meaning = traj.status.value.partition(": ")
    told = f" ({label}: {meaning})" if meaning and not traj.status.finished else ""
    yield f"{'status':<14}{traj.message}{told}"
    mark = traj.certificate
    rest = "below" if mark.stationary else "above"
    line = f"largest |dW/dt| is {rest} {mark.tolerance:.1e}, which counts as rest"
    if not mark.stationary:
        line = f"{line}: {mark.residual:.1e}"
    if not math.isnan(mark.curvature):
        line += f", lowest curvature {mark.curvature:.3g}"
    yield f"{'certificate':<14}{line}"
    steps = traj.stats
    yield (
        f"{'work':<14}{steps['accepted']:,} {_step_name(traj)}, {steps['rejected']:,} rejected, "
        f"{steps['evaluations']:,} evaluations, {steps['seconds']:.2f} s, backend "
        f"{about['backend']}, rtol {about['rtol']:g}, {about['dtype']}"
    )
    if not np.isfinite(W).all():
        return
    nonzeros = np.count_nonzero(W, axis=1)
    yield (
        f"{'non-zeros':<14}{nonzeros.mean():.4g} per feature, from {nonzeros.min()} to "
        f"{nonzeros.max()}"
    )
    states = traj.end_states
    counts = ", ".join(
        f"{count} {state.name.lower().replace('_', ' ')}"
        for state, count in states.counts().items()
    )
    yield f"{'features':<14}{counts}"
    yield f"{'polysemantic':<14}{_polysemantic_line(traj, expected)}"
    yield from _hopeless(traj)
    if superposition:
        yield from _superposition(W)
    if W0 is not None:
        yield from _census(W0, traj)


def _step_name(traj: Trajectory) -> str:
    """What is counted: the closed form makes no steps of W."""
    exact = traj.parameters["backend"] == "exact"
    return "points on the paths of single rows" if exact else "steps"


def _polysemantic_line(traj: Trajectory, expected: Expected | None) -> str:
    W = traj.final
    count = polysemantic_neurons(W)
    line = f"{count} neuron{'' if count == 1 else 's'}"
    if not traj.certificate.stationary:
        low, high = AUTHORS_WINDOW
        seen = polysemantic_neurons(W, window=AUTHORS_WINDOW)
        return f"{line} by exact zeros, {seen} by {low:g} ≤ |W| ≤ {high:g}: W is not at rest"
    return line if expected is None else line + _expected_line(expected)


def _hopeless(traj: Trajectory) -> Iterator[str]:
    """A word on a λ above which no weight can stay."""
    strength = sum(f.strength for f in traj.forces if isinstance(f, FeatureBenefit))
    lam = sum(f.lam for f in traj.forces if isinstance(f, Regularization))
    critical = 2.0 * strength / (3.0 * math.sqrt(3.0))
    if strength > 0.0 and lam > critical:
        yield f"{'note':<14}λ = {lam:g} is above 2c/(3√3) = {critical:.3g}: no weight survives"


def comparison(
    runs: Mapping[str, Trajectory], expected: Mapping[str, Expected | None]
) -> Iterator[str]:
    """A table with one line per run."""
    width = max(len(name) for name in runs) + 2
    states = list(FeatureState)
    heads = ["ended at t", "status", "non-zeros", "|W|_1", *(_short(state) for state in states)]
    yield f"{'forces':<{width}}" + "".join(f"{head:>14}" for head in [*heads, "polysemantic"])
    for name, traj in runs.items():
        W = traj.final
        finite = bool(np.isfinite(W).all())
        counts = traj.end_states.counts()
        cells = [
            f"{traj.times[-1]:.4g}",
            traj.status.name.lower().replace("_", " "),
            f"{np.count_nonzero(W, axis=1).mean():.4g}",
            f"{np.abs(W).sum(axis=1).mean():.4g}",
            *(str(counts[state]) for state in states),
            str(polysemantic_neurons(W)) if finite else "-",
        ]
        yield f"{name:<{width}}" + "".join(f"{cell:>14}" for cell in cells)
    known = next(iter(expected.values()))
    yield f"polysemantic neurons expected with all forces on:{_expected_line(known)}"


def _short(state: FeatureState) -> str:
    return state.name.lower().replace("_", " ")


def _forces_line(forces: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for force in forces:
        values = ", ".join(
            f"{key} {value if isinstance(value, str) else f'{value:g}'}"
            for key, value in force.items()
            if key != "name" and (value or key in ("strength", "lam", "mu"))
        )
        parts.append(f"{force['name']} ({values})")
    return ", ".join(parts) or "none"


def _start_line(traj: Trajectory) -> str:
    about, known = traj.parameters, traj.metadata
    line = f"n = {about['n']} features, m = {about['m']} neurons"
    if "init" in known:
        line += f", from {known['init']} at t = {known['init_time']:g}"
        return f"{line}; changed: {known['changed']}" if "changed" in known else line
    if "seed" in known and "scale" in known:
        return f"{line}, seed {known['seed']}, scale {known['scale']:g}"
    return f"{line}, weights that were given"


def _expected_line(expected: Expected | None) -> str:
    if expected is None:
        return " (more than 2m features: no prediction)"
    return (
        f" (n²/4m: {expected.paper:.4g}; slot law, a conjecture: {expected.slot_mean:.4g} ± "
        f"{expected.slot_std:.2g})"
    )


def _superposition(W: np.ndarray) -> Iterator[str]:
    """Superposition is of directions, whatever the basis; polysemanticity is of neurons."""
    (n, m), g, a = W.shape, geometry(W), alignment(W)
    alive, used = g.squared_norm > 0.0, a.features_per_neuron > 0.0
    share = f", mean {g.dimensionality[alive].mean():.3g}" if alive.any() else ""
    yield (
        f"{'superposition':<14}dimensionality: sum {g.dimensionality.sum():.4g} of at most "
        f"{min(n, m)}{share}; {g.represented} of {n} features represented; coherence "
        f"{g.coherence:.3g}"
    )
    if alive.any():
        yield (
            f"{'alignment':<14}{a.features_per_neuron[used].mean():.3g} features per neuron in "
            f"use, {a.neurons_per_feature[alive].mean():.3g} neurons per feature (effective means)"
        )
    if (use := occupancy(W)) is not None and use.features:
        yield (
            f"{'occupancy':<14}{use.shared} shared neurons, {use.necessary} of them necessarily, "
            f"{use.unused} unused; θ = {use.theta:.3g} (slot law: 1, p = {use.p_value:.2g})"
        )


def _census(W0: np.ndarray, traj: Trajectory) -> Iterator[str]:
    """Collisions of the initially largest weights and their fate; where the winners started."""
    log, W = traj.events, traj.final
    collided = initial_collisions(W0, W)
    for name, benign in (("benign", True), ("malign", False)):
        counts = collided.counts(benign=benign)
        fates = ", ".join(f"{count} {FATES[fate]}" for fate, count in counts.items())
        kind = f"{name} collisions of initially largest weights"
        yield f"{'census':<14}{sum(counts.values())} {kind}: {fates}"
    won = winners(W0, W)
    ranks = won.initial_rank[won.alive]
    if ranks.size:
        yield (
            f"{'winners':<14}{int(won.largest_stayed.sum())} of {ranks.size} features keep their "
            f"initially largest weight; initial rank: median {np.median(ranks):g}, largest "
            f"{ranks.max()}; {int(np.sum(won.alive & ~won.kept_sign))} changed sign"
        )
    if log.weights_logged:
        alive = np.flatnonzero(won.alive)
        revived = int(np.sum(log.ever_revived(alive, won.neuron[alive])))
        yield (
            f"{'events':<14}{log.extinctions.time.size:,} weights reached zero, "
            f"{log.revivals.time.size:,} left it, {revived} of them to win"
        )


def mean_with_interval(values: Sequence[float], *, percent: bool = False) -> str:
    """Mean ± half of its 95 % interval; the mean alone where all are alike, "-" for none.

    Both are rounded to the second digit of the half-width.
    """
    if not values:
        return "-"
    factor, unit = (100.0, " %") if percent else (1.0, "")
    mean = factor * fmean(values)
    half = factor * mean_and_interval(values)[1] if len(values) > 1 else math.nan
    if not half > 1e-9 * abs(mean):
        return f"{mean:.3g}{unit}"
    digits = max(0, 1 - math.floor(math.log10(half)))
    if digits > 6 or abs(mean) >= 1e6:
        return f"{mean:.3g} ± {half:.2g}{unit}"
    return f"{mean:.{digits}f} ± {half:.{digits}f}{unit}"


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its heading first, padded so that it reads in a terminal too."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in table
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
