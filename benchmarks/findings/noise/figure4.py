"""Figure 4: the six settings of the paper, in training and in the flow."""

from __future__ import annotations

import time
from itertools import product

import numpy as np

from benchmarks.findings.noise.protocol import (
    T_END,
    Part,
    flow,
    forces,
    fourth,
    noisy,
    sgd,
    short,
    starts,
)
from benchmarks.tables import Table
from flow.analysis.statistics import standard_error

PAPER = {0.07: 0.32, 0.1: 0.79, 0.15: 0.77}
"""Ends of figure 4's curves for bipolar noise, read off (theory/README, section 7)."""


def figure4(fast: bool) -> Part:
    """Figure 4's six settings: five instances under the same noise, 100,000 steps of 0.02; the
    same with other seeds, for the scatter of such means; and the flow from the first five."""
    repeats, t_end = (2, 0.02 * T_END) if fast else (12, T_END)
    looks, grid = np.linspace(0.0, t_end, 201), np.linspace(0.0, t_end, 41)
    rows, curves = [], []
    for law, sigma in product(("bipolar", "normal"), PAPER):
        spent, ends = [], []
        for repeat in range(repeats):
            W0 = starts(range(5 * repeat, 5 * repeat + 5))
            began = time.perf_counter()
            l4, _ = sgd(W0, noisy(law, sigma), looks, seed=repeat, together=True)
            spent.append(time.perf_counter() - began)
            ends.append(l4[:, -1].mean())
            if repeat == 0:
                first = l4.mean(axis=2)
        exact = fourth(flow(starts(range(5)), forces(law, sigma), grid)).mean(axis=2)
        rows.append(
            [
                law,
                sigma,
                PAPER[sigma] if law == "bipolar" else "-",
                float(np.mean(ends)),
                float(np.std(ends, ddof=1)),
                f"{min(ends):.3f} to {max(ends):.3f}",
                float(exact[:, -1].mean()),
                float(standard_error(exact[:, -1])),
                float(np.median(spent)),
            ]
        )
        curves.append(
            {
                "law": law,
                "sigma": sigma,
                "sgd": short(first.mean(axis=0)),
                "sgd_std": short(first.std(axis=0, ddof=1)),
                "flow": short(exact.mean(axis=0)),
                "flow_std": short(exact.std(axis=0, ddof=1)),
            }
        )
    return {
        "columns": ["noise", "σ", "paper", "SGD, mean of 5", "its scatter", "range", "flow", "±",
                    "s"],
        "rows": rows,
        "sgd_times": short(looks),
        "flow_times": short(grid),
        "curves": curves,
    }  # fmt: skip


def ends(fast: bool) -> Table:
    """Ends of figure 4's curves: five instances under the same noise, 100,000 steps of 0.02, and
    such means over other seeds; the paper's, read off; the flow of the expected loss."""
    part = figure4(fast)
    return part["columns"], part["rows"]
