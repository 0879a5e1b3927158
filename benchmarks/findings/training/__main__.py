"""``python -m benchmarks.findings.training [QUESTION …]``: the trained network beside the theory of
it.

Every run is kept in the question's JSON file and measured once: a measurement that was cut off
goes on from there. Delete a line of the file to measure its runs again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.command import check_names, command_line
from benchmarks.findings.training.figure3 import FIGURE3
from benchmarks.findings.training.order import ORDER
from benchmarks.findings.training.rotated import ROTATED
from benchmarks.findings.training.runs import answer
from benchmarks.findings.training.switches import SWITCHED
from benchmarks.findings.training.together import TOGETHER
from benchmarks.findings.training.untied import UNTIED
from benchmarks.findings.training.winners import WINNERS
from flow.cli.flags import InputError

QUESTIONS = {
    "order": ORDER,
    "winners": WINNERS,
    "figure3": FIGURE3,
    "together": TOGETHER,
    "untied": UNTIED,
    "rotated": ROTATED,
    "switches": SWITCHED,
}


def main(
    questions: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(QUESTIONS),
    max_seconds: float = float("inf"),
    folder: Path | None = None,
) -> None:
    """Measure what is not in the files yet, and print the tables.

    Args:
        questions: any of order, winners, figure3, together, untied, rotated, switches.
        max_seconds: begin no case after so much time; 0 prints what there is.
        folder: keep the runs here instead of in the files that are shipped.
    """
    check_names("question", questions, QUESTIONS)
    if folder is not None and not folder.is_dir():
        raise InputError(f"--folder: expected a folder that exists, got {folder}; make it first")
    until = time.perf_counter() + max_seconds
    for name in questions:
        question = QUESTIONS[name]
        file = question.file if folder is None else folder / question.file.name
        print(f"\n## {name}\n\n{answer(question, file, until=until)}", flush=True)


if __name__ == "__main__":
    command_line(main)
