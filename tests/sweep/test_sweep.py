"""Sweeps: which runs a config stands for, what a row says, resuming, workers, failures, the CLI."""

import concurrent.futures
import csv
import io
import itertools
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    gaussian_init,
    integrate,
    sweep,
)
from flow.analysis.states import polysemantic_neurons, winners
from flow.cli.flags import InputError
from flow.forces import Force, NoisyFeatureBenefit, NoisyInterference
from flow.results.observables import Observables
from flow.sweep import Run, SweepError, load, run, workers
from flow.sweep.config import read_config
from flow.sweep.execute import plateau
from flow.sweep.forces import build_forces
from flow.sweep.report import report
from flow.sweep.results import EXPORTED, trace, winners_of
from flow.sweep.runs import TRACE_POINTS, Outcome, ratios
from flow.sweep.store import Store, file_system
from flow.sweep.workers import WorkerLost, Workers
from tests import ROOT

GRID = {"n": 6, "m": [6, 12], "lam": 0.05, "seeds": 3}


@pytest.fixture(scope="module")
def here():
    """An executor in this process, where no other is the point."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A small sweep, done by one worker."""
    return run(GRID, tmp_path_factory.mktemp("sweep") / "done.sqlite", workers=1)


def command(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "flow.sweep", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )


# Configs -----------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=3, unique=True),
    st.integers(1, 4),
)
def test_a_grid_stands_for_every_combination_once_seed_by_seed(ns, ratios, products, seeds):
    runs, _ = read_config(
        {"n": ns, "m_over_n": ratios, "lam_sqrt_m_over_c": products, "seeds": seeds, "c": 4}
    )
    assert [r.seed for r in runs] == sorted(r.seed for r in runs)
    assert len({r.hash() for r in runs}) == len(runs)
    # The ten digits that are kept may make one λ of two that differ by less.
    assert len(runs) == len({(r.n, r.m, r.lam, r.seed) for r in runs})
    for n, ratio, product, seed in itertools.product(ns, ratios, products, range(seeds)):
        m = n * ratio
        assert any(
            (r.n, r.m, r.seed, r.c) == (n, m, seed, 4.0)
            and math.isclose(r.lam * math.sqrt(m) / 4.0, product, rel_tol=1e-9)
            for r in runs
        )


def test_grids_add_up_and_share_what_stands_above_them():
    table = {
        "lam": 0.1,
        "m": 8,
        "grid": [{"n": 4}, {"n": 8, "m_over_n": 2, "seeds": [5]}, {"n": 4}],
    }
    assert read_config(table)[0] == [Run(n=4, m=8, lam=0.1), Run(n=8, m=16, lam=0.1, seed=5)]


def test_a_log_range_has_its_ends_and_equal_ratios():
    runs, _ = read_config({"n": 2, "m": 2, "lam": {"from": 0.01, "to": 1.0, "log_steps": 7}})
    lams = np.array([r.lam for r in runs])
    assert lams[0] == 0.01
    assert lams[-1] == 1.0
    np.testing.assert_allclose(lams[1:] / lams[:-1], 100 ** (1 / 6), rtol=1e-8)


def test_equal_parameters_have_one_hash_and_others_another():
    base = Run(n=4, m=8, lam=1, scale=1)
    assert base.hash() == Run(n=4, m=8, lam=1.0, scale=1.0).hash()
    # The hash names rows in files that are kept: it must not change from version to version.
    assert base.hash() == "a15af6bbc7590b7f62275c0db90068c4"
    changed = {
        "n": 5, "m": 9, "lam": 0.5, "c": 4.0, "c_interference": 0.5, "scale": 0.9, "seed": 1,
        "backend": "numba",
        "forces": "no-interference", "rtol": 1e-3, "t_end": 5.0, "dtype": "float32",
        "max_steps": 10, "census": False,
    }  # fmt: skip
    noisy = {"sigma": 0.1, "distribution": "bipolar", "mu": 0.5}
    other = replace(base, forces="L2Regularization + NoisyInterference", **noisy)
    changed_there = {"sigma": 0.2, "distribution": "normal", "mu": 0.4, "accuracy": 1e-3}
    assert set(changed) | set(changed_there) == set(asdict(base))
    hashes = {replace(base, **{name: value}).hash() for name, value in changed.items()}
    hashes |= {replace(other, **{name: value}).hash() for name, value in changed_there.items()}
    assert len(hashes | {base.hash(), other.hash()}) == len(changed) + len(changed_there) + 2
    # One that is left out has its default's, whatever the order of the forces.
    assert (
        replace(other, forces="NoisyInterference+L2Regularization", accuracy=1e-4).hash()
        == other.hash()
    )


