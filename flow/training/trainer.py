"""The training loop from outside: what it is given, what it gives back, a bar in between.

JAX is imported with the first training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from flow.analysis.stationarity import certify, default_tolerance
from flow.forces import (
    FeatureBenefit,
    Force,
    Interference,
    L2Regularization,
    Regularization,
    sum_slots,
)
from flow.initial import check_weights
from flow.results.observables import Observables
from flow.results.provenance import versions
from flow.results.status import Status
from flow.results.trajectory import Trajectory
from flow.training.setup import Network, Training

if TYPE_CHECKING:
    from flow.training.network import Weights

RECORDS = 200
"""Times at which observables are kept by default."""
PIECES = 64
"""Observations in one call of the compiled loop, at most: one length, compiled once."""
CALL_WORK = 2e10
"""Multiply-adds in one call of the compiled loop, so that a bar moves and Ctrl-C is heard."""


@dataclass(frozen=True)
class TrainingTrajectory(Trajectory):
    """A training run of one instance; weights and observables are those of W, or of the decoder.

    Times are learning rate × steps: flow time under gradient descent with a small step, a name
    only under AdamW. Energies, dissipation and certificate are those of the flow of
    :func:`forces_of` at the same W, also where noise, data or network make the loss another.
    """

    encoder: Trajectory | None = None
    """The same for the encoder of an untied network."""


def forces_of(network: Network) -> list[Force]:
    """The forces whose flow the network follows under gradient descent with small steps.

    So it does with the full batch, without noise, tied, linear inside and ReLU outside: then
    −∇loss is their sum. Source: paper, section 2; theory/README, section 1.
    """
    forces: list[Force] = [FeatureBenefit(network.c), Interference(network.c)]
    if network.lam > 0.0:
        kind = Regularization if network.penalty == "l1" else L2Regularization
        forces.append(kind(network.lam))
    return forces


def train(
    training: Training,
    W0: np.ndarray,
    *,
    steps: int,
    encoder0: np.ndarray | None = None,
    seed: int = 0,
    streams: Sequence[int] | None = None,
    save_at: Iterable[float] | None = None,
    record_every: int | None = None,
    progress: bool = False,
    metadata: Sequence[Mapping[str, Any]] | None = None,
    call_work: float = CALL_WORK,
) -> list[TrainingTrajectory]:
    """Train `steps` steps from every W0, all instances at once.

    Parameters
    ----------
    training : network, data, noise, optimizer.
    W0 : (n, m), or (k, n, m) for k instances; finite, float32 or float64, which the run keeps.
        Of an untied network the decoder.
    steps : ≥ 0.
    encoder0 : where the encoder of an untied network starts, shaped as W0; row i is what input i
        is multiplied by, whichever inputs there are.
    seed : of minibatches and noise.
    streams : one whole number ≥ 0 per instance; which of the streams of random numbers under
        `seed` it gets. Default 0, 1, …; shared noise is the same for all.
    save_at : increasing times ≥ 0, in learning rate × steps, at which the weights are kept,
        rounded to steps; default the start. The end is always kept besides.
    record_every : steps between observables; default about 200 of them.
    progress : show a bar.
    metadata : recorded, one mapping per instance; anything JSON can hold.
    call_work : multiply-adds in one call of the compiled loop; it changes no result.

    Returns
    -------
    One trajectory per instance, with `encoder` set if the network is untied. Its status is
    REACHED_T_END, NON_FINITE or INTERRUPTED; `certificate` says how far the flow would be from
    rest there.

    Raises
    ------
    ValueError for arguments out of range or of the wrong shape; ImportError without JAX and
    optax.
    """
    try:
        import jax
        import optax  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "training needs JAX and optax: pip install 'incidental-flow[accelerator]'"
        ) from error
    W0, encoder0 = _check_weights(training, W0, encoder0)
    instances, n, m = W0.shape
    rate = training.optimizer.rate
    if steps < 0:
        raise ValueError(f"steps must be a whole number >= 0, got {steps!r}")
    if record_every is None:
        record_every = max(1, math.ceil(steps / RECORDS))
    if record_every < 1:
        raise ValueError(f"record_every must be a whole number >= 1, got {record_every!r}")
    streams = list(range(instances)) if streams is None else [int(s) for s in streams]
    if len(streams) != instances or min(streams) < 0:
        raise ValueError(f"streams must be {instances} whole numbers >= 0, got {streams}")
    if metadata is None:
        metadata = [{}] * instances
    if len(metadata) != instances:
        raise ValueError(f"metadata must be {instances} mappings, got {len(metadata)}")
    saves = _save_steps(save_at, rate, steps)
    began = time.perf_counter()
    with _precision(W0.dtype), np.errstate(over="ignore", invalid="ignore"):
        batch = training.data.batch or n
        work = instances * (n * m + batch * min(n, m)) * n
        run = _run(
            training, W0, encoder0, steps, record_every, saves, seed, streams, progress,
            max(1, int(call_work / work)),
        )  # fmt: skip
    about: dict[str, Any] = {
        "n": n,
        "m": m,
        "dtype": str(W0.dtype),
        "t_start": 0.0,
        "t_end": rate * steps,
        "save_at": [rate * k for k in saves],
        "backend": "training",
        "steps": steps,
        "record_every": record_every,
        "seed": seed,
        "training": asdict(training),
    }
    seconds = time.perf_counter() - began
    about["device"] = jax.devices()[0].platform
    return [
        _trajectory(training, run, k, {**about, "stream": streams[k]}, metadata[k], seconds)
        for k in range(instances)
    ]


def _check_weights(
    training: Training, W0: np.ndarray, encoder0: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    untied = training.network.untied
    if untied != (encoder0 is not None):
        expected = "encoder0 with an untied network" if untied else "no encoder0 with a tied one"
        raise ValueError(f"expected {expected}, got Network(untied={untied}); change either")
    checked: list[np.ndarray | None] = []
    for name, W in (("W0", W0), ("encoder0", encoder0)):
        if W is None:
            checked.append(None)
            continue
        W = np.asarray(W)
        W = W[None] if W.ndim == 2 else W
        if W.ndim != 3 or 0 in W.shape:
            raise ValueError(
                f"expected {name} as (n features, m neurons) or (instances, n, m), got shape "
                f"{W.shape}; pass one start or a stack of them"
            )
        check_weights(W.reshape(-1, W.shape[2]), name=name)
        checked.append(W)
    decoder, encoder = checked
    assert decoder is not None
    if encoder is not None and (encoder.shape, encoder.dtype) != (decoder.shape, decoder.dtype):
        raise ValueError(
            f"encoder0 must be shaped as W0, {decoder.shape} {decoder.dtype}, got "
            f"{encoder.shape} {encoder.dtype}"
        )
    return decoder, encoder


def _save_steps(save_at: Iterable[float] | None, rate: float, steps: int) -> list[int]:
    times = [0.0] if save_at is None else [float(t) for t in save_at]
    good = all(0.0 <= t < math.inf for t in times) and times == sorted(set(times))
    numbers = [round(t / rate) for t in times] if good else []
    if not good or (numbers and numbers[-1] > steps):
        raise ValueError(
            f"save_at must be increasing times from 0 to {rate * steps:g} "
            f"(learning rate × steps), got {times}"
        )
    return sorted(set(numbers))


def _precision(dtype: np.dtype) -> AbstractContextManager[Any]:
    """float64 in JAX for the call where the weights are; never for the process."""
    import jax

    return jax.enable_x64(dtype == np.float64)


# The run -----------------------------------------------------------------------------------------


class _Run(NamedTuple):
    saved: list[int]
    """Steps at which the weights were kept."""
    kept: list[Weights]
    """Those weights, (instances, n, m)."""
    recorded: list[int]
    """Steps at which observables were kept."""
    seen: Weights
    """Those, (records, instances, …)."""
    interrupted: bool


class _Piece(NamedTuple):
    steps: int
    end: int
    record: bool


def _calls(
    steps: int, record_every: int, saves: Sequence[int], call_steps: int
) -> list[list[_Piece]]:
    """Split the steps into calls of the compiled loop, and those into pieces between looks.

    Calls end where weights are saved, after about `call_steps` steps, or after PIECES pieces.
    """
    looks = {*range(record_every, steps + 1, record_every), steps} - {0}
    stops = sorted(looks | set(saves) - {0})
    calls: list[list[_Piece]] = [[]]
    taken = done = 0
    for stop in stops:
        while done < stop:
            count = min(stop - done, call_steps - taken)
            done, taken = done + count, taken + count
            calls[-1].append(_Piece(count, done, done in looks))
            if taken == call_steps or len(calls[-1]) == PIECES or done in saves:
                calls.append([])
                taken = 0
    return [call for call in calls if call]


def _run(
    training: Training,
    W0: np.ndarray,
    encoder0: np.ndarray | None,
    steps: int,
    record_every: int,
    saves: list[int],
    seed: int,
    streams: list[int],
    progress: bool,
    call_steps: int,
) -> _Run:
    import jax
    import jax.numpy as jnp

    from flow.training.loop import advance, begin
    from flow.training.network import Keys, Weights, orthogonal_inputs

    def stored(weights: Weights) -> Weights:
        return Weights(*(None if W is None else np.array(W) for W in weights))

    Q = None
    if training.data.rotation is not None:
        Q = jnp.asarray(orthogonal_inputs(W0.shape[1], training.data.rotation), W0.dtype)
    data, fresh, shared = jax.random.split(jax.random.key(seed), 3)
    numbers = np.array(streams, np.uint32)
    each = jax.vmap(jax.random.fold_in, (None, 0))
    keys = Keys(each(data, numbers), each(fresh, numbers), shared)
    weights = Weights(jnp.asarray(W0), None if encoder0 is None else jnp.asarray(encoder0))
    memory, seen = begin(training, weights)
    looked = [jax.tree.map(lambda a: np.asarray(a)[None], seen)]
    recorded, saved, kept = [0], [], []
    if 0 in saves:
        saved, kept = [0], [stored(weights)]
    calls = _calls(steps, record_every, saves, call_steps)
    done, interrupted = 0, False
    bar = tqdm(total=steps, disable=not progress, unit="step", leave=False)
    try:
        for call in calls:
            counts = np.zeros(PIECES, np.int32)
            counts[: len(call)] = [piece.steps for piece in call]
            new, new_memory, seen = advance(
                training, weights, memory, np.int32(done), counts, keys, Q
            )
            take = np.array([i for i, piece in enumerate(call) if piece.record], int)
            part = jax.tree.map(lambda a, take=take: np.asarray(a)[take], seen)
            # Only now is the call over: an interruption before leaves the one before it whole.
            weights, memory, done = new, new_memory, call[-1].end
            looked.append(part)
            recorded += [piece.end for piece in call if piece.record]
            if done in saves:
                saved.append(done)
                kept.append(stored(weights))
            bar.set_postfix_str(_how_it_goes(part), refresh=False)
            bar.update(done - bar.n)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        bar.close()
    if not saved or saved[-1] < done:
        saved.append(done)
        kept.append(stored(weights))
    return _Run(
        saved, kept, recorded, jax.tree.map(lambda *a: np.concatenate(a), *looked), interrupted
    )


def _how_it_goes(part: Weights) -> str:
    seen = part.decoder
    if not len(seen.l1):
        return ""
    return f"|W_i|₁ {seen.l1[-1].mean():.4g}, non-zeros per feature {seen.nonzeros[-1].mean():.4g}"


# What is returned --------------------------------------------------------------------------------


def _trajectory(
    training: Training,
    run: _Run,
    k: int,
    parameters: Mapping[str, Any],
    metadata: Mapping[str, Any],
    seconds: float,
) -> TrainingTrajectory:
    decoder = _matrix(training, run, k, 0, parameters, metadata, seconds)
    if not training.network.untied:
        return decoder
    encoder = _matrix(training, run, k, 1, parameters, metadata, seconds)
    return TrainingTrajectory(**{**vars(decoder), "encoder": encoder})


def _matrix(
    training: Training,
    run: _Run,
    k: int,
    which: int,
    parameters: Mapping[str, Any],
    metadata: Mapping[str, Any],
    seconds: float,
) -> TrainingTrajectory:
    rate, forces = training.optimizer.rate, forces_of(training.network)
    weights = np.stack([np.asarray(kept[which])[k] for kept in run.kept])
    finite = all(np.isfinite(W[k]).all() for W in run.kept[-1] if W is not None)
    tolerance = default_tolerance(sum_slots(forces), weights.dtype)
    steps = run.saved[-1]
    t = rate * steps
    if not finite:
        status, message = Status.NON_FINITE, f"infinite or NaN within {steps:,} steps; lower rate"
    elif run.interrupted:
        status, message = Status.INTERRUPTED, f"interrupted at t = {t:g}, {steps:,} steps"
    else:
        status, message = Status.REACHED_T_END, f"reached t_end = {t:g}, {steps:,} steps"
    matrix = ("decoder", "encoder")[which] if training.network.untied else "W"
    return TrainingTrajectory(
        times=rate * np.array(run.saved, float),
        weights=weights,
        step_sizes=np.full(len(run.saved), rate),
        observables=_observables(training, forces, run, which, k),
        status=status,
        message=message,
        certificate=certify(forces, weights[-1], tolerance=tolerance, curvature=False),
        stats={
            "accepted": steps,
            "rejected": 0,
            "evaluations": steps,
            "t": t,
            "seconds": seconds,
            "instances": run.kept[-1].decoder.shape[0],
        },
        parameters={
            "forces": [force.to_dict() for force in forces],
            "stationarity_tol": tolerance,
            "matrix": matrix,
            **parameters,
        },
        versions={**versions("incidental-flow", "numpy", "jax", "optax")},
        metadata=dict(metadata),
    )


def _observables(
    training: Training, forces: Sequence[Force], run: _Run, which: int, k: int
) -> Observables:
    seen: Any = run.seen[which]
    energies = (seen.benefit, seen.interference, seen.penalty)
    return Observables(
        times=training.optimizer.rate * np.array(run.recorded, float),
        l1=seen.l1[:, k],
        l2=seen.l2[:, k],
        l4=seen.l4[:, k],
        nonzeros=seen.nonzeros[:, k].astype(np.int64),
        energy={
            type(force).__name__: energy[:, k]
            for force, energy in zip(forces, energies, strict=False)
        },
        dissipation=seen.dissipation[:, k],
    )
