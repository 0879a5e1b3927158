"""Interference kernels: equal to the formula, dense or sparse, at odd sizes, for any threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow import FeatureBenefit, Interference, Regularization, gaussian_init
from flow.forces import sum_forces, summarize
from flow.integrators.field import DENSE_ABOVE, REVIVAL_MARGIN, SPARSE_BELOW, Field
from flow.integrators.schemes import chebyshev_stages
from flow.kernels.interference import slices
from flow.kernels.threads import compute_with
from tests.strategies import seeds, weights

SIZES = [(1, 1), (2, 3), (17, 5), (33, 65), (129, 31), (140, 301)]
FORCES = [FeatureBenefit(), Interference(1.3), Regularization(0.02)]
LEAKS = [0.0, 0.4, 1.0]


def leaky(leak):
    return [FeatureBenefit(), Interference(1.3, leak), Regularization(0.02)]


def sample(W, forces=FORCES):
    field = Field(sum_forces(forces), *W.shape, W.dtype)
    state = field.init(W)
    return field, state


def drift_everywhere(field, state):
    """ρ_i W_i + C_i : (n, m), zero where the layout holds nothing."""
    W = state.dense(field.m)
    C = state.layout.scatter(state.C, field.m)
    np.testing.assert_allclose(np.sum(C * W, axis=1), 0.0, atol=1e-5 * np.abs(C).max() + 1e-12)
    return state.coupling.radial[:, None] * W + C


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leak", LEAKS)
def test_the_dense_kernel_is_the_formula(size, dtype, leak):
    W = gaussian_init(*size, seed=1, dtype=dtype)
    field, state = sample(W, leaky(leak))
    tolerance = 30 * np.finfo(dtype).eps * size[0]
    expected = -Interference(1.3, leak).rate(W.astype(float))
    assert state.layout.column is None
    np.testing.assert_allclose(drift_everywhere(field, state), expected, atol=tolerance)
    np.testing.assert_allclose(
        state.coupling.squares, summarize(W).rectified_squares, atol=tolerance
    )


@pytest.mark.parametrize("size", [(17, 5), (33, 65), (40, 128), (61, 300), (33, 4200)])
@pytest.mark.parametrize("leak", LEAKS)
def test_products_in_float32_are_the_formula_to_24_bits_for_any_threads(size, leak):
    W = gaussian_init(*size, seed=1)
    field = Field(sum_forces(leaky(leak)), *size, W.dtype, mixed=True)
    state = field.init(W)
    expected = -Interference(1.3, leak).rate(W)
    tolerance = 30 * np.finfo(np.float32).eps * size[0]
    stored = state.coupling.radial[:, None] * W + state.layout.scatter(state.C, size[1])
    assert state.C.dtype == np.float64
    np.testing.assert_allclose(stored, expected, atol=tolerance)
    once, added = np.full_like(state.C, np.nan), np.ones_like(state.C)
    with compute_with(2):
        field.sample(state.layout, state.W, once, state.coupling)
        field.sample(state.layout, state.W, added, state.coupling, alpha=0.5, beta=2.0)
    assert once.tobytes() == state.C.tobytes()
    np.testing.assert_allclose(added, 0.5 * state.C + 2.0, rtol=1e-12)


def test_a_field_of_float32_products_is_exact_once_it_is_sparse():
    W = sparse_weights(40, 300, 5)
    slots = sum_forces(FORCES)
    exact, mixed = (Field(slots, *W.shape, W.dtype, mixed=flag).init(W) for flag in (False, True))
    assert mixed.layout.column is not None
    assert mixed.C.tobytes() == exact.C.tobytes()


def sparse_weights(n, m, seed, fill=0.03):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n, m))
    W[rng.random((n, m)) > fill] = 0.0
    return W


@given(n=st.integers(2, 40), m=st.integers(1, 300), seed=seeds, leak=st.sampled_from(LEAKS))
def test_the_sparse_kernel_is_the_formula_on_all_that_is_not_small(n, m, seed, leak):
    W = sparse_weights(n, m, seed)
    field, state = sample(W, leaky(leak))
    expected = -Interference(1.3, leak).rate(W)
    C = drift_everywhere(field, state)
    live = W.any(axis=0)
    kept = ((W != 0) | (np.abs(expected) > REVIVAL_MARGIN * 0.02)) & live
    room = n * live.sum()
    if np.count_nonzero(W) <= SPARSE_BELOW * room and kept.sum() <= DENSE_ABOVE * room:
        assert state.layout.column is not None
    np.testing.assert_allclose(C[kept], expected[kept], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(state.dense(m), W)
    np.testing.assert_allclose(
        state.coupling.squares, summarize(W).rectified_squares, rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize(("n", "fill"), [(40, 1.0), (40, 0.03), (300, 0.003)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sample_adds_to_what_is_there_or_does_not_read_it(n, fill, dtype):
    """With 300 rows and no search the sums go row by row, those of the state by neurons."""
    field, state = sample(sparse_weights(n, 200, 3, fill).astype(dtype))
    assert (state.layout.column is None) == (fill == 1.0)
    before = np.random.default_rng(0).normal(size=state.C.size).astype(dtype)
    out, unread = before.copy(), np.full_like(before, np.nan)
    field.sample(state.layout, state.W, out, state.coupling, alpha=0.7, beta=-1.5)
    field.sample(state.layout, state.W, unread, state.coupling, alpha=0.7)
    expected = 0.7 * state.C.astype(float)
    tolerance = 20 * np.finfo(dtype).eps * (1.0 + np.abs(expected).max())
    np.testing.assert_allclose(out, expected - 1.5 * before.astype(float), atol=tolerance)
    np.testing.assert_allclose(unread, expected, atol=tolerance)


def test_the_slices_depend_on_the_size_alone():
    assert [slices(m) for m in (1, 1024, 3072, 4096, 10**6)] == [2, 2, 3, 4, 4]


@given(W=weights(n=(2, 12), m=(1, 20)), leak=st.sampled_from(LEAKS))
def test_the_stiffness_bounds_the_drift_jacobian(W, leak):
    """λ_max of the Jacobian of C, by brute force, stays below the estimate."""
    force, step = Interference(1.3, leak), 1e-7
    _, state = sample(W, [force])
    rate = force.rate
    units = np.eye(W.size).reshape(-1, *W.shape)
    J = np.array([(rate(W - step * e) - rate(W + step * e)).ravel() for e in units]) / (2 * step)
    top = np.linalg.eigvalsh(0.5 * (J + J.T))[-1]
    assert top <= state.stiffness * (1 + 1e-6) + 1e-6


def test_stages_grow_as_the_root_of_the_stiffness_and_never_fall_short():
    for z in np.geomspace(0.01, 1e4, 50):
        s = chebyshev_stages(z, 1.0)
        limit = 2 / 3 * (s**2 - 1) * (1 - 2 / 15 * 2 / 13)
        assert limit >= z
        assert s == 2 or 2 / 3 * ((s - 1) ** 2 - 1) * (1 - 2 / 15 * 2 / 13) < z


@pytest.mark.parametrize("death", [0.5, 0.99])
def test_a_layout_that_loses_neurons_keeps_weights_and_drift_in_their_places(death):
    """Half the neurons die: narrowed, still dense. Nearly all weights die: sparse."""
    rng = np.random.default_rng(0)
    W = gaussian_init(20, 200, seed=6)
    field, state = sample(W)
    W[:, rng.random(200) < 0.5] = 0.0
    if death > 0.9:
        W[rng.random(W.shape) < death] = 0.0
    layout, flat = state.layout, W.ravel().copy()
    outside = field.sample(layout, flat, state.C, state.coupling, search=True)
    state = field.settle(layout, flat, state.C, state.coupling, outside)
    assert (state.layout.column is None) == (death == 0.5)
    assert state.layout.width < 150
    np.testing.assert_array_equal(state.dense(200), W)
    expected = -Interference(1.3).rate(W)
    kept = W != 0
    np.testing.assert_allclose(drift_everywhere(field, state)[kept], expected[kept], atol=1e-14)
