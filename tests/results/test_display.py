"""A run shows itself: in lines, in a notebook, as pictures and as tables."""

import contextlib

import numpy as np
import pytest

from flow import FeatureBenefit, Interference, Regularization, Trajectory, gaussian_init, integrate
from flow.analysis import FeatureState, polysemantic_neurons
from flow.cli import report
from flow.sweep import run as run_sweep

FORCES = [FeatureBenefit(), Interference(), Regularization(0.05)]


@pytest.fixture(scope="module")
def rested():
    return integrate(
        FORCES, gaussian_init(12, 24, seed=1), film=True, events=True,
        metadata={"seed": 1, "scale": 1.0},
    )  # fmt: skip


def test_a_run_says_what_it_is_in_a_dozen_lines(rested):
    text = repr(rested)
    assert len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) <= 100
    for part in ("12 features × 24 neurons", "STATIONARY", "Regularization(0.05)", rested.message):
        assert part in text
    assert f"{rested.polysemantic} polysemantic neuron" in text
    for part in (rested.observables, rested.events):
        assert len(repr(part)) < 300


def test_a_notebook_gets_a_picture_beside_the_lines(rested):
    shown = rested._repr_html_()
    assert "data:image/png;base64," in shown
    assert "STATIONARY" in shown
    assert len(shown) < 60_000


def test_counts_and_states_are_those_of_the_weights(rested):
    assert rested.polysemantic == polysemantic_neurons(rested.final)
    counts = rested.end_states.counts()
    assert sum(counts.values()) == 12
    assert counts[FeatureState.NOT_CONVERGED] == 0
    moving = integrate(FORCES, gaussian_init(12, 24, seed=1), t_end=1.0)
    assert moving.end_states.counts()[FeatureState.NOT_CONVERGED] == 12


def test_the_summary_is_what_the_command_line_prints(rested):
    lines = list(report.summary(rested, report.expected_counts(rested)))
    assert rested.summary() == "\n".join(lines)
    assert "n²/4m" in rested.summary()


def test_laws_are_left_out_where_they_do_not_apply():
    W0 = gaussian_init(12, 24, seed=1)
    for run in (integrate(FORCES, W0, t_end=2.0), integrate([FORCES[0], FORCES[2]], W0),
                integrate(FORCES[:2], W0)):  # fmt: skip
        assert "n²/4m" not in run.summary()
    assert "by exact zeros" in integrate(FORCES, W0, t_end=2.0).summary()
    hopeless = integrate([FORCES[0], FORCES[1], Regularization(0.5)], W0).summary()
    assert "λ = 0.5 is above 2c/(3√3) = 0.385: no weight survives" in hopeless


def test_a_loaded_run_is_drawn_as_the_fresh_one(rested, tmp_path):
    rested.save(tmp_path / "run")
    loaded = Trajectory.load(tmp_path / "run.npz")
    for draw in (Trajectory.plot, Trajectory.plot_weights, Trajectory.plot_energies):
        picture = draw(rested)._repr_png_()
        assert picture.startswith(b"\x89PNG")
        assert draw(loaded)._repr_png_() == picture


def test_a_run_without_a_film_is_drawn_from_the_weights_it_kept(tmp_path):
    run = integrate(FORCES, gaussian_init(5, 8, seed=0), save_at=[0.0, 1.0, 5.0])
    assert run.plot()._repr_png_()
    run.animate(tmp_path / "run.gif")
    assert (tmp_path / "run.gif").stat().st_size > 1000


def test_pictures_do_not_depend_on_the_users_style(rested):
    import matplotlib

    picture = rested.plot()._repr_png_()
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "figure.dpi": 300,
                                "image.cmap": "jet", "font.family": "monospace"}):  # fmt: skip
        assert rested.plot()._repr_png_() == picture


def test_tables_have_a_row_for_each_step_and_names_for_their_columns(rested):
    table = rested.to_pandas()
    o = rested.observables
    np.testing.assert_array_equal(table.index, o.times)
    np.testing.assert_allclose(table["l1"], o.l1.mean(axis=1))
    np.testing.assert_array_equal(table["energy_Interference"], o.energy["Interference"])
    data = rested.to_xarray()
    assert all("long_name" in data[name].attrs for name in data.variables)
    assert data["time"].attrs["units"] == data["step_time"].attrs["units"] == "flow time"


def test_a_sweep_says_what_it_is_in_a_line(tmp_path):
    sweep = run_sweep(
        {"n": 4, "m": [4, 6], "lam": 0.1, "seeds": 2}, tmp_path / "a.sqlite", workers=1
    )
    assert repr(sweep) == "<Sweep a.sqlite: 4 runs (4 STATIONARY) in 2 cells of equal parameters>"
    assert list(sweep.to_pandas()["n"]) == [4, 4, 4, 4]


def test_damaged_files_are_refused_with_a_value_error(rested, tmp_path):
    path, rng = tmp_path / "run.npz", np.random.default_rng(0)
    rested.save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(400):
        bytes_ = whole.copy()
        places = rng.integers(bytes_.size, size=3)
        bytes_[places] ^= rng.integers(1, 256, size=3, dtype=np.uint8)
        path.write_bytes(bytes_.tobytes())
        with contextlib.suppress(ValueError):  # it may also be read: not every byte matters
            Trajectory.load(path)
