"""Laws of theory/noise.py, against sampling, enumeration, finite differences and the flow."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.stats import laplace, norm, t, uniform

from flow import FeatureBenefit, Interference, NoisyFeatureBenefit, NoisyInterference, integrate
from tests.strategies import log_uniform, seeds, weights
from theory.noise import (
    expected_loss,
    expected_loss_gradient,
    expected_rectified,
    expected_rectified_square,
    fourth_moment,
    implicit_path,
    implicit_rate,
    implicit_term,
    kurtosis_correction,
    kurtosis_correction_error,
    next_step_loss,
    noise_law,
    own_output_stays_on,
    own_rate_while_on,
    residual_interference,
    simplex_alike,
    simplex_with_one_stuck,
)

laws = settings(max_examples=40)
BIPOLAR = noise_law("bipolar")
DENSITIES = {
    "uniform": (noise_law("uniform"), uniform(-math.sqrt(3), 2 * math.sqrt(3))),
    "normal": (noise_law("normal"), norm()),
    "laplace": (noise_law("laplace"), laplace(scale=math.sqrt(0.5))),
    "student-t": (noise_law("student-t", 7), t(7, scale=math.sqrt(5 / 7))),
    "student-t, even df": (noise_law("student-t", 8), t(8, scale=math.sqrt(6 / 8))),
}
sigmas = log_uniform(0.05, 0.5)


def unit_rows(W):
    return W / np.linalg.norm(W, axis=1, keepdims=True)


def patterns(m):
    return np.array(list(itertools.product((-1.0, 1.0), repeat=m)))


# Laws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DENSITIES)
def test_laws_have_the_stated_moments_and_characteristic_function(name):
    law, density = DENSITIES[name]
    high = density.support()[1]

    def mean(f):
        return 2 * quad(lambda x: f(x) * density.pdf(x), 0, high, limit=200)[0]

    assert mean(lambda x: x**2) == pytest.approx(1)
    assert mean(lambda x: x**4) == pytest.approx(3 + law.kurtosis)
    sixth = mean(lambda x: x**6) - 15 * (3 + law.kurtosis) + 30
    assert sixth == pytest.approx(law.sixth_cumulant, abs=1e-4)
    for u in (0.0, 0.4, 1.3):
        transform = mean(lambda x, u=u: math.cos(u * x))
        assert float(law.characteristic(np.array(u))) == pytest.approx(transform, abs=1e-7)
    assert law.bound == pytest.approx(high)


def test_bipolar_noise_is_plus_or_minus_one():
    assert (BIPOLAR.kurtosis, BIPOLAR.sixth_cumulant, BIPOLAR.bound) == (-2, 16, 1)
    assert float(BIPOLAR.characteristic(np.array(0.7))) == math.cos(0.7)
    assert noise_law("student-t", 4).kurtosis == math.inf
    assert math.isnan(noise_law("student-t", 5).sixth_cumulant)
    for name, df in (("student-t", None), ("student-t", 2), ("normal", 5), ("cauchy", None)):
        with pytest.raises(ValueError, match="expected"):
            noise_law(name, df)


@laws
@given(W=weights(n=(1, 3), m=(1, 10)), sigma=sigmas)
def test_the_fourth_moment_identity_is_exact(W, sigma):
    z = sigma * patterns(W.shape[1]) @ W.T
    np.testing.assert_allclose(fourth_moment(W, sigma, -2), np.mean(z**4, axis=0), rtol=1e-12)


# The paper's explanation -------------------------------------------------------------------------


@laws
@given(W=weights(n=(1, 3), m=(1, 9)), sigma=sigmas, eta=log_uniform(1e-5, 1e-3))
def test_the_loss_one_step_later_is_the_paper_s_with_its_slips_mended(W, sigma, eta):
    W = unit_rows(W)
    xi = sigma * patterns(W.shape[1])
    size, kick = next_step_loss(W, eta, sigma, BIPOLAR)
    for i, w in enumerate(W):
        moved = w - 2 * eta * (xi @ w)[:, None] * (2 * w + xi)
        square = np.sum(moved**2, axis=1)
        np.testing.assert_allclose(kick[i], sigma**2 * square.mean(), rtol=1e-12)
        m = w.size
        assert abs(np.mean((square - 1) ** 2) - size[i]) <= 60 * eta * size[i] * (1 + m * sigma**2)
    alone = implicit_term(W, eta, sigma, -2)
    isotropic = 16 * eta**2 * (4 * sigma**2 + 3 * sigma**4)
    np.testing.assert_allclose(size, isotropic + alone, rtol=1e-12)


@laws
@given(W=weights(n=(1, 3), m=(2, 8)), sigma=sigmas, kurtosis=st.sampled_from([-2.0, -1.2, 3.0]))
def test_the_implicit_path_follows_the_gradient_of_the_implicit_term(W, sigma, kurtosis):
    W, eta = unit_rows(W), 0.02
    end = 1.0 / (256 * eta**2 * sigma**4)

    def rate(_, y):
        w = y.reshape(W.shape)
        gradient = 64 * eta**2 * sigma**4 * kurtosis * w**3
        return np.asarray(-(gradient - np.sum(gradient * w, axis=1, keepdims=True) * w)).ravel()

    run = solve_ivp(rate, (0, end), W.ravel(), rtol=1e-9, atol=1e-12)
    path = implicit_path(3.0 * W, [0.0, 0.5 * end, end], eta, sigma, kurtosis)
    np.testing.assert_allclose(path[0], np.sum(W**4, axis=1), rtol=1e-9)
    ends = np.sum(run.y[:, -1].reshape(W.shape) ** 4, axis=1)
    np.testing.assert_allclose(path[-1], ends, rtol=1e-6)
    slope = (implicit_path(W, [0.0, 1e-4 * end], eta, sigma, kurtosis)[1] - path[0]) / (1e-4 * end)
    np.testing.assert_allclose(
        slope, implicit_rate(W, eta, sigma, kurtosis), rtol=2e-3, atol=1e-6 / end
    )


# The expected loss -------------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    row=weights(n=(1, 1), m=(1, 1)), sigma=sigmas, name=st.sampled_from(sorted(DENSITIES)),
    x=st.floats(-4, 4),
)  # fmt: skip
def test_one_weight_alone_by_its_density(row, sigma, name, x):
    law, density = DENSITIES[name]
    s = sigma * abs(float(row[0, 0]))
    for power, expected in ((1, expected_rectified), (2, expected_rectified_square)):
        low, high = density.support()
        low = max(low, -x)
        exact = quad(lambda z, p=power: (x + z) ** p * density.pdf(z), low, high, limit=200)[0]
        exact *= low < high
        value = float(expected(x * s, row[0], sigma, law)) / s**power
        assert value == pytest.approx(exact, abs=1e-6)


@settings(max_examples=5)
@given(W=weights(n=(1, 1), m=(5, 11)), sigma=sigmas, seed=seeds)
def test_fourier_inversion_is_the_average_over_all_patterns(W, sigma, seed):
    s = sigma * np.linalg.norm(W)
    g = s * np.random.default_rng(seed).uniform(-3, 3, 4)
    f = [expected_rectified_square(g, W[0], sigma, BIPOLAR, k) for k in ("fourier", "enumeration")]
    e = [expected_rectified(g, W[0], sigma, BIPOLAR, k) for k in ("fourier", "enumeration")]
    np.testing.assert_allclose(f[0], f[1], atol=1e-7 * s**2)
    np.testing.assert_allclose(e[0], e[1], atol=2e-4 * s)


@settings(max_examples=3)
@given(W=weights(n=(1, 3), m=(1, 5)), sigma=sigmas)
def test_normal_noise_has_a_closed_form(W, sigma):
    law = noise_law("normal")
    closed = expected_loss(W, sigma, law, "normal")
    assert expected_loss(W, sigma, law, "fourier") == pytest.approx(closed, rel=1e-9)


@laws
@given(
    W=weights(n=(1, 3), m=(1, 6)), sigma=sigmas, seed=seeds,
    method=st.sampled_from(["normal", "enumeration"]),
)  # fmt: skip
def test_the_gradient_of_the_expected_loss(W, sigma, seed, method):
    law = noise_law("normal") if method == "normal" else BIPOLAR
    direction = np.random.default_rng(seed).normal(size=W.shape)
    step = 1e-6
    up, down = (expected_loss(W + k * step * direction, sigma, law, method) for k in (1, -1))
    slope = np.sum(expected_loss_gradient(W, sigma, law, method) * direction)
    assert (up - down) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-4)


@laws
@given(W=weights(n=(1, 4), m=(2, 8)), sigma=sigmas)
def test_the_expected_loss_is_four_times_the_noisy_energies(W, sigma):
    for name, law in (("bipolar", BIPOLAR), ("normal", noise_law("normal"))):
        method = "enumeration" if name == "bipolar" else "normal"
        forces = (NoisyFeatureBenefit(sigma, name), NoisyInterference(sigma, name))
        energy = 4 * sum(float(force.energy(W)) for force in forces)
        s = sigma * np.linalg.norm(W, axis=1)
        exact = expected_loss(W, sigma, law, method)
        assert energy == pytest.approx(exact, abs=np.sum(0.01 * s + 1e-4 * s**2) + 1e-9)
        rate = 4 * sum(force.rate(W) for force in forces)
        gradient = expected_loss_gradient(W, sigma, law, method)
        if name == "normal":
            np.testing.assert_allclose(rate, -gradient, rtol=1e-9, atol=1e-11)
    quiet = 4 * (FeatureBenefit().energy(W) + Interference().energy(W))
    assert expected_loss(W, 1e-9, BIPOLAR, "enumeration") == pytest.approx(quiet, rel=1e-6)


def test_one_feature_alone_never_turns_while_its_output_is_on():
    """And the flow's own row shrinks to ‖W‖² = 1 − σ²/2, its rest."""
    row = np.random.default_rng(0).normal(size=(1, 12))
    row *= 1.1 / np.linalg.norm(row)
    sigma = 0.15
    assert own_output_stays_on(row, sigma, BIPOLAR).all()
    assert not own_output_stays_on(row, 1.0, BIPOLAR).any()
    assert not own_output_stays_on(row, sigma, noise_law("normal")).any()
    gradient = expected_loss_gradient(row, sigma, BIPOLAR)
    np.testing.assert_allclose(own_rate_while_on(row, sigma), -gradient, rtol=1e-12)
    run = integrate(
        [NoisyFeatureBenefit(sigma, "bipolar"), NoisyInterference(sigma, "bipolar")], row, t_end=30
    )
    np.testing.assert_allclose(run.final / np.linalg.norm(run.final), row / 1.1, rtol=1e-9)
    assert np.sum(run.final**2) == pytest.approx(1 - sigma**2 / 2, rel=1e-6)


