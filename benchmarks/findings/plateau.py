"""``python -m benchmarks.findings.plateau``: how high the plateau stands and when it collapses,
with outputs that leak as a control.

``run`` follows the flow from Gaussian starts until m' is an eighth of n and keeps one line of each
run: the time of collapse λt_c, where m' = n/4; and at 60 % of it m'/n, the share f of pairs with
G_ij > 0, and mean_i Σ_j |G_ij|. ``show`` prints means beside what was predicted; see `predicted`.
``drift`` measures how fast weights of a given size move on the plateau.
Outputs of slope ℓ below zero (`Interference(leak=ℓ)`) make ReLU (ℓ = 0) a linear output at ℓ = 1,
where all overlaps are held at zero and no collision is benign.

Source: theory/README, section 3; theory.plateau. c = 1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.command import command_line
from benchmarks.tables import keep_runs, kept_runs, markdown, provenance
from flow import FeatureBenefit, Interference, Regularization, Simulation, gaussian_init, integrate
from flow.cli.report import mean_with_interval
from theory.universal import universal_law

FILE = Path(__file__).with_suffix(".json")
COUPLING = 0.01
"""λ√m/c of all runs."""
DELAY = {1: 0.0272, 2: 0.0096, 4: 0.0039, 8: 0.0017}
"""K(m/n) of `predicted`: means over n of earlier runs (n = 64 … 384, most of them one a size), and
at m = 8n what continues them."""
SIZES = (
    *((n, r) for n in (32, 64, 128) for r in (1, 2, 4, 8)), *((256, r) for r in (1, 2, 4, 8)),
    (512, 1), (512, 2),
)  # fmt: skip
"""n and m/n, in the order in which they are run."""
BINS = tuple(x / 10 for x in range(1, 9))
"""Lower ends of the ranges of size, each a tenth wide, of `drift`."""
LEAKS = (0.0, 1.0, 0.1)


def alone(ratio: float) -> float:
    """λt√n at which m' = n/4 without interference, by the universal law; ratio : m/n."""
    law = universal_law(np.linspace(1e-3, 6.0, 6000))
    return float(np.interp(-0.25 / ratio, -law.survivors, law.time)) / math.sqrt(ratio)


def predicted(n: int, ratio: int) -> float:
    """λt_c = T (1 + K n)/√n, T = `alone`; *written down before the runs*, for ReLU outputs.

    A guess from earlier runs and no derivation: what interference adds to the time without it grows
    in proportion to n at fixed m/n. Then λt_c falls with n up to n = 1/K and rises beyond, and
    the collapse is a finite-n effect: in the mean-field time λt√n it moves to infinity. For linear
    outputs the same is expected to 20 %, and for ℓ = 0.1 a time between the two.
    """
    return alone(ratio) * (1.0 + DELAY[ratio] * n) / math.sqrt(n)


def measure(n: int, m: int, leak: float, seed: int) -> dict[str, Any]:
    """One run; NaN for what it did not come to."""
    lam = COUPLING / math.sqrt(m)
    seen: list[tuple[float, float, float, float]] = []

    def look(sim: Simulation) -> bool:
        W = sim.W
        survivors = np.count_nonzero(W) / n
        G = W @ W.T
        np.fill_diagonal(G, 0.0)
        share = np.count_nonzero(G > 0.0) / (n * (n - 1))
        seen.append((lam * sim.t, survivors / n, share, float(np.abs(G).sum()) / n))
        return survivors < n / 8

    forces = [FeatureBenefit(), Interference(leak=leak), Regularization(lam)]
    integrate(forces, gaussian_init(n, m, seed=seed), t_end=20.0 / lam, callback=look, threads=1)
    t, *columns = np.array(seen).T
    collapse = _crossing(t, columns[0], 0.25)
    height, active, overlap = (float(np.interp(0.6 * collapse, t, x)) for x in columns)
    return {"n": n, "m": m, "leak": leak, "seed": seed, "collapse": collapse, "height": height,
            "active": active, "overlap": overlap}  # fmt: skip


