"""Laws of theory/sparsification.py and theory/unit_length.py, against the coordinates themselves.

The oracle follows all coordinates of a row with a general integrator and stops it at each
extinction; it knows nothing of the two scalars, of gamma or of arsinh.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad, solve_ivp

from flow import FeatureBenefit, Regularization, integrate
from tests.strategies import log_uniform, seeds
from theory.equilibrium import early_kill_bound, row_survives
from theory.sparsification import (
    SortedRow,
    affine_law,
    extinction_schedule,
    gamma,
    gamma_rate,
    l1_rate,
    relative_variance,
    relative_variance_bounds,
    threshold,
    winner_is_unique,
)
from theory.unit_length import inverse_norm, start_offset, undo_start_offset
from theory.universal import half_normal_quantiles

Array = NDArray[np.float64]


@dataclass
class Row:
    """A start that satisfies the assumptions: the row is not killed and its winner is unique."""

    start: Array
    lam: float
    c: float


@st.composite
def surviving_rows(draw, m=(2, 6), share=(0.02, 0.9)):
    """(row, lambda, c) with lambda a drawn share of the early-kill bound."""
    size = draw(st.integers(*m))
    scale, c = draw(st.floats(0.4, 1.3)), draw(st.sampled_from([1.0, 4.0, 0.3]))
    generator = np.random.default_rng(draw(seeds))
    start = np.abs(generator.normal(0, scale / np.sqrt(size), size))
    start *= generator.choice([-1, 1], size)
    lam = draw(log_uniform(*share)) * float(early_kill_bound(start, c=c))
    assert row_survives(start, lam, c=c)
    assert winner_is_unique(start)
    return Row(start, lam, c)


def follow(row, times, *, rtol=1e-10):
    """(sizes at the given ascending times (k, m), death times (m,)), coordinate by coordinate."""
    size, alive = np.abs(row.start), np.ones(len(row.start), dtype=bool)
    out, deaths, now = np.zeros((len(times), len(size))), np.full(len(size), np.inf), 0.0

    def rate(_, u):
        return row.c * (1 - u @ u) * u - row.lam

    def smallest(_, u):
        return float(u.min())

    smallest.terminal, smallest.direction = True, -1.0
    while True:
        wanted = np.flatnonzero(times >= now)
        run = solve_ivp(
            rate, (now, times[-1] + 1e-9), size[alive], method="LSODA", rtol=rtol, atol=1e-13,
            events=smallest, t_eval=times[wanted],
        )  # fmt: skip
        if len(run.t):
            out[np.ix_(wanted[: len(run.t)], alive)] = run.y.T
        if run.status != 1:
            return np.maximum(out, 0.0), deaths
        now, size[alive] = run.t_events[0][0], run.y_events[0][0]
        loser = np.flatnonzero(alive)[np.argmin(size[alive])]
        alive[loser], size[loser], deaths[loser] = False, 0.0, now


def follow_two_scalars(row, times):
    """Sizes at the given times, descending, from ``SortedRow.rates`` between its extinctions.

    Ends when one survivor is left (rows of zeros after that): S then says nothing.
    """
    start = SortedRow.of(row.start)
    out, state, now = np.zeros((len(times), len(row.start))), [float(start.norm), 0.0], 0.0
    for death in (start.largest - start.gaps[:0:-1]).tolist():
        last = np.nextafter(death, 0.0)  # trial stages may overshoot the death

        def rate(_, y, last=last):
            return np.stack(start.rates(y[0], min(y[1], last), row.lam, c=row.c))

        def dies(_, y, death=death):
            return float(y[1] - death)

        dies.terminal = True
        wanted = np.flatnonzero(times >= now)
        run = solve_ivp(
            rate, (now, times[-1] + 1e-9), state, method="LSODA", rtol=1e-13, atol=1e-15,
            events=dies, t_eval=times[wanted],
        )  # fmt: skip
        for j, (norm, shift) in zip(wanted, run.y.T if len(run.t) else [], strict=False):
            out[j] = start.weights(norm, min(shift, last))
        if run.status != 1:
            break
        now, state = run.t_events[0][0], [run.y_events[0][0][0], death]
    return out


@given(surviving_rows())
def test_a_weight_grows_above_the_threshold_and_shrinks_below(row):
    size = np.abs(row.start)
    square = size @ size
    rate = row.c * (1 - square) * size - row.lam
    theta = threshold(square, row.lam, c=row.c)
    assert np.array_equal(rate > 0, size > theta)
    if square < 1:
        assert row.c * (1 - square) * theta == pytest.approx(row.lam)
    else:
        assert np.isinf(theta)


@given(surviving_rows(), st.floats(0.05, 0.9))
def test_two_scalars_carry_every_coordinate(row, fraction):
    last = extinction_schedule(row.start, row.lam, c=row.c, order=0).times[1]
    times = np.array([0.0, fraction / 2, fraction]) * last
    # Races amplify the integrators' errors: by 1e3 in one of them.
    sizes, _ = follow(row, times, rtol=1e-12)
    order = np.argsort(-np.abs(row.start))
    found = follow_two_scalars(row, times)
    # A run may end with its last stretch on one survivor, which the scalars leave to ||W||.
    known = np.flatnonzero(found.any(axis=1))
    np.testing.assert_allclose(found[known], sizes[known][:, order], atol=2e-8)
    assert len(known)
    assert known[0] == 0


@given(surviving_rows(), st.floats(0.01, 0.99))
def test_gamma_and_the_affine_law_describe_the_coordinates(row, fraction):
    last = extinction_schedule(row.start, row.lam, c=row.c, order=0).times[1]
    times = np.linspace(0, fraction * last, 5)
    sizes, _ = follow(row, times)
    start = np.abs(row.start)
    winner = sizes.max(axis=1)
    second = np.sort(sizes, axis=1)[:, -2]
    seen = second > 1e-3
    gap = 1 - np.sort(start)[-2] / start.max()
    stretch = (1 - second / winner) / gap  # gamma as the flow shows it
    shift = start.max() * (1 - 1 / stretch)
    seen &= gap > 1e-2
    np.testing.assert_allclose(
        affine_law(start, winner, stretch)[seen], sizes[seen], atol=1e-7, rtol=1e-6
    )
    inside = seen & (shift >= 0)
    np.testing.assert_allclose(gamma(shift[inside], start.max()), stretch[inside], rtol=1e-12)


@given(surviving_rows())
def test_gamma_solves_its_differential_equation(row):
    start = SortedRow.of(row.start)
    shift = 0.3 * float(start.largest)
    norm = 0.8
    small = 1e-6 * float(start.largest)
    winner = start.weights(norm, shift)[0]
    speed = start.rates(norm, shift, row.lam, c=row.c)[1]
    slope = (gamma(shift + small, start.largest) - gamma(shift - small, start.largest)) / (
        2 * small
    )
    expected = gamma_rate(gamma(shift, start.largest), winner, row.lam)
    assert slope * speed == pytest.approx(float(expected), rel=1e-7)
    assert gamma(0.0, start.largest) == 1


@given(surviving_rows(m=(1, 40)), st.floats(0.0, 0.999))
def test_moments_are_sums_over_survivors(row, fraction):
    start = SortedRow.of(row.start)
    shift = fraction * float(start.largest)
    left = np.maximum(np.abs(row.start) - shift, 0.0)
    alive, total, square = start.moments(shift)
    assert alive == (left > 0).sum() == start.survivors(shift)
    assert total == pytest.approx(left.sum(), rel=1e-10)
    assert square == pytest.approx((left**2).sum(), rel=1e-10)
    assert start.norm == pytest.approx(np.linalg.norm(row.start), rel=1e-13)
    size = start.weights(0.9, shift)
    assert np.linalg.norm(size) == pytest.approx(0.9)
    np.testing.assert_allclose(size, 0.9 * np.sort(left)[::-1] / np.sqrt((left**2).sum()))


def test_moments_keep_their_digits_in_the_closest_races():
    """V = P2 - P1^2/m' would be all rounding error here: gaps of 1e-12 on weights of 0.1."""
    gaps = np.array([0.0, 1.0, 2.0, 5.0]) * 2.0**-40
    start = SortedRow.of(0.125 - gaps)
    assert start.spreads[3] == pytest.approx(np.var(gaps) * 4, rel=1e-12)
    assert np.all(SortedRow.of([0.1, 0.1, 0.1]).spreads == 0)


