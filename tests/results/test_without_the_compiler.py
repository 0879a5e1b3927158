"""A saved run is read with NumPy alone, and measured with NumPy and SciPy."""

import json
import os
import subprocess
import sys

import pytest

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from tests import ROOT

COMPILERS_AND_PICTURES = ("numba", "jax", "matplotlib", "tqdm", "tyro")
READ = """
from flow.results.trajectory import Trajectory
run = Trajectory.load(path)
found = [run.times.tolist(), run.weights.tolist(), run.status.name, run.certificate.residual,
         run.observables.total_energy.tolist(), run.events.extinctions.time.tolist()]
"""
MEASURE = """
from flow.analysis.pairs import collisions
from flow.analysis.states import end_states, polysemantic_neurons, winners
from flow.results.trajectory import Trajectory
run = Trajectory.load(path)
W0, W = run.weights[0], run.final
ends, won, pairs = end_states(W), winners(W0, W), collisions(W0)
found = [[state.name for state in ends.features], [state.name for state in ends.neurons],
         won.neuron.tolist(), won.sign.tolist(), won.initial_rank.tolist(),
         polysemantic_neurons(W), int(pairs.benign.sum()), int((~pairs.benign).sum())]
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    forces = [FeatureBenefit(), Interference(), Regularization(0.05)]
    path = tmp_path_factory.mktemp("saved") / "run.npz"
    integrate(forces, gaussian_init(8, 6, seed=0), events=True).save(path)
    return str(path)


def here(code, path):
    """What `code` finds with everything installed."""
    names = {"path": path}
    exec(code, names)
    return names["found"]


def without(absent, code, path):
    """What `code` finds in an interpreter where importing any of `absent` is an ImportError."""
    lines = [
        "import json, sys",
        f"sys.modules.update(dict.fromkeys({absent!r}))",
        f"path = {path!r}",
        code,
        "print(json.dumps(found))",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_saved_run_is_read_with_numpy_alone(path):
    assert without((*COMPILERS_AND_PICTURES, "scipy"), READ, path) == here(READ, path)


def test_a_saved_run_is_measured_with_numpy_and_scipy(path):
    assert without(COMPILERS_AND_PICTURES, MEASURE, path) == here(MEASURE, path)
