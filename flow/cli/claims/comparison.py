"""One number, three times: the paper's, the prediction of `theory`, and the simulated one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flow.analysis.statistics import mean_and_interval
from flow.forces import FeatureBenefit, Force, Interference, Regularization

QUANTITY, NUMBER = 49, 15
"""Widths of columns of the table, in characters; the last one has six more for an interval."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A row of the table."""

    quantity: str
    """What is compared, in at most `QUANTITY` characters."""
    simulated: float
    """Its value in the simulation, or the mean over runs."""
    predicted: float | None = None
    """What `theory` says; None where it says nothing."""
    within: float | None = None
    """Largest |simulated − predicted| that the statement allows; given with `predicted`."""
    paper: float | None = None
    """What the paper says; None where it gives no number."""
    interval: float | None = None
    """Half the width of the 95 % interval of `simulated` over runs."""

    def __post_init__(self) -> None:
        if (self.predicted is None) != (self.within is None):
            raise ValueError(f"{self.quantity}: expected predicted and within together, got one")
        if len(self.quantity) > QUANTITY:
            raise ValueError(f"expected at most {QUANTITY} characters, got {self.quantity!r}")

    @property
    def agrees(self) -> bool:
        """Whether the simulation is as near to the prediction as it should be."""
        if self.predicted is None or self.within is None:
            return math.isfinite(self.simulated)
        return abs(self.simulated - self.predicted) <= self.within


Demonstration = Callable[[], Sequence[Comparison]]


def over_runs(
    quantity: str,
    values: Sequence[float],
    *,
    predicted: float | None = None,
    within: float | None = None,
    paper: float | None = None,
) -> Comparison:
    """A row for the mean of one number per independent run, with its 95 % interval."""
    mean, interval = mean_and_interval(values)
    return Comparison(
        quantity=quantity, simulated=mean, interval=interval, predicted=predicted, within=within,
        paper=paper,
    )  # fmt: skip


def flow_of(lam: float, *, interference: bool = True, c: float = 1.0) -> list[Force]:
    """The forces of the paper at strength c, with or without interference."""
    forces: list[Force] = [FeatureBenefit(c), Regularization(lam)]
    return [*forces, Interference(c)] if interference else forces


def table(rows: Sequence[Comparison]) -> str:
    """The rows as plain text; a column that no row fills is left out."""
    columns = ["paper", "theory", "simulated"]
    filled = [[_number(row.paper), _number(row.predicted), _simulated(row)] for row in rows]
    kept = [k for k in range(len(columns)) if any(cells[k] for cells in filled)]
    lines = [["", *(columns[k] for k in kept)]]
    lines += [
        [row.quantity, *(cells[k] for k in kept)] for row, cells in zip(rows, filled, strict=True)
    ]
    return "\n".join(
        f"{first:<{QUANTITY}}"
        + "".join(f"{cell or '–':>{NUMBER}}" for cell in rest)
        + f"{last:>{NUMBER + 6}}"
        for first, *rest, last in lines
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
        return f"{value:,.{digits}f}"
    return np.format_float_scientific(value, precision=2, exp_digits=1)


def _simulated(row: Comparison) -> str:
    if row.interval is None or row.interval == 0:
        return _number(row.simulated)
    digits = max(0, 1 - math.floor(math.log10(row.interval)))
    return f"{row.simulated:,.{digits}f} ± {row.interval:.{digits}f}"
