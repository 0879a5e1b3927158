"""Outputs that leak below zero: from the ReLU of the paper to a linear output."""

import numpy as np
import pytest

from flow import FeatureBenefit, Interference, Regularization, Trajectory, gaussian_init, integrate
from flow.analysis.stationarity import hessian_product, lowest_curvature
from flow.forces import sum_forces, velocity


def leaky(leak, lam=0.02):
    return [FeatureBenefit(), Interference(1.0, leak), Regularization(lam)]


@pytest.mark.parametrize("leak", [0.3, 1.0])
def test_numba_and_diffrax_agree_on_whole_runs(leak):
    W0 = gaussian_init(16, 32, seed=1)
    numba, diffrax = (
        integrate(leaky(leak), W0, rtol=1e-4, backend=backend) for backend in ("numba", "diffrax")
    )
    assert numba.status is diffrax.status
    np.testing.assert_allclose(numba.final, diffrax.final, atol=1e-7)


def test_energies_of_a_leaky_run_are_those_of_its_force(tmp_path):
    run = integrate(leaky(0.5), gaussian_init(8, 16, seed=0), t_end=5.0)
    run.save(tmp_path / "run.npz")
    run = Trajectory.load(tmp_path / "run.npz")
    assert run.forces[1] == Interference(1.0, leak=0.5)
    np.testing.assert_allclose(
        run.observables.energy["Interference"][-1], run.forces[1].energy(run.final), rtol=1e-12
    )


def test_with_linear_outputs_no_neuron_is_shared_and_with_relu_some_are():
    """The slot law has 2.9 shared neurons in a run at (24, 48), none in 2 % of runs, so that none
    in eight is a chance of 1e-13. With linear outputs opposite features repel as equal ones do."""
    shared = dict.fromkeys((0.0, 1.0), 0)
    for leak in shared:
        for seed in range(8):
            run = integrate(leaky(leak), gaussian_init(24, 48, seed=seed))
            shared[leak] += np.count_nonzero(np.count_nonzero(run.final, axis=0) >= 2)
    assert shared[0.0] > 0
    assert shared[1.0] == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_hessian_is_the_derivative_of_the_rate_and_its_lowest_eigenvalue_is_found(seed):
    rng = np.random.default_rng(seed)
    W, V = rng.normal(0.0, 0.5, (2, 5, 7))
    forces = leaky(0.6)[:2]
    slots, step = sum_forces(forces), 1e-6
    difference = (velocity(forces, W - step * V) - velocity(forces, W + step * V)) / (2 * step)
    np.testing.assert_allclose(hessian_product(slots, W, V), difference, atol=1e-8)
    units = np.eye(W.size).reshape(-1, *W.shape)
    H = np.array([hessian_product(slots, W, unit).ravel() for unit in units])
    slots = sum_forces(leaky(0.6))
    np.testing.assert_allclose(lowest_curvature(slots, W), np.linalg.eigvalsh(H)[0], atol=1e-10)
