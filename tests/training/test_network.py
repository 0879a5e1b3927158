"""The loss of the network, and its gradient: at zeros, too."""

import itertools
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from flow import gaussian_init, velocity
from flow.forces import FeatureBenefit, Interference, Regularization
from flow.training import forces_of
from flow.training.setup import Network
from tests.strategies import regularization_strengths, seeds, sparse_weights
from tests.training.by_hand import gradient_by_hand

jax = pytest.importorskip("jax")
from flow.training import network as model  # noqa: E402
from flow.training.inputs import orthogonal_inputs  # noqa: E402
from flow.training.network import Batch, Weights  # noqa: E402

SHAPES = [(12, 5), (5, 12), (7, 7)]
"""Features and neurons: fewer, more and as many neurons as features."""
starts_with_zeros = st.sampled_from(SHAPES).flatmap(
    lambda shape: sparse_weights((shape[0], shape[0]), (shape[1], shape[1]))
)


@pytest.fixture(autouse=True)
def precision(request):
    """JAX's float64 where the weights have it, as in a run; by default they do."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    with jax.enable_x64(np.dtype(parameters.get("dtype", "float64")) == np.float64):
        yield


@lru_cache
def gradient():
    return jax.jit(jax.grad(lambda W, network: model.loss(network, W, Batch())))


@settings(max_examples=100)
@given(starts_with_zeros, regularization_strengths())
def test_minus_the_gradient_of_the_loss_is_the_sum_of_the_forces(W, lam):
    """At a zero, where the flow asks whether λ holds it, the penalty's own gradient is 0."""
    network = Network(c=4.0, lam=lam)
    forces = [FeatureBenefit(4.0), Interference(4.0), Regularization(lam)]
    assert forces_of(network) == forces
    slope = gradient()(Weights(W), network).decoder
    assert slope.dtype == np.float64
    close = {"rtol": 0.0, "atol": 1e-12}
    np.testing.assert_allclose(-slope, velocity(forces[:2], W) - lam * np.sign(W), **close)
    np.testing.assert_allclose(-slope[W != 0.0], velocity(forces, W)[W != 0.0], **close)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_size_of_a_number_has_its_sign_as_derivative_and_zero_has_none(dtype):
    numbers = np.array([-2.0, -0.0, 0.0, 3.0], dtype)
    for slopes in (
        jax.vmap(jax.grad(model.absolute))(numbers),
        jax.jit(jax.grad(lambda a: model.absolute(a).sum()))(numbers),
        jax.jvp(model.absolute, (numbers,), (np.ones_like(numbers),))[1],
    ):
        assert slopes.dtype == dtype
        np.testing.assert_array_equal(slopes, [-1.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(model.absolute(numbers), [2.0, 0.0, 0.0, 3.0])


def with_zeros(rng, *shape):
    """Gaussian numbers, six in ten of them zero, and all of the first row."""
    W = np.where(rng.random(shape) < 0.4, rng.normal(size=shape), 0.0)
    W[..., 0, :] = 0.0
    return W


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("penalized", ["weights", "activations"])
@pytest.mark.parametrize("untied", [False, True])
def test_the_gradient_is_that_of_the_formula_also_at_zeros(dtype, penalty, penalized, untied):
    rng = np.random.default_rng(5)
    instances, n, m, b = 3, 5, 7, 6
    for hidden, output, bias, drawn in (
        ("linear", "relu", False, False),
        ("linear", "softplus", True, True),
        ("relu", "relu", True, False),
        ("relu", "linear", False, True),
    ):
        network = Network(
            c=3.0, lam=0.2, penalty=penalty, penalized=penalized, untied=untied, hidden=hidden,
            output=output, output_bias=bias,
        )  # fmt: skip
        D, E = with_zeros(rng, 2, instances, n, m).astype(dtype)
        offset = rng.normal(size=(instances, n)).astype(dtype)
        weights = Weights(D, E if untied else None, offset if bias else None)
        X = with_zeros(rng, b, n).astype(dtype) if drawn else None
        batch = Batch(X, None, 0.7, 0.4)
        slopes = jax.jit(jax.vmap(jax.grad(lambda w: model.loss(network, w, batch))))(weights)  # noqa: B023
        for k in range(instances):
            one = [None if a is None else a[k].astype(float) for a in weights[:3]]
            expected = gradient_by_hand(network, one, np.eye(n) if X is None else X, 0.7, 0.4)
            for found, slope in zip(slopes[:3], expected, strict=True):
                if slope is None:
                    assert found is None
                    continue
                assert found.dtype == dtype
                np.testing.assert_allclose(
                    found[k], slope, rtol=0.0, atol=1e-5 if dtype == "float32" else 1e-13
                )


@pytest.mark.parametrize("penalized", ["weights", "activations"])
def test_the_gradient_is_pytorchs_also_at_zeros(penalized):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    D, E = with_zeros(rng, 2, 5, 7)
    b, X = rng.normal(size=5), with_zeros(rng, 6, 5)
    network = Network(c=3.0, lam=0.2, penalized=penalized, untied=True, output_bias=True)
    slopes = jax.grad(lambda w: model.loss(network, w, Batch(X, None, 0.7, 0.4)))(Weights(D, E, b))
    theirs = [torch.tensor(a, requires_grad=True) for a in (D, E, b)]
    inputs = torch.tensor(X)
    H = inputs @ theirs[1]
    error = ((torch.relu(H @ theirs[0].T + theirs[2]) - inputs) ** 2).sum()
    sizes = (theirs[0].abs().sum() + theirs[1].abs().sum()) / 2
    penalty = sizes if penalized == "weights" else 0.4 * H.abs().sum()
    (0.75 * 0.7 * error + 0.2 * penalty).backward()
    for ours, other in zip(slopes[:3], theirs, strict=True):
        np.testing.assert_allclose(ours, other.grad.numpy(), rtol=0.0, atol=1e-13)


@given(seeds, st.sampled_from(("relu", "softplus")))
def test_the_gradient_of_the_bias_is_the_quotient_of_differences(seed, output):
    rng = np.random.default_rng(seed)
    D, E, b = with_zeros(rng, 5, 7), with_zeros(rng, 5, 7), rng.normal(size=5)
    network = Network(c=3.0, lam=0.2, output=output, untied=True, output_bias=True)

    def loss(b):
        return model.loss(network, Weights(D, E, b), Batch())

    step = 1e-6
    quotient = [(loss(b + step * e) - loss(b - step * e)) / (2.0 * step) for e in np.eye(5)]
    # No output is within reach of ReLU's kink but with probability 5e-5 an example.
    np.testing.assert_allclose(jax.grad(loss)(b), quotient, rtol=1e-6, atol=1e-6)


@given(starts_with_zeros, st.booleans())
def test_a_bias_of_zero_changes_no_bit_of_the_loss_nor_of_its_gradient(W, on_activations):
    network = Network(lam=0.2, penalized="activations" if on_activations else "weights")
    one, other = (
        jax.value_and_grad(lambda w: model.loss(network, w, Batch()))(weights)
        for weights in (Weights(W), Weights(W, None, np.zeros(len(W))))
    )
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1].decoder, other[1].decoder)


