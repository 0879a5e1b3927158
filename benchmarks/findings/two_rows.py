"""``python -m benchmarks.findings.two_rows``: how often the largest weight loses to one other row.

As λ → 0 the flow is ℓ1 descent of two rows on ‖W_i‖ = 1, G_12 ≤ 0. With W_1 = X/‖X‖, W_2 = Z/‖Z‖
it is, in the time s = λt,

    dX = −sign(X) ‖X‖ ds − (‖X‖/‖Z‖) Z dr,    dZ = −sign(Z) ‖Z‖ ds − (‖Z‖/‖X‖) X dr

with the smallest dr ≥ 0 that keeps X·Z ≤ 0, zeros staying zero while the push on them is smaller
than what ℓ1 takes. Steps are implicit: the proximal map of ℓ1 after the push, r by Newton's method.
A step takes 0.02/√m off a weight at the most. The share of largest weights that lose is A/√m;
theory.winning says why A is no constant. How often the two rows share a neuron in the end is kept
besides. `benchmarks.findings.limit` is for any number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.command import command_line
from benchmarks.tables import keep, markdown, provenance
from flow import gaussian_init

FILE = Path(__file__).with_suffix(".json")
STEP = 0.02
"""What a step takes off a weight, in standard deviations of the start."""
Array = np.ndarray


def winners(X: Array, Z: Array) -> tuple[Array, Array]:
    """Neuron of the last weight of each row, (runs,) each; X, Z : (runs, m), the starts."""
    size = math.sqrt(X.shape[1])
    X, Z = X * size, Z * size
    out = np.full((2, len(X)), -1)
    left = np.arange(len(X))
    X, Z = _pushed(X, Z, np.zeros(len(X)))  # what interference does before ℓ1 begins
    while left.size:
        shared = ((X != 0) & (Z != 0)).any(axis=1)
        single = (np.count_nonzero(X, axis=1) <= 1) & (np.count_nonzero(Z, axis=1) <= 1)
        decided = ~shared | single  # rows that share nothing keep their order of sizes
        for row, weights in enumerate((X, Z)):
            out[row, left[decided]] = np.abs(weights[decided]).argmax(axis=1)
        X, Z, left = X[~decided], Z[~decided], left[~decided]
        if left.size:
            lengths = np.sqrt(np.square(X).sum(axis=1) * np.square(Z).sum(axis=1))
            X, Z = _pushed(X, Z, np.minimum(STEP / np.sqrt(lengths), 0.05))
    return out[0], out[1]


def _pushed(X: Array, Z: Array, ds: Array) -> tuple[Array, Array]:
    """A step of ℓ1 with the push that keeps X·Z ≤ 0; ds : (runs,)."""
    first, second = (np.sqrt(np.square(w).sum(axis=1))[:, None] for w in (X, Z))

    def step(at: Array, r: Array) -> tuple[Array, Array]:
        e, taken, r = (first / second)[at], ds[at, None], r[:, None]
        return (
            _shrunk(X[at] - r * e * Z[at], taken * first[at]),
            _shrunk(Z[at] - r / e * X[at], taken * second[at]),
        )

    everywhere = np.arange(len(X))
    new_X, new_Z = step(everywhere, np.zeros(len(X)))
    held = np.flatnonzero((new_X * new_Z).sum(axis=1) > 0)
    if held.size:
        e, r = (first / second)[held], np.zeros(held.size)
        for _ in range(10):
            x, z = step(held, r)
            overlap = (x * z).sum(axis=1)
            slope = (np.abs(e * z * Z[held]) + np.abs(x * X[held] / e)).sum(axis=1)
            r = np.maximum(r + overlap / np.maximum(slope, 1e-300), 0.0)
        new_X[held], new_Z[held] = step(held, r)
    return new_X, new_Z


def _shrunk(V: Array, by: Array) -> Array:
    return np.sign(V) * np.maximum(np.abs(V) - by, 0.0)


def starts(m: int, runs: int, seed: int) -> tuple[Array, Array]:
    """Gaussian starts of the flow with n = 2, seeds from `seed` on."""
    both = np.array([gaussian_init(n=2, m=m, seed=seed + k) for k in range(runs)])
    return both[:, 0], both[:, 1]


def measure(m: int, runs: int) -> dict[str, float]:
    """A = √m · share of largest weights that lose, and how often both rows end on one neuron.

    With their standard errors. θ = 2(m − 1) p/(1 − p) of the share p that ends so is that of
    theory.counting.tilted_slot_law for n = 2: 1 if the two were placed by the slot law.
    """
    lost = together = 0
    for seed in range(0, runs, 500):
        rows = starts(m, min(500, runs - seed), seed)
        ends = winners(*rows)
        together += int(np.sum(ends[0] == ends[1]))
        lost += sum(
            int(np.sum(end != np.abs(row).argmax(axis=1)))
            for row, end in zip(rows, ends, strict=True)
        )
    share, shared = lost / (2 * runs), together / runs
    theta = 2 * (m - 1) * shared / (1 - shared)
    return {
        "A": math.sqrt(m) * share,
        "error": math.sqrt(m * share * (1 - share) / (2 * runs)),
        "theta": theta,
        "theta_error": theta / math.sqrt(max(together, 1) * (1 - shared)),
    }


def table(rows: Sequence[Mapping[str, float]]) -> str:
    """One line for each m, ± 95 % intervals."""
    return markdown(["m", "runs", "A", "θ"], [[
        str(row["m"]), str(row["runs"]), f"{row['A']:.2f} ± {1.96 * row['error']:.2f}",
        f"{row['theta']:.2f} ± {1.96 * row['theta_error']:.2f}",
    ] for row in rows])  # fmt: skip


def main(runs: dict[int, int] | None = None, out: Path = FILE) -> None:
    """Print A and θ for each m and keep them as JSON.

    Args:
        runs: number of runs for each m.
        out: JSON file.
    """
    found = []
    for m, count in (runs or {4: 4000, 8: 6000, 16: 4000, 64: 4000, 256: 3000}).items():
        found.append({"m": m, "runs": count, **measure(m, count)})
        keep(out, {**provenance(), "rows": found}, indent=1)
    print(table(found))


if __name__ == "__main__":
    command_line(main)
