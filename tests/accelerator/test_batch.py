"""The diffrax backend: the scheme of the Numba backend, step by step and over whole runs."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flow.accelerator.batch as backend
from flow import (
    FeatureBenefit,
    Interference,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    Simulation,
    Status,
    gaussian_init,
    integrate,
)
from flow.accelerator.solver import ProximalChebyshevSolver, flow_term, row_norm
from flow.forces import sum_forces
from flow.integrators.field import Field
from flow.integrators.schemes import ProximalChebyshev

ALL = [FeatureBenefit(), Interference(), Regularization(0.02)]


# One step -----------------------------------------------------------------------------------------


@jax.jit
def one_step(term, W, h):
    solver = ProximalChebyshevSolver(rtol=5e-3, bounds_steps=False)
    start = term.sample(0.0, W, None)
    W1, error, _, end, _ = solver.step(term, 0.0, h, W, None, start, False)
    return start, W1, row_norm(error), end


def assert_steps_agree(forces, W, h):
    """Numba's step and ours to 1e-12, where both lay W out alike."""
    slots = sum_forces(forces)
    field = Field(slots, *W.shape, W.dtype)
    state = field.init(W)
    if state.layout.width < W.shape[1] or state.layout.column is not None:
        return False  # another layout: the same numbers in another order
    ours = ProximalChebyshev().propose(field, state, h, 5e-3)
    with jax.enable_x64(True):
        term = jax.tree.map(np.float64, flow_term(forces))
        start, W1, error, end = one_step(term, jnp.asarray(W), h)
    W1, error, end, start = jax.device_get((W1, error, end, start))
    after = state.layout.scatter(ours.W, W.shape[1])
    np.testing.assert_allclose(W1, after, atol=1e-12, rtol=0)
    np.testing.assert_array_equal(W1 == 0.0, after == 0.0)
    np.testing.assert_allclose(error, ours.error, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(end.coupling, ours.coupling, atol=1e-12)
    np.testing.assert_allclose(start.stiffness, state.stiffness, rtol=1e-10)
    assert end.evaluations == field.evaluations - 1
    return True


def test_one_step_agrees_with_the_numba_backend_to_rounding():
    """At the start, on the way and late; from a tenth of 1/c to where rows change sign."""
    compared = 0
    for forces, time in (
        (ALL, 0.0),
        (ALL, 3.0),
        (ALL, 20.0),
        ([FeatureBenefit(4.0), Interference(2.0), Regularization(0.1)], 1.0),
        ([Interference(), Regularization(0.05)], 0.0),
    ):
        W = integrate(ALL, gaussian_init(8, 16, seed=1), t_end=time, backend="numba").final
        compared += sum(assert_steps_agree(forces, W, h) for h in (0.1, 1.0, 6.0))
    assert compared >= 9


@pytest.mark.parametrize(
    "law", ["normal", *(pytest.param(x, marks=pytest.mark.long) for x in ("bipolar", "laplace"))]
)
def test_one_step_under_noise_agrees_as_well(law):
    forces = [NoisyFeatureBenefit(0.2, law), NoisyInterference(0.2, law), Regularization(0.02)]
    W = gaussian_init(8, 16, seed=2)
    for h in (0.05, 0.5):
        assert assert_steps_agree(forces, W, h)


def products(jaxpr):
    """Every matrix product of a program, inner ones included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products(inner)


@pytest.mark.parametrize(
    "forces",
    [ALL, [NoisyFeatureBenefit(0.2, "uniform"), NoisyInterference(0.2, "bipolar")]],
    ids=["noiseless", "noisy"],
)
def test_every_matrix_product_has_the_precision_of_its_operands(forces):
    """No TF32 by accident: the precision is in the program, whatever the device's default."""
    W = jnp.ones((8, 16), jnp.float32)
    program = jax.make_jaxpr(one_step)(flow_term(forces), W, 0.1)
    found = list(products(program.jaxpr))
    assert len(found) >= 6
    full = (jax.lax.Precision.HIGHEST,) * 2
    assert [p for p in found if p.params["precision"] != full] == []


# Whole runs ---------------------------------------------------------------------------------------

N, M, SEEDS = 32, 128, range(5)


@cache
def run(backend, seed, rtol=5e-3, **settings):
    return integrate(ALL, gaussian_init(N, M, seed=seed), rtol=rtol, backend=backend, **settings)


def test_whole_runs_err_no_more_than_the_numba_backend_and_end_with_the_same_zeros():
    """Against runs a thousand times tighter, at n = 32, m = 128, λ = 0.02, five seeds."""
    for seed in SEEDS:
        ours, numba = run("diffrax", seed), run("numba", seed)
        tight = run("numba", seed, rtol=5e-6).final
        assert ours.status is numba.status is Status.STATIONARY
        assert ours.certificate.stationary
        np.testing.assert_array_equal(ours.final == 0.0, numba.final == 0.0)
        error = np.abs(ours.final - tight).max()
        assert error <= 3 * np.abs(numba.final - tight).max()
    assert not jax.config.jax_enable_x64


def test_a_run_takes_the_steps_of_the_numba_backend():
    settings = {"save_at": (0.0, 3.0, 50.0), "events": True, "t_end": 60.0}
    one, other = (run(backend, 0, **settings) for backend in ("numba", "diffrax"))
    assert one.stats["accepted"] == other.stats["accepted"]
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-8)
    np.testing.assert_array_equal(other.weights == 0.0, one.weights == 0.0)
    np.testing.assert_allclose(other.observables.times, one.observables.times, rtol=1e-6)
    np.testing.assert_allclose(
        other.observables.total_energy, one.observables.total_energy, rtol=1e-8
    )
    np.testing.assert_array_equal(other.events.extinctions.neuron, one.events.extinctions.neuron)
    np.testing.assert_allclose(
        other.events.extinctions.time, one.events.extinctions.time, rtol=1e-6
    )


