"""Inputs and noise: distributions, weights, and whose random numbers they are."""

import math

import numpy as np
import pytest
from scipy.special import chdtri

from flow import gaussian_init
from flow.training import train, trainer
from flow.training.setup import Data, Network, Noise, Optimizer, Training

jax = pytest.importorskip("jax")
from flow.training import inputs  # noqa: E402


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("exclusive", "probability", "overlap"),
    [(None, None, 0.0), (None, 0.3, 0.0), (3, None, 0.0), (3, None, 0.4)],
)
@pytest.mark.parametrize("magnitude", ["one", "uniform"])
def test_every_feature_weighs_as_much_as_in_the_full_batch(
    exclusive, probability, overlap, magnitude
):
    """Within 5 standard errors in 3 × 16 numbers: false alarms at most 3e-5 under a normal law."""
    data = Data(
        probability=probability, exclusive=exclusive, overlap=overlap, magnitude=magnitude,
        batch=4000,
    )  # fmt: skip
    n = 16
    X, _, error_weight, activity_weight = jax.device_get(
        inputs.draw_features(data, jax.random.key(0), n, np.float64)
    )
    assert X.shape == (4000, n)
    if probability is None and not overlap:
        assert (np.count_nonzero(X, axis=1) == (exclusive or 1)).all()
    if magnitude == "one":
        assert set(np.unique(X)) == {0.0, 1.0}
    for weight, values in ((error_weight, X**2), (activity_weight, X)):
        scatter = weight * values.std(axis=0) * np.sqrt(4000)
        assert (np.abs(weight * values.sum(axis=0) - 1.0) < 5.0 * scatter).all()
    share = (exclusive or 1) / n * (1.0 + overlap) if probability is None else probability
    on = np.count_nonzero(X, axis=0)
    assert (np.abs(on - 4000 * share) < 5.0 * np.sqrt(4000 * share * (1 - share))).all()


def test_one_of_two_blocks_is_drawn_and_in_it_every_subset_as_often():
    """χ² over all 2 × 10 outcomes, which are equally likely: false alarms 1e-6."""
    n, k, count = 10, 3, 8000
    data = Data(exclusive=k, batch=count)
    X = np.asarray(inputs.draw_features(data, jax.random.key(3), n, np.float32).features)
    assert X.shape == (count, n)
    assert set(np.unique(X)) == {0.0, 1.0}
    first, second = X[:, : n // 2].sum(axis=1), X[:, n // 2 :].sum(axis=1)
    assert (np.sort([first, second], axis=0) == [[0], [k]]).all()
    outcomes, counts = np.unique(X, axis=0, return_counts=True)
    cells = 2 * math.comb(n // 2, k)
    assert len(outcomes) == cells
    expected = count / cells
    assert np.sum((counts - expected) ** 2 / expected) < chdtri(cells - 1, 1e-6)


@pytest.mark.parametrize("overlap", [0.25, 1.0])
def test_blocks_overlap_as_often_as_asked_and_are_drawn_independently_then(overlap):
    """Within 5 standard errors in 2 + 9 numbers: false alarms at most 7e-6 under a normal law."""
    n, k, count = 6, 1, 8000
    data = Data(exclusive=k, overlap=overlap, batch=count)
    X = np.asarray(inputs.draw_features(data, jax.random.key(5), n, np.float32).features)
    blocks = X.reshape(count, 2, 3).sum(axis=2)
    assert set(np.unique(blocks)) <= {0.0, 1.0}
    assert (blocks.sum(axis=1) >= 1.0).all()
    both = blocks.sum(axis=1) == 2.0
    assert abs(both.sum() - count * overlap) <= 5.0 * np.sqrt(count * overlap * (1.0 - overlap))
    first = blocks[~both, 0].sum()
    assert abs(first - (~both).sum() / 2) <= 2.5 * np.sqrt((~both).sum())
    together = X[both, :3].T @ X[both, 3:]
    spread = np.sqrt(both.sum() * (1 / 9) * (8 / 9))
    assert (np.abs(together - both.sum() / 9) < 5.0 * spread).all()


@pytest.mark.parametrize("n", [7, 4])
def test_blocks_need_as_many_features(n):
    with pytest.raises(ValueError, match=f"at least 6, with Data.exclusive 3, got {n}"):
        Data(exclusive=3, batch=2).check_features(n)


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
    under a normal law of the averages (9 degrees of freedom: the 8th moment is finite)."""
    count, sigma = 200_000, 0.15
    noise = Noise(distribution=distribution, sigma=sigma, degrees=9)
    xi = np.asarray(inputs.draw_noise(noise, jax.random.key(1), (count,), np.float64))
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


def test_random_numbers_belong_to_the_seed_the_stream_and_the_step_alone(monkeypatch):
    training = noisy(fresh=True, data=Data(probability=0.2, batch=6))
    W0 = np.stack([gaussian_init(5, 12, seed=s, dtype=np.float32) for s in (3, 4)])

    def finals(W0=W0, **how):
        return [run.final for run in train(training, W0, steps=60, **how)]

    plain = finals()
    np.testing.assert_array_equal(plain, finals())
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "CALL_WORK", 1.0)  # A call of the compiled loop for every step.
        np.testing.assert_array_equal(plain, finals())
    np.testing.assert_array_equal(plain, finals(record_every=7, save_at=[0.1, 0.5]))
    assert np.abs(plain[0] - finals(seed=1)[0]).max() > 1e-3
    assert np.abs(plain[0] - finals(streams=[1, 0])[0]).max() > 1e-3
    moved = finals(W0[[1, 1]], streams=[1, 8])
    np.testing.assert_allclose(moved[0], plain[1], rtol=0.0, atol=1e-5)
