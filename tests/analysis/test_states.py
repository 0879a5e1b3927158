"""End states, polysemantic counts, winners: hand-made cases, and laws under relabelling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flow import FeatureBenefit, Interference, Regularization, integrate
from flow.analysis.states import (
    AUTHORS_WINDOW,
    FeatureState,
    NeuronState,
    end_states,
    is_polysemantic,
    polysemantic_neurons,
    row_residuals,
    winners,
)
from flow.analysis.statistics import mean_and_interval, standard_error
from tests.strategies import relabelling, seeds, sparse_weights, weights
from theory.equilibrium import equal_survivor_roots

EVERYTHING = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],  # dead
        [0.9, 0.0, 0.0, 0.0, 0.0],  # alone
        [0.0, 0.8, 0.0, 0.0, 0.0],  # shares with the next
        [0.0, -1.2, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.7, 0.7, 0.0],  # on two neurons, one of them also the next one's
        [0.0, 0.0, 0.0, 1.3, 0.0],
        [0.0, 0.0, 0.0, 0.1, 0.0],
    ]
)


def test_every_class_is_found_where_it_was_put():
    states = end_states(EVERYTHING)
    assert [state.name for state in states.features] == [
        "DEAD", "MONOSEMANTIC", "SHARING", "SHARING", "SPREAD", "SHARING", "SHARING",
    ]  # fmt: skip
    assert [state.name for state in states.neurons] == ["ONE", "TWO", "ONE", "MORE", "UNUSED"]
    assert states.counts()[FeatureState.SHARING] == 4
    assert states.neuron_counts()[NeuronState.ONE] == 2


def test_a_feature_that_moves_is_not_converged_whatever_its_weights():
    residuals = np.array([0.0, 2e-3, 1e-3, 1.1e-3, 0.0, np.nan, 0.0])
    states = end_states(EVERYTHING, residuals=residuals, tolerance=1e-3).features
    assert [state.name for state in states] == [
        "DEAD", "NOT_CONVERGED", "SHARING", "NOT_CONVERGED", "SPREAD", "NOT_CONVERGED", "SHARING",
    ]  # fmt: skip


def test_a_feature_with_a_weight_that_is_no_number_is_not_converged():
    W = np.array([[np.nan, 0.0], [0.0, 1.0], [0.0, -np.inf]])
    names = [state.name for state in end_states(W).features]
    assert names == ["NOT_CONVERGED", "SHARING", "NOT_CONVERGED"]


@given(W=sparse_weights(), seed=seeds)
def test_classes_add_up_and_follow_relabelling(W, seed):
    rng = np.random.default_rng(seed)
    residuals = rng.random(W.shape[0])
    states = end_states(W, residuals=residuals, tolerance=0.7)
    assert sum(states.counts().values()) == W.shape[0]
    assert sum(states.neuron_counts().values()) == W.shape[1]
    rows, columns, signs = relabelling(rng, W)
    moved = end_states((W * signs)[rows][:, columns], residuals=residuals[rows], tolerance=0.7)
    assert (moved.features == states.features[rows]).all()
    assert (moved.neurons == states.neurons[columns]).all()
    assert polysemantic_neurons((W * signs)[rows][:, columns]) == polysemantic_neurons(W)
    assert polysemantic_neurons(W) == sum(
        states.neuron_counts()[state] for state in (NeuronState.TWO, NeuronState.MORE)
    )


def test_residuals_are_the_largest_speed_of_each_row_and_right_at_zero():
    forces = [FeatureBenefit(), Interference(), Regularization(0.05)]
    rest = float(equal_survivor_roots(0.05)[1])
    W = np.array([[rest, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.8, -0.6]])
    # Row 1: 0.5 (1 − 0.25) − 0.4·0.8 − 0.05 at its weight, and at the third neuron, a zero,
    # 0.4·0.6 − 0.05. Row 2: norm 1, −0.4·0.5 − 0.05 at the second and +0.05 at the third.
    np.testing.assert_allclose(row_residuals(forces, W), [0.0, 0.19, 0.25], atol=1e-15)


def test_polysemantic_neurons_by_exact_zeros_and_by_the_window_of_the_authors():
    assert polysemantic_neurons(EVERYTHING) == is_polysemantic(EVERYTHING).sum() == 2
    assert polysemantic_neurons(EVERYTHING, window=AUTHORS_WINDOW) == 1  # both ends belong to it
    assert polysemantic_neurons(EVERYTHING, window=(0.81, 1.19)) == 0
    assert polysemantic_neurons(EVERYTHING, window=(0.05, 0.75)) == 1
    assert polysemantic_neurons(EVERYTHING, window=(0.05, 2.0)) == 2


def test_winners_with_their_initial_rank_and_sign():
    W0 = np.array(
        [[0.5, -0.9, 0.1], [0.5, -0.9, 0.1], [-0.2, 0.3, 0.25], [1.0, 2.0, 3.0], [0.0, 1.0, 1.0]]
    )
    W = np.array(
        [[0.0, -1.0, 0.2], [0.0, 0.8, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.9, 0.9]]
    )
    won = winners(W0, W)
    assert won.neuron.tolist() == [1, 1, 0, -1, 1]
    assert won.sign.tolist() == [-1, 1, 1, 0, 1]
    assert won.initial_rank.tolist() == [1, 1, 3, 0, 1]
    assert won.kept_sign.tolist() == [True, False, False, False, True]
    assert won.alive.tolist() == [True, True, True, False, True]
    assert won.largest_stayed.tolist() == [True, False, False, False, True]


@given(W0=weights(n=(1, 10), m=(1, 10)), seed=seeds)
def test_winners_follow_relabelling(W0, seed):
    rng = np.random.default_rng(seed)
    W = np.where(rng.random(W0.shape) < 0.4, rng.normal(size=W0.shape), 0.0)
    rows, columns, signs = relabelling(rng, W)
    won = winners(W0, W)
    moved = winners((W0 * signs)[rows][:, columns], (W * signs)[rows][:, columns])
    alive = won.alive[rows]
    assert (moved.alive == alive).all()
    assert (columns[moved.neuron[alive]] == won.neuron[rows][alive]).all()
    assert (moved.sign[alive] == (won.sign * signs[won.neuron])[rows][alive]).all()
    for name in ("initial_rank", "kept_sign", "largest_stayed"):
        assert (getattr(moved, name) == getattr(won, name)[rows]).all()


@given(W0=weights(n=(1, 4), m=(2, 12), scale=(0.8, 1.2)))
def test_without_interference_the_largest_weight_wins(W0):
    forces = [FeatureBenefit(), Regularization(1e-4)]
    won = winners(W0, integrate(forces, W0, t_end=1e3).final)
    assert won.alive.all()
    assert won.largest_stayed.all()


@given(seed=seeds, size=st.integers(2, 40), level=st.floats(0.5, 0.999))
def test_the_interval_over_runs_is_that_of_students_t(seed, size, level):
    values = np.random.default_rng(seed).normal(0.4, 0.1, size)
    mean, half = mean_and_interval(values, level=level)
    low, high = stats.t.interval(level, size - 1, values.mean(), stats.sem(values))
    np.testing.assert_allclose([mean - half, mean + half], [low, high], rtol=1e-9, atol=1e-12)


def test_one_run_has_no_interval_and_no_error():
    mean, half = mean_and_interval([0.3])
    assert mean == 0.3
    assert np.isnan(half)
    assert np.isnan(standard_error([[0.3, 0.4]])).tolist() == [True, True]


@given(seed=seeds, size=st.integers(2, 40))
def test_errors_are_those_of_the_mean_over_the_first_axis(seed, size):
    values = np.random.default_rng(seed).normal(0.4, 0.1, (size, 3))
    np.testing.assert_allclose(standard_error(values), stats.sem(values, axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: end_states(np.zeros(3)), "expected W as"),
        (lambda: end_states(np.ones((2, 2)), residuals=np.zeros(2)), "together"),
        (lambda: end_states(np.ones((2, 2)), tolerance=1.0), "together"),
        (lambda: end_states(np.ones((2, 2)), residuals=np.zeros(3), tolerance=1.0), "one residual"),
        (lambda: polysemantic_neurons(np.full((2, 2), np.nan)), "finite"),
        (lambda: polysemantic_neurons(np.ones((2, 2)), window=(0.0, 1.0)), "window"),
        (lambda: polysemantic_neurons(np.ones((2, 2)), window=(1.2, 0.8)), "window"),
        (lambda: winners(np.ones((2, 2)), np.ones((2, 3))), "one shape"),
        (lambda: mean_and_interval([]), "one number per run"),
        (lambda: standard_error([]), "one entry per run"),
        (lambda: standard_error(0.5), "one entry per run"),
        (lambda: mean_and_interval([1.0, 2.0], level=1.0), "level"),
    ],
)
def test_weights_and_residuals_that_do_not_fit_are_refused_with_a_reason(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()