@given(surviving_rows(m=(1, 8)))
def test_schedule_integral_is_the_integral(row):
    a = np.sort(np.abs(row.start))[::-1]
    schedule = extinction_schedule(row.start, 1.0, order=0)
    assert np.isinf(schedule.times[0])
    for k in range(1, len(a)):
        breaks = np.concatenate([a[k:][::-1], [0.0]])
        total = 0.0
        for low, high in itertools.pairwise(np.sort(breaks)):
            total += quad(
                lambda s: 1 / np.sqrt((np.maximum(a - s, 0.0) ** 2).sum()),
                low, high, epsabs=0, epsrel=1e-12,
            )[0]  # fmt: skip
        assert schedule.times[k] == pytest.approx(total, rel=1e-9)


def test_schedule_integral_to_thirty_digits_in_a_close_race():
    a = np.array([0.5, 0.5 - 2.0**-30, 0.3, 0.3, 0.0])
    found = extinction_schedule(a, 1.0, order=0).times
    with mpmath.workdps(40):
        exact = [mpmath.mpf(float(x)) for x in a]

        def integrand(s):
            return 1 / mpmath.sqrt(sum((x - s) ** 2 for x in exact if x > s))

        third = mpmath.quad(integrand, [0, exact[2]])
        mean, spread = (exact[0] + exact[1]) / 2, (exact[0] - exact[1]) ** 2 / 2

        def primitive(s):
            return mpmath.asinh((s - mean) * mpmath.sqrt(2 / spread)) / mpmath.sqrt(2)

        second = third + primitive(exact[1]) - primitive(exact[2])
    assert found[1] == pytest.approx(float(second), rel=1e-14)
    assert found[2] == found[3] == pytest.approx(float(third), rel=1e-14)
    assert found[4] == 0


