"""Laws of theory/interference.py, against random starts and general integrators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from tests.strategies import seeds, weights
from theory.equilibrium import smooth_force
from theory.interference import (
    benefit_variance,
    free_directions,
    growing_alone,
    initial_benefit,
    initial_growth,
    initial_interference,
    interference_variance,
    no_pair_attracts,
    overlapping_solution,
    pair_decay,
    signs_separate,
    transposable_rate,
)

constants = st.sampled_from([1.0, 4.0, 0.3])


def flow_without_l1(w, t, c):
    """W(t) at lambda = 0 by a general integrator; ReLU(.)^2 is smooth enough for it."""

    def rate(_, y):
        v = y.reshape(w.shape)
        gram = v @ v.T
        growth = 1 - np.diagonal(gram)
        pairs = np.maximum(gram, 0.0) - np.diag(np.diagonal(gram))
        return np.asarray(c * (growth[:, None] * v - pairs @ v)).ravel()

    run = solve_ivp(rate, (0, t), w.ravel(), method="DOP853", rtol=1e-10, atol=1e-12)
    return np.asarray(run.y[:, -1].reshape(w.shape))


@pytest.mark.parametrize(("n", "m", "scale"), [(6, 8, 1.0), (30, 12, 0.9), (3, 40, 0.6)])
def test_initial_strengths_have_the_stated_mean_and_variance(n, m, scale):
    """20,000 starts; z-tests at |z| < 4.5, two per strength (false alarm 7e-6 each).

    The standard error of a variance is taken from the sample's fourth moment.
    """
    starts = 20_000
    w = np.random.default_rng(n).normal(0, scale / np.sqrt(m), (starts, n, m))
    overlaps = np.einsum("sjm,sm->sj", w[:, 1:], w[:, 0])
    square = (w[:, 0] ** 2).sum(axis=1)
    hindrance = (np.maximum(overlaps, 0) ** 2).sum(axis=1)
    benefit = (1 - square) * square
    for samples, mean, variance in (
        (hindrance, initial_interference(n, m, scale), interference_variance(n, m, scale)),
        (benefit, initial_benefit(m, scale), benefit_variance(m, scale)),
    ):
        centred = samples - samples.mean()
        assert abs(centred.mean() + samples.mean() - mean) < 4.5 * samples.std() / starts**0.5
        assert abs((centred**2).mean() - variance) < 4.5 * (centred**2).std() / starts**0.5
    lam = 0.05
    growth = 2.0 * (benefit - hindrance) - lam * np.abs(w[:, 0]).sum(axis=1)
    error = growth.std() / starts**0.5
    assert abs(growth.mean() - initial_growth(n, m, scale, lam, c=2.0)) < 4.5 * error
    # power: the leading-order E (1 - ||W||^2)||W||^2 = s^2 - s^4, without 2/m, is excluded
    assert abs(benefit.mean() - (scale**2 - scale**4)) > 6 * benefit.std() / starts**0.5


def test_figures_2_and_3_start_in_opposite_directions():
    assert initial_growth(1, 10**5, 0.9) > 0 > initial_growth(1, 4096, 1.0)
    assert initial_growth(256, 256, 0.9) < 0
    assert initial_growth(256, 256, 1.0) < 0


def test_interference_is_not_negligible_at_equal_sizes():
    """The paper calls it dominated for m >= n; at n = m, s = 0.9 it is twice the benefit."""
    ratio = initial_interference(256, 256, 0.9) / initial_benefit(256, 0.9)
    assert ratio == pytest.approx(2.2, abs=0.1)


@given(weights(n=(2, 2), m=(1, 6)), constants)
def test_pair_decay_is_the_pairs_own_part_of_the_overlaps_rate(w, c):
    """With two rows and no l1: dG/dt minus what feature benefit does is the pair's own term."""
    force = smooth_force(w, benefit=c, interference=c)
    gram = w @ w.T
    rate = force[0] @ w[1] + force[1] @ w[0]
    benefit = c * (2 - gram[0, 0] - gram[1, 1]) * gram[0, 1]
    decay = pair_decay(gram[0, 1], gram[0, 0], gram[1, 1], c=c)
    assert rate - benefit == pytest.approx(float(decay), abs=1e-12)
    if gram[0, 1] > 0:
        assert decay < 0
    else:
        assert decay == 0


