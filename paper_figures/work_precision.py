"""Work and precision: the error of the final W against what it costs, for this project's scheme and
for what one would otherwise pick; solvers that take λ sign(W) for a smooth field are 30 to 200
times as long for the same error, or do not finish.

n = 32, m = 128, λ = 0.02, T = 200; races amplify errors, so drawn is the 90 % quantile over seeds
of the largest error of a weight (the medians are in benchmarks/results.md). Measured by
`python -m benchmarks precision`. Source: theory/README, section 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from paper_figures.tools import benchmark_results, gallery, style
from paper_figures.tools.cache import Data


@dataclass(frozen=True)
class Parameters:
    """Where the measurements are."""

    files: tuple[str, ...] = ("benchmarks/results.json",)


FULL = Parameters()
FAST = FULL

UNFINISHED = 2.5
"""Height at which runs that did not finish are drawn."""


def compute(p: Parameters) -> Data:
    """Per method and setting: evaluations, median seconds, error (NaN: not finished)."""
    part = benchmark_results.part(p.files[0], "precision")
    columns = {name: k for k, name in enumerate(part["columns"])}
    rows = part["rows"]

    def numbers(name: str) -> np.ndarray:
        return benchmark_results.array(
            [None if isinstance(row[columns[name]], str) else row[columns[name]] for row in rows]
        )

    return {
        "method": np.array([row[columns["method"]] for row in rows]),
        "setting": np.array([row[columns["setting"]] for row in rows]),
        "seeds": numbers("seeds"),
        "evaluations": numbers("evaluations"),
        "seconds": numbers("median s"),
        "error": numbers("90 %"),
    }


def plot(data: Data) -> Figure:
    """Error against evaluations and against seconds."""
    figure, axes = style.canvas(9.4, 2, 1, sharey=True)
    methods = list(dict.fromkeys(data["method"]))
    colours = (
        style.BLUE,
        style.SKY,
        style.ORANGE,
        style.RED,
        "black",
        style.GREY,
        "#5b3a8c",
        "#7a7a2c",
    )
    for axis, cost in zip(axes, ("evaluations", "seconds"), strict=True):
        heap = 0
        for method, colour, marker in zip(methods, colours, "os^DvPX*", strict=False):
            on = data["method"] == method
            x, error = data[cost][on], data["error"][on]
            late = np.isnan(error)
            ours = method == methods[0]
            axis.plot(x[~late], error[~late], marker=marker, color=colour, ms=8 if ours else 7,
                      lw=2.4 if ours else 1.2, label=method)  # fmt: skip
            if late.any():  # one above the other, as they cost the same
                axis.plot(x[late], np.full(late.sum(), UNFINISHED * 1.9**heap), marker=marker,
                          color=colour, ms=8, mfc="white", mew=1.8, ls="none")  # fmt: skip
                heap += 1
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.axhline(1.5, color="0.6", lw=1.0)
        axis.set_ylabel("error (90 % of seeds)")
    axes[0].annotate("open: not finished after 100,000 evaluations", (0.02, UNFINISHED),
                     xycoords=("axes fraction", "data"), va="center", fontsize=9.5)  # fmt: skip
    axes[0].set_ylim(5e-4, 16.0)
    axes[0].set_yticks([1e-3, 1e-2, 1e-1, 1e0])
    axes[0].set_xlabel("evaluations of the field")
    axes[1].set_xlabel("seconds (median)")
    axes[0].set_title("n = 32, m = 128, λ = 0.02, T = 200")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
