"""Depth makes more of it: polysemantic neurons per feature in tied networks of one, two and three
hidden layers, all of one width, against that width, beside n²/4m. Where one layer follows n²/4m,
the last of two has more, the last of three more again, and the first, whose codes are short and not
yet on one neuron each, most. At n = 32 and 64 a feature has about as many.

A feature is on a neuron above 0.3 of its code's length; mean and 95 % interval over seeds. ℓ1 is on
the activations of every layer; gradient descent (three layers: to t = 150, hardly at rest), and
AdamW of 7,500 steps (hollow); n = 32, large marks n = 64. Measured by
`python -m benchmarks.findings.deeper`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter

from flow.analysis.statistics import mean_and_interval
from paper_figures.tools import gallery, style
from paper_figures.tools.benchmark_results import ROOT
from paper_figures.tools.cache import Data

METHODS = ("gradient descent", "AdamW")


@dataclass(frozen=True)
class Parameters:
    """Where the runs are, and the share of a code's length above which a feature is on a neuron."""

    files: tuple[str, ...] = ("benchmarks/findings/deeper.json",)
    on: float = 0.3


FULL = Parameters()
FAST = FULL


def compute(p: Parameters) -> Data:
    """Rows (n, m/n, layers, layer, method, mean, half-width, runs) of the count per feature."""
    kept = json.loads((ROOT / p.files[0]).read_text())
    seen: dict[tuple[int, ...], float] = {}
    for run in (run for case in kept.values() for run in case["runs"]):
        n, widths = run["n"], run["widths"]
        if run["kind"] != "tied" or len(set(widths)) > 1:
            continue
        for layer, found in enumerate(run["layers"], 1):
            key = (n, widths[0] // n, len(widths), layer, METHODS.index(run["method"]))
            # The same run may stand in a whole and in a reduced case.
            seen[(*key, run["seed"])] = found[f"above_{p.on:g}"] / n
    cells = defaultdict(list)
    for run_key, count in seen.items():
        cells[run_key[:-1]].append(count)
    rows = [
        [*key, *mean_and_interval(counts), len(counts)]
        for key, counts in sorted(cells.items())
        if len(counts) > 1
    ]
    return {"rows": np.array(rows, float)}


def plot(data: Data) -> Figure:
    """The last layer above, the first below."""
    figure, axes = style.canvas(8.2, 2, 1, sharex=True)
    rows = data["rows"]
    ratios = np.unique(rows[:, 1])
    x = np.geomspace(ratios[0] / 1.3, 1.3 * ratios[-1], 50)
    for axis, which in zip(axes, ("last", "first"), strict=True):
        axis.plot(x, 1.0 / (4.0 * x), color="black", lw=1.3, label="n²/4m")
        for depth, colour, marker in zip((1, 2, 3), (style.BLUE, style.ORANGE, style.RED), "osD",
                                         strict=True):  # fmt: skip
            for method, small in ((0, True), (0, False), (1, True), (1, False)):
                some = rows[
                    (rows[:, 2] == depth)
                    & (rows[:, 3] == (depth if which == "last" else 1))
                    & (rows[:, 4] == method)
                    & ((rows[:, 0] == rows[:, 0].min()) == small)
                ]
                if not len(some) or (which == "first" and depth == 1):
                    continue
                shift = 1.0 + 0.05 * (depth - 2) + 0.02 * method - 0.02 * small
                layers = "one layer" if depth == 1 else f"{which} of {('two', 'three')[depth - 2]}"
                axis.errorbar(
                    some[:, 1] * shift, some[:, 5], some[:, 6], fmt=marker, color=colour,
                    ms=7 if small else 11, capsize=3, lw=1.4, mfc="white" if method else colour,
                    label=layers if method == 0 and small else None,
                )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_ylim(bottom=0.0)
        axis.set_ylabel(f"polysemantic neurons\nper feature, {which} layer")
        axis.legend(loc="upper right", fontsize=10)
    axes[1].set_xlabel("m/n, neurons a feature in each layer")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