@given(seeds)
def test_the_product_with_itself_has_the_derivative_of_a_product(seed):
    rng = np.random.default_rng(seed)
    W, V, cotangent = with_zeros(rng, 5, 12), rng.normal(size=(5, 12)), rng.normal(size=(5, 5))
    image, back = jax.vjp(model.gram, W)
    np.testing.assert_allclose(image, W @ W.T, rtol=1e-13)
    change = V @ W.T + W @ V.T
    np.testing.assert_allclose(np.sum(back(cotangent)[0] * V), np.sum(cotangent * change))


OUTPUT = {
    "relu": lambda z: np.maximum(z, 0.0),
    "linear": lambda z: z,
    "leaky-relu": lambda z: np.where(z > 0.0, z, 0.01 * z),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "tanh": lambda z: np.sinh(z) / np.cosh(z),
}
TOP = 3


def largest(h):
    """One code after another, its entries in the order of their size."""
    kept = np.zeros_like(h)
    for row, code in zip(kept, h, strict=True):
        for k in sorted(range(len(code)), key=lambda k: -abs(code[k]))[:TOP]:
            row[k] = code[k]
    return kept


HIDDEN = {
    "linear": lambda h: h,
    "relu": lambda h: np.maximum(h, 0.0),
    "gelu": lambda h: h * ndtr(h),
    "top-k": largest,
    "layer-norm": lambda h: (
        (h - h.mean(axis=1, keepdims=True)) / np.sqrt(h.var(axis=1, keepdims=True) + 1e-5)
    ),
}


