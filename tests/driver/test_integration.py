"""integrate(): what it refuses, how runs end, what is kept."""

import itertools

import numpy as np
import pytest

from flow import (
    FeatureBenefit,
    Interference,
    L2Regularization,
    Regularization,
    Status,
    gaussian_init,
    integrate,
    velocity,
)
from flow.driver.problem import RunOptions, make_problem
from flow.integrators.schemes import BogackiShampine, ProximalEuler

ALL = [FeatureBenefit(), Interference(), Regularization(0.02)]
EVERY = [*ALL, L2Regularization(0.1)]
W0 = gaussian_init(10, 30, seed=1, scale=0.9)


def names(forces):
    return " + ".join(type(force).__name__ for force in forces) or "no force"


@pytest.mark.parametrize("backend", ["auto", "numba"])
@pytest.mark.parametrize(
    "subset",
    [subset for count in range(5) for subset in itertools.combinations(EVERY, count)],
    ids=names,
)
def test_any_subset_of_the_forces_comes_to_rest(subset, backend):
    run = integrate(subset, W0, backend=backend)
    assert run.status is Status.STATIONARY
    assert np.abs(velocity(subset, run.final)).max() <= run.certificate.tolerance
    assert list(run.observables.energy) == [type(force).__name__ for force in subset]


def test_the_automatic_backend_is_exact_where_rows_are_independent():
    assert integrate([ALL[0], ALL[2]], W0).parameters["backend"] == "exact"
    assert integrate(ALL, W0).parameters["backend"] == "numba"
    assert integrate([], W0).parameters["backend"] == "exact"


