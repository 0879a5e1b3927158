"""One row under constant drift: against SciPy on the two-scalar equations, and on plain ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from flow.kernels.rows import FAILED, advance_rows, soft_threshold_step
from tests.strategies import regularization_strengths, seeds


def position(w, d, lam, S):
    """x(S) of one weight: straight to zero, then stuck or through."""
    speed = -d - lam * np.sign(w) if w != 0 else -d + np.clip(d, -lam, lam)
    x = w + speed * S
    if w != 0 and x * w <= 0:
        hit = -w / speed
        x = (-d + np.clip(d, -lam, lam)) * (S - hit)
    return x


def row_by_scipy(w, d, lam, g0, g1, h):
    """E·x(S) from (ln E)' = g0 − g1 E² Σx², S' = 1/E."""

    def moved(S):
        return np.array([position(a, b, lam, S) for a, b in zip(w, d, strict=True)])

    def rate(_, y):
        E = np.exp(y[0])
        return [g0 - g1 * E**2 * np.sum(moved(y[1]) ** 2), 1.0 / E]

    end = solve_ivp(rate, (0.0, h), [0.0, 0.0], method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    return np.exp(end[0]) * moved(end[1])


def row_by_kernel(w, d, lam, g0, g1, h, accuracy=1e-9):
    out, error = np.empty_like(w), np.zeros(1)
    start = np.array([0, w.size])
    none = np.zeros(1)
    advance_rows(
        start, w, d, 1.0, none, none, h, g0, g1, lam, accuracy, out, error, 0.0, 0.0, 0.0, d, d[:0]
    )
    return out, error[0]


def start(seed, scale, m=9):
    rng = np.random.default_rng(seed)
    w = rng.normal(0.0, scale / np.sqrt(m), m)
    w[rng.random(m) < 0.2] = 0.0
    return w, rng.normal(0.0, 0.1, m)


@given(
    seed=seeds,
    scale=st.floats(0.7, 1.2),
    lam=regularization_strengths(1e-2, 0.2),
    mu=st.sampled_from([0.0, 0.3]),
    h=st.floats(0.02, 1.5),
)
def test_a_row_under_constant_drift_is_solved_within_its_own_estimate(seed, scale, lam, mu, h):
    w, d = start(seed, scale)
    ours, estimate = row_by_kernel(w, d, lam, 1.0 - mu, 1.0, h)
    if estimate >= FAILED:
        assert h > 0.5
        return
    true = row_by_scipy(w, d, lam, 1.0 - mu, 1.0, h)
    assert np.linalg.norm(ours - true) <= estimate + 1e-8
    passed = (true == 0) | (np.abs(true) > 1e-6)
    np.testing.assert_array_equal((ours == 0)[passed], (true == 0)[passed])


def test_the_error_falls_at_fourth_order_while_nothing_dies():
    rng = np.random.default_rng(0)
    w, d = rng.choice([-1, 1], 9) * rng.uniform(0.2, 0.4, 9), rng.normal(0.0, 0.1, 9)
    steps = np.array([0.8, 0.4, 0.2, 0.1])
    errors = [
        np.linalg.norm(
            row_by_kernel(w, d, 0.05, 1.0, 1.0, h, accuracy=1.0)[0]
            - row_by_scipy(w, d, 0.05, 1.0, 1.0, h)
        )
        for h in steps
    ]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] >= 3.8
    assert errors[1] <= 1e-5


@pytest.mark.parametrize("h", [0.3, 30.0, 300.0])
def test_a_row_at_rest_stays_there_whatever_the_step(h):
    lam = 0.01
    w_rest = 2 / np.sqrt(3) * np.cos(np.arccos(-3 * np.sqrt(3) * lam / 2) / 3)
    w = np.array([0.0, -w_rest, 0.0])
    ours, estimate = row_by_kernel(w, np.zeros(3), lam, 1.0, 1.0, h)
    np.testing.assert_allclose(ours, w, atol=1e-12)
    assert estimate <= 1e-12


def test_weight_decay_alone_is_solved_in_closed_form():
    w = np.array([0.5, -0.2, 0.01])
    mu, lam, h = 0.3, 0.05, 2.0
    ours, _ = row_by_kernel(w, np.zeros(3), lam, -mu, 0.0, h)
    size = (np.abs(w) + lam / mu) * np.exp(-mu * h) - lam / mu
    np.testing.assert_allclose(ours, np.sign(w) * np.maximum(size, 0.0), rtol=1e-12)


@given(seed=seeds, lam=regularization_strengths())
def test_proximal_euler_minimises_its_proximal_objective(seed, lam):
    """shrink(v, hλ) = argmin_u ½(u − v)² + hλ|u|, found on a grid."""
    w, d = start(seed, 1.0)
    h = 0.2
    out = np.empty_like(w)
    soft_threshold_step(np.array([0, w.size]), w, d, np.zeros(1), h, 1.0, 1.0, lam, out)
    v = w + h * ((1.0 - w @ w) * w - d)
    grid = np.linspace(-2.0, 2.0, 4001)[:, None]
    best = grid[np.argmin(0.5 * (grid - v) ** 2 + h * lam * np.abs(grid), axis=0), 0]
    np.testing.assert_allclose(out, best, atol=1e-3)
