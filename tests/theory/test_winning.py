"""Laws of theory/winning.py: quadrature to many digits, a Monte Carlo of the model, the flow."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis.states import winners
from tests.strategies import log_uniform
from theory.winning import epsilon, largest_wins, largest_wins_strong, largest_wins_weak, noise


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.1, 0.7, 2.0, 5.0, 12.0])
def test_the_closed_form_is_its_integral_to_twelve_digits(beta):
    with mpmath.workdps(30):
        b = mpmath.mpf(beta)

        def integrand(g):
            k = mpmath.ncdf(g) + mpmath.exp(b**2 / 2 - b * g) * mpmath.ncdf(b - g)
            return mpmath.npdf(g) / k

        steps = [b / 2 + x for x in (-12, -6, -3, -1, 0, 1, 3, 6, 12)]
        assert float(largest_wins(beta)) == pytest.approx(
            float(mpmath.quad(integrand, steps)), rel=1e-12
        )


@pytest.mark.parametrize("beta", [0.3, 0.7, 1.2])
def test_the_closed_form_is_the_share_of_the_models_samples(beta):
    """20,000 samples, the 300 largest points of each, of which none further down counts
    (4e-4 of them at beta = 1.2): |z| < 4.5, a false alarm in 7e-6."""
    rng, samples = np.random.default_rng(8), 20_000
    won = 0
    for _ in range(20):
        arrivals = rng.exponential(size=(samples // 20, 300)).cumsum(axis=1)
        shifted = -np.log(arrivals) + beta * rng.normal(size=arrivals.shape)
        won += np.sum(shifted.argmax(axis=1) == 0)
    p = float(largest_wins(beta))
    assert abs(won / samples - p) < 4.5 * math.sqrt(p * (1 - p) / samples)


@given(log_uniform(1e-4, 0.1), log_uniform(8.0, 40.0))
def test_both_limits_are_reached_in_their_order(weak, strong):
    assert abs(float(largest_wins(weak) - largest_wins_weak(weak))) < 0.15 * weak**2
    ratio = float(largest_wins(strong) / largest_wins_strong(strong))
    assert -5.2 < (ratio - 1) * strong**2 < -4.0


@given(st.floats(0.0, 39.9), st.floats(1e-3, 0.1))
def test_more_noise_lets_the_largest_win_less_often(beta, more):
    low, high = largest_wins([beta + more, beta])
    assert 0 < low < high <= 1 + 1e-12
    assert high >= largest_wins_weak(beta) - 1e-12  # shifts can also cancel


def test_sizes_and_shapes():
    assert epsilon(256, 1024) == 8.0
    assert epsilon(np.array([[4], [8]]), np.array([4, 16, 64])).shape == (2, 3)
    assert largest_wins(np.zeros((2, 3))).shape == (2, 3)
    assert noise([[1.0], [4.0]], [0.01, 0.1, 1.0]).shape == (2, 3)
    np.testing.assert_allclose(noise(4.0, [0.001, 0.01, 1.0]), [1.16, 1.11, 0.55])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: epsilon(0, 3), "expected n"),
        (lambda: largest_wins(-0.1), "expected beta"),
        (lambda: largest_wins(41.0), "expected beta <= 40"),
        (lambda: largest_wins_strong(0.0), "expected beta"),
        (lambda: noise(1.0, 1.1), "expected 0.001 <= coupling <= 1"),
        (lambda: noise(0.0, 1.0), "expected epsilon"),
    ],
)
def test_what_is_out_of_range_is_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


# --- against the simulator ------------------------------------------------------------------


def shares(n, m, coupling, runs):
    """Share of features whose largest weight won, for seeds 0, 1, ..."""
    forces = [FeatureBenefit(), Interference(), Regularization(coupling / math.sqrt(m))]
    found = []
    for seed in range(runs):
        start = gaussian_init(n=n, m=m, seed=seed)
        found.append(winners(start, integrate(forces, start).final).largest_stayed.mean())
    return np.array(found)


@pytest.mark.parametrize(
    ("coupling", "sizes", "runs"),
    [
        (1.0, ((8, 16), (16, 64)), (120, 60)),
        pytest.param(0.01, ((8, 64), (16, 256)), (150, 60), marks=pytest.mark.long),
    ],
)
def test_two_sizes_of_one_epsilon_have_one_share_of_largest_winners(coupling, sizes, runs):
    """Within the 0.03 that is claimed and 3.5 standard errors: a false alarm in 2,000."""
    first, second = (shares(*size, coupling, k) for size, k in zip(sizes, runs, strict=True))
    assert epsilon(*sizes[0]) == epsilon(*sizes[1])
    error = math.hypot(*(x.std(ddof=1) / math.sqrt(x.size) for x in (first, second)))
    assert abs(first.mean() - second.mean()) < 0.03 + 3.5 * error
    predicted = float(largest_wins(noise(epsilon(*sizes[0]), coupling)))
    assert abs(second.mean() - predicted) < 0.03 + 3.5 * error
    assert first.mean() < 1 - 10 * error  # and not all of them win
