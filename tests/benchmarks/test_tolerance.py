"""The benchmark of tolerances: what it counts, and that it goes on where it was stopped."""

import json

import pytest

from benchmarks import tolerance
from benchmarks.tolerance import Cell, compare, run, table


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(tolerance, "CELLS", (Cell(4, 8, 1.0),))
    monkeypatch.setattr(tolerance, "RTOLS", (2e-2,))
    monkeypatch.setattr(tolerance, "REFERENCE", 1e-3)


@pytest.mark.usefixtures("small")
def test_seeds_that_are_kept_are_not_run_again(monkeypatch, tmp_path, capsys):
    out, seeds = tmp_path / "kept.json", []

    def counted(cell, seed, threads):
        seeds.append(seed)
        return compare(cell, seed, threads)

    monkeypatch.setattr(tolerance, "compare", counted)
    run(seeds=2, out=out)
    first = json.loads(out.read_text())["runs"]
    run(seeds=3, out=out)
    assert seeds == [0, 1, 2]
    assert json.loads(out.read_text())["runs"][: len(first)] == first
    assert capsys.readouterr().out.count("winners kept") == 2


@pytest.mark.usefixtures("small")
def test_the_reference_keeps_its_own_winners_and_takes_more_work():
    loose, exact = compare(Cell(4, 8, 1.0), 0, 1)
    assert exact["winners_kept"] == 4
    assert exact["polysemantic"] == exact["polysemantic_exact"] == loose["polysemantic_exact"]
    assert exact["evaluations"] > loose["evaluations"]


def test_shares_are_of_features_and_of_runs():
    line = {"n": 4, "m": 8, "coupling": 1.0, "rtol": 5e-3, "polysemantic_exact": 1}
    kept = [
        line | {"seed": 0, "winners_kept": 4, "polysemantic": 1, "evaluations": 10},
        line | {"seed": 1, "winners_kept": 2, "polysemantic": 2, "evaluations": 20},
    ]
    (row,) = [text for text in table(kept).splitlines() if text.startswith("| 4 ")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[4] == "2"
    assert cells[5].startswith("75.00 (")
    assert cells[6].startswith("50.00 (")
    assert cells[7:] == ["+0.50", "15"]