def test_without_regularization_lam_makes_no_other_run():
    grid = {"n": 4, "m": 4, "lam": [0.1, 0.2], "forces": ["all", "no-regularization"], "t_end": 1.0}
    assert [r.lam for r in read_config(grid)[0]] == [0.1, 0.0, 0.2]


NOISY = "NoisyFeatureBenefit + NoisyInterference"


def test_parameters_of_some_forces_are_axes_for_those_alone():
    grid = {
        "n": 4, "m": 4, "lam": 0.1, "forces": ["all", NOISY, "no-interference"],
        "sigma": [0.1, 0.2], "distribution": "bipolar", "c_interference": [1.0, 0.5],
    }  # fmt: skip
    found = {(r.forces, r.lam, r.sigma, r.c_interference) for r in read_config(grid)[0]}
    noisy = {(NOISY, 0.0, s, c) for s in (0.1, 0.2) for c in (None, 0.5)}
    plain = {
        ("all", 0.1, None, None),
        ("all", 0.1, None, 0.5),
        ("no-interference", 0.1, None, None),
    }
    assert found == noisy | plain
    with pytest.raises(InputError, match="sigma: expected forces that have it, got all, only-"):
        read_config({**grid, "forces": ["all", "only-interference"]})


def test_without_regularization_no_lam_is_asked_for():
    noise = {"forces": NOISY, "sigma": 0.1, "distribution": "normal"}
    assert read_config({"n": 4, "m": 4, **noise})[0][0].lam == 0.0


@pytest.mark.parametrize("name", Force.registry)
def test_every_force_can_be_swept_with_every_number_it_has(name):
    numbers = {"strength": 2.0, "lam": 0.3, "mu": 0.4, "sigma": 0.1, "accuracy": 1e-3}
    kind = Force.registry[name]
    wanted = kind(**{f.name: numbers.get(f.name, "bipolar") for f in fields(kind)})
    own = {
        f.name: getattr(wanted, f.name) for f in fields(kind) if f.name not in ("strength", "lam")
    }
    swept = Run(n=2, m=2, lam=0.3, c=2.0, forces=name, **own)
    assert build_forces(swept.forces, asdict(swept)) == [wanted]


def test_strengths_of_benefit_and_interference_may_differ():
    swept = Run(n=2, m=2, lam=0.3, c=2.0, c_interference=0.5)
    assert build_forces("all", asdict(swept)) == [
        FeatureBenefit(2.0), Interference(0.5), Regularization(0.3)
    ]  # fmt: skip


