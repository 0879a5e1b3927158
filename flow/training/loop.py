"""The loop of training over steps and instances, compiled, with what is observed on the way."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]

from flow.forces import (
    FeatureBenefit,
    Interference,
    L2Regularization,
    Regularization,
    with_jump,
)
from flow.training.inputs import Keys, draw_batch
from flow.training.network import Weights, error, loss
from flow.training.optimizers import shrink, transformation
from flow.training.setup import Network, Training

Array = Any

_OVER_INSTANCES = Keys(0, 0, None)


# One instance ------------------------------------------------------------------------------------


class Observed(NamedTuple):
    """What :class:`flow.results.trajectory.Observables` keeps, of one W or stacked."""

    l1: Array
    l2: Array
    l4: Array
    nonzeros: Array
    benefit: Array
    interference: Array
    penalty: Array
    dissipation: Array


def observe(network: Network, W: Array) -> Observed:
    """Row sums of W : (n, m), the forces' energies there, and ‖dW/dt‖² of their flow.

    The forces measure here; none of this enters the training.
    """
    squared = jnp.sum(W * W, axis=1)
    c, lam = network.c, network.lam
    smooth = c * (FeatureBenefit().rate(W) + Interference().rate(W))
    if network.penalty == "l1":
        penalty = lam * Regularization(1.0).energy(W)
        velocity = with_jump(smooth, lam, W)
    else:
        penalty = lam * L2Regularization(1.0).energy(W)
        velocity = smooth - lam * W
    return Observed(
        l1=jnp.sum(jnp.abs(W), axis=1),
        l2=jnp.sqrt(squared),
        l4=jnp.sum(W**4, axis=1),
        nonzeros=jnp.sum(W != 0, axis=1),
        benefit=c * FeatureBenefit().energy(W),
        interference=c * Interference().energy(W),
        penalty=penalty,
        dissipation=jnp.sum(velocity**2),
    )


class Record(NamedTuple):
    """What is observed of an instance between two steps, or stacked."""

    loss: Array
    """On the inputs and under the noise of the next step."""
    decoder: Observed
    encoder: Observed | None
    inner: tuple[tuple[Observed, Observed | None], ...]
    """Decoder and encoder of every layer of a stack after the first."""


def record(
    training: Training, weights: Weights, number: Array, keys: Keys, Q: Array | None
) -> Record:
    """What is observed of one instance before step `number`."""
    network = training.network
    batch = draw_batch(training, weights, number, keys)
    first, *inner = (
        (
            observe(network, layer.decoder),
            None if layer.encoder is None else observe(network, layer.encoder),
        )
        for layer in weights.layers
    )
    return Record(loss(network, weights, batch, Q), *first, tuple(inner))


def start(training: Training, weights: Weights) -> Any:
    """The optimizer's memory before the first step."""
    return transformation(training.optimizer).init(weights)


def step(
    training: Training, weights: Weights, memory: Any, number: Array, keys: Keys, Q: Array | None
) -> tuple[Weights, Any]:
    """Step `number` of one instance: draw, differentiate the loss, move."""
    network, optimizer = training.network, training.optimizer
    batch = draw_batch(training, weights, number, keys)
    proximal = optimizer.method == "proximal"
    objective = error if proximal else loss
    gradient = jax.grad(lambda w: objective(network, w, batch, Q))(weights)
    change, memory = transformation(optimizer).update(gradient, memory, weights)
    moved: Weights = optax.apply_updates(weights, change)
    return (shrink(network, optimizer, moved) if proximal else moved), memory


# All of them -------------------------------------------------------------------------------------

_record_all = jax.vmap(record, (None, 0, None, _OVER_INSTANCES, None))
_step_all = jax.vmap(step, (None, 0, 0, None, _OVER_INSTANCES, None))


@jax.jit
def begin(training: Training, weights: Weights, keys: Keys, Q: Array | None) -> tuple[Any, Record]:
    """The optimizers' memories and what is observed at the start, of (instances, …) weights."""
    memory = jax.vmap(start, (None, 0))(training, weights)
    return memory, _record_all(training, weights, jnp.int32(0), keys, Q)


@jax.jit
def advance(
    training: Training,
    weights: Weights,
    memory: Any,
    first: Array,
    counts: Array,
    keys: Keys,
    Q: Array | None,
) -> tuple[Weights, Any, Record]:
    """Take counts[0] steps, observe, take counts[1] steps, observe, …

    Steps are numbered from `first`, and their random numbers depend on their numbers alone, so
    that the split into calls and counts changes nothing. A count of 0 observes nothing. Weights
    and memory : (instances, …); records : (counts, instances, …).
    """

    def one_step(number: Array, state: tuple[Weights, Any]) -> tuple[Weights, Any]:
        return _step_all(training, *state, number, keys, Q)

    def observed(weights: Weights, number: Array) -> Record:
        return _record_all(training, weights, number, keys, Q)

    def nothing(weights: Weights, number: Array) -> Any:
        shapes = jax.eval_shape(observed, weights, number)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def piece(carry: tuple[Weights, Any, Array], count: Array) -> Any:
        weights, memory, number = carry
        end = number + count
        weights, memory = jax.lax.fori_loop(number, end, one_step, (weights, memory))
        records = jax.lax.cond(count > 0, observed, nothing, weights, end)
        return (weights, memory, end), records

    (weights, memory, _), records = jax.lax.scan(piece, (weights, memory, first), counts)
    return weights, memory, records