@pytest.mark.parametrize(("m", "trusted"), [(12, 2.5), (40, 3.5)])
def test_the_kurtosis_correction_holds_in_its_range(m, trusted):
    """As far as its own estimate of its error reaches, which on spread rows is far."""
    row = np.random.default_rng(m).uniform(0.7, 1.3, m)
    sigma = 0.2
    s = sigma * np.linalg.norm(row)
    x = np.concatenate([-np.linspace(0.2, 4, 20), np.linspace(0.2, 4, 20)])
    for law in (BIPOLAR, noise_law("uniform"), noise_law("laplace")):
        method = "enumeration" if law is BIPOLAR and m <= 12 else "fourier"
        f = expected_rectified_square(x * s, row, sigma, law, method)
        excess = f - expected_rectified_square(x * s, row, sigma, law, "normal")
        ratio = excess / kurtosis_correction(x * s, row, sigma, law.kurtosis)
        error = np.abs(kurtosis_correction_error(x * s, row, sigma, law))
        trust = error < 0.3
        assert (np.abs(ratio - 1)[trust] <= 1.3 * error[trust] + 0.05).all()
        assert trust[np.abs(x) <= trusted].all()
        assert (np.abs(ratio - 1)[~trust] > 0.1).all()


@pytest.mark.parametrize("m", [40, 200])
def test_the_kurtosis_correction_knows_what_it_leaves_out(m):
    """Rows of m like weights: all but O(1/m^2) of its relative error."""
    row = np.random.default_rng(m).uniform(0.7, 1.3, m)
    sigma = 0.2
    g = sigma * np.linalg.norm(row) * np.array([-3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0])
    for law in (BIPOLAR, noise_law("uniform"), noise_law("laplace")):
        excess = expected_rectified_square(g, row, sigma, law)
        excess = excess - expected_rectified_square(g, row, sigma, law, "normal")
        ratio = excess / kurtosis_correction(g, row, sigma, law.kurtosis)
        left_out = kurtosis_correction_error(g, row, sigma, law)
        np.testing.assert_allclose(ratio - 1, left_out, atol=6 / m**2)