BAD = [
    ({}, "expected n, got neither"),
    ({"n": 4, "m": 4}, "expected lam or lam_sqrt_m_over_c"),
    ({"n": [], "m": 4, "lam": 0.1}, "n: expected at least one value"),
    ({"n": 4, "m": 4, "lam": 0.1, "seeds": 0}, "seeds: expected a number of seeds >= 1"),
    ({"n": 4, "m": 4, "lam": 0.1, "seeds": [-1]}, "seed: expected a whole number >= 0"),
    ({"n": 4, "m": 4, "lam": 0.1, "lamb": 3}, "did you mean lam?"),
    ({"n": 4.0, "m": 4, "lam": 0.1}, "n: expected a whole number >= 1, got 4.0"),
    ({"n": True, "m": 4, "lam": 0.1}, "n: expected a whole number >= 1, got True"),
    ({"n": 4, "m": 4, "lam": "0.1"}, "lam: expected a finite number >= 0, got '0.1'"),
    ({"n": 4, "m": 4, "lam": -1}, "lam: expected a finite number >= 0, got -1"),
    ({"n": 4, "m": 4, "lam_sqrt_m_over_c": -1}, "lam_sqrt_m_over_c: expected a finite"),
    ({"n": 4, "m": 4, "m_over_n": 1, "lam": 0.1}, "expected m or m_over_n, got both"),
    ({"n": 5, "m_over_n": 0.5, "lam": 0.1}, "whole number of neurons"),
    ({"n": 5, "m_over_n": "2", "lam": 0.1}, "m_over_n: expected a number > 0"),
    ({"n": 4, "m": 4, "lam": {"from": 1, "to": 2}}, "got the keys from, to"),
    ({"n": 4, "m": 4, "lam": {"from": 0, "to": 2, "log_steps": 3}}, "with A, B > 0"),
    ({"n": 4, "m": 4, "lam": 0.1, "forces": "no-interferense"}, "did you mean no-interference?"),
    ({"n": 4, "m": 4, "lam": 0.1, "backend": "exact"}, "numba or auto for forces = 'all'"),
    ({"n": 4, "m": 4, "lam": 0.1, "forces": 3}, "forces: expected a name, got 3"),
    ({"n": 4, "m": 4, "lam": 0.1, "forces": "Noise"}, "forces: expected one of all, no-interf"),
    ({"n": 4, "m": 4, "lam": 0.1, "forces": "Interference+Interference"}, "each force once"),
    ({"n": 4, "m": 4, "lam": 0.1, "sigma": 0.1}, "sigma: expected forces that have it, got all"),
    ({"n": 4, "m": 4, "forces": NOISY, "sigma": 0.1}, "distribution: expected a value for forces"),
    ({"n": 4, "m": 4, "forces": NOISY, "sigma": -1, "distribution": "normal"}, "sigma: expected a"),
    ({"n": 4, "m": 4, "forces": NOISY, "sigma": 1, "distribution": 5}, "distribution: expected a"),
    ({"n": 4, "m": 4, "forces": NOISY, "sigma": 1, "distribution": "x"}, "one of bipolar"),
    (
        {
            "n": 4,
            "m": 4,
            "forces": "FeatureBenefit+NoisyFeatureBenefit",
            "sigma": 1,
            "distribution": "normal",
        },
        "NoisyFeatureBenefit replaces FeatureBenefit",
    ),
    ({"n": 4, "m": 4, "lam": 0.1, "rtol": 1.5}, "rtol: expected a number > 0 and < 1"),
    ({"n": 4, "m": 4, "lam": 0.1, "census": 1}, "census: expected true or false"),
    ({"n": 4, "m": 4, "lam": 0.1, "grid": 3}, "expected tables [[grid]]"),
    ({"grid": []}, "expected at least one run"),
    ({"n": [4] * 1001, "m": [4] * 1001, "lam": 0.1}, "expected at most 1,000,000 runs"),
]


@pytest.mark.parametrize(("grid", "complaint"), BAD)
def test_a_grid_that_cannot_be_is_refused_in_one_line(grid, complaint):
    with pytest.raises(InputError) as caught:
        read_config(grid)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


# Rows --------------------------------------------------------------------------------------------


def test_a_row_says_what_integrate_says(done):
    for row in done.rows:
        W0 = gaussian_init(row["n"], row["m"], seed=row["seed"])
        forces = [FeatureBenefit(), Interference(), Regularization(row["lam"])]
        traj = integrate(forces, W0, events=True)
        won = winners(W0, traj.final)
        assert row["status"] == traj.status.name == "STATIONARY"
        assert (row["finished"], row["attempts"]) == (1, 1)
        assert row["t"] == traj.stats["t"]
        assert row["accepted"] == traj.stats["accepted"]
        assert row["polysemantic"] == polysemantic_neurons(traj.final)
        assert row["nonzeros"] == np.count_nonzero(traj.final)
        assert row["l1"] == np.abs(traj.final).sum(axis=1).mean()
        assert row["largest_stayed"] == won.largest_stayed.sum()
        assert row["extinctions"] == traj.events.extinctions.time.size
        features = ("dead", "monosemantic", "sharing", "spread", "not_converged")
        assert sum(row[name] for name in features) == row["n"]
        neurons = ("neurons_unused", "neurons_one", "neurons_two", "neurons_more")
        assert sum(row[name] for name in neurons) == row["m"]
        slots, ranks = winners_of(row)
        np.testing.assert_array_equal(slots, won.sign * (won.neuron + 1))
        np.testing.assert_array_equal(ranks, won.initial_rank)
        curve = trace(row)
        assert curve.shape[1] <= TRACE_POINTS
        o = traj.observables
        assert set(curve[0]) <= set(o.times.astype(np.float32))
        for k, values in ((1, o.nonzeros.mean(axis=1)), (2, o.l1.mean(axis=1))):
            assert curve[k, 0] == np.float32(values[0])
            assert curve[k, -1] == np.float32(values[-1])


def test_malign_and_benign_pairs_at_the_start_are_all_accounted_for(done):
    for row in done.rows:
        W0 = gaussian_init(row["n"], row["m"], seed=row["seed"])
        largest = np.argmax(np.abs(W0), axis=1)
        sign = np.sign(W0[np.arange(len(W0)), largest])
        pairs = [
            sign[i] == sign[j]
            for i, j in itertools.combinations(range(len(W0)), 2)
            if largest[i] == largest[j]
        ]
        for kind, number in (("malign", sum(pairs)), ("benign", len(pairs) - sum(pairs))):
            fates = ("both_stayed", "larger_stayed", "smaller_stayed", "both_left")
            assert sum(row[f"{kind}_{fate}"] for fate in fates) == number


