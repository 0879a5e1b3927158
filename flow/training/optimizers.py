"""One move of an optimizer: from the gradient of the loss to the next weights, in JAX."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]

from flow.training.network import Weights
from flow.training.setup import Network, Optimizer

Array = Any

BETAS = (0.9, 0.999)
"""Decay per step of Adam's two moments."""
EPSILON = 1e-8
"""Added to the root of Adam's second moment."""


# AdamW -------------------------------------------------------------------------------------------


def bias_correction(decay: float, count: Array, dtype: Any) -> Array:
    """1 − βᵏ after k = `count` steps, rounded once to `dtype`.

    Formed in float32, β is rounded first: for β = 0.999 the result is 0.7e-5 to 2e-5 too small
    during the first thousand steps. Here it is looked up in a table that was made in double
    precision, and ends where βᵏ no longer counts. 0 < decay < 1; count : whole numbers ≥ 1.
    """
    last = math.ceil(math.log(0.25 * np.finfo(dtype).eps) / math.log(decay))
    table = -np.expm1(math.log(decay) * np.arange(last + 1))
    return jnp.asarray(table, dtype)[jnp.minimum(count, last)]


def scale_by_adam() -> optax.GradientTransformation:
    """Adam's direction from the gradient g of step k, as :func:`optax.scale_by_adam` has it.

        m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,  m/(1 − β₁ᵏ) / (√(v/(1 − β₂ᵏ)) + ε)

    The corrections 1 − βᵏ alone differ: they are those of :func:`bias_correction`, exact also in
    float32, as PyTorch's are. The state is optax's own. Source: Kingma and Ba, Adam, algorithm 1.
    """

    def init(weights: Any) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, weights)
        return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros, nu=zeros)

    def update(
        gradient: Any, state: optax.ScaleByAdamState, weights: Any = None
    ) -> tuple[Any, optax.ScaleByAdamState]:
        del weights
        count = optax.safe_increment(state.count)
        mu = optax.tree_utils.tree_update_moment(gradient, state.mu, BETAS[0], 1)
        nu = optax.tree_utils.tree_update_moment_per_elem_norm(gradient, state.nu, BETAS[1], 2)

        def direction(m: Array, v: Array) -> Array:
            mean, square = (
                moment / bias_correction(decay, count, moment.dtype)
                for moment, decay in zip((m, v), BETAS, strict=True)
            )
            return mean / (jnp.sqrt(square) + EPSILON)

        return jax.tree.map(direction, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


# Steps -------------------------------------------------------------------------------------------


def transformation(optimizer: Optimizer) -> optax.GradientTransformation:
    """What the optimizer makes of a gradient; of a proximal step, the smooth part."""
    if optimizer.method == "adamw":
        return optax.chain(
            scale_by_adam(),
            optax.add_decayed_weights(optimizer.weight_decay),
            optax.scale_by_learning_rate(optimizer.rate),
        )
    return optax.sgd(optimizer.rate)


def shrink(network: Network, optimizer: Optimizer, weights: Weights) -> Weights:
    """argmin_V ½‖V − W‖² + η λ·penalty(V) by entries, of the matrices; a bias stays."""
    strength = optimizer.rate * network.lam / weights.copies

    def shrunk(W: Array) -> Array:
        if network.penalty == "l2":
            return W / (1.0 + strength)
        return jnp.sign(W) * jnp.maximum(jnp.abs(W) - strength, 0.0)

    return weights.map_matrices(shrunk)
