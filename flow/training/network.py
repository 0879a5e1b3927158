"""The network's loss, in JAX.

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


class Layer(NamedTuple):
    """One hidden layer."""

    decoder: Array
    """W_l, or D_l of an untied network, (m_{l−1}, m_l)."""
    encoder: Array | None = None
    """E_l of an untied network, of the same shape."""


class Weights(NamedTuple):
    """What is trained."""

    decoder: Array
    """W, or D of an untied network, (n, m)."""
    encoder: Array | None = None
    """E of an untied network, (n, m)."""
    bias: Array | None = None
    """b of a network with an output bias, (n,)."""
    inner: tuple[Layer, ...] = ()
    """The hidden layers of a stack after the first."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of them, from the inputs on."""
        return (Layer(self.decoder, self.encoder), *self.inner)

    @property
    def matrices(self) -> tuple[Array, ...]:
        """W, or D and E, of every layer: what the penalty is on."""
        return tuple(W for layer in self.layers for W in layer if W is not None)

    @property
    def copies(self) -> int:
        """Matrices in a layer: 2 of an untied network, else 1."""
        return 1 if self.encoder is None else 2

    def map_matrices(self, function: Callable[[Array], Array]) -> Weights:
        """The same with `function` of every matrix in its place."""
        first, *inner = (
            Layer(*(None if W is None else function(W) for W in layer)) for layer in self.layers
        )
        return Weights(first.decoder, first.encoder, self.bias, tuple(inner))


class Batch(NamedTuple):
    """The inputs of a step, and what their sums are multiplied by."""

    features: Array | None = None
    """(b, n) targets x; None: the standard basis."""
    noise: Array | None = None
    """ξ, (m,) for all inputs or (b, m), m the neurons of the last hidden layer."""
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


@jax.custom_jvp
def absolute(a: Array) -> Array:
    """|a| by entries, with the derivative sign(a), which is 0 at an exact zero.

    JAX has +1 there: a zero weight would be pushed by λ to one side. Under sign(0) = 0 the penalty
    leaves it alone, as in PyTorch and in the flow's own subgradient.
    """
    return jnp.abs(a)


@absolute.defjvp
def _absolute_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (a,), (change,) = primals, tangents
    return jnp.abs(a), jnp.sign(a) * change


def _layer_norm(h: Array) -> Array:
    return jax.nn.standardize(h, axis=-1, epsilon=1e-5)


def _largest(h: Array, k: int) -> Array:
    """h : (…, m) with zeros for all entries that are smaller in size than the k-th largest."""
    size = jnp.abs(h)
    return jnp.where(size >= jax.lax.top_k(size, min(k, h.shape[-1]))[0][..., -1:], h, 0.0)


_HIDDEN: dict[str, Callable[[Array], Array]] = {
    "linear": lambda h: h,
    "relu": jax.nn.relu,
    "gelu": lambda h: jax.nn.gelu(h, approximate=False),
    "layer-norm": _layer_norm,
}
_OUTPUT: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "linear": lambda y: y,
    "leaky-relu": jax.nn.leaky_relu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}


def _hidden(network: Network, h: Array) -> Array:
    return _largest(h, network.top) if network.hidden == "top-k" else _HIDDEN[network.hidden](h)


def _forward(
    network: Network, weights: Weights, batch: Batch, Q: Array | None
) -> tuple[Array, tuple[Array, ...]]:
    """The outputs before their nonlinearity, D_1 r_1 + b : (b, n), and the codes h_l : (b, m_l).

    A single linear hidden layer is never formed where nothing but its image counts: D Eᵀ : (n, n)
    is smaller, and no product with the standard basis is made at all. Then there are no codes.
    """
    decoder = weights.decoder
    encoder = decoder if weights.encoder is None else weights.encoder
    encodings = encoder if Q is None else Q @ encoder
    one_noise = batch.noise is None or batch.noise.ndim == 1
    penalized = network.penalized == "activations"
    plain = network.hidden == "linear" and not weights.inner
    if plain and one_noise and not (penalized and batch.features is not None):
        image = gram(decoder) if weights.encoder is None else encodings @ decoder.T
        if batch.features is not None:
            image = batch.features @ image
        if batch.noise is not None:
            image = image + decoder @ batch.noise
        codes = [encodings] if penalized else []
    else:
        between = _HIDDEN[network.between]
        code = encodings if batch.features is None else batch.features @ encodings
        codes = []
        for layer in weights.inner:
            codes.append(between(code))
            code = codes[-1] @ (layer.decoder if layer.encoder is None else layer.encoder)
        codes.append(_hidden(network, code))
        back = codes[-1] if batch.noise is None else codes[-1] + batch.noise
        for layer in reversed(weights.inner):
            back = between(back @ layer.decoder.T)
        image = back @ decoder.T
    return (image if weights.bias is None else image + weights.bias), tuple(codes)


def output(network: Network, weights: Weights, batch: Batch, Q: Array | None = None) -> Array:
    """y : (b, n), what the network makes of the inputs."""
    return _OUTPUT[network.output](_forward(network, weights, batch, Q)[0])


def error(network: Network, weights: Weights, batch: Batch, Q: Array | None = None) -> Array:
    """(c/4)·Σ_x ‖y − x‖², weighted as `batch` says: the loss without its penalty.

    Q : (n, n) has the inputs that stand for the features as rows; None is the standard basis.
    """
    return _error_and_codes(network, weights, batch, Q)[0]


def _error_and_codes(
    network: Network, weights: Weights, batch: Batch, Q: Array | None
) -> tuple[Array, tuple[Array, ...]]:
    image, codes = _forward(network, weights, batch, Q)
    target = batch.features
    if target is None:
        target = jnp.eye(image.shape[-1], dtype=image.dtype)
    squared = jnp.sum((_OUTPUT[network.output](image) - target) ** 2)
    return 0.25 * network.c * batch.error_weight * squared, codes


def loss(network: Network, weights: Weights, batch: Batch, Q: Array | None = None) -> Array:
    """The loss of :class:`flow.training.setup.Network`, a scalar, from which all gradients come."""
    squared, codes = _error_and_codes(network, weights, batch, Q)
    if network.penalized == "activations":
        weight = batch.activity_weight if network.penalty == "l1" else batch.error_weight
        return squared + network.lam * weight * sum(_penalty(network, code) for code in codes)
    penalties = [_penalty(network, W) for W in weights.matrices]
    return squared + network.lam * sum(penalties) / weights.copies


def _penalty(network: Network, a: Array) -> Array:
    return jnp.sum(absolute(a)) if network.penalty == "l1" else 0.5 * jnp.sum(a * a)