def test_kept_weights_are_those_of_the_row_and_start_another_run(here, tmp_path):
    grid = {**GRID, "seeds": 1, "m": 6}
    first = run(grid, tmp_path / "a.sqlite", executor=here)
    assert not list(tmp_path.glob("*.npz"))
    again = run(grid, tmp_path / "a.sqlite", executor=here, weights=tmp_path / "W")
    (row,) = again.rows
    assert row["weights_sha256"] == first.rows[0]["weights_sha256"]
    from flow.results.weights import read_weights

    W = read_weights(tmp_path / "W" / f"{row['hash']}.npz").W
    assert np.count_nonzero(W) == row["nonzeros"]
    assert np.abs(W).sum(axis=1).mean() == row["l1"]


def test_a_sweep_becomes_a_dataset(done):
    ds = done.to_xarray()
    assert dict(ds.sizes) == {"run": 6, "quantity": 3, "point": ds.sizes["point"], "feature": 6}
    row = done.rows[2]
    cell = ds.isel(run=2)
    assert str(cell.hash.values) == row["hash"]
    assert float(cell.l1) == row["l1"]
    assert int(cell.polysemantic) == row["polysemantic"]
    np.testing.assert_array_equal(cell.winner, winners_of(row)[0])
    kept = cell.trace.dropna("point")
    np.testing.assert_array_equal(kept, trace(row))
    axes = ["n", "m_over_n", "lam_sqrt_m_over_c", "seed"]
    grid = ds[["polysemantic"]].set_index(run=axes).unstack("run")
    place = {"m_over_n": row["m"] / row["n"], "seed": row["seed"]}
    cell = grid.polysemantic.sel(place).dropna("lam_sqrt_m_over_c")
    assert int(cell.squeeze()) == row["polysemantic"]


@given(
    st.integers(1, 50), st.lists(st.integers(1, 50), min_size=1, max_size=4),
    st.floats(1e-3, 10.0), st.sampled_from([0.25, 1.0, 4.0]),
)  # fmt: skip
def test_ratios_that_a_config_gives_are_coordinates_again(n, ratios_given, product, c):
    product = float(f"{product:.6g}")
    grid = {"n": n, "m_over_n": ratios_given, "lam_sqrt_m_over_c": product, "c": c}
    found = [ratios(asdict(r)) for r in read_config(grid)[0]]
    assert {r["lam_sqrt_m_over_c"] for r in found} == {product}
    assert {r["m_over_n"] for r in found} == set(ratios_given)


def test_the_table_is_sorted_by_hash_and_reads_back(done):
    rows = list(csv.DictReader(io.StringIO(done.to_csv())))
    assert [row["hash"] for row in rows] == sorted(row["hash"] for row in done.rows)
    assert tuple(rows[0]) == EXPORTED
    assert not {"seconds", "ended", "attempts"} & set(EXPORTED)
    for row, written in zip(done.rows, rows, strict=True):
        assert float(written["t"]) == row["t"]
        assert written["t_end"] == ""


@given(st.floats(8.0, 1000.0), st.floats(0.1, 1e4), st.floats(3.0, 20.0), st.floats(0.0, 1e3))
def test_a_plateau_has_its_end_height_and_collapse(height, end, power, start):
    """m' = h up to T and h (T/t)^p after it: the corner is T, the half is reached at T·2^(1/p)."""
    t = np.unique(np.concatenate([[0.0, end], end * np.geomspace(1e-3, 1e3, 4001)]))
    curve = height * np.minimum(1.0, (end / np.maximum(t, end)) ** power)
    nothing = np.zeros((t.size, 1))
    observables = Observables(
        times=start + t, l1=nothing, l2=nothing, l4=nothing, nonzeros=curve[:, None],
        energy={}, dissipation=nothing[:, 0],
    )  # fmt: skip
    found = plateau(observables)
    wanted = (start + end, height, start + end * 2.0 ** (1.0 / power))
    # The grid has steps of 0.35 %.
    np.testing.assert_allclose(found, wanted, rtol=4e-3)


