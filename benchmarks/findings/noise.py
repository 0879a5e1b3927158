"""``python -m benchmarks.findings.noise [PART …]``: noise in the hidden layer, in training and in
the flow.

Training is plain SGD on the network's loss with one noise vector per step (figure 4's protocol,
c = 4, no ℓ1); the flow is that of the expected loss, which knows no learning rate. Times are
learning rate × steps in the one and flow time in the other. What is plotted is ‖W_i‖₄⁴, the
paper's fourth norm, or r₄ = ‖W_i‖₄⁴/‖W_i‖₂⁴, which lengths do not enter: 1 on one neuron,
3/(m + 2) in a random direction. Errors are standard errors over instances.

Parts and what they keep: see the functions of their names. Runs of ``counts`` that are kept are
not made again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks.tables import markdown, provenance
from flow import (
    FeatureBenefit,
    Interference,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    gaussian_init,
    integrate,
)
from flow.analysis.states import (
    AUTHORS_WINDOW,
    FeatureState,
    end_states,
    is_polysemantic,
    polysemantic_neurons,
    row_residuals,
)
from flow.analysis.statistics import standard_error
from flow.forces import Force
from flow.results.files import written_aside
from flow.training.setup import FIGURE_4, FIGURE_4_STEPS, Network, Noise, Optimizer, Training
from theory.counting import slot_law
from theory.noise import implicit_path, implicit_rate

LAWS = ("bipolar", "uniform", "normal", "laplace", "student-t:5")
N, M, C = 8, 16, 4.0
RATE = FIGURE_4.optimizer.rate
T_END = RATE * FIGURE_4_STEPS
STUCK = 0.3
"""Encodings of smaller r₄, among others that are sparse, count as stuck."""
CARRIED = 0.9
"""A feature is on the fewest neurons that carry this share of ‖W_i‖²."""

Part = dict[str, Any]


def forces(law: str, sigma: float, accuracy: float = 1e-4) -> list[Force]:
    """Those of the expected loss."""
    return [
        NoisyFeatureBenefit(sigma, law, C, accuracy),
        NoisyInterference(sigma, law, C, accuracy),
    ]


def starts(seeds: Sequence[int], n: int = N, m: int = M) -> np.ndarray:
    """(k, n, m)."""
    return np.stack([gaussian_init(n, m, seed=seed) for seed in seeds])


def flow(W0: np.ndarray, acting: Sequence[Force], times: np.ndarray) -> np.ndarray:
    """Weights (k, times, n, m) of the flow from every W0 : (k, n, m)."""
    end = float(times[-1])
    return np.stack([integrate(acting, W, t_end=end, save_at=times).weights for W in W0])


def sgd(
    W0: np.ndarray, training: Training, times: np.ndarray, *, seed: int, together: bool
) -> np.ndarray:
    """‖W_i‖₄⁴ and ‖W_i‖₂, (2, k, times, n), of training at evenly spaced times from 0.

    Instances that are trained together see the same noise, as in the authors' code; otherwise
    each sees noise of its own.
    """
    from flow.training import train

    rate = training.optimizer.rate
    every = round(float(times[1]) / rate)
    how: dict[str, Any] = {"steps": every * (times.size - 1), "record_every": every, "save_at": []}
    W0 = W0.astype(np.float32)
    if together:
        runs = train(training, W0, seed=seed, **how)
    else:
        runs = [train(training, W, seed=seed + k, **how)[0] for k, W in enumerate(W0)]
    return np.array(
        [[run.observables.l4 for run in runs], [run.observables.l2 for run in runs]], float
    )


def noisy(law: str, sigma: float, rate: float = RATE) -> Training:
    """Figure 4's protocol with other noise or another learning rate."""
    name, _, degrees = law.partition(":")
    noise = Noise(distribution=name, sigma=sigma, degrees=float(degrees or 5.0))
    return replace(FIGURE_4, noise=noise, optimizer=replace(FIGURE_4.optimizer, rate=rate))


def fourth(W: np.ndarray) -> np.ndarray:
    """‖W_i‖₄⁴ of (…, n, m)."""
    return np.sum(W**4, axis=-1)


def sparsity(W: np.ndarray) -> np.ndarray:
    """r₄ of (…, n, m)."""
    return fourth(W) / np.maximum(np.sum(W * W, axis=-1) ** 2, 1e-300)


