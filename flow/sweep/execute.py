"""Executes one run of a sweep in this process and measures where it ended."""

from __future__ import annotations

import hashlib
import io
import json
import math
import platform
import socket
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np

import flow
from flow.analysis.pairs import initial_collisions
from flow.analysis.states import (
    AUTHORS_WINDOW,
    FeatureState,
    NeuronState,
    end_states,
    polysemantic_neurons,
    row_residuals,
    winners,
)
from flow.driver.integration import integrate
from flow.driver.memory import available_bytes
from flow.forces import Force
from flow.initial import gaussian_init
from flow.results.observables import Observables
from flow.results.provenance import processor, sources, target, versions
from flow.results.status import Status
from flow.results.trajectory import Trajectory
from flow.results.weights import write_weights
from flow.sweep.forces import build_forces
from flow.sweep.runs import PLATEAU_LEAST, TRACE_POINTS, Measured, Outcome, Run, refused


def execute(
    run: Run, *, keep_weights: bool, max_seconds: float, check_memory: bool, threads: int
) -> Outcome:
    """Execute one run and measure it; see :func:`flow.sweep.calls.execute_batch`."""
    hash_ = run.hash()
    began = time.perf_counter()
    try:
        if check_memory and run.bytes > (available := available_bytes()):
            return refused(run, available)
        W0 = gaussian_init(run.n, run.m, seed=run.seed, scale=run.scale, dtype=run.dtype)
        forces = build_forces(run.forces, asdict(run))
        traj = integrate(
            forces,
            W0,
            t_end=run.t_end,
            rtol=run.rtol,
            backend=run.backend,  # type: ignore[arg-type]
            max_steps=run.max_steps,
            max_seconds=max_seconds,
            threads=threads,
            events=run.census,
        )
        if traj.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return Outcome(
            hash=hash_,
            status=traj.status.name,
            message=traj.message,
            finished=traj.status.finished,
            measured=measure(forces, W0, traj),
            seconds=time.perf_counter() - began,
            software=_software(),
            weights=_packed(run, traj) if keep_weights else None,
        )
    except MemoryError as error:
        status, message = "OUT_OF_MEMORY", str(error) or "an array could not be allocated"
    except Exception as error:
        status, message = "ERROR", f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Outcome(
        hash=hash_,
        status=status,
        message=message,
        seconds=time.perf_counter() - began,
        software=_software(),
    )


def _packed(run: Run, traj: Trajectory) -> bytes:
    """The final W as a file that ``--init`` reads."""
    about = {
        "parameters": dict(traj.parameters),
        "metadata": {"seed": run.seed, "scale": run.scale, "sweep": asdict(run)},
    }
    file = io.BytesIO()
    write_weights(file, traj.final, about, compressed=True)
    return file.getvalue()


# What is measured --------------------------------------------------------------------------------

_FEATURES = {
    FeatureState.DEAD: "dead",
    FeatureState.MONOSEMANTIC: "monosemantic",
    FeatureState.SHARING: "sharing",
    FeatureState.SPREAD: "spread",
    FeatureState.NOT_CONVERGED: "not_converged",
}
_NEURONS = {
    NeuronState.UNUSED: "neurons_unused",
    NeuronState.ONE: "neurons_one",
    NeuronState.TWO: "neurons_two",
    NeuronState.MORE: "neurons_more",
}


@np.errstate(over="ignore", invalid="ignore")  # weights may have overflowed
def measure(forces: Sequence[Force], W0: np.ndarray, traj: Trajectory) -> Measured:
    """What a row of a sweep keeps of a run from W0 : (n, m)."""
    W = traj.final
    work = {name: int(traj.stats[name]) for name in ("accepted", "rejected", "evaluations")}
    found: dict[str, Any] = {
        **work,
        "t": float(traj.stats["t"]),
        "residual": float(traj.certificate.residual),
        "curvature": float(traj.certificate.curvature),
        "energy": float(traj.observables.total_energy[-1]),
        **dict(
            zip(
                ("plateau_end", "plateau_height", "collapse_time"),
                plateau(traj.observables),
                strict=True,
            )
        ),
        "trace": decimated(traj.observables).tobytes(),
        "weights_sha256": hashlib.sha256(_little_endian(W)).hexdigest(),
    }
    if not np.isfinite(W).all():
        return Measured(**found)
    size = np.abs(W.astype(np.float64))
    states = end_states(W, residuals=row_residuals(forces, W), tolerance=traj.certificate.tolerance)
    won = winners(W0, W)
    ranks = won.initial_rank[won.alive]
    slots = won.sign * (won.neuron + 1)
    found |= {
        "l1": float(size.sum(axis=1).mean()),
        "l2": float(np.sqrt((size**2).sum(axis=1)).mean()),
        "l4": float((size**4).sum(axis=1).mean()),
        "nonzeros": int(np.count_nonzero(W)),
        **{_FEATURES[state]: count for state, count in states.counts().items()},
        **{_NEURONS[state]: count for state, count in states.neuron_counts().items()},
        "polysemantic": polysemantic_neurons(W),
        "polysemantic_window": polysemantic_neurons(W, window=AUTHORS_WINDOW),
        "largest_stayed": int(won.largest_stayed.sum()),
        "kept_sign": int(won.kept_sign.sum()),
        "rank": float(ranks.mean()) if ranks.size else math.nan,
        **_fates(W0, W),
        "winners": zlib.compress(np.stack([slots, won.initial_rank]).astype("<i4").tobytes()),
    }
    if traj.events.weights_logged:
        alive = np.flatnonzero(won.alive)
        revived = traj.events.ever_revived(alive, won.neuron[alive])
        found |= {
            "extinctions": traj.events.extinctions.time.size,
            "revivals": traj.events.revivals.time.size,
            "revived_winners": int(revived.sum()),
        }
    return Measured(**found)


