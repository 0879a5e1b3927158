"""Commands that are killed, interrupted, or find no room; and a process that runs for long."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from flow import Status, Trajectory, gaussian_init, integrate
from tests import ROOT
from tests.soak.runs import random_forces

KILLED = ["--n", "48", "--m", "96", "--lam", "3e-4", "--quiet"]
_whole: list[Trajectory] = []


def _start(folder: Path, *words: str, limit: int | None = None) -> subprocess.Popen[str]:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if limit is None else bound,
    )


def _undisturbed() -> Trajectory:
    """The run that is killed below, made here once."""
    if not _whole:
        from flow import FeatureBenefit, Interference, Regularization

        forces = [FeatureBenefit(), Interference(), Regularization(3e-4)]
        _whole.append(integrate(forces, gaussian_init(48, 96, seed=0)))
    return _whole[0]


def check_signals(rng: np.random.Generator, count: Counter[str]) -> list[str]:
    """A run with checkpoints that gets a signal at a random moment, and goes on to the same end."""
    wrong: list[str] = []
    whole = _undisturbed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "run.npz"
        for _ in range(20):
            begun = KILLED if not out.exists() else ["--init", "run.npz", "--quiet"]
            child = _start(folder, "flow.simulate", *begun, "--checkpoint", "0.05",
                           "--out", "run.npz", "--overwrite")  # fmt: skip
            number = int(rng.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
            time.sleep(float(rng.uniform(0.2, 2.5)))
            child.send_signal(number)
            said = child.communicate(timeout=120)[1]
            count["kills" if number == signal.SIGKILL else "signals"] += 1
            if child.returncode not in (0, -number, 128 + number):
                wrong.append(f"exit code {child.returncode} after signal {number}: {said[-500:]}")
            if "Traceback" in said and child.returncode != -number:
                wrong.append(f"a traceback after signal {number}: {said[-500:]}")
            if out.exists():
                count["files"] += 1
                Trajectory.load(out)
            if child.returncode == 0:
                break
        else:
            return wrong
        count["runs gone on with"] += 1
        if not np.array_equal(Trajectory.load(out).final, whole.final):
            wrong.append("a run that was ended and gone on with has other bits")
        left = {path.name for path in folder.iterdir()} - {"run.npz"}
        if any(not name.startswith(".run.npz.") for name in left):
            wrong.append(f"files were left: {left}")
    return wrong


def check_disk(rng: np.random.Generator, count: Counter[str]) -> list[str]:
    """A file that finds no room is one line, and not there."""
    limit = int(rng.integers(1_000, 100_000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child = _start(folder, "flow.simulate", "--n", "64", "--m", "512", "--t-end", "0.1",
                       "--out", "run.npz", "--quiet", limit=limit)  # fmt: skip
        said = child.communicate(timeout=120)[1]
        count["disk limits"] += 1
        left = [path.name for path in folder.iterdir()]
    wrong = []
    if child.returncode == 0 or len(said.strip().splitlines()) != 1 or "error:" not in said:
        wrong.append(f"with {limit} bytes exit code {child.returncode}: {said[-500:]}")
    return [*wrong, f"with {limit} bytes {left} was left"] if left else wrong


FORKING = """
import multiprocessing, sys
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
def job(seed):
    forces = [FeatureBenefit(), Interference(), Regularization(0.02)]
    return integrate(forces, gaussian_init(*SIZE, seed=seed), t_end=2.0).final.tobytes()
SIZE = eval(sys.argv[1])
own = [job(seed) for seed in range(3)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(job, range(3)).get(100) == own
"""


def check_forks(rng: np.random.Generator, count: Counter[str]) -> list[str]:
    """Children forked after a run compute the same."""
    size = (int(rng.integers(1, 200)), int(rng.integers(1, 400)))
    done = subprocess.run(
        [sys.executable, "-c", FORKING, repr(size)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    count["forks"] += 2
    return [] if done.returncode == 0 else [f"after a fork at {size}: {done.stderr[-500:]}"]


def check_memory(rng: np.random.Generator, count: Counter[str], runs: int = 2000) -> list[str]:
    """The memory of this process over many small runs: flat to 5 %."""
    page = resource.getpagesize()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    early = 0
    for k in range(runs):
        n, m = int(rng.integers(1, 17)), int(rng.integers(1, 33))
        run = integrate(random_forces(rng, small=False), gaussian_init(n, m, seed=k), t_end=20.0,
                        events=bool(k % 2), max_steps=500)  # fmt: skip
        if run.status is Status.NON_FINITE:
            return [f"run {k} of the many was not finite"]
        if k == runs // 4:
            early = resident()
    count["runs"] += runs
    count["runs for memory"] += runs
    grown = resident() / early - 1.0
    return [] if grown <= 0.05 else [f"memory grew by {grown:.1%} over {runs} runs"]
