"""Runs under a force with a general drift, beside all others, that takes dead neurons from zero."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    Status,
    gaussian_init,
    integrate,
    integrate_ensemble,
    velocity,
)
from flow.forces import Force, Growth
from tests.spring import Spring

each_backend = pytest.mark.parametrize("backend", ["numba", "diffrax"])
SPRING = Spring((0.8, -0.6, 0.03, 0.0, -0.02, 0.5, 0.0, 0.9), 0.7)
FORCES = [FeatureBenefit(), Interference(0.5), SPRING]
M = len(SPRING.targets)


def start():
    """Four rows in which all neurons but two are dead."""
    W0 = gaussian_init(4, M, seed=0)
    W0[:, 2:] = 0.0
    return W0


def reference(forces, W0, t_end):
    """SciPy on the definition of the forces."""
    result = solve_ivp(
        lambda _, y: velocity(forces, y.reshape(W0.shape)).ravel(),
        (0.0, t_end), W0.ravel(), method="DOP853", rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    return result.y[:, -1].reshape(W0.shape)


@each_backend
def test_dead_neurons_come_alive_as_scipy_says(backend):
    run = integrate(FORCES, start(), t_end=1.5, rtol=1e-6, backend=backend)
    np.testing.assert_allclose(run.final, reference(FORCES, start(), 1.5), atol=2e-4)


@each_backend
def test_neurons_that_were_dead_are_alive_at_rest(backend):
    """And rest is rest of all neurons, those that have died on the way included."""
    forces = [FeatureBenefit(), SPRING, Regularization(0.1)]
    run = integrate(forces, start(), backend=backend)
    assert run.status is Status.STATIONARY
    assert np.abs(velocity(forces, run.final)).max() <= run.certificate.tolerance
    assert run.final[:, [0, 1, 5, 7]].all()
    assert not run.final[:, [2, 3, 4, 6]].any()


def test_members_of_an_ensemble_keep_their_own_general_drifts():
    springs = [SPRING, Spring(SPRING.targets[::-1], 0.4)]
    members = [[FeatureBenefit(), spring] for spring in springs] + [[FeatureBenefit()]]
    runs = integrate_ensemble(members, [start()] * 3, t_end=1.0, rtol=1e-6)
    for forces, run in zip(members, runs, strict=True):
        np.testing.assert_allclose(run.final, reference(forces, start(), 1.0), atol=2e-4)


def test_the_energy_of_a_general_drift_is_observed_where_row_sums_do_not_give_it():
    steps = integrate(FORCES, start(), t_end=1.0).observables.times
    run = integrate(FORCES, start(), t_end=1.0, save_at=steps[[0, 2]])
    kept = np.searchsorted(run.observables.times, run.times)
    energies = [SPRING.energy(W) for W in run.weights]
    np.testing.assert_allclose(run.observables.energy["Spring"][kept], energies, rtol=1e-12)


@dataclass(frozen=True)
class Decay(Force):
    """Rate −W, of which the energy is not given from row sums."""

    @property
    def growth(self):
        return Growth(-1.0, 0.0)

    def energy(self, W):
        return 0.5 * (W * W).sum()

    def rate(self, W):
        return -W


del Force.registry["Decay"]


def test_the_closed_form_observes_energies_that_row_sums_do_not_give():
    W0 = gaussian_init(3, 5, seed=0)
    run = integrate([Decay()], W0, t_end=1.0, backend="exact")
    expected = 0.5 * np.sum(W0**2) * np.exp(-2.0 * run.observables.times)
    np.testing.assert_allclose(run.observables.energy["Decay"], expected, rtol=1e-9)


@dataclass(frozen=True)
class Cliff(Force):
    """Pushes weights up at rate 1, and is not defined above 1."""

    has_general_drift = True

    def drift(self, W):
        return np.where(W > 1.0, np.nan, 1.0)

    def stiffness(self, W):
        return 0.0

    rate = drift

    def energy(self, W):
        return -W.sum()


del Force.registry["Cliff"]


def test_steps_that_are_never_short_enough_to_stay_finite_end_as_non_finite():
    run = integrate([Cliff()], np.ones((1, 2)), t_end=1.0)
    assert run.status is Status.NON_FINITE
    assert run.message.startswith("steps shrank to ")


@dataclass(frozen=True)
class Cone(Force):
    """Pulls every row to zero with force 1, however short it is."""

    has_general_drift = True

    def drift(self, W):
        return -W / np.maximum(np.linalg.norm(W, axis=1, keepdims=True), 1e-300)

    def stiffness(self, W):
        return 0.0

    rate = drift

    def energy(self, W):
        return np.linalg.norm(W, axis=1).sum()


del Force.registry["Cone"]


def test_a_run_whose_steps_no_longer_move_time_ends_and_says_so():
    run = integrate([FeatureBenefit(0.1), Cone()], np.full((1, 2), 0.3), t_end=1.0)
    assert run.status is Status.STEP_TOO_SMALL
    assert run.message.startswith("steps shrank to ")
    assert (np.diff(run.observables.times) > 0.0).all()


def test_l1_takes_a_row_to_zero_against_a_force_that_does_not_vanish_there():
    """One weight w > 0 falls at rate λ − push, to zero at t = w/(λ − push)."""

    @dataclass(frozen=True)
    class Push(Cone):
        def drift(self, W):
            return -0.25 * super().drift(W)

        def energy(self, W):
            return -0.25 * super().energy(W)

        rate = drift

    del Force.registry["Push"]
    forces = [FeatureBenefit(1e-9), Push(), Regularization(1.0)]
    for rtol in (5e-3, 1e-4, 1e-6):
        run = integrate(forces, np.array([[0.3]]), t_end=1.0, rtol=rtol, events=True)
        assert run.status is Status.REACHED_T_END
        assert run.final[0, 0] == 0.0
        (died,) = run.events.extinctions.time
        # Steps shorter than 1/c are allowed a tenth of rtol each, and the weight falls at 3/4.
        assert abs(died - 0.4) <= 0.1 * rtol * run.stats["accepted"] / 0.75