def short(values: Any) -> Any:
    """To four digits, for keeping; JSON has no NaN."""
    rounded = np.vectorize(lambda x: float(f"{x:.4g}") if np.isfinite(x) else None, otypes=[object])
    return rounded(values).tolist()


# Figure 4 ----------------------------------------------------------------------------------------

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


def ends(fast: bool) -> tuple[list[str], list[list[Any]]]:
    """Ends of figure 4's curves: five instances under the same noise, 100,000 steps of 0.02, and
    such means over other seeds; the paper's, read off; the flow of the expected loss."""
    part = figure4(fast)
    return part["columns"], part["rows"]


# Dependence on the learning rate -----------------------------------------------------------------


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


# Sign of the drift -------------------------------------------------------------------------------


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


# Figure 5 ----------------------------------------------------------------------------------------


def figure5a(fast: bool) -> Part:
    """Final fourth norm and length against λ without noise, five instances, at the end of figure
    4's protocol."""
    rows, curves = [], []
    plain = Training(
        network=Network(c=C, lam=0.0), optimizer=Optimizer(method="proximal", rate=RATE)
    )
    for lam in np.geomspace(1e-4, 2.0, 3 if fast else 17).tolist():
        training = replace(plain, network=replace(plain.network, lam=lam))
        acting: list[Force] = [FeatureBenefit(C), Interference(C), Regularization(lam)]
        cells, kept = _finals(fast, acting, {"sgd": training})
        rows.append([lam, *cells])
        curves.append({"lam": short(lam), **kept})
    return {
        "columns": ["λ", "‖W_i‖₄⁴ (‖W_i‖₂), flow", f"training, η = {RATE:g}"],
        "rows": rows,
        "curves": curves,
    }


def figure5b(fast: bool) -> Part:
    """Final fourth norm and length against σ (bipolar, no ℓ1), five instances, at the end of figure
    4's protocol; also with a quarter of its learning rate and four times its steps."""
    rows, curves = [], []
    for sigma in np.geomspace(0.02, 0.8, 3 if fast else 13).tolist():
        trained = {"sgd": noisy("bipolar", sigma), "slow": noisy("bipolar", sigma, RATE / 4)}
        cells, kept = _finals(fast, forces("bipolar", sigma, 1e-3), trained)
        rows.append([sigma, *cells])
        curves.append({"sigma": short(sigma), **kept})
    return {
        "columns": ["σ", "‖W_i‖₄⁴ (‖W_i‖₂), flow", f"training, η = {RATE:g}", f"η = {RATE / 4:g}"],
        "rows": rows,
        "curves": curves,
    }


def _finals(
    fast: bool, acting: list[Force], trained: dict[str, Training]
) -> tuple[list[str], dict[str, Any]]:
    """Means over instances as text; mean and standard deviation of ‖W_i‖₄⁴ and ‖W_i‖₂ to keep."""
    W0, times = starts(range(5)), np.array([0.0, 0.02 * T_END if fast else T_END])
    W = flow(W0, acting, times)[:, -1]
    seen = {"flow": np.array([fourth(W), np.linalg.norm(W, axis=-1)])}
    for name, training in trained.items():
        seen[name] = sgd(W0, training, times, seed=0, together=True)[:, :, -1]
    means = {name: both.mean(axis=2) for name, both in seen.items()}
    cells = [
        f"{l4.mean():.4g} ({l2.mean():.3g})" if np.isfinite(l4).all() else "diverges"
        for l4, l2 in means.values()
    ]
    kept = {
        name: [[short(a.mean()), short(a.std(ddof=1))] for a in both]
        for name, both in means.items()
    }
    return cells, kept


# Figure 7 ----------------------------------------------------------------------------------------


