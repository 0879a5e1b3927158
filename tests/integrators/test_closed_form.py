"""Laws of the interference-off flow (flow/exact.py), each held against an independent oracle."""

from __future__ import annotations

import math

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, special

import flow.integrators.closed_form
from flow.integrators.closed_form import ExactFlow
from flow.kernels.threads import compute_with
from tests.strategies import log_uniform, regularization_strengths, weights

LAWS = [
    pytest.param((1.0, 1.0), id="benefit"),
    pytest.param((4.0, 4.0), id="the loss's own benefit"),
    pytest.param((0.6, 1.0), id="benefit and weak decay"),
    pytest.param((-0.5, 1.0), id="benefit and strong decay"),
    pytest.param((0.0, 1.0), id="no linear growth"),
    pytest.param((-0.3, 0.0), id="decay alone"),
    pytest.param((0.7, 0.0), id="linear growth alone"),
    pytest.param((0.0, 0.0), id="regularization alone"),
]


def exact(W0, law):
    g0, g1, lam = law
    return ExactFlow(W0, growth_constant=g0, growth_quadratic=g1, lam=lam)


def literal(w0, law, t_end):
    """SciPy on the displayed equation, restarted at every extinction: w(t_end), extinctions."""
    g0, g1, lam = law
    u, t = np.abs(w0), 0.0
    extinct = np.where(u > 0.0, np.inf, 0.0)

    def smallest(_, y):
        return float(y.min())

    smallest.terminal, smallest.direction = True, -1
    while t < t_end and (alive := np.flatnonzero(u > 0.0)).size:
        solution = integrate.solve_ivp(
            lambda _, y: (g0 - g1 * (y @ y)) * y - lam,
            (t, t_end), u[alive], method="DOP853", rtol=1e-12, atol=1e-14,
            events=smallest if lam > 0.0 else None,
        )  # fmt: skip
        t, u[alive] = solution.t[-1], solution.y[:, -1]
        if solution.status == 1:
            dead = alive[u[alive] <= u[alive].min() + 1e-13]
            u[dead], extinct[dead] = 0.0, t
    return np.sign(w0) * u, extinct


def speed(w, law):
    g0, g1, lam = law
    rate = (g0 - g1 * (w**2).sum(axis=1, keepdims=True)) * w - lam * np.sign(w)
    return float(np.abs(rate).max())


def figure_two(m=10**5):
    draws = np.random.RandomState(0).normal(0.0, 0.9 / math.sqrt(m), (1, m))
    return np.abs(draws)


@pytest.mark.parametrize("growth", LAWS)
@settings(max_examples=12)
@given(
    W0=weights(n=(1, 2), m=(1, 7), scale=(0.05, 3.0)),
    lam=st.one_of(st.just(0.0), regularization_strengths(1e-3, 1.0)),
    t=log_uniform(0.01, 5.0),
)
def test_rows_and_extinctions_are_those_of_scipy_on_the_literal_field(growth, W0, lam, t):
    law = (*growth, lam)
    flow_ = exact(W0, law)
    for i, row in enumerate(W0):
        w, extinct = literal(row, law, t)
        assert np.abs(flow_.weights(t)[i] - w).max() <= 1e-9 * max(1.0, np.abs(w).max())
        ours = flow_.extinction_times(i)
        ours[ours > t] = np.inf
        np.testing.assert_allclose(ours, extinct, rtol=1e-9, atol=1e-9)


def test_a_whole_race_ends_when_scipy_says():
    rng = np.random.default_rng(3)
    w0 = rng.normal(0.0, 0.9 / math.sqrt(40), 40)
    _, extinct = literal(w0, (1.0, 1.0, 0.01), 1e4)
    ours = exact(w0[None], (1.0, 1.0, 0.01)).extinction_times()
    np.testing.assert_allclose(ours, extinct, rtol=1e-9)


