"""Means over seeds of a finished sweep, with the laws of `theory` beside them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import variance
from typing import TYPE_CHECKING, Any, NamedTuple

from flow.analysis.statistics import share_interval
from flow.cli.report import markdown, mean_with_interval
from flow.sweep.forces import force_set
from flow.sweep.results import Row, Sweep
from flow.sweep.runs import PARAMETERS, Run

if TYPE_CHECKING:
    from theory.occupancy import Occupancy


def report(sweep: Sweep, *, full: bool = False) -> Iterator[str]:
    """Lines: what is there, then a table with a line for each cell (equal but for the seed).

    One narrow table; `full`: all that was counted, in wide ones.

    A run that did not get where it was sent is counted and named, and is in no mean.
    """
    counts = ", ".join(f"{count} {status}" for status, count in sweep.counts().items())
    yield f"{sweep.path}: {len(sweep.rows)} runs: {counts or 'none'}"
    made = Counter(row["software"] for row in sweep.rows if row["software"] is not None)
    if len({sweep.software[k].get("code") for k in made}) > 1:
        yield "made by different versions of the code; export and look at the column software"
    cells = [
        Cell(dict(zip(_NAMES, key, strict=True)), rows, [row for row in rows if row["finished"]])
        for key, rows in sweep.cells().items()
    ]
    if not cells:
        return
    shared, varying = _parameters(cells)
    yield "in all of them: " + ", ".join(f"{name} = {_text(v)}" for name, v in shared.items())
    yield "means ± 95 % intervals, over the runs that got where they were sent alone"
    for title, legend, quantities in _TABLES if full else (_SUMMARY,):
        table = [[*varying, *quantities]]
        for cell in cells:
            place = [
                _text(cell.about[name] if name in cell.about else cell.rows[0][name])
                for name in varying.values()
            ]
            table.append([*place, *(show(cell) for show in quantities.values())])
        if not full:
            table = _without_empty_columns(table)
        elif all(text == "-" for row in table[1:] for text in row[len(varying) :]):
            continue  # of no run is known what it tells, as of the count map
        yield ""
        yield f"{title}. {legend}"
        yield ""
        yield from markdown(table).splitlines()
    failed = [row for row in sweep.rows if row["status"] != "PENDING" and not row["finished"]]
    if failed:
        yield ""
        yield f"{len(failed)} failed:"
        for (status, message), number in Counter(
            (row["status"], row["message"]) for row in failed
        ).most_common(20):
            yield f"  {number} x {status}: {message}"


class Cell(NamedTuple):
    """Runs that differ in their seeds alone."""

    about: dict[str, Any]
    """Their parameters."""
    rows: Sequence[Row]
    """All of them."""
    done: Sequence[Row]
    """Those that got where they were sent."""

    def values(self, name: str) -> list[Any]:
        """What is known of a column."""
        return [row[name] for row in self.done if row[name] is not None]


_NAMES = tuple(name for name in PARAMETERS if name != "seed")


def _parameters(cells: Sequence[Cell]) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters that all cells have in common, and headings with columns that tell them apart."""
    columns = {name: [cell.about[name] for cell in cells] for name in _NAMES}
    defaults = {name: Run.__dataclass_fields__[name].default for name in _NAMES}
    shared = {
        name: values[0]
        for name, values in columns.items()
        if len(set(values)) == 1
        and (name in ("n", "m", "lam", "c", "forces", "rtol") or values[0] != defaults[name])
    }
    varying = {name: name for name, values in columns.items() if len(set(values)) > 1}
    headings = {}
    for name in varying:
        headings[name] = name
        if name == "m" and "n" in varying:
            headings["m/n"] = "m_over_n"
        if name == "lam":
            headings["λ√m/c"] = "lam_sqrt_m_over_c"
    return shared, headings


# Quantities --------------------------------------------------------------------------------------

_Show = Callable[[Cell], str]


def _runs(cell: Cell) -> str:
    done, every = len(cell.done), len(cell.rows)
    return str(every) if done == every else f"{done} of {every}"


def _mean_of(name: str) -> _Show:
    return lambda cell: mean_with_interval(cell.values(name))


def _per_feature(name: str, *, percent: bool = False) -> _Show:
    return lambda cell: mean_with_interval(
        [x / cell.about["n"] for x in cell.values(name)], percent=percent
    )


def _in_slow_time(name: str) -> _Show:
    """λt, the time in which encodings become sparse."""
    return lambda cell: (
        mean_with_interval([cell.about["lam"] * t for t in cell.values(name)])
        if cell.about["lam"]
        else "-"
    )


def _of_pairs(kind: str, fate: str) -> _Show:
    """Share of the pairs of all runs; its interval is that of independent pairs."""

    def show(cell: Cell) -> str:
        pairs = _pairs(cell, kind)
        if not pairs:
            return "-"
        return _share(sum(cell.values(f"{kind}_{fate}")), pairs)

    return show


def _share(successes: int, trials: int) -> str:
    low, high = share_interval(successes, trials)
    return f"{100 * successes / trials:.3g} % ({_percent(low)}–{_percent(high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share > 0.0995 else f"{100 * share:.2g}"