def test_what_goes_on_to_the_end_has_no_plateau(here, tmp_path):
    """No weight dies without regularization; and with it, not before t_end."""
    grid = {
        "n": 6, "m": 6, "lam": 0.05, "t_end": 0.5, "forces": ["all", "no-regularization"],
    }  # fmt: skip
    for row in run(grid, tmp_path / "a.sqlite", executor=here).rows:
        assert (row["plateau_end"], row["plateau_height"], row["collapse_time"]) == (None,) * 3
        assert row["finished"]


def test_a_row_of_noise_says_what_integrate_says(here, tmp_path):
    grid = {
        "n": 4, "m": 6, "forces": NOISY, "sigma": 0.2, "distribution": "uniform", "t_end": 20.0,
    }  # fmt: skip
    found = run(grid, tmp_path / "a.sqlite", executor=here)
    forces = [NoisyFeatureBenefit(0.2, "uniform"), NoisyInterference(0.2, "uniform")]
    traj = integrate(forces, gaussian_init(4, 6, seed=0), t_end=20.0)
    (row,) = found.rows
    assert row["status"] == "REACHED_T_END"
    assert row["l4"] == (traj.final**4).sum(axis=1).mean()
    assert (row["sigma"], row["distribution"], row["lam"]) == (0.2, "uniform", 0.0)
    assert any("sigma = 0.2" in line for line in report(found))


# The same bits -----------------------------------------------------------------------------------


def identical(one, other):
    """Everything but timings and history."""
    kept = (*EXPORTED, "trace", "winners")
    return [[row[name] for name in kept] for row in one.rows] == [
        [row[name] for name in kept] for row in other.rows
    ]


def test_results_do_not_depend_on_the_workers_nor_on_the_order(done, tmp_path):
    two = run(GRID, tmp_path / "two.sqlite", workers=2)
    assert two.to_csv() == done.to_csv()
    assert identical(two, done)
    backwards = read_config(GRID)[0][::-1]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        inside = run(backwards, tmp_path / "threads.sqlite", executor=pool)
    assert identical(inside, done)


