"""Laws of theory/equilibrium.py, against polynomials, finite differences of the loss, and runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from flow import FeatureBenefit, Interference, Regularization, certify, integrate
from tests.strategies import log_uniform, weights
from theory.equilibrium import (
    critical_lambda,
    early_kill_bound,
    equal_survivor_eigenvalues,
    equal_survivor_roots,
    hessian_on_support,
    lowest_curvature,
    row_survives,
    smooth_force,
    stationarity_violation,
)

shares = log_uniform(1e-6, 0.999)
survivor_numbers = st.one_of(st.integers(1, 50), st.floats(1.0, 9.0))
constants = st.sampled_from([1.0, 4.0, 0.3])
strengths = st.sampled_from([(1.0, 1.0), (4.0, 4.0), (1.0, 0.4), (0.5, 2.0), (1.0, 0.0)])


def loss(w, benefit, interference):
    """The energy of theory/README, section 1, straight from the table."""
    gram = w @ w.T
    own = ((1 - np.diagonal(gram)) ** 2).sum()
    pairs = (np.maximum(gram - np.diag(np.diagonal(gram)), 0) ** 2).sum()
    return float(benefit / 4 * own + interference / 4 * pairs)


def slopes(w, benefit, interference, step=1e-6):
    """Gradient of the loss by central differences."""
    out = np.zeros_like(w)
    for index in np.ndindex(w.shape):
        nudge = np.zeros_like(w)
        nudge[index] = step
        out[index] = (
            loss(w + nudge, benefit, interference) - loss(w - nudge, benefit, interference)
        ) / (2 * step)
    return out


@given(shares, survivor_numbers, constants)
def test_roots_are_the_positive_roots_of_the_cubic(share, k, c):
    lam = share * float(critical_lambda(k, c=c))
    small, large = equal_survivor_roots(lam, k, c=c)
    roots = np.sort(np.roots([-c * k, 0, c, -lam]).real)
    assert small == pytest.approx(roots[1], rel=1e-7)
    assert large == pytest.approx(roots[2], rel=1e-7)
    for v in (small, large):
        assert c * (1 - k * v**2) * v == pytest.approx(lam, rel=1e-9)


@given(survivor_numbers, constants)
def test_critical_lambda_is_the_cubics_maximum(k, c):
    v = np.linspace(0, 1, 20001) / np.sqrt(k)
    assert critical_lambda(k, c=c) == pytest.approx((c * (1 - k * v**2) * v).max(), rel=1e-7)
    low, high = equal_survivor_roots(critical_lambda(k, c=c), k, c=c)
    assert low == pytest.approx(float(high), rel=1e-6)


@given(shares, st.integers(1, 7), constants)
def test_equal_survivors_have_the_stated_eigenvalues(share, k, c):
    lam = share * float(critical_lambda(k, c=c))
    for number, v in enumerate(equal_survivor_roots(lam, k, c=c)):
        point = np.full(k, float(v))
        jacobian = np.array(
            [
                [c * ((1 - point @ point) * (a == b) - 2 * point[a] * point[b]) for a in range(k)]
                for b in range(k)
            ]
        )
        found = np.linalg.eigvalsh(jacobian)
        common, splitting = equal_survivor_eigenvalues(v, k, c=c)
        np.testing.assert_allclose(
            found, np.sort([common, *[splitting] * (k - 1)]), rtol=1e-9, atol=1e-12
        )
        assert splitting == pytest.approx(lam / v)
        assert (common < 0) == (number == 1)  # larger root: saddle (stable for k = 1)


@given(weights(n=(1, 4), m=(1, 5)), strengths)
def test_smooth_force_is_minus_the_slope_of_the_loss(w, strength):
    force = smooth_force(w, benefit=strength[0], interference=strength[1])
    np.testing.assert_allclose(force, -slopes(w, *strength), atol=1e-7)


@given(weights(n=(1, 5), m=(1, 6)), strengths, st.floats(0.0, 0.9))
def test_hessian_is_the_slope_of_the_force_on_the_support(w, strength, dropped):
    w = np.where(np.abs(w) < dropped * np.abs(w).max(), 0.0, w)
    gram = w @ w.T
    off = ~np.eye(len(w), dtype=bool)
    assume(np.all((np.abs(gram[off]) > 1e-4) | (gram[off] == 0)))  # away from the ReLU's kink
    option = {"benefit": strength[0], "interference": strength[1]}
    support = np.argwhere(w != 0)
    columns = []
    for index in support:
        nudge = np.zeros_like(w)
        nudge[tuple(index)] = 1e-6
        change = smooth_force(w + nudge, **option) - smooth_force(w - nudge, **option)
        columns.append(-change[w != 0] / 2e-6)
    found = hessian_on_support(w, **option)
    exact_zero = (gram == 0) & off
    if not exact_zero.any():
        np.testing.assert_allclose(found, np.array(columns).T, atol=1e-6)
    np.testing.assert_allclose(found, found.T, atol=1e-14)
    if len(support):
        assert lowest_curvature(w, **option) == pytest.approx(np.linalg.eigvalsh(found)[0])


@given(shares, constants, st.integers(0, 10))
def test_one_neuron_each_is_stationary_and_stable(share, c, seed):
    """The paper's solutions, benign collisions included, are rest points with curvature > 0."""
    lam = share * float(critical_lambda(c=c))
    size = float(equal_survivor_roots(lam, c=c)[1])
    slots = np.random.default_rng(seed).permutation(2 * 5)[:6]
    w = np.zeros((6, 5))
    w[np.arange(6), slots // 2] = size * (1 - 2 * (slots % 2))
    option = {"benefit": c, "interference": c}
    assert stationarity_violation(w, lam, **option) <= 1e-12 * c
    assert lowest_curvature(w, **option) == pytest.approx(c * (3 * size**2 - 1), rel=1e-9)
    assert lowest_curvature(w, **option) > 0
    w[w != 0] *= 1.001
    moved = 1.001 * size
    violation = stationarity_violation(w, lam, **option)
    assert violation == pytest.approx(abs(c * (1 - moved**2) * moved - lam), rel=1e-6)


@given(shares, constants, st.integers(2, 5))
def test_shared_encodings_and_malign_neurons_are_saddles(share, c, k):
    """k equal weights in one row, or in one column, rest with curvature -lambda/v."""
    lam = share * float(critical_lambda(k, c=c))
    v = float(equal_survivor_roots(lam, k, c=c)[1])
    for w in (np.full((1, k), v), np.full((k, 1), v)):
        option = {"benefit": c, "interference": c}
        assert stationarity_violation(w, lam, **option) <= 1e-12 * c
        assert lowest_curvature(w, **option) == pytest.approx(-lam / v, rel=1e-8)


def test_a_zero_counts_only_once_the_force_on_it_exceeds_lambda():
    size = float(equal_survivor_roots(0.1)[1])
    w = np.array([[size, 0.0], [0.3, size]])
    force = abs(smooth_force(w)[0, 1])
    just_held = np.max(np.abs(smooth_force(w) - force * np.sign(w))[w != 0])
    assert stationarity_violation(w, force) == pytest.approx(just_held)
    w = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    assert np.isinf(lowest_curvature(np.zeros((2, 3))))
    assert stationarity_violation(np.zeros((2, 3)), 0.0) == 0
    assert stationarity_violation(w * 1e-3, 0.0) == pytest.approx(1e-3, rel=1e-3)
    # both rows at rest on their own, the drift of W_2 pushes the zero W_12 with 0.3 * size^2
    w = np.array([[1.0, 0.0], [0.3, np.sqrt(1 - 0.09)]])
    pushed = 0.3 * np.sqrt(1 - 0.09)
    held = np.abs(smooth_force(w) - 0.4 * np.sign(w))[w != 0].max()
    assert abs(smooth_force(w)[0, 1]) == pytest.approx(pushed)
    assert stationarity_violation(w, 0.4) == pytest.approx(held)
    assert stationarity_violation(np.array([[1e-9, 0.0]]), 0.0) <= 1e-8


@st.composite
def rows_near_the_bound(draw):
    w = draw(weights(n=(1, 1), m=(1, 6), scale=(0.2, 1.6)))[0]
    return w, draw(constants), draw(st.floats(0.5, 1.0)), draw(st.floats(0.05, 2.0))


@given(rows_near_the_bound())
def test_rows_below_the_early_kill_bound_survive(
    drawn,
):
    row, c, share, _ = drawn
    lam = share * float(early_kill_bound(row, c=c))
    assert row_survives(row, lam * 0.9999, c=c)
    run = solve_ivp(
        lambda _, u: c * (1 - u @ u) * u - lam * np.tanh(u / 1e-6), (0.0, 60 / c),
        np.abs(row), method="LSODA", rtol=1e-8, atol=1e-10,
    )  # fmt: skip
    assert np.linalg.norm(run.y[:, -1]) > 0.99 * min(float(np.linalg.norm(row)), 3**-0.5)


@given(st.integers(1, 8), st.floats(0.1, 1.5), constants)
def test_the_early_kill_bound_is_sharp_for_equal_weights(m, norm, c):
    row = np.full(m, norm / np.sqrt(m))
    bound = float(early_kill_bound(row, c=c))
    for factor, survives in ((0.995, True), (1.005, False)):
        lam = factor * bound

        def dead(_, n):
            return float(n[0]) - 1e-3

        dead.terminal = True
        run = solve_ivp(
            lambda _, n, lam=lam: c * (1 - n**2) * n - lam * np.sqrt(m), (0.0, 400 / c), [norm],
            method="LSODA", rtol=1e-9, atol=1e-12, events=dead,
        )  # fmt: skip
        assert (run.status == 0) == survives
    assert not row_survives(row, 1.005 * bound, c=c)


def test_gaussian_rows_are_safe_below_half_of_one_over_root_m():
    row = np.random.default_rng(1).normal(0, 1e-3, 10**6)
    assert early_kill_bound(row) * 1e3 == pytest.approx(0.482, abs=2e-3)


def test_equilibria_broadcast_over_strengths_and_survivors():
    small, large = equal_survivor_roots(np.array([[0.01], [0.02]]), np.array([1, 2, 3]))
    assert small.shape == large.shape == (2, 3)
    assert np.all(small < large)
    assert early_kill_bound(np.ones((2, 3, 4))).shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: equal_survivor_roots(0.5), "lambda <= critical_lambda"),
        (lambda: critical_lambda(0), "expected survivors > 0"),
        (lambda: smooth_force([1.0, 2.0]), r"shape \(n, m\)"),
        (lambda: early_kill_bound([0.0, 0.0]), "non-zero weight"),
        (lambda: stationarity_violation([[1.0]], -0.1), "expected lam >= 0"),
    ],
)
def test_equilibria_outside_the_theorems_assumptions_are_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