def _features(name: str) -> _Show:
    """Share of the features of all runs; its interval is that of independent features."""

    def show(cell: Cell) -> str:
        found = cell.values(name)
        return _share(sum(found), len(found) * cell.about["n"]) if found else "-"

    return show


def _pairs(cell: Cell, kind: str) -> int:
    fates = ("both_stayed", "larger_stayed", "smaller_stayed", "both_left")
    return sum(sum(cell.values(f"{kind}_{fate}")) for fate in fates)


def _revived(cell: Cell) -> str:
    known = [row for row in cell.done if row["revived_winners"] is not None]
    winners = sum(row["n"] - row["dead"] for row in known)
    return f"{sum(row['revived_winners'] for row in known)} of {winners}" if known else "-"


def _above_theta(cell: Cell) -> str:
    """m'(λt)² where it is largest."""
    return mean_with_interval(
        [
            height * (cell.about["lam"] * end) ** 2
            for height, end in zip(
                cell.values("plateau_height"), cell.values("plateau_end"), strict=True
            )
        ]
    )


# Laws --------------------------------------------------------------------------------------------


def _slot(cell: Cell) -> Any:
    from theory.counting import slot_law, slot_law_applies

    n, m = cell.about["n"], cell.about["m"]
    other = cell.about["c_interference"] is not None or cell.about["leak"] is not None
    stated = cell.about["forces"] == "all" and not other
    return slot_law(n, m) if stated and slot_law_applies(n, m) else None


def _slot_mean(cell: Cell) -> str:
    law = _slot(cell)
    return "-" if law is None else f"{law.mean():.3g}"


def _over_slot(cell: Cell) -> str:
    law = _slot(cell)
    if law is None or law.mean() == 0.0:
        return "-"
    return mean_with_interval([x / law.mean() for x in cell.values("polysemantic")])


def _variance_ratio(cell: Cell) -> str:
    """Of the count over that of the slot law; interval for a normal count, s.e. √(2/(k − 1))."""
    law, counts = _slot(cell), cell.values("polysemantic")
    if law is None or law.var() == 0.0 or len(counts) < 2:
        return "-"
    ratio = variance(counts) / law.var()
    return f"{ratio:.2g} ± {1.96 * ratio * math.sqrt(2.0 / (len(counts) - 1)):.2g}"


def _occupied(cell: Cell) -> list[Occupancy]:
    """Of the runs whose live features are all on one neuron, at most two on each."""
    from theory.occupancy import Occupancy

    return [
        Occupancy(row["neurons_two"], row["neurons_one"], row["neurons_unused"])
        for row in cell.done
        if row["neurons_unused"] is not None
        and row["spread"] == row["not_converged"] == row["neurons_more"] == 0
        and 2 * row["neurons_two"] + row["neurons_one"] > 0
    ]  # fmt: skip


def _one_hot(cell: Cell) -> str:
    if all(row["neurons_unused"] is None for row in cell.done):
        return "-"
    return f"{len(_occupied(cell))} of {len(cell.done)}"


def _of_neurons(name: str) -> _Show:
    """Mean over these runs."""

    def show(cell: Cell) -> str:
        return mean_with_interval([getattr(use, name) for use in _occupied(cell)])

    return show


def _theta(cell: Cell) -> str:
    """θ of the tilted slot law, all runs together, with the interval of its likelihood."""
    from theory.counting import fit_tilt

    used = _occupied(cell)
    if not used:
        return "-"
    tilt = fit_tilt(*_shared_and_features(used), cell.about["m"])
    return f"{tilt.theta:.2f} ({tilt.low:.2f}–{tilt.high:.2f})"


def _p_value(cell: Cell) -> str:
    from theory.occupancy import exact_test

    used = _occupied(cell)
    if not used:
        return "-"
    return f"{exact_test(*_shared_and_features(used), cell.about['m']):.2g}"


def _shared_and_features(used: Sequence[Occupancy]) -> tuple[list[int], list[int]]:
    return [use.shared for use in used], [use.features for use in used]


def _paper(cell: Cell) -> str:
    from theory.counting import paper_count

    if cell.about["forces"] != "all":
        return "-"
    return f"{float(paper_count(cell.about['n'], cell.about['m'])):.3g}"


def _interference_off(cell: Cell) -> tuple[float, float] | None:
    """Laws of ‖W_i‖₁ and of the non-zeros of a row that feels no other; None where there is none.

    At rest one weight is left, the stable root w₊, or none above the critical λ; at t_end the law
    of Gaussian starts holds, while it has two survivors or more.
    """
    from theory.equilibrium import critical_lambda, equal_survivor_roots
    from theory.universal import universal_law_at

    lam, c, m, t = (cell.about[name] for name in ("lam", "c", "m", "t_end"))
    names, scale = force_set(cell.about["forces"]).names, cell.about["scale"]
    paper = {"FeatureBenefit", "Regularization"} <= set(names) <= {
        "FeatureBenefit", "Interference", "Regularization"
    }  # fmt: skip
    if not (paper and c > 0.0 and lam > 0.0 and scale > 0.0):
        return None
    if t is None:
        alive = lam <= critical_lambda(1, c=c)
        return (float(equal_survivor_roots(lam, 1, c=c)[1]), 1.0) if alive else (0.0, 0.0)
    coupling = lam * math.sqrt(m) / c
    if not 0.0 < coupling <= 1.0 or t <= 0.0:
        return None
    try:
        law = universal_law_at(lam * t * math.sqrt(m), coupling=coupling, norm=scale)
    except ValueError:
        return None  # too early or too late for it
    l1, survivors = float(law.l1) * math.sqrt(m), float(law.survivors) * m
    return (l1, survivors) if survivors >= 2.0 else None


