"""The trained network: its gradient, its steps, its data, and what it leaves behind."""

import itertools
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow import Status, Trajectory, gaussian_init, integrate, velocity
from flow.forces import FeatureBenefit, Interference, Regularization
from flow.training import forces_of, train
from flow.training.setup import Data, Network, Noise, Optimizer, Training
from tests.strategies import regularization_strengths, seeds

jax = pytest.importorskip("jax")
from flow.training import network as model  # noqa: E402
from flow.training.network import Batch, Weights  # noqa: E402

SHAPES = [(12, 5), (5, 12), (7, 7)]
"""Features and neurons: fewer, more and as many neurons as features."""


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def proximal(rate, lam=0.05):
    return Training(
        network=Network(c=1.0, lam=lam), optimizer=Optimizer(method="proximal", rate=rate)
    )


# The loss ----------------------------------------------------------------------------------------


@lru_cache
def gradient():
    return jax.jit(jax.grad(lambda W, network: model.loss(network, W, Batch())))


@settings(max_examples=100)
@given(st.sampled_from(SHAPES), seeds, st.floats(0.3, 1.5), regularization_strengths())
def test_minus_the_gradient_of_the_loss_is_the_sum_of_the_forces(shape, seed, scale, lam):
    n, m = shape
    W = gaussian_init(n, m, seed=seed, scale=scale)
    network = Network(c=4.0, lam=lam)
    forces = [FeatureBenefit(4.0), Interference(4.0), Regularization(lam)]
    assert forces_of(network) == forces
    slope = gradient()(Weights(W), network).decoder
    assert slope.dtype == np.float64
    np.testing.assert_allclose(-slope, velocity(forces, W), rtol=0.0, atol=1e-12)


@given(seeds)
def test_the_product_with_itself_has_the_derivative_of_a_product(seed):
    rng = np.random.default_rng(seed)
    W, V, cotangent = rng.normal(size=(5, 12)), rng.normal(size=(5, 12)), rng.normal(size=(5, 5))
    image, back = jax.vjp(model.gram, W)
    np.testing.assert_allclose(image, W @ W.T, rtol=1e-13)
    change = V @ W.T + W @ V.T
    np.testing.assert_allclose(np.sum(back(cotangent)[0] * V), np.sum(cotangent * change))


