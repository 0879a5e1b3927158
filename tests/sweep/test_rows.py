"""What a row of a sweep says is what `integrate` says of the same run."""

import csv
import io
import itertools
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis.states import polysemantic_neurons, winners
from flow.cli.report import mean_with_interval
from flow.forces import NoisyFeatureBenefit, NoisyInterference
from flow.results.observables import Observables
from flow.results.weights import read_weights
from flow.sweep import run
from flow.sweep.config import read_config
from flow.sweep.execute import plateau
from flow.sweep.report import report
from flow.sweep.results import EXPORTED, trace, winners_of
from flow.sweep.runs import TRACE_POINTS, ratios
from paper_figures.tools import map_table
from tests.sweep import GRID, NOISY
from theory.counting import fit_tilt
from theory.occupancy import exact_test, occupancy


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


def test_the_report_tells_shared_neurons_by_need_as_the_final_weights_do(done):
    lines = list(report(done, full=True))
    start = next(k for k, line in enumerate(lines) if line.startswith("Occupancy"))
    heading, _, *table = lines[start + 2 : start + 4 + len(done.cells())]
    columns = [name.strip() for name in heading.split("|")]
    for line, rows in zip(table, done.cells().values(), strict=True):
        said = dict(zip(columns, (text.strip() for text in line.split("|")), strict=True))
        uses = []
        for row in rows:
            forces = [FeatureBenefit(), Interference(), Regularization(row["lam"])]
            W0 = gaussian_init(row["n"], row["m"], seed=row["seed"])
            uses.append(occupancy(integrate(forces, W0).final))
        assert said["such runs"] == f"{len(uses)} of {len(rows)}"
        for name, seen in (
            ("shared", [use.shared for use in uses]),
            ("of necessity", [use.necessary for use in uses]),
            ("incidentally", [use.incidental for use in uses]),
            ("unused", [use.unused for use in uses]),
        ):
            assert said[name] == mean_with_interval(seen)
        shared, alive = [use.shared for use in uses], [use.features for use in uses]
        tilt = fit_tilt(shared, alive, rows[0]["m"])
        assert said["θ"] == f"{tilt.theta:.2f} ({tilt.low:.2f}–{tilt.high:.2f})"
        assert float(said["p, θ = 1"]) == pytest.approx(
            exact_test(shared, alive, rows[0]["m"]), rel=0.06
        )


def test_a_sweep_of_which_no_occupancy_is_known_has_no_table_of_it():
    """The count map keeps none."""
    lines = list(report(map_table.read(), full=True))
    assert not any(line.startswith("Occupancy") for line in lines)
    assert any(line.startswith("Winners") for line in lines)


def test_kept_weights_are_those_of_the_row_and_start_another_run(here, tmp_path):
    grid = {**GRID, "seeds": 1, "m": 6}
    first = run(grid, tmp_path / "a.sqlite", executor=here)
    assert not list(tmp_path.glob("*.npz"))
    again = run(grid, tmp_path / "a.sqlite", executor=here, weights=tmp_path / "W")
    (row,) = again.rows
    assert row["weights_sha256"] == first.rows[0]["weights_sha256"]
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
