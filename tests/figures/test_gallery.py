"""Figures: their numbers are what they say, they are drawn, and the same numbers give one file."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from flow.analysis.statistics import mean_and_interval
from flow.cli.flags import InputError
from flow.sweep import run
from flow.sweep.runs import Run
from paper_figures import FIGURES, fig2_sparsification, fig3_counts, plateau
from paper_figures.tools import benchmark_results, cache, fig3_table, gallery, style
from theory.counting import slot_law, slot_mean

TOYS: dict[str, dict[str, Any]] = {
    "fig2_sparsification": {"m": 1000, "lam": 1e-3},
    "fig6_relative_variance": {"m": 500, "lam": 1e-3, "points": 20},
    "universal_law": {"ms": (1000, 10_000)},
    "fig3_counts": {"ms": (32, 64)},
    "winners": {"ms": (32, 64)},
    "malign_collision": {"sizes": (0.45, 1.1), "ratios": (0.6, 0.97), "gaps": (0.3, 0.03)},
    "plateau": {"n": 16, "m_over_n": (1, 2)},
    "collapse": {"n": (8, 12)},
    "count_map": {"n": (8, 16), "m_over_n": (1, 2), "coupling": (0.5, 1.0, 2), "seeds": 3},
    "glossary": {"n": 16, "t_end": 40.0},
    "winning": {"n": (8,), "m_over_n": (1, 2), "seeds": 3},
    "tilt": {
        "n": (8, 16),
        "m_over_n": (1, 2),
        "coupling": (0.5, 1.0, 2),
        "shown": (1.0,),
        "seeds": 3,
    },
    "animation": {"n": 6, "m": 8, "lam": 0.1, "frames": 4},
}
"""Smaller still than --fast, where that takes more than a moment."""


@pytest.fixture(scope="module")
def drawn():
    """Numbers of every figure at toy size; computed when first asked for."""

    class Lazy(dict[str, cache.Data]):
        def __missing__(self, name):
            module = gallery.load(name)
            self[name] = module.compute(replace(module.FAST, **TOYS.get(name, {})))
            return self[name]

    return Lazy()


# Every figure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_from_its_numbers_alone_and_twice_the_same(name, drawn, tmp_path):
    module, data = gallery.load(name), drawn[name]
    assert all(np.asarray(values).dtype.kind in "biufU" for values in data.values())
    kept = cache.cached(tmp_path / "a.npz", lambda: data)
    again = cache.cached(tmp_path / "a.npz", lambda: pytest.fail("computed again"))
    files = []
    for k, numbers in enumerate((kept, again)):
        with style.in_style():
            picture = module.plot(numbers)
        if isinstance(picture, Figure):
            paths = [tmp_path / f"{k}.png", tmp_path / f"{k}.pdf"]
            for path in paths:
                style.save(picture, path)
        else:
            paths = [tmp_path / f"{k}.gif"]
            gallery.save_film(picture, paths[0])
        files.append([path.read_bytes() for path in paths])
    assert files[0] == files[1]
    with Image.open(paths[0]) as image:
        assert image.size[0] > 600


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_of_numbers_says_what_it_shows(name, drawn):
    with style.in_style():
        picture = gallery.load(name).plot(drawn[name])
    if isinstance(picture, Figure):
        for axis in picture.axes:
            if axis.axison and axis.get_label() != "<colorbar>":
                shared = axis.get_shared_x_axes().get_siblings(axis)
                assert any(other.get_xlabel() for other in shared), name
                shared = axis.get_shared_y_axes().get_siblings(axis)
                assert any(other.get_ylabel() for other in shared), name


def test_the_gallery_is_that_of_the_modules_and_every_figure_is_there():
    assert (gallery.HERE / "README.md").read_text() == gallery.gallery()
    for name in FIGURES:
        file = gallery.HERE / f"{name}{gallery.suffix(name)}"
        assert 0 < file.stat().st_size < 2e6


def test_a_beginning_names_a_figure_and_a_wrong_name_is_refused():
    assert gallery.named(["fig2"]) == ["fig2_sparsification"]
    assert gallery.named([]) == list(FIGURES)
    for wrong in ("fig9", "noise"):
        with pytest.raises(InputError, match=wrong):
            gallery.named([wrong])


def test_the_command_makes_what_is_named_with_its_page_and_the_same_bytes_in_every_process(
    tmp_path,
):
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        command = [sys.executable, "-m", "paper_figures", "fig1", "--fast", "--pdf"]
        command += ["--out", str(folder), "--cache", str(folder / "cache")]
        subprocess.run(command, cwd=gallery.HERE.parent, check=True, capture_output=True)
        found.append({path.name: path.read_bytes() for path in folder.glob("*.*")})
    assert found[0] == found[1]
    assert set(found[0]) == {"fig1_network.png", "fig1_network.pdf", "README.md"}
    assert found[0]["README.md"].decode() == gallery.gallery(fast=True)


def test_a_name_that_is_not_known_gives_one_line_and_no_file(tmp_path):
    command = [sys.executable, "-m", "paper_figures", "fig9", "--out", str(tmp_path)]
    result = subprocess.run(command, cwd=gallery.HERE.parent, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: expected names of figures, got 'fig9'")
    assert list(tmp_path.iterdir()) == []


# Numbers that are kept ---------------------------------------------------------------------------


def test_other_parameters_other_files_and_other_names_have_other_keys(tmp_path):
    path = tmp_path / "read.json"
    path.write_text("1")
    keys = {
        cache.key("a", {"m": 1}, [path]), cache.key("b", {"m": 1}, [path]),
        cache.key("a", {"m": 2}, [path]), cache.key("a", {"m": 1}, []),
    }  # fmt: skip
    assert cache.key("a", {"m": 1}, [path]) in keys
    path.write_text("2")
    keys.add(cache.key("a", {"m": 1}, [path]))
    assert len(keys) == 5


def test_kept_numbers_are_read_and_a_file_that_is_cut_off_is_made_again(tmp_path):
    path = tmp_path / "deep" / "a.npz"
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(3.0), "name": np.array("λ")}

    for expected in (1, 1):
        data = cache.cached(path, compute)
        assert len(calls) == expected
        np.testing.assert_array_equal(data["x"], np.arange(3.0))
        assert str(data["name"]) == "λ"
    cache.cached(path, compute, fresh=True)
    assert len(calls) == 2
    path.write_bytes(path.read_bytes()[:-40])
    assert cache.cached(path, compute)["x"].size == 3
    assert len(calls) == 3
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]


# What the figures of one encoding say ------------------------------------------------------------


def test_figure_2_passes_through_the_reference_points():
    """theory/README, section 2: the paper's m and λ, NumPy's legacy seed 0."""
    times = np.array([100.0, 1e3, 1e4, 2e4, 5e4, 1e5])
    l1, survivors = fig2_sparsification.solution(fig2_sparsification.FULL, times)
    np.testing.assert_array_equal(survivors, [77649, 14420, 243, 61, 6, 3])
    np.testing.assert_allclose(l1, [218.58, 90.093, 11.168, 5.2826, 1.8844, 1.4594], rtol=5e-5)


def test_figure_2s_simulation_law_and_exact_solution_agree(drawn):
    data = drawn["fig2_sparsification"]
    t, l1, survivors = data["euler"]
    exact = np.interp(t, data["times"], data["l1"])
    early = t < 0.5 * t[-1]
    # Forward Euler with step h is late by about h/2: here 0.25 of a time of at least 1.
    np.testing.assert_allclose(l1[early & (t >= 5)], exact[early & (t >= 5)], rtol=0.01)
    assert survivors[-1] == 1
    law = np.interp(t, data["law"][0], data["law"][1])
    many = (survivors >= 50) & (t >= 5)
    assert np.count_nonzero(many) > 10
    # Scatter 1/√m' of a random start, five times: a false alarm in a million for one seed.
    assert np.all(np.abs(l1 / law - 1)[many] < 5 / np.sqrt(survivors[many]))


def test_the_universal_laws_residuals_are_the_scatter_of_a_random_start(
    drawn,
):
    data = drawn["universal_law"]
    for m in data["ms"]:
        time, l1, share = data[f"m{m}"]
        np.testing.assert_array_equal(time, data["law"][0, : time.size])
        off = np.abs(l1 / data["law"][1, : time.size] - 1)
        assert np.all(off < 5 / np.sqrt(share * m))
        assert np.all(off[share > 0.5] < 0.05)


def test_figure_6s_relative_variance_lies_within_its_bounds(drawn):
    data = drawn["fig6_relative_variance"]
    low, high = data["own"]
    slack = 1e-9
    assert np.all(low - slack <= data["variance"])
    assert np.all(data["variance"] <= high + slack)
    assert data["law"][1, 0] == pytest.approx(np.pi / 2 - 1, abs=0.02)
    assert np.all(np.diff(data["law"][1]) > 0)
    many = data["survivors"] >= 100
    law = np.interp(data["times"], *data["law"])
    # Fourth moments of normal weights: standard deviation below 4/√m'.
    spread = 4 / np.sqrt(data["survivors"])
    assert np.all(np.abs(data["variance"] / law - 1)[many] < 5 * spread[many])


# Runs to rest ------------------------------------------------------------------------------------


def test_intervals_are_those_of_the_runs(drawn):
    data = drawn["fig3_counts"]
    for m, mean, half, seeds in data["flow"].T:
        values = data["runs"][1, data["runs"][0] == m]
        assert (mean, half) == mean_and_interval(values)
        assert seeds == values.size == 4
    np.testing.assert_allclose(data["law"][1], slot_mean(32, data["law"][0]))
    wide = data["runs"][1, data["runs"][0] == 64] / (32**2 / (4 * 64))
    np.testing.assert_allclose(data["share"], mean_and_interval(wide))
    assert np.all(data["law"][2] <= data["law"][1])
    assert np.all(data["law"][1] <= data["law"][3])


def test_a_winner_that_was_largest_has_initial_rank_one_and_shares_grow_to_all(
    drawn,
):
    data = drawn["winners"]
    for m in data["ms"]:
        share, half, seeds = data[f"m{m}"]
        assert np.all(np.diff(share) >= 0)
        assert share[-1] == 1.0
        assert 0.0 < share[0] < 1.0
        assert np.all(half >= 0)
        assert np.all(seeds == 4)


def test_figure_3s_table_is_whole_and_lies_where_its_statistics_say():
    """Every run lies in the slot law's range of 99.999 %: if the law (a conjecture) were true, a
    false alarm in 400 tables of 256 runs."""
    p = fig3_counts.FULL
    rows = fig3_counts.rows(p)
    assert {(row["m"], row["seed"]) for row in rows} >= {(m, 0) for m in p.ms}
    assert len({(row["m"], row["seed"]) for row in rows}) == len(rows)
    for row in rows:
        low, high = slot_law(p.n, row["m"]).interval(1 - 1e-5)
        assert low <= row["polysemantic"] <= high
        assert row["polysemantic"] == row["polysemantic_window"]
        assert row["rank_at_most"][-1] == p.n
        assert 0 < row["largest_stayed"] <= row["rank_at_most"][0]
        assert row["kept_sign"] <= p.n
        # The theory needs t ~ 1/λ to come to rest; training stopped at 7.5.
        assert row["t"] > 1 / p.lam


def test_a_table_of_a_sweep_says_what_its_runs_say(tmp_path):
    runs = [Run(n=4, m=6, lam=0.1, seed=seed) for seed in range(2)]
    run(runs, tmp_path / "a.sqlite", workers=1)
    assert fig3_table.write(tmp_path / "a.sqlite", tmp_path / "a.json") == 2
    assert fig3_table.read(tmp_path / "a.json") == fig3_table.run_all(runs)
    assert "host" not in (tmp_path / "a.json").read_text()


def test_a_run_that_does_not_come_to_rest_is_not_counted():
    with pytest.raises(RuntimeError, match="comes to rest"):
        fig3_table.run_all([Run(n=4, m=6, lam=0.1, max_steps=3)])


# Collisions, plateau, network, film --------------------------------------------------------------


def test_every_simulated_pair_ends_with_the_larger_weight_alone(
    drawn,
):
    data = drawn["malign_collision"]
    start, end = data["paths"][:, 0], data["paths"][:, -1]
    winner = np.argmax(start, axis=1)
    np.testing.assert_array_equal(np.argmax(end, axis=1), winner)
    assert np.all(end.min(axis=1) == 0.0)
    np.testing.assert_allclose(end.max(axis=1), data["axis"][1], rtol=1e-6)
    assert list(data["kinds"]) == ["saddle", "repeller"]


def test_races_take_the_time_of_the_closed_form(drawn):
    lam, _, died, slow, first = drawn["malign_collision"]["races"].T
    # First order: an error O(λ) in λT ~ 1, where leading order is off by O(1/c) in T.
    np.testing.assert_allclose(first, died, rtol=0.01)
    assert np.all(np.abs(slow - died)[lam == 0.1] > 3 * np.abs(first - died)[lam == 0.1])


def test_the_plateau_is_that_of_another_method():
    """theory/README, section 3: a fixed-step proximal Euler run at n = m = 64, λ = 0.004."""
    data = plateau.compute(replace(plateau.FULL, m_over_n=(1,)))
    on = np.interp([0.3, 0.5, 0.7, 0.9], data["time"], data["ratio1"][0])
    np.testing.assert_allclose(on, [35.8, 31.4, 14.5, 3.9], rtol=0.02)


def test_the_plateau_stands_on_the_pairs_that_are_held_and_falls_with_them():
    """Never below their bound by more than 3 % of n (a conjecture, see free_directions), and on it
    once the pairs let go."""
    data = plateau.compute(replace(plateau.FULL, m_over_n=(1,)))
    looks, bound = data["bound1"]
    survivors = np.interp(looks, data["time"], data["ratio1"][0])
    assert np.all(survivors - bound > -0.03 * 64)
    assert np.all(np.abs(bound[(looks > 0.2) & (looks < 0.6)] / 23 - 1) < 0.1)
    falls = (looks > 0.65) & (looks < 0.85)
    assert np.all(np.abs(survivors - bound)[falls] < 0.05 * 64)
    assert bound[-1] == 1.0


def test_without_interference_non_zeros_follow_the_universal_law():
    data = plateau.compute(replace(plateau.FULL, m_over_n=(8,)))
    law = np.interp(data["time"], *data["law8"])
    many = (law > 30) & (data["time"] > 0.02)
    assert np.count_nonzero(many) > 20
    # Mean m' of 64 independent rows: four seeds were off by 1.8/√(64 m') at the most.
    off = np.abs(data["ratio8"][1] / law - 1)[many]
    assert np.all(off < 5 / np.sqrt(64 * law[many]))


def test_figure_1_ends_with_one_neuron_for_each_feature_and_one_shared_by_both_signs(
    drawn,
):
    W0, W = drawn["fig1_network"]["W"]
    assert np.all(W0 != 0)
    assert np.all(np.count_nonzero(W, axis=1) == 1)
    shared = np.count_nonzero(W, axis=0) >= 2
    assert shared.sum() == 1
    assert np.sort(np.sign(W[:, shared][W[:, shared] != 0])).tolist() == [-1.0, 1.0]


def test_the_film_begins_at_the_start_and_ends_settled(drawn):
    data = drawn["animation"]
    assert data["times"][0] == 0.0
    assert np.all(np.diff(data["times"]) > 0)
    assert np.all(np.count_nonzero(data["W"][-1], axis=1) <= 1)
    total = data["energies"].sum(axis=0)
    assert np.all(np.diff(total) <= 1e-12)
    with style.in_style():
        assert len(gallery.load("animation").plot(data)) == len(data["times"])


# What was measured by benchmarks -----------------------------------------------------------------


def test_figure_4s_flow_ends_where_the_papers_curves_do(drawn):
    data = drawn["fig4_noise"]
    np.testing.assert_array_equal(data["bipolar_sigma"], data["published"][:, 0])
    for name in ("flow", "sgd"):
        np.testing.assert_allclose(
            data[f"bipolar_{name}"][:, -1], data["published"][:, 1], atol=0.04
        )
        # Normal noise: within the scatter of a random direction, 3/(m + 2) = 1/6.
        np.testing.assert_allclose(data[f"normal_{name}"][:, -1], 1 / 6, atol=0.03)
    assert float(data["simplex"]) == pytest.approx(0.794, abs=1e-3)


def test_figure_5_collapses_above_the_critical_strength(drawn):
    data = drawn["fig5_strength"]
    critical = float(data["critical"])
    assert critical == pytest.approx(8 / (3 * np.sqrt(3)))
    above = data["a_strength"] > critical
    assert above.any()
    assert np.all(data["a_flow"][above] == 0.0)
    assert np.all(data["a_flow"][~above, 1, 0] > 0.5)
    assert data["a_flow"][:, 0, 0].max() > 0.99
    assert 0.75 < data["b_flow"][:, 0, 0].max() < 0.85
    assert data["b_flow"][-1, 1, 0] < 0.1
    curve = benchmark_results.part("benchmarks/findings/noise.json", "figure5b")["curves"][2]
    assert curve["flow"] != curve["sgd"]
    for name in ("flow", "sgd"):
        np.testing.assert_array_equal(data[f"b_{name}"][2], curve[name])


def test_figure_7s_flow_leaves_one_encoding_stuck_as_the_simplex_says(
    drawn,
):
    data = drawn["fig7_stuck"]
    sparse, stuck = data["ideal"]
    ends = np.sort(data["flow"][:, -1])
    np.testing.assert_allclose(ends, [stuck] + [sparse] * 7, atol=0.01)
    np.testing.assert_allclose(np.sum(data["final"] ** 4, axis=1), data["flow"][:, -1], atol=1e-3)


def test_the_smaller_the_learning_rate_the_closer_to_the_flow(drawn):
    data = drawn["learning_rate"]
    assert np.all(np.diff(data["rates"]) < 0)
    off = np.abs(data["sgd"][:, 0] - data["flow"][0]).max(axis=1)
    assert np.all(np.diff(off) < 0)
    assert off[-1] < 0.02
    assert np.all(np.ptp(data["implicit"], axis=1) < 0.01)
    assert data["flow"][0, -1] - data["flow"][0, 0] > 0.5


def test_work_and_precision_are_the_benchmarks_rows(drawn):
    data = drawn["work_precision"]
    rows = benchmark_results.part("benchmarks/results.json", "precision")["rows"]
    assert [str(name) for name in data["method"]] == [row[0] for row in rows]
    for row, cost, error in zip(rows, data["evaluations"], data["error"], strict=True):
        assert cost == row[3]
        assert error == row[6] or (np.isnan(error) and row[6] == "not finished")


def test_a_measurement_that_is_missing_says_how_to_make_it():
    with pytest.raises(KeyError, match=r"python -m benchmarks\.noise nothing"):
        benchmark_results.part("benchmarks/findings/noise.json", "nothing")
    assert np.isnan(benchmark_results.array([None, 1.0])[0])
