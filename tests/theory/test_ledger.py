"""The ledger of claims: what it names is there, its table is in step, its commands run."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from paper_figures import FIGURES
from tests.theory.test_readme import anchors
from theory import ledger
from theory.__main__ import main
from theory.ledger import WIDTH, Claim, Verdict, claims, find

ROOT = Path(__file__).parents[2]
CLAIMS = claims()
NAMES = [claim.name for claim in CLAIMS]
COMPLETE = {
    "name": "a",
    "where": "paper, 1",
    "says": "so",
    "verdict": Verdict.HOLDS,
    "statement": "yes",
    "test": "tests/a.py::test_a",
    "document": "README.md#a",
    "command": "python -m a",
}


@cache
def functions(path):
    """Names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_file_figure_and_page_that_a_claim_names_exists():
    for claim in CLAIMS:
        path, _, name = claim.test.partition("::")
        assert name in functions(ROOT / path), claim.name
        assert not claim.file or (ROOT / claim.file).is_file(), claim.name
        assert not claim.figure or claim.figure in FIGURES, claim.name
        page, _, heading = claim.document.partition("#")
        assert not heading or heading in anchors(ROOT / page), (claim.name, claim.document)
        assert (ROOT / page).is_file(), claim.name


def test_the_table_of_the_page_is_that_of_the_ledger():
    page = (ROOT / "theory" / "README.md").read_text(encoding="utf-8")
    assert f"\n\n{ledger.markdown()}\n\n" in page, "python -m theory --markdown prints the table"


def test_claims_stand_in_the_order_of_the_paper_and_then_of_the_post():
    places = [claim.where.partition(";")[0] for claim in CLAIMS]
    assert all(place.startswith(("paper, ", "post, ")) for place in places)
    of_paper = [place.startswith("paper") for place in places]
    assert of_paper == sorted(of_paper, reverse=True)
    sections = [re.match(r"paper, (\d(?:\.\d)?)", place) for place in places]
    numbers = [float(found.group(1)) for found in sections if found]
    assert numbers == sorted(numbers)
    appendices = re.findall(r"paper, appendix ([A-D])", "\n".join(places))
    assert appendices == sorted(appendices)


def test_every_verdict_is_used_and_only_where_says_where():
    assert {claim.verdict for claim in CLAIMS} == set(Verdict)
    for claim in CLAIMS:
        assert bool(claim.condition) == (claim.verdict is Verdict.ONLY_WHERE)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"statement": ""}, "a text for each"),
        ({"condition": "m = n"}, "exactly with 'only where'"),
        ({"verdict": Verdict.ONLY_WHERE}, "exactly with 'only where'"),
        ({"command": "rm -r /"}, "begins with 'python '"),
    ],
)
def test_a_claim_that_is_not_complete_is_refused(changed, expected):
    assert Claim(**COMPLETE).name == "a"
    with pytest.raises(ValueError, match=expected):
        Claim(**{**COMPLETE, **changed})


def test_the_plain_table_has_every_claim_and_fits_the_terminal(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(map(len, lines)) <= WIDTH == 100
    assert [line.split()[0] for line in lines if line.split(" ")[0] in NAMES] == NAMES
    count = sum(claim.verdict is Verdict.OPEN for claim in CLAIMS)
    assert f"{len(CLAIMS)} claims" in printed
    assert f"{count} open" in printed


def test_a_claim_is_shown_whole_with_its_command_run_and_its_exit_code(capsys, monkeypatch):
    seen = []

    def run(command, check):
        seen.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    for claim in CLAIMS:
        assert main([claim.name]) == 3
        # Where lines break, and how far they are indented, is not what is asked.
        printed = " ".join(capsys.readouterr().out.split())
        for text in (claim.where, claim.says, claim.judged, claim.statement, claim.test):
            assert text in printed, claim.name
        assert "ended with 3" in printed
        assert seen.pop()[0] == sys.executable


def test_an_unknown_claim_is_met_with_those_of_similar_names(capsys):
    assert main(["malign"]) == 2
    assert "did you mean malign-collision, malign-in-a-network" in capsys.readouterr().err
    with pytest.raises(LookupError, match="lists them"):
        find("zzzz")


def test_a_command_that_needs_the_checkout_says_so_elsewhere(tmp_path):
    claim = next(claim for claim in CLAIMS if claim.checkout)
    # Without the folder of the repository on its path: what an installed package has.
    program = (
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name in ('benchmarks', 'paper_figures')"
        " else real(name, *rest);"
        f"sys.path.insert(0, {str(ROOT)!r}); from theory.__main__ import main;"
        f"sys.exit(main([{claim.name!r}]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "checkout of the repository" in ended.stderr
    for claim in CLAIMS:
        assert claim.checkout == ("flow" not in claim.command.split()[2])


# --- what claims quote --------------------------------------------------------------------------


def test_the_initially_largest_weight_is_the_likeliest_winner():
    table = json.loads((ROOT / "paper_figures/data/fig3_flow.json").read_text(encoding="utf-8"))
    column = table["columns"].index("rank_at_most")
    sizes = sorted({row[0] for row in table["rows"]})
    assert len(sizes) == 16
    for m in sizes:
        # Features whose winner began among the 1, 2 and 4 largest, over all runs.
        within = np.sum([row[column][:3] for row in table["rows"] if row[0] == m], axis=0)
        assert within[0] > within[1] - within[0] > (within[2] - within[1]) / 2


# --- every command runs -------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("command", dict.fromkeys(claim.command for claim in CLAIMS))
def test_the_command_of_a_claim_runs_and_agrees(command):
    """Together under two minutes; a command that compares ends with 1 where numbers disagree."""
    if "training" in command:
        pytest.importorskip("jax")
    ended = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    if "flow.cli.claims" in command:
        assert "simulated" in ended.stdout
