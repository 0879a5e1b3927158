"""The picture of which feature is on which neuron, and the census on the command line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from flow import Trajectory, simulate
from flow.pictures import plots
from tests.strategies import sparse_weights

SMALL = ["--n", "6", "--m", "8", "--lam", "0.05", "--quiet"]


def drawn(W):
    """Segments by colour and whether they are solid; every collection once."""
    axis = Figure().subplots()
    plots.draw_bipartite(axis, W)
    found = {}
    for lines in axis.collections:
        if isinstance(lines, LineCollection):
            solid = lines.get_linestyle()[0][1] is None
            found[to_hex(lines.get_color()[0]), solid] = np.array(lines.get_segments())
    return found


def test_a_shared_neuron_stands_between_its_features_and_the_others_level_with_theirs():
    W = np.zeros((4, 9))
    W[0, 5], W[1, 2], W[3, 5] = 1.0, -0.9, -0.8  # feature 2 is dead
    found = drawn(W)
    assert set(found) == {(plots.ALONE, False), (plots.SHARED, True), (plots.SHARED, False)}
    # Two of four features share: half of the room each.
    np.testing.assert_allclose(found[plots.SHARED, True], [[[0, 0.125], [1, 0.25]]])
    np.testing.assert_allclose(found[plots.SHARED, False], [[[0, 0.375], [1, 0.25]]])
    np.testing.assert_allclose(found[plots.ALONE, False], [[[0, 0.625], [1, 0.625]]])


def test_few_sharing_features_get_half_of_the_room():
    W = np.zeros((10, 10))
    W[np.arange(8), np.arange(8)] = 1.0
    W[[8, 9], 8] = 1.0, -1.0
    found = drawn(W)
    np.testing.assert_allclose(found[plots.SHARED, True], [[[0, 0.125], [1, 0.25]]])
    assert found[plots.ALONE, True][:, 0, 1].min() == pytest.approx(0.5 + 0.5 / 16)


@settings(max_examples=30)
@given(W=sparse_weights())
def test_every_weight_is_a_line_in_the_colour_of_its_neuron(W):
    found = drawn(W)
    shared = np.count_nonzero(W, axis=0) >= 2
    for colour, columns in ((plots.ALONE, ~shared), (plots.SHARED, shared)):
        for solid, sign in ((True, 1), (False, -1)):
            segments = found.get((colour, solid), np.zeros((0, 2, 2)))
            assert len(segments) == np.count_nonzero(np.sign(W[:, columns]) == sign)
            assert ((segments[..., 1] > 0.0) & (segments[..., 1] < 1.0)).all()


def test_of_too_many_weights_the_largest_are_drawn(monkeypatch):
    monkeypatch.setattr(plots, "MOST_LINES", 3)
    W = np.array([[0.1, 0.9], [0.8, -0.7]])
    axis = Figure().subplots()
    plots.draw_bipartite(axis, W)
    assert "largest 3 of 4" in axis.get_title(loc="left") + axis.get_title()
    found = {key: len(segments) for key, segments in drawn(W).items()}
    assert found == {(plots.SHARED, True): 2, (plots.SHARED, False): 1}
    ends = drawn(W)[plots.SHARED, True][:, 1, 1]
    assert sorted(ends) == [0.25, 0.75]  # 0.8 and 0.9: with 0.1 one neuron would come twice


def test_the_command_line_draws_it_once(tmp_path, capsys):
    picture = tmp_path / "who.png"
    assert simulate.main([*SMALL, "--bipartite", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert simulate.main([*SMALL, "--bipartite", str(picture)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert simulate.main(["compare", *SMALL, "--bipartite", str(tmp_path / "b.png")]) == 2
    assert "expected a single run" in capsys.readouterr().err


def test_a_run_with_a_census_saves_its_log_and_says_what_is_in_it(tmp_path, capsys):
    out = tmp_path / "run.npz"
    assert simulate.main([*SMALL[:-1], "--census", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    log = Trajectory.load(out).events
    assert log.weights_logged
    assert f"{log.extinctions.time.size:,} weights reached zero" in said
    assert f", {log.revivals.time.size:,} left it" in said
    assert simulate.main([*SMALL, "--out", str(out), "--overwrite"]) == 0
    assert not Trajectory.load(out).events.weights_logged
