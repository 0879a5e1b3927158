"""Laws of theory/universal.py: special functions to many digits, finite rows, the flow itself."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow import FeatureBenefit, Regularization, integrate
from tests.strategies import log_uniform
from theory.sparsification import extinction_schedule
from theory.universal import (
    excess_mean,
    excess_square,
    half_normal_quantiles,
    leading_time,
    paper_curve,
    survivor_share,
    theta_law,
    universal_law,
    universal_law_at,
)

couplings = st.one_of(st.just(0.0), log_uniform(1e-9, 1.0))


def tail(x, power):
    """E (|z| - x)_+^power by quadrature to 30 digits, straight from its meaning."""
    return 2 * mpmath.quad(
        lambda z: (z - x) ** power * mpmath.npdf(z), [x, x + 1, x + 4, x + 12, mpmath.inf]
    )


@pytest.mark.parametrize("x", [0.0, 0.1, 0.7, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0])
def test_excess_moments_are_what_their_names_say(x):
    with mpmath.workdps(30):
        at = mpmath.mpf(x)
        tolerance = 1e-14 * (1 + x**4)
        assert survivor_share(x) == pytest.approx(float(tail(at, 0)), rel=tolerance)
        assert excess_mean(x) == pytest.approx(float(tail(at, 1)), rel=tolerance)
        assert excess_square(x) == pytest.approx(float(tail(at, 2)), rel=tolerance)


def test_the_time_integral_is_right_to_twelve_digits():
    with mpmath.workdps(30):

        def integrand(u):
            above = mpmath.ncdf(-u)
            return 1 / mpmath.sqrt(2 * ((1 + u * u) * above - u * mpmath.npdf(u)))

        total = mpmath.mpf(0)
        for low, high in ((0, 0.03), (0.03, 1), (1, 2.5), (2.5, 4), (4, 6), (6, 8), (8, 10)):
            total += mpmath.quad(integrand, [low, high])
            assert leading_time(high) == pytest.approx(float(total), rel=2e-13)
    np.testing.assert_allclose(leading_time([[0.0, 1.0], [3.0, 0.03]])[1, 0], leading_time(3.0))


@given(st.floats(0.0, 10.0), couplings, st.floats(0.3, 2.0))
def test_the_law_by_time_is_the_law_by_x(x, coupling, norm):
    there = universal_law(x, coupling=coupling, norm=norm)
    back = universal_law_at(there.time, coupling=coupling, norm=norm)
    if coupling == 0 or there.time > 0:  # before t = 0 the expansion is cut off
        assert back.x == pytest.approx(x, abs=1e-7 if x < 0.01 else 1e-9)
        assert back.l1 == pytest.approx(there.l1, rel=1e-6)


@given(st.floats(0.05, 6.0), log_uniform(1e-9, 1e-3))
def test_the_law_at_weak_coupling_is_its_leading_order(x, coupling):
    weak, leading = universal_law(x, coupling=coupling, norm=0.9), universal_law(x)
    # both corrections are first order in the coupling, with coefficients below 3 here
    assert abs(weak.time - leading.time) <= coupling * (3 + x**2 / 4 + 2 * x)
    if leading.time > 30 * coupling:
        assert abs(weak.l1 / leading.l1 - 1) <= 3 * coupling
    assert weak.survivors == leading.survivors


def test_l1_times_time_approaches_one_slowly_from_above():
    """||W||_1 lambda t = 1 + 2/x^2 + ..., maximum 1.138 near x = 3."""
    x = np.linspace(0.5, 10, 400)
    law = universal_law(x)
    product = law.l1 * law.time
    assert product.max() == pytest.approx(1.138, abs=5e-4)
    assert x[product.argmax()] == pytest.approx(3.0, abs=0.1)
    far = x >= 7
    np.testing.assert_allclose((product[far] - 1) * x[far] ** 2, 2.0, atol=0.13)


def test_survivors_over_l1_squared_run_from_half_pi_to_two():
    """The paper's m' = ||W||_1^2 is within a factor that is known: 2 Phibar q / p^2."""
    law = universal_law(np.linspace(0, 10, 200))
    ratio = law.survivors / law.l1**2
    assert ratio[0] == pytest.approx(np.pi / 2)
    assert np.all(np.diff(ratio) > 0)
    assert 1.95 < ratio[-1] < 2


@pytest.mark.parametrize("m", [10**4, 10**6])
def test_quantile_rows_follow_the_universal_law(m):
    """The finite sums of the schedule tend to the integrals of the law, error about 1/m'."""
    start = half_normal_quantiles(m, scale=0.7)
    schedule = extinction_schedule(start, 1.0, order=0)
    law = universal_law(np.array([0.1, 0.5, 1.0, 2.0, 3.0]))
    alive = np.rint(law.survivors * m).astype(int)
    allowed = 2 / alive + 10 / m
    time_error = schedule.times[alive] * np.sqrt(m) / law.time - 1
    l1_error = schedule.l1_at_extinctions()[alive] / np.sqrt(m) / law.l1 - 1
    assert np.all(np.abs(time_error) < allowed)
    assert np.all(np.abs(l1_error) < allowed)


