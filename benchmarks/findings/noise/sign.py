"""The sign of the drift under every law of noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.findings.noise.protocol import (
    LAWS,
    Part,
    flow,
    forces,
    noisy,
    sgd,
    short,
    sparsity,
    starts,
)
from flow.analysis.statistics import standard_error


def sign(fast: bool) -> Part:
    """Change of r₄ after the first overlaps are gone (t = 20), for every distribution, σ = 0.15,
    in the flow and in training with η = 0.005, from the same starts."""
    seeds, t_end = (3, 60.0) if fast else (20, 400.0)
    times = np.arange(0.0, t_end + 1.0, 20.0)
    W0 = starts(range(seeds))
    rows, curves = [], []
    for law, kurtosis in zip(LAWS, (-2.0, -1.2, 0.0, 3.0, 6.0), strict=True):
        exact = sparsity(flow(W0, forces(law, 0.15), times)).mean(axis=2)
        l4, l2 = sgd(W0, noisy(law, 0.15, 0.005), times, seed=2000, together=False)
        trained = (l4 / l2**4).mean(axis=2)
        cells: list[Any] = [law, kurtosis]
        for r4 in (exact, trained):
            change = r4[:, -1] - r4[:, 1]
            mean, error = float(change.mean()), float(standard_error(change))
            cells += [mean, error, mean / error]
        rows.append(cells)
        curves.append({"law": law, "flow": short(exact.mean(axis=0)),
                       "sgd": short(trained.mean(axis=0)),
                       "sgd_error": short(standard_error(trained))})  # fmt: skip
    return {
        "columns": ["noise", "excess kurtosis", "flow", "±", "flow/±", "SGD", "±", "SGD/±"],
        "rows": rows,
        "seeds": seeds,
        "times": short(times),
        "curves": curves,
    }