@settings(max_examples=20)
@given(W0=weights(n=(1, 3), m=(2, 2000)), lam=regularization_strengths(1e-3, 0.6))
def test_order_and_signs_are_kept_and_the_smaller_dies_first(W0, lam):
    flow_ = exact(W0, (1.0, 1.0, lam))
    for i, row in enumerate(np.abs(W0)):
        order = np.argsort(row)
        extinct = flow_.extinction_times(i)
        assert (extinct[order][:-1] <= extinct[order][1:]).all()
        median = float(np.median(extinct))
        W = flow_.weights(min(median, 1e3))
        assert (np.diff(np.abs(W[i])[order]) >= 0.0).all()
        assert ((np.sign(W[i]) == np.sign(W0[i])) | (W[i] == 0.0)).all()
        dead = extinct < 0.999 * min(median, 1e3)
        alive = extinct > 1.001 * min(median, 1e3)
        assert (W[i][dead] == 0.0).all()
        assert (W[i][alive] != 0.0).all()


@settings(max_examples=20)
@given(
    W0=weights(n=(1, 3), m=(1, 500)),
    lam=st.one_of(st.just(0.0), regularization_strengths(1e-3, 0.6)),
    growth=st.sampled_from([(1.0, 1.0), (-0.2, 1.0), (0.0, 0.0), (0.5, 0.0)]),
)
def test_observables_are_those_of_the_weights(W0, lam, growth):
    flow_ = exact(W0, (*growth, lam))
    times = [0.0, 0.1, 1.0, 7.0]
    seen = flow_.observables(times)
    for k, t in enumerate(times):
        u = np.abs(flow_.weights(t))
        np.testing.assert_allclose(seen["l1"][k], u.sum(axis=1), rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(seen["l2"][k], np.sqrt((u**2).sum(axis=1)), rtol=1e-11)
        np.testing.assert_allclose(seen["l4"][k], (u**4).sum(axis=1), rtol=1e-11, atol=1e-18)
        assert (seen["nonzeros"][k] == np.count_nonzero(u, axis=1)).all()


def test_the_l1_norm_falls_as_appendix_b_says():
    """-d||W||_1/dt = lam m' - c (1 - ||W||^2) ||W||_1, by differences that meet no extinction."""
    c, lam, h = 4.0, 1e-2, 1e-4
    rng = np.random.default_rng(0)
    flow_ = exact(rng.normal(0.0, 0.9 / 32, (1, 1024)), (c, c, lam))
    compared = 0
    for t in np.geomspace(0.01, 60.0, 200):
        seen = {name: value[:, 0] for name, value in flow_.observables([t - h, t, t + h]).items()}
        if seen["nonzeros"][0] == seen["nonzeros"][2]:
            slope = (seen["l1"][2] - seen["l1"][0]) / (2 * h)
            law = lam * seen["nonzeros"][1] - c * (1 - seen["l2"][1] ** 2) * seen["l1"][1]
            assert abs(slope + law) <= 1e-6 * lam * seen["nonzeros"][1] + 1e-9
            compared += 1
    assert compared >= 50


@settings(max_examples=20)
@given(W0=weights(n=(1, 2), m=(2, 60), scale=(0.7, 1.3)), lam=regularization_strengths(1e-3, 0.05))
def test_one_survivor_comes_to_rest_at_the_stable_root(W0, lam):
    c = 4.0
    root = 2 / math.sqrt(3) * math.cos(math.acos(-3 * math.sqrt(3) * lam / (2 * c)) / 3)
    end = exact(W0, (c, c, lam)).weights(1e7)
    winner = np.abs(W0).argmax(axis=1)
    rows = np.arange(len(W0))
    np.testing.assert_allclose(np.abs(end[rows, winner]), root, rtol=1e-13)
    assert (np.count_nonzero(end, axis=1) == 1).all()


@pytest.mark.parametrize("excess", [1e-6, 1e-3, 1.0])
def test_above_the_critical_strength_a_row_dies_at_the_time_of_the_quadrature(
    excess,
):
    critical = 2 / (3 * math.sqrt(3))
    lam, u0 = critical * (1 + excess), 0.9
    flow_ = exact(np.array([[-u0]]), (1.0, 1.0, lam))
    bottleneck = 1 / math.sqrt(3)
    time, _ = integrate.quad(
        lambda u: 1 / (lam - (1 - u * u) * u), 0.0, u0, points=[bottleneck],
        epsabs=0.0, epsrel=1e-12, limit=500,
    )  # fmt: skip
    assert flow_.extinction_times()[0] == pytest.approx(time, rel=1e-9)
    assert flow_.weights(time * (1 - 1e-6))[0, 0] < 0.0
    assert flow_.weights(time * (1 + 1e-6))[0, 0] == 0.0
    assert np.isinf(exact(np.array([[u0]]), (1.0, 1.0, critical * 0.999)).extinction_times()[0])


def test_a_weight_below_the_death_threshold_dies_and_one_above_it_wins():
    lam = 0.1
    threshold = 2 / math.sqrt(3) * math.sin(math.asin(3 * math.sqrt(3) * lam / 2) / 3)
    below = exact(np.array([[threshold * (1 - 1e-6)]]), (1.0, 1.0, lam)).extinction_times()
    above = exact(np.array([[threshold * (1 + 1e-6)]]), (1.0, 1.0, lam)).extinction_times()
    assert np.isfinite(below[0])
    assert np.isinf(above[0])


def test_equal_weights_stay_tied_and_rest_at_the_saddle():
    W0 = np.array([[0.4, -0.4, 0.1, 0.4, 0.0]])
    flow_ = exact(W0, (1.0, 1.0, 0.05))
    for t in (0.5, 5.0, 500.0):
        w = flow_.weights(t)[0]
        assert w[0] == -w[1] == w[3] > 0.0
        assert w[4] == 0.0
    v = flow_.weights(500.0)[0, 0]
    assert (1 - 3 * v * v) * v == pytest.approx(0.05, rel=1e-13)
    extinct = flow_.extinction_times()
    assert np.isinf(extinct[[0, 1, 3]]).all()
    assert 0.0 < extinct[2] < np.inf
    assert extinct[4] == 0.0


@pytest.mark.parametrize("gap", [1e-3, 1e-7, 1e-12])
def test_the_two_way_race_takes_its_closed_form_time_however_close(gap):
    lam = 1e-7
    a, b = math.sqrt(0.5) + gap / 2, math.sqrt(0.5) - gap / 2
    a, b = a / math.hypot(a, b), b / math.hypot(a, b)
    course = (math.asinh((a + b) / (a - b)) - math.asinh(1.0)) / math.sqrt(2)
    time = course / lam - 0.5 * math.log(1 / (a - b))
    extinct = exact(np.array([[a, -b]]), (1.0, 1.0, lam)).extinction_times()
    assert extinct[1] == pytest.approx(time, abs=1e-4)  # of at least 4e7; the next term is O(lam)


@pytest.mark.parametrize("growth", LAWS)
@settings(max_examples=12)
@given(
    W0=weights(n=(1, 3), m=(1, 400)),
    lam=regularization_strengths(1e-3, 0.3),
    t=log_uniform(0.01, 3.0),
)
def test_stopping_and_restarting_changes_nothing(growth, W0, lam, t):
    law = (*growth, lam)
    whole = exact(W0, law)
    again = exact(whole.weights(t), law).weights(2 * t)
    np.testing.assert_allclose(again, whole.weights(3 * t), rtol=0.0, atol=1e-9)


@settings(max_examples=12)
@given(W0=weights(m=(1, 300)), lam=regularization_strengths(1e-3, 0.3), t=log_uniform(0.1, 30.0))
def test_the_convention_c_only_rescales_strength_and_time(W0, lam, t):
    here, there = exact(W0, (4.0, 4.0, lam)), exact(W0, (1.0, 1.0, lam / 4))
    np.testing.assert_allclose(here.weights(t), there.weights(4 * t), rtol=0.0, atol=1e-9)


@pytest.mark.parametrize(("n", "m"), [(33, 1001), (1, 70_001)])
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_the_number_of_threads_changes_no_bit(n, m, monkeypatch):
    monkeypatch.setattr(flow.integrators.closed_form, "MANY_WEIGHTS", 0)
    monkeypatch.setattr(flow.integrators.closed_form, "MANY_ROWS", 0)
    W0 = np.random.default_rng(1).normal(0.0, 0.9 / math.sqrt(m), (n, m))
    found = []
    for threads in (1, 2):
        with compute_with(threads):
            flow_ = exact(W0, (1.0, 1.0, 1e-3))
            seen = flow_.observables([0.3, 30.0])
            found.append([flow_.weights(20.0), *seen.values(), flow_.extinction_times(n - 1)])
    for one, two in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()


def test_figure_two_of_the_paper_is_reproduced_in_closed_form():
    """theory/README, end of section 2, and the finishing time under section 2's reduction."""
    flow_ = exact(figure_two(), (1.0, 1.0, 1e-5))
    seen = flow_.observables([100, 1e3, 1e4, 2e4, 5e4, 1e5])
    assert seen["nonzeros"][:, 0].tolist() == [77649, 14420, 243, 61, 6, 3]
    points = [218.58, 90.093, 11.168, 5.2826, 1.8844, 1.4594]
    np.testing.assert_allclose(seen["l1"][:, 0], points, rtol=5e-5)
    assert np.sort(flow_.extinction_times())[-2] == pytest.approx(181_720.02, abs=0.05)


def test_figure_two_agrees_with_scipy_on_the_two_scalars():
    """Another solver, another form (norm and shift, in time), prefix sums instead of ours."""
    lam, times = 1e-5, [100.0, 1e3, 1e4, 2e4, 5e4, 1e5]
    a = np.sort(figure_two()[0])[::-1]
    first, second = np.cumsum(a), np.cumsum(a * a)

    def scalars(S):
        k = int(np.searchsorted(-a, -S)) - 1
        return first[k] - (k + 1) * S, second[k] - 2 * S * first[k] + (k + 1) * S * S

    def rate(_, y):
        P, Q = scalars(y[1])
        return [(1 - y[0] ** 2) * y[0] - lam * P / math.sqrt(Q), lam * math.sqrt(Q) / y[0]]

    start = [math.sqrt(second[-1]), 0.0]
    solution = integrate.solve_ivp(
        rate, (0.0, times[-1]), start, method="Radau", t_eval=times, rtol=1e-9, atol=1e-14
    )
    N, S = solution.y
    l1 = [n * P / math.sqrt(Q) for n, (P, Q) in zip(N, map(scalars, S), strict=True)]
    seen = exact(a[None], (1.0, 1.0, lam)).observables(times)
    np.testing.assert_allclose(seen["l1"][:, 0], l1, rtol=1e-8)
    np.testing.assert_allclose(seen["l2"][:, 0], N, rtol=1e-8)


def test_zeros_stay_zero_and_start_and_dtype_are_kept():
    W0 = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, -1e-30], [1.0, 0.9, 0.8]])
    for law in [(1.0, 1.0, 0.1), (0.0, 0.0, 0.1), (1.0, 1.0, 0.0), (-1.0, 0.0, 0.0)]:
        flow_ = exact(W0, law)
        assert flow_.weights(0.0).tobytes() == W0.tobytes()
        assert not flow_.weights(1e4)[0].any()
        assert not flow_.extinction_times(0).any()
        assert not flow_.weights(2.0)[0].any()
        assert flow_.weights(2.0)[1, 1] == 0.0
        assert (flow_.weights(2.0)[1, 2] == 0.0) == (law[2] > 0.0)
        assert flow_.observables(2.0)["nonzeros"][0, 1] == (1 if law[2] else 2)
        small = exact(W0.astype(np.float32), law).weights(2.0)
        assert small.dtype == np.float32
        np.testing.assert_allclose(small, flow_.weights(2.0), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("growth", LAWS)
@settings(max_examples=10)
@given(
    W0=weights(n=(1, 4), m=(1, 12)),
    lam=st.one_of(st.just(0.0), regularization_strengths(1e-3, 0.3)),
    share=log_uniform(1e-6, 0.9),
)
def test_the_stationary_time_is_the_first_at_which_all_is_quiet(growth, W0, lam, share):
    law = (*growth, lam)
    flow_, limit = exact(W0, law), share * speed(W0, law)
    time = min(flow_.stationary_times(limit), default=math.inf)
    grid = np.linspace(0.0, min(time, 20.0) * (1 - 1e-6), 40)
    assert time >= 0.0
    assert all(speed(flow_.weights(t), law) > limit * (1 - 1e-6) for t in grid if time > 0.0)
    if math.isinf(time):
        assert growth == (0.7, 0.0)
    elif time > 0.0:
        assert speed(flow_.weights(time * (1 + 1e-9) + 1e-12), law) <= limit * (1 + 1e-6)


@pytest.mark.parametrize("g1", [0.0, 1e-3])
def test_rows_must_be_quiet_together_and_a_dying_weight_is_not(g1):
    """A weight below 0.15 is faster than the limit; the rows have theirs one after the other."""
    law, limit = (0.1, g1, 0.1), 0.085
    W0 = np.array([[0.1, 0.0], [0.9, -0.2]])
    flow_ = exact(W0, law)
    first, second = flow_.extinction_times(0)[0], flow_.extinction_times(1)[1]
    assert speed(flow_.weights(0.0)[1:], law) < limit < speed(flow_.weights(first)[1:], law)
    assert flow_.stationary_times(limit)[0] == pytest.approx(second, rel=1e-12)


def test_regularization_alone_is_done_when_the_largest_weight_is():
    W0 = np.array([[0.5, -2.0], [1.5, 0.1]])
    flow_ = exact(W0, (0.0, 0.0, 0.25))
    assert flow_.stationary_times(0.01)[0] == pytest.approx(8.0, rel=1e-14)
    np.testing.assert_allclose(flow_.extinction_times(0), [2.0, 8.0], rtol=1e-14)


@pytest.mark.parametrize(
    ("W0", "changes", "says"),
    [
        (np.ones(3), {}, "expected W0 as"),
        (np.ones((0, 3)), {}, "expected W0 as"),
        (np.ones((2, 3), dtype=int), {}, "float32 or float64"),
        (np.array([[1.0, np.nan]]), {}, "expected W0 to be finite"),
        (np.array([[1.0, -np.inf]]), {}, "expected W0 to be finite"),
        (np.ones((2, 3)), {"lam": -1.0}, "lam >= 0"),
        (np.ones((2, 3)), {"growth_quadratic": -1.0}, "growth_quadratic >= 0"),
        (np.ones((2, 3)), {"growth_constant": np.nan}, "growth_constant"),
    ],
)
def test_what_is_not_a_flow_is_refused(W0, changes, says):
    law = {"growth_constant": 1.0, "growth_quadratic": 1.0, "lam": 0.1} | changes
    with pytest.raises(ValueError, match=says):
        ExactFlow(W0, **law)


@pytest.mark.parametrize("t", [-1.0, math.inf, math.nan])
def test_times_before_the_start_or_beyond_all_are_refused(t):
    flow_ = exact(np.ones((1, 2)), (1.0, 1.0, 0.1))
    with pytest.raises(ValueError, match="expected finite times >= 0"):
        flow_.weights(t)
    with pytest.raises(ValueError, match="tolerance >= 0"):
        flow_.stationary_times(-1.0)


@pytest.mark.long
def test_ten_million_weights_follow_the_universal_law():
    """theory/README, section 2, Gaussian starts: leading order, so within 0.3 % at this lam
    sqrt(m)."""
    m, lam = 10**7, 1e-6
    W0 = np.random.default_rng(0).normal(0.0, 0.9 / math.sqrt(m), (1, m))

    def q(x):
        tail = 0.5 * special.erfc(x / math.sqrt(2))
        return 2 * ((1 + x * x) * tail - x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi))

    x = np.array([0.3, 1.0, 2.0, 3.0])
    tail = 0.5 * special.erfc(x / math.sqrt(2))
    p = 2 * (np.exp(-x * x / 2) / math.sqrt(2 * math.pi) - x * tail)
    course = [integrate.quad(lambda v: 1 / math.sqrt(q(v)), 0.0, end)[0] for end in x]
    seen = exact(W0, (1.0, 1.0, lam)).observables(np.array(course) / (lam * math.sqrt(m)))
    law = p / np.sqrt([q(v) for v in x])
    np.testing.assert_allclose(seen["l1"][:, 0] / math.sqrt(m), law, rtol=3e-3)
    np.testing.assert_allclose(seen["nonzeros"][:, 0] / m, 2 * tail, rtol=1e-2)