@given(surviving_rows(m=(2, 5), share=(0.01, 0.05)))
def test_first_order_schedule_is_within_its_order_of_the_coordinates(row):
    """|error| <= 2 lambda r^2 / (c N)^2, N = min(||W(0)||, 1); leading order is off by ~1/c.

    The constant is measured (largest of 1,500 rows: 1.8); the oracle contributes 1e-5 of t.
    """
    schedule = extinction_schedule(row.start, row.lam, c=row.c)
    _, deaths = follow(row, np.array([0.0, 1.5 * schedule.times[1] + 20 / row.c]))
    order = np.argsort(-np.abs(row.start))
    error = np.abs(schedule.times[1:] - deaths[order][1:])
    norm = float(np.linalg.norm(row.start))
    ratio = np.abs(row.start).sum() / norm
    bound = 2 * row.lam * ratio**2 / (row.c * min(norm, 1.0)) ** 2
    assert np.all(error <= bound + 1e-5 * schedule.times[1:])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("c", [1.0, 4.0])
def test_schedule_converges_at_the_orders_it_claims(seed, c):
    """Errors of the last death over three lambda: t^0 for leading order, t^1 for first."""
    start = np.abs(np.random.default_rng(seed).normal(0, 0.35, 5))
    lams = c * np.array([0.008, 0.004, 0.002])
    errors = []
    for lam in lams:
        row = Row(start, float(lam), c)
        first, leading = (extinction_schedule(start, row.lam, c=c, order=k).times for k in (1, 0))
        _, deaths = follow(row, np.array([0.0, 1.2 * leading[1] + 10 / c]), rtol=1e-12)
        exact = np.sort(deaths)[-2]
        errors.append((leading[1] - exact, first[1] - exact))
    leading_error, first_error = np.abs(np.array(errors)).T
    slope = np.polyfit(np.log(lams), np.log(first_error), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.2)
    assert np.polyfit(np.log(lams), np.log(leading_error), 1)[0] == pytest.approx(0.0, abs=0.2)


def test_the_schedule_alone_reproduces_figure_two_of_the_paper():
    """The paper's figure 2 (m = 1e5, lambda = 1e-5, legacy seed 0) without integrating it."""
    start = np.abs(np.random.RandomState(0).normal(0, 0.9 / np.sqrt(10**5), 10**5))
    times = [100, 1e3, 1e4, 2e4, 5e4, 1e5]
    first = extinction_schedule(start, 1e-5)
    np.testing.assert_array_equal(first.survivors(times), [77649, 14420, 243, 61, 6, 3])
    assert first.times[1] == pytest.approx(181_720.02, abs=0.05)
    assert extinction_schedule(start, 1e-5, order=0).times[1] == pytest.approx(181_723.78, abs=0.01)
    l1 = np.interp(times[:4], first.times[::-1], first.l1_at_extinctions()[::-1])
    np.testing.assert_allclose(l1, [218.58, 90.093, 11.168, 5.2826], rtol=3e-4)


