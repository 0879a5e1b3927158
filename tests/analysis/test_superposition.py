"""Superposition is a matter of directions, polysemanticity of the basis: hand-made cases, laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from scipy.stats import ortho_group

from flow.analysis.superposition import alignment, geometry
from flow.forces import summarize
from tests.strategies import relabelling, seeds, sparse_weights, weights

INVARIANT = ("squared_norm", "dimensionality", "interference", "coherence", "represented")


def test_features_on_neurons_of_their_own():
    W = np.diag([1.0, -0.5, 0.9])
    g, a = geometry(W), alignment(W)
    np.testing.assert_allclose(g.dimensionality, 1.0)
    np.testing.assert_allclose(g.squared_norm, [1.0, 0.25, 0.81])
    assert g.interference.tolist() == [0.0, 0.0, 0.0]
    assert g.coherence == 0.0
    assert g.represented == 2
    for values in (a.neuron_index, a.features_per_neuron, a.neurons_per_feature):
        np.testing.assert_allclose(values, 1.0)


def test_an_opposite_pair_on_one_neuron_is_superposed_and_costs_nothing():
    W = np.array([[1.0, 0.0], [-1.0, 0.0]])
    g, a = geometry(W), alignment(W)
    np.testing.assert_allclose(g.dimensionality, 0.5)
    assert g.interference.tolist() == [0.0, 0.0]
    assert g.coherence == 1.0
    assert g.represented == 2
    np.testing.assert_allclose(a.neuron_index, [0.5, np.nan])
    np.testing.assert_allclose(a.features_per_neuron, [2.0, 0.0])
    np.testing.assert_allclose(a.neurons_per_feature, 1.0)


def test_turning_the_basis_makes_neurons_polysemantic_without_superposition():
    W = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    g, a = geometry(W), alignment(W)
    np.testing.assert_allclose(g.dimensionality, 1.0)
    assert g.coherence < 1e-15
    np.testing.assert_allclose(a.neuron_index, 0.5)
    np.testing.assert_allclose(a.features_per_neuron, 2.0)
    np.testing.assert_allclose(a.neurons_per_feature, 2.0)


def test_a_pentagon_gives_every_feature_two_fifths_of_a_dimension():
    angle = 2 * np.pi * np.arange(5) / 5
    g = geometry(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    np.testing.assert_allclose(g.dimensionality, 0.4)
    np.testing.assert_allclose(g.interference, 2 * np.cos(2 * np.pi / 5) ** 2)
    assert g.coherence == pytest.approx(np.cos(np.pi / 5))
    assert g.represented == 5


def test_two_features_at_an_angle_have_the_geometry_computed_by_hand():
    W = np.array([[2.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    g = geometry(W)
    # G = 4, 6 / 6, 25: D_1 = 16/(16 + 36), D_2 = 625/(36 + 625)
    np.testing.assert_allclose(g.dimensionality, [16 / 52, 625 / 661, 0.0])
    np.testing.assert_allclose(g.interference, [36.0, 36.0, 0.0])
    assert g.coherence == pytest.approx(0.6)
    a = alignment(W)
    np.testing.assert_allclose(a.neuron_index, [9 / 13, 1.0])
    np.testing.assert_allclose(a.features_per_neuron, [169 / 97, 1.0])
    np.testing.assert_allclose(a.neurons_per_feature, [1.0, 625 / 337, 0.0])


def same(first, second, names):
    for name in names:
        np.testing.assert_allclose(
            getattr(first, name), getattr(second, name), rtol=1e-8, atol=1e-10, err_msg=name
        )


@given(W=weights(m=(2, 16)), seed=seeds)
def test_rotations_leave_the_geometry_as_it_is_and_change_the_alignment(W, seed):
    R = ortho_group.rvs(W.shape[1], random_state=np.random.default_rng(seed))
    same(geometry(W), geometry(W @ R), INVARIANT)
    before, after = alignment(W).neurons_per_feature, alignment(W @ R).neurons_per_feature
    assert not np.allclose(before, after, rtol=1e-6)


@given(W=sparse_weights(), seed=seeds)
def test_relabelling_permutes_the_measures(W, seed):
    rows, columns, signs = relabelling(np.random.default_rng(seed), W)
    moved = (W * signs)[rows][:, columns]
    g, a = geometry(W), alignment(W)
    for name in INVARIANT:
        value = getattr(g, name)
        expected = value[rows] if np.ndim(value) else value
        np.testing.assert_allclose(getattr(geometry(moved), name), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(alignment(moved).neuron_index, a.neuron_index[columns])
    np.testing.assert_allclose(alignment(moved).features_per_neuron, a.features_per_neuron[columns])
    np.testing.assert_allclose(alignment(moved).neurons_per_feature, a.neurons_per_feature[rows])


@given(W=sparse_weights())
def test_shares_of_dimensions_and_effective_numbers_keep_within_their_bounds(W):
    g, a = geometry(W), alignment(W)
    dead, unused = ~W.any(axis=1), ~W.any(axis=0)
    assert ((g.dimensionality > 0.0) == ~dead).all()
    assert (g.dimensionality <= 1.0 + 1e-12).all()
    # not numpy's rank: that drops directions which are small beside others
    assert g.dimensionality.sum() <= min(int((~dead).sum()), int((~unused).sum())) + 1e-9
    np.testing.assert_allclose(g.interference, summarize(W).rectified_squares, atol=1e-12)
    on_neuron, of_feature = np.count_nonzero(W, axis=0), np.count_nonzero(W, axis=1)
    assert (np.isnan(a.neuron_index) == unused).all()
    assert (a.features_per_neuron <= on_neuron + 1e-9).all()
    assert (a.neurons_per_feature <= of_feature + 1e-9).all()
    assert (a.features_per_neuron[~unused] >= 1.0 - 1e-12).all()
    assert (a.neuron_index[~unused] * a.features_per_neuron[~unused] <= on_neuron[~unused]).all()


@pytest.mark.parametrize("measure", [geometry, alignment])
@pytest.mark.parametrize("W", [np.zeros(3), np.zeros((0, 2)), np.full((2, 2), np.inf)])
def test_what_is_no_matrix_of_weights_is_refused(measure, W):
    with pytest.raises(ValueError, match=r"expected W (as .*n features|to be finite)"):
        measure(W)
