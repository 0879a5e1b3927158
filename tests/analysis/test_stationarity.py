"""The certificate: residual and curvature against what they are defined as."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from scipy.sparse.linalg import ArpackNoConvergence

from flow import (
    FeatureBenefit,
    Interference,
    L2Regularization,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    certify,
    velocity,
)
from flow.analysis import stationarity as module
from flow.analysis.stationarity import default_tolerance, hessian_product, lowest_curvature
from flow.forces import sum_forces
from tests.spring import Spring
from tests.strategies import seeds, weights

FORCES = [FeatureBenefit(1.2), Interference(0.8), L2Regularization(0.1), Regularization(0.05)]


@given(W=weights(), seed=seeds)
def test_the_hessian_product_is_the_derivative_of_the_smooth_rate(W, seed):
    V = np.random.default_rng(seed).normal(size=W.shape)
    smooth = FORCES[:-1]
    step = 1e-7

    def rate(A):
        return sum(force.rate(A) for force in smooth)

    difference = -(rate(W + step * V) - rate(W - step * V)) / (2 * step)
    np.testing.assert_allclose(hessian_product(sum_forces(FORCES), W, V), difference, atol=2e-6)


DRIFTING = {
    "normal": [NoisyFeatureBenefit(0.3, "normal"), NoisyInterference(0.2, "normal", 0.7)],
    "uniform": [FeatureBenefit(0.6), NoisyInterference(0.2, "uniform", 1.3, accuracy=1e-8)],
    "bipolar": [FeatureBenefit(), NoisyInterference(0.3, "bipolar")],
    "noise on one force": [NoisyFeatureBenefit(0.3, "normal", 1.4), Interference(0.8)],
}
each_drift = pytest.mark.parametrize("name", DRIFTING)


@each_drift
@given(W=weights(n=(1, 5), m=(1, 6)), seed=seeds)
@settings(max_examples=40)
def test_the_hessian_product_under_a_general_drift_is_a_second_difference_of_the_energy(
    name, W, seed
):
    """At two lengths that are not the step of the product; where they agree, all is smooth."""
    forces = DRIFTING[name]
    V = np.random.default_rng(seed).normal(size=W.shape)
    V /= np.linalg.norm(V)

    def energy(A):
        return sum(force.energy(A) for force in forces)

    def curvature(h):
        return (energy(W + h * V) - 2.0 * energy(W) + energy(W - h * V)) / h**2

    long, short = curvature(2e-3), curvature(1e-3)
    assume(abs(long - short) <= 1e-4)
    product = np.sum(V * hessian_product(sum_forces(forces), W, V))
    np.testing.assert_allclose(product, short, atol=2e-4)


@pytest.mark.parametrize("name", ["normal", "uniform", "noise on one force"])
@given(W=weights(n=(1, 5), m=(1, 6)), seed=seeds)
@settings(max_examples=40)
def test_the_hessian_under_a_smooth_general_drift_is_symmetric(name, W, seed):
    slots = sum_forces(DRIFTING[name])
    U, V = np.random.default_rng(seed).normal(size=(2, *W.shape))
    one, other = (np.sum(A * hessian_product(slots, W, B)) for A, B in ((U, V), (V, U)))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dense", [0, 1200], ids=["by Lanczos", "from the matrix"])
def test_the_lowest_curvature_under_a_general_drift_is_that_of_differences(monkeypatch, dense):
    monkeypatch.setattr(module, "DENSE_HESSIAN", dense)
    forces = DRIFTING["normal"]
    W = np.random.default_rng(0).normal(0.0, 0.5, (3, 5))
    W[:, 1] = W[0, 3] = 0.0
    step, rows, columns = 1e-5, *np.nonzero(W)
    H = []
    for i, k in zip(rows, columns, strict=True):
        V = np.zeros_like(W)
        V[i, k] = step
        change = velocity(forces, W + V) - velocity(forces, W - V)
        H.append(-change[rows, columns] / (2.0 * step))
    lowest = np.linalg.eigvalsh(H)[0]
    np.testing.assert_allclose(lowest_curvature(sum_forces(forces), W), lowest, rtol=1e-6)


def test_a_curvature_that_lanczos_does_not_find_is_nan(monkeypatch):
    def give_up(*arguments, **settings):
        raise ArpackNoConvergence("no", np.empty(0), np.empty(0))

    monkeypatch.setattr(module, "DENSE_HESSIAN", 0)
    monkeypatch.setattr(module, "eigsh", give_up)
    assert np.isnan(lowest_curvature(sum_forces(FORCES), np.ones((2, 2))))


def test_dead_neurons_that_a_drift_wakes_are_part_of_the_certificate():
    """At W = a but for a neuron that is dead, all that is left is the pull on that one."""
    spring = Spring((0.5, -0.25, 1.0), 3.0)
    W = np.array([[0.5, -0.25, 0.0], [0.5, -0.25, 0.0]])
    certificate = certify([spring], W, tolerance=1e-9)
    assert certificate.residual == 3.0
    assert not certificate.stationary
    np.testing.assert_allclose(certificate.curvature, 3.0, rtol=1e-8)


@given(W=weights(n=(1, 6), m=(1, 8)), seed=seeds)
def test_the_lowest_curvature_is_that_of_the_matrix_on_the_non_zeros(W, seed):
    W[np.random.default_rng(seed).random(W.shape) < 0.4] = 0.0
    slots = sum_forces(FORCES)
    rows, columns = np.nonzero(W)
    if rows.size == 0:
        assert lowest_curvature(slots, W) == np.inf
        return
    H = []
    for i, k in zip(rows, columns, strict=True):
        V = np.zeros_like(W)
        V[i, k] = 1.0
        H.append(hessian_product(slots, W, V)[rows, columns])
    H = np.array(H)
    np.testing.assert_allclose(H, H.T, atol=1e-12)
    lowest = np.linalg.eigvalsh(H)[0]
    np.testing.assert_allclose(lowest_curvature(slots, W), lowest, atol=1e-10)


def test_many_non_zeros_go_by_lanczos_to_the_same_value(monkeypatch):
    W = np.random.default_rng(0).normal(0, 0.2, (10, 30))
    slots = sum_forces(FORCES)
    dense = lowest_curvature(slots, W)
    monkeypatch.setattr(module, "DENSE_HESSIAN", 10)
    np.testing.assert_allclose(lowest_curvature(slots, W), dense, rtol=1e-8)


@pytest.mark.parametrize("leak", [0.0, 0.3])
@given(W=weights(n=(2, 8), m=(2, 8)), seed=seeds)
def test_features_that_share_no_neuron_may_be_looked_at_apart(leak, W, seed):
    """The same lowest curvature from each block of the Hessian as from the whole of it."""
    W[np.random.default_rng(seed).random(W.shape) < 0.8] = 0.0
    slots = sum_forces([FeatureBenefit(), Interference(1.0, leak), Regularization(0.01)])
    whole = lowest_curvature(slots, W)
    count = np.count_nonzero(W)
    with pytest.MonkeyPatch.context() as patch:
        # One less than all, so that it is blocks wherever there are two, and never Lanczos else.
        patch.setattr(module, "DENSE_HESSIAN", count - 1)
        blocks = module._blocks(W, *np.nonzero(W)) if count else []
        if len(blocks) < 2:
            return
        patch.setattr(module, "eigsh", None)
        np.testing.assert_allclose(lowest_curvature(slots, W), whole, atol=1e-12)
    sets = [{*np.nonzero(W)[1][block]} for block in blocks]
    assert sum(map(len, sets)) == len(set().union(*sets))  # no neuron is in two of them


@pytest.mark.parametrize("lam", [0.01, 0.1, 0.3])
def test_one_survivor_at_its_stable_root_is_certified(lam):
    """c(1 − w²)w = λ, theory/README, section 2."""
    w = 2 / np.sqrt(3) * np.cos(np.arccos(-3 * np.sqrt(3) * lam / 2) / 3)
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    certificate = certify(forces, np.array([[0.0, w], [0.0, -w]]), tolerance=1e-12)
    assert certificate.stationary
    assert not certificate.saddle
    np.testing.assert_allclose(certificate.curvature, 3 * w**2 - 1)


def test_the_malign_tie_is_a_saddle_with_the_curvature_of_the_closed_form():
    """Two features, one neuron, same sign: growing eigenvalue λ/w (theory/README, section 3)."""
    lam = 0.05
    w = max(np.roots([-2.0, 0.0, 1.0, -lam]).real)
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    certificate = certify(forces, np.array([[w], [w]]), tolerance=1e-9)
    assert certificate.stationary
    assert certificate.saddle
    np.testing.assert_allclose(certificate.curvature, -lam / w, rtol=1e-9)


@given(W=weights())
def test_the_residual_is_the_largest_velocity(W):
    assert certify(FORCES, W, tolerance=1.0).residual == np.abs(velocity(FORCES, W)).max()


def test_the_default_tolerance_follows_lambda_c_and_the_precision():
    strong = sum_forces([FeatureBenefit(4.0), Regularization(0.1)])
    weak = sum_forces([FeatureBenefit(4.0)])
    assert default_tolerance(strong, np.dtype(np.float64)) == pytest.approx(1e-7)
    assert default_tolerance(weak, np.dtype(np.float64)) == pytest.approx(4e-9)
    assert default_tolerance(strong, np.dtype(np.float32)) == pytest.approx(4e-5)