OUTPUT = {
    "relu": lambda z: np.maximum(z, 0.0),
    "linear": lambda z: z,
    "leaky-relu": lambda z: np.where(z > 0.0, z, 0.01 * z),
    "softplus": lambda z: np.log1p(np.exp(z)),
}
HIDDEN = {
    "linear": lambda h: h,
    "relu": lambda h: np.maximum(h, 0.0),
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
    Q = model.orthogonal_inputs(n, 3)
    np.testing.assert_allclose(Q @ Q.T, np.eye(n), atol=1e-14)
    cases = itertools.product(
        OUTPUT, ("l1", "l2"), (False, True), (False, True), (None, "shared", "fresh")
    )
    for output, penalty, untied, drawn, kind in cases:
        network = Network(
            c=3.0, lam=0.2, penalty=penalty, penalized=penalized, untied=untied, hidden=hidden,
            output=output,
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


# Steps -------------------------------------------------------------------------------------------


def test_proximal_gradient_descent_tends_to_the_flow_at_first_order_through_deaths_and_revivals():
    W0, lam, t_end = gaussian_init(12, 12, seed=3), 0.05, 20.0
    forces = forces_of(proximal(1.0, lam).network)
    flow = integrate(forces, W0, t_end=t_end, rtol=1e-8, events=True)
    assert flow.events.extinctions.time.size > 50
    assert flow.events.revivals.time.size > 3
    errors = []
    for rate in (0.01, 0.005, 0.0025, 0.00125):
        (run,) = train(proximal(rate, lam), W0, steps=round(t_end / rate))
        assert run.status is Status.REACHED_T_END
        errors.append(np.abs(run.final - flow.final).max())
    ratios = np.array(errors[:-1]) / errors[1:]
    np.testing.assert_allclose(ratios, 2.0, atol=0.3)
    assert errors[-1] < 1e-3


def test_the_proximal_step_of_l2_divides_and_that_of_l1_makes_zeros():
    W0 = gaussian_init(5, 12, seed=0)
    for penalty in ("l1", "l2"):
        network = Network(c=4.0, lam=2.0, penalty=penalty)
        training = Training(network=network, optimizer=Optimizer(method="proximal", rate=0.01))
        (run,) = train(training, W0, steps=1)
        moved = W0 + 0.01 * velocity(forces_of(network)[:2], W0)
        if penalty == "l1":
            expected = np.sign(moved) * np.maximum(np.abs(moved) - 0.02, 0.0)
            assert 0 < run.observables.nonzeros[-1].sum() < W0.size
        else:
            expected = moved / 1.02
        np.testing.assert_allclose(run.final, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("method", ["gd", "adamw"])
def test_steps_are_those_of_the_textbook(method):
    W0, eta, decay, lam = gaussian_init(5, 12, seed=1), 0.02, 0.3, 0.01
    network = Network(c=4.0, lam=lam)
    optimizer = Optimizer(method=method, rate=eta, weight_decay=decay)
    (run,) = train(
        Training(network=network, optimizer=optimizer), W0, steps=5, save_at=eta * np.arange(6)
    )
    W, first, second = W0, np.zeros_like(W0), np.zeros_like(W0)
    for k in range(1, 6):
        slope = -velocity(forces_of(network), W)
        if method == "gd":
            W = W - eta * slope
        else:
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            step = (first / (1 - 0.9**k)) / (np.sqrt(second / (1 - 0.999**k)) + 1e-8)
            W = W - eta * (step + decay * W)
        np.testing.assert_allclose(run.weights[k], W, rtol=1e-9)


def test_orthogonal_inputs_reproduce_the_run_up_to_their_rotation():
    n, m = 8, 16
    D, E = gaussian_init(n, m, seed=5), gaussian_init(n, m, seed=6)
    network = Network(c=4.0, lam=0.02, penalized="activations", untied=True)
    Q = model.orthogonal_inputs(n, 11)
    plain = Training(network=network, optimizer=Optimizer(rate=0.01))
    rotated = Training(network=network, data=Data(rotation=11), optimizer=Optimizer(rate=0.01))
    (one,) = train(plain, D, encoder0=E, steps=1000)
    (other,) = train(rotated, D, encoder0=Q.T @ E, steps=1000)
    assert np.abs(one.final - D).max() > 0.3
    np.testing.assert_allclose(other.final, one.final, rtol=0.0, atol=1e-10)
    assert one.encoder is not None
    assert other.encoder is not None
    np.testing.assert_allclose(Q @ other.encoder.final, one.encoder.final, rtol=0.0, atol=1e-10)


# Data and noise ----------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [None, 0.3])
@pytest.mark.parametrize("magnitude", ["one", "uniform"])
def test_every_feature_weighs_as_much_as_in_the_full_batch(probability, magnitude):
    """Within 5 standard errors in 3 × 16 numbers: false alarms at most 3e-5 under a normal law."""
    data = Data(probability=probability, magnitude=magnitude, batch=4000)
    n = 16
    X, _, error_weight, activity_weight = jax.device_get(
        model.draw_features(data, jax.random.key(0), n, np.float64)
    )
    assert X.shape == (4000, n)
    if probability is None:
        assert (np.count_nonzero(X, axis=1) == 1).all()
    if magnitude == "one":
        assert set(np.unique(X)) == {0.0, 1.0}
    for weight, values in ((error_weight, X**2), (activity_weight, X)):
        scatter = weight * values.std(axis=0) * np.sqrt(4000)
        assert (np.abs(weight * values.sum(axis=0) - 1.0) < 5.0 * scatter).all()
    share = n**-1.0 if probability is None else probability
    on = np.count_nonzero(X, axis=0)
    assert (np.abs(on - 4000 * share) < 5.0 * np.sqrt(4000 * share * (1 - share))).all()


def test_every_step_draws_inputs_of_its_own():
    """A row of the encoder moves only if its feature was drawn: in 60 draws of 5 each one is but
    for a chance of 8e-6."""
    training = Training(
        network=Network(lam=0.0, untied=True), data=Data(batch=1), optimizer=Optimizer(method="sgd")
    )
    D, E = gaussian_init(5, 12, seed=0), gaussian_init(5, 12, seed=1)
    (run,) = train(training, D, encoder0=E, steps=60)
    assert run.encoder is not None
    assert (np.abs(run.encoder.final - E).max(axis=1) > 0.0).all()


KURTOSIS = {"bipolar": -2.0, "uniform": -1.2, "normal": 0.0, "laplace": 3.0, "student-t": 1.0}


@pytest.mark.parametrize("distribution", KURTOSIS)
def test_noise_has_the_moments_of_its_name(distribution):
    """Mean, variance and excess kurtosis within 5 standard errors: false alarms below 2e-6 each
    under a normal law of the averages (10 degrees of freedom: the 8th moment is finite)."""
    count, sigma = 200_000, 0.15
    noise = Noise(distribution=distribution, sigma=sigma, degrees=10.0)
    xi = np.asarray(model.draw_noise(noise, jax.random.key(1), (count,), np.float64))
    z = xi / sigma
    expected = 3.0 + KURTOSIS[distribution]
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, expected)):
        error = np.std(z**power) / np.sqrt(count)
        assert abs(np.mean(z**power) - moment) <= 5.0 * error + 1e-12, power


def noisy(*, fresh, data):
    return Training(
        network=Network(lam=0.0),
        data=data,
        noise=Noise(sigma=0.1, fresh=fresh),
        optimizer=Optimizer(method="sgd", rate=0.02),
    )


def test_noise_is_shared_by_all_instances_unless_it_is_to_be_fresh():
    W0 = np.stack([gaussian_init(5, 12, seed=0, dtype=np.float32)] * 2)
    one, other = train(noisy(fresh=False, data=Data()), W0, steps=50)
    # Not bitwise: instances lie in different lanes of vector instructions.
    np.testing.assert_allclose(one.final, other.final, rtol=0.0, atol=1e-5)
    one, other = train(noisy(fresh=True, data=Data()), W0, steps=50)
    assert np.abs(one.final - other.final).max() > 1e-3


def test_random_numbers_belong_to_the_seed_the_stream_and_the_step_alone():
    training = noisy(fresh=True, data=Data(probability=0.2, batch=6))
    W0 = np.stack([gaussian_init(5, 12, seed=s, dtype=np.float32) for s in (3, 4)])

    def finals(W0=W0, **how):
        return [run.final for run in train(training, W0, steps=60, **how)]

    plain = finals()
    np.testing.assert_array_equal(plain, finals())
    np.testing.assert_array_equal(plain, finals(call_work=1.0))
    np.testing.assert_array_equal(plain, finals(record_every=7, save_at=[0.1, 0.5]))
    assert np.abs(plain[0] - finals(seed=1)[0]).max() > 1e-3
    assert np.abs(plain[0] - finals(streams=[1, 0])[0]).max() > 1e-3
    moved = finals(W0[[1, 1]], streams=[1, 8])
    np.testing.assert_allclose(moved[0], plain[1], rtol=0.0, atol=1e-5)


# What is left behind -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_keeps_what_integrate_keeps(dtype, tmp_path):
    W0 = np.stack([gaussian_init(12, 5, seed=s, dtype=dtype) for s in (0, 1)])
    training, times = proximal(0.01), [0.0, 0.3, 1.0, 2.3]  # 2.3 / 0.01 < 230
    runs = train(training, W0, steps=300, save_at=times, record_every=10, metadata=[{"a": 1}, {}])
    forces = forces_of(training.network)
    for run, start in zip(runs, W0, strict=True):
        assert run.weights.dtype == dtype
        np.testing.assert_allclose(run.times, [*times, 3.0])
        np.testing.assert_array_equal(run.weights[0], start)
        seen = run.observables
        np.testing.assert_allclose(seen.times, np.arange(0.0, 3.05, 0.1))
        close = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-10}
        for t, W in zip(run.times, run.weights, strict=True):
            k = int(np.argmin(np.abs(seen.times - t)))
            np.testing.assert_allclose(seen.l1[k], np.abs(W).sum(axis=1), **close)
            np.testing.assert_allclose(seen.l2[k], np.linalg.norm(W, axis=1), **close)
            np.testing.assert_allclose(seen.l4[k], (W**4).sum(axis=1), **close)
            np.testing.assert_array_equal(seen.nonzeros[k], (W != 0).sum(axis=1))
            for force in forces:
                energy = seen.energy[type(force).__name__][k]
                np.testing.assert_allclose(energy, force.energy(W), **close)
            speed = np.sum(velocity(forces, W) ** 2)
            np.testing.assert_allclose(seen.dissipation[k], speed, **close)
        assert np.diff(seen.total_energy).max() < 1e-9
        assert run.certificate.residual == pytest.approx(np.abs(velocity(forces, run.final)).max())
        run.save(tmp_path / "run.npz")
        loaded = Trajectory.load(tmp_path / "run.npz")
        np.testing.assert_array_equal(loaded.weights, run.weights)
        np.testing.assert_array_equal(loaded.observables.l4, seen.l4)
        assert loaded.parameters == run.parameters
        assert loaded.status is Status.REACHED_T_END
    assert runs[0].metadata == {"a": 1}