def _law_of_l1(cell: Cell) -> str:
    laws = _interference_off(cell)
    return "-" if laws is None else f"{laws[0]:.3g}"


def _law_of_survivors(cell: Cell) -> str:
    laws = _interference_off(cell)
    return "-" if laws is None else f"{laws[1]:.3g}"


# Tables ------------------------------------------------------------------------------------------

_TABLES: tuple[tuple[str, str, dict[str, _Show]], ...] = (
    (
        "Counts",
        "Polysemantic neurons have two features or more. Laws: n²/4m is the paper's, the slot law "
        "a conjecture; neither knows λ.",
        {
            "runs": _runs,
            "polysemantic": _mean_of("polysemantic"),
            "slot law": _slot_mean,
            "n²/4m": _paper,
            "count / slot law": _over_slot,
            "variance / slot law's": _variance_ratio,
            "features dead": _features("dead"),
            "on several neurons": _features("spread"),
            "not converged": _features("not_converged"),
        },
    ),
    (
        "Occupancy",
        "Of the runs with one neuron for every live feature and at most two features on a neuron. "
        "Shared less unused neurons are the live features beyond m; so many are shared of "
        "necessity, the others incidentally. θ weighs a shared neuron: 1 is the slot law, whose "
        "exact test by all runs together has the p-value, 0 shares only where it must.",
        {
            "such runs": _one_hot,
            "shared": _of_neurons("shared"),
            "of necessity": _of_neurons("necessary"),
            "incidentally": _of_neurons("incidental"),
            "unused": _of_neurons("unused"),
            "θ": _theta,
            "p, θ = 1": _p_value,
        },
    ),
    (
        "Winners",
        "Largest wins: features whose initially largest weight won, with its sign. Malign pairs: "
        "initially largest weights on one neuron with one sign, the larger of which stays alone, "
        "or the smaller, or neither. Benign: with opposite signs. Revived: winners that had been "
        "zero, of all.",
        {
            "largest wins": _per_feature("largest_stayed", percent=True),
            "initial rank of winners": _mean_of("rank"),
            "malign pairs": lambda cell: str(_pairs(cell, "malign")),
            "larger stays": _of_pairs("malign", "larger_stayed"),
            "smaller stays": _of_pairs("malign", "smaller_stayed"),
            "neither stays": _of_pairs("malign", "both_left"),
            "benign pairs": lambda cell: str(_pairs(cell, "benign")),
            "both stay": _of_pairs("benign", "both_stayed"),
            "revived": _revived,
        },
    ),
    (
        "Course",
        "m' is the mean of the non-zeros per feature, ‖W‖₁ that of ‖W_i‖₁, ‖W‖₄⁴ that of "
        "‖W_i‖₄⁴, all at the end, with their laws for interference off. The plateau ends where "
        "m'(λt)² is largest, 1 to 3 if m' follows the Θ law and more if it stands still before; it "
        "has collapsed when m' is half of that. Times are λt.",
        {
            "plateau m'": _mean_of("plateau_height"),
            "plateau ends": _in_slow_time("plateau_end"),
            "m'(λt)²": _above_theta,
            "collapses": _in_slow_time("collapse_time"),
            "run ends": _in_slow_time("t"),
            "m'": _per_feature("nonzeros"),
            "m' by the law": _law_of_survivors,
            "‖W‖₁": _mean_of("l1"),
            "‖W‖₁ by the law": _law_of_l1,
            "‖W‖₄⁴": _mean_of("l4"),
            "steps": _mean_of("accepted"),
            "seconds": _mean_of("seconds"),
        },
    ),
)


_SUMMARY: tuple[str, str, dict[str, _Show]] = (
    "Ends",
    "Polysemantic neurons have two features or more; the slot law (a conjecture) expects so many. "
    "Largest wins: features whose initially largest weight won. --full shows all that was counted.",
    {
        "runs": _runs,
        "polysemantic": _mean_of("polysemantic"),
        "slot law": _slot_mean,
        "largest wins": _per_feature("largest_stayed", percent=True),
        "non-zeros": _per_feature("nonzeros"),
        "‖W_i‖₄⁴": _mean_of("l4"),
    },
)


def _without_empty_columns(table: list[list[str]]) -> list[list[str]]:
    kept = [k for k in range(len(table[0])) if any(row[k] != "-" for row in table[1:])]
    return [[row[k] for k in kept] for row in table]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
