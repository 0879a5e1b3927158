"""``python -m benchmarks [QUESTION …]``: one table per question, printed and kept as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks import precision, speed
from benchmarks.tables import markdown, provenance

QUESTIONS = {
    "kernel": speed.kernel,
    "whole": speed.whole,
    "precision": precision.precision,
    "adamw": speed.adamw,
    "growth": speed.growth,
    "startup": speed.startup,
    "exact": speed.exact,
}


def main(
    questions: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(QUESTIONS),
    fast: bool = False,
    out: Path = Path("benchmarks/results.json"),
) -> None:
    """Measure speed beside error.

    Args:
        questions: any of kernel, whole, precision, adamw, growth, startup, exact.
        fast: small sizes and few seeds, to see that it works.
        out: JSON file; tables measured before and not asked for now are kept.
    """
    unknown = set(questions) - set(QUESTIONS)
    if unknown:
        raise SystemExit(f"unknown question {', '.join(unknown)}; known: {', '.join(QUESTIONS)}")
    kept = json.loads(out.read_text()) if out.exists() else {}
    for name in questions:
        measure = QUESTIONS[name]
        print(f"\n## {name}\n\n{measure.__doc__}\n", flush=True)
        columns, rows = measure(fast)
        print(markdown(columns, rows), flush=True)
        kept[name] = {"columns": columns, "rows": rows, "fast": fast, **provenance()}
        aside = out.with_suffix(".part")
        aside.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
        aside.replace(out)


if __name__ == "__main__":
    tyro.cli(main)
