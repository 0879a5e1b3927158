"""The training loop from outside: what it is given, what it gives back, a bar in between.

JAX is imported with the first training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from flow.initial import check_weights
from flow.training.setup import Training
from flow.training.trajectory import Run, TrainingTrajectory, trajectory

if TYPE_CHECKING:
    from flow.training.loop import Record
    from flow.training.network import Weights

RECORDS = 200
"""Times at which observables are kept by default."""
PIECES = 64
"""Observations in one call of the compiled loop, at most: one length, compiled once."""
CALL_WORK = 2e10
"""Multiply-adds in one call of the compiled loop, so that a bar moves and Ctrl-C is heard."""


def train(
    training: Training,
    W0: np.ndarray,
    *,
    steps: int,
    encoder0: np.ndarray | None = None,
    inner0: Sequence[np.ndarray] = (),
    inner_encoder0: Sequence[np.ndarray] = (),
    seed: int = 0,
    streams: Sequence[int] | None = None,
    save_at: Iterable[float] | None = None,
    record_every: int | None = None,
    progress: bool = False,
    metadata: Sequence[Mapping[str, Any]] | None = None,
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
    inner0 : of a stack, where its hidden layers after the first start: (m₁, m₂), (m₂, m₃), … or
        stacks of k of them, in the precision of W0. Of an untied network the decoders.
    inner_encoder0 : where their encoders start, in the same shapes, if the network is untied.
    seed : of minibatches and noise.
    streams : one whole number ≥ 0 per instance; which of the streams of random numbers under
        `seed` it gets. Default 0, 1, …; shared noise is the same for all.
    save_at : increasing times ≥ 0, in learning rate × steps, at which the weights are kept,
        rounded to steps; default the start. The end is always kept besides.
    record_every : steps between observables; default about 200 of them.
    progress : show a bar.
    metadata : recorded, one mapping per instance; anything JSON can hold.

    Returns
    -------
    One trajectory per instance, with `encoder` set if the network is untied and `inner` if it is a
    stack. Its status is
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
    layers = _check_weights(training, [W0, *inner0], [encoder0, *inner_encoder0])
    W0 = layers[0][0]
    instances, n, m = W0.shape
    training.data.check_features(n)
    inner = [decoder.shape[2] for decoder, _ in layers[1:]]
    schedule = _schedule(training, (*W0.shape, *inner), steps, save_at, record_every)
    streams = list(range(instances)) if streams is None else [int(s) for s in streams]
    if len(streams) != instances or min(streams) < 0:
        raise ValueError(f"streams must be {instances} whole numbers >= 0, got {streams}")
    metadata = [{}] * instances if metadata is None else metadata
    if len(metadata) != instances:
        raise ValueError(f"metadata must be {instances} mappings, got {len(metadata)}")
    rate = training.optimizer.rate
    about: dict[str, Any] = {
        "n": n,
        "m": m,
        **({"inner": inner} if inner else {}),
        "dtype": str(W0.dtype),
        "t_start": 0.0,
        "t_end": rate * steps,
        "save_at": [rate * k for k in schedule.saves],
        "backend": "training",
        "steps": steps,
        "record_every": schedule.record_every,
        "seed": seed,
        "training": asdict(training),
        "device": jax.devices()[0].platform,
    }
    began = time.perf_counter()
    with _precision(W0.dtype), np.errstate(over="ignore", invalid="ignore"):
        run = _run(training, layers, schedule, seed, streams, progress)
    seconds = time.perf_counter() - began
    return [
        trajectory(
            training,
            run,
            instance,
            parameters={**about, "stream": streams[instance]},
            metadata=metadata[instance],
            seconds=seconds,
        )
        for instance in range(instances)
    ]


_Start = tuple[np.ndarray, np.ndarray | None]
"""Where a layer starts: W_l, or D_l and E_l."""


def _check_weights(
    training: Training, decoders: Sequence[np.ndarray], encoders: Sequence[np.ndarray | None]
) -> list[_Start]:
    """The starts of all layers as stacks of instances; ValueError for those that do not fit."""
    untied = training.network.untied
    if untied != (encoders[0] is not None):
        expected = "encoder0 with an untied network" if untied else "no encoder0 with a tied one"
        raise ValueError(f"expected {expected}, got Network(untied={untied}); change either")
    needed = len(decoders) if untied else 1
    if len(encoders) != needed:
        raise ValueError(
            f"expected {needed - 1} matrices as inner_encoder0, one for each of inner0 if "
            f"Network.untied and else none, got {len(encoders) - 1}; change either"
        )
    layers: list[_Start] = []
    for number, W in enumerate(decoders):
        name = f"inner0[{number - 1}]" if number else "W0"
        decoder = _check_matrix(name, W)
        if layers:
            before = layers[-1][0]
            expected_rows = (len(before), before.shape[2], before.dtype)
            if (*decoder.shape[:2], decoder.dtype) != expected_rows:
                raise ValueError(
                    f"expected {name} as {len(before)} instances of ({before.shape[2]}, neurons) "
                    f"in {before.dtype}, as the layer before it has it, got {decoder.shape} in "
                    f"{decoder.dtype}"
                )
        if not untied:
            layers.append((decoder, None))
            continue
        other = f"inner_encoder0[{number - 1}]" if number else "encoder0"
        encoder = _check_matrix(other, encoders[number])
        if (encoder.shape, encoder.dtype) != (decoder.shape, decoder.dtype):
            raise ValueError(
                f"{other} must be shaped as {name}, {decoder.shape} {decoder.dtype}, got "
                f"{encoder.shape} {encoder.dtype}"
            )
        layers.append((decoder, encoder))
    return layers


def _check_matrix(name: str, W: np.ndarray | None) -> np.ndarray:
    """W as (instances, rows, neurons), finite."""
    W = np.asarray(W)
    W = W[None] if W.ndim == 2 else W
    if W.ndim != 3 or 0 in W.shape:
        raise ValueError(
            f"expected {name} as (n features, m neurons) or (instances, n, m), got shape "
            f"{W.shape}; pass one start or a stack of them"
        )
    check_weights(W.reshape(-1, W.shape[2]), name=name)
    return W


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
    from flow.accelerator.settings import own_settings

    return own_settings(double=dtype == np.float64)


# When to look ------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """Steps between two stops of the compiled loop."""

    steps: int
    end: int
    record: bool


class _Schedule(NamedTuple):
    """How many steps, and after which of them something is kept."""

    steps: int
    record_every: int
    saves: list[int]
    call_steps: int
    """Steps in one call of the compiled loop, at most."""

    def calls(self) -> list[list[_Piece]]:
        """The steps in calls of the compiled loop, and those in pieces that end in a stop.

        A call ends where weights are saved, after `call_steps` steps, or after PIECES pieces.
        """
        records = {*range(self.record_every, self.steps + 1, self.record_every), self.steps} - {0}
        calls: list[list[_Piece]] = [[]]
        taken = done = 0
        for stop in sorted(records | set(self.saves) - {0}):
            while done < stop:
                count = min(stop - done, self.call_steps - taken)
                done, taken = done + count, taken + count
                calls[-1].append(_Piece(count, done, done in records))
                full = taken == self.call_steps or len(calls[-1]) == PIECES
                if full or done in self.saves:
                    calls.append([])
                    taken = 0
        return [call for call in calls if call]


def _schedule(
    training: Training,
    shape: tuple[int, ...],
    steps: int,
    save_at: Iterable[float] | None,
    record_every: int | None,
) -> _Schedule:
    instances, n, m, *inner = shape
    if steps < 0:
        raise ValueError(f"steps must be a whole number >= 0, got {steps!r}")
    if record_every is None:
        record_every = max(1, math.ceil(steps / RECORDS))
    if record_every < 1:
        raise ValueError(f"record_every must be a whole number >= 1, got {record_every!r}")
    saves = _save_steps(save_at, training.optimizer.rate, steps)
    batch = training.data.batch or n
    work = instances * (n * m + batch * min(n, m)) * n
    work += sum(2 * instances * batch * a * b for a, b in zip((m, *inner), inner, strict=False))
    return _Schedule(steps, record_every, saves, max(1, int(CALL_WORK / work)))


# The run -----------------------------------------------------------------------------------------


def _run(
    training: Training,
    layers: Sequence[_Start],
    schedule: _Schedule,
    seed: int,
    streams: list[int],
    progress: bool,
) -> Run:
    import jax
    import jax.numpy as jnp

    from flow.training.inputs import make_keys, orthogonal_inputs
    from flow.training.loop import advance, begin
    from flow.training.network import Layer, Weights

    W0 = layers[0][0]
    rotation = training.data.rotation
    Q = (
        None
        if rotation is None
        else jnp.asarray(orthogonal_inputs(W0.shape[1], rotation), W0.dtype)
    )
    keys = make_keys(seed, streams)
    first_layer, *inner = (
        Layer(*(None if W is None else jnp.asarray(W) for W in layer)) for layer in layers
    )
    bias = jnp.zeros(W0.shape[:2], W0.dtype) if training.network.output_bias else None
    weights = Weights(*first_layer, bias, tuple(inner))
    memory, first = begin(training, weights, keys, Q)
    records: list[Record] = [jax.tree.map(lambda a: np.asarray(a)[None], first)]
    recorded = [0]
    kept = {0: _stored(weights)} if 0 in schedule.saves else {}
    done, interrupted = 0, False
    bar = tqdm(total=schedule.steps, disable=not progress, unit="step", leave=False)
    try:
        for call in schedule.calls():
            counts = np.zeros(PIECES, np.int32)
            counts[: len(call)] = [piece.steps for piece in call]
            after = advance(training, weights, memory, np.int32(done), counts, keys, Q)
            wanted = np.array([i for i, piece in enumerate(call) if piece.record], int)
            new = jax.tree.map(lambda a, wanted=wanted: np.asarray(a)[wanted], after[2])
            # Only now is the call over: an interruption before leaves the one before it whole.
            weights, memory, done = after[0], after[1], call[-1].end
            records.append(new)
            recorded += [piece.end for piece in call if piece.record]
            if done in schedule.saves:
                kept[done] = _stored(weights)
            bar.set_postfix_str(_how_it_goes(new), refresh=False)
            bar.update(done - bar.n)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        bar.close()
    if done not in kept:
        kept[done] = _stored(weights)
    together: Record = jax.tree.map(lambda *a: np.concatenate(a), *records)
    return Run(list(kept), list(kept.values()), recorded, together, interrupted)


def _stored(weights: Weights) -> Weights:
    """A copy in NumPy."""
    import jax

    return jax.tree.map(np.array, weights)


def _how_it_goes(records: Record) -> str:
    if not len(records.loss):
        return ""
    last = records.decoder
    return (
        f"loss {records.loss[-1].mean():.4g}, |W_i|₁ {last.l1[-1].mean():.4g}, "
        f"non-zeros per feature {last.nonzeros[-1].mean():.4g}"
    )
