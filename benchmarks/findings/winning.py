"""``python -m benchmarks.findings.winning``: predictions for sizes that had not been run, and what
came of them.

``predict`` writes what the laws say of the sizes in ``winning.toml``, from the count map alone;
``collect`` adds what a sweep of that config found. Three laws are tried:

- *scaling*: the share of features whose largest weight wins depends on ε = n/√m and Λ alone. The
  map's means of equal ε (m ≥ 2n) are interpolated in ln ε; below ε = 1, where the map has none,
  the odds of losing are 0.366 ε^0.773 (Λ = 0.01) and 0.152 ε^0.673 (Λ = 1), fitted earlier to other
  runs. At m = n and Λ = 0.01 the observed share is expected *below* it.
- *closed form*: `theory.winning.largest_wins` of `theory.winning.noise`, for ε ≥ 1.
- *tilt*: polysemantic neurons follow the tilted slot law with the one θ of all cells of the map
  with m ≥ 2n and n ≥ 64 at this Λ.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.command import command_line
from benchmarks.tables import markdown, provenance
from flow.analysis.statistics import standard_error
from flow.cli.flags import InputError
from flow.results.files import write_text
from flow.sweep.config import read_config
from flow.sweep.results import load
from paper_figures.tools import map_table
from paper_figures.tools.style import half_width
from theory.counting import fit_tilt, slot_mean, tilted_slot_law
from theory.winning import epsilon, largest_wins, noise

HERE = Path(__file__).parent
CONFIG, FILE = HERE / "winning.toml", HERE / "winning.json"
ODDS = {0.01: (0.366, 0.773), 1.0: (0.152, 0.673)}
"""Odds of losing, factor and exponent, by Λ."""

ABOUT = (
    "predicted from the count map before any of these sizes was run: python -m "
    "benchmarks.findings.winning predict; observed, where it is there, was added afterwards"
)

Cells = dict[tuple[int, int, float], list[Mapping[str, Any]]]


def cells_of(rows: Iterable[Mapping[str, Any]]) -> Cells:
    """Finished runs by n, m and Λ to three digits."""
    found: Cells = defaultdict(list)
    for row in rows:
        if row["finished"]:
            found[row["n"], row["m"], float(f"{row['lam_sqrt_m_over_c']:.3g}")].append(row)
    return found


def shares(rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Share of features whose initially largest weight won, for every run."""
    return np.array([row["largest_stayed"] / row["n"] for row in rows])


def scaling(cells: Cells, coupling: float) -> np.ndarray:
    """(3, k): ε of the map's cells with m ≥ 2n, mean share over all features, standard error."""
    by_epsilon = defaultdict(list)
    for (n, m, at), rows in cells.items():
        if at == coupling and m >= 2 * n:
            by_epsilon[float(f"{float(epsilon(n, m)):.4g}")].append(rows)
    lines = []
    for eps, groups in sorted(by_epsilon.items()):
        weight = np.array([len(rows) * rows[0]["n"] for rows in groups], float)
        weight /= weight.sum()
        mean = weight @ [shares(rows).mean() for rows in groups]
        error = np.sqrt(weight**2 @ [standard_error(shares(rows)) ** 2 for rows in groups])
        lines.append((eps, mean, error))
    return np.array(lines).T


def common_tilt(cells: Cells, coupling: float) -> float:
    """θ of all cells of the map with m ≥ 2n and n ≥ 64, as the weighted mean of their ln θ."""
    total = weights = 0.0
    for (n, m, at), rows in cells.items():
        if at == coupling and m >= 2 * n and n >= 64:
            theta = fit_tilt([row["polysemantic"] for row in rows], n, m).theta
            weight = len(rows) * tilted_slot_law(n, m, theta).var()
            total += weight * np.log(theta)
            weights += weight
    return float(np.exp(total / weights))


def predicted() -> list[dict[str, Any]]:
    """What is expected of every size of the config, from the map."""
    cells = cells_of(map_table.read().rows)
    wanted = sorted({(run.n, run.m) for run in read_config(CONFIG)[0]})
    lines = []
    for coupling, (factor, exponent) in ODDS.items():
        eps, mean, error = scaling(cells, coupling)
        theta = common_tilt(cells, coupling)
        for n, m in wanted:
            at = float(epsilon(n, m))
            inside = eps[0] <= at * (1 + 1e-9)
            odds = factor * at**exponent
            tilted = tilted_slot_law(n, m, theta) if m >= 2 * n else None
            lines.append({
                "n": n, "m": m, "coupling": coupling, "epsilon": round(at, 4),
                "scaling": round(float(np.interp(np.log(at), np.log(eps), mean))
                                 if inside else 1 / (1 + odds), 4),
                "error": round(float(np.interp(np.log(at), np.log(eps), error)), 4)
                if inside else None,
                "closed_form": round(float(largest_wins(noise(at, coupling))), 4)
                if inside else None,
                "theta": round(theta, 4) if tilted else None,
                "polysemantic": round(tilted.mean(), 4) if tilted else None,
            })  # fmt: skip
    return lines


