"""Networks of several hidden layers: loss, gradients, and what one layer has always been."""

import itertools
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow import gaussian_init, velocity
from flow.training import TrainingTrajectory, forces_of, train
from flow.training.setup import Network, Noise, Optimizer, Training
from tests.strategies import regularization_strengths, relabelling, seeds
from tests.training.by_hand import SLOPES

jax = pytest.importorskip("jax")
from flow.training import network as model  # noqa: E402
from flow.training.network import Batch, Layer, Weights  # noqa: E402

WIDTHS = (5, 7, 4, 6)
"""Features, then neurons of three hidden layers."""


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def with_zeros(rng, *shape):
    """Gaussian numbers, half of them zero, and all of the first row."""
    W = np.where(rng.random(shape) < 0.5, rng.normal(size=shape), 0.0)
    W[..., 0, :] = 0.0
    return W


def stack(rng, depth, untied, instances=()):
    """Weights of a stack with zeros among them."""
    layers = [
        Layer(*(with_zeros(rng, *instances, n, m) for _ in range(2 if untied else 1)))
        for n, m in itertools.pairwise(WIDTHS[: depth + 1])
    ]
    return Weights(*layers[0], None, tuple(layers[1:]))


def by_hand(network, weights, X, xi):
    """Loss and gradient, (D_1, E_1 or None), …, differentiated backwards; sign(0) = 0."""
    b, b_slope = SLOPES[network.between]
    g, g_slope = SLOPES[network.hidden]
    f, f_slope = SLOPES[network.output]
    depth = len(weights.layers)
    down = [layer.decoder for layer in weights.layers]
    up = [layer.decoder if layer.encoder is None else layer.encoder for layer in weights.layers]
    acts = [(b, b_slope)] * (depth - 1) + [(g, g_slope)]
    codes, before = [X], []
    for E, (act, _) in zip(up, acts, strict=True):
        before.append(codes[-1] @ E)
        codes.append(act(before[-1]))
    back, made = [codes[-1] + xi], []
    for layer in range(depth - 1, -1, -1):
        made.append(back[-1] @ down[layer].T)
        back.append(b(made[-1]) if layer else made[-1])
    y = f(made[-1])
    charged = codes[1:] if network.penalized == "activations" else []
    total = 0.25 * network.c * np.sum((y - X) ** 2)
    total += network.lam * sum(np.abs(code).sum() for code in charged)
    sums = [np.abs(W).sum() for layer in weights.layers for W in layer if W is not None]
    if not charged:
        total += network.lam * sum(sums) * depth / len(sums)
    d = 0.5 * network.c * (y - X) * f_slope(made[-1])
    slopes_down, slopes_up = [None] * depth, [None] * depth
    for layer in range(depth):
        slopes_down[layer] = d.T @ back[depth - 1 - layer]
        d = d @ down[layer]
        if layer < depth - 1:
            d = d * b_slope(made[depth - 2 - layer])
    for layer in range(depth - 1, -1, -1):
        if charged:
            d = d + network.lam * np.sign(codes[layer + 1])
        d = d * acts[layer][1](before[layer])
        slopes_up[layer] = codes[layer].T @ d
        d = d @ up[layer].T
    found = []
    for layer, matrices in enumerate(weights.layers):
        D, E = slopes_down[layer], slopes_up[layer]
        tied = matrices.encoder is None
        if not charged:
            D = D + (0.5 * network.lam) * np.sign(down[layer])
            E = E + (0.5 * network.lam) * np.sign(up[layer])
        found.append((D + E, None) if tied else (D, E))
    return total, found


@pytest.mark.parametrize(("depth", "untied"), [(2, True), (3, False)])
def test_loss_and_gradient_are_those_of_the_formula_also_at_zeros(depth, untied):
    rng = np.random.default_rng(depth)
    instances = 4
    for between, penalized, drawn in (
        ("linear", "weights", True),
        ("linear", "activations", False),
        ("relu", "activations", True),
    ):
        network = Network(
            c=3.0, lam=0.2, penalized=penalized, untied=untied, between=between, output="relu"
        )
        weights = stack(rng, depth, untied, (instances,))
        X = with_zeros(rng, 9, 5) if drawn else np.eye(5)
        xi = 0.3 * rng.normal(size=WIDTHS[depth])
        batch = Batch(X if drawn else None, xi)
        losses, slopes = jax.jit(
            jax.vmap(jax.value_and_grad(lambda w: model.loss(network, w, batch)))  # noqa: B023
        )(weights)
        slopes_seen = 0
        for k in range(instances):
            one = jax.tree.map(lambda a: a[k], weights)  # noqa: B023
            total, expected = by_hand(network, one, X, xi)
            np.testing.assert_allclose(losses[k], total, rtol=1e-12)
            for layer, pair in zip(jax.tree.map(lambda a: a[k], slopes).layers, expected):  # noqa: B023, B905
                for found, slope in zip(layer, pair, strict=True):
                    if slope is None:
                        assert found is None
                        continue
                    np.testing.assert_allclose(found, slope, rtol=0.0, atol=1e-10)
                    slopes_seen += np.count_nonzero(slope)
        assert slopes_seen > 0


