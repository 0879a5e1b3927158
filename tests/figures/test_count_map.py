"""The count map: its table is whole, its runs come again, and another method counts the same."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtrit

from benchmarks.findings import crowds
from flow import gaussian_init
from flow.analysis.statistics import mean_and_interval
from flow.cli.flags import InputError
from flow.results.provenance import target, versions
from flow.sweep import run
from flow.sweep.config import read_config
from flow.sweep.results import load
from flow.sweep.runs import Run
from paper_figures import count_map
from paper_figures.tools import gallery, map_table
from theory.counting import slot_mean


@pytest.fixture(scope="module")
def shipped():
    return map_table.read()


def cell(runs, n, m_over_n, coupling):
    """The runs of one cell of the map's config, seed by seed."""
    return [
        run
        for run in runs
        if run.n == n
        and run.m == m_over_n * n
        and math.isclose(run.lam * math.sqrt(run.m), coupling, rel_tol=1e-3)
    ]


# The table ---------------------------------------------------------------------------------------


def test_the_table_holds_the_runs_of_its_config_each_once_with_how_it_ended(shipped):
    runs, _ = read_config(gallery.HERE.parent / map_table.CONFIG)
    assert [row["hash"] for row in shipped.rows] == sorted(run.hash() for run in runs)
    assert all(row["status"] and row["software"] in shipped.software for row in shipped.rows)
    assert all(row["message"] for row in shipped.rows if not row["finished"])


def test_every_cell_of_the_map_is_there_with_the_error_that_is_claimed():
    """0.05 to two digits; for n = 256 and m = 16n as many seeds as a morning allowed."""
    data = count_map.compute(count_map.FULL)
    assert np.all(data["runs"] + data["failed"] >= 16)
    error = data["half_width"] / stdtrit(data["runs"] - 1, 0.975)
    assert np.all(error[:2] < 0.055)
    assert np.all(error[2, :-1] < 0.055)
    assert np.all(error[2, -1] < 0.075)


def test_the_page_of_cells_is_that_of_the_table(shipped):
    assert "\n".join([*map_table.page(shipped), ""]) == map_table.PAGE.read_text()


def test_a_cell_of_the_shipped_config_is_reproduced_bit_for_bit(shipped, tmp_path):
    [about] = shipped.software.values()
    here = {**versions("numpy", "numba", "scipy"), "target": target()}
    if different := {name: x for name, x in here.items() if about[name] != x}:
        pytest.skip(f"the same bits need the same processor and packages, here: {different}")
    runs, _ = read_config(gallery.HERE.parent / map_table.CONFIG)
    again = cell(runs, 64, 1, 1.0) + cell(runs, 256, 1, 1.0)[:2]
    expected = {row["hash"]: map_table.selected_columns(row) for row in shipped.rows}
    history = ("seconds", "software")
    for row in run(again, tmp_path / "again.sqlite", workers=1).rows:
        found, wanted = map_table.selected_columns(row), expected[row["hash"]]
        assert {**found, **dict.fromkeys(history)} == {**wanted, **dict.fromkeys(history)}


def test_a_table_gives_back_what_was_written_failed_runs_too(tmp_path):
    runs = [Run(n=4, m=6, lam=0.1, seed=seed, max_steps=k) for seed, k in ((0, 9999), (1, 3))]
    run(runs, tmp_path / "a.sqlite", workers=1)
    sweep, table = load(tmp_path / "a.sqlite"), tmp_path / "a.csv.xz"
    map_table.write(sweep, table)
    found = map_table.read(table)
    assert [map_table.selected_columns(row) for row in found.rows] == [
        map_table.selected_columns(row) for row in sweep.rows
    ]
    assert found.counts() == {"STATIONARY": 1, "STEP_LIMIT": 1}
    assert "; 1 of them did not come to rest" in "\n".join(map_table.page(found))
    assert "host" not in found.software[1]


def pooled(rows, far):
    """Sum of counts over that of the slot law's means, and its standard error.

    From the scatter between seeds: runs of one n, m and seed share their start.
    """
    shared = defaultdict(list)
    for row in filter(far, rows):
        shared[row["n"], row["m"], row["seed"]].append(row["polysemantic"])
    by_size = defaultdict(list)
    for (n, m, _), counts in shared.items():
        by_size[n, m].append(np.mean(counts))
    law = sum(float(slot_mean(n, m)) * len(v) for (n, m), v in by_size.items())
    variance = sum(len(v) * np.var(v, ddof=1) for v in by_size.values())
    return sum(map(sum, by_size.values())) / law, math.sqrt(variance) / law


