"""The event log: deaths and revivals against exact times, and the bookkeeping it must satisfy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    Trajectory,
    gaussian_init,
    integrate,
)
from flow.analysis.states import winners
from flow.driver.events import EventRecorder
from flow.forces import sum_forces
from flow.integrators.closed_form import ExactFlow
from flow.integrators.field import Field
from flow.integrators.schemes import ProximalChebyshev, ProximalEuler
from flow.results.events import Events, WeightEvents
from tests.strategies import seeds, weights

REVIVES_AND_WINS = np.array([[0.15, -0.1], [0.08, 0.001]])
"""At λ = 0.05 the second weight of row 1 dies at once; once both rows have grown, their overlap on
neuron 0 pushes it back to life against row 0's −0.1, and when row 1 has lost neuron 0, it wins."""


def forces(lam):
    return [FeatureBenefit(), Interference(), Regularization(lam)]


def places(events):
    return list(zip(events.feature.tolist(), events.neuron.tolist(), strict=True))


def test_a_weight_dies_revives_and_wins():
    lam = 0.05
    run = integrate(forces(lam), REVIVES_AND_WINS, rtol=1e-6, events=True)
    log = run.events
    won = winners(REVIVES_AND_WINS, run.final)
    assert won.neuron.tolist() == [0, 1]
    assert won.initial_rank.tolist() == [1, 2]
    assert log.ever_revived(np.arange(2), won.neuron).tolist() == [False, True]
    assert places(log.revivals) == [(1, 1)]
    assert places(log.extinctions)[0] == (1, 1)
    assert sorted(places(log.extinctions)[1:]) == [(0, 1), (1, 0)]

    # While it is dead the other three weights make a smooth system; it revives when the overlap's
    # push on it passes λ.
    def rate(_, y):
        a, b, u = y  # W_00, −W_01, W_10
        return np.array(
            [
                (1 - a * a - b * b - u * u) * a - lam,
                (1 - a * a - b * b) * b - lam,
                (1 - u * u - a * a) * u - lam,
            ]
        )

    def revives(_, y):
        return float(y[0] * y[2] * y[1] - lam)

    revives.terminal = True
    oracle = solve_ivp(rate, (0.0, 10.0), [0.15, 0.1, 0.08], rtol=1e-10, atol=1e-12, events=revives)
    assert oracle.status == 1
    assert abs(log.revivals.time[0] - oracle.t[-1]) <= log.revivals.resolution[0]
    assert log.revivals.value[0] > 0.0
    assert log.revivals.force[0] > lam
    # Meanwhile u' = 0.9936 u − (λ − push) nearly, push = 0.1·G and G = 0.15·0.08 − 0.1·0.001.
    pull, growth = lam - 0.1 * (0.15 * 0.08 - 0.1 * 0.001), 1.0 - 0.08**2
    dies = -np.log1p(-growth * 0.001 / pull) / growth
    assert log.extinctions.time[0] == pytest.approx(dies, rel=2e-3)
    assert log.extinctions.value[0] > 0.0
    # The scheme lets it go in the step in which the mean push passes λ. If that is the step of the
    # crossing itself, the log has the crossing; else the start of the next step.
    for h in (0.07, 0.14, 0.18, 0.26, 0.08, 0.1, 0.2):
        fixed = integrate(forces(lam), REVIVES_AND_WINS, t_end=4.0, fixed_step=h, events=True)
        into_step = oracle.t[-1] % h / h
        late = fixed.events.revivals.time[0] - oracle.t[-1]
        expected = 0.0 if into_step < 0.5 else (1.0 - into_step) * h
        assert late == pytest.approx(expected, abs=0.01 * h)


@settings(max_examples=10)
@given(W0=weights(n=(1, 4), m=(2, 16)), lam=st.sampled_from([0.01, 0.05, 0.2]))
def test_extinction_times_are_those_of_the_exact_flow(W0, lam):
    lawful = [FeatureBenefit(), Regularization(lam)]
    flow = ExactFlow(W0, growth_constant=1.0, growth_quadratic=1.0, lam=lam)
    t_end = 3.0
    exact = np.stack([flow.extinction_times(i) for i in range(W0.shape[0])])
    run = integrate(lawful, W0, t_end=t_end, backend="exact", events=True).events
    assert sorted(places(run.extinctions)) == sorted(zip(*np.nonzero(exact <= t_end), strict=True))
    found = run.extinctions
    np.testing.assert_array_equal(found.time, exact[found.feature, found.neuron])
    np.testing.assert_array_equal(found.value, W0[found.feature, found.neuron])
    assert run.revivals.time.size == 0
    h = 0.05
    stepped = integrate(
        lawful, W0, t_end=t_end, backend="numba", scheme=ProximalChebyshev(), fixed_step=h,
        events=True,
    ).events  # fmt: skip
    truth = exact[stepped.extinctions.feature, stepped.extinctions.neuron]
    # Inside a step the time has an error of third order, of which long rows have more: of 35,000
    # times none was off by more than h (2e-4 + 0.1 (r²h)²), r the length of the row at the start.
    reach = h * np.sum(W0**2, axis=1)[stepped.extinctions.feature]
    off = np.abs(stepped.extinctions.time - truth)
    assert np.all(off <= h * (3e-4 + 0.15 * reach**2))
    assert abs(stepped.extinctions.time.size - found.time.size) <= 1  # one may die at t_end
    assert (np.diff(stepped.extinctions.time) >= 0.0).all()


