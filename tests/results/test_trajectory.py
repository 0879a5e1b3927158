"""Files: what is saved is what is loaded; a kill leaves the old file or the new one."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from flow import FeatureBenefit, Interference, Regularization, Trajectory, gaussian_init, integrate

FORCES = [FeatureBenefit(), Interference(), Regularization(0.05)]


@pytest.fixture(scope="module")
def run():
    return integrate(
        FORCES, gaussian_init(4, 9, seed=0), save_at=[0.0, 1.0], t_end=4.0, metadata={"seed": 0}
    )


def same(a, b):
    for name in ("times", "weights"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("times", "l1", "l2", "l4", "nonzeros", "dissipation"):
        np.testing.assert_array_equal(getattr(a.observables, name), getattr(b.observables, name))
    assert a.observables.energy.keys() == b.observables.energy.keys()
    for name, values in a.observables.energy.items():
        np.testing.assert_array_equal(values, b.observables.energy[name])
    for name in ("status", "message", "stats", "parameters", "versions", "metadata"):
        assert getattr(a, name) == getattr(b, name)
    assert repr(a.certificate) == repr(b.certificate)


def test_a_saved_run_is_loaded_as_it_was(run, tmp_path):
    run.save(tmp_path / "run.npz")
    same(Trajectory.load(tmp_path / "run.npz"), run)
    assert os.listdir(tmp_path) == ["run.npz"]


def test_the_forces_of_a_run_are_known_to_its_file(run, tmp_path):
    run.save(tmp_path / "run.npz")
    assert run.forces == Trajectory.load(tmp_path / "run.npz").forces == tuple(FORCES)


def test_the_file_needs_no_pickle(run, tmp_path):
    run.save(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_corrupt_file_is_refused_in_a_sentence(content, tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a trajectory written by"):
        Trajectory.load(path)


def test_a_foreign_npz_is_refused_in_a_sentence(run, tmp_path):
    np.savez(tmp_path / "foreign.npz", W=run.final)
    with pytest.raises(ValueError, match="expected a trajectory written by"):
        Trajectory.load(tmp_path / "foreign.npz")
    run.save(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="expected a trajectory written by"):
        Trajectory.load(tmp_path / "cut.npz")
    with pytest.raises(FileNotFoundError):
        Trajectory.load(tmp_path / "missing.npz")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(run, tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    run.save(path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        run.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.npz"]


WRITER = """
import sys, numpy as np
from flow import Trajectory
run = Trajectory.load(sys.argv[1])
print("ready", flush=True)
while True:
    run.save(sys.argv[1])
"""


def test_a_kill_while_writing_leaves_a_whole_file(run, tmp_path):
    path = tmp_path / "run.npz"
    run.save(path)
    for delay in (0.0, 0.003, 0.011, 0.04):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        with writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        same(Trajectory.load(path), run)


def test_xarray_holds_the_same_numbers(run):
    data = run.to_xarray()
    assert dict(data.sizes) == {
        "time": 3,
        "feature": 4,
        "neuron": 9,
        "step": run.observables.times.size,
    }
    np.testing.assert_array_equal(data["weights"].sel(time=1.0), run.weights[1])
    np.testing.assert_array_equal(data["l1"], run.observables.l1)
    np.testing.assert_array_equal(
        data["energy_Interference"], run.observables.energy["Interference"]
    )
    assert data.attrs["status"] == run.status.name


def test_xarray_holds_the_events_that_were_recorded():
    forces = [FeatureBenefit(), Interference(), Regularization(0.1)]
    run = integrate(forces, gaussian_init(4, 9, seed=1), events=True)
    data = run.to_xarray()
    died = run.events.extinctions
    assert data.sizes["extinctions"] == died.time.size > 0
    assert "overlaps" not in data.sizes
    np.testing.assert_array_equal(data["extinctions.time"], died.time)
    np.testing.assert_array_equal(data["extinctions.neuron"], died.neuron)
