"""The network's loss, its data and noise, and one step of its training, in JAX.

The gradient is JAX's, of the loss as it is written here. Nothing of :mod:`flow.forces` enters it:
that is what makes training a witness for the flow. Shapes are those of one instance; the loop in
:mod:`flow.training.loop` maps over instances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]

from flow.training.setup import Data, Network, Noise, Optimizer, Training

Array = Any


def _as_pytree(kind: type[Any], numbers: tuple[str, ...]) -> None:
    """Make the settings of `kind` arguments of compiled functions: `numbers` are traced, so that
    another value needs no other compilation; the rest is part of the program."""
    rest = tuple(f.name for f in dataclasses.fields(kind) if f.name not in numbers)

    def flatten(value: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (
            tuple(getattr(value, name) for name in numbers),
            tuple(getattr(value, name) for name in rest),
        )

    def unflatten(fixed: tuple[Any, ...], traced: tuple[Any, ...]) -> Any:
        value = object.__new__(kind)  # The checks of __init__ do not work on traced numbers.
        for name, part in zip((*numbers, *rest), (*traced, *fixed), strict=True):
            object.__setattr__(value, name, part)
        return value

    jax.tree_util.register_pytree_node(kind, flatten, unflatten)


_as_pytree(Network, ("c", "lam"))
_as_pytree(Data, ("probability",))
_as_pytree(Noise, ("sigma", "degrees"))
_as_pytree(Optimizer, ("rate", "weight_decay"))
_as_pytree(Training, ("network", "data", "noise", "optimizer"))


class Weights(NamedTuple):
    """What is trained."""

    decoder: Array
    """W, or D of an untied network, (n, m)."""
    encoder: Array | None = None
    """E of an untied network, (n, m)."""


class Batch(NamedTuple):
    """The inputs of a step, and what their sums are multiplied by."""

    features: Array | None = None
    """(b, n) targets x; None: the standard basis."""
    noise: Array | None = None
    """ξ, (m,) for all inputs or (b, m)."""
    error_weight: Array | float = 1.0
    """Of Σ‖y − x‖², and of the activations' ℓ2 penalty."""
    activity_weight: Array | float = 1.0
    """Of the activations' ℓ1 penalty."""


# The loss ----------------------------------------------------------------------------------------


@jax.custom_vjp
def gram(W: Array) -> Array:
    """W Wᵀ : (n, n), with its derivative Ḡ ↦ (Ḡ + Ḡᵀ) W in one product of matrices.

    JAX on its own makes two, Ḡ W and Ḡᵀ W: half of the work of a step.
    """
    return W @ W.T


def _gram_forward(W: Array) -> tuple[Array, Array]:
    return W @ W.T, W


def _gram_backward(W: Array, cotangent: Array) -> tuple[Array]:
    return ((cotangent + cotangent.T) @ W,)


gram.defvjp(_gram_forward, _gram_backward)


def _layer_norm(h: Array) -> Array:
    return jax.nn.standardize(h, axis=-1, epsilon=1e-5)


_HIDDEN: dict[str, Callable[[Array], Array]] = {
    "linear": lambda h: h,
    "relu": jax.nn.relu,
    "layer-norm": _layer_norm,
}
_OUTPUT: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "linear": lambda y: y,
    "leaky-relu": jax.nn.leaky_relu,
    "softplus": jax.nn.softplus,
}


def _through(network: Network, weights: Weights, batch: Batch, Q: Array | None) -> Any:
    """What goes into the output nonlinearity, (b, n), and g(Eᵀx), (b, m), or None.

    A linear hidden layer is never formed where nothing but its image counts: D Eᵀ : (n, n) is
    smaller, and no product with the standard basis is made at all.
    """
    decoder = weights.decoder
    encoder = decoder if weights.encoder is None else weights.encoder
    encodings = encoder if Q is None else Q @ encoder
    shared = batch.noise is None or batch.noise.ndim == 1
    seen = network.penalized == "activations"
    if network.hidden == "linear" and shared and not (seen and batch.features is not None):
        image = gram(decoder) if weights.encoder is None else encodings @ decoder.T
        if batch.features is not None:
            image = batch.features @ image
        if batch.noise is not None:
            image = image + decoder @ batch.noise
        return image, encodings if seen else None
    h = encodings if batch.features is None else batch.features @ encodings
    h = _HIDDEN[network.hidden](h)
    return (h if batch.noise is None else h + batch.noise) @ decoder.T, h


def error(network: Network, weights: Weights, batch: Batch, Q: Array | None = None) -> Array:
    """(c/4)·Σ_x ‖y − x‖², weighted as `batch` says: the loss without its penalty.

    Q : (n, n) has the inputs that stand for the features as rows; None is the standard basis.
    """
    return _error_and_activity(network, weights, batch, Q)[0]


