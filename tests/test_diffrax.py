"""The diffrax backend: the scheme of the Numba backend, step by step and over whole runs."""

import jax
import jax.numpy as jnp
import numpy as np

from flow import FeatureBenefit, Interference, Regularization, Status, gaussian_init, integrate
from flow.diffrax_solver import ProximalChebyshevSolver, flow_term, row_norm
from flow.field import Field
from flow.forces import sum_slots
from flow.schemes import ProximalChebyshev

ALL = [FeatureBenefit(), Interference(), Regularization(0.02)]


@jax.jit
def one_step(term, W, h):
    solver = ProximalChebyshevSolver(rtol=5e-3, bounds_steps=False)
    start = term.sample(0.0, W, None)
    W1, error, _, end, _ = solver.step(term, 0.0, h, W, None, start, False)
    return start, W1, row_norm(error), end


def test_one_step_agrees_with_the_numba_backend_to_rounding():
    """At the start, on the way and late; from a tenth of 1/c to where rows change sign."""
    n, m = 8, 16
    for forces, time in (
        (ALL, 0.0),
        (ALL, 3.0),
        (ALL, 20.0),
        ([FeatureBenefit(4.0), Interference(2.0), Regularization(0.1)], 1.0),
        ([Interference(), Regularization(0.05)], 0.0),
    ):
        slots = sum_slots(forces)
        W = integrate(ALL, gaussian_init(n, m, seed=1), t_end=time, backend="numba").final
        for h in (0.1, 1.0, 6.0):
            field = Field(slots, n, m, W.dtype)
            state = field.place(W)
            if state.layout.width < m or state.layout.column is not None:
                continue  # another layout: the same numbers in another order
            ours = ProximalChebyshev().propose(field, state, h, 5e-3)
            with jax.enable_x64(True):
                term = jax.tree.map(np.float64, flow_term(forces))
                start, W1, error, end = one_step(term, jnp.asarray(W), h)
            W1, error, end, start = jax.device_get((W1, error, end, start))
            state.W = ours.W
            np.testing.assert_allclose(W1, state.dense(m), atol=1e-12, rtol=0)
            np.testing.assert_array_equal(W1 == 0.0, state.dense(m) == 0.0)
            np.testing.assert_allclose(error, ours.error, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(end.overlaps, ours.overlaps, atol=1e-12)
            np.testing.assert_allclose(start.stiffness, state.stiffness, rtol=1e-10)
            assert end.evaluations == field.evaluations - 1


def test_a_run_takes_the_steps_of_the_numba_backend():
    W0 = gaussian_init(8, 16, seed=0)
    runs = [
        integrate(ALL, W0, save_at=[0.0, 3.0, 50.0], backend=backend, events=True)
        for backend in ("numba", "diffrax")
    ]
    one, other = runs
    assert one.status is other.status is Status.STATIONARY
    assert one.stats["accepted"] == other.stats["accepted"]
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-8)
    np.testing.assert_array_equal(other.weights == 0.0, one.weights == 0.0)
    np.testing.assert_allclose(other.observables.times, one.observables.times, rtol=1e-8)
    np.testing.assert_allclose(
        other.observables.total_energy, one.observables.total_energy, rtol=1e-8
    )
    np.testing.assert_array_equal(other.events.extinctions.neuron, one.events.extinctions.neuron)
    np.testing.assert_allclose(
        other.events.extinctions.time, one.events.extinctions.time, rtol=1e-6
    )
    assert other.certificate.stationary
    assert not jax.config.jax_enable_x64