def drift(
    sizes: tuple[int, ...] = (64, 128),
    leaks: tuple[float, ...] = (1.0, 0.0),
    starts: int = 512,
    first: float = 0.4,
    last: float = 0.6,
) -> None:
    """Print the mean velocity d|W_ik|/d(λt) of weights by their size, on the plateau of m = n.

    Args:
        sizes: n = m.
        leaks: slopes of the output below zero.
        starts: rows in all of each size, so that there are starts/n runs.
        first: λt at which the plateau is taken to begin.
        last: λt at which it is taken to end.
    """
    s = np.arange(first, last + 0.01, 0.02)
    lines = []
    for leak in leaks:
        for n in sizes:
            lam = COUPLING / math.sqrt(n)
            forces = [FeatureBenefit(), Interference(leak=leak), Regularization(lam)]
            sizes_, speeds = [], []
            for seed in range(max(1, starts // n)):
                run = integrate(forces, gaussian_init(n, n, seed=seed), t_end=s[-1] / lam,
                                save_at=s / lam, threads=1)  # fmt: skip
                W = np.asarray(run.weights)[: s.size]
                sizes_.append(np.abs(W[:-1]).ravel())
                speeds.append((np.sign(W[:-1]) * np.diff(W, axis=0) / np.diff(s)[0]).ravel())
            size, speed = np.concatenate(sizes_), np.concatenate(speeds)
            by_size = [speed[(size >= low) & (size < low + 0.1)] for low in BINS]
            lines.append([f"{leak:g}", str(n), *(
                f"{x.mean():+.2f}" if x.size >= 30 else "-" for x in by_size
            )])  # fmt: skip
    print(markdown(["leak", "n", *(f"{low + 0.05:.2f}" for low in BINS)], lines))


def _crossing(t: np.ndarray, share: np.ndarray, level: float) -> float:
    """The time at which `share` is last at `level`, linear between steps."""
    above = int(np.flatnonzero(share > level)[-1])
    if above == t.size - 1:
        return math.nan
    return float(np.interp(-level, -share[above : above + 2], t[above : above + 2]))


def run(
    sizes: tuple[tuple[int, int], ...] = SIZES,
    leaks: tuple[float, ...] = LEAKS,
    seeds: int = 10,
    out: Path = FILE,
) -> None:
    """Add to the file what is missing there, smaller sizes first.

    Args:
        sizes: n and m/n.
        leaks: slopes of the output below zero.
        seeds: runs of each.
        out: JSON file.
    """
    kept = kept_runs(out)
    done = {(row["n"], row["m"], row["leak"], row["seed"]) for row in kept}
    wanted = [(n, n * r, leak, seed) for n, r in sizes for leak in leaks for seed in range(seeds)]
    about = {"coupling": COUPLING, "c": 1.0, "software": provenance()}
    for which in tqdm([which for which in wanted if which not in done], disable=None):
        kept.append(measure(*which))
        keep_runs(out, kept, about=about)


def show(file: Path = FILE) -> None:
    """Print means ± 95 % intervals over runs beside what was predicted."""
    print(table(kept_runs(file)))


def table(runs: list[dict[str, Any]]) -> str:
    """One line for each n, m and leak."""
    cells = defaultdict(list)
    for row in runs:
        cells[row["leak"], row["m"] // row["n"], row["n"]].append(row)
    lines = []
    for (leak, ratio, n), rows in sorted(cells.items()):
        means = [mean_with_interval([row[name] for row in rows])
                 for name in ("collapse", "height", "active", "overlap")]  # fmt: skip
        place = [f"{leak:g}", str(ratio), str(n), f"{math.sqrt(n / ratio):.3g}", str(len(rows))]
        lines.append([*place, means[0], f"{predicted(n, ratio):.3g}", *means[1:]])
    return markdown(["leak", "m/n", "n", "ε", "runs", "λt_c", "predicted (leak 0)", "m'/n", "f",
                     "mean Σ\\|G_ij\\|"], lines)  # fmt: skip


if __name__ == "__main__":
    command_line({"run": run, "show": show, "drift": drift})
