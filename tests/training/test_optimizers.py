"""Moves of the optimizers against formulas, in both precisions and with zeros among the weights."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from flow import gaussian_init, velocity
from flow.training import forces_of, train
from flow.training.setup import Network, Optimizer, Training
from tests.training.by_hand import gradient_by_hand

jax = pytest.importorskip("jax")
from flow.training import optimizers  # noqa: E402


@pytest.fixture(autouse=True)
def precision(request):
    """JAX's float64 where the weights have it, as in a run; by default they do."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    with jax.enable_x64(np.dtype(parameters.get("dtype", "float64")) == np.float64):
        yield


def start(n=5, m=12, seed=1, dtype=np.float64):
    """A Gaussian W in which about half of the weights are zero, and all of the first row."""
    W = gaussian_init(n, m, seed=seed)
    W[np.random.default_rng(seed).random(W.shape) < 0.5] = 0.0
    W[0] = 0.0
    return W.astype(dtype)


@pytest.mark.parametrize("decay", optimizers.BETAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bias_correction_is_rounded_once(decay, dtype):
    steps = np.arange(1, 2001)
    found = jax.jit(lambda k: optimizers.bias_correction(decay, k, dtype))(steps)
    assert found.dtype == dtype
    with localcontext(prec=50):
        exact = np.array([1 - Decimal(decay) ** int(k) for k in steps])
        error = [abs(Decimal(float(a)) / b - 1) for a, b in zip(found, exact, strict=True)]
    # float32: half a unit in the last place; float64: what double precision makes of it.
    assert float(max(error)) <= (2.0**-24 if dtype == "float32" else 2.0**-51)
    assert optimizers.bias_correction(decay, 10**9, dtype) == 1.0


def adam_by_hand(gradients):
    """Adam's directions of Kingma and Ba, one per gradient, with the moments, in double."""
    first = second = np.zeros_like(gradients[0], float)
    for k, slope in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        size = np.sqrt(second / (1.0 - 0.999**k)) + 1e-8
        yield first, second, (first / (1.0 - 0.9**k)) / size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adams_directions_are_the_textbooks_to_the_rounding_of_their_precision(dtype):
    gradients = np.random.default_rng(0).normal(size=(50, 40)).astype(dtype)
    gradients[:, ::4] = 0.0
    adam = optimizers.scale_by_adam()
    memory = adam.init(gradients[0])
    worst = 0.0
    for slope, (first, second, direction) in zip(
        gradients, adam_by_hand(gradients.astype(float)), strict=True
    ):
        found, memory = adam.update(slope, memory)
        assert found.dtype == memory.mu.dtype == memory.nu.dtype == dtype
        for ours, exact in ((found, direction), (memory.mu, first), (memory.nu, second)):
            worst = max(worst, np.abs(ours - exact).max() / np.abs(exact).max())
    assert worst < (1e-6 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize(
    ("method", "dtype"), [("gd", np.float32), ("gd", np.float64), ("adamw", np.float64)]
)
@pytest.mark.parametrize("untied", [False, True])
def test_steps_are_those_of_the_textbook_from_a_start_with_zeros(method, untied, dtype):
    """AdamW in double only: its quotient has no accuracy where gradients cancel; its directions
    from given gradients are compared in both precisions."""
    eta, decay = 0.1, 0.3
    network = Network(c=4.0, lam=0.01, untied=untied, output_bias=True)
    optimizer = Optimizer(method=method, rate=eta, weight_decay=decay)
    W0 = start(dtype=dtype)
    E0 = start(seed=2, dtype=dtype) if untied else None
    (run,) = train(
        Training(network=network, optimizer=optimizer), W0, encoder0=E0, steps=5,
        save_at=eta * np.arange(6),
    )  # fmt: skip
    assert run.output_bias is not None
    kept = [run.weights, run.encoder.weights if run.encoder else None, run.output_bias]
    now = [W0.astype(float), E0.astype(float) if untied else None, np.zeros(len(W0))]
    memory = [None if a is None else (np.zeros_like(a), np.zeros_like(a)) for a in now]
    for k in range(1, 6):
        slopes = gradient_by_hand(network, now, np.eye(len(W0)))
        for which, slope in enumerate(slopes):
            if slope is None:
                continue
            step = slope
            if method == "adamw":
                first, second = memory[which]
                first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
                memory[which] = first, second
                step = (first / (1 - 0.9**k)) / (np.sqrt(second / (1 - 0.999**k)) + 1e-8)
                step = step + decay * now[which]
            now[which] = now[which] - eta * step
            close = {"rtol": 0.0, "atol": 1e-6 if dtype == np.float32 else 1e-12}
            np.testing.assert_allclose(kept[which][k], now[which], **close)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["gd", "sgd", "adamw", "proximal"])
def test_nothing_moves_a_network_of_zeros(method, dtype):
    training = Training(network=Network(lam=0.01), optimizer=Optimizer(method=method, rate=0.02))
    (run,) = train(training, np.zeros((2, 3), dtype), steps=3)
    np.testing.assert_array_equal(run.final, np.zeros((2, 3)))


@pytest.mark.parametrize("method", ["gd", "proximal"])
def test_a_zero_moves_by_the_smooth_force_alone_or_by_what_exceeds_lambda(method):
    """Gradient descent has sign(0) = 0; the proximal step, as the flow, holds a zero up to λ."""
    W0, eta = start(), 1e-3
    zero = W0 == 0.0
    network = Network(c=4.0, lam=0.2)
    forces = forces_of(network)
    smooth = velocity(forces[:2], W0)
    held = zero & (np.abs(smooth) <= network.lam)
    assert 0 < held.sum() < zero.sum()
    (run,) = train(
        Training(network=network, optimizer=Optimizer(method=method, rate=eta)), W0, steps=1
    )
    moved = (run.final - W0)[zero] / eta
    if method == "gd":
        np.testing.assert_allclose(moved, smooth[zero], rtol=0.0, atol=1e-12)
    else:
        np.testing.assert_allclose(moved, velocity(forces, W0)[zero], rtol=0.0, atol=1e-12)
        assert not run.final[held].any()


def test_no_penalty_is_on_the_bias():
    network = Network(c=4.0, lam=5.0, output_bias=True)
    W0, eta = gaussian_init(5, 12, seed=0), 0.01
    (run,) = train(
        Training(network=network, optimizer=Optimizer(method="proximal", rate=eta)), W0, steps=1
    )
    _, _, slope = gradient_by_hand(network, (W0, None, np.zeros(5)), np.eye(5))
    assert np.abs(eta * slope).max() < eta * network.lam
    assert run.output_bias is not None
    np.testing.assert_allclose(run.output_bias[-1], -eta * slope, rtol=1e-12)


def test_a_run_of_adamw_is_pytorchs_from_a_start_with_zeros():
    torch = pytest.importorskip("torch")
    W0, eta, steps = start(), 1e-3, 50
    training = Training(
        network=Network(c=4.0, lam=0.01), optimizer=Optimizer(method="adamw", rate=eta)
    )
    (run,) = train(training, W0, steps=steps)
    W = torch.tensor(W0, requires_grad=True)
    adamw = torch.optim.AdamW([W], lr=eta, weight_decay=0.01)
    for _ in range(steps):
        adamw.zero_grad()
        y = torch.relu(W @ W.T)
        (((y - torch.eye(len(W0), dtype=W.dtype)) ** 2).sum() + 0.01 * W.abs().sum()).backward()
        adamw.step()
    np.testing.assert_allclose(run.final, W.detach().numpy(), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adamw_makes_of_given_gradients_what_pytorch_makes_of_them(dtype):
    torch = pytest.importorskip("torch")
    ours, gradients = start(dtype=dtype), np.random.default_rng(3).normal(size=(20, 5, 12))
    gradients[:, :, ::3] = 0.0
    W = torch.tensor(ours)
    theirs = torch.optim.AdamW([W], lr=0.1, weight_decay=0.01)
    adamw = optimizers.transformation(Optimizer(method="adamw", rate=0.1, weight_decay=0.01))
    memory = adamw.init(ours)
    for slope in gradients.astype(dtype):
        change, memory = adamw.update(slope, memory, ours)
        ours = ours + change
        W.grad = torch.tensor(slope)
        theirs.step()
        assert ours.dtype == dtype
        atol = 1e-6 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(ours, W.numpy(), rtol=0.0, atol=atol)