COMPILING = """
import json, os, sys
from pathlib import Path
from flow.sweep.calls import execute_batch, warmup_runs, warm_up
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


# Failures ----------------------------------------------------------------------------------------


def test_a_run_that_fails_is_a_row_tried_as_often_as_asked_and_in_no_mean(here, tmp_path):
    grid = {"n": 6, "m": 6, "lam": 0.05, "seeds": 2, "grid": [{}, {"max_steps": 3}]}
    file = tmp_path / "a.sqlite"
    for retries, attempts in ((0, 1), (0, 1), (2, 3), (1, 3)):
        found = run(grid, file, executor=here, retries=retries)
        failed = [row for row in found.rows if row["max_steps"] == 3]
        assert [row["attempts"] for row in failed] == [attempts] * 2
        assert [row["status"] for row in failed] == ["STEP_LIMIT"] * 2
        assert not any(row["finished"] for row in failed)
        assert all("after max_steps = 3" in row["message"] for row in failed)
    assert found.counts() == {"STATIONARY": 2, "STEP_LIMIT": 2}
    lines = list(report(found))
    counts, winners_, course = (line for line in lines if line.startswith("| 3 "))
    assert "| 0 of 2 |" in counts
    assert "± " not in counts + winners_ + course
    assert "2 failed:" in lines


def test_a_run_that_cannot_fit_is_refused_with_the_figure_and_the_others_are_done(here, tmp_path):
    grid = {"n": 6, "lam": 0.05, "m": [6, 10**12]}
    for executor in (None, here):
        file = tmp_path / f"{executor is None}.sqlite"
        began = time.perf_counter()
        found = run(grid, file, workers=None if executor else 1, executor=executor)
        assert time.perf_counter() - began < 10.0
        big = next(row for row in found.rows if row["m"] == 10**12)
        assert big["status"] == "REFUSED"
        assert "needs" in big["message"]
        assert "GiB are available" in big["message"]
        assert (big["attempts"], big["finished"]) == (0, 0)
        assert found.counts() == {"STATIONARY": 1, "REFUSED": 1}


def raise_memory_error(*arguments, **keywords):
    raise MemoryError("Unable to allocate 3 TiB")


def raise_value_error(*arguments, **keywords):
    raise ValueError("two\nlines")


@pytest.mark.parametrize(
    ("broken", "status", "message"),
    [
        (raise_memory_error, "OUT_OF_MEMORY", "Unable to allocate 3 TiB"),
        (raise_value_error, "ERROR", "ValueError: two lines"),
    ],
)
def test_an_error_inside_a_run_is_its_status(monkeypatch, tmp_path, broken, status, message):
    from flow.sweep import execute

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(execute, "integrate", broken)
        found = run({"n": 4, "m": 4, "lam": 0.1}, tmp_path / "a.sqlite", executor=pool, retries=1)
    assert [(r["status"], r["message"], r["attempts"]) for r in found.rows] == [
        (status, message, 2)
    ]


def test_weights_that_overflow_end_as_a_failed_row(here, tmp_path):
    found = run(
        {"n": 4, "m": 4, "lam": 0.1, "scale": 1e200, "rtol": 0.5},
        tmp_path / "a.sqlite",
        executor=here,
    )
    (row,) = found.rows
    assert row["status"] in ("NON_FINITE", "STEP_TOO_SMALL", "ERROR")
    assert not row["finished"]
    assert list(report(found))
    assert found.to_xarray().sizes["run"] == 1


# Workers -----------------------------------------------------------------------------------------


def test_workers_are_pinned_to_one_thread_and_start_no_second_main(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_kept=1")
    with Workers(2) as pool:
        found = [pool.submit(os.getenv, "NUMBA_NUM_THREADS").result() for _ in range(4)]
        assert found == ["1"] * 4
        flags = pool.submit(os.getenv, "XLA_FLAGS").result().split()
        assert {"--xla_kept=1", "intra_op_parallelism_threads=1"} <= set(flags)
        assert pool.submit(eval, "__import__('numba').get_num_threads()").result() == 1
        name = pool.submit(eval, "__import__('sys').modules['__main__'].__dict__.get('__file__')")
        assert name.result() is None


def test_what_a_worker_raises_or_prints_does_no_harm(capfd):
    with Workers(1) as pool:
        failed = pool.submit(int, "x")
        with pytest.raises(RuntimeError, match="ValueError: invalid literal"):
            failed.result()
        assert pool.submit(print, "spoken").result() is None
        assert pool.submit(os.write, 1, b"written\n").result() == 8
        assert pool.submit(pow, 2, 5).result() == 32
    out, err = capfd.readouterr()
    assert out == ""
    assert "spoken" in err


def test_a_worker_that_dies_fails_its_own_call_and_is_replaced():
    with Workers(1) as pool:
        lost = pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL)
        with pytest.raises(WorkerLost, match="killed by SIGKILL"):
            lost.result()
        with pytest.raises(WorkerLost, match="exit code 7"):
            pool.submit(os._exit, 7).result()
        idle = pool.submit(os.getpid).result()
        os.kill(idle, signal.SIGKILL)
        time.sleep(0.1)
        assert pool.submit(os.getpid).result() != idle


def test_a_worker_that_is_killed_while_it_starts_is_started_again(monkeypatch):
    spawn, killed = workers._spawn, []

    def spawn_and_kill():
        process = spawn()
        if len(killed) < 4:
            killed.append(process.pid)
            process.kill()
        return process

    monkeypatch.setattr(workers, "_spawn", spawn_and_kill)
    with Workers(1) as pool:
        assert pool.submit(pow, 2, 5).result() == 32
    assert len(killed) == 4


def test_workers_that_never_start_are_given_up_with_a_sentence(monkeypatch):
    monkeypatch.setattr(workers, "_START", "raise SystemExit(3)")
    with Workers(1) as pool:
        with pytest.raises(WorkerLost, match=r"in a row that did not.*exit code 3"):
            pool.submit(pow, 2, 5).result()
        with pytest.raises(concurrent.futures.BrokenExecutor, match="expected worker processes"):
            pool.submit(pow, 2, 5)


def test_workers_exit_when_the_driver_is_killed():
    code = (
        "import time; from flow.sweep.workers import Workers\n"
        "pool = Workers(2)\n"
        "[f.result() for f in [pool.submit(time.sleep, 0) for _ in range(4)]]\n"
        "busy = [pool.submit(time.sleep, 1000) for _ in range(2)]\n"
        "print(*pool.processes, flush=True); time.sleep(1000)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    assert len(pids) == 2
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    driver.kill()
    driver.wait()
    driver.stdout.close()
    deadline = time.monotonic() + 5.0
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid):
    """Whether a process runs; a zombie that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# The file ----------------------------------------------------------------------------------------