def _error_and_activity(
    network: Network, weights: Weights, batch: Batch, Q: Array | None
) -> tuple[Array, Array | None]:
    image, activity = _through(network, weights, batch, Q)
    target = batch.features
    if target is None:
        target = jnp.eye(image.shape[-1], dtype=image.dtype)
    squared = jnp.sum((_OUTPUT[network.output](image) - target) ** 2)
    return 0.25 * network.c * batch.error_weight * squared, activity


def loss(network: Network, weights: Weights, batch: Batch, Q: Array | None = None) -> Array:
    """The loss of :class:`flow.training.setup.Network`, a scalar, from which all gradients come."""
    squared, activity = _error_and_activity(network, weights, batch, Q)
    if network.penalized == "activations":
        weight = batch.activity_weight if network.penalty == "l1" else batch.error_weight
        return squared + network.lam * weight * _penalty(network, activity)
    matrices = [W for W in weights if W is not None]
    return squared + network.lam * sum(_penalty(network, W) for W in matrices) / len(matrices)


def _penalty(network: Network, a: Array) -> Array:
    return jnp.sum(jnp.abs(a)) if network.penalty == "l1" else 0.5 * jnp.sum(a * a)


# Data and noise ----------------------------------------------------------------------------------


def orthogonal_inputs(n: int, seed: int) -> Array:
    """A random orthogonal matrix Q : (n, n), float64, whose rows are the inputs of the features."""
    import numpy as np

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


def draw_features(data: Data, key: Array, n: int, dtype: Any) -> Batch:
    """`data.batch` inputs, (b, n), with the weights of their sums; no noise yet."""
    assert data.batch is not None
    if data.probability is None:
        on = jax.nn.one_hot(jax.random.randint(key, (data.batch,), 0, n), n, dtype=dtype)
        expected = data.batch / n
    else:
        on = jax.random.bernoulli(key, data.probability, (data.batch, n)).astype(dtype)
        expected = data.batch * data.probability
    if data.magnitude == "one":
        return Batch(on, None, 1.0 / expected, 1.0 / expected)
    features = on * jax.random.uniform(jax.random.fold_in(key, 1), on.shape, dtype)
    return Batch(features, None, 3.0 / expected, 2.0 / expected)


# Steps -------------------------------------------------------------------------------------------


class Keys(NamedTuple):
    """Keys of the random numbers; each step folds its number in."""

    data: Array
    """One per instance."""
    fresh: Array
    """One per instance, for noise that is not shared."""
    shared: Array
    """One for all instances."""


def _transformation(optimizer: Optimizer) -> optax.GradientTransformation:
    if optimizer.method == "adamw":
        return optax.adamw(optimizer.rate, weight_decay=optimizer.weight_decay)
    return optax.sgd(optimizer.rate)


def start(training: Training, weights: Weights) -> Any:
    """The optimizer's memory before the first step."""
    return _transformation(training.optimizer).init(weights)


def step(
    training: Training, weights: Weights, memory: Any, number: Array, keys: Keys, Q: Array | None
) -> tuple[Weights, Any]:
    """Step `number` of one instance: draw, differentiate the loss, move."""
    network, data, noise, optimizer = (
        training.network, training.data, training.noise, training.optimizer,
    )  # fmt: skip
    n, m = weights.decoder.shape
    dtype = weights.decoder.dtype
    batch = Batch()
    if data.batch is not None:
        batch = draw_features(data, jax.random.fold_in(keys.data, number), n, dtype)
    if noise is not None:
        key = jax.random.fold_in(keys.fresh if noise.fresh else keys.shared, number)
        shape = (data.batch or n, m) if noise.fresh else (m,)
        batch = batch._replace(noise=draw_noise(noise, key, shape, dtype))
    proximal = optimizer.method == "proximal"
    objective = error if proximal else loss
    gradient = jax.grad(lambda w: objective(network, w, batch, Q))(weights)
    change, memory = _transformation(optimizer).update(gradient, memory, weights)
    moved: Weights = optax.apply_updates(weights, change)
    return (_shrink(network, optimizer, moved) if proximal else moved), memory


def _shrink(network: Network, optimizer: Optimizer, weights: Weights) -> Weights:
    """argmin_V ½‖V − W‖² + η λ·penalty(V), by entries."""
    strength = optimizer.rate * network.lam / (1 if weights.encoder is None else 2)
    if network.penalty == "l2":
        return jax.tree.map(lambda W: W / (1.0 + strength), weights)
    return jax.tree.map(lambda W: jnp.sign(W) * jnp.maximum(jnp.abs(W) - strength, 0.0), weights)