def logistic(W0, t, g0, g1):
    """W(t) with λ = 0 to 40 digits: ‖W‖² is logistic, and the direction is kept."""
    with mpmath.workdps(40):
        row = [mpmath.mpf(w) for w in W0.tolist()]
        square, g0 = sum(w * w for w in row), mpmath.mpf(g0)
        decay = mpmath.exp(-2 * g0 * t)
        z = mpmath.sqrt(decay + g1 * square * ((1 - decay) / g0 if g0 else 2 * t))
        return np.array([float(w / z) for w in row])


@given(
    weights(n=(1, 1)),
    log_uniform(1e-300, 1e300),
    log_uniform(1e-6, 1e3),
    st.sampled_from([1.0, 0.3, 0.0, -0.5]),
    log_uniform(1e-3, 1e3),
)
def test_rows_of_every_scale_that_float64_has_follow_the_logistic_law(W, scale, t, g0, g1):
    W = W * scale
    rows = exact(W, (g0, g1, 0.0))
    expected = logistic(W[0], t, g0, g1)
    # g₀ t is rounded before its exponential is taken
    bound = 1e-14 + 4e-16 * abs(g0) * t
    np.testing.assert_allclose(rows.weights(t)[0], expected, rtol=bound, atol=1e-306)
    np.testing.assert_allclose(
        rows.observables([t])["l1"][0, 0], math.fsum(np.abs(expected)), rtol=bound, atol=1e-305
    )


