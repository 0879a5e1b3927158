"""``python -m benchmarks.findings.fewer``: with fewer neurons than features n − m of them have to
be shared by two. Are more?

Runs are those of ``fewer.toml``; ``collect`` keeps how many neurons each left shared (X), with one
feature (M) and unused (U), and prints means. Where all live features are on one neuron each,
X − U = n_alive − m, so that U is what is shared beyond need. θ is that of the tilted slot law of
the live features (theory.counting.fit_tilt): 0 if sharing were used only where it must be, 1 for
the slot law.

*Expected, written before the runs*, from the count map at m = n and from 30 runs each at n = 64,
m = 40, 48, 56, λ = 0.03, 0.3: at Λ = λ√m/c = 0.01 θ rises as m/n falls, from 0.66 at n = m = 64
through 1 between m/n = 0.9 and 0.8 to above 1.3 at m/n ≤ 0.65; at Λ = 0.1 it is above 1 for all
m/n ≤ 0.85; at Λ = 1 it is 1 within 0.2, but features die. U falls to 0 at m = n/2, where nothing
can be unused unless features die. At n = 128 and Λ = 0.01 θ is higher than at n = 64 at the same
m/n.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.command import command_line
from benchmarks.tables import keep_runs, kept_runs, markdown, provenance
from flow.cli.report import mean_with_interval
from flow.sweep.results import load
from theory.counting import fit_tilt, slot_mean

FILE = Path(__file__).with_suffix(".json")
COLUMNS = ("n", "m", "coupling", "shared", "single", "unused", "dead", "one_hot")


def collect(sweep: tyro.conf.Positional[Path], /) -> None:
    """Keep the occupancies of a sweep of fewer.toml, and print the table.

    Args:
        sweep: file of the sweep.
    """
    rows = [
        [row["n"], row["m"], float(f"{row['lam_sqrt_m_over_c']:.3g}"), row["neurons_two"],
         row["neurons_one"], row["neurons_unused"], row["dead"],
         int(row["spread"] == row["not_converged"] == row["neurons_more"] == 0)]
        for row in load(sweep).rows if row["finished"]
    ]  # fmt: skip
    keep_runs(FILE, sorted(rows), about={"columns": COLUMNS, "software": provenance()})
    show()


def show() -> None:
    """Print means ± 95 % intervals over runs."""
    print(table(kept_runs(FILE)))


def table(runs: Sequence[Sequence[Any]]) -> str:
    """One line for each n, m and Λ; runs with a feature on several neurons are counted only."""
    cells = defaultdict(list)
    for row in runs:
        cells[row[2], row[0], row[1]].append(dict(zip(COLUMNS, row, strict=True)))
    lines = []
    for (coupling, n, m), found in sorted(cells.items()):
        kept = [row for row in found if row["one_hot"]]
        if not kept:
            continue
        x, single, unused, dead = (
            [row[name] for row in kept] for name in ("shared", "single", "unused", "dead")
        )
        alive = 2 * np.array(x) + single
        tilt = fit_tilt(x, alive, m)
        place = [f"{coupling:g}", str(n), str(m), f"{m / n:.3g}"]
        lines.append([*place, f"{len(kept)} of {len(found)}",
                      mean_with_interval(x), f"{float(slot_mean(n, m)):.3g}", str(max(0, n - m)),
                      mean_with_interval(unused), mean_with_interval(dead),
                      f"{tilt.theta:.2f} ({tilt.low:.2f}–{tilt.high:.2f})"])  # fmt: skip
    return markdown(["Λ", "n", "m", "m/n", "runs", "shared X", "slot law", "must be (n − m)",
                     "unused U", "dead", "θ"], lines)  # fmt: skip


if __name__ == "__main__":
    command_line({"collect": collect, "show": show})