def test_the_second_driver_of_a_file_is_refused_and_readers_are_not(here, tmp_path):
    file = tmp_path / "a.sqlite"
    store = Store(file)
    store.add([Run(n=4, m=4, lam=0.1)], "")
    with pytest.raises(SweepError, match="only driver"):
        run(GRID, file, executor=here)
    assert command("GRID.toml", "--out", file, cwd=tmp_path).returncode == 2  # no such config
    (tmp_path / "g.toml").write_text("n = 4\nm = 4\nlam = 0.1")
    second = command("g.toml", "--out", file, cwd=tmp_path)
    assert second.returncode == 1
    assert "only driver" in second.stderr
    assert [row["status"] for row in load(file).rows] == ["PENDING"]
    store.close()
    assert run(GRID, file, executor=here).counts() == {"STATIONARY": 6, "PENDING": 1}


def test_a_sweep_at_rest_is_one_file(done):
    assert [path.name for path in done.path.parent.iterdir()] == [done.path.name]


def test_a_write_that_a_kill_cut_short_is_taken_back_before_reading(here, tmp_path):
    file = run(GRID, tmp_path / "a.sqlite", executor=here).path
    before = load(file).rows
    writer = sqlite3.connect(file, isolation_level=None)
    assert writer.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    writer.execute("PRAGMA cache_size=1")  # pages go to the file before the commit
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE runs SET message = hex(zeroblob(3000)), polysemantic = -1")
    half = tmp_path / "half.sqlite"
    for end in ("", "-journal"):
        half.with_name(half.name + end).write_bytes(file.with_name(file.name + end).read_bytes())
    writer.execute("ROLLBACK")
    writer.close()
    assert half.read_bytes() != file.read_bytes()
    assert load(half).rows == before
    assert not half.with_name("half.sqlite-journal").exists()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_network_file_systems_get_a_rollback_journal(tmp_path, kind):
    mounts = f"/dev/x / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n"
    store = Store(tmp_path / "a.sqlite", mounts=mounts)
    assert store.journal == "delete"
    store.close()
    store = Store(tmp_path / "a.sqlite", mounts="/dev/x / ext4 rw 0 0\n")
    assert store.journal == "wal"
    store.close()


def test_the_innermost_and_last_mount_counts():
    mounts = "a / ext4 rw\nb /data nfs rw\nc /data/my\\040disk xfs rw\nd /data nfs4 rw\n"
    for path, kind in (("/x", "ext4"), ("/data/x", "nfs4"), ("/data/my disk/x", "xfs")):
        assert file_system(Path(path), mounts) == kind


def test_other_files_are_not_taken_for_sweeps(tmp_path):
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, but long enough to be taken for something\n" * 20)
    before = other.read_bytes(), text.read_bytes()
    for path in (other, text):
        with pytest.raises(InputError, match="expected"):
            run(GRID, path, workers=1)
        with pytest.raises(InputError, match="expected"):
            load(path)
    assert (other.read_bytes(), text.read_bytes()) == before


def test_a_file_of_an_older_version_is_read_and_gets_the_columns_it_lacks(here, tmp_path):
    file = tmp_path / "a.sqlite"
    before = run({**GRID, "seeds": 1}, file, executor=here)
    missing = ("sigma", "collapse_time")
    db = sqlite3.connect(file)
    for name in missing:
        db.execute(f"ALTER TABLE runs DROP COLUMN {name}")
    db.commit()
    db.close()
    older = load(file)
    assert all(row["collapse_time"] is None for row in older.rows)
    assert list(report(older))
    assert run(GRID, file, executor=here).counts() == {"STATIONARY": 6}
    kept = [name for name in EXPORTED if name not in missing]
    after = {row["hash"]: row for row in load(file).rows}
    for row in before.rows:
        assert [after[row["hash"]][name] for name in kept] == [row[name] for name in kept]
    with sqlite3.connect(file) as db:
        db.execute("ALTER TABLE runs ADD COLUMN tomorrow")
    db.close()
    with pytest.raises(InputError, match=r"this version of flow\.sweep or an older one.*tomorrow"):
        load(file)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["STATIONARY", "LOST", "REFUSED"]), min_size=1, max_size=4))
def test_outcomes_written_are_outcomes_read(tmp_path_factory, statuses):
    file = tmp_path_factory.mktemp("store") / "a.sqlite"
    runs = [Run(n=4, m=4, lam=0.1, seed=seed) for seed in range(len(statuses))]
    outcomes = [
        Outcome(hash=r.hash(), status=s, message="why", finished=s == "STATIONARY", software="{}")
        for r, s in zip(runs, statuses, strict=True)
    ]
    store = Store(file)
    store.add(runs, "text")
    store.write(outcomes)
    states = store.states()
    store.close()
    for r, s in zip(runs, statuses, strict=True):
        assert states[r.hash()] == (s, s == "STATIONARY", int(s != "REFUSED"))
    assert sorted(row["status"] for row in load(file).rows) == sorted(statuses)


