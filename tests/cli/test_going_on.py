"""Going on from a file: under what the file was made with, bit for bit where nothing is changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from flow import (
    FeatureBenefit,
    Interference,
    L2Regularization,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    Status,
    Trajectory,
    gaussian_init,
    integrate,
    simulate,
    sweep,
)
from flow.cli import edit
from flow.cli.interruption import Interrupted, Interruptions
from flow.driver.simulation import Simulation
from flow.results.weights import read_weights, write_weights
from tests import ROOT


def run(path, *argv, code=0):
    assert simulate.main([*argv, "--out", str(path), "--quiet"]) == code
    return Trajectory.load(path)


# Bit for bit -------------------------------------------------------------------------------------

DENSE = ("--n", "24", "--m", "24", "--scale", "0.9")
SPARSE = ("--n", "8", "--m", "96")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "flags",
    [
        (*DENSE, "--lam", "0", "--t-end", "30"),
        (*DENSE, "--lam", "0.02", "--t-end", "300"),
        (*SPARSE, "--lam", "0.02", "--c", "4"),
        (*SPARSE, "--lam", "0.02", "--no-interference", "--backend", "numba"),
        ("--n", "4", "--m", "6", "--noise", "student-t:5", "--sigma", "0.2", "--t-end", "100"),
    ],
    ids=["dense-without-l1", "dense", "sparse", "uncoupled", "noise"],
)
@pytest.mark.parametrize("first", [1, 13])
def test_a_run_that_was_cut_short_ends_bitwise_as_the_whole_one(flags, dtype, first, tmp_path):
    whole = run(tmp_path / "whole.npz", *flags, "--dtype", dtype)
    part = run(tmp_path / "part.npz", *flags, "--dtype", dtype, "--max-steps", str(first), code=1)
    assert part.status is Status.STEP_LIMIT
    assert part.times[-1] < whole.times[-1]
    end = ("--t-end", flags[flags.index("--t-end") + 1]) if "--t-end" in flags else ()
    rest = run(tmp_path / "rest.npz", "--init", str(tmp_path / "part.npz"), *end)
    assert rest.final.dtype == dtype
    np.testing.assert_array_equal(rest.final, whole.final)
    assert rest.times[-1] == whole.times[-1]
    assert rest.status is whole.status
    assert rest.parameters["forces"] == whole.parameters["forces"]


def test_a_run_of_many_parts_is_the_whole_one_and_remembers_its_start_once(tmp_path):
    whole = run(tmp_path / "whole.npz", *DENSE, "--lam", "0.05", "--seed", "3")
    path, code = tmp_path / "part.npz", 1
    part = run(path, *DENSE, "--lam", "0.05", "--seed", "3", "--max-steps", "7", code=1)
    while code:
        argv = ["--init", str(path), "--max-steps", "7", "--out", str(path), "--overwrite"]
        code = simulate.main([*argv, "--quiet"])
        part = Trajectory.load(path)
    np.testing.assert_array_equal(part.final, whole.final)
    assert part.metadata["init_about"]["metadata"]["seed"] == 3
    assert "init_about" not in part.metadata["init_about"]["metadata"]


def test_a_closed_form_run_that_is_gone_on_with_ends_there_up_to_rounding(tmp_path):
    flags = (*DENSE, "--no-interference", "--lam", "0.05")
    whole = run(tmp_path / "whole.npz", *flags, "--t-end", "20")
    run(tmp_path / "part.npz", *flags, "--t-end", "3")
    rest = run(tmp_path / "rest.npz", "--init", str(tmp_path / "part.npz"), "--t-end", "20")
    assert rest.parameters["backend"] == "exact"
    np.testing.assert_allclose(rest.final, whole.final, rtol=0.0, atol=1e-13)


def test_a_saved_look_and_a_changed_w_begin_anew(tmp_path):
    path = tmp_path / "run.npz"
    whole = run(path, *DENSE, "--lam", "0.05", "--save-at", "2", "5", "--t-end", "6")
    rest = run(tmp_path / "rest.npz", "--init", str(path), "--init-time", "2", "--t-end", "6")
    forces = [FeatureBenefit(), Interference(), Regularization(0.05)]
    anew = integrate(forces, whole.weights[0], t_start=2.0, t_end=6.0)
    np.testing.assert_array_equal(rest.final, anew.final)
    assert rest.metadata["goes_on"] is False


def test_compare_goes_on_with_the_set_of_forces_that_the_file_was_run_under(tmp_path, capsys):
    flags = (*DENSE, "--lam", "0.05", "--c", "2")
    whole = run(tmp_path / "whole.npz", *flags, "--t-end", "60")
    run(tmp_path / "part.npz", *flags, "--max-steps", "9", code=1)
    argv = ["compare", "--init", str(tmp_path / "part.npz"), "--t-end", "60", "--quiet"]
    argv += ["--subsets", "all", "no-regularization", "--out", str(tmp_path / "c.npz")]
    assert simulate.main(argv) == 0
    everything = Trajectory.load(tmp_path / "c.all.npz")
    np.testing.assert_array_equal(everything.final, whole.final)
    without = Trajectory.load(tmp_path / "c.no-regularization.npz")
    assert without.forces == (FeatureBenefit(2.0), Interference(2.0))
    argv = ["compare", "--init", str(tmp_path / "part.npz"), "--t-end", "60", "--subsets", "all"]
    assert simulate.main([*argv, "--lam", "0.1"]) == 0
    assert capsys.readouterr().out.startswith("changed: lam 0.05 -> 0.1\nforces  ")


# What is inherited, and what changes it ----------------------------------------------------------


def forces_after(tmp_path, init, *flags):
    argv = ["--init", str(init), *flags, "--t-end", "0.5", "--overwrite"]
    return run(tmp_path / "after.npz", *argv).forces


LAW = (0.2, "student-t:7")


@pytest.mark.parametrize(
    ("before", "flags", "after", "changed"),
    [
        ([FeatureBenefit(4.0), Interference(4.0), Regularization(0.03)], ["--lam", "0.01"],
         [FeatureBenefit(4.0), Interference(4.0), Regularization(0.01)], "lam 0.03 -> 0.01"),
        ([FeatureBenefit(4.0), Interference(4.0)], ["--c", "2"],
         [FeatureBenefit(2.0), Interference(2.0)], "feature benefit 4 -> 2, interference 4 -> 2"),
        ([FeatureBenefit(4.0), Interference(3.0)], ["--c", "2"],
         [FeatureBenefit(2.0), Interference(3.0)], "feature benefit 4 -> 2"),
        ([FeatureBenefit(), Interference()], ["--c-interference", "2"],
         [FeatureBenefit(), Interference(2.0)], "interference 1 -> 2"),
        ([FeatureBenefit(), Interference(3.0, 0.5)], ["--c-interference", "2"],
         [FeatureBenefit(), Interference(2.0, 0.5)],
         "interference 3 with a leak of 0.5 -> 2 with a leak of 0.5"),
        ([FeatureBenefit(), Interference(1.0, 0.5)], ["--leak", "1"],
         [FeatureBenefit(), Interference(1.0, 1.0)],
         "interference 1 with a leak of 0.5 -> 1 with a leak of 1"),
        ([FeatureBenefit(2.0)], ["--interference"],
         [FeatureBenefit(2.0), Interference(2.0)], "interference off -> 2"),
        ([FeatureBenefit()], ["--lam", "0.05"],
         [FeatureBenefit(), Regularization(0.05)], "lam off -> 0.05"),
        ([FeatureBenefit(2.0), Regularization(0.05)], ["--interference"],
         [FeatureBenefit(2.0), Interference(2.0), Regularization(0.05)], "interference off -> 2"),
        ([L2Regularization(0.2), Regularization(0.05)], ["--feature-benefit", "--lam", "0.1"],
         [FeatureBenefit(), L2Regularization(0.2), Regularization(0.1)],
         "feature benefit off -> 1, lam 0.05 -> 0.1"),
        ([FeatureBenefit(), Regularization(0.05)], ["--no-regularization", "--lam", "0.1"],
         [FeatureBenefit()], "lam 0.05 -> off"),
        ([FeatureBenefit(), L2Regularization(0.1)], ["--rtol", "0.001"],
         [FeatureBenefit(), L2Regularization(0.1)], "rtol 0.005 -> 0.001"),
        ([FeatureBenefit(), L2Regularization(0.1)], ["--mu", "0"], [FeatureBenefit()],
         "mu 0.1 -> off"),
        ([FeatureBenefit(), Interference()], ["--mu", "0.2", "--dtype", "float32"],
         [FeatureBenefit(), Interference(), L2Regularization(0.2)],
         "mu off -> 0.2, dtype float64 -> float32"),
        ([NoisyFeatureBenefit(*LAW, accuracy=1e-3), Interference()], ["--c", "2"],
         [NoisyFeatureBenefit(*LAW, 2.0, accuracy=1e-3), Interference(2.0)],
         "feature benefit 1 -> 2, interference 1 -> 2"),
        ([NoisyFeatureBenefit(*LAW, accuracy=1e-3)], ["--sigma", "0.1"],
         [NoisyFeatureBenefit(0.1, LAW[1], accuracy=1e-3)],
         "noise student-t:7 of sigma 0.2 -> student-t:7 of sigma 0.1"),
        ([NoisyFeatureBenefit(*LAW), NoisyInterference(*LAW)], ["--noise", "none"],
         [FeatureBenefit(), Interference()], "noise student-t:7 of sigma 0.2 -> none"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) and isinstance(x[0], str) else "",
)  # fmt: skip
def test_flags_change_what_they_name_and_nothing_else(
    before,
    flags,
    after,
    changed,
    tmp_path,
    capsys,
):
    path = tmp_path / "before.npz"
    integrate(before, gaussian_init(3, 5, seed=0), t_end=0.5, backend="numba").save(path)
    assert forces_after(tmp_path, path) == tuple(before)
    assert "changed" not in Trajectory.load(tmp_path / "after.npz").metadata
    assert forces_after(tmp_path, path, *flags) == tuple(after)
    assert simulate.main(["--init", str(path), *flags, "--t-end", "0.5"]) == 0
    start = capsys.readouterr().out.splitlines()[1]
    assert start.endswith(f"at t = 0.5; changed: {changed}")


def test_edited_and_swept_weights_bring_their_forces(tmp_path):
    forces = (FeatureBenefit(4.0), Interference(4.0), Regularization(0.03))
    path, once, twice = (tmp_path / f"{name}.npz" for name in ("run", "once", "twice"))
    integrate(forces, gaussian_init(3, 5, seed=0, dtype="float32"), t_end=0.5, rtol=1e-3).save(path)
    assert edit.main(["permute", str(path), "--out", str(once)]) == 0
    assert edit.main(["rescale", str(once), "--factor", "0.5", "--out", str(twice)]) == 0
    assert forces_after(tmp_path, twice) == forces
    after = Trajectory.load(tmp_path / "after.npz")
    assert (after.parameters["rtol"], after.parameters["dtype"]) == (1e-3, "float32")

    grid = {"n": 4, "m": 6, "lam": 0.2, "c": 2.0, "seeds": 1, "rtol": 1e-3}
    sweep.run(grid, tmp_path / "map.sqlite", weights=tmp_path / "weights", workers=1)
    (swept,) = (tmp_path / "weights").glob("*.npz")
    assert run(tmp_path / "more.npz", "--init", str(swept)).forces == (
        FeatureBenefit(2.0), Interference(2.0), Regularization(0.2),
    )  # fmt: skip


def test_a_trained_network_brings_the_forces_of_its_loss(tmp_path):
    from flow.training import cli

    path = tmp_path / "net.npz"
    argv = ["--n", "3", "--m", "5", "--c", "4", "--lam", "0.02", "--steps", "3", "--quiet"]
    assert cli.main([*argv, "--out", str(path)]) == 0
    expected = (FeatureBenefit(4.0), Interference(4.0), Regularization(0.02))
    assert forces_after(tmp_path, path) == expected


def test_weights_of_nobody_start_under_the_flags_alone(tmp_path):
    path = tmp_path / "w.npz"
    write_weights(path, np.eye(3, 4), {})
    assert read_weights(path).parameters == {}
    assert forces_after(tmp_path, path, "--lam", "0.3") == (
        FeatureBenefit(), Interference(), Regularization(0.3),
    )  # fmt: skip


def test_a_strength_or_noise_without_a_force_in_the_file_is_refused(tmp_path, capsys):
    path = tmp_path / "run.npz"
    integrate([Regularization(0.1)], np.eye(2), t_end=1.0).save(path)
    for flags in (["--c", "2"], ["--noise", "normal"]):
        assert simulate.main(["--init", str(path), *flags]) == 2
        assert f"{flags[0]}: expected feature benefit or inter" in capsys.readouterr().err
    assert simulate.main(["--init", str(path), "--c", "2", "--no-interference", "--quiet"]) == 0


def test_a_switch_wins_over_its_strength(tmp_path):
    off = ["--no-feature-benefit", "--no-interference", "--no-regularization"]
    on = [
        "--lam",
        "0.1",
        "--c",
        "2",
        "--noise",
        "normal",
        "--sigma",
        "0.1",
        "--c-interference",
        "3",
    ]
    config = tmp_path / "flags.toml"
    config.write_text("lam = 0.1\nregularization = false\nc_interference = 2\n", "utf-8-sig")
    out = tmp_path / "run.npz"
    argv = ["--n", "3", "--m", "4", "--t-end", "1", "--overwrite"]
    assert run(out, *argv, *off, *on).forces == ()
    assert run(out, *argv, "--config", str(config)).forces == (FeatureBenefit(), Interference(2.0))


# Interruptions -----------------------------------------------------------------------------------

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CUT = (*DENSE, "--lam", "0.05", "--t-end", "200")


def raising_after(calls, number, monkeypatch, name, times=1):
    """Send signals to this process as a method of Simulation is entered for the calls-th time."""
    method, seen = getattr(Simulation, name), []

    def entered(self, *args, **more):
        seen.append(name)
        for _ in range(times if len(seen) == calls else 0):
            os.kill(os.getpid(), number)
        return method(self, *args, **more)

    monkeypatch.setattr(Simulation, name, entered)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", ["_start", "_call", "trajectory"])
def test_a_signal_at_any_moment_keeps_what_was_reached(
    number,
    name,
    tmp_path,
    monkeypatch,
    capsys,
):
    whole = run(tmp_path / "whole.npz", *CUT)
    raising_after(
        4 if name == "_call" else 1, number, monkeypatch, name, 3 if name == "trajectory" else 1
    )
    handlers = [signal.getsignal(each) for each in NUMBERS]
    reached = run(tmp_path / "run.npz", *CUT, code=128 + number)
    assert handlers == [signal.getsignal(each) for each in NUMBERS]
    if name == "trajectory":  # it was done, and only to be saved
        np.testing.assert_array_equal(reached.final, whole.final)
        return
    assert reached.status is Status.INTERRUPTED
    assert (reached.times[-1] == 0.0) == (name == "_start")
    monkeypatch.undo()
    rest = run(tmp_path / "rest.npz", "--init", str(tmp_path / "run.npz"), "--t-end", "200")
    np.testing.assert_array_equal(rest.final, whole.final)
    assert capsys.readouterr() == ("", "")


def test_when_the_terminal_closes_what_was_reached_is_saved_and_nothing_said(
    tmp_path, monkeypatch, capsys
):
    raising_after(4, signal.SIGHUP, monkeypatch, "_call")
    out = str(tmp_path / "run.npz")
    assert simulate.main([*CUT, "--out", out]) == 129
    assert Trajectory.load(out).status is Status.INTERRUPTED
    monkeypatch.undo()
    raising_after(4, signal.SIGHUP, monkeypatch, "_call")
    argv = ["compare", *CUT, "--subsets", "all", "no-interference", "--out", out]
    assert simulate.main(argv) == 129
    assert capsys.readouterr() == ("", "all ...\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.all.npz", "run.npz"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_between_two_sets_of_forces_ends_compare(number, tmp_path, monkeypatch):
    raising_after(1, number, monkeypatch, "trajectory")
    argv = ["compare", *CUT, "--subsets", "all", "no-interference", "--quiet", "--out"]
    assert simulate.main([*argv, str(tmp_path / "run.npz")]) == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["run.all.npz"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_before_there_is_a_run_ends_at_once(number, tmp_path, monkeypatch):
    def read(*_):
        os.kill(os.getpid(), number)
        raise AssertionError("the signal was lost")

    monkeypatch.setattr("flow.cli.simulate._drawn_start", read)
    assert simulate.main([*CUT, "--out", str(tmp_path / "run.npz")]) == 128 + number
    assert not list(tmp_path.iterdir())


def test_a_signal_that_comes_out_of_an_import_as_another_error_is_one(
    tmp_path, monkeypatch, capsys
):
    class Named:
        def __set_name__(self, owner, name):
            os.kill(os.getpid(), signal.SIGTERM)

    def read(*_):
        type("Made", (), {"by_an_import": Named()})

    monkeypatch.setattr("flow.cli.simulate._drawn_start", read)
    assert simulate.main([*CUT, "--out", str(tmp_path / "run.npz")]) == 143
    assert capsys.readouterr().err == "interrupted\n"


def test_a_second_signal_does_not_wait_for_the_step(tmp_path, monkeypatch):
    raising_after(4, signal.SIGINT, monkeypatch, "_call", times=2)
    reached = run(tmp_path / "run.npz", *CUT, code=130)
    assert reached.status is Status.INTERRUPTED
    assert reached.stats["accepted"] == 4


def test_signals_wait_once_for_a_step_and_always_for_a_file():
    with Interruptions() as interruptions:
        with interruptions.waiting():
            os.kill(os.getpid(), signal.SIGTERM)
            assert interruptions.received == signal.SIGTERM
            with interruptions.ignored():
                os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), signal.SIGINT)
        assert interruptions.received == signal.SIGTERM
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGHUP)
    with Interruptions(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGHUP)


def test_a_signal_that_was_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptions() as interruptions:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interruptions.received is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# Checkpoints -------------------------------------------------------------------------------------


def test_checkpoints_are_written_on_the_way_and_change_nothing(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole.npz", *CUT)
    save, seen = Trajectory.save, []

    def noted(self, path):
        save(self, path)
        seen.append(Trajectory.load(path))

    monkeypatch.setattr(Trajectory, "save", noted)
    kept = run(tmp_path / "run.npz", *CUT, "--checkpoint", "1e-9")
    monkeypatch.undo()
    np.testing.assert_array_equal(kept.final, whole.final)
    assert len(seen) == whole.stats["accepted"] + 1
    seen[5].save(tmp_path / "fifth.npz")
    rest = run(tmp_path / "rest.npz", "--init", str(tmp_path / "fifth.npz"), "--t-end", "200")
    np.testing.assert_array_equal(rest.final, whole.final)


@pytest.mark.long
def test_a_run_that_is_killed_fifty_times_ends_bitwise_as_the_whole_one(tmp_path):
    rng, kills = np.random.default_rng(0), 0
    flags = ["--n", "48", "--m", "96", "--lam", "1e-4"]
    out = tmp_path / "out.npz"

    def start(*argv):
        command = [sys.executable, "-m", "flow.simulate", *argv, "--quiet", "--overwrite"]
        return subprocess.Popen(
            [*command, "--checkpoint", "0.02", "--out", str(out)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    whole = run(tmp_path / "whole.npz", *flags)
    while kills < 50:
        out.unlink(missing_ok=True)
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            begun = flags if not out.exists() else ["--init", str(out)]
            before = out.stat().st_mtime_ns if out.exists() else 0
            with start(*begun) as process:
                # A while after its first file, which is there once all is imported and compiled.
                deadline = time.monotonic() + 60.0
                while process.poll() is None and time.monotonic() < deadline:
                    if out.exists() and out.stat().st_mtime_ns != before:
                        break
                    time.sleep(0.002)
                time.sleep(float(rng.uniform(0.0, 0.25)))
                if kills < 50:
                    process.send_signal(signal.SIGKILL)
                code = process.wait()
            kills += code == -signal.SIGKILL
            Trajectory.load(out)
        assert code == 0
        np.testing.assert_array_equal(Trajectory.load(out).final, whole.final)
