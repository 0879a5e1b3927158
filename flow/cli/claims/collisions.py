"""Two features on one neuron, and what becomes of them in a network: paper, section 2.5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow.analysis.pairs import Fate, collisions, initial_collisions
from flow.analysis.states import winners
from flow.cli.claims.comparison import Comparison, flow_of, over_runs
from flow.driver.integration import integrate
from flow.edit import duplicate
from flow.initial import gaussian_init
from theory.collisions import race_time
from theory.equilibrium import equal_survivor_roots

RUNS, N, M, LAM = 8, 64, 128, 0.01
"""The network of this page: seeds 0 … 7, n = 64, m = 128, λ = 0.01."""


def _ends() -> list[tuple[np.ndarray, np.ndarray]]:
    """(W0, W at rest) of every run."""
    starts = [gaussian_init(N, M, seed=seed) for seed in range(RUNS)]
    return [(W0, integrate(flow_of(LAM), W0).final) for W0 in starts]


def benign_collision() -> Sequence[Comparison]:
    """Opposite signs on one neuron: no force; each ends at w₊ if above w₋. λ = 0.05."""
    lam = 0.05
    low, high = (float(w) for w in equal_survivor_roots(lam))
    both = integrate(flow_of(lam), np.array([[1.02 * low], [-0.5]])).final
    one = integrate(flow_of(lam), np.array([[0.98 * low], [-0.5]])).final
    return [
        Comparison(quantity="weight of the first feature, begun 2 % above w₋", predicted=high,
                   simulated=float(both[0, 0]), within=1e-6),
        Comparison(quantity="weight of the second", predicted=-high, simulated=float(both[1, 0]),
                   within=1e-6),
        Comparison(quantity="weight of the first, begun 2 % below w₋", predicted=0.0,
                   simulated=float(one[0, 0]), within=0.0),
    ]  # fmt: skip


def malign_collision() -> Sequence[Comparison]:
    """Same sign on one neuron: the larger stays, and the race has a closed form. λ = 0.01."""
    lam, rows = 0.01, []
    for ratio in (0.5, 0.9, 0.99):
        u = 1 / np.hypot(1.0, ratio)
        W0 = np.array([[u], [ratio * u]])
        run = integrate(flow_of(lam), W0, rtol=1e-6, events=True)
        time = float(race_time(u, ratio * u, lam))
        rows.append(
            Comparison(
                quantity=f"time at which the smaller dies, v/u = {ratio:g}",
                predicted=time,
                simulated=float(run.events.extinctions.time[0]),
                within=0.01 * time,
            )
        )
        rows.append(
            Comparison(
                quantity="… and the larger is left (1: yes)",
                paper=1.0,
                predicted=1.0,
                simulated=float(run.final[0, 0] > 0 and run.final[1, 0] == 0),
                within=0.0,
            )
        )
    return rows


def malign_in_a_network() -> Sequence[Comparison]:
    """What became of malign collisions of largest weights. n = 64, m = 128, λ = 0.01, 8 seeds."""
    counts = dict.fromkeys(Fate, 0)
    for W0, W in _ends():
        for fate, count in initial_collisions(W0, W).counts(benign=False).items():
            counts[fate] += count
    words = {
        Fate.LARGER_STAYED: "the larger alone stays",
        Fate.SMALLER_STAYED: "the smaller alone stays",
        Fate.BOTH_LEFT: "both leave",
        Fate.BOTH_STAYED: "both stay",
    }
    rows = [Comparison(quantity=f"malign: {words[f]}", simulated=float(counts[f])) for f in words]
    return [
        *rows[:3],
        Comparison(quantity=rows[3].quantity, simulated=rows[3].simulated, paper=0.0,
                   predicted=0.0, within=0.0),
    ]  # fmt: skip


def benign_makes_polysemantic() -> Sequence[Comparison]:
    """Neurons are shared by opposite signs alone, mostly by pairs that met on the way. 8 seeds."""
    opposite, shared, met, kept = 0, 0, 0, 0
    for W0, W in _ends():
        at_rest = collisions(W)
        opposite += int(at_rest.benign.sum())
        shared += at_rest.neuron.size
        fates = initial_collisions(W0, W).counts(benign=True)
        met += sum(fates.values())
        kept += fates[Fate.BOTH_STAYED]
    return [
        Comparison(quantity="of the pairs at rest, share with opposite signs", paper=1.0,
                   predicted=1.0, simulated=opposite / shared, within=0.0),
        Comparison(quantity="benign collisions of the start",
                   simulated=float(met)),
        Comparison(quantity="… of which last", paper=float(met), simulated=float(kept)),
        Comparison(quantity="pairs at rest", paper=float(met), simulated=float(shared)),
    ]  # fmt: skip


def largest_wins() -> Sequence[Comparison]:
    """Share of the features whose initially largest weight wins. n = 64, m = 128, λ = 0.01."""
    won = [winners(W0, W) for W0, W in _ends()]
    W0 = gaussian_init(N, M, seed=0)
    apart = winners(W0, integrate(flow_of(LAM, interference=False), W0).final)
    return [
        Comparison(quantity="without interference", paper=1.0, predicted=1.0, within=0.0,
                   simulated=float(apart.largest_stayed.mean())),
        over_runs("with interference", [float(w.largest_stayed.mean()) for w in won], paper=1.0),
        over_runs("… the second largest", [float((w.initial_rank == 2).mean()) for w in won]),
        over_runs("… the third largest", [float((w.initial_rank == 3).mean()) for w in won]),
    ]  # fmt: skip


def revival() -> Sequence[Comparison]:
    """Weights that leave zero again, and winners that ever were at zero. n = m = 64, λ = 0.01."""
    revived, won, features = [], 0, 0
    for seed in range(3):
        W0 = gaussian_init(64, 64, seed=seed)
        run = integrate(flow_of(0.01), W0, events=True)
        neuron = winners(W0, run.final).neuron
        alive = np.flatnonzero(neuron >= 0)
        revived.append(float(run.events.revivals.time.size))
        won += int(run.events.ever_revived(alive, neuron[alive]).sum())
        features += alive.size
    return [
        over_runs("weights that revive, per run", revived, paper=0.0),
        Comparison(quantity=f"of {features} winners, those that ever were at zero",
                   simulated=float(won)),
    ]  # fmt: skip


def duplication() -> Sequence[Comparison]:
    """Two features of one neuron after it was duplicated with noise: the share that part."""
    lam = 0.01
    W = integrate(flow_of(lam), np.array([[0.9], [-0.9]])).final
    rows = []
    for opposed, chance in ((False, 0.5), (True, 1.0)):
        parted = []
        for seed in range(100):
            copied = duplicate(W, 0, noise=0.01, seed=seed, opposed=opposed)
            end = integrate(flow_of(lam), copied).final
            parted.append(float(np.argmax(np.abs(end[0])) != np.argmax(np.abs(end[1]))))
        rows.append(
            over_runs(
                f"{'opposed' if opposed else 'independent'} noise of 0.01, 100 trials", parted,
                paper=1.0, predicted=chance, within=0.0 if opposed else 0.17,
            )
        )  # fmt: skip
    return rows
