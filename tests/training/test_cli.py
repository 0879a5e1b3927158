"""``python -m flow.training``: flags, presets, files, exit codes, complaints."""

import dataclasses
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from flow import Status, Trajectory, gaussian_init
from flow.analysis.statistics import mean_and_interval
from flow.cli.options import ProblemFlags
from flow.training import TrainingTrajectory, trainer
from flow.training.cli import PRESETS, TrainOptions, main, training_of
from flow.training.setup import (
    FIGURE_3,
    FIGURE_4,
    Data,
    Network,
    Noise,
    Optimizer,
    Training,
)

pytest.importorskip("jax")

SMALL = ["--n", "5", "--m", "12", "--steps", "30"]


def test_a_run_is_summarized_and_saved(tmp_path, capsys):
    out = tmp_path / "run.npz"
    assert main([*SMALL, "--seed", "4", "--lam", "0.05", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "polysemantic" in said
    assert str(out) in said
    run = Trajectory.load(out)
    np.testing.assert_array_equal(run.weights[0], gaussian_init(5, 12, seed=4))
    assert run.metadata["command"].startswith("python -m flow.training --n 5")
    assert run.parameters["training"]["network"]["lam"] == 0.05
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_the_loss_is_said_at_the_start_and_at_the_end_and_saved(tmp_path, capsys):
    assert main([*SMALL, "--out", str(tmp_path / "run.npz")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("seed 0"))
    loss = TrainingTrajectory.load(tmp_path / "run.npz").loss
    assert len(loss) == 31
    assert f"reached t_end = 0.6, 30 steps, loss {loss[0]:.4g} → {loss[-1]:.4g}, " in line


def test_instances_are_summed_up_by_means_with_intervals(tmp_path, capsys):
    flags = [*SMALL, "--instances", "3", "--optimizer", "adamw"]
    assert main([*flags, "--out", str(tmp_path / "run.npz")]) == 0
    said = capsys.readouterr().out
    assert said.count("took 30 steps, loss ") == 3
    assert "t_end" not in said
    (line,) = (line for line in said.splitlines() if line.startswith("mean "))
    runs = [TrainingTrajectory.load(tmp_path / f"run.seed{seed}.npz") for seed in range(3)]
    mean, half = mean_and_interval([run.loss[-1] for run in runs])
    assert f" → {mean:.4g} ± {half:.2g}, " in line
    assert line.endswith("(± 95 % interval, 3 instances)")
    assert main(SMALL) == 0
    assert "mean" not in capsys.readouterr().out


def test_the_strength_is_that_of_the_flow_unless_a_preset_sets_it():
    assert TrainOptions().loss.c == ProblemFlags().c == 1.0
    assert {preset.loss.c for preset in PRESETS.values()} == {4.0}


def test_blocks_a_bias_and_a_small_encoder_are_flags(tmp_path):
    flags = ["--n", "6", "--m", "12", "--steps", "5", "--optimizer", "adamw", "--untied", "--quiet"]
    flags += ["--output-bias", "--exclusive", "2", "--batch", "7", "--encoder-scale", "0.1"]
    assert main([*flags, "--scale", "0.5", "--out", str(tmp_path / "run.npz")]) == 0
    decoder = TrainingTrajectory.load(tmp_path / "run.npz")
    encoder = TrainingTrajectory.load(tmp_path / "run.encoder.npz")
    np.testing.assert_array_equal(decoder.weights[0], gaussian_init(6, 12, seed=0, scale=0.5))
    start = gaussian_init(6, 12, seed=1_000_000, scale=0.1)
    np.testing.assert_array_equal(encoder.weights[0], start)
    assert (decoder.metadata["scale"], decoder.metadata["encoder_scale"]) == (0.5, 0.1)
    assert decoder.parameters["training"]["data"]["exclusive"] == 2
    assert decoder.output_bias.shape == (2, 6)
    assert decoder.output_bias[-1].any()


def test_a_stack_is_summarized_and_every_matrix_of_it_saved(tmp_path, capsys):
    flags = [*SMALL, "--inner", "7", "4", "--untied", "--optimizer", "adamw", "--between", "relu"]
    assert main([*flags, "--out", str(tmp_path / "run.npz")]) == 0
    assert "m = 12, 7, 4 neurons" in capsys.readouterr().out
    shapes, first = {}, set()
    for path in tmp_path.iterdir():
        run = Trajectory.load(path)
        shapes[path.name] = (run.final.shape, run.parameters["matrix"])
        assert run.parameters["inner"] == [7, 4]
        first.add(float(run.weights[0][0, 0]))
    assert shapes == {
        "run.npz": ((5, 12), "decoder"),
        "run.encoder.npz": ((5, 12), "encoder"),
        "run.layer2.npz": ((12, 7), "decoder 2"),
        "run.layer2.encoder.npz": ((12, 7), "encoder 2"),
        "run.layer3.npz": ((7, 4), "decoder 3"),
        "run.layer3.encoder.npz": ((7, 4), "encoder 3"),
    }
    assert len(first) == 6


def test_instances_and_encoders_have_files_of_their_own(tmp_path, capsys):
    flags = [*SMALL, "--instances", "2", "--untied", "--optimizer", "gd", "--save-at", "log:3"]
    assert main([*flags, "--out", str(tmp_path / "run.npz"), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"run.seed{s}{e}.npz" for s in (0, 1) for e in ("", ".encoder")}
    decoder = Trajectory.load(tmp_path / "run.seed1.npz")
    encoder = Trajectory.load(tmp_path / "run.seed1.encoder.npz")
    np.testing.assert_array_equal(decoder.weights[0], gaussian_init(5, 12, seed=1))
    assert np.abs(encoder.weights[0] - decoder.weights[0]).max() > 0.1
    np.testing.assert_allclose(decoder.times, [0.0, 0.06, 0.2, 0.6])
    assert (decoder.parameters["matrix"], encoder.parameters["matrix"]) == ("decoder", "encoder")


def test_an_instance_is_the_run_of_its_seed_alone(tmp_path):
    flags = [*SMALL, "--noise", "bipolar", "--fresh-noise", "--dtype", "float32", "--quiet"]
    two, one = tmp_path / "two.npz", tmp_path / "one.npz"
    assert main([*flags, "--seed", "3", "--instances", "2", "--out", str(two)]) == 0
    assert main([*flags, "--seed", "4", "--out", str(one)]) == 0
    alone, among = (Trajectory.load(path) for path in (one, tmp_path / "two.seed4.npz"))
    assert alone.parameters["stream"] == among.parameters["stream"] == 4
    # Not bitwise: instances lie in different lanes of vector instructions.
    np.testing.assert_allclose(alone.final, among.final, rtol=0.0, atol=1e-5)


def test_flags_stand_for_the_settings():
    flags = {
        "c": 2.0, "lam": 0.3, "penalty": "l2", "penalized": "activations", "untied": True,
        "hidden": "relu", "output": "softplus", "output_bias": True, "top": 3, "between": "relu",
    }  # fmt: skip
    options = dataclasses.replace(
        PRESETS["figure3"],
        loss=dataclasses.replace(PRESETS["figure3"].loss, **flags),
    )
    assert training_of(options) == dataclasses.replace(FIGURE_3, network=Network(**flags))
    options = dataclasses.replace(
        options,
        inputs=dataclasses.replace(
            options.inputs, probability=0.1, magnitude="uniform", batch=7, rotation=3
        ),
        noise=dataclasses.replace(options.noise, noise="student-t:7", sigma=0.2, fresh_noise=True),
    )
    assert training_of(options) == Training(
        network=Network(**flags),
        data=Data(probability=0.1, magnitude="uniform", batch=7, rotation=3),
        noise=Noise(distribution="student-t", sigma=0.2, degrees=7.0, fresh=True),
        optimizer=Optimizer(method="adamw", rate=1e-3, weight_decay=0.01),
    )


def test_presets_are_the_protocols_of_the_authors():
    three, four = PRESETS["figure3"], PRESETS["figure4"]
    assert training_of(three) == FIGURE_3
    assert training_of(four) == FIGURE_4
    assert (three.loss.n, three.steps.steps, three.steps.instances) == (256, 7500, 16)
    assert (FIGURE_3.optimizer.method, FIGURE_3.optimizer.rate) == ("adamw", 1e-3)
    assert (FIGURE_3.network.c, FIGURE_3.network.lam) == (4.0, 1e-3)
    assert (four.loss.n, four.loss.m, four.steps.steps, four.steps.instances) == (8, 16, 10**5, 5)
    assert (FIGURE_4.optimizer.method, FIGURE_4.optimizer.rate) == ("sgd", 0.02)
    assert (FIGURE_4.network.lam, four.results.record_every) == (0.0, 5)
    assert FIGURE_4.noise == Noise(distribution="bipolar", sigma=0.15, fresh=False)


def test_flags_win_over_the_preset(capsys):
    assert main(["--preset", "figure4", "--steps", "10", "--m", "12", "--sigma", "0.1"]) == 0
    said = capsys.readouterr().out
    assert "m = 12 neurons" in said
    assert "rate 0.02, 10 steps of 5 instances" in said


def test_a_run_that_blows_up_ends_with_exit_code_1(capsys):
    assert main([*SMALL, "--rate", "9"]) == 1
    assert "infinite or NaN" in capsys.readouterr().out


WRONG = [
    (["--lam", "-1"], "0 is no penalty"),
    (["--c", "0"], "> 0"),
    (["--n", "0"], ">= 1"),
    (["--optimizer", "adam"], "did you mean adamw?"),
    (["--optimzer", "gd"], "did you mean --optimizer?"),
    (["--hidden", "layernorm"], "did you mean layer-norm?"),
    (["--probability", "1.1", "--batch", "2"], "<= 1"),
    (["--noise", "student-t:4"], "odd whole number from 3 to 99"),
    (["--noise", "gaussian"], "did you mean normal?"),
    (["--noise", "bipolar", "--optimizer", "gd"], "--optimizer gd"),
    (["--probability", "0.1"], "expected --batch with inputs that are drawn (--probability, "),
    (["--exclusive", "2"], "expected --batch"),
    (["--exclusive", "0", "--batch", "2"], ">= 1"),
    (["--overlap", "0.1", "--batch", "2"], "expected --exclusive with --overlap"),
    (["--exclusive", "2", "--overlap", "2", "--batch", "2"], "<= 1"),
    (["--exclusive", "2", "--batch", "2"], "expected an even number of features, at least 4, with"),
    (["--exclusive", "2", "--probability", "0.5", "--batch", "2"], "--exclusive or --probability"),
    (["--penalized", "activations"], "expected --penalized weights with --optimizer proximal"),
    (["--encoder-scale", "0.1"], "--untied"),
    (["--fresh-noise"], "--noise"),
    (["--top", "2"], "--hidden top-k"),
    (["--hidden", "top-k", "--top", "0"], ">= 1"),
    (["--between", "relu"], "--inner"),
    (["--inner", "0"], ">= 1"),
    (["--inner"], "whole numbers"),
    (["--sigma", "0.2"], "--noise"),
    (["--degrees=9"], "did you mean --noise?"),
    (["--weight-decay", "0.1", "--optimizer", "gd"], "adamw"),
    (["--rotation", "1", "--optimizer", "gd"], "untied"),
    (["--save-at", "1", "9"], "up to"),
    (["--save-at", "2", "1"], "increasing"),
    (["--steps", "-1"], ">= 0"),
    (["--record-every", "0"], ">= 1"),
    (["--preset", "figure5"], "figure4"),
    (["--quiet", "--progress"], "both"),
    (["--out", "run.txt"], ".npz"),
    (["stray"], "stray"),
]


@pytest.mark.parametrize(("flags", "said"), WRONG)
def test_flags_that_cannot_be_used_give_one_line_and_exit_code_2(flags, said, capsys):
    assert main([*SMALL, *flags]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert "expected" in shown.err
    assert "got" in shown.err
    assert said in shown.err
    assert not {"Network.", "Data.", "Noise.", "Optimizer."} & set(re.findall(r"\w+\.", shown.err))


def test_a_file_that_exists_is_kept_unless_it_may_be_replaced(tmp_path, capsys):
    out = tmp_path / "run.npz"
    out.write_text("precious")
    assert main([*SMALL, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert main([*SMALL, "--out", str(out), "--overwrite"]) == 0
    assert Trajectory.load(out).final.shape == (5, 12)


def test_help_names_every_group(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for flag in ("--n", "--lam", "--probability", "--noise", "--optimizer", "--out", "--preset"):
        assert flag in said


def test_help_comes_without_the_numerics():
    code = "import sys, flow.training.cli; assert not {'numpy', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_training_and_what_was_reached_is_saved(number, tmp_path, monkeypatch):
    class Impatient(trainer.tqdm):
        def update(self, n=1):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(trainer, "tqdm", Impatient)
    monkeypatch.setattr(trainer, "CALL_WORK", 1.0)  # a call of the compiled loop for every step
    out = tmp_path / "run.npz"
    assert main([*SMALL, "--record-every", "5", "--out", str(out)]) == 128 + number
    run = Trajectory.load(out)
    assert run.status is Status.INTERRUPTED
    monkeypatch.undo()
    done = run.stats["accepted"]
    assert 0 < done < 30
    assert main([*SMALL[:4], "--steps", str(done), "--out", str(tmp_path / "whole.npz")]) == 0
    np.testing.assert_array_equal(run.final, Trajectory.load(tmp_path / "whole.npz").final)
