"""Three laws per force, over the registry: slots = rate, rate = −∇energy, equivariance."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow import (
    CoOccurrence,
    FeatureBenefit,
    Interference,
    L2Regularization,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    velocity,
)
from flow.forces import Force, sum_forces, summarize
from flow.integrators.field import Field
from tests.strategies import seeds, weights

EXAMPLES = {
    "FeatureBenefit": FeatureBenefit(0.7),
    "Interference": Interference(1.3),
    "Regularization": Regularization(0.2),
    "L2Regularization": L2Regularization(0.4),
    # Laws under which the rate itself is smooth, so that differences of the energy show it.
    "NoisyFeatureBenefit": NoisyFeatureBenefit(0.3, "normal", 0.7),
    "NoisyInterference": NoisyInterference(0.2, "uniform", 1.3, accuracy=1e-8),
    "CoOccurrence": CoOccurrence(0.1, 1.3),
    "leaky Interference": Interference(1.3, leak=0.6),
}
each_force = pytest.mark.parametrize("name", sorted(EXAMPLES))


def test_every_registered_force_has_an_example_here():
    assert set(Force.registry) == {type(force).__name__ for force in EXAMPLES.values()}


def with_strength(force, strength):
    name = next(name for name in ("strength", "lam", "mu") if hasattr(force, name))
    return replace(force, **{name: strength})


def from_slots(force, W):
    """The rate as the integrators put it together."""
    slots = sum_forces([force])
    field = Field(slots, *W.shape, W.dtype)
    state = field.init(W)
    squared = np.sum(W * W, axis=1)
    growth = slots.growth_constant - slots.growth_quadratic * squared
    drift = np.zeros_like(W)
    drift[:, state.layout.neurons] = state.C.reshape(W.shape[0], -1)
    growth -= state.coupling.radial
    return growth[:, None] * W - drift - slots.l1 * np.sign(W)


@each_force
@given(W=weights())
def test_slots_add_up_to_the_rate(name, W):
    force = EXAMPLES[name]
    np.testing.assert_allclose(from_slots(force, W), force.rate(W), rtol=1e-12, atol=1e-14)


@each_force
@given(W=weights(), seed=seeds)
def test_rate_is_minus_the_gradient_of_the_energy(name, W, seed):
    force = EXAMPLES[name]
    direction = np.random.default_rng(seed).normal(size=W.shape)
    # Stay on one side of the kinks of |W| and of ReLU(G)².
    step = 1e-6 * min(1.0, np.abs(W / direction).min())
    slope = (force.energy(W + step * direction) - force.energy(W - step * direction)) / (2 * step)
    scale = np.abs(force.rate(W) * direction).sum()
    # Rounding of the difference quotient: eps·energy/step.
    allowed = 1e-6 * scale + 4e-16 * max(1.0, float(force.energy(W))) * W.size / step
    assert abs(slope + np.sum(force.rate(W) * direction)) <= allowed


@each_force
@given(W=weights(), seed=seeds)
def test_relabelling_features_or_neurons_or_flipping_a_neuron_commutes_with_the_rate(name, W, seed):
    force = EXAMPLES[name]
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(W.shape[0]), rng.permutation(W.shape[1])
    signs = rng.choice([-1.0, 1.0], W.shape[1])

    def act(A):
        return signs * A[rows][:, columns]

    np.testing.assert_allclose(force.rate(act(W)), act(force.rate(W)), rtol=1e-12, atol=1e-14)
    # What noise leaves of outputs that are off is a small difference of numbers of order σ².
    np.testing.assert_allclose(force.energy(act(W)), force.energy(W), rtol=1e-12, atol=1e-15)


@each_force
@given(W=weights(m=(2, 16)))
def test_a_neuron_that_is_zero_in_every_row_stays_zero(name, W):
    force = EXAMPLES[name]
    W[:, 0] = 0.0
    assert force.preserves_dead_neurons == (not force.rate(W)[:, 0].any())


@each_force
@given(W=weights())
def test_energy_from_row_sums_is_the_energy(name, W):
    force = EXAMPLES[name]
    if (energy := force.energy_from(summarize(W))) is not None:
        np.testing.assert_allclose(energy, force.energy(W), rtol=1e-12)


@each_force
@given(W=weights())
def test_a_force_is_linear_in_its_strength_and_off_at_zero(name, W):
    force = EXAMPLES[name]
    strength = next(getattr(force, k) for k in ("strength", "lam", "mu") if hasattr(force, k))
    double, off = with_strength(force, 2 * strength), with_strength(force, 0.0)
    np.testing.assert_allclose(double.rate(W), 2 * force.rate(W), rtol=1e-13)
    assert not off.rate(W).any()
    assert off.energy(W) == 0.0


@each_force
@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_a_strength_that_is_negative_or_not_finite_is_refused(name, strength):
    with pytest.raises(ValueError, match="finite number >= 0"):
        with_strength(EXAMPLES[name], strength)


@each_force
def test_numpy_and_jax_read_the_same_lines(name):
    jax = pytest.importorskip("jax")
    force = EXAMPLES[name]
    W = np.random.default_rng(0).normal(0.0, 0.5, (4, 8)).astype(np.float32)
    np.testing.assert_allclose(force.rate(jax.numpy.asarray(W)), force.rate(W), atol=2e-6)
    np.testing.assert_allclose(force.energy(jax.numpy.asarray(W)), force.energy(W), rtol=1e-5)


@given(W=weights(), lam=st.floats(0.0, 0.5), seed=seeds)
def test_velocity_is_the_subgradient_of_least_norm(W, lam, seed):
    """theory/README, section 1: of all −(f + λ·[−1, 1]) at zero the flow takes the smallest."""
    W[np.random.default_rng(seed).random(W.shape) < 0.5] = 0.0
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    smooth = FeatureBenefit().rate(W) + Interference().rate(W)
    zero = W == 0
    expected = np.where(zero, smooth - np.clip(smooth, -lam, lam), smooth - lam * np.sign(W))
    np.testing.assert_allclose(velocity(forces, W), expected, rtol=1e-13, atol=1e-16)


def test_what_is_not_a_force_is_named():
    with pytest.raises(TypeError, match="known forces: FeatureBenefit"):
        sum_forces([FeatureBenefit(), 0.01])


@each_force
def test_a_force_is_what_its_data_say(name):
    data = json.loads(json.dumps(EXAMPLES[name].to_dict()))
    assert Force.from_dict(data) == EXAMPLES[name]
    assert data["name"] == type(EXAMPLES[name]).__name__


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "Gravity", "strength": 1.0}, "one of FeatureBenefit.*got 'Gravity'"),
        ({"strength": 1.0}, "name of a force.*got None"),
        ({"name": "Regularization", "strength": 1.0}, "Regularization with lam, got strength"),
        ({"name": "Regularization"}, "Regularization with lam, got none"),
        ({"name": "FeatureBenefit", "strength": -1.0}, ">= 0"),
    ],
)
def test_data_that_no_force_has_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        Force.from_dict(data)


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ({}, "energy.*the scalar"),
        ({"energy": lambda self, W: 0.0}, "rate.*−∂energy/∂W"),
        (
            {"energy": lambda self, W: 0.0, "rate": lambda self, W: W, "has_general_drift": True},
            "drift.*fits no other slot",
        ),
    ],
)
def test_a_half_written_force_is_refused_where_it_is_written(there, missing):
    with pytest.raises(TypeError, match=f"HalfWritten to define {missing}"):
        type("HalfWritten", (Force,), there)
    assert "HalfWritten" not in Force.registry