@pytest.mark.parametrize("backend", ["exact", "numba"])
def test_both_backends_come_to_rest_at_the_same_place(backend):
    forces = [FeatureBenefit(), Regularization(0.01)]
    run = integrate(forces, W0, backend=backend)
    winners = np.abs(W0).argmax(axis=1)
    assert (np.abs(run.final).argmax(axis=1) == winners).all()
    assert (run.observables.nonzeros[-1] == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("forces", [ALL, [FeatureBenefit(), Regularization(0.02)], []])
def test_the_run_keeps_the_dtype_of_its_start(dtype, forces):
    run = integrate(forces, W0.astype(dtype), t_end=5.0)
    assert run.weights.dtype == dtype


def test_float32_follows_float64():
    single = integrate(ALL, W0.astype(np.float32), t_end=1.0).final
    double = integrate(ALL, W0, t_end=1.0).final
    np.testing.assert_allclose(single, double, atol=1e-5)


@pytest.fixture(params=[ALL, [FeatureBenefit(), Regularization(0.02)]], ids=names)
def saved(request):
    """Forces, a run under them that keeps its weights at the ends of some steps, and, for each of
    the weights that are kept, its place among the observables."""
    steps = integrate(request.param, W0, t_end=9.0).observables.times
    run = integrate(request.param, W0, t_end=9.0, save_at=steps[[0, 2, 7, -3]])
    return request.param, run, np.searchsorted(run.observables.times, run.times)


@pytest.mark.parametrize("forces", [ALL, [FeatureBenefit(), Regularization(0.02)]], ids=names)
def test_weights_are_kept_at_the_times_asked_for_and_at_the_end(forces):
    run = integrate(forces, W0, t_end=9.0, save_at=[0.0, 0.5, 2.0, 7.0])
    np.testing.assert_array_equal(run.times, [0.0, 0.5, 2.0, 7.0, 9.0])
    assert run.weights.shape == (5, *W0.shape)
    np.testing.assert_array_equal(run.weights[0], W0)
    assert run.stats["t"] == 9.0


def test_observables_are_kept_at_the_ends_of_steps(saved):
    _, run, kept = saved
    np.testing.assert_array_equal(run.observables.times[kept], run.times)


def test_the_norms_observed_are_those_of_the_weights(saved):
    _, run, kept = saved
    W, o = run.weights, run.observables
    np.testing.assert_allclose(o.l1[kept], np.abs(W).sum(axis=2), rtol=1e-12)
    np.testing.assert_allclose(o.l2[kept], np.linalg.norm(W, axis=2), rtol=1e-12)
    np.testing.assert_allclose(o.l4[kept], (W**4).sum(axis=2), rtol=1e-12)
    np.testing.assert_array_equal(o.nonzeros[kept], (W != 0).sum(axis=2))


def test_the_energies_observed_are_those_of_the_forces(saved):
    forces, run, kept = saved
    assert list(run.observables.energy) == [type(force).__name__ for force in forces]
    for force in forces:
        observed = run.observables.energy[type(force).__name__][kept]
        energies = [force.energy(W) for W in run.weights]
        np.testing.assert_allclose(observed, energies, rtol=1e-10, atol=1e-14)


def test_the_dissipation_observed_is_the_squared_velocity(saved):
    forces, run, kept = saved
    speeds = [np.sum(velocity(forces, W) ** 2) for W in run.weights]
    np.testing.assert_allclose(run.observables.dissipation[kept], speeds, rtol=1e-9)


def test_by_default_both_ends_are_kept():
    run = integrate(ALL, W0, t_end=3.0)
    np.testing.assert_array_equal(run.times, [0.0, 3.0])
    assert run.status is Status.REACHED_T_END
    assert integrate(ALL, W0, t_end=0.0).status is Status.REACHED_T_END


def test_a_save_point_past_rest_is_still_kept():
    run = integrate(ALL, W0, save_at=[0.0, 5e3])
    assert run.times[-1] == 5e3
    assert run.status is Status.STATIONARY


def test_equal_weights_on_one_row_rest_on_a_saddle():
    tied = np.array([[0.5, 0.5, 0.1]])
    for backend in ("numba", "exact"):
        run = integrate([FeatureBenefit(), Regularization(0.05)], tied, backend=backend)
        assert run.status is Status.SADDLE
        assert not run.status.finished
        assert run.final[0, 0] == run.final[0, 1] != 0.0
        assert run.certificate.curvature < -0.01


def test_a_run_at_its_limit_of_steps_says_so():
    run = integrate(ALL, W0, max_steps=3)
    assert run.status is Status.STEP_LIMIT
    assert run.stats["accepted"] + run.stats["rejected"] == 3
    assert run.message.endswith("after max_steps = 3 steps")


def test_a_run_at_its_limit_of_seconds_says_so():
    run = integrate(ALL, W0, max_seconds=0.0)
    assert run.status is Status.TIME_LIMIT
    assert run.message.endswith("after max_seconds = 0")


def test_weights_whose_products_overflow_are_called_non_finite():
    run = integrate([FeatureBenefit(), Interference()], np.full((3, 4), 1e160), t_end=1.0)
    assert run.status is Status.NON_FINITE


def test_weights_that_no_step_is_short_enough_for_end_with_steps_too_small():
    """Nothing overflows at 1e40, but the error of the shortest step is 1e260."""
    run = integrate([FeatureBenefit(), Interference()], np.full((3, 4), 1e40), t_end=1.0)
    assert run.status is Status.STEP_TOO_SMALL
    assert run.message.startswith("steps shrank to ")


def test_an_unstable_scheme_is_called_non_finite_when_it_blows_up():
    run = integrate(ALL, 30 * W0, t_end=90.0, scheme=ProximalEuler(), fixed_step=3.0)
    assert run.status is Status.NON_FINITE


def test_a_scheme_that_cannot_handle_the_jump_is_refused_before_it_starts():
    with pytest.raises(ValueError, match=r"handles the jump .* got BogackiShampine"):
        integrate(ALL, W0, scheme=BogackiShampine())
    assert integrate(ALL[:2], W0, scheme=BogackiShampine(), t_end=1.0).status.finished


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W0": W0[0]}, r"expected W0 as \(n features, m neurons\)"),
        ({"W0": W0[:0]}, r"expected W0 as \(n features, m neurons\)"),
        ({"W0": W0.astype(int)}, "float32 or float64"),
        ({"W0": np.where(W0 > 1e-3, np.nan, W0)}, "expected W0 to be finite"),
        ({"rtol": 0.0}, "expected rtol between 0 and 1"),
        ({"rtol": float("nan")}, "expected rtol between 0 and 1"),
        ({"t_end": -1.0}, "expected t_end as a finite flow time"),
        ({"save_at": [2.0, 1.0]}, "expected save_at as increasing"),
        ({"save_at": [2.0], "t_end": 1.0}, "expected save_at up to t_end = 1, got 2"),
        ({"backend": "torch"}, "expected backend as one of auto, numba"),
        ({"backend": "exact"}, "act on each row alone"),
        ({"scheme": ProximalEuler()}, "give fixed_step"),
        ({"fixed_step": 0.0}, "expected fixed_step as"),
        ({"stationarity_tol": -1.0}, "expected stationarity_tol >= 0"),
        ({"max_steps": -1}, "expected max_steps >= 0"),
    ],
)
def test_arguments_of_a_run_out_of_range_are_refused(change, message):
    arguments = {"W0": W0, **change}
    start = arguments.pop("W0")
    with pytest.raises(ValueError, match=message):
        integrate(ALL, start, **arguments)