@st.composite
def repelling_weights(draw):
    """W with all G_ij <= 0, i != j: two obtuse groups on disjoint neurons, or pairs turned."""
    w = draw(weights(n=(2, 2), m=(2, 5), scale=(0.4, 1.5)))
    if w[0] @ w[1] > 0:
        w[1] = -w[1]
    n, m = w.shape
    if draw(st.booleans()):
        other = draw(weights(n=(2, 2), m=(2, 3), scale=(0.4, 1.5)))
        if other[0] @ other[1] > 0:
            other[1] = -other[1]
        w = np.block([[w, np.zeros((n, other.shape[1]))], [np.zeros((2, m)), other]])
    return w


@given(repelling_weights(), st.floats(0.1, 5.0), constants)
def test_rows_that_do_not_attract_grow_alone(w, t, c):
    assert no_pair_attracts(w)
    found = growing_alone(w, t / c, c=c)
    np.testing.assert_allclose(found, flow_without_l1(w, t / c, c), atol=1e-8)
    assert no_pair_attracts(np.where(np.abs(found) < 1e-12, 0.0, found))


def test_l1_can_make_rows_attract_that_did_not():
    """Why ``signs_separate`` and not G <= 0 is the invariant set once lambda > 0."""
    w = np.array([[0.8, 0.2, 0.2, 0.2, 0.2], [0.4, -0.45, -0.45, -0.45, -0.45]])
    lam, step = 0.05, 1e-3
    assert no_pair_attracts(w)
    assert not signs_separate(w)
    for _ in range(12_000):
        w = w + step * smooth_force(w)
        w = np.sign(w) * np.maximum(np.abs(w) - step * lam, 0.0)
        if not no_pair_attracts(w):
            break
    assert not no_pair_attracts(w)


@given(st.integers(2, 6), st.integers(2, 8), seeds)
def test_separate_signs_mean_no_interference_at_all(n, m, seed):
    generator = np.random.default_rng(seed)
    w = np.zeros((n, m))
    owners = np.array([generator.choice(n, 2, replace=False) for _ in range(m)])
    w[owners[:, 0], np.arange(m)] = generator.uniform(0, 1, m)
    w[owners[:, 1], np.arange(m)] = -generator.uniform(0, 1, m)
    assert signs_separate(w)
    assert no_pair_attracts(w)
    np.testing.assert_array_equal(smooth_force(w), smooth_force(w, interference=0.0))
    k = int(generator.integers(m))
    third = next((i for i in range(n) if i not in owners[k]), None)
    if third is not None:
        for size in (0.5, -0.5):
            w[third, k] = size
            assert not signs_separate(w)


@given(weights(n=(1, 5), m=(1, 5)), constants, st.floats(0, 0.2))
def test_where_overlaps_are_positive_the_flow_is_its_own_transpose(w, c, lam):
    w = np.abs(w)  # then all G_ij >= 0, for W and for its transpose
    rate = transposable_rate(w, lam, c=c)
    np.testing.assert_allclose(rate, transposable_rate(w.T, lam, c=c).T, atol=1e-12)
    force = smooth_force(w, benefit=c, interference=c)
    np.testing.assert_allclose(rate, force - lam * np.sign(w), atol=1e-12)
    if w.shape[0] > 1:
        unequal = smooth_force(w, benefit=c, interference=0.5 * c)
        turned = smooth_force(w.T, benefit=c, interference=0.5 * c).T
        assert w.shape == (1, 1) or not np.allclose(unequal, turned, atol=1e-12)


@given(weights(n=(2, 2), m=(2, 6), scale=(0.4, 1.4)), st.floats(0.05, 6.0), constants)
def test_two_overlapping_rows_keep_their_singular_vectors(w, t, c):
    if w[0] @ w[1] < 0:
        w[1] = -w[1]
    found = overlapping_solution(w, t / c, c=c)
    np.testing.assert_allclose(found, flow_without_l1(w, t / c, c), atol=1e-8)
    assert found[0] @ found[1] >= -1e-12  # for ever


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: growing_alone([[1.0, 0.0], [0.5, 0.5]], 1.0), "all G_ij <= 0"),
        (lambda: transposable_rate([[1.0, 0.0], [-0.5, 0.5]]), "all G_ij >= 0"),
        (lambda: overlapping_solution([[1.0, 0.0], [-0.5, 0.5]], 1.0), "all G_ij >= 0"),
        (lambda: no_pair_attracts([1.0, 2.0]), r"shape \(n, m\)"),
        (lambda: initial_interference(0, 3), "expected n > 0"),
        (lambda: initial_benefit(3, -1.0), "expected scale >= 0"),
    ],
)
def test_weights_outside_the_theorems_assumptions_are_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


def test_known_faces_have_as_many_free_directions_as_by_hand():
    """All pairs of a full n x n matrix held: the orthogonal group, of dimension n(n-1)/2."""
    assert 6 * free_directions(6, 6, 1.0) == pytest.approx(6 * 5 / 2)
    assert free_directions(6, 1, 0.0) == 0  # one neuron each: nowhere to go
    assert free_directions(5, 3, 1.0) == 0  # a vertex of the orthogonal group, m' = (n + 1)/2