def figure7(fast: bool) -> Part:
    """One instance under bipolar noise, encoding by encoding, with its final W: the flow and
    training, σ = 0.15 and the caption's 0.01; and how many encodings are stuck over many starts."""
    t_end = 0.02 * T_END if fast else T_END
    grid, ends = np.linspace(0.0, t_end, 101), np.array([0.0, t_end])
    rows, curves = [], []
    for sigma in (0.15, 0.01):
        W = flow(starts([0]), forces("bipolar", sigma), grid)[0]
        l4 = sgd(starts([0]), noisy("bipolar", sigma), grid, seed=0, together=True)[0, 0]
        curves.append({"sigma": sigma, "flow": short(fourth(W).T), "sgd": short(l4.T),
                       "final": short(W[-1])})  # fmt: skip
    for n, m, sigma, count in ((N, M, 0.15, 40), (16, 32, 0.15, 6), (N, M, 0.01, 40)):
        W0 = starts(range(2 if fast else count), n, m)
        exact = sparsity(flow(W0, forces("bipolar", sigma), ends)[:, -1])
        l4, l2 = sgd(W0, noisy("bipolar", sigma), ends, seed=3000, together=False)[:, :, -1]
        for name, r4 in (("flow", exact), ("SGD", l4 / l2**4)):
            stuck = np.sum(r4 < STUCK, axis=1)
            shares = [f"{k}: {int(np.sum(stuck == k))}" for k in np.unique(stuck)]
            medians = (float(np.median(r4[on])) if on.any() else "-"
                       for on in (r4 >= STUCK, r4 < STUCK))  # fmt: skip
            rows.append([n, m, sigma, name, len(W0), ", ".join(shares), *medians])
    return {
        "columns": ["n", "m", "σ", "", "starts", f"encodings with r₄ < {STUCK}: starts",
                    "median r₄ of the others", "of those"],
        "rows": rows,
        "times": short(grid),
        "curves": curves,
    }  # fmt: skip


# Counts ------------------------------------------------------------------------------------------

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
    run = integrate(acting, gaussian_init(n, m, seed=seed), t_end=t_end)
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
    """The runs of ``counts``, small ones first."""
    sizes, t_end = ((8,), 20.0) if fast else ((16, 32, 64), T_END)
    for n, ratio in product(sizes, (1, 2, 4)):
        for seed, kind in product(range(2 if fast else {16: 10, 32: 6, 64: 3}[n]), KINDS):
            yield n, ratio * n, kind, seed, t_end


def counts(fast: bool, runs: list[dict[str, Any]]) -> Iterator[Part]:
    """End states at t = 2000 under each noise (σ = 0.15), under ℓ1 (λ = 0.04) and under nothing,
    c = 4. A feature counts as on the fewest neurons that carry 90 % of ‖W_i‖². Without ℓ1 and
    without noise, and under normal noise, only lengths and overlaps mean anything: counts (in
    parentheses) would be others in a rotated basis. `runs` are kept and added to, run by run."""
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

        count = np.array([float(r["polysemantic"]) for r in some])
        spread = standard_error(count)
        cells = [
            f"{count.mean():.1f} ± {spread:.1f}",
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
                    "monosemantic", "sharing", "spread", "stuck", "neurons each", "r₄", "‖W_i‖",
                    "mean cosine", "rms", "largest", "> 0.01"],
        "rows": rows,
        "runs": {key: [run[key] for run in runs] for key in runs[0]},
    }  # fmt: skip


# Command line ------------------------------------------------------------------------------------

PARTS = {
    "figure4": figure4,
    "rate": rate,
    "rate16": rate16,
    "sign": sign,
    "figure5a": figure5a,
    "figure5b": figure5b,
    "figure7": figure7,
}


def main(
    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = (*PARTS, "counts"),
    fast: bool = False,
    out: Path = Path("benchmarks/findings/noise.json"),
) -> None:
    """Measure what noise does.

    Args:
        parts: any of figure4, rate, rate16, sign, figure5a, figure5b, figure7, counts.
        fast: short runs and few seeds, to see that it works.
        out: JSON file; parts measured before and not asked for now are kept.
    """
    unknown = set(parts) - {*PARTS, "counts"}
    if unknown:
        raise SystemExit(f"unknown part {', '.join(unknown)}; known: {', '.join(PARTS)}, counts")
    kept = json.loads(out.read_text()) if out.exists() else {}

    def keep(name: str, part: Part) -> None:
        kept[name] = {**part, "fast": fast, **provenance()}
        with written_aside(out) as file:
            file.write((json.dumps(kept, ensure_ascii=False) + "\n").encode())

    for name in parts:
        if name == "counts":
            old = kept.get("counts", {})
            columns = old["runs"] if old.get("fast") == fast else {}
            values = zip(*columns.values(), strict=True)
            runs = [dict(zip(columns, run, strict=True)) for run in values]
            for part in counts(fast, runs):
                keep(name, part)
        else:
            part = PARTS[name](fast)
            keep(name, part)
        about = (counts if name == "counts" else PARTS[name]).__doc__
        print(f"\n## {name}\n\n{about}\n\n{markdown(part['columns'], part['rows'])}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
