"""``python -m benchmarks [BENCHMARK …]``: one table per benchmark, printed and kept as JSON.

Beside the JSON file lies the same as Markdown, to read.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks import accelerator, explore, neighbours, precision, speed, sweep
from benchmarks.command import check_names, command_line
from benchmarks.findings.noise.figure4 import ends
from benchmarks.tables import keep, markdown, provenance
from flow.results.files import write_text

BENCHMARKS = {
    "kernel": speed.kernel,
    "whole": speed.whole,
    "precision": precision.precision,
    "adamw": speed.adamw,
    "growth": speed.growth,
    "large": speed.large,
    "startup": speed.startup,
    "exact": speed.exact,
    "neighbours": neighbours.neighbours,
    "sweep": sweep.sweep,
    "noise": ends,
    "accelerator": accelerator.accelerator,
    "ensemble": accelerator.ensemble,
    "explore": explore.explore,
}


def main(
    benchmarks: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(BENCHMARKS),
    fast: bool = False,
    out: Path = Path("benchmarks/results.json"),
) -> None:
    """Measure speed beside error.

    Args:
        benchmarks: any of kernel, whole, precision, adamw, growth, large, startup,
            exact, neighbours, sweep, noise, accelerator, ensemble, explore.
        fast: small sizes and few seeds, to see that it works.
        out: JSON file; tables measured before and not asked for now are kept.
    """
    check_names("benchmark", benchmarks, BENCHMARKS)
    kept = json.loads(out.read_text()) if out.exists() else {}
    for name in benchmarks:
        measure = BENCHMARKS[name]
        print(f"\n## {name}\n\n{inspect.getdoc(measure)}\n", flush=True)
        columns, rows = measure(fast)
        print(markdown(columns, rows), flush=True)
        kept[name] = {"columns": columns, "rows": rows, "fast": fast, **provenance()}
        keep(out, kept, indent=1)
        write_text(out.with_suffix(".md"), _page(kept))


def _page(kept: dict[str, dict[str, Any]]) -> str:
    parts = ["# What `python -m benchmarks` measured\n"]
    for name in BENCHMARKS:
        if name in kept:
            table = dict(kept[name])
            rows = markdown(table.pop("columns"), table.pop("rows"))
            fast = " (`--fast`: small sizes and few seeds)" if table.pop("fast") else ""
            how = ", ".join(f"{key} {value}" for key, value in table.items())
            parts.append(
                f"## {name}{fast}\n\n{inspect.getdoc(BENCHMARKS[name])}\n\n{rows}\n\n{how}.\n"
            )
    return "\n".join(parts)


if __name__ == "__main__":
    command_line(main)
