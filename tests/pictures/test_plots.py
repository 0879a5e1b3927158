"""Pictures: what is drawn is what was computed, and files appear whole."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    gaussian_init,
    integrate,
    simulate,
)
from flow.driver.filming import FRAMES, KEPT_BYTES, FilmRecorder
from flow.pictures import plots
from flow.pictures.law import closed_form
from theory.universal import universal_law_at

N, M, LAM = 24, 32, 0.05


@pytest.fixture(scope="module")
def drawn():
    traj = integrate(
        [FeatureBenefit(), Interference(), Regularization(LAM)],
        gaussian_init(N, M, seed=1),
        film=True,
        metadata={"seed": 1, "scale": 1.0},
    )
    assert traj.film is not None
    return traj, traj.film


def test_a_film_starts_at_the_start_ends_at_the_end_and_is_increasing(
    drawn,
):
    traj, film = drawn
    assert film.times[0] == 0.0
    assert film.times[-1] == traj.times[-1]
    assert np.all(np.diff(film.times) > 0.0)
    np.testing.assert_array_equal(film.weights[0], traj.weights[0].astype(np.float32))
    np.testing.assert_array_equal(film.weights[-1], traj.final.astype(np.float32))


def test_a_long_film_stays_even_in_log_time_and_small():
    recorder = FilmRecorder(1, 1)
    times = np.geomspace(1e-3, 1e6, 5000)
    for t in [0.0, *times]:
        recorder.add(float(t), lambda t=t: np.full((1, 1), t))
    film = recorder.film(1e6, np.full((1, 1), 1e6))
    assert FRAMES / 4 <= len(film.times) <= FRAMES
    np.testing.assert_array_equal(film.weights[:, 0, 0], film.times.astype(np.float32))
    steps = np.diff(np.log(film.times[2:]))
    assert steps.max() < 3.0 * np.median(steps)


def test_a_film_of_wide_weights_keeps_some_rows_only():
    W = np.zeros((1000, 10_000), np.float32)
    recorder = FilmRecorder(*W.shape)
    recorder.add(0.0, lambda: W)
    film = recorder.film(1.0, W)
    assert 1 <= film.rows.size < 1000
    assert film.rows[0] == 0
    assert 4 * FRAMES * film.rows.size * 10_000 <= KEPT_BYTES


def test_weights_are_drawn_as_they_were_in_the_colour_of_their_fate(
    drawn,
):
    traj, film = drawn
    axis = plots.single_run(traj, film, None).axes[0]
    collections = [c for c in axis.collections if isinstance(c, LineCollection)]
    lost, alone, shared = (c.get_segments() for c in collections)
    final = traj.final
    busy = np.count_nonzero(final, axis=0) >= 2
    assert alone
    assert shared
    assert lost
    for lines, sharing in ((alone, False), (shared, True)):
        for line in lines:
            rows, columns = np.nonzero(np.isclose(np.abs(final), line[-1, 1], rtol=1e-6))
            assert np.any(busy[columns] == sharing)
            k = [np.allclose(np.abs(film.weights[:, i, j]), line[:, 1], rtol=1e-6)
                 for i, j in zip(rows, columns, strict=True)]  # fmt: skip
            assert any(k)
            np.testing.assert_array_equal(line[1:, 0], film.times[1:])
    assert all(np.isnan(line[-1, 1]) or line[-1, 1] == 0.0 for line in lost)


def test_norms_and_energies_are_those_of_the_run(drawn):
    traj, film = drawn
    _, norms, energies, *_ = plots.single_run(traj, film, None).axes
    seen = traj.observables
    lines = {line.get_label(): line for line in norms.lines}
    np.testing.assert_array_equal(lines["non-zeros"].get_xdata()[1:], seen.times[1:])
    np.testing.assert_array_equal(lines["non-zeros"].get_ydata(), seen.nonzeros.mean(axis=1))
    np.testing.assert_array_equal(lines[r"$\|W_i\|_1$"].get_ydata(), seen.l1.mean(axis=1))
    lines = {line.get_label(): line for line in energies.lines}
    assert set(lines) == {"total", "feature benefit", "interference", "regularization"}
    np.testing.assert_array_equal(
        lines["regularization"].get_ydata(), seen.energy["Regularization"]
    )
    positive = seen.energy["Interference"] > 0.0
    np.testing.assert_array_equal(
        lines["interference"].get_ydata()[positive], seen.energy["Interference"][positive]
    )
    np.testing.assert_allclose(lines["total"].get_ydata(), seen.total_energy)


def test_the_start_is_at_the_left_end_of_a_logarithmic_axis_and_is_called_0(drawn):
    traj, film = drawn
    assert traj.times[0] == 0.0
    for axis in plots.single_run(traj, film, None).axes[:3]:
        assert axis.get_xscale() == "log"
        left, right = axis.get_xlim()
        tracks = [line.get_xdata() for line in axis.lines]
        tracks += [line[:, 0] for some in axis.collections for line in some.get_segments()]
        assert tracks
        assert all(track[0] == left < track[1] for track in tracks)
        assert max(track[-1] for track in tracks) == right
        named = dict(
            zip(
                axis.get_xticks(), (tick.get_text() for tick in axis.get_xticklabels()), strict=True
            )
        )
        assert named.pop(left) == "0"
        assert all(name == f"$10^{{{np.log10(at):.0f}}}$" for at, name in named.items())


def test_the_law_is_the_closed_form_and_says_that_interference_is_off(
    drawn,
):
    traj, film = drawn
    law = closed_form(traj)
    assert law is not None
    at = universal_law_at(law.times * LAM * np.sqrt(M), coupling=LAM * np.sqrt(M), norm=1.0)
    np.testing.assert_allclose(law.l1, at.l1 * np.sqrt(M), rtol=1e-9)
    np.testing.assert_allclose(law.survivors, at.survivors * M, rtol=1e-9)
    axis = plots.single_run(traj, film, law).axes[1]
    legend = axis.get_legend()
    assert legend is not None
    assert any("interference off" in text.get_text() for text in legend.get_texts())
    dashed = [line for line in axis.lines if line.get_color() == "black"]
    for line, values in zip(dashed, (law.survivors, law.l1), strict=True):
        assert set(line.get_ydata()) <= set(values)


def test_the_law_fits_runs_without_interference_within_its_accuracy():
    m, lam = 4096, 1e-3
    traj = integrate(
        [FeatureBenefit(), Regularization(lam)],
        gaussian_init(32, m, seed=0),
        t_end=400.0,
        metadata={"scale": 1.0},
    )
    law = closed_form(traj)
    assert law is not None
    seen = traj.observables
    many = seen.nonzeros.mean(axis=1) > 100
    inside = (seen.times > 20.0) & many
    assert inside.sum() > 20
    l1 = np.interp(seen.times[inside], law.times, law.l1)
    # Order Λ² = 0.004 of the law, and fluctuations of 32 rows with more than 100 survivors.
    np.testing.assert_allclose(l1, seen.l1.mean(axis=1)[inside], rtol=0.02)


@pytest.mark.parametrize(
    ("forces", "scale"),
    [
        ([Interference(), Regularization(LAM)], 1.0),
        ([FeatureBenefit(), Interference()], 1.0),
        ([FeatureBenefit(), Regularization(LAM)], 0.0),
        ([FeatureBenefit(0.1), Regularization(LAM)], 1.0),
    ],
)
def test_no_law_is_drawn_where_none_applies(forces, scale):
    traj = integrate(forces, gaussian_init(4, 8, seed=0), t_end=1.0, metadata={"scale": scale})
    assert closed_form(traj) is None


def test_the_last_panel_shows_w_with_winners_in_order(drawn):
    traj, film = drawn
    axis = plots.single_run(traj, film, None).axes[3]
    W = traj.final
    used = int(np.count_nonzero(W.any(axis=0)))
    shown = np.asarray(axis.images[0].get_array())
    assert shown.shape == (N, used)
    np.testing.assert_allclose(np.sort(shown[shown != 0.0]), np.sort(W[W != 0.0]))
    winner = np.argmax(np.abs(shown), axis=1)
    assert np.all(np.diff(winner[np.abs(shown).max(axis=1) > 0.0]) >= 0)
    load = np.count_nonzero(shown, axis=0)
    assert np.all(np.diff((load >= 2).astype(int)) <= 0)
    assert f"{used} of {M}" in axis.get_xlabel()


def test_pooling_keeps_the_largest_weight_of_every_pixel():
    W = np.random.default_rng(0).normal(size=(300, 7))
    small = plots.pooled(W, 10)
    assert small.shape == (10, 7)
    for k in range(10):
        block = W[30 * k : 30 * (k + 1)]
        np.testing.assert_array_equal(
            small[k], block[np.argmax(np.abs(block), axis=0), np.arange(7)]
        )
    np.testing.assert_array_equal(plots.pooled(W[:10], 10), W[:10])


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_figures_are_written_whole_or_not_at_all(drawn, tmp_path, suffix, monkeypatch):
    traj, film = drawn
    figure = plots.single_run(traj, film, None)
    path = tmp_path / f"run{suffix}"
    plots.write_figure(figure, path)
    first = path.read_bytes()
    assert len(first) > 10_000
    monkeypatch.setattr(figure, "savefig", lambda file, **_: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plots.write_figure(figure, path)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_is_readable_on_a_phone(drawn, tmp_path):
    traj, film = drawn
    figure = plots.single_run(traj, film, None)
    path = tmp_path / "run.png"
    plots.write_figure(figure, path)
    with Image.open(path) as image:
        width = image.size[0]
    assert 1000 <= width <= 2000
    texts = [t for axis in figure.axes for t in (axis.xaxis.label, axis.yaxis.label, axis.title)]
    # In shares of the width: 12 pt on a figure of 9 inches is 1.8 %.
    assert all(text.get_fontsize() / 72.0 / figure.get_figwidth() >= 0.018 for text in texts)


def test_colours_differ_in_grey():
    from matplotlib.colors import to_rgb

    weights = np.array([0.2126, 0.7152, 0.0722])
    greys = sorted(float(weights @ to_rgb(colour)) for colour in (plots.ALONE, plots.SHARED))
    assert greys[1] - greys[0] > 0.4
    signed = plots.SIGNED([0.0, 0.5, 1.0])[:, :3] @ weights
    assert signed[0] < 0.2 < signed[2] - 0.2
    assert signed[1] - signed[2] > 0.2


def test_a_gif_has_the_frames_of_the_film(drawn, tmp_path, monkeypatch):
    traj, film = drawn
    monkeypatch.setattr(plots, "FILM_FRAMES", 12)
    path = tmp_path / "run.gif"
    plots.write_animation(traj, film, path)
    with Image.open(path) as image:
        count = getattr(image, "n_frames", 1)
        first = np.asarray(image.convert("RGB")).astype(int)
        image.seek(count - 1)
        last = np.asarray(image.convert("RGB")).astype(int)
    assert 2 <= count <= 12  # frames that look alike are merged
    assert np.abs(first - last).max() > 50
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_an_mp4_is_written_where_ffmpeg_is_found(drawn, tmp_path):
    traj, film = drawn
    path = tmp_path / "run.mp4"
    plots.write_animation(traj, film, path)
    assert path.read_bytes()[4:8] == b"ftyp"
    assert list(tmp_path.iterdir()) == [path]


def test_an_mp4_is_refused_before_the_run_where_ffmpeg_is_not_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert simulate.main(["--animate", str(tmp_path / "run.mp4")]) == 2
    assert "ffmpeg" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_runs_that_never_move_that_die_and_that_stay_dense_can_be_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "FILM_FRAMES", 3)
    for k, forces in enumerate(([], [Regularization(0.1)], [FeatureBenefit()])):
        traj = integrate(forces, gaussian_init(2, 3, seed=0), t_end=50.0 if forces else 0.0,
                         film=True)  # fmt: skip
        plots.write_figure(plots.single_run(traj, traj.film, None), tmp_path / f"{k}.png")
        plots.write_animation(traj, traj.film, tmp_path / f"{k}.gif")


def test_pyplot_and_its_global_state_are_left_alone(tmp_path):
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy()\n"
        "from flow import simulate\n"
        "code = simulate.main(['--n', '3', '--m', '4', '--quiet', '--plot', sys.argv[1]])\n"
        "assert code == 0 and 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams.copy() == before\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "run.png")]
    subprocess.run(argv, check=True, timeout=200)
