"""Other ways to a winner: the future work that the post names, each a switch of the network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.findings.training.runs import (
    LAM,
    SEEDS,
    Case,
    N,
    Question,
    Run,
    Table,
    counts,
    interval,
    pick,
    proximal,
    starts,
)
from flow.training import train
from flow.training.setup import Network, Training

M = 128
STEPS = 20_000

SWITCHES = {
    "ℓ1, as in the paper": proximal(0.05),
    "no penalty": proximal(0.05, Network(c=4.0, lam=0.0)),
    "ℓ2": proximal(0.05, Network(c=4.0, lam=LAM, penalty="l2")),
    "hidden ReLU, no penalty": proximal(0.05, Network(c=4.0, lam=0.0, hidden="relu")),
    "hidden ReLU, ℓ1": proximal(0.05, Network(c=4.0, lam=LAM, hidden="relu")),
    "hidden ReLU, ℓ2": proximal(0.05, Network(c=4.0, lam=LAM, hidden="relu", penalty="l2")),
    "layer norm, no penalty": proximal(5e-4, Network(c=4.0, lam=0.0, hidden="layer-norm")),
    "layer norm, ℓ1": proximal(5e-4, Network(c=4.0, lam=LAM, hidden="layer-norm")),
    "output linear, ℓ1": proximal(0.05, Network(c=4.0, lam=LAM, output="linear")),
    "output leaky ReLU, ℓ1": proximal(0.05, Network(c=4.0, lam=LAM, output="leaky-relu")),
    "output softplus, ℓ1": proximal(0.02, Network(c=4.0, lam=LAM, output="softplus")),
}
"""Layer norm makes hidden vectors of length √m out of any, hence rows of length about 1/√m and
the smaller steps (2e-3 diverges); softplus is on at every output (0.05 diverges)."""


def measure(training: Training, *, switch: str, seeds: Sequence[int]) -> list[Run]:
    runs = train(training, starts(N, M, seeds), steps=STEPS, record_every=STEPS)
    return [
        {"switch": switch, "seed": seed, "status": run.status.name, **counts(run.final)}
        for seed, run in zip(seeds, runs, strict=True)
    ]


def table(runs: list[Run]) -> Table:
    """n = 64, m = 128, c = 4, λ = 0.01, 10 seeds, proximal gradient descent, 20,000 steps, t = 1000
    (softplus: t = 400; layer norm: t = 10, rows of length about 0.1): mean ± 95 % interval over
    seeds; lowest overlap of any pair and seed. Σ W⁴/(Σ W²)² is 1 for a feature on one neuron and
    about 3/m for a Gaussian row."""
    columns = [
        "switch", "non-zeros per feature", "|W| > 0.1 per feature", "Σ W⁴/(Σ W²)²",
        "polysemantic (non-zeros)", "polysemantic (|W| > 0.3)", "lowest overlap",
    ]  # fmt: skip
    rows = []
    for switch in SWITCHES:
        some = pick(runs, switch=switch)
        if len(some) < 2:
            continue
        rows.append(
            [
                switch,
                interval([run["nonzeros"] for run in some]),
                interval([run["above_0.1"] for run in some]),
                interval([run["l4_over_l2"] for run in some], digits=3),
                interval([run["polysemantic"] for run in some]),
                interval([run["polysemantic_above_0.3"] for run in some]),
                f"{min(run['lowest_overlap'] for run in some):.2f}",
            ]
        )
    return columns, rows


SWITCHED = Question(
    [
        Case(switch, training, partial(measure, switch=switch, seeds=range(SEEDS)))
        for switch, training in SWITCHES.items()
    ],
    table,
    Path("benchmarks/findings/training/switches.json"),
)
