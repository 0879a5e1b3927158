"""The table of the count map: every run of its sweep, small enough to be kept here.

    python -m flow.sweep paper_figures/data/map.toml --out map.sqlite
    python -m paper_figures.tools.map_table map.sqlite

does the runs (it goes on where it was stopped) and writes them, the failed ones too, to
``data/map.csv.xz``, and what they say for every cell to ``count_map_table.md``.
``pandas.read_csv("map.csv.xz", comment="#")`` reads it as well.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks.command import command_line
from flow.cli.flags import InputError
from flow.results.files import write_text, written_aside
from flow.sweep.config import read_config
from flow.sweep.report import report
from flow.sweep.results import Sweep, load
from flow.sweep.runs import PARAMETERS, PENDING, RESULTS, Run, ratios
from flow.sweep.store import COLUMNS

HERE = Path(__file__).parents[1]
TABLE = HERE / "data" / "map.csv.xz"
PAGE = HERE / "count_map_table.md"
CONFIG = "paper_figures/data/map.toml"
COMMAND = f"python -m flow.sweep {CONFIG} --out map.sqlite"
"""Does the runs of the table."""
KEPT = (
    *PARAMETERS, "status", "message", "finished", "t", "accepted", "nonzeros",
    "dead", "monosemantic", "sharing", "spread", "not_converged", "polysemantic",
    "largest_stayed", "kept_sign", "rank",
    *(name for name in RESULTS if name.startswith(("benign_", "malign_"))),
    "extinctions", "revivals", "revived_winners",
    "plateau_end", "plateau_height", "collapse_time", "weights_sha256", "seconds", "software",
)  # fmt: skip
"""Columns of the table."""
DIGITS = 12
"""Hexadecimal digits of `weights_sha256` that are kept: a run that differs is told apart."""


def text(sweep: Sweep) -> str:
    """The table, sorted by parameters; what made the runs is in its first line."""
    out = io.StringIO()
    about = {"command": COMMAND, "software": sweep.published_software()}
    out.write(f"# {json.dumps(about)}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(KEPT)
    for row in (row for cell in sweep.cells().values() for row in cell):
        writer.writerow("" if value is None else value for value in selected_columns(row).values())
    return out.getvalue()


def selected_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the table keeps of a row of a sweep."""
    found = {name: row[name] for name in KEPT}
    if found["weights_sha256"] is not None:
        found["weights_sha256"] = found["weights_sha256"][:DIGITS]
    if found["seconds"] is not None:
        found["seconds"] = round(found["seconds"], 3)
    if found["finished"]:
        found["message"] = None  # it says nothing that the columns do not
    return found


def write(sweep: Sweep, path: Path) -> None:
    """Write the table of a sweep."""
    with written_aside(path) as file:
        file.write(lzma.compress(text(sweep).encode(), preset=9 | lzma.PRESET_EXTREME))


def read(path: Path = TABLE) -> Sweep:
    """The table as a sweep, for :func:`flow.sweep.report.report`; what is not kept is None."""
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        about = json.loads(file.readline()[2:])
        rows = [_row(line) for line in csv.DictReader(file)]
    software = {int(k): v for k, v in about["software"].items()}
    return Sweep(path, sorted(rows, key=lambda row: row["hash"]), software)


_KINDS = {
    name: {"INTEGER": int, "REAL": float}.get(declared.split()[0], str)
    for name, declared in COLUMNS.items()
}


def _row(line: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        name: _KINDS[name](value) if value else None for name, value in line.items()
    }
    run = {name: found[name] for name in PARAMETERS}
    found["hash"] = Run(**{**run, "census": bool(run["census"])}).hash()
    return found | ratios(found)


def page(sweep: Sweep) -> Iterator[str]:
    """Lines of the page with a line for every cell."""
    hours = sum(row["seconds"] or 0.0 for row in sweep.rows) / 3600.0
    failed = sum(not row["finished"] for row in sweep.rows)
    yield "# The count map, cell by cell"
    yield ""
    yield (
        f"{len(sweep.rows):,} runs to rest, {hours:.1f} hours of one core; {failed} of them did "
        f"not come to rest. What it says: [count_map.md](count_map.md)."
    )
    yield ""
    yield f"    {COMMAND}"
    yield ""
    for about in sweep.published_software().values():
        yield "- " + ", ".join(f"{x} {y}" for x, y in about.items())
    yield ""
    yield from list(report(sweep, full=True))[1:]


def asked_for(sweep: Sweep, config: str = CONFIG) -> Sweep:
    """The runs of a config (the map's) alone, of a file that may hold others too.

    Raises InputError if some have not been tried.
    """
    wanted = {run.hash() for run in read_config(HERE.parent / config)[0]}
    rows = [row for row in sweep.rows if row["hash"] in wanted and row["status"] != PENDING]
    if missing := len(wanted) - len(rows):
        raise InputError(
            f"expected all {len(wanted):,} runs of {config}, got a file that lacks {missing:,}; "
            f"go on with: python -m flow.sweep {config} --out {sweep.path}"
        )
    return replace(sweep, rows=rows)


def main(sweep: tyro.conf.Positional[Path], /) -> None:
    """Write the table of the count map, and its page.

    Args:
        sweep: file of the sweep of data/map.toml.
    """
    write(asked_for(load(sweep)), TABLE)
    write_text(PAGE, "\n".join([*page(read()), ""]))
    print(f"{TABLE}\n{PAGE}")


if __name__ == "__main__":
    command_line(main)
