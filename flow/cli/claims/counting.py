"""How many neurons end up polysemantic: paper, sections 1.1 and 2.5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow.analysis.pairs import largest_collisions
from flow.analysis.states import polysemantic_neurons, winners
from flow.cli.claims.comparison import Comparison, flow_of, over_runs
from flow.driver.integration import integrate
from flow.initial import gaussian_init
from theory.counting import (
    collision_pairs,
    opposite_sign_pairs,
    paper_count,
    slot_law,
    slot_mean,
)


def _counts(n: int, m: int, coupling: float, runs: int) -> list[float]:
    """Polysemantic neurons at rest for seeds 0, 1, …, at λ = coupling/√m."""
    forces = flow_of(coupling / np.sqrt(m))
    return [
        float(polysemantic_neurons(integrate(forces, gaussian_init(n, m, seed=seed)).final))
        for seed in range(runs)
    ]


def collisions_at_the_start() -> Sequence[Comparison]:
    """Pairs of features whose largest weights meet at the start. n = 24, m = 30, 1000 starts."""
    n, m = 24, 30
    met = [largest_collisions(gaussian_init(n, m, seed=seed)) for seed in range(1000)]
    pairs, opposite = float(collision_pairs(n, m)), float(opposite_sign_pairs(n, m))
    return [
        over_runs("pairs on one neuron, n(n − 1)/2m", [float(c.neuron.size) for c in met],
                  paper=pairs, predicted=pairs, within=0.3),
        over_runs("… of opposite signs, n(n − 1)/4m", [float(c.benign.sum()) for c in met],
                  paper=opposite, predicted=opposite, within=0.2),
    ]  # fmt: skip


def share_of_neurons() -> Sequence[Comparison]:
    """At m = n a quarter of the neurons is polysemantic. λ√m = 1, 16 seeds."""
    rows = []
    for n in (64, 128):
        shares = [count / n for count in _counts(n, n, 1.0, 16)]
        rows.append(
            over_runs(f"share of polysemantic neurons, n = m = {n}", shares, paper=0.25,
                      predicted=float(slot_mean(n, n)) / n, within=0.05)
        )  # fmt: skip
    return rows


def as_many_as_features_squared() -> Sequence[Comparison]:
    """At m = n² one run in five still has a polysemantic neuron. n = 16, m = 256, 100 seeds."""
    n, m = 16, 256
    counts = _counts(n, m, 1.0, 100)
    law = slot_law(n, m)
    return [
        over_runs("share of runs with none", [float(count == 0) for count in counts],
                  predicted=float(law.pmf(0)), within=0.1),
        over_runs("polysemantic neurons", counts, paper=float(paper_count(n, m)),
                  predicted=law.mean(), within=0.1),
    ]  # fmt: skip


def a_quarter() -> Sequence[Comparison]:
    """n²/4m and the slot law at λ√m = 1, where they hold, and at 0.01, where they do not."""
    rows = []
    for m in (64, 128):
        law = float(slot_mean(64, m))
        rows.append(
            over_runs(f"polysemantic neurons, n = 64, m = {m}, λ√m = 1", _counts(64, m, 1.0, 32),
                      paper=float(paper_count(64, m)), predicted=law, within=0.15 * law)
        )  # fmt: skip
    few = over_runs("… m = 128, λ√m = 0.01 (slot law: 7.906)", _counts(64, 128, 0.01, 8),
                    paper=8.0)  # fmt: skip
    return [*rows, few]


def who_wins() -> Sequence[Comparison]:
    """The share that the initially largest weight wins depends on n²/m. λ√m = 0.01."""
    rows = []
    for n, m, runs in ((16, 256, 16), (32, 512, 4)):
        shares = []
        for seed in range(runs):
            W0 = gaussian_init(n, m, seed=seed)
            final = integrate(flow_of(0.01 / np.sqrt(m)), W0).final
            shares.append(float(winners(W0, final).largest_stayed.mean()))
        rule = 0.745 - 0.087 * np.log(n**2 / m)
        rows.append(
            over_runs(f"n²/m = {n * n // m}, n = {n} (rule 0.745 − 0.087 ln n²/m)", shares,
                      predicted=float(rule), within=0.1)
        )  # fmt: skip
    return rows
