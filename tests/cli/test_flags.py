"""Flags take their names from the fields that they fill."""

import io
from importlib.metadata import version

import pytest

from flow import simulate
from flow.cli import edit
from flow.cli.edit import EDITS
from flow.cli.flags import InputError, exit_code, flag_names, parse_flags
from flow.cli.options import CompareOptions, SimulateOptions
from flow.sweep import cli as sweep_cli
from flow.sweep.cli import SweepOptions
from flow.training import cli as training
from flow.training.cli import TrainOptions

COMMANDS = [SimulateOptions, CompareOptions, TrainOptions, SweepOptions, *EDITS.values()]
VALUED = [
    (kind, name)
    for kind in COMMANDS
    for name, is_switch in flag_names(kind).items()
    if not is_switch
]


@pytest.mark.parametrize(("kind", "name"), VALUED, ids=[f"{k.__name__}-{n}" for k, n in VALUED])
def test_a_complaint_names_the_flag_that_it_is_about(kind, name):
    with pytest.raises(InputError, match=rf"^--{name}: expected "):
        parse_flags(kind, [f"--{name}"], kind(), "", "")


MEANT = [
    (simulate.main, ["--l2", "1"], "did you mean --mu?"),
    (simulate.main, ["--weight-decay=1"], "did you mean --mu?"),
    (simulate.main, ["--lambda", "1"], "did you mean --lam?"),
    (simulate.main, ["--noise", "gaussian"], "did you mean normal?"),
    (simulate.main, ["--noise", "student-t"], "did you mean student-t:5?"),
    (simulate.main, ["--noise", "uniformly"], "did you mean uniform?"),
    (simulate.main, ["--n", "8", "compare"], "expected compare as the first word"),
    (simulate.main, ["compare", "--no-interference"], "add --subsets all no-interference"),
    (simulate.main, ["compare", "--regularization"], "expected --subsets"),
    (training.main, ["--l2", "1"], "did you mean --penalty?"),
    (edit.main, ["run.npz", "show", "--overwrite"], "expected a known flag, got --overwrite"),
]


@pytest.mark.parametrize(("main", "argv", "hint"), MEANT, ids=[" ".join(a) for _, a, _ in MEANT])
def test_a_wrong_word_is_met_with_the_right_one(main, argv, hint, capsys):
    assert main(argv) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("main", [simulate.main, edit.main, sweep_cli.main, training.main])
@pytest.mark.parametrize("before", [[], ["--seed", "nonsense"], ["compare"]], ids=str)
def test_every_command_says_its_version(main, before, capsys):
    assert main([*before, "--version"]) == 0
    assert capsys.readouterr().out == f"incidental-flow {version('incidental-flow')}\n"


def test_a_terminal_without_the_letters_gets_question_marks(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", stdout)

    def command(words):
        print("λ ≤ ½ ± 2")
        return 0

    assert exit_code(command, []) == 0
    assert stdout.buffer.getvalue() == "? ? ½ ± 2\n".encode("cp1252")
