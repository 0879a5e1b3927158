"""Co-occurrence: the expected loss over inputs with several features on."""

from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from flow import (
    CoOccurrence,
    FeatureBenefit,
    Interference,
    Regularization,
    gaussian_init,
    integrate,
)
from flow.forces import sum_forces
from tests.strategies import seeds, weights
from theory.cooccurrence import exact_threshold


@given(W=weights(n=(1, 5)), p=st.floats(0.01, 0.99))
def test_the_energy_is_the_expected_loss_input_by_input(W, p):
    loss = 0.0
    for bits in product([0.0, 1.0], repeat=W.shape[0]):
        x = np.array(bits)
        output = np.maximum(W @ (W.T @ x), 0.0)
        loss += np.prod(np.where(x == 1.0, p, 1.0 - p)) * np.sum((output - x) ** 2)
    np.testing.assert_allclose(CoOccurrence(p, 4.0).energy(W), loss / p, rtol=1e-12)


@given(W=weights())
def test_features_that_never_meet_feel_benefit_and_interference(W):
    rare, alone = CoOccurrence(1e-9, 1.3), [FeatureBenefit(1.3), Interference(1.3)]
    np.testing.assert_allclose(rare.rate(W), sum(f.rate(W) for f in alone), atol=1e-6)
    np.testing.assert_allclose(rare.energy(W), sum(f.energy(W) for f in alone), atol=1e-6)


@given(n=st.integers(1, 12), most=st.integers(1, 12), p=st.floats(0.01, 0.99))
def test_the_share_of_inputs_that_is_left_out_is_that_of_the_binomial_law(n, most, p):
    law = scipy.stats.binom(n, p)
    np.testing.assert_allclose(
        CoOccurrence(p, most_active=most).omitted(n),
        law.sf(most) / law.sf(0),
        rtol=1e-9,
        atol=1e-15,
    )


@given(W=weights(n=(2, 6)), p=st.floats(0.01, 0.5))
def test_every_energy_with_fewer_features_on_is_lower_and_the_whole_one_is_reached(W, p):
    n = W.shape[0]
    energies = [CoOccurrence(p, most_active=k).energy(W) for k in range(1, n + 1)]
    assert (np.diff(energies) >= 0.0).all()
    np.testing.assert_allclose(energies[-1], CoOccurrence(p).energy(W), rtol=1e-13)


@given(W=weights(n=(1, 4), m=(1, 5)), p=st.floats(0.01, 0.9), seed=seeds)
def test_the_stiffness_bounds_the_jacobian_of_the_drift(W, p, seed):
    force, step, size = CoOccurrence(p, 1.3), 1e-7, W.size
    jacobian = np.empty((size, size))
    for k, e in enumerate(np.eye(size).reshape(size, *W.shape)):
        change = force.drift(W + step * e) - force.drift(W - step * e)
        jacobian[k] = -change.ravel() / (2.0 * step)
    if np.abs(jacobian).max() < 1e3:  # else an output switched on within the difference
        fastest = np.linalg.eigvalsh(0.5 * (jacobian + jacobian.T))[-1]
        assert fastest <= force.stiffness(W) + 1e-5


@pytest.mark.parametrize("beside", [FeatureBenefit(), Interference()])
def test_beside_what_it_replaces_it_is_refused(beside):
    with pytest.raises(ValueError, match=f"CoOccurrence replaces {type(beside).__name__}"):
        sum_forces([CoOccurrence(0.1), beside])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CoOccurrence(0.0), "between 0 and 1, got 0.0"),
        (lambda: CoOccurrence(1.0), "between 0 and 1"),
        (lambda: CoOccurrence(float("nan")), "between 0 and 1"),
        (lambda: CoOccurrence(0.1, -1.0), "finite number >= 0"),
        (lambda: CoOccurrence(0.1, most_active=0), "whole number >= 1"),
        (lambda: CoOccurrence(0.1).rate(gaussian_init(20, 4, seed=0)), "smaller most_active"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("share", "spread"), [(0.97, False), (1.03, True)])
@pytest.mark.parametrize("lam", [0.01, 0.04])
def test_weights_beside_a_shared_neuron_revive_just_above_the_threshold(lam, share, spread):
    """theory.cooccurrence.exact_threshold, held against the flow from a nudged rest."""
    n, m, c = 6, 8, 4.0
    W = np.zeros((n, m))
    W[0, 0], W[1, 0] = 1.0, -1.0  # they share a neuron; the others have one each
    W[range(2, n), range(2, n)] = 1.0
    nudge = 1e-4 * np.random.default_rng(0).normal(size=W.shape)
    forces = [CoOccurrence(share * exact_threshold(lam, c=c), c), Regularization(lam)]
    run = integrate(forces, W + nudge, rtol=1e-4, t_end=3000.0)
    assert (np.count_nonzero(run.final) > n) == spread
    assert run.polysemantic >= 1