def test_double_precision_ends_with_the_call():
    with jax.enable_x64(False):
        (run,) = train(proximal(0.01), gaussian_init(5, 12, seed=0), steps=1)
        assert run.final.dtype == np.float64
        assert jax.numpy.ones(1).dtype == np.float32


def test_jax_is_not_imported_before_the_first_training():
    code = "import sys, flow.training.trainer, flow.training.cli; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_observables_are_kept_as_often_as_asked_and_at_the_end(steps):
    W0 = gaussian_init(5, 12, seed=0)
    for every in (1, 3):
        (run,) = train(proximal(0.01), W0, steps=steps, record_every=every)
        expected = sorted({*range(0, steps + 1, every), steps})
        np.testing.assert_allclose(run.observables.times, 0.01 * np.array(expected))
        np.testing.assert_allclose(run.times, sorted({0.0, 0.01 * steps}))


def test_an_interrupted_run_keeps_what_was_reached(monkeypatch):
    from flow.training import trainer as module

    class Impatient(module.tqdm):
        def update(self, n=1):
            super().update(n)
            if self.n >= 20:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "tqdm", Impatient)
    W0 = gaussian_init(5, 12, seed=0)
    (run,) = train(proximal(0.01), W0, steps=100, record_every=5, call_work=1.0, progress=True)
    assert run.status is Status.INTERRUPTED
    assert run.times.tolist() == [0.0, 0.2]
    assert run.observables.times[-1] == pytest.approx(0.2)
    monkeypatch.undo()
    (whole,) = train(proximal(0.01), W0, steps=20)
    np.testing.assert_array_equal(run.final, whole.final)


