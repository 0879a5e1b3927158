"""The command line for saved runs."""

import pytest

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.cli.show import main

FORCES = [FeatureBenefit(), Interference(), Regularization(0.05)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run.npz"
    W0 = gaussian_init(8, 12, seed=0)
    run = integrate(FORCES, W0, film=True, events=True, metadata={"seed": 0, "scale": 1.0})
    run.save(path)
    return path, run


def test_a_saved_run_is_told_as_it_was(saved, capsys):
    path, run = saved
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.strip() == run.summary()


def test_a_saved_run_is_drawn_filmed_and_counted(saved, capsys, tmp_path):
    path, _ = saved
    files = [tmp_path / name for name in ("a.png", "b.gif", "c.svg")]
    flags = ["--plot", files[0], "--animate", files[1], "--bipartite", files[2], "--census"]
    assert main([str(path), *map(str, flags)]) == 0
    assert all(file.stat().st_size > 1000 for file in files)
    said = capsys.readouterr().out
    assert "collisions of initially largest weights" in said
    assert "weights reached zero" in said
    assert main([str(path), "--plot", str(files[0])]) == 2
    assert "which exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "expected FILE.npz"),
        (["--plot", "a.png"], "expected FILE.npz"),
        (["none.npz"], "expected a run that can be read, got none.npz"),
        ([__file__], "expected a trajectory written by"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(argv, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_a_run_that_did_not_keep_its_start_has_no_census(capsys, tmp_path):
    run = integrate(FORCES, gaussian_init(4, 6, seed=0), t_end=2.0, save_at=[1.0])
    run.save(tmp_path / "late.npz")
    assert main([str(tmp_path / "late.npz"), "--census"]) == 2
    assert "expected a run that kept its start" in capsys.readouterr().err