# --- against the simulator ------------------------------------------------------------------


@given(weights(n=(1, 6), m=(1, 7)), strengths, st.floats(0.0, 0.9), st.floats(1e-3, 0.3))
def test_certificates_agree_with_the_simulators(w, strength, dropped, lam):
    w = np.where(np.abs(w) < dropped * np.abs(w).max(), 0.0, w)
    benefit, interference = strength
    forces = [FeatureBenefit(benefit), Interference(interference), Regularization(lam)]
    found = certify(forces, w, tolerance=1e-6)
    option = {"benefit": benefit, "interference": interference}
    assert stationarity_violation(w, lam, **option) == pytest.approx(found.residual, abs=1e-12)
    assert lowest_curvature(w, **option) == pytest.approx(found.curvature, abs=1e-9)


@given(rows_near_the_bound())
def test_rows_of_the_simulation_survive_below_the_bound_and_end_at_the_larger_root(
    drawn,
):
    """Above the critical lambda every row dies instead."""
    row, c, share, above = drawn
    forces = [FeatureBenefit(c)]
    lam = 0.999 * share * float(early_kill_bound(row, c=c))
    ends = np.array([20.0, 1e7]) / c
    run = integrate([*forces, Regularization(lam)], row[None], save_at=ends, t_end=ends[-1])
    assert np.all(np.linalg.norm(run.weights, axis=(1, 2)) > 0)
    if (run.final != 0).sum() == 1:  # otherwise the race is not over: nearly tied winners
        size = np.abs(run.final).max()
        assert size == pytest.approx(float(equal_survivor_roots(lam, c=c)[1]), rel=1e-6)
    deadly = (1 + above) * float(critical_lambda(c=c))
    run = integrate([*forces, Regularization(deadly)], row[None], t_end=1e4 / c)
    assert not run.final.any()


@given(weights(n=(2, 4), m=(6, 10), scale=(0.8, 1.2)), log_uniform(0.08, 0.15))
def test_the_simulator_comes_to_rest_on_predicted_weights(w, lam):
    """Whoever wins: a lone or benignly sharing weight has the size of the larger root."""
    run = integrate(
        [FeatureBenefit(), Interference(), Regularization(lam)], w, t_end=40 / lam, rtol=1e-2
    )
    final = run.final
    assume(np.all((final != 0).sum(axis=1) == 1))  # else a race is still on
    same_sign = ((final > 0).sum(axis=0) > 1) | ((final < 0).sum(axis=0) > 1)
    settled = ~same_sign[np.abs(final).argmax(axis=1)]
    assume(settled.any())
    size = float(equal_survivor_roots(lam)[1])
    np.testing.assert_allclose(np.abs(final).max(axis=1)[settled], size, rtol=1e-6)
    if settled.all():
        assert stationarity_violation(final, lam) <= 1e-6 * lam
        assert lowest_curvature(final) == pytest.approx(3 * size**2 - 1, rel=1e-5)