def test_initial_strengths_broadcast_over_sizes():
    n, m = np.array([[4], [8]]), np.array([4, 8, 16])
    for strength in (initial_interference, interference_variance, initial_growth):
        assert strength(n, m, 0.9).shape == (2, 3)
    assert pair_decay(np.ones((2, 1)), np.ones(3), 1.0).shape == (2, 3)


# --- against the simulator ------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(2, 8), seeds, st.floats(0.01, 0.3))
def test_with_separate_signs_the_simulation_ignores_interference(n, m, seed, lam):
    generator = np.random.default_rng(seed)
    w = np.zeros((n, m))
    owners = np.array([generator.choice(n, 2, replace=False) for _ in range(m)])
    w[owners[:, 0], np.arange(m)] = generator.uniform(0.1, 1, m)
    w[owners[:, 1], np.arange(m)] = -generator.uniform(0.1, 1, m)
    option = {"save_at": [1.0, 8.0], "t_end": 8.0, "rtol": 1e-5}
    forces = [FeatureBenefit(), Regularization(lam)]
    alone = integrate(forces, w, backend="exact", **option)
    together = integrate([*forces, Interference()], w, **option)
    np.testing.assert_allclose(together.weights, alone.weights, atol=1e-3)
    assert all(signs_separate(x) for x in together.weights)


@given(repelling_weights(), st.floats(0.1, 5.0), constants)
def test_repelling_rows_grow_alone_in_the_simulation(w, t, c):
    run = integrate([FeatureBenefit(c), Interference(c)], w, t_end=t / c, rtol=1e-6)
    np.testing.assert_allclose(run.final, growing_alone(w, t / c, c=c), atol=2e-4)


@given(weights(n=(2, 2), m=(2, 6), scale=(0.4, 1.4)), st.floats(0.05, 6.0), constants)
def test_two_overlapping_rows_keep_their_singular_vectors_in_the_simulation(w, t, c):
    if w[0] @ w[1] < 0:
        w[1] = -w[1]
    run = integrate([FeatureBenefit(c), Interference(c)], w, t_end=t / c, rtol=1e-5)
    np.testing.assert_allclose(run.final, overlapping_solution(w, t / c, c=c), atol=3e-3)


@given(weights(n=(1, 5), m=(1, 5), scale=(0.5, 1.3)), constants, st.floats(0.01, 0.2))
def test_transposed_starts_run_transposed_while_all_weights_are_positive(w, c, lam):
    w = np.abs(w) + 0.05
    forces = [FeatureBenefit(c), Interference(c), Regularization(c * lam)]
    t = 0.05 / c
    one, other = (integrate(forces, x, t_end=t, rtol=1e-6).final for x in (w, w.T))
    if one.min() > 0:
        np.testing.assert_allclose(one, other.T, atol=2e-4)


def test_interference_holds_nonzeros_on_a_plateau_near_half_the_features():
    """Interference holds m' near n/2 long after an encoding alone would have settled.

    n = m = 64, lambda = 0.004, mean m' at lambda t = 0.3, 0.5, 0.7; measured with a fixed-step
    proximal Euler run as well (35.8, 31.4, 14.5).  No closed form predicts it: see
    ``theory.interference.free_directions`` for what is known.
    """
    n, lam = 64, 0.004
    start = gaussian_init(n=n, m=n, seed=0, scale=1.0)
    times = np.array([0.3, 0.5, 0.7]) / lam
    forces = [FeatureBenefit(), Regularization(lam)]
    held = integrate([*forces, Interference()], start, save_at=times, t_end=times[-1], rtol=1e-3)
    alone = integrate(forces, start, save_at=times, t_end=times[-1])
    crowd = (held.weights != 0).sum(axis=(1, 2)) / n
    np.testing.assert_allclose(crowd, [35.8, 31.4, 14.5], rtol=0.05)
    few = (alone.weights != 0).sum(axis=(1, 2)) / n
    assert np.all(few < [14.5, 8.0, 5.5])
    assert np.all(crowd > 2.4 * few)
    # the count of free directions: positive on the plateau, used up when it collapses
    gram = held.weights @ held.weights.transpose(0, 2, 1)
    upper = np.triu_indices(n, 1)
    active = (gram[:, upper[0], upper[1]] > 1e-3 * lam).mean(axis=1)
    free = free_directions(n, crowd, active)
    assert np.all(free[:2] > 0.08 * n)
    assert abs(free[2]) < 0.03 * n
