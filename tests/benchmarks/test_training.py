"""Measured runs of the trained network: measured once, kept whole, of the settings of today."""

import json
from dataclasses import asdict

import pytest

pytest.importorskip("jax")
from benchmarks.findings import activations, context, deeper
from benchmarks.findings.training import speed
from benchmarks.findings.training.__main__ import QUESTIONS, main
from benchmarks.findings.training.runs import Case, Question, gather, groups
from flow.cli.flags import InputError
from flow.training.setup import Training
from theory.ledger import find


def question(names, measured, file):
    def case(name):
        def measure(training):
            if name == "broken":
                raise KeyboardInterrupt
            measured.append(name)
            return [{"name": name, "seed": seed} for seed in range(2)]

        return Case(name, Training(), measure)

    return Question([case(name) for name in names], lambda runs: ([], []), file)


def test_a_case_is_measured_once_and_a_measurement_that_was_cut_off_goes_on(tmp_path, capsys):
    file, measured = tmp_path / "runs.json", []
    with pytest.raises(KeyboardInterrupt):
        gather(question(["a", "broken", "b"], measured, file), file)
    assert list(json.loads(file.read_text())) == ["a"]
    whole = question(["b", "a"], measured, file)
    runs = gather(whole, file)
    assert measured == ["a", "b"]
    assert [run["name"] for run in runs] == ["b", "b", "a", "a"]
    assert gather(whole, file) == runs
    assert measured == ["a", "b"]
    kept = json.loads(file.read_text())
    assert kept["a"]["training"] == asdict(Training())
    assert {"date", "jax", "optax", "numpy", "processor", "seconds"} <= set(kept["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["runs.json"]


def test_no_case_is_begun_when_the_time_is_up(tmp_path):
    file, measured = tmp_path / "runs.json", []
    assert gather(question(["a"], measured, file), file, until=0.0) == []
    assert measured == []
    assert not file.exists()


def test_seeds_are_split_into_groups_without_loss():
    assert [list(group) for group in groups(5, 2)] == [[0, 1], [2, 3], [4]]


SHIPPED = {
    **QUESTIONS,
    "deeper": deeper.QUESTION,
    "activations": activations.QUESTION,
    "context": context.QUESTION,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_runs_that_are_shipped_belong_to_the_settings_of_today(name):
    asked = SHIPPED[name]
    kept = json.loads(asked.file.read_text())
    cases = {case.name: case for case in asked.cases}
    assert len(cases) == len(asked.cases)
    assert set(kept) <= set(cases)
    for case, entry in kept.items():
        assert entry["training"] == asdict(cases[case].training)
        assert entry["runs"]
    columns, rows = asked.table(gather(asked, asked.file, until=0.0))
    assert rows
    assert {len(row) for row in rows} == {len(columns)}


def test_questions_folders_and_sizes_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown question winers; known: order"):
        main(("winers",), folder=tmp_path)
    with pytest.raises(InputError, match="--folder: expected a folder that exists"):
        main(("order",), folder=tmp_path / "none", max_seconds=0.0)
    with pytest.raises(InputError, match="--sizes: expected any of 1024, 4096"):
        speed.main((77,), out=tmp_path / "speed.json")
    with pytest.raises(InputError, match="--torch-python: expected"):
        speed.main((1024,), torch_python=tmp_path / "none", out=tmp_path / "speed.json")


@pytest.mark.parametrize(
    ("name", "question", "quoted"),
    [
        ("figure-3", "figure3", ["73.2 ± 1.9", "24.1 ± 4.2", "10.2 ± 2.0"]),
        ("figure-3", "winners", ["26.7 ± 1.6", "1.2 ± 0.9"]),
        ("tied-weights", "untied", ["94 of 308", "142 of 308", "0.735678", "1.000000"]),
        ("orthogonal-inputs", "rotated", ["42.0 ± 3.4", "20.5 ± 6.6", "1e-14"]),
        ("other-winner-dynamics", "switches", ["6.1 ± 1.3", "0.0 ± 0.0", "128.0 ± 0.0"]),
        ("co-occurrence", "together", ["6.0 ± 1.0", "3.5 ± 0.9", "0.2 ± 0.5", "0.0 ± 0.0"]),
    ],
)
def test_what_claims_quote_of_trained_networks_is_in_the_tables(name, question, quoted):
    asked = QUESTIONS[question]
    _, rows = asked.table(gather(asked, asked.file, until=0.0))
    cells = {str(cell) for row in rows for cell in row}
    assert set(quoted) <= cells
    assert question in find(name).command
