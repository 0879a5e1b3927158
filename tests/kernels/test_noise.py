"""The kernels of outputs under noise against the formulas they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from flow import NoisyFeatureBenefit, NoisyInterference, gaussian_init
from flow.forces.noise import expect as formula
from flow.forces.noise import nodes
from flow.integrators.noise import drift_of, energy_of, expect
from flow.kernels.noise import ANCHOR
from flow.kernels.threads import compute_with
from tests.strategies import log_uniform, seeds, weights

LAWS = ("bipolar", "uniform", "normal", "laplace", "student-t:3", "student-t:5", "student-t:9")


@settings(max_examples=40)
@given(
    W=weights(n=(1, 5), m=(1, 12), scale=(0.05, 2.0)), name=st.sampled_from(LAWS),
    sigma=log_uniform(1e-3, 2.0), accuracy=st.sampled_from([1e-3, 1e-4, 1e-6]), seed=seeds,
    zeros=st.sampled_from([0.0, 0.5, 0.9]),
)  # fmt: skip
def test_kernels_are_the_formulas(W, name, sigma, accuracy, seed, zeros):
    """f, e, p and any gradient, of sparse rows and rows that are zero, far and near."""
    rng = np.random.default_rng(seed)
    W[rng.random(W.shape) < zeros] = 0.0
    g = rng.normal(size=(W.shape[0], 7)) * sigma * 10.0 ** rng.uniform(-1.0, 1.0)
    weight = rng.normal(size=g.shape)
    noise = (sigma, name, accuracy)
    for on_square, on_mean in ((1.0, 0.0), (0.0, 1.0), (0.7, -2.0), (0.0, 0.0)):
        wanted = formula(W, g, weight, *noise, on_square, on_mean)
        seen = expect(W, g, weight, *noise, on_square, on_mean)
        s = sigma * np.linalg.norm(W, axis=1, keepdims=True)
        size = np.abs(g) + s
        assert np.all(np.abs(seen.square - wanted.square) <= 1e-11 * size**2)
        assert np.all(np.abs(seen.mean - wanted.mean) <= 1e-11 * size)
        np.testing.assert_allclose(seen.probability, wanted.probability, atol=1e-11)
        turned = np.sum(np.abs(weight) * (2.0 * abs(on_square) * size + abs(on_mean)), axis=1)
        apart = np.abs(seen.gradient - wanted.gradient)
        assert np.all(apart <= 1e-11 * sigma * turned[:, None] + 1e-300)


def test_more_nodes_than_are_turned_through_at_once_stay_exact():
    W = gaussian_init(3, 20, seed=0)
    g = W @ W.T
    assert nodes("bipolar", 1e-7).u.size > 5 * ANCHOR
    for name in ("bipolar", "uniform"):
        noise = (0.2, name, 1e-7)
        seen, wanted = (each(W, g, g, *noise, 1.0, 1.0) for each in (expect, formula))
        for a, b in zip(seen, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_the_normal_distribution_is_exact_to_rounding():
    t = np.concatenate([np.linspace(-9.0, 9.0, 5001), [-1e100, -40.0, 0.0, 40.0, 1e100]])
    seen = expect(np.eye(1), t[None], np.ones((1, t.size)), 1.0, "normal", 1e-4)
    np.testing.assert_allclose(seen.probability[0], ndtr(t), rtol=0, atol=3e-16)
    density = np.exp(-0.5 * np.minimum(t * t, 1000.0)) / np.sqrt(2.0 * np.pi)
    np.testing.assert_allclose(seen.mean[0], t * ndtr(t) + density, rtol=2e-16, atol=6e-15)


@pytest.mark.parametrize("name", LAWS)
def test_forces_under_noise_are_evaluated_by_kernels_with_any_number_of_threads(name):
    W = gaussian_init(9, 14, seed=2)
    for force in (NoisyFeatureBenefit(0.4, name, 1.3), NoisyInterference(0.4, name, 1.3)):
        drift, energy = drift_of(force, W), energy_of(force, W)
        np.testing.assert_allclose(drift, force.drift(W), rtol=0, atol=1e-13)
        assert energy == pytest.approx(force.energy(W), rel=1e-13)
        with compute_with(2):
            np.testing.assert_array_equal(drift_of(force, W), drift)
            assert energy_of(force, W) == energy


def test_single_precision_is_evaluated_in_double():
    W = gaussian_init(6, 10, seed=1, dtype="float32")
    exact = W.astype(np.float64)
    seen, wanted = (expect(A, A @ A.T, A @ A.T, 0.2, "bipolar", 1e-4, 1.0) for A in (W, exact))
    for a, b in zip(seen, wanted, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-7)


def test_a_weight_that_is_no_number_is_seen():
    W = gaussian_init(3, 5, seed=0)
    W[1, 2] = np.nan
    seen = expect(W, W @ W.T, np.ones((3, 3)), 0.2, "bipolar", 1e-4, 1.0)
    assert np.isnan(seen.square[1]).all()
    assert np.isnan(seen.gradient[1]).any()