@given(surviving_rows(m=(2, 30)))
def test_l1_of_the_schedule_is_that_of_the_shifted_row(row):
    schedule = extinction_schedule(row.start, row.lam, c=row.c, order=0)
    a = np.sort(np.abs(row.start))[::-1]
    left = np.maximum(a - a[1:, None], 0.0)
    r = left.sum(axis=1) / np.sqrt((left**2).sum(axis=1))
    np.testing.assert_allclose(schedule.l1_at_extinctions()[1:], r, rtol=1e-9)
    assert schedule.l1_at_extinctions()[0] == 1
    first = extinction_schedule(row.start, row.lam, c=row.c, order=1).l1_at_extinctions()[1:]
    # c (1 - N^2) N = lambda r solved for N near 1, then ||W||_1 = N r
    length = [np.roots([-row.c, 0, row.c, -row.lam * x]).real.max() for x in r]
    small = row.lam * r / row.c
    assert np.all(np.abs(first - r * length) <= 2 * r * small**2 + 1e-12)


def test_million_weights_in_two_seconds_and_rows_broadcast():
    start = np.random.default_rng(3).normal(0, 1e-3, 10**6)
    begin = time.process_time()
    schedule = extinction_schedule(start, 1e-5)
    assert time.process_time() - begin < 2.0
    assert np.all(np.diff(schedule.times) <= 0)
    assert schedule.survivors(0.0) > 999_000
    assert schedule.survivors(1e9) == 1
    block = start[:60].reshape(2, 3, 10) * 300
    many = extinction_schedule(block, 0.01)
    for index in np.ndindex(2, 3):
        alone = extinction_schedule(block[index], 0.01)
        np.testing.assert_allclose(many.times[index], alone.times, rtol=1e-14)
        for t in (0.5, 5.0, 50.0):
            assert many.survivors(t)[index] == alone.survivors(t)
        np.testing.assert_allclose(
            many.l1_at_extinctions()[index], alone.l1_at_extinctions(), rtol=1e-14
        )


def test_tied_winners_never_separate_and_zeros_are_dead_at_once():
    schedule = extinction_schedule([0.3, -0.3, 0.3, 0.1, 0.0], 0.01)
    assert np.all(np.isinf(schedule.times[:3]))
    assert np.isfinite(schedule.times[3])
    assert schedule.times[4] == 0
    assert schedule.l1_at_extinctions()[0] == pytest.approx(1, abs=0.01)
    assert schedule.l1_at_extinctions()[2] == pytest.approx(np.sqrt(3), abs=0.03)
    assert not winner_is_unique([0.3, -0.3, 0.1])
    assert winner_is_unique([0.3, -0.4, 0.1])
    assert winner_is_unique([0.2])
    assert not winner_is_unique([0.0])


# --- start offset ---------------------------------------------------------------------------


@given(st.floats(0.2, 3.0), st.floats(0.0, 20.0), st.sampled_from([0.5, 1.0, 4.0]))
def test_start_offset_is_the_integral_of_the_logistic_length(norm, t, c):
    run = solve_ivp(
        lambda _, y: [c * (1 - y[0] ** 2) * y[0], 1 / y[0] - 1],
        (0, t), [norm, 0.0], rtol=1e-10, atol=1e-12, method="DOP853",
    )  # fmt: skip
    assert inverse_norm(t, norm, c=c) == pytest.approx(1 / run.y[0, -1], rel=1e-8)
    assert start_offset(t, norm, c=c) == pytest.approx(run.y[1, -1], abs=1e-8)
    shifted = t + start_offset(t, norm, c=c)
    assert undo_start_offset(shifted, norm, c=c) == pytest.approx(t, rel=1e-11, abs=1e-11)
    y = 1 / norm
    assert start_offset(np.inf, norm, c=c) == pytest.approx(
        ((y - 1) - np.log((1 + y) / 2)) / c, abs=1e-14
    )
    assert undo_start_offset(-1.0, norm, c=c) == 0


# --- Appendix B -----------------------------------------------------------------------------


