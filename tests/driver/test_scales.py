"""The flow from starts of any size: what float64 holds is followed, what it cannot is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow import FeatureBenefit, Interference, Regularization, Status, integrate
from tests.strategies import regularization_strengths, weights

W0 = np.array([[3.0, 4.0], [-1.0, 2.0]])


@pytest.mark.parametrize("backend", ["exact", "numba", "diffrax"])
@settings(max_examples=8)
@given(exponent=st.integers(-300, -1))
def test_tiny_rows_grow_to_unit_length_along_their_own_direction(backend, exponent):
    """However small: squares that float64 rounds to zero are small, and not zero weights."""
    run = integrate([FeatureBenefit()], W0 * 10.0**exponent, backend=backend)
    assert run.status is Status.STATIONARY
    directions = W0 / np.linalg.norm(W0, axis=1, keepdims=True)
    np.testing.assert_allclose(run.final, directions, rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("backend", ["exact", "numba"])
@settings(max_examples=8)
@given(exponent=st.integers(-300, -10))
def test_tiny_rows_die_under_regularization(backend, exponent):
    forces = [FeatureBenefit(), Regularization(0.01)]
    run = integrate(forces, W0 * 10.0**exponent, backend=backend)
    assert run.status is Status.STATIONARY
    assert not run.final.any()


@settings(max_examples=8)
@given(exponent=st.integers(155, 300))
def test_rows_whose_square_overflows_are_an_end_with_a_name(exponent):
    run = integrate([FeatureBenefit(), Interference()], W0 * 10.0**exponent)
    assert run.status is Status.NON_FINITE


@given(W0=weights(n=(1, 9), m=(1, 200), scale=(0.1, 3.0)), lam=regularization_strengths(1e-5))
def test_under_regularization_alone_every_weight_dies_and_nothing_moves_at_the_end(W0, lam):
    """Whatever rounding makes of the time at which the last one does."""
    run = integrate([Regularization(lam)], W0)
    assert run.status is Status.STATIONARY
    assert run.certificate.stationary
    assert not run.final.any()