def _fates(W0: np.ndarray, W: np.ndarray) -> dict[str, int]:
    """What became of the pairs whose initially largest weights shared a neuron."""
    pairs = initial_collisions(W0, W)
    return {
        f"{kind}_{fate.name.lower()}": count
        for kind, benign in (("benign", True), ("malign", False))
        for fate, count in pairs.counts(benign=benign).items()
    }


def plateau(observables: Observables) -> tuple[float, float, float]:
    """End and height of the plateau of a run, and the time of its collapse; NaN where it has none.

    m'(t), the mean number of non-zeros per feature, falls as 1/t² by the Θ law. The plateau ends
    at the step at which m'·t² is largest while m' ≥ PLATEAU_LEAST; it has collapsed when m' is
    below half of its height there for good. Source: theory/README, sections 2 and 3.
    """
    t = observables.times - observables.times[0]
    survivors = observables.nonzeros.mean(axis=1)
    corner = int(np.argmax(np.where(survivors >= PLATEAU_LEAST, survivors * t**2, 0.0)))
    above = int(np.flatnonzero(survivors > 0.5 * survivors[corner])[-1]) if survivors[corner] else 0
    if t[corner] == 0.0 or above == t.size - 1:
        return math.nan, math.nan, math.nan
    # Between steps the non-zeros are taken for linear.
    high, low, half = survivors[above], survivors[above + 1], 0.5 * survivors[corner]
    passed = t[above] + (high - half) / (high - low) * (t[above + 1] - t[above])
    start = observables.times[0]
    return float(start + t[corner]), float(survivors[corner]), float(start + passed)


def decimated(observables: Observables) -> np.ndarray:
    """At most TRACE_POINTS points of a run's sparsification, (3, k) little-endian float32.

    Rows: flow time, mean non-zeros per feature, mean ‖W_i‖₁. The points are accepted steps, spread
    evenly over the sum of ln t and of the non-zeros, each over its own range: slow decay and
    sudden collapse are both resolved. The first and the last are always there.
    """
    t, survivors = observables.times, observables.nonzeros.mean(axis=1)
    curve = np.stack([t, survivors, observables.l1.mean(axis=1)])
    later = t > t[0]
    if later.any():
        start = t[later][0] - t[0]
        clock = np.log(np.maximum(t - t[0], start))
        way = _share(np.diff(clock)) + _share(np.abs(np.diff(survivors)))
        along = np.concatenate([[0.0], np.cumsum(way)])
        wanted = np.linspace(0.0, along[-1], TRACE_POINTS)
        keep = np.searchsorted(along, wanted)
        keep = np.unique([0, *np.minimum(keep, t.size - 1), t.size - 1])
        curve = curve[:, _at_most(keep, TRACE_POINTS)]
    return curve.astype("<f4")


def _share(steps: np.ndarray) -> np.ndarray:
    total = steps.sum()
    return steps / total if total > 0.0 else steps


def _at_most(keep: np.ndarray, count: int) -> np.ndarray:
    """`keep` without its second entry, if it has one too many."""
    return keep if keep.size <= count else np.delete(keep, 1)


def _little_endian(W: np.ndarray) -> bytes:
    return W.astype(W.dtype.newbyteorder("<"), copy=False).tobytes()


# Provenance --------------------------------------------------------------------------------------


@cache
def _software() -> str:
    """Versions, code and machine of this process as JSON; the bits of a result depend on them."""
    code = hashlib.sha256()
    for path in sources(flow):
        code.update(path.read_bytes())
    return json.dumps(
        {
            **versions("incidental-flow", "numpy", "numba", "scipy"),
            "code": code.hexdigest()[:16],
            "python": platform.python_version(),
            "machine": platform.machine(),
            "processor": processor(),
            "target": target(),
            "host": socket.gethostname(),
        },
        sort_keys=True,
    )
