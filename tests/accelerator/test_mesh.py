"""W spread over devices: eight of one process, and two processes that share no memory.

Each runs in interpreters of its own, where the number of virtual CPU devices can be chosen.
"""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from tests import ROOT

RUN = """
import re, sys
import jax, numpy as np
if sys.argv[1] != "1":
    jax.distributed.initialize(sys.argv[3], int(sys.argv[1]), int(sys.argv[2]))
import flow.accelerator.batch as backend
from flow import (
    FeatureBenefit, Interference, Regularization, gaussian_init, integrate, integrate_ensemble,
)

assert len(jax.devices()) == 8
mesh = jax.make_mesh((8,), ("neurons",))
n, m = 16, 1000
calls = []
step = backend._step
def watched(*arguments):
    W = arguments[1]
    assert W.sharding.shard_shape(W.shape)[2] * 8 == W.shape[2]
    calls.append((W.shape[2], arguments))
    return step(*arguments)
backend._step = watched
forces = [FeatureBenefit(), Interference(), Regularization(0.01)]
run = integrate(forces, gaussian_init(n, m, seed=0), save_at=[2.0], backend="diffrax", mesh=mesh)
backend._step = step

# Nothing of W's size moves, and G as a sum only.
width, arguments = calls[0]
with jax.enable_x64(True):
    program = step.lower(*arguments).compile().as_text()
collective = re.compile(r"= (.*?) (all-[a-z]+|collective-permute|reduce-scatter)(?:-start)?\\(")
moved = [found.groups() for found in map(collective.search, program.splitlines()) if found]
assert any(kind == "all-reduce" for _, kind in moved), moved
for shapes, kind in moved:
    for shape in re.findall(r"\\[([0-9,]*)\\]", shapes):
        size = int(np.prod([int(k) for k in shape.split(",") if k]))
        assert size <= (n * n if kind == "all-reduce" else 8 * n), (shape, kind)

pair = [gaussian_init(n, k, seed=1) for k in (m, 900)]
pair = integrate_ensemble(forces, pair, t_end=2.0, mesh=mesh)
np.savez(
    sys.argv[4], weights=run.weights, accepted=run.stats["accepted"],
    widths=[width for width, _ in calls], one=pair[0].final, other=pair[1].final,
)
"""


def start(processes, index, address, devices, out):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
    }
    command = [sys.executable, "-c", RUN, str(processes), str(index), address, str(out)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finished(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output.decode()[-4000:]


def assert_agrees(path):
    forces = [FeatureBenefit(), Interference(), Regularization(0.01)]
    alone = integrate(forces, gaussian_init(16, 1000, seed=0), save_at=[2.0], backend="numba")
    with np.load(path) as spread:
        assert spread["accepted"] == alone.stats["accepted"]
        np.testing.assert_allclose(spread["weights"], alone.weights, atol=1e-8)
        np.testing.assert_array_equal(spread["weights"] == 0.0, alone.weights == 0.0)
        # Every device drops its own dead neurons: 125 columns each, then 64.
        assert list(dict.fromkeys(spread["widths"])) == [1000, 512]
        for name, m in (("one", 1000), ("other", 900)):
            member = integrate(forces, gaussian_init(16, m, seed=1), t_end=2.0, backend="numba")
            np.testing.assert_allclose(spread[name], member.final, atol=1e-8)


@pytest.mark.long
def test_eight_devices_give_the_run_of_one(tmp_path):
    finished(start(1, 0, "", 8, tmp_path / "run.npz"))
    assert_agrees(tmp_path / "run.npz")


@pytest.mark.long
def test_two_processes_with_four_devices_each_give_the_run_of_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    both = [start(2, k, address, 4, tmp_path / f"{k}.npz") for k in range(2)]
    try:
        for process in both:
            finished(process)
    finally:
        for process in both:
            process.kill()
            process.communicate()
    for k in range(2):
        assert_agrees(tmp_path / f"{k}.npz")


def test_a_mesh_of_two_axes_is_refused():
    import jax

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("neurons", "features"))
    W0 = gaussian_init(4, 8, seed=0)
    with pytest.raises(ValueError, match="expected a mesh with one axis"):
        integrate([Interference()], W0, backend="diffrax", mesh=mesh)
    with pytest.raises(ValueError, match="expected backend 'diffrax' with mesh, got 'numba'"):
        integrate([Interference()], W0, mesh=mesh)
