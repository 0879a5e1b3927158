"""The page of findings shows the tables that its runs give."""

from pathlib import Path

import pytest

pytest.importorskip("jax")
from benchmarks.findings import context, deeper, digits, told_apart
from benchmarks.findings.training.runs import gather

PAGE = Path("benchmarks/findings/README.md").read_text(encoding="utf-8")
QUESTIONS = {
    "deeper": deeper.QUESTION,
    "context": context.QUESTION,
    **{f"told apart, {q.table.__name__}": q for q in told_apart.QUESTIONS},
    **{f"digits, {q.table.__name__}": q for q in digits.QUESTIONS},
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_row_of_a_kept_table_stands_on_the_page(name):
    question = QUESTIONS[name]
    columns, rows = question.table(gather(question, question.file, until=0.0))
    assert rows
    for row in (columns, *rows):
        assert f"| {' | '.join(map(str, row))} |" in PAGE
