"""``python -m benchmarks.findings.crowds``: who else is on a neuron while features settle, and what
it does.

At a moment of the flow the *owner* of a neuron is the feature whose largest weight is there. The
slot law takes the 2m (neuron, sign) slots for equally good: a feature that loses its place finds
any free slot, and one that faces an owner of the other sign stays as easily as one that is alone.
Here that is looked at: how many other weights there are on the owner's side of its neuron and on
the other side, how often an owner keeps its place alone and facing another owner, and how often a
feature that moves ends up facing somebody, beside one that stays.

What to expect: interference adds −c G_ij W_jk to dW_ik/dt while G_ij > 0. It drives the weights of
other features on j's neuron to the other sign, where they all are of one sign and in each other's
way. Source: theory/README, sections 3 and 4; numbers are means over runs, ± 95 %.
"""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from benchmarks.command import command_line
from benchmarks.tables import markdown
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis.states import winners
from flow.cli.flags import InputError
from flow.cli.report import mean_with_interval

COLUMNS = [
    "m", "λ√m", "λt", "m'", "weights on an owner's side", "on the other side",
    "owners that stay: alone, %", "facing another, %",
    "end facing somebody: movers, %", "stayers, %", "by the slot law, %",
]  # fmt: skip


def look(W: np.ndarray, end: np.ndarray) -> dict[str, float]:
    """What one moment of a run says, given its end, of the features that live; W, end : (n, m).

    NaN where there is no case.
    """
    m = W.shape[1]
    now, later = winners(W, W), winners(W, end)
    alive = now.alive & later.alive
    neuron, sign, last = now.neuron[alive], now.sign[alive], later.neuron[alive]
    stays = later.largest_stayed[alive]
    slot = 2 * neuron + (sign > 0)
    alone = np.bincount(neuron, minlength=m)[neuron] == 1
    facing = ~alone & (np.bincount(slot, minlength=2 * m)[slot] == 1)
    end_faces = np.bincount(last, minlength=m)[last] > 1
    column = sign * W[:, neuron]  # the neuron that each feature owns, its own side positive
    return {
        "survivors": float(np.mean(np.count_nonzero(W, axis=1))),
        "own": _mean(np.sum(column > 0.0, axis=0)[alone] - 1),
        "other": _mean(np.sum(column < 0.0, axis=0)[alone]),
        "alone": 100 * _mean(stays[alone]),
        "facing": 100 * _mean(stays[facing]),
        "moved": 100 * _mean(end_faces[~stays]),
        "stayed": 100 * _mean(end_faces[stays]),
    }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else np.nan


def measure(n: int, m: int, lam: float, seed: int, moments: list[float]) -> list[dict[str, float]]:
    """One run to λt = 8, where every feature has its place; a dictionary for each moment λt."""
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    times = [moment / lam for moment in [*moments, 8.0]]
    run = integrate(forces, gaussian_init(n, m, seed=seed), t_end=times[-1], save_at=times)
    return [look(W, run.final) for W in run.weights[:-1]]


def main(n: int = 128, seeds: int = 16, m_over_n: tuple[int, ...] = (1, 2, 8, 16)) -> None:
    """Print the table of crowds.

    Args:
        n: features.
        seeds: runs of each m and λ.
        m_over_n: values of m/n.
    """
    if n < 2 or seeds < 2 or min(m_over_n) < 1:
        raise InputError("expected --n >= 2, --seeds >= 2 (for errors) and --m-over-n >= 1")
    moments = [0.0, 0.1, 0.2]
    table = []
    for ratio, coupling in tqdm([(r, x) for r in m_over_n for x in (0.01, 1.0)]):
        m, lam = ratio * n, coupling / np.sqrt(ratio * n)
        runs = [measure(n, m, lam, seed, moments) for seed in range(seeds)]
        for moment, looks in zip(moments, zip(*runs, strict=True), strict=True):
            seen = {
                name: mean_with_interval([at[name] for at in looks if not np.isnan(at[name])])
                for name in looks[0]
            }
            table.append(
                [m, coupling, moment, *seen.values(), f"{100 * (n - 1) / (2 * m - 1):.3g}"]
            )
    print(f"\nn = {n}, c = 1, {seeds} seeds\n\n{markdown(COLUMNS, table)}\n")


if __name__ == "__main__":
    command_line(main)
