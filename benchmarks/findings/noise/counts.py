"""Where features end under noise: on how many neurons, and with whom."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from benchmarks.findings.noise.protocol import (
    CARRIED,
    LAWS,
    STUCK,
    T_END,
    C,
    Part,
    forces,
    short,
    sparsity,
)
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis.states import (
    AUTHORS_WINDOW,
    FeatureState,
    end_states,
    is_polysemantic,
    polysemantic_neurons,
    row_residuals,
)
from flow.analysis.statistics import mean_and_interval, share_interval
from flow.forces import Force
from theory.counting import slot_law

KINDS = ("none", "ℓ1", *LAWS)
SIGMA, LAM = 0.15, 0.04
ROTATION_FREE = ("none", "normal")
"""What prefers no direction: there counts depend on the basis that W is written in."""


def carriers(W: np.ndarray) -> np.ndarray:
    """W : (n, m) with only the fewest weights of every row that carry CARRIED of ‖W_i‖²."""
    order = np.argsort(-np.abs(W), axis=1)
    carried = np.cumsum(np.take_along_axis(W**2, order, axis=1), axis=1)
    # A weight is needed if those larger than it do not carry enough yet.
    needed = np.pad(carried, ((0, 0), (1, 0)))[:, :-1] < CARRIED * carried[:, -1:]
    keep = np.zeros(W.shape, bool)
    np.put_along_axis(keep, order, needed, axis=1)
    return np.where(keep, W, 0.0)


def one_count(n: int, m: int, kind: str, seed: int, t_end: float) -> dict[str, Any]:
    """One run of the flow to t_end and what is counted at its end, as plain data."""
    acting: list[Force] = [FeatureBenefit(C), Interference(C)]
    if kind == "ℓ1":
        acting.append(Regularization(LAM))
    elif kind != "none":
        acting = forces(kind, SIGMA, 1e-3)
    run = integrate(acting, gaussian_init(n, m, seed=seed), t_end=t_end, threads=1)
    W = run.final
    on = carriers(W)
    length = np.linalg.norm(W, axis=1)
    G = W @ W.T
    cosines = (G / np.outer(length, length))[~np.eye(n, dtype=bool)]
    shared = is_polysemantic(on)
    both = shared & (on > 0).any(axis=0) & (on < 0).any(axis=0)
    states = end_states(on).counts()
    return {
        "n": n, "m": m, "kind": kind, "seed": seed, "t": run.stats["t"],
        "accepted": run.stats["accepted"], "seconds": short(run.stats["seconds"]),
        "residual": short(row_residuals(acting, W).max()),
        "r4": short(sparsity(W).mean()), "l2": short(length.mean()),
        "stuck": int(np.sum(sparsity(W) < STUCK)),
        **{state.name.lower(): states[state] for state in FeatureState},
        "width": short(np.count_nonzero(on, axis=1).mean()),
        "polysemantic": polysemantic_neurons(on), "both_signs": int(np.sum(both)),
        "polysemantic_window": polysemantic_neurons(W, window=AUTHORS_WINDOW),
        "unused": int(np.sum(np.count_nonzero(on, axis=0) == 0)),
        "cosine_mean": short(cosines.mean()), "cosine_rms": short(np.sqrt(np.mean(cosines**2))),
        "cosine_max": short(cosines.max()), "cosine_min": short(cosines.min()),
        "positive": short(np.mean(cosines > 0.01)),
    }  # fmt: skip


def wanted(fast: bool) -> Iterator[tuple[int, int, str, int, float]]:
    """The runs of ``counts``, small ones first: a few minutes, most of them at 64 × 256."""
    sizes, t_end = ((8,), 20.0) if fast else ((16, 32, 64), T_END)
    for n, ratio in product(sizes, (1, 2, 4)):
        for seed, kind in product(range(2 if fast else {16: 10, 32: 10, 64: 8}[n]), KINDS):
            yield n, ratio * n, kind, seed, t_end


def counts(fast: bool, runs: list[dict[str, Any]]) -> Iterator[Part]:
    """End states at t = 2000 under each noise (σ = 0.15), under ℓ1 (λ = 0.04) and under nothing,
    c = 4. A feature counts as on the fewest neurons that carry 90 % of ‖W_i‖². Without ℓ1 and
    without noise, and under normal noise, only lengths and overlaps mean anything: counts (in
    parentheses) would be others in a rotated basis. ± and ranges are 95 % intervals: Student's of
    the mean over runs, Wilson's of the share of runs that end with a stuck encoding. `runs` are
    kept and added to, run by run."""
    known = {(run["n"], run["m"], run["kind"], run["seed"]) for run in runs}
    for n, m, kind, seed, t_end in wanted(fast):
        if (n, m, kind, seed) not in known:
            runs.append(one_count(n, m, kind, seed, t_end))
            yield _counted(runs)
    yield _counted(runs)


def _counted(runs: list[dict[str, Any]]) -> Part:
    cases = sorted({(r["n"], r["m"], KINDS.index(r["kind"])) for r in runs})
    rows = []
    for n, m, k in cases:
        some = [r for r in runs if (r["n"], r["m"], r["kind"]) == (n, m, KINDS[k])]

        def mean(name: str, some: list[dict[str, Any]] = some) -> float:
            return float(np.mean([r[name] for r in some]))

        with_stuck = sum(r["stuck"] > 0 for r in some)
        low, high = share_interval(with_stuck, len(some))
        count, half = mean_and_interval([r["polysemantic"] for r in some])
        cells = [
            f"{count:.1f} ± {half:.1f}",
            *(
                f"{mean(name):.1f}"
                for name in (
                    "polysemantic_window",
                    "monosemantic",
                    "sharing",
                    "spread",
                    "stuck",
                    "width",
                )
            ),
            f"{with_stuck}: {100 * low:.0f}–{100 * high:.0f} %",
        ]
        if KINDS[k] in ROTATION_FREE:
            cells = [f"({cell})" for cell in cells]
        rows.append([
            n, m, KINDS[k], len(some), f"{slot_law(n, m).mean():.1f}", *cells, mean("r4"),
            mean("l2"), mean("cosine_mean"), mean("cosine_rms"), mean("cosine_max"),
            mean("positive"),
        ])  # fmt: skip
    return {
        "columns": ["n", "m", "", "runs", "slot law", "polysemantic", "in 0.8…1.2",
                    "monosemantic", "sharing", "spread", "stuck", "neurons each",
                    "runs with a stuck one", "r₄", "‖W_i‖", "mean cosine", "rms", "largest",
                    "> 0.01"],
        "rows": rows,
        "runs": {key: [run[key] for run in runs] for key in runs[0]},
    }  # fmt: skip