@pytest.mark.parametrize("scale", [1e-165, 1e160, 1e300])
def test_a_row_whose_square_float64_cannot_hold_comes_to_unit_length(scale):
    W0 = np.array([[0.6, 0.8]]) * scale
    run = flow.integrate([flow.FeatureBenefit()], W0, t_end=400.0, backend="exact")
    assert run.status is flow.Status.REACHED_T_END
    np.testing.assert_allclose(run.final, [[0.6, 0.8]], rtol=1e-14)
    np.testing.assert_allclose(run.observables.l2[-1], 1.0, rtol=1e-14)


@given(
    weights(n=(1, 1), m=(2, 6)),
    log_uniform(1e-250, 1e-20),
    log_uniform(1e-30, 1e-3),
)
def test_small_rows_under_a_smaller_lambda_come_to_unit_length_in_their_direction(W, scale, share):
    # λ takes away λ/g₀ of a weight before it has grown, and after that nothing: so much is known.
    rows = exact(W * scale, (1.0, 1.0, share * scale))
    left = np.sign(W) * np.maximum(np.abs(W) - share, 0.0)
    assume(np.abs(W).max() > 3.0 * share)
    np.testing.assert_allclose(
        rows.weights(700.0), left / np.linalg.norm(left), rtol=1e-8, atol=1e-8 + 1e3 * scale
    )


def test_rows_too_large_for_an_l1_flow_are_one_sentence():
    with pytest.raises(ValueError, match="rescale W0 and the coefficients towards 1"):
        exact(np.array([[6e159, 8e159]]), (1.0, 1.0, 0.1))
