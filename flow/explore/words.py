"""What one sees, in plain words: a line for every panel and every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow.analysis.pairs import Collisions
from flow.explore.frames import MET, Frames
from flow.explore.marks import MOST_MOMENTS, Meeting
from flow.explore.state import State
from flow.results.status import Status
from flow.results.trajectory import Trajectory
from theory.equilibrium import critical_lambda


def weights_line(W: np.ndarray) -> str:
    """Of W : (n, m) as an image."""
    nonzeros = np.count_nonzero(W, axis=1)
    n, m = W.shape
    dead, single = int(np.sum(nonzeros == 0)), int(np.sum(nonzeros == 1))
    line = f"A feature is on {nonzeros.mean():.3g} of {m} neurons on average"
    if single:
        line += f"; {single} of {n} have settled on one"
    return line + (f"; {dead} {'is' if dead == 1 else 'are'} dead." if dead else ".")


def overlaps_lines(frames: Frames) -> list[str]:
    """Of G = W Wᵀ of every frame: who pushes whom hardest."""
    n = frames.weights.shape[1]
    if n < 2:
        return ["One feature alone overlaps with nobody."] * len(frames.times)
    first, second = np.triu_indices(n, 1)
    G = frames.overlaps[:, first, second]
    pushing = np.count_nonzero(G > 1e-6, axis=1).tolist()
    rows = zip(frames.weights, G, pushing, np.argmax(G, axis=1).tolist(), strict=True)
    return [
        _overlaps_line(W, g[k], count, int(first[k]), int(second[k])) for W, g, count, k in rows
    ]


def _overlaps_line(W: np.ndarray, G: float, pushing: int, i: int, j: int) -> str:
    if not pushing:
        return "No two features overlap with G > 0: nobody pushes anybody."
    k = int(np.argmax(W[i] * W[j]))
    line = f"{_pairs(pushing)} push each other apart, features {i} and {j} hardest (G = {G:.2f}"
    return f"{line}, most of it on neuron {k})."


def graph_line(W: np.ndarray, met: Collisions, *, pushing: bool = True) -> str:
    """Of features on neurons: who shares a neuron, and what will come of it.

    met : the collisions of W with weights above MET.
    pushing : whether interference acts.
    """
    if not met.first.size:
        used = int(np.sum(np.abs(W).max(axis=0) > MET))
        said = "1 neuron is" if used == 1 else f"{used} neurons are"
        return f"No two features share a neuron with weights above {MET:g}; {said} in use."
    malign = np.flatnonzero(~met.benign)
    k = int(malign[0]) if malign.size else 0
    i, j, neuron = int(met.first[k]), int(met.second[k]), int(met.neuron[k])
    total = f" ({int(met.benign.sum())} benign, {malign.size} malign pairs in all)"
    if not pushing:
        return (
            f"Features {i} and {j} share neuron {neuron}; interference is off, so they do not feel "
            f"each other{total}."
        )
    if malign.size:
        return (
            f"Features {i} and {j} have met on neuron {neuron} with the same sign: malign, one "
            f"must leave{total}."
        )
    return (
        f"Features {i} and {j} are on neuron {neuron} with opposite signs: benign, they can share "
        f"it for ever, so the neuron is polysemantic{total}."
    )


def counter_line(count: int, window: int) -> str:
    """Of the counter."""
    return (
        f"{count} neurons have two features or more by exact zeros, {window} with 0.8 ≤ |W| ≤ 1.2."
    )


def weights_lines(frames: Frames) -> list[str]:
    """Of W of every frame."""
    return [weights_line(W) for W in frames.weights]


def graph_lines(frames: Frames, state: State) -> list[str]:
    """Of features on neurons of every frame."""
    pushes = [(0.0, "interference" not in state.off)]
    pushes += [(t, "interference" not in after.off) for t, _, after in state.stages()]
    return [
        graph_line(W, met, pushing=[acts for since, acts in pushes if since <= t][-1])
        for t, W, met in zip(frames.times, frames.weights, frames.collisions, strict=True)
    ]


def counter_lines(frames: Frames) -> list[str]:
    """Of the counter at every frame."""
    counted = zip(frames.count.tolist(), frames.window.tolist(), strict=True)
    return [counter_line(count, window) for count, window in counted]


def status_line(state: State, run: Trajectory) -> str:
    """How the run ended."""
    kind, t = run.status, run.times[-1]
    if kind is Status.STATIONARY:
        told = f"At rest since t ≈ {t:.3g}: {_neurons(run.polysemantic)} of {state.m}."
    elif kind is Status.SADDLE:
        told = (
            f"At rest on a saddle since t ≈ {t:.3g}: it stays only because it is balanced, and any "
            f"push would end it. {_neurons(run.polysemantic)}."
        )
    else:
        told = f"{kind.value[0].upper()}{kind.value[1:]} ({run.message})."
    now = state.at_end()
    acts = not {"feature-benefit", "regularization"} & {*now.off}
    if acts and now.c > 0.0 and now.lam > critical_lambda(c=now.c):
        told += f" λ is above 2c/3√3 = {float(critical_lambda(c=now.c)):.3g}: no weight survives."
    return told


def energies_line(state: State) -> str:
    """Of the energies."""
    off = state.at_end().off
    acting = [name for name in ("feature-benefit", "interference", "regularization")
              if name not in off]  # fmt: skip
    acting += ["weight-decay"] if state.at_end().mu > 0.0 else []
    if not acting:
        return "No force acts: nothing moves."
    return f"The sum of the energies of {', '.join(acting).replace('-', ' ')} falls all the time."


def events_line(meetings: Sequence[Meeting]) -> str:
    """Of deaths, revivals and collisions."""
    malign = [met for met in meetings if not met.benign]
    ended = sum(np.isfinite(met.ended) for met in malign)
    benign = [met for met in meetings if met.benign]
    stayed = sum(not np.isfinite(met.ended) for met in benign)
    return (
        f"Bars are weights that reach zero (up) or leave it (down); the last {MOST_MOMENTS} are "
        f"marked one by one. {len(malign)} malign pairs met above {MET:g} (dot), {ended} of them "
        f"parted (cross); {len(benign)} benign ones met, {stayed} stayed together."
    )


def _pairs(count: int) -> str:
    return f"{count:,} pair{'' if count == 1 else 's'} of features"


def _neurons(count: int) -> str:
    return f"{count} polysemantic neuron{'' if count == 1 else 's'}"