@lru_cache
def gradient():
    return jax.jit(jax.grad(lambda W, network: model.loss(network, W, Batch())))


@settings(max_examples=40)
@given(seeds, regularization_strengths())
def test_one_layer_charged_for_its_activations_follows_the_flow(seed, lam):
    """Whatever is between layers, of which there is none; at a zero the penalty's slope is 0."""
    W = with_zeros(np.random.default_rng(seed), 6, 9)
    network = Network(c=4.0, lam=lam, penalized="activations", between="relu")
    slope = gradient()(Weights(W), network).decoder
    forces = forces_of(network)
    expected = velocity(forces[:2], W) - lam * np.sign(W)
    np.testing.assert_allclose(-slope, expected, rtol=0.0, atol=1e-10)
    on = W != 0.0
    np.testing.assert_allclose(-slope[on], velocity(forces, W)[on], rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("method", ["gd", "adamw"])
def test_one_layer_is_bit_for_bit_the_network_of_weights_charged_for_themselves(method):
    W0 = gaussian_init(6, 9, seed=2)
    W0[0, :4] = 0.0
    optimizer = Optimizer(method=method, rate=0.01)
    (plain,) = train(Training(network=Network(lam=0.05), optimizer=optimizer), W0, steps=60)
    deep = Network(lam=0.05, penalized="activations", between="relu")
    (one,) = train(Training(network=deep, optimizer=optimizer), W0, steps=60, inner0=[])
    np.testing.assert_array_equal(one.weights, plain.weights)
    np.testing.assert_array_equal(one.loss, plain.loss)
    assert one.inner == ()
    assert "inner" not in one.parameters


@given(seeds, st.booleans())
def test_a_further_layer_that_only_renames_neurons_doubles_the_charge_and_changes_nothing_else(
    seed, untied
):
    rng = np.random.default_rng(seed)
    D, E = with_zeros(rng, 5, 7), with_zeros(rng, 5, 7)
    _, order, signs = relabelling(rng, D)
    P = np.eye(7)[order] * signs
    encoder, copy = (E, P) if untied else (None, None)
    network = Network(c=2.0, lam=0.3, penalized="activations", untied=untied)
    one = Weights(D, encoder)
    two = Weights(D, encoder, None, (Layer(P, copy),))
    error = model.error(network, one, Batch())
    charge = model.loss(network, one, Batch()) - error
    np.testing.assert_allclose(model.error(network, two, Batch()), error, rtol=1e-12)
    np.testing.assert_allclose(
        model.loss(network, two, Batch()) - error, 2.0 * charge, rtol=1e-10, atol=1e-13
    )


def test_a_run_keeps_every_matrix_of_a_stack(tmp_path):
    instances, depth, untied = 2, 3, True
    weights = stack(np.random.default_rng(0), depth, untied, (instances,))
    network = Network(lam=0.01, penalized="activations", untied=untied)
    training = Training(
        network=network, noise=Noise(sigma=0.01), optimizer=Optimizer(method="adamw", rate=1e-3)
    )
    runs = train(
        training, weights.decoder, encoder0=weights.encoder, steps=3, save_at=[0.0, 1e-3],
        inner0=[layer.decoder for layer in weights.inner],
        inner_encoder0=[layer.encoder for layer in weights.inner],
    )  # fmt: skip
    for k, run in enumerate(runs):
        assert run.parameters["inner"] == [4, 6]
        for number, (kept, layer) in enumerate(
            zip((run, *run.inner), weights.layers, strict=True), 1
        ):
            which = f" {number}" * (number > 1)
            pairs = ((kept, layer.decoder, "decoder"), (kept.encoder, layer.encoder, "encoder"))
            for found, start, name in pairs:
                assert found.parameters["matrix"] == name + which
                assert found.weights.shape == (3, *start.shape[1:])
                np.testing.assert_array_equal(found.weights[0], start[k])
                assert np.abs(found.final - start[k]).max() > 0.0
                l1 = np.abs(found.final).sum(axis=1)
                np.testing.assert_allclose(found.observables.l1[-1], l1, rtol=1e-12)
        run.inner[-1].save(tmp_path / "layer3.npz")
        loaded = TrainingTrajectory.load(tmp_path / "layer3.npz")
        np.testing.assert_array_equal(loaded.weights, run.inner[-1].weights)
