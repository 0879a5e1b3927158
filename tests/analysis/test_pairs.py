"""The census: hand-made collisions, the closed-form race, the planar systems, relabelling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    gaussian_init,
    integrate,
)
from flow.analysis.pairs import (
    Fate,
    collisions,
    follow_collisions,
    initial_collisions,
    largest_collisions,
)
from flow.results.events import Events
from tests.strategies import log_uniform, relabelling, seeds, sparse_weights, weights
from theory.collisions import (
    malign_fixed_points,
    malign_rate,
    race_applies,
    race_time,
    sharing_is_stable,
)
from theory.counting import collision_pairs


def forces(lam, *, benefit=1.0, interference=1.0):
    return [FeatureBenefit(benefit), Interference(interference), Regularization(lam)]


def history(run, **how):
    return follow_collisions(run.times, run.weights, events=run.events, **how)


# A single W --------------------------------------------------------------------------------------


def test_pairs_on_a_neuron_with_their_signs():
    W = np.array([[0.5, 0.0, -0.1], [0.4, 0.2, 0.3], [-0.9, 0.2, 0.0], [0.0, 0.0, 0.0]])
    c = collisions(W)
    found = list(zip(c.neuron, c.first, c.second, c.benign, c.shared, strict=True))
    assert found == [
        (0, 0, 1, False, 2), (0, 0, 2, True, 1), (0, 1, 2, True, 2),
        (1, 1, 2, False, 2), (2, 0, 1, True, 2),
    ]  # fmt: skip
    assert c.first_weight.tolist() == [0.5, 0.5, 0.4, 0.2, -0.1]
    assert c.second_weight.tolist() == [0.4, -0.9, -0.9, 0.2, 0.3]
    above = collisions(W, threshold=0.3)  # 0.3 is not above 0.3
    assert list(zip(above.neuron, above.first, above.second, strict=True)) == [
        (0, 0, 1), (0, 0, 2), (0, 1, 2),
    ]  # fmt: skip
    assert above.shared.tolist() == [1, 1, 1]
    top = largest_collisions(W)
    assert list(zip(top.neuron, top.first, top.second, strict=True)) == [
        (0, 0, 1), (0, 0, 2), (0, 1, 2),
    ]  # fmt: skip


def test_where_nobody_meets_the_census_is_empty():
    for W in (np.zeros((3, 2)), np.eye(3), np.ones((1, 4))):
        assert collisions(W).first.size == largest_collisions(W).first.size == 0
        assert follow_collisions(np.array([0.0]), W[None]).fate.size == 0


def test_largest_weights_of_gaussian_starts_meet_as_often_as_chance_says():
    n, m, starts = 64, 48, 60
    pairs = [largest_collisions(gaussian_init(n, m, seed=s)).first.size for s in range(starts)]
    expected = float(collision_pairs(n, m))
    # The number of pairs has variance N (1/m)(1 − 1/m) for N = n(n−1)/2; false alarms: 6e-5.
    error = np.sqrt(expected * (1.0 - 1.0 / m) / starts)
    assert abs(np.mean(pairs) - expected) <= 4.0 * error


@given(W=sparse_weights(), seed=seeds, threshold=st.floats(0.0, 0.3))
def test_the_census_follows_relabelling(W, seed, threshold):
    rows, columns, signs = relabelling(np.random.default_rng(seed), W)
    moved = (W * signs)[rows][:, columns]

    def by_name(c, row_of, column_of):
        pairs = np.sort(np.stack([row_of[c.first], row_of[c.second]]), axis=0)
        return set(zip(*pairs, column_of[c.neuron], c.benign, c.shared, strict=True))

    own = np.arange(W.shape[0]), np.arange(W.shape[1])
    for census in (lambda W: collisions(W, threshold=threshold), largest_collisions):
        assert by_name(census(moved), rows, columns) == by_name(census(W), *own)
        assert (census(W).first < census(W).second).all()


# Along a run -------------------------------------------------------------------------------------


def test_hand_made_collisions_have_the_fates_they_were_made_for():
    times = np.array([0.0, 1.0, 2.0, 3.0])
    # neuron 0: 1 leaves 0 behind; neuron 1: both go; neuron 2: benign, lasts; neuron 3: turns over
    first = [
        [0.4, 0.5, 0.3, 0.2],
        [0.5, 0.5, 0.3, 0.2],
        [0.6, 0.0, 0.9, 0.0],
        [0.6, 0.0, 0.9, -0.3],
    ]
    second = [
        [0.5, 0.4, -0.2, 0.6],
        [0.0, 0.0, -0.2, 0.5],
        [0.1, 0.1, -0.1, 0.4],
        [0.0, 0.0, -0.1, 0.4],
    ]
    weights = np.stack([np.array(first), np.array(second)], axis=1)
    h = follow_collisions(times, weights)
    found = {
        (int(k), bool(b)): (t, u, v, fate.name)
        for k, b, t, u, v, fate in zip(
            h.met.neuron, h.met.benign, h.time, h.first_left, h.second_left, h.fate, strict=True
        )
    }
    inf = np.inf
    assert found == {
        (0, False): (0.0, inf, 3.0, "SMALLER_STAYED"),
        (1, False): (0.0, 2.0, 3.0, "BOTH_LEFT"),
        (2, True): (0.0, inf, inf, "BOTH_STAYED"),
        (3, False): (0.0, 2.0, inf, "LARGER_STAYED"),
        (3, True): (3.0, inf, inf, "BOTH_STAYED"),
    }
    assert h.counts(benign=True)[Fate.BOTH_STAYED] == 2
    assert h.counts(benign=False)[Fate.BOTH_STAYED] == 0
    assert sorted(h.ended) == [2.0, 2.0, 3.0, inf, inf]
    start = follow_collisions(times, weights, from_start=True)
    assert start.time.tolist() == [0.0] * 4
    large = follow_collisions(times, weights, threshold=0.35)
    assert large.met.neuron.tolist() == [0, 1]
    top = follow_collisions(times, weights, largest=True)
    assert top.met.neuron.tolist() == []


@given(seed=seeds, size=st.tuples(st.integers(2, 6), st.integers(1, 6)))
def test_collisions_of_the_start_end_as_in_the_history_of_the_run(seed, size):
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((2, *size)) < 0.7, rng.normal(size=(2, *size)), 0.0)
    whole = follow_collisions(np.array([0.0, 1.0]), weights, largest=True, from_start=True)
    ends = initial_collisions(*weights)
    assert ends.fate.tolist() == whole.fate.tolist()
    for kind in (True, False):
        assert ends.counts(benign=kind) == whole.counts(benign=kind)
    np.testing.assert_array_equal(ends.met.neuron, whole.met.neuron)


def test_a_start_and_an_end_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="of one shape"):
        initial_collisions(np.eye(2), np.eye(3))


@given(seed=seeds, size=st.tuples(st.integers(2, 6), st.integers(1, 6)), threshold=st.floats(0, 1))
def test_histories_follow_relabelling(seed, size, threshold):
    rng = np.random.default_rng(seed)
    times = np.arange(5.0)
    weights = np.where(rng.random((5, *size)) < 0.6, rng.normal(size=(5, *size)), 0.0)
    rows, columns, signs = relabelling(rng, weights[0])

    def by_name(h, row_of, column_of):
        found = {}
        for c, (i, j) in enumerate(zip(row_of[h.met.first], row_of[h.met.second], strict=True)):
            left = {i: h.first_left[c], j: h.second_left[c]}
            key = (min(i, j), max(i, j), column_of[h.met.neuron[c]], h.met.benign[c])
            found[key] = (h.time[c], left, h.fate[c], h.met.shared[c])
        assert len(found) == h.fate.size
        return found

    own = np.arange(size[0]), np.arange(size[1])
    for how in ({"threshold": threshold}, {"largest": True}, {"from_start": True}):
        moved = follow_collisions(times, (weights * signs)[:, rows][:, :, columns], **how)
        here = follow_collisions(times, weights, **how)
        assert by_name(moved, rows, columns) == by_name(here, *own)
        kinds = [here.counts(benign=benign) for benign in (True, False)]
        assert sum(sum(kind.values()) for kind in kinds) == here.fate.size


def test_departures_are_dated_by_the_log():
    W0 = np.array([[0.8], [0.5]])
    run = integrate(forces(0.05), W0, events=True)
    coarse = follow_collisions(run.times, run.weights)
    fine = history(run)
    assert coarse.ended == run.times[-1]
    assert fine.ended == run.events.extinctions.time
    assert fine.ended < run.times[-1]


def exact_race(a, b, lam):
    """When the smaller of two weights dies, by a general integrator."""

    def dies(_, u):
        return u[1]

    dies.terminal = True
    run = solve_ivp(
        lambda _, u: (1.0 - u @ u) * u - lam, (0.0, 1e5), [a, b], method="LSODA", events=dies,
        rtol=1e-11, atol=1e-13,
    )  # fmt: skip
    return run.t_events[0][0]


@settings(max_examples=8)
@given(a=st.floats(0.3, 1.2), ratio=st.floats(0.3, 0.9), lam=log_uniform(0.01, 0.03))
@example(a=0.30078125, ratio=0.3046875, lam=0.02998822787737923)
def test_a_malign_collision_is_the_closed_form_race(a, ratio, lam):
    b = ratio * a
    assume(bool(race_applies(a, b, lam)))
    W0 = np.array([[0.0, b, 0.0], [0.0, a, 0.0]])  # the larger is the second
    h = history(integrate(forces(lam), W0, rtol=1e-6, events=True))
    assert h.fate.tolist() == [Fate.LARGER_STAYED]
    assert h.met.benign.tolist() == [False]
    assert np.isinf(h.second_left)
    # Errors of steps along the slow race add up.
    exact = exact_race(a, b, lam)
    assert h.ended[0] == pytest.approx(exact, rel=2e-3)
    # The closed form is of first order: 3.53 λ late at most in a scan of these a, b and λ.
    assert float(race_time(a, b, lam)) == pytest.approx(exact, abs=4.0 * lam)


@settings(max_examples=20)
@given(a=st.floats(0.3, 1.2), b=st.floats(0.3, 1.2), lam=log_uniform(1e-3, 0.1))
def test_a_benign_collision_is_no_interaction(a, b, lam):
    W0 = np.array([[a, 0.0], [-b, 0.0]])
    together = integrate(forces(lam), W0, t_end=10.0, save_at=[0.0, 0.7, 3.0], rtol=1e-5,
                         events=True)  # fmt: skip
    alone = [
        integrate([FeatureBenefit(), Regularization(lam)], row[None], t_end=10.0,
                  save_at=[0.0, 0.7, 3.0])
        for row in W0
    ]  # fmt: skip
    apart = np.concatenate([run.weights for run in alone], axis=1)
    np.testing.assert_allclose(together.weights, apart, atol=1e-4)
    h = history(together, threshold=0.1)
    assert h.fate.tolist() == [Fate.BOTH_STAYED]
    assert h.met.benign.tolist() == [True]


def test_a_three_way_collision_is_three_pairs():
    run = integrate(forces(0.01), np.array([[0.5], [0.7], [0.6]]), events=True)
    h = history(run)
    fates = dict(zip(zip(h.met.first, h.met.second, strict=True), h.fate, strict=True))
    assert fates == {
        (0, 1): Fate.LARGER_STAYED, (0, 2): Fate.BOTH_LEFT, (1, 2): Fate.LARGER_STAYED,
    }  # fmt: skip
    assert run.events.extinctions.feature.tolist() == [0, 2]
    assert h.ended[1] == run.events.extinctions.time[0]


def planar(u, v, lam, times, benefit, other):
    """(times, 2): the malign system by a general integrator, while both weights live."""

    def rate(_, y):
        return np.stack(malign_rate(y[0], y[1], lam, benefit=benefit, interference=other))

    run = solve_ivp(rate, (0.0, times[-1]), [u, v], rtol=1e-10, atol=1e-12, t_eval=times)
    return run.y.T


@settings(max_examples=15)
@given(
    u=st.floats(0.5, 1.0),
    v=st.floats(0.5, 1.0),
    benefit=st.sampled_from([1.0, 4.0]),
    ratio=st.sampled_from([0.2, 0.6, 1.0, 1.7]),
)
def test_two_encodings_on_one_neuron_follow_the_planar_system(u, v, benefit, ratio):
    lam, times = 0.01 * benefit, np.array([0.05, 0.2, 0.5]) / benefit
    W0 = np.array([[0.0, u, 0.0, 0.0], [0.0, v, 0.0, 0.0]])
    run = integrate(
        forces(lam, benefit=benefit, interference=ratio * benefit),
        W0, t_end=times[-1], save_at=times, rtol=1e-6,
    )  # fmt: skip
    expected = planar(u, v, lam, times, benefit, ratio * benefit)
    np.testing.assert_allclose(run.weights[:, :, 1], expected, atol=2e-5)
    assert not run.weights[:, :, [0, 2, 3]].any()


def test_the_planar_system_holds_until_another_coordinate_joins():
    # The second row also has −0.5 on a free neuron: the first is pushed to +, past λ at once.
    lam, joined = 0.02, np.array([[0.8, 0.0], [0.5, -0.5]])
    run = integrate(forces(lam), joined, t_end=0.3, events=True, rtol=1e-6)
    assert list(zip(run.events.revivals.feature, run.events.revivals.neuron, strict=True)) == [
        (0, 1)
    ]
    free = planar(0.8, 0.5, lam, np.array([0.3]), 1.0, 1.0)[0]
    assert np.abs(run.final[:, 0] - free).max() > 0.01


@pytest.mark.parametrize(("strength", "stays"), [(1.0, False), (0.95, False), (0.3, True)])
def test_with_weak_interference_a_malign_pair_shares_the_neuron_for_ever(strength, stays):
    lam = 0.05
    assert sharing_is_stable(lam, interference=strength) == stays
    run = integrate(
        forces(lam, interference=strength), np.array([[0.62], [0.6]]), rtol=1e-5, events=True
    )
    fate = history(run).fate.tolist()
    if stays:
        assert fate == [Fate.BOTH_STAYED]
        point = malign_fixed_points(lam, interference=strength)[0]
        np.testing.assert_allclose(run.final[:, 0], [point.u, point.v], atol=1e-6)
    else:
        assert fate == [Fate.LARGER_STAYED]


@settings(max_examples=10)
@given(W0=weights(n=(4, 10), m=(6, 16), scale=(0.9, 1.1)))
def test_at_rest_no_malign_pair_is_left_on_a_neuron_of_its_own(W0):
    run = integrate(forces(0.05), W0, events=True)
    end = collisions(run.final)
    single = np.count_nonzero(run.final, axis=1) == 1
    alone = single[end.first] & single[end.second]
    assert end.benign[alone].all()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: collisions(np.zeros(3)), "expected W as"),
        (lambda: collisions(np.zeros((2, 2)), threshold=-1.0), "threshold >= 0"),
        (lambda: follow_collisions(np.zeros(2), np.zeros((2, 1, 1))), "increasing times"),
        (lambda: follow_collisions(np.zeros(1), np.zeros((2, 1, 1))), "increasing times"),
        (
            lambda: follow_collisions(np.zeros(1), np.zeros((1, 1, 1)), events=Events()),
            "events=True",
        ),
    ],
)
def test_histories_that_do_not_fit_together_are_refused_with_a_reason(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()