def loss_by_definition(network, D, E, X, targets, noise, error_weight, activity_weight):
    """One input after another, as the paper writes it."""
    H = HIDDEN[network.hidden](X @ E)
    total = 0.0
    for k in range(len(X)):
        xi = noise if noise is None or noise.ndim == 1 else noise[k]
        h = H[k] if xi is None else H[k] + xi
        total += np.sum((OUTPUT[network.output](D @ h) - targets[k]) ** 2)
    total *= 0.25 * network.c * error_weight
    if network.penalized == "activations":
        weight = activity_weight if network.penalty == "l1" else error_weight
        size = np.abs(H).sum() if network.penalty == "l1" else 0.5 * np.sum(H**2)
        return total + network.lam * weight * size
    sizes = [np.abs(W).sum() if network.penalty == "l1" else 0.5 * np.sum(W**2) for W in (D, E)]
    return total + network.lam * np.mean(sizes)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("penalized", ["weights", "activations"])
def test_every_switch_of_the_network_does_what_its_definition_says(hidden, penalized):
    rng = np.random.default_rng(7)
    n, m, b = 5, 12, 9
    Q = orthogonal_inputs(n, 3)
    np.testing.assert_allclose(Q @ Q.T, np.eye(n), atol=1e-14)
    # An output's nonlinearity does not see which codes it comes from: all with linear ones do.
    outputs = OUTPUT if hidden == "linear" else ("relu", "softplus")
    cases = itertools.product(
        outputs, ("l1", "l2"), (False, True), (False, True), (None, "shared", "fresh")
    )
    for output, penalty, untied, drawn, kind in cases:
        network = Network(
            c=3.0, lam=0.2, penalty=penalty, penalized=penalized, untied=untied, hidden=hidden,
            output=output, top=TOP,
        )  # fmt: skip
        D, E = rng.normal(size=(2, n, m))
        E = E if untied else D
        features = rng.normal(size=(b, n)) if drawn else None
        targets = np.eye(n) if features is None else features
        noise = (
            None if kind is None else rng.normal(size=(len(targets), m) if kind == "fresh" else m)
        )
        inputs = Q if untied else np.eye(n)
        weights = Weights(D, E if untied else None)
        found = model.loss(
            network, weights, Batch(features, noise, 0.7, 0.4), Q if untied else None
        )
        expected = loss_by_definition(network, D, E, targets @ inputs, targets, noise, 0.7, 0.4)
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=str(network))


@given(seeds, st.floats(0.01, 0.3))
def test_bipolar_noise_adds_its_variance_to_the_loss_of_one_feature_that_stays_on(seed, sigma):
    m = 6
    W = gaussian_init(1, m, seed=seed, scale=1.0)
    W *= 1.01 * sigma * np.abs(W).sum() / np.sum(W**2)  # σ‖W‖₁ < ‖W‖²: the output stays on
    patterns = sigma * np.array(list(itertools.product([-1.0, 1.0], repeat=m)))
    network = Network(c=4.0, lam=0.0)
    average = jax.vmap(lambda xi: model.error(network, Weights(W), Batch(noise=xi)))(
        patterns
    ).mean()
    square = np.sum(W**2)
    np.testing.assert_allclose(average, (1.0 - square) ** 2 + sigma**2 * square, rtol=1e-10)