@given(surviving_rows(), st.floats(0.0, 0.9))
def test_l1_rate_is_the_slope_of_the_l1_norm(row, fraction):
    last = extinction_schedule(row.start, row.lam, c=row.c, order=0).times[1]
    middle = max(fraction * last, 1e-2 / row.c)
    width = 1e-4 / row.c
    sizes, deaths = follow(row, np.array([middle - width, middle, middle + width]))
    if np.all(np.abs(deaths - middle) > 2 * width):
        slope = (sizes[2].sum() - sizes[0].sum()) / (2 * width)
        here = sizes[1]
        rate = l1_rate(here.sum(), here @ here, (here > 0).sum(), row.lam, c=row.c)
        assert slope == pytest.approx(float(rate), rel=1e-5, abs=2e-6 * row.c)


@given(surviving_rows(m=(2, 30)))
def test_in_balance_the_l1_norm_falls_with_the_variance(row):
    size = np.abs(row.start)
    size *= 0.9 / np.linalg.norm(size)
    square, norm1, alive = size @ size, size.sum(), len(size)
    lam = row.c * (1 - square) * square / norm1  # balance: d||W||^2/dt = 0
    fall = -l1_rate(norm1, square, alive, lam, c=row.c)
    assert fall == pytest.approx(lam / square * norm1**2 * float(relative_variance(size)))
    assert fall == pytest.approx(lam * alive**2 / square * float(np.var(size)))


@given(surviving_rows(m=(2, 6)), st.floats(0.01, 0.98))
def test_relative_variance_of_the_flow_stays_within_the_bounds(row, fraction):
    last = extinction_schedule(row.start, row.lam, c=row.c, order=0).times[1]
    sizes, _ = follow(row, np.linspace(0, fraction * last, 7))
    low, high = relative_variance_bounds(row.start)
    alive = (sizes > 1e-9).sum(axis=1)
    found = relative_variance(np.where(sizes > 1e-9, sizes, 0.0))
    assert np.all(found >= low[alive - 1] * (1 - 1e-6) - 1e-9)
    assert np.all(found <= high[alive - 1] * (1 + 1e-6) + 1e-9)


@given(surviving_rows(m=(2, 30)))
def test_relative_variance_bounds_are_attained(row):
    """Just before an extinction the upper bound, just after the previous one the lower."""
    a = np.sort(np.abs(row.start))[::-1]
    low, high = relative_variance_bounds(row.start)
    for k in range(2, len(a) + 1):
        upper = a[:k] - a[k - 1]
        lower = a[:k] - (a[k] if k < len(a) else 0.0)
        assert high[k - 1] == pytest.approx(np.var(upper) / np.mean(upper) ** 2, rel=1e-8)
        assert low[k - 1] == pytest.approx(np.var(lower) / np.mean(lower) ** 2, rel=1e-8)
        assert low[k - 1] <= high[k - 1]
    assert low[0] == high[0] == 0


def test_ideal_start_has_bounds_near_one():
    """Figure 6's pink curves: for many survivors both bounds agree and are of order one."""
    low, high = relative_variance_bounds(half_normal_quantiles(10_000))
    middle = slice(50, 5000)
    assert np.all((low[middle] > 0.6) & (high[middle] < 1.1))
    np.testing.assert_allclose(low[middle], high[middle], rtol=0.05)
    assert low[-1] == pytest.approx(np.pi / 2 - 1, abs=2e-3)  # Var/mean^2 of a half-normal


def test_relative_variance_of_a_known_row():
    assert relative_variance([3.0, -1.0, 0.0]) == pytest.approx(0.25)
    assert relative_variance([[2.0, 2.0], [0.0, 5.0]]) == pytest.approx([0, 0])


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: gamma(1.0, 1.0), "expected 0 <= S < a_1"),
        (lambda: extinction_schedule([1.0, 0.5], 0.1, order=2), "order 0 or 1"),
        (lambda: extinction_schedule([1.0, 0.5], 0.0), "expected lam > 0"),
        (
            lambda: extinction_schedule([[0.0, 0.0], [1.0, 0.5]], 0.1),
            "row with a non-zero weight",
        ),
        (lambda: SortedRow.of([np.inf, 1.0]), "finite weights"),
        (lambda: SortedRow.of([np.nan, 1.0]), "without NaN"),
        (lambda: relative_variance([0.0, 0.0]), "non-zero weight"),
        (lambda: gamma_rate(1.0, 0.0, 0.1), "expected winner > 0"),
        (lambda: start_offset(-1.0, 1.0), "expected time >= 0"),
    ],
)
def test_rows_outside_the_theorems_assumptions_are_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


