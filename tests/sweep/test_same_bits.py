"""The bits of a sweep depend on no worker, no order, no cache and no interruption."""

import concurrent.futures
import json
import os
import subprocess
import sys
import time

import pytest

from flow.sweep import run
from flow.sweep.config import read_config
from tests import ROOT
from tests.sweep import GRID, NOISY, identical


def test_results_do_not_depend_on_the_workers_nor_on_the_order(done, tmp_path):
    two = run(GRID, tmp_path / "two.sqlite", workers=2)
    assert two.to_csv() == done.to_csv()
    assert identical(two, done)
    backwards = read_config(GRID)[0][::-1]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        inside = run(backwards, tmp_path / "threads.sqlite", executor=pool)
    assert identical(inside, done)


def test_results_do_not_depend_on_the_threads(tmp_path):
    grid = {"n": 64, "m": 256, "lam": 0.05, "seeds": 2, "t_end": 10.0}
    one = run(grid, tmp_path / "one.sqlite", workers=1)
    two = run(grid, tmp_path / "two.sqlite", workers=1, threads=2)
    assert len(one.finished) == 2
    assert identical(one, two)


COMPILING = """
import json, os, sys
from pathlib import Path
from flow.sweep.calls import execute_batch, warm_up, warmup_runs
from flow.sweep.config import read_config
runs = [run for grid in json.loads(sys.argv[1]) for run in read_config(grid)[0]]
def compiled():
    return sorted(path.name for path in Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbc"))
warm_up(warmup_runs(runs))
before = compiled()
ends = [(o.hash, o.measured.t, o.measured.weights_sha256) for o in execute_batch(runs)]
print(json.dumps([ends, len(before), sorted(set(compiled()) - set(before))]))
"""


@pytest.mark.long
def test_kernels_that_are_compiled_give_the_bits_of_kernels_that_are_loaded(tmp_path):
    """And the runs of the warm-up compile all of them, so that workers never do so in a race."""
    base = {"n": 16, "m": [16, 64], "lam": 0.02, "seeds": 4}
    grids = [
        {**base, "dtype": ["float64", "float32"], "forces": ["all", "no-interference"]},
        {**base, "n": 48, "m": 96, "seeds": 1, "census": False},
        {**base, "forces": ["no-regularization", "only-interference"], "t_end": 5.0},
        {**base, "m": 16, "forces": NOISY, "sigma": 0.1, "distribution": "uniform", "t_end": 5.0},
    ]
    found = []
    for _ in range(2):
        process = subprocess.run(
            [sys.executable, "-c", COMPILING, json.dumps(grids)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert process.returncode == 0, process.stderr
        found.append(json.loads(process.stdout))
    (cold, compiled, late), (warm, loaded, later) = found
    assert compiled == loaded > 10
    assert late == later == []
    assert cold == warm


def test_only_what_is_missing_is_done_and_a_changed_config_adds_rows(done, here, tmp_path):
    file = tmp_path / "a.sqlite"
    small = run({**GRID, "seeds": 1}, file, executor=here)
    before = {row["hash"]: row["ended"] for row in small.rows}
    grown = run(GRID, file, executor=here)
    assert identical(grown, done)
    assert {row["hash"]: row["ended"] for row in grown.rows if row["hash"] in before} == before
    # Nothing is missing any more: no process would be started.
    began = time.perf_counter()
    again = run(GRID, file, workers=1)
    assert [row["ended"] for row in again.rows] == [row["ended"] for row in grown.rows]
    assert time.perf_counter() - began < 0.3