@pytest.mark.long
def test_float32_follows_float64_to_1e_4():
    W0 = gaussian_init(N, M, seed=0)
    single = integrate(ALL, W0.astype(np.float32), t_end=1.0, backend="diffrax")
    double = integrate(ALL, W0, t_end=1.0, backend="diffrax")
    assert single.weights.dtype == np.float32
    np.testing.assert_allclose(single.final, double.final, atol=1e-4)


# Chunks -------------------------------------------------------------------------------------------


def test_a_run_gone_on_with_from_any_step_is_bitwise_the_same_run():
    whole = run("diffrax", 0)
    sim = Simulation(ALL, gaussian_init(N, M, seed=0), backend="diffrax")
    for accepted, _ in enumerate(sim, 1):
        if accepted % 7 == 1:
            rest = sim.trajectory().simulation()
            rest.run()
            assert rest.W.tobytes() == whole.final.tobytes()
            seen = rest.trajectory().observables
            assert seen.times.tobytes() == whole.observables.times[accepted:].tobytes()
            assert seen.l1.tobytes() == whole.observables.l1[accepted:].tobytes()
    assert accepted == whole.stats["accepted"] > 2 * backend.CHUNK


def test_dead_neurons_are_dropped_and_that_changes_nothing_that_matters(monkeypatch):
    widths = []
    step = backend._step

    def watched(term, W, *rest):
        widths.append(W.shape[2])
        return step(term, W, *rest)

    monkeypatch.setattr(backend, "_step", watched)
    W0 = gaussian_init(N, M, seed=0)
    narrowed = integrate(ALL, W0, backend="diffrax")
    assert sorted(set(widths)) == [64, 128]
    assert widths == sorted(widths, reverse=True)
    changes = [k for k in range(1, len(widths)) if widths[k] != widths[k - 1]]
    assert len(changes) == 1
    monkeypatch.setattr(backend, "CHUNK", 10**9)
    widths.clear()
    wide = integrate(ALL, W0, backend="diffrax")
    assert set(widths) == {128}
    np.testing.assert_allclose(narrowed.final, wide.final, atol=1e-8)
    np.testing.assert_array_equal(narrowed.final == 0.0, wide.final == 0.0)