def test_quantile_start_is_the_half_normal():
    start = half_normal_quantiles(4, scale=2.0)
    exact = [mpmath.erfinv(mpmath.mpf(u)) * mpmath.sqrt(2) for u in (0.875, 0.625, 0.375, 0.125)]
    np.testing.assert_allclose(start, [float(e) for e in exact], rtol=1e-14)  # 2/sqrt(4) = 1
    big = half_normal_quantiles(10**5, scale=0.9)
    assert np.linalg.norm(big) == pytest.approx(0.9, rel=1e-4)
    assert np.all(np.diff(big) < 0)
    assert big[-1] > 0


@given(st.floats(1e-6, 0.05), st.integers(10, 10**7), st.floats(0, 10))
def test_theta_law_and_drawn_curve_are_of_one_order(lam, m, log_time):
    time = np.exp(log_time)
    theta = theta_law(time, lam, m)
    if time <= 1 / (lam * np.sqrt(m)):
        assert theta == pytest.approx(np.sqrt(m))
    elif time <= 1 / lam:
        assert theta == pytest.approx(1 / (lam * time))
    else:
        assert theta == 1
    norm1, survivors = paper_curve(time, lam, m)
    assert theta / 2 - 1e-12 <= norm1 <= theta + 1e-12
    assert survivors == pytest.approx(norm1**2)
    assert norm1 == pytest.approx(max(1 / (m**-0.5 + lam * time), 1.0))


@given(st.floats(0.0, 6.0))
def test_the_theta_law_has_constants_between_a_half_and_one_and_a_half(x):
    m = 1e12
    law = universal_law(x)
    theta = theta_law(law.time / np.sqrt(m), 1.0, m)
    assert 0.5 < law.l1 * np.sqrt(m) / theta < 1.2


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: universal_law(-0.1), "expected"),
        (lambda: universal_law(10.1), "expected"),
        (lambda: universal_law(np.nan), "expected"),
        (lambda: universal_law(1.0, coupling=1.5), "lambda sqrt"),
        (lambda: universal_law_at(1e13), "x <= 10"),
        (lambda: half_normal_quantiles(0), "m >= 1"),
        (lambda: universal_law(1.0, coupling=0.1, norm=0.0), "expected norm > 0"),
    ],
)
def test_the_universal_law_outside_its_range_is_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


# --- against the simulator ------------------------------------------------------------------

AT = np.array([0.1, 0.3, 1.0, 2.0, 3.0])  # x at which the runs are compared with the law


def simulate(start, lam, times):
    """(||W||_1, m') of every row at increasing times, interference off: two (k, n) arrays."""
    run = integrate([FeatureBenefit(), Regularization(lam)], start, save_at=times, t_end=times[-1])
    sizes = np.abs(run.weights)
    return sizes.sum(axis=2), (sizes > 0).sum(axis=2)


def test_a_million_quantiles_follow_the_law_within_a_percent_and_not_the_papers_curve():
    m, lam = 10**6, 1e-6
    law = universal_law(AT)
    times = law.time / (lam * np.sqrt(m))
    l1, alive = (x[:, 0] for x in simulate(half_normal_quantiles(m, scale=0.9)[None], lam, times))
    np.testing.assert_allclose(l1 / np.sqrt(m), law.l1, rtol=0.01)
    np.testing.assert_allclose(alive / m, law.survivors, rtol=0.01)
    drawn_l1, drawn_alive = paper_curve(times, lam, m)
    assert np.any(drawn_l1 / l1 > 1.15)
    assert np.any(drawn_l1 / l1 < 0.85)
    assert np.abs(np.log(drawn_alive / alive)).max() > np.log(1.4)


