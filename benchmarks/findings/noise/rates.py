"""Dependence on the learning rate, in small networks and in wider ones."""

from __future__ import annotations

import numpy as np

from benchmarks.findings.noise.protocol import (
    M,
    N,
    Part,
    flow,
    forces,
    fourth,
    noisy,
    sgd,
    short,
    sparsity,
    starts,
)
from flow.analysis.statistics import standard_error
from theory.noise import implicit_path, implicit_rate


def rate(fast: bool) -> Part:
    """Bipolar noise, σ = 0.15: ‖W_i‖₄⁴ against flow time for learning rates over a factor 8, the
    flow, and what the paper's implicit term alone would do; the same with one feature and two."""
    rates = (0.02, 0.01, 0.005, 0.0025)
    few = rates[:1] + rates[-1:]
    return _rates([(N, M, rates), (2, M, few), (1, M, few)], 3 if fast else 20, fast)


def rate16(fast: bool) -> Part:
    """The same with 16 features on 32 neurons, over a factor 16."""
    return _rates([(16, 32, (0.02, 0.01, 0.005, 0.0025, 0.00125))], 2 if fast else 6, fast)


def _rates(cases: list[tuple[int, int, tuple[float, ...]]], seeds: int, fast: bool) -> Part:
    sigma, t_end = 0.15, 50.0 if fast else 400.0
    times = np.arange(0.0, t_end + 1.0, 10.0)
    middle = int(np.searchsorted(times, 0.25 * t_end))
    rows, curves = [], []
    for n, m, rates in cases:
        W0 = starts(range(seeds), n, m)
        W = flow(W0, forces("bipolar", sigma, 1e-4 if n <= N else 1e-3), times)
        exact = fourth(W).mean(axis=2)
        # The implicit term on the weights the flow has reached, where it moves fastest.
        unit = W[:, middle] / np.linalg.norm(W[:, middle], axis=-1, keepdims=True)
        ahead, behind = sparsity(W[:, middle + 1]), sparsity(W[:, middle - 1])
        pace = float(np.mean(ahead - behind)) / float(times[middle + 1] - times[middle - 1])
        curves.append({"n": n, "what": "flow", "l4": short(exact.mean(axis=0)),
                       "error": short(standard_error(exact))})  # fmt: skip
        rows.append([n, "flow", *_at(exact, times, t_end), pace, "-"])
        for eta in rates:
            l4 = sgd(W0, noisy("bipolar", sigma, eta), times, seed=1000, together=False)[0]
            l4 = l4.mean(axis=2)
            alone = implicit_path(W0, times, eta, sigma, -2.0).mean(axis=2)
            implicit = float(implicit_rate(unit, eta, sigma, -2.0).mean())
            curves.append({"n": n, "what": eta, "l4": short(l4.mean(axis=0)),
                           "error": short(standard_error(l4)),
                           "implicit": short(alone.mean(axis=1))})  # fmt: skip
            rows.append([n, f"η = {eta:g}", *_at(l4, times, t_end), "", implicit])
    shown = [f"t = {share * t_end:g}" for share in _SHARES]
    return {
        "columns": ["n", "", *shown, f"d r₄/dt at t = {times[middle]:g}", "implicit term's"],
        "rows": rows,
        "sigma": sigma,
        "seeds": seeds,
        "times": short(times),
        "curves": curves,
    }


_SHARES = (0.0, 0.25, 0.5, 1.0)


def _at(l4: np.ndarray, times: np.ndarray, t_end: float) -> list[str]:
    """Mean and error over instances, l4 : (k, times), at some times."""
    return [
        f"{l4[:, k].mean():.3f} ± {standard_error(l4[:, k]):.3f}"
        for k in (int(np.searchsorted(times, share * t_end)) for share in _SHARES)
    ]
