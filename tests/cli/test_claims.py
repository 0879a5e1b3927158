"""`python -m flow.cli.claims`: three numbers side by side, and an exit code that judges them."""

from __future__ import annotations

import math

import pytest

from flow.cli.claims import __main__ as command
from flow.cli.claims.comparison import QUANTITY, Comparison, over_runs, table
from theory.ledger import claims


def test_the_command_shows_exactly_what_the_ledger_asks_of_it():
    asked = {claim.command.split()[-1] for claim in claims() if "flow.cli.claims" in claim.command}
    assert asked == set(command.SHOWN)


def test_a_simulation_agrees_within_what_its_row_allows_and_not_beyond():
    near = Comparison(quantity="a", predicted=1.0, simulated=1.1, within=0.11)
    far = Comparison(quantity="a", predicted=1.0, simulated=1.1, within=0.09)
    assert near.agrees
    assert not far.agrees
    assert not Comparison(quantity="a", predicted=1.0, simulated=math.nan, within=9.0).agrees
    assert not Comparison(quantity="a", simulated=math.nan).agrees


def test_a_row_that_cannot_be_judged_or_printed_is_refused():
    with pytest.raises(ValueError, match="predicted and within together"):
        Comparison(quantity="a", predicted=1.0, simulated=1.0)
    with pytest.raises(ValueError, match="characters"):
        Comparison(quantity="a" * (QUANTITY + 1), simulated=1.0)


def test_columns_that_no_row_fills_are_left_out_and_intervals_stand_beside_means():
    rows = [
        over_runs("mean of two", [1.0, 3.0], paper=2.0),
        Comparison(quantity="one number", simulated=1234.5),
    ]
    head, first, second = table(rows).splitlines()
    assert head.split() == ["paper", "simulated"]
    assert first.split() == ["mean", "of", "two", "2.000", "2", "±", "13"]
    assert second.split() == ["one", "number", "–", "1,234"]
    assert max(map(len, table(rows).splitlines())) <= 100


def test_the_exit_code_says_whether_all_agree(monkeypatch, capsys):
    shown = {
        "right": lambda: [Comparison(quantity="a", predicted=1.0, simulated=1.0, within=0.0)],
        "wrong": lambda: [Comparison(quantity="b", predicted=1.0, simulated=2.0, within=0.5)],
    }
    monkeypatch.setattr(command, "SHOWN", shown)
    assert command.main(["right"]) == 0
    assert command.main(["right", "wrong"]) == 1
    assert "does not agree: b (allowed: ± 0.5)" in capsys.readouterr().out
    assert command.main(["wrung"]) == 2
    assert "known: wrong" in capsys.readouterr().err


def test_without_a_name_all_are_listed(capsys):
    assert command.main([]) == 0
    assert "theta-law" in capsys.readouterr().out