def test_a_sparser_output_is_turned_on_less_under_negative_kurtosis():
    spread, sparse = np.full(10, 10**-0.5), np.array([0.9, *[0.19**0.5 / 3] * 9])
    for name, sign in (("bipolar", 1), ("uniform", 1), ("normal", 0), ("laplace", -1)):
        law = noise_law(name)
        costs = [float(expected_rectified_square(-0.3, w, 0.15, law)) for w in (spread, sparse)]
        if sign:
            assert sign * (costs[0] - costs[1]) > 0
        else:
            assert costs[0] == pytest.approx(costs[1], rel=1e-9)


@laws
@given(
    W=weights(n=(1, 1), m=(1, 9)), sigma=log_uniform(0.03, 0.6), n=st.integers(2, 40),
    name=st.sampled_from(["bipolar", "normal"]),
)  # fmt: skip
def test_residual_interference_is_a_bound(W, sigma, n, name):
    w = unit_rows(W)[0]
    method = "enumeration" if name == "bipolar" else "normal"
    f = expected_rectified_square(-1 / (n - 1), w, sigma, noise_law(name), method)
    assert float(f) <= float(residual_interference(n, sigma)) * (1 + 1e-9)
    with pytest.raises(ValueError, match="sub-Gaussian"):
        residual_interference(n, sigma, noise_law("laplace"))


