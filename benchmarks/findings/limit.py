"""``python -m benchmarks.findings.limit``: the flow as λ → 0, for any number of rows, and who wins.

Two parts. In the first ℓ1 does nothing yet, and feature benefit and interference bring a start onto

    C = {W : ‖W_i‖ = 1, G_ij ≤ 0 for i ≠ j}

In the second, in the time s = λt, W descends Σ_i ‖W_i‖₁ on C as steeply as C allows:

    dW_i/ds = ‖W_i‖₁ W_i − S_i − Σ_j μ_ij W_j,      0 ≤ μ_ij = μ_ji,  μ_ij G_ij = 0

with S = sign(W), and between −1 and 1 at zeros, which stay while the push on them is less than what
ℓ1 takes. The multipliers are what is left of interference: μ_ij = c G_ij/λ of the pairs that it
holds.

A step of length h is implicit. It takes the U that minimises ½‖U − W‖² + h Σ‖U_i‖₁ subject to
U_i·W_j + W_i·U_j ≤ G_ij, that is, the linearised overlaps of U non-positive, which also mends what
the step before left; then rows get unit length. Given multipliers U is a soft threshold,

    U_i = shrink(W_i − h Σ_j μ_ij W_j, h)

and these maximise a concave function under bounds alone, which L-BFGS-B finds from those before. h
is such that half the change of the velocity, times h, stays below a tolerance for every row. It
ends where no two weights on a neuron have one sign: interference is over, and the largest weight
of each row wins. For n = 2 this is `benchmarks.findings.two_rows`, in another way.

*Expected, written after four starts with seed 0 and before all others*: the share of largest
weights that win is that of the flow at λ√m/c = 0.001 within one point, and the count of
polysemantic neurons within 0.3; of the winners at least 95 % are the same at 0.001 (m = n least),
and fewer at 0.01.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import minimize
from tqdm import tqdm

from benchmarks.command import command_line
from benchmarks.tables import keep_runs, kept_runs, markdown, provenance
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.cli.report import mean_with_interval
from theory.counting import slot_mean

FILE = Path(__file__).with_suffix(".json")
COUPLINGS = (0.01, 0.001)
"""λ√m/c of the flow's runs from the same starts, c = 1."""
POSITIVE = 1e-5
"""Overlap that is left when the first part is over."""
FEASIBLE = 0.01
"""Accuracy of the multipliers: of overlaps, in units of a step."""

Array = np.ndarray


@dataclass
class Descent:
    """W on its way down Σ‖W_i‖₁ on C."""

    W: Array
    """(n, m), rows of unit length, overlaps ≤ 0 up to the error of a step"""
    multipliers: Array
    """μ_ij of the pairs i < j, in the order of triu_indices"""
    s: float = 0.0
    """λt"""
    steps: int = 0

    @property
    def settled(self) -> bool:
        """Whether no two weights on a neuron have one sign."""
        return bool(max((self.W > 0).sum(axis=0).max(), (self.W < 0).sum(axis=0).max()) <= 1)


def settle(W0: Array) -> Array:
    """Where feature benefit and interference (c = 1) bring W0 : (n, m): a W of C."""
    shape, y = W0.shape, W0.ravel()

    def rate(_: float, y: Array) -> Array:
        W = y.reshape(shape)
        G = W @ W.T
        push = np.maximum(G, 0.0)
        np.fill_diagonal(push, np.diag(G) - 1.0)
        return -(push @ W).ravel()

    for _ in range(100):
        y = solve_ivp(rate, (0.0, 10.0), y, rtol=1e-6, atol=1e-9).y[:, -1]
        W = y.reshape(shape)
        W = W / np.linalg.norm(W, axis=1)[:, None]
        if (W @ W.T - np.eye(len(W))).max() < POSITIVE:
            return W
    raise RuntimeError("interference did not come to rest within t = 1000")


