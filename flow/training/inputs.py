"""What a step sees: inputs and noise, drawn from keys, in JAX."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flow.training.network import Batch, Weights
from flow.training.setup import Data, Noise, Training

Array = Any


class Keys(NamedTuple):
    """Keys of the random numbers; each step folds its number in."""

    data: Array
    """One per instance."""
    fresh: Array
    """One per instance, for noise that is not shared."""
    shared: Array
    """One for all instances."""


def make_keys(seed: int, streams: list[int]) -> Keys:
    """Those of a run, for one instance per stream."""
    data, fresh, shared = jax.random.split(jax.random.key(seed), 3)
    each = jax.vmap(jax.random.fold_in, (None, 0))
    numbers = np.array(streams, np.uint32)
    return Keys(each(data, numbers), each(fresh, numbers), shared)


def draw_batch(training: Training, weights: Weights, number: Array, keys: Keys) -> Batch:
    """Inputs and noise of step `number` of one instance, in the shapes of its weights."""
    data, noise, W = training.data, training.noise, weights.decoder
    n, m, dtype = W.shape[0], weights.layers[-1].decoder.shape[1], W.dtype
    batch = Batch()
    if data.batch is not None:
        batch = draw_features(data, jax.random.fold_in(keys.data, number), n, dtype)
    if noise is not None:
        key = jax.random.fold_in(keys.fresh if noise.fresh else keys.shared, number)
        shape = (data.batch or n, m) if noise.fresh else (m,)
        batch = batch._replace(noise=draw_noise(noise, key, shape, dtype))
    return batch


def orthogonal_inputs(n: int, seed: int) -> Array:
    """A random orthogonal matrix Q : (n, n), float64, whose rows are the inputs of the features."""
    Q, R = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return Q * np.sign(np.diag(R))  # Uniform (Haar) only with the signs of R's diagonal positive.


def draw_noise(noise: Noise, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """ξ of `shape`: mean 0, variance σ², from the distribution that `noise` names."""
    sigma = noise.sigma
    match noise.distribution:
        case "bipolar":
            return sigma * jax.random.rademacher(key, shape, dtype)
        case "uniform":
            return jnp.sqrt(3.0) * sigma * jax.random.uniform(key, shape, dtype, -1.0, 1.0)
        case "normal":
            return sigma * jax.random.normal(key, shape, dtype)
        case "laplace":
            return sigma / jnp.sqrt(2.0) * jax.random.laplace(key, shape, dtype)
        case _:
            spread = jnp.sqrt((noise.degrees - 2.0) / noise.degrees)
            return sigma * spread * jax.random.t(key, noise.degrees, shape, dtype)


def _draw_blocks(key: Array, inputs: int, n: int, k: int, overlap: float) -> Array:
    """Which features are on, (inputs, n): `k` of one half of them, and none of the other but with
    the probability `overlap`, and then `k` too."""
    coin, draw = jax.random.split(key)
    second = jax.random.bernoulli(coin, 0.5, (inputs, 1))
    first_k = jnp.broadcast_to(jnp.arange(n // 2) < k, (inputs, n // 2))
    on = jax.random.permutation(draw, first_k, axis=1, independent=True)
    if not overlap:
        return jnp.concatenate([on & ~second, on & second], axis=1)
    both = jax.random.bernoulli(jax.random.fold_in(coin, 1), overlap, (inputs, 1))
    other = jax.random.permutation(jax.random.fold_in(draw, 1), first_k, axis=1, independent=True)
    return jnp.concatenate(
        [jnp.where(second, other & both, on), jnp.where(second, on, other & both)], axis=1
    )


def draw_features(data: Data, key: Array, n: int, dtype: Any) -> Batch:
    """`data.batch` inputs, (b, n), with the weights of their sums; no noise yet."""
    assert data.batch is not None
    expected = data.expected_on(n)
    if data.exclusive is not None:
        on = _draw_blocks(key, data.batch, n, data.exclusive, data.overlap).astype(dtype)
    elif data.probability is None:
        on = jax.nn.one_hot(jax.random.randint(key, (data.batch,), 0, n), n, dtype=dtype)
    else:
        on = jax.random.bernoulli(key, data.probability, (data.batch, n)).astype(dtype)
    if data.magnitude == "one":
        return Batch(on, None, 1.0 / expected, 1.0 / expected)
    features = on * jax.random.uniform(jax.random.fold_in(key, 1), on.shape, dtype)
    return Batch(features, None, 3.0 / expected, 2.0 / expected)