@laws
@given(n=st.integers(5, 20), spare=st.integers(0, 3), seed=seeds)
def test_the_simplices_have_the_lowest_overlaps_and_cannot_be_turned_sparser_by_a_little(
    n, spare, seed
):
    """Over rotations exp(A), A = -A^T, sum W^4 has no slope and bends down at them."""
    for corners in (simplex_with_one_stuck(n), simplex_alike(n)):
        W = np.pad(corners, ((0, 0), (0, spare)))
        G = np.full((n, n), -1 / (n - 1)) + np.eye(n) * n / (n - 1)
        np.testing.assert_allclose(W @ W.T, G, atol=1e-12)
        np.testing.assert_allclose(W.sum(axis=0), 0, atol=1e-12)
        turn = np.random.default_rng(seed).normal(size=(W.shape[1],) * 2)
        turn -= turn.T
        moved = W @ turn
        assert abs(np.sum(W**3 * moved)) < 1e-9 * np.sum(np.abs(turn)) + 1e-12
        bend = 3 * np.sum(W**2 * moved**2) + np.sum(W**3 * (moved @ turn))
        assert bend < 0


def test_one_stuck_encoding_is_the_sparser_simplex_up_to_twelve():
    means = [
        [np.mean(np.sum(W**4, axis=1)) for W in (simplex_with_one_stuck(n), simplex_alike(n))]
        for n in range(3, 40)
    ]
    assert [n for n, (stuck, alike) in enumerate(means, 3) if stuck > alike] == [*range(3, 13)]
    assert means[8 - 3][0] == pytest.approx(0.794, abs=5e-4)
    fourth = np.sum(simplex_with_one_stuck(8) ** 4, axis=1)
    assert fourth[-1] == pytest.approx(1 / 7)
    assert np.ptp(fourth[:-1]) < 1e-12


ONES = np.ones(30)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: expected_rectified(0.0, ONES, 0.1, BIPOLAR, "enumeration"), "expected m <= 20"),
        (
            lambda: expected_rectified(0.0, ONES[:3], 0.1, noise_law("normal"), "enumeration"),
            "expected bipolar noise",
        ),
        (lambda: expected_rectified(0.0, ONES, 0.0, BIPOLAR), "expected sigma > 0"),
        (lambda: expected_loss(ONES, 0.1, BIPOLAR), r"expected W : \(n, m\)"),
        (
            lambda: expected_loss_gradient(ONES[None], 0.1, BIPOLAR, "fourier"),
            "expected enumeration or normal",
        ),
        (lambda: next_step_loss(2 * ONES, 0.1, 0.1, BIPOLAR), "expected rows of unit length"),
        (lambda: implicit_rate(ONES, 0.1, 0.1, -2), "expected rows of unit length"),
        (lambda: residual_interference(1, 0.1), "expected n >= 2"),
        (lambda: simplex_with_one_stuck(2), "expected n >= 3"),
        (lambda: simplex_alike(1), "expected n >= 2"),
    ],
)
def test_noise_outside_the_theorems_assumptions_is_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()
