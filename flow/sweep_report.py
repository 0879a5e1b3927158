"""Means over seeds of a finished sweep, with the laws of `theory` beside them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, stdev, variance
from typing import Any

from flow.options import SUBSETS
from flow.sweep_results import Row, Sweep
from flow.sweep_runs import PARAMETERS, Run

LEGEND = (
    "Runs: that got where they were sent, of all. Means ± standard errors over those runs alone. "
    "Laws: n²/4m is the paper's, the slot law a conjecture; both say nothing about λ. Largest "
    "wins: features whose initially largest weight won, with its sign. Non-zeros per feature and "
    "|W|_1, the mean of ‖W_i‖₁, with their laws for interference off. Malign: pairs whose "
    "initially largest weights share a neuron and a sign; of which the larger stays alone, the "
    "smaller does, neither. Revived: winners that had been zero, of all winners."
)


def report(sweep: Sweep) -> Iterator[str]:
    """Lines: what is there, then a table with a line for each cell (equal but for the seed).

    A run that did not get where it was sent is counted and named, and is in no mean.
    """
    counts = ", ".join(f"{count} {status}" for status, count in sweep.counts().items())
    yield f"{sweep.path}: {len(sweep.rows)} runs: {counts or 'none'}"
    made = Counter(row["software"] for row in sweep.rows if row["software"] is not None)
    if len({sweep.software[k].get("code") for k in made}) > 1:
        yield "made by different versions of the code; export and look at the column software"
    cells = sweep.cells()
    if not cells:
        return
    shared, varying = _parameters(cells)
    yield "in all of them: " + ", ".join(f"{name} = {_text(v)}" for name, v in shared.items())
    yield ""
    table = [[*varying, *(name for name, _ in _QUANTITIES)]]
    for key, rows in cells.items():
        about = dict(zip(_NAMES, key, strict=True))
        done = [row for row in rows if row["finished"]]
        cells_ = [_text(about[name]) for name in varying]
        table.append([*cells_, *(show(about, rows, done) for _, show in _QUANTITIES)])
    yield from _lines(table)
    yield ""
    yield LEGEND
    failed = [row for row in sweep.rows if row["status"] != "PENDING" and not row["finished"]]
    if failed:
        yield ""
        yield f"{len(failed)} failed:"
        for (status, message), number in Counter(
            (row["status"], row["message"]) for row in failed
        ).most_common(20):
            yield f"  {number} x {status}: {message}"


_NAMES = tuple(name for name in PARAMETERS if name != "seed")


def _parameters(cells: dict[tuple[Any, ...], list[Row]]) -> tuple[dict[str, Any], list[str]]:
    columns = dict(zip(_NAMES, zip(*cells, strict=True), strict=True))
    shared = {name: values[0] for name, values in columns.items() if len(set(values)) == 1}
    defaults = {f: Run.__dataclass_fields__[f].default for f in _NAMES}
    shown = {
        name: value
        for name, value in shared.items()
        if name in ("n", "m", "lam", "c", "forces", "rtol") or value != defaults[name]
    }
    return shown, [name for name in _NAMES if name not in shared]


# Quantities --------------------------------------------------------------------------------------

_Show = Callable[[dict[str, Any], Sequence[Row], Sequence[Row]], str]


def _runs(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    return f"{len(done)} of {len(rows)}"


def _mean(values: Sequence[float], *, percent: bool = False) -> str:
    """Mean ± standard error."""
    factor = 100.0 if percent else 1.0
    if not values:
        return "-"
    mean = f"{factor * fmean(values):.3g}"
    if len(values) > 1:
        mean += f" ± {factor * stdev(values) / math.sqrt(len(values)):.2g}"
    return f"{mean} %" if percent else mean


def _mean_of(name: str) -> _Show:
    return lambda about, rows, done: _mean([row[name] for row in done if row[name] is not None])


def _share_of(name: str, *, percent: bool = True) -> _Show:
    """Per feature."""
    return lambda about, rows, done: _mean(
        [row[name] / row["n"] for row in done if row[name] is not None], percent=percent
    )


def _slot(about: dict[str, Any]) -> Any:
    from theory.counting import slot_law, slot_law_applies

    n, m = about["n"], about["m"]
    return slot_law(n, m) if about["forces"] == "all" and slot_law_applies(n, m) else None


def _slot_mean(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    law = _slot(about)
    return "-" if law is None else f"{law.mean():.3g}"


def _over_slot(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    law = _slot(about)
    if law is None or law.mean() == 0.0:
        return "-"
    return _mean([row["polysemantic"] / law.mean() for row in done])


def _variance_ratio(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    """Of the count over that of the slot law; error for a normal count, √(2/(k − 1))."""
    law = _slot(about)
    if law is None or law.var() == 0.0 or len(done) < 2:
        return "-"
    ratio = variance([row["polysemantic"] for row in done]) / law.var()
    return f"{ratio:.2g} ± {ratio * math.sqrt(2.0 / (len(done) - 1)):.2g}"


def _paper(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    from theory.counting import paper_count

    return f"{float(paper_count(about['n'], about['m'])):.3g}"


def _interference_off(about: dict[str, Any]) -> tuple[float, float] | None:
    """Laws of ‖W_i‖₁ and of the non-zeros of a row that feels no other; None where there is none.

    At rest one weight is left, the stable root w₊, or none above the critical λ; at t_end the law
    of Gaussian starts holds, while it has two survivors or more.
    """
    from theory.equilibrium import critical_lambda, equal_survivor_roots
    from theory.universal import universal_law_at

    lam, c, m, t = about["lam"], about["c"], about["m"], about["t_end"]
    benefit, _, regularization = SUBSETS[about["forces"]]
    if not (benefit and regularization and c > 0.0 and lam > 0.0 and about["scale"] > 0.0):
        return None
    if t is None:
        alive = lam <= critical_lambda(1, c=c)
        return (float(equal_survivor_roots(lam, 1, c=c)[1]), 1.0) if alive else (0.0, 0.0)
    coupling = lam * math.sqrt(m) / c
    if not 0.0 < coupling <= 1.0 or t <= 0.0:
        return None
    try:
        law = universal_law_at(lam * t * math.sqrt(m), coupling=coupling, norm=about["scale"])
    except ValueError:
        return None  # too early or too late for it
    l1, survivors = float(law.l1) * math.sqrt(m), float(law.survivors) * m
    return (l1, survivors) if survivors >= 2.0 else None


def _law_of_l1(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    laws = _interference_off(about)
    return "-" if laws is None else f"{laws[0]:.3g}"


def _law_of_survivors(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    laws = _interference_off(about)
    return "-" if laws is None else f"{laws[1]:.3g}"


def _malign(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    known = [row for row in done if row["malign_larger_stayed"] is not None]
    names = ("malign_larger_stayed", "malign_smaller_stayed", "malign_both_left")
    text = " / ".join(str(sum(row[name] for row in known)) for name in names)
    both = sum(row["malign_both_stayed"] for row in known)
    return (text + (f" (both stay: {both})" if both else "")) if known else "-"


def _revived(about: dict[str, Any], rows: Sequence[Row], done: Sequence[Row]) -> str:
    known = [row for row in done if row["revived_winners"] is not None]
    if not known:
        return "-"
    winners = sum(row["n"] - row["dead"] for row in known)
    return f"{sum(row['revived_winners'] for row in known)} of {winners}"


_QUANTITIES: tuple[tuple[str, _Show], ...] = (
    ("runs", _runs),
    ("polysemantic", _mean_of("polysemantic")),
    ("slot law", _slot_mean),
    ("n²/4m", _paper),
    ("over slot law", _over_slot),
    ("variance over its", _variance_ratio),
    ("dead", _share_of("dead")),
    ("non-zeros", _share_of("nonzeros", percent=False)),
    ("law", _law_of_survivors),
    ("|W|_1", _mean_of("l1")),
    ("law of |W|_1", _law_of_l1),
    ("largest wins", _share_of("largest_stayed")),
    ("malign", _malign),
    ("revived", _revived),
    ("seconds", _mean_of("seconds")),
)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _lines(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown, padded so that it reads in a terminal too."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    for number, row in enumerate(table):
        yield "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