WRONG = [
    (lambda: Network(c=0.0), "> 0"),
    (lambda: Network(lam=-1.0), ">= 0"),
    (lambda: Network(lam=np.nan), ">= 0"),
    (lambda: Network(hidden="tanh"), "layer-norm"),
    (lambda: Network(output="tanh"), "softplus"),
    (lambda: Network(penalty="l0"), "l1, l2"),
    (lambda: Network(penalized="biases"), "activations"),
    (lambda: Data(probability=0.0, batch=3), "(0, 1]"),
    (lambda: Data(probability=0.5), "batch"),
    (lambda: Data(magnitude="uniform"), "batch"),
    (lambda: Data(batch=0), ">= 1"),
    (lambda: Noise(sigma=-0.1), ">= 0"),
    (lambda: Noise(distribution="cauchy"), "laplace"),
    (lambda: Noise(distribution="student-t", degrees=4.0), "odd whole number from 3 to 99"),
    (lambda: Optimizer(rate=0.0), "> 0"),
    (lambda: Optimizer(method="adam"), "adamw"),
    (lambda: Optimizer(weight_decay=np.inf), ">= 0"),
    (lambda: Training(noise=Noise()), "sgd"),
    (lambda: Training(data=Data(batch=3)), "sgd"),
    (lambda: Training(data=Data(rotation=1)), "untied"),
    (
        lambda: Training(
            network=Network(penalized="activations"), optimizer=Optimizer(method="proximal")
        ),
        "weights",
    ),
]


@pytest.mark.parametrize(("make", "said"), WRONG)
def test_settings_that_cannot_be_used_are_refused(make, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace("]", r"\]")):
        make()


W = np.eye(3, 4)


@pytest.mark.parametrize(
    ("W0", "how", "said"),
    [
        (np.ones(3), {}, "features"),
        (np.ones((3, 4), int), {}, "float32 or float64"),
        (W * np.nan, {}, "finite"),
        (W, {"steps": -1}, "steps"),
        (W, {"record_every": 0}, "record_every"),
        (W, {"save_at": [0.5, 0.1]}, "increasing"),
        (W, {"save_at": [9.0]}, "from 0 to"),
        (W, {"streams": [1, 2]}, "streams"),
        (W, {"streams": [-1]}, "streams"),
        (W, {"metadata": []}, "metadata"),
        (W, {"encoder0": W}, "tied"),
        (W, {"untied": True}, "encoder0"),
        (W, {"untied": True, "encoder0": W.T}, "shaped"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(W0, how, said):
    how = {"steps": 1, **how}
    network = Network(untied=how.pop("untied", False))
    with pytest.raises(ValueError, match=said):
        train(Training(network=network), W0, **how)
