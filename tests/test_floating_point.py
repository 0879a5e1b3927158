"""NumPy's error settings and warnings are the user's: nothing of this project trips over them."""

import concurrent.futures

import numpy as np
import pytest

from flow import (
    FeatureBenefit,
    Interference,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    Trajectory,
    certify,
    gaussian_init,
    integrate,
)
from flow.sweep import run as run_sweep
from flow.sweep.report import report
from theory.unit_length import inverse_norm

FORCES = [FeatureBenefit(), Interference(), Regularization(0.05)]


@pytest.fixture(autouse=True)
def raising():
    """Warnings are errors throughout the suite; here NumPy raises too."""
    with np.errstate(all="raise"):
        yield


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_runs_end_with_a_status(scale):
    assert integrate(FORCES, gaussian_init(6, 8, seed=0) * scale, t_end=5.0, events=True).status


@pytest.mark.parametrize("law", ["bipolar", "uniform", "normal", "laplace", "student-t:5"])
def test_runs_under_noise_end_with_a_status(law):
    forces = [NoisyFeatureBenefit(0.3, law), NoisyInterference(0.3, law), Regularization(0.05)]
    assert integrate(forces, gaussian_init(6, 8, seed=0), t_end=5.0).status


@pytest.mark.parametrize(("scale", "lam"), [(1e-165, 0.0), (1.0, 0.05), (1e200, 0.0)])
def test_closed_forms_are_evaluated(scale, lam):
    W0 = gaussian_init(6, 8, seed=0) * scale
    forces = [FeatureBenefit(), Regularization(lam)]
    assert integrate(forces, W0, t_end=500.0, backend="exact", events=True).status


def test_runs_are_saved_measured_and_drawn(tmp_path):
    integrate(FORCES, gaussian_init(6, 8, seed=0), events=True, film=True).save(tmp_path / "a.npz")
    run = Trajectory.load(tmp_path / "a.npz")
    assert run.summary()
    assert run.end_states
    assert certify(FORCES, run.final, tolerance=1e-8)
    assert run.plot()
    assert run.plot_weights()
    assert run.plot_energies()


def test_sweeps_are_run_and_reported(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        grid = {"n": 6, "m": 8, "lam": [0.05, 0.1], "seeds": 2}
        found = run_sweep(grid, tmp_path / "a.sqlite", executor=pool)
    assert list(report(found))


def test_norms_late_in_a_flow_are_one():
    assert inverse_norm(1e308, 0.5) == 1.0
    assert inverse_norm(360.0, 0.5) == 1.0
