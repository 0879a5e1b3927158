"""Laws of theory/plateau.py, for any rows that repel and for uniformly random orthonormal ones."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from tests.strategies import orthonormal_rows, repelling_rows, seeds, weights
from theory.interference import free_directions
from theory.plateau import (
    crowd,
    initial_overlap,
    initial_rate,
    l1_rate_on_constraints,
    mean_overlap,
    orthogonal_rate,
    plateau_height,
    relaxes_pair_by_pair,
    spike_rate,
)


@given(repelling_rows())
def test_rows_that_repel_have_overlaps_of_one_in_all_at_most(W):
    G = W @ W.T
    np.fill_diagonal(G, 0.0)
    assert G.max() < 1e-9  # the assumption, as drawn
    assert 0 <= mean_overlap(W) <= 1 + 1e-9


def test_the_bound_is_met_by_encodings_that_add_up_to_zero():
    simplex = np.eye(5) - 0.2
    simplex /= np.linalg.norm(simplex, axis=1)[:, None]
    assert mean_overlap(simplex) == pytest.approx(1.0)
    assert mean_overlap(np.vstack([np.eye(3), -np.eye(3)])) == 1.0
    assert mean_overlap(np.eye(4)) == 0.0


@given(weights(n=(1, 9), m=(1, 9)))
def test_overlaps_are_lengths_less_the_sum_of_encodings_and_twice_what_attracts(W):
    n = len(W)
    G = W @ W.T
    off = G[~np.eye(n, dtype=bool)]
    expected = (np.trace(G) - np.square(W.sum(axis=0)).sum() + 2 * np.maximum(off, 0).sum()) / n
    assert mean_overlap(W) == pytest.approx(expected, abs=1e-12 * max(1.0, np.abs(G).sum()))


def test_a_gaussian_start_has_the_overlaps_that_are_said():
    """500 starts: |z| < 4.5, a false alarm in 7e-6; its form for large m is rejected at m = 3."""
    rng, n, m = np.random.default_rng(1), 40, 3
    found = []
    for _ in range(500):
        G = rng.normal(size=(n, m)) / math.sqrt(m)
        G = G @ G.T
        np.fill_diagonal(G, 0.0)
        found.append(np.maximum(-G, 0.0).sum() / n)
    error = np.std(found, ddof=1) / math.sqrt(500)
    assert abs(np.mean(found) - initial_overlap(n, m)) < 4.5 * error
    assert abs(np.mean(found) - (n - 1) / math.sqrt(2 * math.pi * m)) > 4.5 * error


@given(st.integers(1, 10**6))
def test_overlaps_relax_pair_by_pair_up_to_about_two_pi_neurons_a_feature_squared(m):
    edge = math.sqrt(2 * math.pi * m)
    assert relaxes_pair_by_pair(0.9 * edge + 0.5, m)
    assert not relaxes_pair_by_pair(1.4 * edge + 1.5, m)
    assert initial_overlap(edge + 1, m) == pytest.approx(1.0, abs=0.3 / m)


@given(repelling_rows())
def test_encodings_that_add_up_to_zero_put_a_crowd_against_every_owner(W):
    balanced = np.vstack([W, -W])
    np.testing.assert_allclose(crowd(balanced), -1.0, atol=1e-12)
    owner = W[np.abs(W).argmax(axis=0), np.arange(W.shape[1])]
    np.testing.assert_allclose((1 + crowd(W)) * owner, W.sum(axis=0), atol=1e-12)


def test_an_unused_neuron_has_no_crowd_and_the_height_is_that_of_all_pairs():
    assert np.isnan(crowd([[1.0, 0.0], [0.5, 0.0]])[1])
    assert crowd([[1.0, 0.0], [-0.25, 0.0]])[0] == -0.25
    n = np.arange(1, 50)
    np.testing.assert_allclose(free_directions(n, plateau_height(n), 1.0), 0.0, atol=1e-13)


# --- equality constraints --------------------------------------------------------------------


@given(orthonormal_rows())
def test_descent_among_orthonormal_rows_keeps_them_so_and_is_steepest(W):
    rate, S = orthogonal_rate(W), np.sign(W)
    np.testing.assert_allclose(rate @ W.T + W @ rate.T, 0.0, atol=1e-12)
    # What is left out of −S is normal to the constraints: a symmetric matrix times W.
    normal = (rate + S) @ W.T
    np.testing.assert_allclose(normal, normal.T, atol=1e-12)
    np.testing.assert_allclose(rate + S, normal @ W, atol=1e-12)
    falls = l1_rate_on_constraints(W)
    assert falls == pytest.approx(-(S * rate).sum() / len(W), abs=1e-11)
    assert falls == pytest.approx(np.square(rate).sum() / len(W), abs=1e-11)
    assert falls >= -1e-12


@settings(max_examples=25)
@given(orthonormal_rows(), seeds)
def test_the_rate_is_that_of_a_small_step_back_to_orthonormal_rows(W, seed):
    h = 1e-7 * np.abs(W).min()
    left, _, right = np.linalg.svd(W + h * orthogonal_rate(W), full_matrices=False)
    change = (np.abs(left @ right).sum() - np.abs(W).sum()) / (h * len(W))
    assert -change == pytest.approx(l1_rate_on_constraints(W), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("n", "m", "draws"), [(2, 2, 3000), (3, 5, 3000), (12, 12, 800),
                                               (16, 64, 150)])  # fmt: skip
def test_the_initial_rate_is_the_mean_over_random_orthonormal_rows(n, m, draws):
    """|z| < 4.5, a false alarm in 7e-6; (1 − 2/π)(m − (n − 1)/2) is rejected at small m."""
    rng = np.random.default_rng(17)
    found = []
    for _ in range(draws):
        q, r = np.linalg.qr(rng.normal(size=(m, n)))
        found.append(l1_rate_on_constraints((q * np.sign(np.diagonal(r))).T))
    error = np.std(found, ddof=1) / math.sqrt(draws)
    assert abs(np.mean(found) - initial_rate(n, m)) < 4.5 * error
    if m <= 12:
        assert abs(np.mean(found) - (1 - 2 / math.pi) * (m - (n - 1) / 2)) > 8 * error


@pytest.mark.parametrize("m", [2, 3, 8, 40])
def test_the_moments_of_the_proof_are_right_to_twelve_digits(m):
    with mpmath.workdps(30):
        kappa = mpmath.gamma(mpmath.mpf(m - 1) / 2) / (
            mpmath.sqrt(mpmath.pi) * mpmath.gamma(mpmath.mpf(m) / 2)
        )
        # |W_l| on the sphere in m dimensions has density ∝ (1 − w²)^((m − 3)/2).
        area = mpmath.quad(lambda a: mpmath.sin(a) ** (m - 2), [0, mpmath.pi / 2])
        moment = mpmath.quad(lambda a: mpmath.cos(a) * mpmath.sin(a) ** (m - 1), [0, mpmath.pi / 2])
        assert float(m * moment / area) == pytest.approx(float(2 / (mpmath.pi * kappa)), rel=1e-12)
        expected = (m - 1) * (1 - 2 / mpmath.pi) - (1 - (m - 1) * kappa**2) / 2
        assert initial_rate(2, m) == pytest.approx(float(expected), rel=1e-12)


def test_holding_rows_orthogonal_takes_half_of_the_force_at_m_equal_to_n():
    sizes = np.array([100, 1000, 10_000])
    np.testing.assert_allclose(initial_rate(sizes, sizes) / initial_rate(1, sizes), 0.5, atol=0.01)
    large = (1 - 2 / math.pi) * (sizes - (sizes / 2 + 1) / 2)
    np.testing.assert_allclose(initial_rate(sizes / 2, sizes), large, rtol=0.005)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: mean_overlap([1.0, 0.0]), "expected weights of shape"),
        (lambda: crowd([1.0, 0.0]), "expected weights of shape"),
        (lambda: orthogonal_rate([[1.0, 0.1], [0.0, 1.0]]), "expected orthonormal rows"),
        (lambda: initial_rate(3, 2), "expected 1 <= n <= m"),
        (lambda: initial_overlap(0, 2), "expected n"),
        (lambda: plateau_height(0), "expected n"),
    ],
)
def test_what_is_out_of_range_is_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


# --- against the simulator ------------------------------------------------------------------


def test_on_the_plateau_encodings_add_up_to_zero_and_every_neuron_has_its_crowd():
    """n = m = 48 at λt = 0.2, seed 0: overlaps of 1 in all, and columns a fifth of the start's."""
    lam, W0 = 0.001, gaussian_init(n=48, m=48, seed=0)
    W = integrate(
        [FeatureBenefit(), Interference(), Regularization(lam)], W0, t_end=0.2 / lam
    ).final
    assert not relaxes_pair_by_pair(48, 48)
    assert mean_overlap(W0) > 4.0
    assert mean_overlap(W) == pytest.approx(1.0, abs=0.08)

    def rms(V):
        return math.sqrt(np.mean(V.sum(axis=0) ** 2))

    assert rms(W) < rms(W0) / 4
    owned = np.abs(W).max(axis=0) > 0.5
    assert owned.sum() > 8
    assert -1.1 < np.mean(crowd(W)[owned]) < -0.7


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.8])
def test_one_large_weight_of_a_random_orthogonal_matrix_moves_as_the_mean_field_says(weight):
    """200 matrices of 60 rows: within 4.5 standard errors and 2 % of its √n part, a false alarm
    in 1e-5. Without the answer of the other features it would be off by a quarter and more."""
    rng, n = np.random.default_rng(8), 60
    found = []
    for _ in range(200):
        row = rng.normal(size=n - 1)
        row *= math.sqrt(1 - weight**2) / np.linalg.norm(row)
        first = np.concatenate([[weight], row])
        rest = rng.normal(size=(n, n - 1))
        rest -= np.outer(first, first @ rest)
        W = np.vstack([first, np.linalg.qr(rest)[0].T * rng.choice([-1.0, 1.0], (n - 1, 1))])
        found.append(orthogonal_rate(W)[0, 0])
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    part = math.sqrt(n / (2 * math.pi)) * weight
    assert abs(np.mean(found) - spike_rate(weight, n)) < 4.5 * error + 0.02 * part
    assert part * (1 - weight**2) > 2 * (4.5 * error + 0.02 * part)


@given(orthonormal_rows())
def test_of_a_square_matrix_the_velocity_has_the_form_that_the_spike_is_read_from(W):
    square = W[:, : len(W)]
    W = np.linalg.qr(square + 2.0 * np.eye(len(square)))[0]
    S = np.sign(W)
    np.testing.assert_allclose(orthogonal_rate(W), (W @ S.T @ W - S) / 2, atol=1e-9)