# --- against the simulator ------------------------------------------------------------------


def simulate(row, times, backend="exact"):
    """Sizes (k, m) at increasing times, interference off."""
    forces = [FeatureBenefit(row.c), Regularization(row.lam)]
    run = integrate(
        forces, row.start[None], save_at=times, t_end=times[-1], rtol=1e-6, backend=backend
    )
    return np.abs(run.weights[:, 0])


def last_death(row, guess):
    """When the second-largest weight dies in the simulation, bracketed on ever finer grids."""
    low, high = max(guess - 10 / row.c, 0.0), guess + 10 / row.c
    for _ in range(4):
        grid = np.linspace(low, high, 100)
        many = (simulate(row, grid) > 0).sum(axis=1) > 1
        assert many[0]
        assert not many[-1]
        low, high = grid[many][-1], grid[~many][0]
    return float(low + high) / 2


@given(surviving_rows(m=(2, 120), share=(0.005, 0.05)))
def test_schedule_counts_the_survivors_of_the_simulation(row):
    schedule = extinction_schedule(row.start, row.lam, c=row.c)
    times = np.geomspace(0.02, 1.0, 6) * schedule.times[1]
    alive = (simulate(row, times) > 0).sum(axis=1)
    norm = float(np.linalg.norm(row.start))
    ratio = np.abs(row.start).sum() / norm
    off = 2 * row.lam * ratio**2 / (row.c * min(norm, 1.0)) ** 2 + 1e-9 * times
    assert np.all(schedule.survivors(times + off) <= alive)
    assert np.all(alive <= schedule.survivors(np.maximum(times - off, 0.0)))


@pytest.mark.parametrize("m", [4, 30, 300])
@pytest.mark.parametrize("c", [1.0, 4.0])
def test_schedule_converges_to_the_simulation_at_the_orders_it_claims(m, c):
    start = np.random.default_rng(m).normal(0, 0.9 / np.sqrt(m), m)
    lams = c * np.array([4e-3, 2e-3, 1e-3])
    errors = {0: [], 1: []}  # type: dict[int, list[float]]
    for lam in lams:
        row = Row(start, float(lam), c)
        guess = extinction_schedule(start, row.lam, c=c).times[1]
        exact = last_death(row, guess)
        for order, found in errors.items():
            found.append(extinction_schedule(start, row.lam, c=c, order=order).times[1] - exact)
    for order, found in errors.items():
        slope = np.polyfit(np.log(lams), np.log(np.abs(found)), 1)[0]
        assert slope == pytest.approx(order, abs=0.2)


@given(surviving_rows(m=(2, 60)), st.floats(0.05, 0.9), st.sampled_from(["exact", "numba"]))
def test_affine_law_holds_in_the_simulation(row, fraction, backend):
    """gamma is read off two weights of the run; all others must follow from it."""
    last = extinction_schedule(row.start, row.lam, c=row.c).times[1]
    now = simulate(row, np.array([0.0, fraction * last]), backend)[1]
    start = np.abs(row.start)
    first, second = np.argsort(-start)[:2]
    gap = 1 - start[second] / start[first]
    if now[second] > 1e-3 and gap > 1e-2:
        stretch = (1 - now[second] / now[first]) / gap
        expected = affine_law(start, now[first], stretch)
        np.testing.assert_allclose(now, expected, atol=1e-8 if backend == "exact" else 2e-5)


@given(surviving_rows(m=(2, 60)), st.floats(0.01, 0.98))
def test_relative_variance_of_the_simulation_stays_within_the_bounds(row, fraction):
    last = extinction_schedule(row.start, row.lam, c=row.c).times[1]
    sizes = simulate(row, np.linspace(0, fraction * last, 8))
    low, high = relative_variance_bounds(row.start)
    alive = (sizes > 0).sum(axis=1)
    found = relative_variance(sizes)
    assert np.all(found >= low[alive - 1] * (1 - 1e-6) - 1e-9)
    assert np.all(found <= high[alive - 1] * (1 + 1e-6) + 1e-9)