def test_the_map_says_what_its_page_says(shipped):
    """Signs of departures at three standard errors or more: a false alarm in a thousand if true."""
    rows = [row for row in shipped.finished if row["n"] >= 64]
    ratio, error = pooled(rows, lambda row: row["lam_sqrt_m_over_c"] > 0.4 and row["m"] > row["n"])
    assert abs(ratio - 1.0) < 0.06
    assert error < 0.02
    ratio, error = pooled(
        rows, lambda row: 0.009 < row["lam_sqrt_m_over_c"] < 0.05 and row["m"] > row["n"]
    )
    assert ratio + 3 * error < 0.9
    small, middle, large = (
        pooled(rows, lambda row, n=n: row["n"] == row["m"] == n and
               0.009 < row["lam_sqrt_m_over_c"] < 0.011)
        for n in (64, 128, 256)
    )  # fmt: skip
    assert small[0] + 3 * small[1] < 1.0 < large[0] - 3 * large[1]
    assert small[0] < middle[0] < large[0]
    assert sum(row["malign_both_stayed"] for row in shipped.finished) == 0


def test_a_file_that_lacks_runs_of_the_map_is_refused_with_what_to_do(tmp_path):
    found = run([Run(n=4, m=6, lam=0.1)], tmp_path / "a.sqlite", workers=1)
    with pytest.raises(InputError, match=r"lacks .*go on with: python -m flow\.sweep"):
        map_table.asked_for(found)


# The figure --------------------------------------------------------------------------------------


def test_the_map_is_of_means_over_seeds_and_failures_are_counted_not_averaged(
    tmp_path,
):
    runs = [Run(n=8, m=8, lam=0.5 / math.sqrt(8), seed=seed) for seed in range(3)]
    runs.append(replace(runs[0], seed=3, max_steps=3))
    table = tmp_path / "a.csv.xz"
    map_table.write(run(runs, tmp_path / "a.sqlite", workers=1), table)
    p = replace(count_map.FULL, n=(8,), m_over_n=(1,), coupling=(0.5, 0.5, 1), files=(str(table),))
    data = count_map.compute(p)
    counts = [row["polysemantic"] for row in map_table.read(table).rows if row["finished"]]
    relative = np.array(counts) / slot_mean(8, 8)
    assert data["ratio"].item() == pytest.approx(relative.mean())
    assert data["half_width"].item() == pytest.approx(mean_and_interval(relative)[1])
    assert (data["runs"].item(), data["failed"].item()) == (3, 1)


# Another method ----------------------------------------------------------------------------------


def proximal_euler(W, lam, step):
    """W at rest, by fixed steps of the smooth forces and of the proximal map of ℓ1; c = 1."""
    apart = ~np.eye(len(W), dtype=bool)

    def smooth(W):
        G = W @ W.T
        return (1.0 - np.diag(G))[:, None] * W - np.where(apart & (G > 0.0), G, 0.0) @ W

    for k in range(1, 1_000_000):
        V = W + step * smooth(W)
        W = np.sign(V) * np.maximum(np.abs(V) - step * lam, 0.0)
        if k % 100 == 0:
            force = smooth(W)
            held = np.maximum(np.abs(force) - lam, 0.0)
            if np.where(W == 0.0, held, np.abs(force - lam * np.sign(W))).max() < 1e-3 * lam:
                return W
    raise AssertionError("it does not come to rest")


@pytest.mark.long
@pytest.mark.parametrize(
    ("m_over_n", "coupling", "seeds"), [(1, 0.1, 40), (2, 0.0464, 30), (8, 0.2154, 20)]
)
def test_proximal_euler_counts_the_same_within_the_standard_error(
    shipped, m_over_n, coupling, seeds
):
    """From the same starts: what differs are races that a step of 0.05 decides otherwise."""
    runs, _ = read_config(gallery.HERE.parent / map_table.CONFIG)
    rows = {row["hash"]: row for row in shipped.rows}
    ours, theirs = [], []
    for one in cell(runs, 64, m_over_n, coupling)[:seeds]:
        W = proximal_euler(gaussian_init(one.n, one.m, seed=one.seed), one.lam, 0.05)
        theirs.append(np.count_nonzero(np.count_nonzero(W, axis=0) > 1))
        ours.append(rows[one.hash()]["polysemantic"])
    error = np.std(ours, ddof=1) / math.sqrt(seeds)
    assert len(ours) == seeds
    assert abs(np.mean(theirs) - np.mean(ours)) <= error
    assert np.mean(np.array(theirs) == ours) >= 0.6


# Crowds ------------------------------------------------------------------------------------------


def test_owners_their_company_and_where_movers_end_are_counted_as_by_hand():
    W = np.array(
        [
            [0.9, -0.1, 0.0, 0.2],  # alone on neuron 0, where two others are on its other side
            [-0.2, 0.8, 0.1, 0.0],  # faces the next one on neuron 1
            [-0.3, -0.7, 0.0, 0.0],
            [0.1, 0.0, 0.0, 0.5],  # alone on neuron 3, with one other on its side
        ]
    )
    end = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 0, -1.0]])
    assert crowds.look(W, end) == {
        "survivors": 10 / 4,
        "own": (1 + 1) / 2,
        "other": (2 + 0) / 2,
        "alone": 50.0,  # the first stays; the last changes its sign
        "facing": 50.0,
        "moved": 50.0,  # one of the two faces the first
        "stayed": 50.0,
    }