def test_next_order_is_ten_times_better_at_a_tenth_of_the_papers_largest_lambda():
    """λ√m/c = 0.1, s = 0.9; theory/README, section 2: errors 4.7, 4.0, 2.4, 0.8 % fall to 0.3, 0.2,
    0.1, 0.02 %."""
    m, coupling = 10**6, 0.1
    scaled = np.array([0.34, 1.62, 6.7, 30.0])
    times = scaled / coupling
    start = half_normal_quantiles(m, scale=0.9)[None]
    l1, alive = (x[:, 0] for x in simulate(start, coupling / np.sqrt(m), times))
    leading = universal_law_at(scaled)
    better = universal_law_at(scaled, coupling=coupling, norm=0.9)
    coarse = np.abs(leading.l1 * np.sqrt(m) / l1 - 1)
    fine = np.abs(better.l1 * np.sqrt(m) / l1 - 1)
    np.testing.assert_allclose(coarse, [0.0466, 0.0404, 0.0239, 0.0084], atol=2e-4)
    np.testing.assert_allclose(fine, [0.0027, 0.0016, 0.0006, 0.0002], atol=1e-4)
    assert fine.max() < coarse.max() / 10
    np.testing.assert_allclose(alive / m, better.survivors, rtol=0.004)


@pytest.mark.parametrize("norm", [0.6, 1.0, 1.5])
def test_next_order_error_is_second_order_in_the_coupling(norm):
    """The start's length enters only through off(t); fitted over three couplings at x = 1."""
    m = 4 * 10**5
    start = half_normal_quantiles(m)[None]
    start *= norm / np.linalg.norm(start)  # quantiles of a finite row are a little short
    couplings, errors = np.array([0.2, 0.1, 0.05]), []
    for coupling in couplings:
        law = universal_law(1.0, coupling=coupling, norm=norm)
        l1, _ = simulate(start, coupling / np.sqrt(m), np.array([float(law.time) / coupling]))
        errors.append(float(l1[0, 0]) / np.sqrt(m) / float(law.l1) - 1)
    slope = np.polyfit(np.log(couplings), np.log(np.abs(errors)), 1)[0]
    assert slope == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("norm", [0.5, 1.5])
def test_the_law_holds_from_the_first_moment(norm):
    """While lengths still go to 1 (t about 1/c) the error is O(Lambda) in l1, O(Lambda^2) in t."""
    m, coupling = 10**5, 0.02
    times = np.array([0.1, 0.5, 1.5, 4.0])
    start = half_normal_quantiles(m, scale=norm)[None]
    l1, alive = (x[:, 0] for x in simulate(start, coupling / np.sqrt(m), times))
    law = universal_law_at(coupling * times, coupling=coupling, norm=norm)
    np.testing.assert_allclose(l1 / np.sqrt(m), law.l1, rtol=1.5 * coupling)
    np.testing.assert_allclose(1 - alive / m, 1 - law.survivors, rtol=3 * coupling)
    by_x = universal_law(law.x, coupling=coupling, norm=norm)
    np.testing.assert_allclose(by_x.time, coupling * times, rtol=1e-9)


def test_gaussian_starts_follow_the_law_within_their_standard_error():
    """50 random rows of 20,000: z-tests on m' and ||W||_1 at |z| < 4.5, false alarm 7e-6 each.

    The law's own error, 1/m' + Lambda^2, is allowed for.  Power: the paper's drawn curve, taken
    as the mean, is rejected in l1 at every time.
    """
    m, coupling, rows = 20_000, 0.02, 50
    law = universal_law(np.array([0.3, 1.0, 2.0]), coupling=coupling)
    start = np.random.default_rng(11).normal(0, 1 / np.sqrt(m), (rows, m))
    lam = coupling / np.sqrt(m)
    times = law.time / coupling
    l1, alive = simulate(start, lam, times)
    for found, expected in ((l1 / np.sqrt(m), law.l1), (alive / m, law.survivors)):
        own = expected * (1 / (law.survivors * m) + coupling**2)
        error = found.std(axis=1, ddof=1) / np.sqrt(rows)
        assert np.all(np.abs(found.mean(axis=1) - expected) < 4.5 * error + own)
    drawn = paper_curve(times, lam, m)[0]
    assert np.all(np.abs(l1.mean(axis=1) - drawn) > 8 * l1.std(axis=1) / np.sqrt(rows))