def support_from_log(W0, events, t):
    count = (W0 != 0.0).astype(int)
    for log, change in ((events.extinctions, -1), (events.revivals, 1)):
        by_then = log.time <= t
        np.add.at(count, (log.feature[by_then], log.neuron[by_then]), change)
    return count


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("how", [{}, {"scheme": ProximalEuler(), "fixed_step": 0.02}])
def test_the_log_rebuilds_every_support_of_the_run(dtype, how):
    # From dense to sparse: fill falls from 1 to below 0.04.
    W0 = gaussian_init(32, 64, seed=3).astype(dtype)
    steps = integrate(forces(0.04), W0, t_end=60.0, **how).observables.times
    ends = steps[np.searchsorted(steps, [0.5, 2.0, 6.0, 12.0, 30.0])]
    run = integrate(forces(0.04), W0, t_end=60.0, save_at=ends, events=True, **how)
    log = run.events
    assert log.revivals.time.size > 20
    for t, W in zip(run.times, run.weights, strict=True):
        np.testing.assert_array_equal(support_from_log(W0, log, t), W != 0.0)
    assert np.count_nonzero(run.final) < 0.04 * W0.size
    for events in (log.extinctions, log.revivals):
        assert (np.diff(events.time) >= 0.0).all()
        assert (events.value != 0.0).all()
        assert (events.resolution > 0.0).all()
        assert ((events.time > 0.0) & (events.time <= 60.0)).all()
    died = support_from_log(W0, log, np.inf) - (W0 != 0.0)
    assert -died.sum() == log.extinctions.time.size - log.revivals.time.size


def test_events_lie_within_the_steps_they_are_said_to_lie_in():
    W0 = gaussian_init(24, 96, seed=3)
    run = integrate(forces(0.02), W0, t_end=50.0, events=True, overlap_events=True)
    steps = run.observables.times
    for log in (run.events.extinctions, run.events.revivals, run.events.overlaps):
        after = np.clip(np.searchsorted(steps, log.time), 1, steps.size - 1)
        lengths = np.stack([steps[after] - steps[after - 1], steps[after - 1] - steps[after - 2]])
        edge = log.time == steps[after]  # on the edge of two steps it may belong to the next
        following = steps[np.minimum(after + 1, steps.size - 1)] - steps[after]
        fits = np.isclose(log.resolution, lengths[0], rtol=1e-9)
        assert (fits | (edge & np.isclose(log.resolution, following, rtol=1e-9))).all()
        inside = (log.time > steps[after - 1]) & (log.time < steps[after])
        assert inside.mean() > 0.5


def test_a_weight_that_goes_through_zero_dies_and_revives_at_once():
    # Row 0's small −0.02 is pushed up by 0.9²·0.6 in an overlap that λ cannot hold.
    W0 = np.array([[0.9, -0.02], [0.9, -0.6]])
    run = integrate(forces(0.01), W0, t_end=0.5, fixed_step=0.5, events=True)
    log = run.events
    assert places(log.extinctions) == [(0, 1)]
    assert places(log.revivals) == [(0, 1)]
    assert log.extinctions.time == log.revivals.time
    assert 0.0 < log.extinctions.time[0] < 0.1
    assert log.extinctions.value == [-0.02]
    assert log.revivals.value == run.final[0, 1]


def test_logging_changes_nothing_and_is_off_unless_asked_for():
    W0 = gaussian_init(24, 96, seed=3)
    silent = integrate(forces(0.02), W0, t_end=60.0)
    logged = integrate(forces(0.02), W0, t_end=60.0, events=True, overlap_events=True)
    assert silent.final.tobytes() == logged.final.tobytes()
    assert silent.stats["accepted"] == logged.stats["accepted"]
    assert not silent.events.weights_logged
    assert not silent.events.overlaps_logged
    assert all(a.size == 0 for name, a in silent.events.arrays().items() if "logged" not in name)
    assert silent.parameters["events"] is False
    assert logged.parameters["overlap_events"] is True
    only = integrate(forces(0.02), W0, t_end=60.0, overlap_events=True).events
    assert only.extinctions.time.size == 0
    assert only.overlaps.time.size == logged.events.overlaps.time.size > 0