def test_the_start_is_not_changed():
    before = W0.copy()
    integrate(ALL, W0, t_end=1.0)
    np.testing.assert_array_equal(W0, before)


def test_dropping_dead_neurons_and_going_sparse_change_nothing_that_matters(monkeypatch):
    """The same run with the layouts held dense and wide."""
    start = gaussian_init(20, 400, seed=5)
    run = integrate(ALL, start, rtol=1e-6, t_end=60.0)
    monkeypatch.setattr("flow.integrators.field.SPARSE_BELOW", -1.0)
    monkeypatch.setattr("flow.integrators.field.COMPACT_BELOW", -1.0)
    wide = integrate(ALL, start, rtol=1e-6, t_end=60.0)
    np.testing.assert_allclose(run.final, wide.final, atol=1e-5)


def test_all_that_is_needed_to_repeat_a_run_is_recorded():
    run = integrate(ALL, W0, t_end=1.0, metadata={"seed": 1, "scale": 0.9})
    assert run.metadata == {"seed": 1, "scale": 0.9}
    assert run.parameters["forces"][2] == {"name": "Regularization", "lam": 0.02}
    assert {"n", "m", "dtype", "rtol", "backend", "stationarity_tol"} <= set(run.parameters)
    assert {"numpy", "numba", "scipy", "incidental-flow"} <= set(run.versions)


@pytest.mark.parametrize(
    ("change", "mixed"),
    [
        ({}, True),
        ({"rtol": 9e-4}, False),
        ({"lam": 1e-4}, False),
        ({"m": 255}, False),
        ({"dtype": np.float32}, False),
        ({"fixed_step": 0.1}, False),
        ({"lam": 0.0}, False),
    ],
)
def test_products_are_made_in_float32_only_where_that_is_below_all_that_counts(change, mixed):
    a = {"rtol": 5e-3, "lam": 1e-3, "m": 256, "dtype": np.float64, "fixed_step": None} | change
    forces = [FeatureBenefit(4.0), Interference(4.0), Regularization(a["lam"])]
    W0 = gaussian_init(256, a["m"], seed=0, dtype=a["dtype"])
    how = {"rtol": a["rtol"], "fixed_step": a["fixed_step"]}
    assert make_problem(forces, W0, RunOptions(**how)).mixed_precision == mixed
    if a["fixed_step"] is None:
        run = integrate(forces, W0, max_steps=1, **how)
        assert run.parameters["mixed_precision"] == mixed
