"""``python -m benchmarks.findings.collisions``: what became of collisions and winners, over many
seeds.

Every run starts from Gaussian weights (scale 1), has all forces on with c = 1, and goes on until
it is stationary. The weights are looked at 41 times on the way; extinctions and revivals are
logged at every step.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.command import command_line
from benchmarks.tables import keep, markdown, provenance
from flow import FeatureBenefit, Interference, Regularization, Trajectory, gaussian_init, integrate
from flow.analysis.pairs import Fate, History, follow_collisions
from flow.analysis.states import (
    AUTHORS_WINDOW,
    end_states,
    polysemantic_neurons,
    row_residuals,
    winners,
)
from flow.analysis.statistics import mean_and_interval
from theory.counting import neurons_without_relocation, paper_count, slot_law

LARGE = 0.3
"""Both weights of a collision exceed this when it is met, besides collisions at the start."""


def measure(n: int, m: int, lam: float, seed: int) -> dict[str, Any]:
    """One run to rest, as plain data."""
    W0 = gaussian_init(n=n, m=m, seed=seed, scale=1.0)
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    looks = np.concatenate([[0.0], np.geomspace(0.01, 3.0, 40) / lam])
    began = time.perf_counter()
    run = integrate(forces, W0, save_at=looks, events=True)
    spent = time.perf_counter() - began
    W, won = run.final, winners(W0, run.final)
    alive = np.flatnonzero(won.alive)
    states = end_states(
        W, residuals=row_residuals(forces, W), tolerance=run.certificate.tolerance
    ).counts()
    return {
        "n": n,
        "m": m,
        "lam": lam,
        "seed": seed,
        "status": run.status.name,
        "t": run.stats["t"],
        "accepted": run.stats["accepted"],
        "seconds": spent,
        "states": {state.name: count for state, count in states.items()},
        "polysemantic": polysemantic_neurons(W),
        "polysemantic_window": polysemantic_neurons(W, window=AUTHORS_WINDOW),
        "winners": alive.size,
        "largest_stayed": int(won.largest_stayed.sum()),
        "kept_sign": int(won.kept_sign.sum()),
        "initial_ranks": won.initial_rank[alive].tolist(),
        "revived_winners": int(run.events.ever_revived(alive, won.neuron[alive]).sum()),
        "extinctions": run.events.extinctions.time.size,
        "revivals": run.events.revivals.time.size,
        "at_start": _fates(_follow(run, largest=True, from_start=True)),
        "large": _fates(_follow(run, threshold=LARGE)),
    }


def _follow(run: Trajectory, **how: Any) -> History:
    return follow_collisions(run.times, run.weights, events=run.events, **how)


def _fates(history: History) -> dict[str, dict[str, int]]:
    return {
        name: {fate.name: count for fate, count in history.counts(benign=benign).items()}
        for name, benign in (("benign", True), ("malign", False))
    }


COLUMNS = [
    "m", "polysemantic neurons", "in 0.8…1.2", "slot law", "nobody moves", "n²/4m",
    "largest wins", "median rank", "revived winners", "malign at start", f"malign above {LARGE}",
    "benign at start that last", "stationary",
]  # fmt: skip
LEGEND = """Polysemantic neurons: exact non-zeros, mean over seeds ± its 95 % interval; slot law:
mean and central 95 % of one run. Largest wins: initially largest weights that win, with their sign;
median rank: of the winners, at the start. Malign collisions: those of which the larger stays, the
smaller stays, both leave; at start: the largest weights of two features share a neuron."""


def row(runs: list[dict[str, Any]]) -> list[str]:
    """One line of the table, from the runs of one m."""
    n, m = runs[0]["n"], runs[0]["m"]
    law = slot_law(n, m)
    low, high = law.interval(0.95)
    share, half = mean_and_interval([run["largest_stayed"] / run["n"] for run in runs])
    ranks = np.concatenate([run["initial_ranks"] for run in runs])
    revived = sum(run["revived_winners"] for run in runs)
    benign = _total(runs, "at_start", "benign")
    return [
        str(m),
        _mean_and_half_width([run["polysemantic"] for run in runs]),
        _mean_and_half_width([run["polysemantic_window"] for run in runs]),
        f"{law.mean():.1f} ({low}–{high})",
        f"{float(neurons_without_relocation(n, m)):.1f}",
        f"{float(paper_count(n, m)):.1f}",
        f"{100 * share:.1f} ± {100 * half:.1f} %",
        f"{np.median(ranks):g}",
        f"{revived} of {ranks.size}",
        _outcomes(_total(runs, "at_start", "malign")),
        _outcomes(_total(runs, "large", "malign")),
        f"{benign[Fate.BOTH_STAYED]} of {sum(benign.values())}",
        f"{sum(run['status'] == 'STATIONARY' for run in runs)} of {len(runs)}",
    ]


def _mean_and_half_width(values: list[int]) -> str:
    mean, half = mean_and_interval(values)
    return f"{mean:.1f} ± {half:.1f}"


def _total(runs: list[dict[str, Any]], which: str, kind: str) -> dict[Fate, int]:
    return {fate: sum(run[which][kind][fate.name] for run in runs) for fate in Fate}


def _outcomes(fates: dict[Fate, int]) -> str:
    order = (Fate.LARGER_STAYED, Fate.SMALLER_STAYED, Fate.BOTH_LEFT)
    text = ", ".join(str(fates[fate]) for fate in order)
    return text + (f" (both: {fates[Fate.BOTH_STAYED]})" if fates[Fate.BOTH_STAYED] else "")


def main(
    seeds: int = 16,
    fast: bool = False,
    lam: float = 0.01,
    out: Path = Path("benchmarks/findings/collisions.json"),
) -> None:
    """Print the table of collisions and winners and keep every run as JSON.

    Args:
        seeds: runs for each m.
        fast: n = 32 and three small m with four seeds, to see that it works.
        lam: λ of all runs.
        out: JSON file with all runs and versions.
    """
    n, sizes = (32, (32, 64, 128)) if fast else (256, (256, 512, 1024, 2048, 4096))
    seeds = min(seeds, 4) if fast else seeds
    runs = [
        measure(n, m, lam, seed)
        for m, seed in tqdm([(m, seed) for m in sizes for seed in range(seeds)])
    ]
    table = [row([run for run in runs if run["m"] == m]) for m in sizes]
    print(f"\nn = {n}, λ = {lam:g}, {seeds} seeds. {LEGEND}\n\n{markdown(COLUMNS, table)}\n")
    keep(out, {"columns": COLUMNS, "table": table, "runs": runs, **provenance()})


if __name__ == "__main__":
    command_line(main)
