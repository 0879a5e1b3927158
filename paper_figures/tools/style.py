"""How the figures look: one style sheet, one set of colours, files that do not change.

The sheet is the one that pictures of runs have (``flow/style.mplstyle``). Colours are told apart
by colour-blind eyes and differ in grey; what matters differs in dashes or markers besides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.special import stdtrit

from flow.pictures.plots import SIGNED, STYLE
from flow.results.files import written_aside

__all__ = [
    "BLUE", "DASHED", "DOTTED", "GREY", "LIGHT", "ORANGE", "RED", "SEQUENCE", "SIGNED", "SKY",
    "canvas", "half_width", "in_style", "note", "save",
]  # fmt: skip

BLUE, RED, SKY, ORANGE, GREY, LIGHT = (
    "#0b3c7d", "#b5430a", "#4b9cd3", "#e69f00", "#808080", "#cfd6de",
)  # fmt: skip
"""From dark to light: what was simulated is BLUE, theory black, what the paper says GREY."""
SEQUENCE = ("#0b1f4b", "#27548f", "#4b86b4", "#8aae92", "#d9a441", "#f2c879")
"""Ordered, dark to light, for a parameter that grows."""
DASHED, DOTTED = (0, (5, 2)), (0, (1, 1.2))

WIDTH = 7.2
"""Inches of a page's column; at 160 dots per inch twice the width of a phone, in its type size."""


def in_style() -> Any:
    """Context in which figures are drawn and saved."""
    return style.context(STYLE)


def canvas(height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """A figure without pyplot's global state, and its axes."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **grid)


def half_width(standard_error: Any, runs: int) -> np.ndarray:
    """Half the width of the 95 % interval of a mean over `runs`, from its standard error."""
    return np.asarray(standard_error, float) * stdtrit(runs - 1, 0.975)


def note(axis: Axes, text: str, *, where: str = "upper right") -> None:
    """A remark in a corner of the axis, on white."""
    vertical, horizontal = where.split()
    axis.text(
        {"left": 0.02, "right": 0.98}[horizontal], {"lower": 0.03, "upper": 0.97}[vertical], text,
        transform=axis.transAxes, ha=horizontal,
        va={"lower": "bottom", "upper": "top"}[vertical], fontsize=10.5, zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )  # fmt: skip


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG or PDF by its name; the same drawing gives the same bytes."""
    kind = path.suffix[1:]
    # Without these the day and the version of Matplotlib would be in the file.
    fixed = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
    with in_style(), written_aside(path) as file:
        figure.savefig(file, format=kind, metadata=fixed[kind])