def descend(start: Array, tolerance: float, *, until: float = math.inf) -> Descent:
    """Follow the second part from `start` : (n, m) in C to its end, or to s = `until`."""
    n, m = start.shape
    now = Descent(start.copy(), np.zeros(n * (n - 1) // 2))
    h, velocity = tolerance / math.sqrt(m), np.zeros((n, m))
    while now.s < until and not now.settled:
        left = until - now.s
        if left < math.inf:
            h = left / math.ceil(left / h)  # the last step is not a splinter
        W, multipliers = _stepped(now, h)
        moved = W - now.W
        error = 0.5 * np.linalg.norm(moved - h * velocity, axis=1).max()
        scale = 0.9 * math.sqrt(tolerance / max(error, 1e-300))
        if now.steps and error > 2.0 * tolerance and h > 1e-9:
            h *= max(0.3, scale)
            continue
        velocity = moved / h
        now = Descent(W, multipliers, now.s + h, now.steps + 1)
        h = min(h * min(1.5, max(0.3, scale)), 0.2)
    return now


def _stepped(now: Descent, h: float) -> tuple[Array, Array]:
    """W and multipliers after a step."""
    used = now.W.any(axis=0)  # no force revives a neuron that nobody uses
    W = now.W[:, used]
    pairs = np.triu_indices(len(W), 1)
    G, mu = (W @ W.T)[pairs], np.zeros((len(W), len(W)))

    def moved(multipliers: Array) -> tuple[Array, Array]:
        """U, and the linearised overlaps of the pairs."""
        mu[pairs] = multipliers
        V = W - h * ((mu + mu.T) @ W)
        U = np.sign(V) * np.maximum(np.abs(V) - h, 0.0)
        overlaps = U @ W.T
        return U, (overlaps + overlaps.T)[pairs] - G

    def dual(multipliers: Array) -> tuple[float, Array]:
        """What L-BFGS-B minimises, over h², and its gradient."""
        U, overlaps = moved(multipliers)
        value = 0.5 * np.square(U - W).sum() + h * np.abs(U).sum() + h * (multipliers @ overlaps)
        return -value / h**2, -overlaps / h

    found = minimize(
        dual, now.multipliers, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * G.size,
        options={"maxcor": 20, "maxiter": 500, "gtol": FEASIBLE, "ftol": 0.0},
    )  # fmt: skip
    out = np.zeros_like(now.W)
    U = moved(found.x)[0]
    out[:, used] = U / np.linalg.norm(U, axis=1)[:, None]
    return out, found.x


def winners(W: Array) -> Array:
    """Slot of each row's largest weight, (n,): twice its neuron, and one more for plus."""
    best = np.abs(W).argmax(axis=1)
    return np.asarray(2 * best + (W[np.arange(len(W)), best] > 0))


def shared(slots: Array) -> int:
    """How many neurons two features have."""
    return int(slots.size - np.unique(slots // 2).size)


def measure(n: int, m: int, seed: int, tolerances: Sequence[float]) -> dict[str, Any]:
    """The limit from one start, with each tolerance, and the flow's runs beside it.

    For each: how many of the features keep their largest weight, shared neurons, and how many
    winners are those of the limit at the first tolerance.
    """
    W0 = gaussian_init(n, m, seed=seed)
    start, first = settle(W0), winners(W0)
    ends = {f"limit {tol:g}": winners(descend(start, tol).W) for tol in tolerances}
    for coupling in COUPLINGS:
        forces = [FeatureBenefit(), Interference(), Regularization(coupling / math.sqrt(m))]
        ends[f"{coupling:g}"] = winners(integrate(forces, W0, threads=1).final)
    limit = next(iter(ends.values()))
    return {"n": n, "m": m, "seed": seed, "ends": {
        name: [int(np.sum(end == first)), shared(end), int(np.sum(end == limit))]
        for name, end in ends.items()
    }}  # fmt: skip


def run(
    sizes: tuple[tuple[int, int], ...] = ((32, 32), (32, 64), (64, 64), (64, 128)),
    seeds: int = 20,
    tolerances: tuple[float, ...] = (2e-3, 8e-3),
    out: Path = FILE,
) -> None:
    """Add to the file the runs that are missing there.

    Args:
        sizes: n and m.
        seeds: starts of each, seeds 0, 1, ... as in the count map.
        tolerances: of the limit, the one to be compared with first.
        out: JSON file.
    """
    kept = kept_runs(out)
    done = {(row["n"], row["m"], row["seed"]) for row in kept}
    wanted = [(n, m, seed) for seed in range(seeds) for n, m in sizes]
    about = {"c": 1.0, "software": provenance()}
    for which in tqdm([which for which in wanted if which not in done], disable=None):
        kept.append(measure(*which, tolerances))
        keep_runs(out, kept, about=about)


def show(file: Path = FILE) -> None:
    """Print means ± 95 % intervals over starts."""
    print(table(kept_runs(file)))


def table(runs: Sequence[dict[str, Any]]) -> str:
    """One line for each size and way; differences are of the same starts."""
    cells = defaultdict(list)
    for row in runs:
        for k, (name, end) in enumerate(row["ends"].items()):
            kind = "limit" if k == 0 else "limit, coarser" if name.startswith("limit") else name
            cells[row["n"], row["m"], kind].append((end, next(iter(row["ends"].values()))))
    lines = []
    for (n, m, kind), found in cells.items():
        ends, limits = (np.array(x, float) for x in zip(*found, strict=True))
        line = [
            mean_with_interval((ends[:, 0] / n).tolist(), percent=True),
            mean_with_interval(ends[:, 1].tolist()),
            f"{float(slot_mean(n, m)):.3g}",
        ]
        if kind != "limit":
            apart = ends - limits
            line += [
                mean_with_interval((apart[:, 0] / n).tolist(), percent=True),
                mean_with_interval(apart[:, 1].tolist()),
                mean_with_interval((ends[:, 2] / n).tolist(), percent=True),
            ]
        lines.append([str(n), str(m), kind, str(len(ends)), *line, *["-"] * (6 - len(line))])
    return markdown(["n", "m", "λ√m/c", "starts", "largest wins", "polysemantic", "slot law",
                     "largest wins, less the limit", "polysemantic, less the limit",
                     "winners of the limit"], lines)  # fmt: skip


if __name__ == "__main__":
    command_line({"run": run, "show": show})
