"""The loop of training over steps and instances, compiled, with what is observed on the way."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flow.forces import (
    FeatureBenefit,
    Interference,
    L2Regularization,
    Regularization,
    with_jump,
)
from flow.training.network import Keys, Weights, start, step
from flow.training.setup import Network, Training

Array = Any

_OVER_INSTANCES = Keys(0, 0, None)


class Seen(NamedTuple):
    """What :class:`flow.results.trajectory.Observables` keeps, of one W or stacked."""

    l1: Array
    l2: Array
    l4: Array
    nonzeros: Array
    benefit: Array
    interference: Array
    penalty: Array
    dissipation: Array


def observe(network: Network, W: Array) -> Seen:
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
    return Seen(
        l1=jnp.sum(jnp.abs(W), axis=1),
        l2=jnp.sqrt(squared),
        l4=jnp.sum(W**4, axis=1),
        nonzeros=jnp.sum(W != 0, axis=1),
        benefit=c * FeatureBenefit().energy(W),
        interference=c * Interference().energy(W),
        penalty=penalty,
        dissipation=jnp.sum(velocity**2),
    )


@jax.jit
def begin(training: Training, weights: Weights) -> tuple[Any, Weights]:
    """The optimizers' memories and what is seen at the start, for weights (instances, n, m)."""
    return jax.vmap(start, (None, 0))(training, weights), _observe_all(training.network, weights)


@jax.jit
def advance(
    training: Training,
    weights: Weights,
    memory: Any,
    first: Array,
    counts: Array,
    keys: Keys,
    Q: Array | None,
) -> tuple[Weights, Any, Weights]:
    """Take counts[0] steps, observe, take counts[1] steps, observe, …

    Steps are numbered from `first`, and their random numbers depend on their numbers alone, so
    that the split into calls and counts changes nothing. A count of 0 observes nothing. Weights
    and memory : (instances, …); what is seen has shape (counts, instances, …), one
    :class:`Seen` in the place of each matrix.
    """
    every = jax.vmap(step, (None, 0, 0, None, _OVER_INSTANCES, None))

    def piece(carry: tuple[Weights, Any, Array], count: Array) -> Any:
        weights, memory, k = carry

        def body(number: Array, state: tuple[Weights, Any]) -> tuple[Weights, Any]:
            return every(training, *state, number, keys, Q)

        weights, memory = jax.lax.fori_loop(k, k + count, body, (weights, memory))
        seen = jax.lax.cond(
            count > 0, lambda w: _observe_all(training.network, w), _nothing(training), weights
        )
        return (weights, memory, k + count), seen

    (weights, memory, _), seen = jax.lax.scan(piece, (weights, memory, first), counts)
    return weights, memory, seen


def _observe_all(network: Network, weights: Weights) -> Weights:
    each = jax.vmap(observe, (None, 0))
    return Weights(*(None if W is None else each(network, W) for W in weights))


def _nothing(training: Training) -> Any:
    def zeros(weights: Weights) -> Weights:
        shape = jax.eval_shape(lambda w: _observe_all(training.network, w), weights)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)

    return zeros
