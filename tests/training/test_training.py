"""Training from outside: what it tends to, and what it leaves behind."""

import subprocess
import sys

import numpy as np
import pytest

from flow import Status, gaussian_init, integrate, velocity
from flow.training import TrainingTrajectory, forces_of, train, trainer
from flow.training.setup import Data, Network, Noise, Optimizer, Training

jax = pytest.importorskip("jax")
from flow.training import network as model  # noqa: E402
from flow.training.inputs import Keys, draw_batch, make_keys, orthogonal_inputs  # noqa: E402
from flow.training.network import Weights  # noqa: E402


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def proximal(rate, lam=0.05):
    return Training(
        network=Network(c=1.0, lam=lam), optimizer=Optimizer(method="proximal", rate=rate)
    )


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


def test_orthogonal_inputs_reproduce_the_run_up_to_their_rotation():
    n, m = 8, 16
    D, E = gaussian_init(n, m, seed=5), gaussian_init(n, m, seed=6)
    network = Network(c=4.0, lam=0.02, penalized="activations", untied=True)
    Q = orthogonal_inputs(n, 11)
    plain = Training(network=network, optimizer=Optimizer(rate=0.01))
    rotated = Training(network=network, data=Data(rotation=11), optimizer=Optimizer(rate=0.01))
    (one,) = train(plain, D, encoder0=E, steps=1000)
    (other,) = train(rotated, D, encoder0=Q.T @ E, steps=1000)
    assert np.abs(one.final - D).max() > 0.3
    np.testing.assert_allclose(other.final, one.final, rtol=0.0, atol=1e-10)
    assert one.encoder is not None
    assert other.encoder is not None
    np.testing.assert_allclose(Q @ other.encoder.final, one.encoder.final, rtol=0.0, atol=1e-10)


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
        np.testing.assert_allclose(run.loss, seen.total_energy, **close)
        assert run.certificate.residual == pytest.approx(np.abs(velocity(forces, run.final)).max())
        run.save(tmp_path / "run.npz")
        loaded = TrainingTrajectory.load(tmp_path / "run.npz")
        np.testing.assert_array_equal(loaded.weights, run.weights)
        np.testing.assert_array_equal(loaded.observables.l4, seen.l4)
        np.testing.assert_array_equal(loaded.loss, run.loss)
        assert loaded.output_bias is None
        assert loaded.parameters == run.parameters
        assert loaded.status is Status.REACHED_T_END
    assert runs[0].metadata == {"a": 1}


def test_the_loss_is_that_of_the_inputs_and_the_noise_of_the_next_step():
    training = Training(
        data=Data(probability=0.3, batch=4),
        noise=Noise(fresh=True),
        optimizer=Optimizer(method="sgd", rate=0.1),
    )
    W0 = np.stack([gaussian_init(5, 12, seed=seed) for seed in (0, 1)])
    runs = train(training, W0, steps=3, seed=7, save_at=0.1 * np.arange(4))
    data, fresh, shared = make_keys(7, [0, 1])
    for k, run in enumerate(runs):
        keys = Keys(data[k], fresh[k], shared)
        expected = [
            model.loss(training.network, Weights(W), draw_batch(training, Weights(W), number, keys))
            for number, W in enumerate(run.weights)
        ]
        np.testing.assert_allclose(run.loss, expected, rtol=1e-12)


def test_a_bias_is_kept_with_the_weights_and_saved(tmp_path):
    network = Network(untied=True, output_bias=True)
    W0, E0 = (np.stack([gaussian_init(5, 12, seed=s) for s in pair]) for pair in ((0, 1), (2, 3)))
    runs = train(Training(network=network), W0, encoder0=E0, steps=4, save_at=[0.0, 0.02])
    for run in runs:
        assert run.output_bias is not None
        assert run.output_bias.shape == (3, 5)
        assert not run.output_bias[0].any()
        assert np.abs(np.diff(run.output_bias, axis=0)).min(axis=1).all()
        run.save(tmp_path / "run.npz")
        loaded = TrainingTrajectory.load(tmp_path / "run.npz")
        np.testing.assert_array_equal(loaded.output_bias, run.output_bias)
    assert np.abs(runs[0].output_bias - runs[1].output_bias).max() > 1e-6


@pytest.mark.parametrize(("method", "said"), [("gd", "reached t_end = 0.3, "), ("adamw", "took ")])
def test_a_run_says_in_time_or_in_steps_how_far_it_got(method, said):
    training = Training(optimizer=Optimizer(method=method, rate=0.1))
    (run,) = train(training, gaussian_init(5, 12, seed=0), steps=3)
    assert run.message == f"{said}3 steps"


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
    class Impatient(trainer.tqdm):
        def update(self, n=1):
            super().update(n)
            if self.n >= 20:
                raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "tqdm", Impatient)
    monkeypatch.setattr(trainer, "CALL_WORK", 1.0)  # A call of the compiled loop for every step.
    W0 = gaussian_init(5, 12, seed=0)
    (run,) = train(proximal(0.01), W0, steps=100, record_every=5, progress=True)
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
    (lambda: Network(output="cube"), "softplus"),
    (lambda: Network(between="tanh"), "linear, relu"),
    (lambda: Network(top=0), ">= 1"),
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
    (lambda: Data(exclusive=3), "batch"),
    (lambda: Data(exclusive=0, batch=3), ">= 1"),
    (lambda: Data(exclusive=3, probability=0.1, batch=3), "both"),
    (lambda: Data(exclusive=3, overlap=1.1, batch=3), "overlap must lie in"),
    (lambda: Data(overlap=0.1, batch=3), "exclusive"),
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
        (W, {"inner0": [W]}, r"inner0\[0\] as 1 instances of \(4, neurons\) in float64"),
        (W, {"inner0": [np.ones((2, 4, 4))]}, "1 instances"),
        (W, {"inner0": [np.ones((4, 4), np.float32)]}, "in float64"),
        (W, {"inner0": [np.ones(4)]}, "instances"),
        (W, {"inner_encoder0": [W]}, "expected 0 matrices as inner_encoder0"),
        (W, {"untied": True, "encoder0": W, "inner0": [W.T]}, "expected 1 matrices"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(W0, how, said):
    how = {"steps": 1, **how}
    network = Network(untied=how.pop("untied", False))
    with pytest.raises(ValueError, match=said):
        train(Training(network=network), W0, **how)