def observed(sweep: Path) -> list[dict[str, Any]]:
    """What the runs say, in the order of the predictions."""
    lines = []
    for (n, m, coupling), rows in sorted(cells_of(load(sweep).rows).items(), key=_order):
        counts = np.array([row["polysemantic"] for row in rows])
        tilt = fit_tilt(counts, n, m)
        lines.append({
            "n": n, "m": m, "coupling": coupling, "runs": len(rows),
            "share": round(float(shares(rows).mean()), 5),
            "share_error": round(standard_error(shares(rows)), 5),
            "polysemantic": round(float(counts.mean()), 5),
            "polysemantic_error": round(standard_error(counts), 5),
            "variance": round(float(counts.var(ddof=1)), 5),
            "over_slot": round(float(counts.mean() / slot_mean(n, m)), 4),
            "theta": [round(x, 4) for x in (tilt.theta, tilt.low, tilt.high)],
        })  # fmt: skip
    return lines


def _order(item: tuple[tuple[int, int, float], Any]) -> tuple[float, int, int]:
    n, m, coupling = item[0]
    return coupling, n, m


def table(kept: Mapping[str, Any]) -> str:
    """Predictions beside what came of them, ± 95 % intervals; z in standard errors of both."""
    columns = ["Λ", "n", "m", "ε", "runs", "largest wins", "scaling", "z", "closed form", "off",
               "polysemantic", "tilted", "z", "slot law"]  # fmt: skip
    lines = []
    for said, seen in zip(kept["predicted"], kept["observed"], strict=True):
        assert all(said[name] == seen[name] for name in ("n", "m", "coupling"))
        tilted = said["polysemantic"]
        lines.append([
            said["coupling"], str(said["n"]), str(said["m"]), said["epsilon"], str(seen["runs"]),
            _shown(seen, "share", ".3f"), f"{said['scaling']:.3f}",
            f"{score(seen['share'], seen['share_error'], said['scaling'], said['error']):+.1f}",
            "-" if said["closed_form"] is None else f"{said['closed_form']:.3f}",
            "-" if said["closed_form"] is None else f"{seen['share'] - said['closed_form']:+.3f}",
            _shown(seen, "polysemantic", ".2f"),
            "-" if tilted is None else f"{tilted:.3g}",
            "-" if tilted is None else
            f"{score(seen['polysemantic'], seen['polysemantic_error'], tilted):+.1f}",
            f"{float(slot_mean(said['n'], said['m'])):.3g}",
        ])  # fmt: skip
    return markdown(columns, lines)


def _shown(seen: Mapping[str, Any], name: str, digits: str) -> str:
    half = float(half_width(seen[f"{name}_error"], seen["runs"]))
    return f"{seen[name]:{digits}} ± {half:{digits}}"


def score(seen: float, error: float, said: float, uncertainty: float | None = None) -> float:
    """Difference in standard errors."""
    return float((seen - said) / np.hypot(error, uncertainty or 0.0))


def predict() -> None:
    """Write what is expected, before any run; refused once there are runs."""
    if FILE.exists() and "observed" in json.loads(FILE.read_text()):
        raise InputError(f"{FILE} holds what was observed: too late to predict")
    _write({"about": ABOUT, "predicted": predicted()})


def collect(sweep: tyro.conf.Positional[Path], /) -> None:
    """Add what a sweep found to the predictions, which stay as they are, and print both.

    Args:
        sweep: file of the sweep of winning.toml.
    """
    kept = json.loads(FILE.read_text()) | {"observed": observed(sweep), "software": provenance()}
    _write(kept)
    print(table(kept))


def show() -> None:
    """Print predictions beside what came of them."""
    print(table(json.loads(FILE.read_text())))


def _write(kept: Mapping[str, Any]) -> None:
    lines = [
        f'"{name}": [\n' + ",\n".join(json.dumps(line) for line in value) + "\n]"
        if isinstance(value, list) else f'"{name}": {json.dumps(value)}'
        for name, value in kept.items()
    ]  # fmt: skip
    write_text(FILE, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    command_line({"predict": predict, "collect": collect, "show": show})