# The command line --------------------------------------------------------------------------------


def test_the_command_line_runs_reports_and_exports(done, tmp_path):
    (tmp_path / "grid.toml").write_text("n = 6\nm = [6, 12]\nlam = 0.05\nseeds = 3\n")
    first = command("grid.toml", "--workers", 2, "--report", "--export", "csv", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "grid.csv").read_text() == done.to_csv()
    assert "6 of 6 runs finished" in first.stderr
    assert "Traceback" not in first.stderr
    later = command("grid.sqlite", "--report", cwd=tmp_path)
    assert later.returncode == 0
    assert [line for line in later.stdout.splitlines() if "3 of 3" in line] == [
        line for line in first.stdout.splitlines() if "3 of 3" in line
    ]
    (law,) = (x for x in later.stdout.splitlines() if x.startswith("| 6 ") and "| 3 of 3 " in x)
    assert "| 1.36 " in law  # the slot law at n = m = 6 is 30/22
    assert "| 1.5 " in law  # and n²/4m


COMPLAINTS = [
    ([], 2, "expected CONFIG.toml or FILE.sqlite first, got nothing"),
    (["missing.toml"], 2, "expected a config that can be read, got missing.toml (No such file"),
    (["missing.sqlite", "--report"], 2, "expected the file of a sweep, or a config that ends"),
    (["bad.toml"], 2, "expected TOML, such as lam = 0.1 and forces"),
    (["unknown.toml"], 2, "in unknown.toml: expected names of parameters as keys, got 'lamda'"),
    (["empty.toml"], 2, "in empty.toml: expected n, got neither"),
    (["good.toml", "--worker", "2"], 2, "did you mean --workers?"),
    (["good.toml", "--workers", "0"], 2, "--workers: expected a whole number >= 1, got '0'"),
    (["good.toml", "--retries", "-1"], 2, "--retries: expected a whole number >= 0, got '-1'"),
    (["good.toml", "--workers", "1", "--scheduler", "tcp://x:1"], 2, "got both"),
    (["good.toml", "--export", "x.txt"], 2, "--export: expected csv or a file name"),
    (["good.toml", "--export", "no/such/x.csv"], 2, "--export: expected a folder that exists, got"),
    (["good.toml", "--out", "no/such/x.sqlite"], 2, "make the folder first"),
    (["good.toml", "--scheduler", "nonsense"], 2, "expected the address of a Dask scheduler"),
]


def test_input_that_cannot_be_used_gives_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("n = = 3")
    Path("unknown.toml").write_text("n = 3\nm = 3\nlamda = 1")
    Path("empty.toml").write_text("")
    Path("good.toml").write_text("n = 3\nm = 3\nlam = 1")
    for words, code, complaint in COMPLAINTS:
        assert sweep.main(words) == code, words
        out, err = capsys.readouterr()
        assert complaint in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert out == ""


def test_a_report_that_nobody_reads_to_its_end_ends_quietly(done):
    words = [sys.executable, "-m", "flow.sweep", str(done.path), "--report"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        reader.stdout.close()
        assert reader.stderr.read() == ""
        assert reader.wait() == 0


def test_ctrl_c_stops_with_a_sentence_and_the_same_command_goes_on(tmp_path):
    (tmp_path / "g.toml").write_text("n = 24\nm = 48\nlam = 0.01\nseeds = 200\n")
    driver = subprocess.Popen(
        [sys.executable, "-m", "flow.sweep", "g.toml", "--workers", "2", "--progress"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    file = tmp_path / "g.sqlite"
    deadline = time.monotonic() + 60.0
    while not (file.exists() and any(row["finished"] for row in rows_or_none(file))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(driver.pid, signal.SIGINT)
    _, err = driver.communicate(timeout=20)
    assert driver.returncode == 130, err
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert "/200" in err  # the bar counts
    found = load(file)
    done = len(found.finished)
    assert f"interrupted: {done} finished runs" in err
    assert set(found.counts()) == {"STATIONARY", "PENDING"}
    assert [path.name for path in tmp_path.glob("*.sqlite*")] == ["g.sqlite"]


def rows_or_none(file):
    try:
        return load(file).rows
    except InputError:
        return []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("flow.sweep.cli", {"numpy", "numba", "scipy", "xarray", "distributed"}),
        ("flow.sweep.workers", {"numpy", "tyro"}),
    ],
)
def test_help_comes_without_the_numerics_and_a_worker_without_the_flags(module, absent):
    code = f"import sys, {module}; assert not {absent} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
