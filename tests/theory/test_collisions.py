"""Laws of theory/collisions.py, against planar runs, root finding and the slow scale lambda t."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, fsolve

from flow import FeatureBenefit, Interference, Regularization, integrate
from tests.strategies import log_uniform, seeds
from theory.collisions import (
    benign_rate,
    benign_survives,
    larger_wins,
    malign_fixed_points,
    malign_jacobian,
    malign_rate,
    race_applies,
    race_constant,
    race_time,
    separatrix,
    sharing_is_stable,
)
from theory.equilibrium import critical_lambda, equal_survivor_roots, smooth_force

constants = st.sampled_from([1.0, 4.0, 0.3])
ratios = st.one_of(log_uniform(0.02, 20.0), st.just(1.0))


@st.composite
def planar_systems(draw):
    """(lambda, c_b, c_i) with lambda below the critical strength of a lone weight."""
    benefit = draw(constants)
    lam = draw(log_uniform(1e-3, 0.95)) * float(critical_lambda(c=benefit))
    return lam, benefit, benefit * draw(ratios)


def race(u, v, lam, benefit, interference, span=3e4):
    """(u, v, death time of the first to die) by a general integrator; infinity if none dies."""

    def rate(_, y):
        a, b = y
        return [
            benefit * (1 - a * a) * a - interference * a * b * b - lam,
            benefit * (1 - b * b) * b - interference * b * a * a - lam,
        ]

    def dies(_, y):
        return float(min(y))

    dies.terminal, dies.direction = True, -1.0
    run = solve_ivp(
        rate, (0, span / benefit), [u, v], method="LSODA", rtol=1e-11, atol=1e-13, events=dies
    )
    return float(run.y[0, -1]), float(run.y[1, -1]), run.t[-1] if run.status == 1 else np.inf


@given(st.floats(0.05, 1.3), st.floats(0.05, 1.3), planar_systems())
def test_the_planar_systems_are_the_flow_of_two_features_on_one_neuron(u, v, system):
    lam, benefit, interference = system
    option = {"benefit": benefit, "interference": interference}
    malign = np.array([[u], [v]])
    whole = smooth_force(malign, **option) - lam * np.sign(malign)
    np.testing.assert_allclose(
        np.stack(malign_rate(u, v, lam, **option)), whole[:, 0], atol=1e-13, rtol=1e-12
    )
    benign = np.array([[u], [-v]])
    whole = np.sign(benign) * (smooth_force(benign, **option) - lam * np.sign(benign))
    np.testing.assert_allclose(
        benign_rate(np.array([u, v]), lam, benefit=benefit), whole[:, 0], atol=1e-13, rtol=1e-12
    )


@given(st.floats(0.05, 1.3), st.floats(0.05, 1.3), planar_systems())
def test_jacobian_is_the_slope_of_the_rate(u, v, system):
    lam, benefit, interference = system
    option = {"benefit": benefit, "interference": interference}
    h = 1e-6
    along_u = np.stack(malign_rate(u + h, v, lam, **option)) - malign_rate(u - h, v, lam, **option)
    along_v = np.stack(malign_rate(u, v + h, lam, **option)) - malign_rate(u, v - h, lam, **option)
    found = malign_jacobian(u, v, **option)
    np.testing.assert_allclose(
        found, np.stack([along_u, along_v], axis=1) / (2 * h), atol=1e-7 * benefit * 20
    )


@given(log_uniform(0.01, 0.99), constants, st.floats(0.01, 1.3), st.booleans())
def test_a_lone_weight_lives_exactly_above_the_smaller_root(share, c, start, near):
    lam = share * float(critical_lambda(c=c))
    root = float(equal_survivor_roots(lam, c=c)[0])
    start = root * (1.01 if start > 0.6 else 0.99) if near else start

    def rate(_, w):
        return c * (1 - w**2) * w - lam

    def dies(_, w):
        return float(w[0])

    dies.terminal = True
    run = solve_ivp(
        rate, (0, 3e3 / c), [start], method="LSODA", rtol=1e-10, atol=1e-12, events=dies
    )
    assert benign_survives(start, lam, benefit=c) == (run.status == 0)
    if run.status == 0:
        assert run.y[0, -1] == pytest.approx(float(equal_survivor_roots(lam, c=c)[1]), rel=1e-5)
    assert not benign_survives(start, 1.001 * critical_lambda(c=c), benefit=c)


@given(planar_systems(), seeds)
def test_fixed_points_are_all_the_rest_points_of_the_open_quadrant(system, seed):
    lam, benefit, interference = system
    option = {"benefit": benefit, "interference": interference}
    points = malign_fixed_points(lam, **option)
    for point in points:
        assert np.abs(malign_rate(point.u, point.v, lam, **option)).max() <= 1e-9 * benefit
        low, high = np.linalg.eigvalsh(malign_jacobian(point.u, point.v, **option))
        assert point.eigenvalues == pytest.approx((low, high))
    known = np.array([[p.u, p.v] for p in points]).reshape(-1, 2)
    # roots are simple unless eigenvalues vanish; starts from a grid must find no further one
    if all(min(map(abs, p.eigenvalues)) > 1e-3 * benefit for p in points):
        for start in np.random.default_rng(seed).uniform(0.01, 1.2, (6, 2)):
            found, info, done, _ = fsolve(
                lambda y: np.stack(
                    [
                        benefit * (1 - y[0] ** 2) * y[0] - interference * y[0] * y[1] ** 2 - lam,
                        benefit * (1 - y[1] ** 2) * y[1] - interference * y[1] * y[0] ** 2 - lam,
                    ]
                ),
                start, full_output=True, xtol=1e-12,
            )  # fmt: skip
            if done == 1 and found.min() > 0 and np.abs(info["fvec"]).max() < 1e-10 * benefit:
                assert np.abs(known - found).max(axis=1).min() < 1e-5


@given(planar_systems())
def test_the_symmetric_point_has_the_stated_eigenvalues(
    system,
):
    lam, benefit, interference = system
    for point in malign_fixed_points(lam, benefit=benefit, interference=interference):
        if point.u == point.v:
            w = point.u
            splitting = lam / w + 2 * (interference - benefit) * w**2
            common = lam / w - 2 * (benefit + interference) * w**2
            assert sorted([splitting, common]) == pytest.approx(
                list(point.eigenvalues), rel=1e-6, abs=1e-9
            )


@given(planar_systems())
def test_sharing_with_the_same_sign_is_stable_exactly_for_weak_interference(
    system,
):
    lam, benefit, interference = system
    option = {"benefit": benefit, "interference": interference}
    points = malign_fixed_points(lam, **option)
    kinds = [p.kind for p in points]
    stable = sharing_is_stable(lam, **option)
    assert stable == ("attractor" in kinds)
    assert len(points) == 4 if stable else len(points) in (0, 2)
    assert larger_wins(lam, **option) != stable
    if stable:
        assert interference < benefit
        assert kinds == ["attractor", "repeller", "saddle", "saddle"]
        assert points[2].u == points[3].v > points[2].v == points[3].u > 0
    elif points:
        assert kinds == ["saddle", "repeller"]
    if interference >= benefit:
        assert not stable  # with equal strengths, never


@given(log_uniform(0.01, 0.6), constants)
def test_sharing_sets_in_where_the_splitting_eigenvalue_changes_sign(share, c):
    """The onset is found by bisection on the Jacobian of the symmetric point."""
    lam = share * float(critical_lambda(2, c=c))

    def splitting(interference):
        w = float(equal_survivor_roots(lam, 1 + interference / c, c=c)[1])
        jacobian = malign_jacobian(w, w, benefit=c, interference=interference)
        return float(jacobian[0, 0] - jacobian[0, 1])

    onset = brentq(splitting, 0.0, c)
    assert sharing_is_stable(lam, benefit=c, interference=0.99 * onset)
    assert not sharing_is_stable(lam, benefit=c, interference=1.01 * onset)
    below, above = (
        malign_fixed_points(lam, benefit=c, interference=f * onset) for f in (0.99, 1.01)
    )
    assert len(below) == 4
    assert len(above) == 2
    assert below[2].u == pytest.approx(below[0].u, rel=0.5)  # branches off the symmetric point


@given(planar_systems(), st.floats(0.1, 1.2), st.floats(0.05, 0.97))
def test_the_larger_of_two_rivals_is_never_the_first_to_die(system, u, ratio):
    lam, benefit, interference = system
    left, right, time = race(u, ratio * u, lam, benefit, interference)
    if larger_wins(lam, benefit=benefit, interference=interference):
        assert np.isfinite(time)
        assert right < 1e-6 < left
    else:
        outcome_apart = np.isfinite(time)
        curve = separatrix(lam, benefit=benefit, interference=interference, points=400)
        limit = np.interp(u, curve[:, 0], curve[:, 1], left=u)
        if abs(ratio * u - limit) > 1e-3 and u > curve[0, 0] + 0.02:
            assert outcome_apart == (ratio * u < limit)


def test_separatrix_runs_through_the_saddle_and_splits_the_outcomes():
    for lam, benefit, interference in ((0.02, 1.0, 0.5), (0.2, 4.0, 1.0), (0.05, 1.0, 0.05)):
        curve = separatrix(lam, benefit=benefit, interference=interference)
        points = malign_fixed_points(lam, benefit=benefit, interference=interference)
        saddle, repeller = points[2], points[1]
        distance = np.hypot(curve[:, 0] - saddle.u, curve[:, 1] - saddle.v)
        assert curve.shape == (200, 2)
        assert distance.min() < 2e-2
        np.testing.assert_allclose(curve[0], [repeller.u, repeller.v], atol=1e-3)
        assert curve[-1].max() == pytest.approx(2.0, abs=1e-6)
        for u, v in curve[[20, 60, 120, 180]]:
            assert np.isinf(race(u, v * 1.02 + 2e-4, lam, benefit, interference)[2])
            assert np.isfinite(race(u, v * 0.98 - 2e-4, lam, benefit, interference)[2])
    # Next to the repeller of weak interference a stage of the solver looks at a weight below zero.
    curve = separatrix(0.00154192, benefit=4.0, interference=0.199148273, points=400)
    repeller = malign_fixed_points(0.00154192, benefit=4.0, interference=0.199148273)[1]
    assert np.all(curve > 0.0)
    np.testing.assert_allclose(curve[0], [repeller.u, repeller.v], atol=1e-3)
    line = separatrix(0.02, points=5, reach=1.0)
    np.testing.assert_array_equal(line[:, 0], line[:, 1])
    np.testing.assert_allclose(line[:, 0], np.linspace(0, 1, 5))


@st.composite
def unit_races(draw):
    """a > b > 0 with a^2 + b^2 = 1."""
    ratio = draw(st.floats(0.1, 0.995))
    return 1 / np.hypot(1, ratio), ratio / np.hypot(1, ratio)


@given(unit_races(), constants, log_uniform(2e-3, 2e-2), log_uniform(0.3, 2.0))
def test_race_time_is_within_its_order_for_encodings_and_neurons(pair, c, rate, norm):
    """|error| <= 4 lambda / (c N)^2, N = min(norm, 1); leading order is off by about 1/c.

    The constant is measured (largest of 2,000 races: 2.6).  The same run serves both readings: two
    coordinates of one encoding are, for equal strengths, the malign collision.
    """
    a, b, lam = norm * pair[0], norm * pair[1], c * rate * min(norm, 1.0) ** 2
    assert race_applies(a, b, lam, c=c)
    _, _, time = race(a, b, lam, c, c, span=1e6)
    error = abs(race_time(a, b, lam, c=c) - time)
    assert error <= 4 * lam / (c * min(norm, 1.0)) ** 2 + 1e-6 * time


@pytest.mark.parametrize("c", [1.0, 4.0])
@pytest.mark.parametrize("ratio", [0.99, 0.9, 0.5])
def test_race_converges_at_the_orders_it_claims(c, ratio):
    """The check of theory/README, section 2 (1e-4 relative), and the order over three lambda."""
    a, b = 1 / np.hypot(1, ratio), ratio / np.hypot(1, ratio)
    lams = c * np.array([4e-3, 2e-3, 1e-3])
    exact = np.array([race(a, b, lam, c, c, span=1e6)[2] for lam in lams])
    first = race_time(a, b, lams, c=c)
    leading = race_time(a, b, lams, c=c, order=0)
    assert np.all(np.abs(first / exact - 1) < 1e-4)
    slope = np.polyfit(np.log(lams), np.log(np.abs(first - exact)), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.2)
    slope = np.polyfit(np.log(lams), np.log(np.abs(leading - exact)), 1)[0]
    assert slope == pytest.approx(0.0, abs=0.2)


@given(unit_races())
def test_race_constant_is_the_slow_time_of_two_weights(pair):
    a, b = pair
    with mpmath.workdps(25):
        exact = mpmath.quad(
            lambda s: 1 / mpmath.sqrt((a - s) ** 2 + (b - s) ** 2), mpmath.linspace(0, b, 5)
        )
    assert race_constant(a, b) == pytest.approx(float(exact), rel=1e-10)
    assert race_constant(7 * a, 7 * b) == pytest.approx(float(exact), rel=1e-10)  # scale-free


def test_collision_laws_broadcast_over_weights_and_strengths():
    a, lam = np.array([[0.8], [0.9]]), np.array([0.01, 0.02, 0.03])
    assert race_time(a, 0.5, lam).shape == (2, 3)
    assert race_applies(a, 0.5, lam).shape == (2, 3)
    assert not race_applies(0.5, 0.6, 0.01)
    assert not race_applies(0.8, 0.6, 1.0)
    assert benign_survives(a, lam).shape == (2, 3)
    assert malign_rate(a, 0.5, lam)[0].shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: race_time(0.5, 0.6, 0.01), "expected a > b"),
        (lambda: race_time(0.6, 0.5, 0.01, order=2), "order 0 or 1"),
        (lambda: malign_fixed_points(0.0), "expected lam > 0"),
        (lambda: malign_rate(0.0, 0.5, 0.1), "expected u > 0"),
        (lambda: separatrix(0.02, points=1), "points >= 2"),
    ],
)
def test_collisions_outside_the_theorems_assumptions_are_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


# --- against the simulator ------------------------------------------------------------------


@st.composite
def decided_races(draw):
    """(u, v, lambda, c_b, c_i), u > v, with outcomes that some hundred time units decide."""
    benefit = draw(constants)
    lam = draw(log_uniform(0.1, 0.9)) * float(critical_lambda(c=benefit))
    u = draw(st.floats(0.2, 1.2))
    return u, u * draw(st.floats(0.05, 0.8)), lam, benefit, benefit * draw(ratios)


@given(decided_races())
def test_the_simulation_of_two_rivals_ends_as_predicted(
    drawn,
):
    """The loser may come back from zero with the other sign: then the collision is benign."""
    u, v, lam, benefit, interference = drawn
    forces = [FeatureBenefit(benefit), Interference(interference), Regularization(lam)]
    run = integrate(forces, np.array([[u], [v]]), t_end=150 / benefit, rtol=1e-3)
    left, right = run.final[:, 0]
    if larger_wins(lam, benefit=benefit, interference=interference):
        if race(u, v, lam, benefit, interference, span=100)[2] < np.inf:
            assert right <= 0
            assert left >= 0
    else:
        curve = separatrix(lam, benefit=benefit, interference=interference, points=400)
        limit = np.interp(u, curve[:, 0], curve[:, 1], left=u)
        if abs(v - limit) > 2e-2 and u > curve[0, 0] + 0.1 and u < 2:
            stay = malign_fixed_points(lam, benefit=benefit, interference=interference)[0].u
            if v > limit:
                assert (left, right) == pytest.approx((stay, stay), rel=0.05)
            else:
                assert right <= 0


@given(unit_races(), constants, log_uniform(2e-2, 0.1))
def test_a_neuron_between_two_features_runs_as_an_encoding_over_two_neurons(pair, c, rate):
    """Equal strengths: the malign collision, simulated, against the exact single encoding."""
    lam = c * rate
    start = np.array([pair])
    half = float(race_time(*pair, lam, c=c)) * 0.5
    option = {"save_at": [half], "t_end": half}
    encoding = integrate([FeatureBenefit(c), Regularization(lam)], start, **option)
    forces = [FeatureBenefit(c), Interference(c), Regularization(lam)]
    neuron = integrate(forces, start.T, rtol=1e-4, **option)
    np.testing.assert_allclose(neuron.weights[:, :, 0], encoding.weights[:, 0], atol=2e-2)


@pytest.mark.parametrize("c", [1.0, 4.0])
@pytest.mark.parametrize("ratio", [0.99, 0.8, 0.4])
def test_race_converges_to_the_simulation_at_the_orders_it_claims(ratio, c):
    """Death of the smaller weight of one encoding, bracketed on ever finer grids."""
    a, b = 1 / np.hypot(1, ratio), ratio / np.hypot(1, ratio)
    lams = c * np.array([4e-3, 2e-3, 1e-3])
    errors = []
    for lam in lams:
        forces = [FeatureBenefit(c), Regularization(float(lam))]
        first, leading = (float(race_time(a, b, lam, c=c, order=k)) for k in (1, 0))
        low, high = first - 2 / c, first + 2 / c
        for _ in range(4):
            grid = np.linspace(low, high, 100)
            run = integrate(forces, np.array([[a, b]]), save_at=grid, t_end=grid[-1])
            alive = run.weights[:, 0, 1] > 0
            assert alive[0]
            assert not alive[-1]
            low, high = grid[alive][-1], grid[~alive][0]
        errors.append((leading - low, first - low))
    slopes = np.polyfit(np.log(lams), np.log(np.abs(errors)), 1)[0]
    np.testing.assert_allclose(slopes, [0.0, 1.0], atol=0.2)


@given(log_uniform(0.05, 0.9), constants, st.floats(0.05, 1.2), st.floats(0.05, 1.2))
def test_benign_collisions_last_in_the_simulation_exactly_when_both_weights_do(share, c, u, v):
    lam = share * float(critical_lambda(c=c))
    lower, upper = (float(w) for w in equal_survivor_roots(lam, c=c))
    start = np.array([[u], [-v]])
    if np.all(np.abs(np.abs(start) / lower - 1) > 0.05):
        forces = [FeatureBenefit(c), Interference(c), Regularization(lam)]
        final = integrate(forces, start, t_end=150 / c, rtol=1e-3).final
        lives = benign_survives(np.abs(start), lam, benefit=c)
        np.testing.assert_allclose(final, np.where(lives, upper * np.sign(start), 0), atol=5e-3)