def test_the_log_is_saved_and_loaded(tmp_path):
    W0 = gaussian_init(12, 24, seed=1)
    for how in ({}, {"events": True, "overlap_events": True}):
        run = integrate(forces(0.05), W0, t_end=20.0, **how)
        run.save(tmp_path / "run.npz")
        loaded = Trajectory.load(tmp_path / "run.npz").events
        assert loaded.weights_logged == loaded.overlaps_logged == bool(how)
        for name, values in run.events.arrays().items():
            np.testing.assert_array_equal(loaded.arrays()[name], values)
            assert loaded.arrays()[name].dtype == values.dtype


@pytest.mark.parametrize("n_m", [(12, 24), (24, 96)])
def test_signs_of_overlaps_form_chains_from_the_start_to_the_end(n_m):
    W0 = gaussian_init(*n_m, seed=2)
    run = integrate(forces(0.02), W0, t_end=200.0, overlap_events=True)
    log = run.events.overlaps
    assert (log.first < log.second).all()
    assert (np.diff(log.time) >= 0.0).all()
    sign = np.sign(W0 @ W0.T).astype(int)
    for i, j, before, after in zip(log.first, log.second, log.before, log.after, strict=True):
        assert sign[i, j] == before != after
        sign[i, j] = after
    upper = np.triu_indices(n_m[0], 1)
    shared = run.final @ run.final.T
    np.testing.assert_array_equal(sign[upper], np.sign(shared)[upper])
    assert (log.after == 0).any()


@settings(max_examples=20)
@given(seed=seeds)
def test_sparse_layouts_have_the_overlaps_of_dense_ones(seed):
    rng = np.random.default_rng(seed)
    W = np.where(rng.random((80, 200)) < 0.02, rng.normal(size=(80, 200)), 0.0)
    state = Field(sum_forces(forces(0.1)), 80, 200, W.dtype).init(W)
    assert state.layout.column is not None
    recorder = EventRecorder(sum_forces(forces(0.1)), state, weights=False, overlaps=True)
    np.testing.assert_allclose(np.triu(recorder._G, 1), np.triu(W @ W.T, 1), atol=1e-14)


def test_an_overlap_changes_sign_where_the_run_says_so():
    W0 = gaussian_init(6, 8, seed=4)
    run = integrate(forces(0.05), W0, t_end=5.0, fixed_step=0.02, overlap_events=True)
    log = run.events.overlaps
    checked = 0
    for t, i, j, before, after in zip(
        log.time[:12], log.first, log.second, log.before, log.after, strict=False
    ):
        if before * after == -1:
            W = integrate(forces(0.05), W0, t_end=t, rtol=1e-8).final
            h = integrate(forces(0.05), W0, t_end=t + 0.01, rtol=1e-8).final
            slope = abs((h @ h.T - W @ W.T)[i, j]) / 0.01
            assert abs((W @ W.T)[i, j]) <= 4e-3 * slope  # a fifth of a step off at most
            checked += 1
    assert checked >= 2


@pytest.mark.parametrize("backend", ["numba", "exact"])
def test_a_run_that_starts_later_logs_later(backend):
    W0 = gaussian_init(3, 12, seed=0)
    lawful = [FeatureBenefit(), Regularization(0.1)]
    early = integrate(lawful, W0, t_end=4.0, backend=backend, events=True).events
    late = integrate(lawful, W0, t_start=5.0, t_end=9.0, backend=backend, events=True).events
    assert early.extinctions.time.size > 10
    np.testing.assert_allclose(late.extinctions.time, early.extinctions.time + 5.0, rtol=1e-9)


@given(seed=seeds)
def test_ever_revived_is_membership_in_the_log(seed):
    rng = np.random.default_rng(seed)
    feature, neuron = rng.integers(0, 5, 12), rng.integers(0, 4, 12)
    zeros = np.zeros(12)
    log = Events(
        weights_logged=True, revivals=WeightEvents(zeros, feature, neuron, zeros, zeros, zeros)
    )
    grid = np.meshgrid(np.arange(5), np.arange(4), indexing="ij")
    expected = np.zeros((5, 4), bool)
    expected[feature, neuron] = True
    np.testing.assert_array_equal(log.ever_revived(*grid), expected)


def test_what_cannot_be_logged_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="backend='numba'"):
        integrate([FeatureBenefit()], np.ones((2, 2)), t_end=1.0, overlap_events=True)
    with pytest.raises(ValueError, match="events=True"):
        Events().ever_revived(np.zeros(1, int), np.zeros(1, int))
