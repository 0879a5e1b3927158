"""Appendix A, basis vectors as inputs: do orthogonal inputs only turn the encoder?

The inputs x_i are the rows of an orthogonal Q, the targets stay the basis. With E' = Q E for the
encodings Eᵀx_i, loss and gradient descent are those of the standard basis, and so is an ℓ1 of the
activations, which are the entries of E'. An ℓ1 of the weights of E, AdamW's division by entry,
and weights that are shrunk by entry belong to the basis that E is written in.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.findings.training.runs import (
    LAM,
    SEEDS,
    Case,
    N,
    Question,
    Run,
    Table,
    counts,
    encoder_starts,
    interval,
    pick,
    proximal,
    starts,
)
from flow.analysis.states import winners
from flow.training import train
from flow.training.inputs import orthogonal_inputs
from flow.training.setup import Data, Network, Optimizer, Training

M = 128
NETWORK = Network(c=4.0, lam=LAM, untied=True)
ON_ACTIVATIONS = replace(NETWORK, penalized="activations")
CASES: dict[str, tuple[Training, int]] = {
    "gradient descent, no penalty": (
        Training(network=replace(NETWORK, lam=0.0), optimizer=Optimizer(method="gd", rate=0.02)),
        5_000,
    ),
    "gradient descent, ℓ1 of activations": (
        Training(network=ON_ACTIVATIONS, optimizer=Optimizer(method="gd", rate=0.02)), 5_000,
    ),
    "proximal, ℓ1 of weights": (proximal(0.02, NETWORK), 5_000),
    "AdamW, ℓ1 of activations": (
        Training(
            network=ON_ACTIVATIONS,
            optimizer=Optimizer(method="adamw", rate=1e-3, weight_decay=0.0),
        ),
        10_000,
    ),
}  # fmt: skip
"""Settings and steps."""
EARLY = 2.0
"""Rate × steps of the first look, before the races end."""


def measure(training: Training, *, case: str) -> list[Run]:
    """The same run on the standard basis and, from the encoder turned with the inputs, on
    orthogonal inputs."""
    steps = CASES[case][1]
    seeds = range(SEEDS)
    D0, E0 = starts(N, M, seeds), encoder_starts(N, M, seeds)
    Q = orthogonal_inputs(N, 0)
    how = {"steps": steps, "record_every": steps, "save_at": [EARLY]}
    plain = train(training, D0, encoder0=E0, **how)
    turned = train(replace(training, data=Data(rotation=0)), D0, encoder0=Q.T @ E0, **how)
    rows = []
    for seed, one, other in zip(seeds, plain, turned, strict=True):
        a, b = winners(D0[seed], one.final), winners(D0[seed], other.final)
        rows.append(
            {
                "case": case,
                "seed": seed,
                "steps": steps,
                "early": float(np.abs(one.weights[0] - other.weights[0]).max()),
                "end": float(np.abs(one.final - other.final).max()),
                "agree": float(((a.neuron == b.neuron) & (a.sign == b.sign)).mean()),
                "plain": counts(one.final),
                "rotated": counts(other.final),
            }
        )
    return rows


def table(runs: list[Run]) -> Table:
    """n = 64, m = 128, c = 4, λ = 0.01, 10 seeds, float64: untied network on random orthogonal
    inputs, its encoder started as the inputs are turned, beside the same on the standard basis.
    Largest difference of the decoders' weights at rate × steps = 2 and at the end, of all seeds;
    share of features with the same winner, and neurons with two weights above 0.3, mean ± 95 %
    interval over seeds."""
    columns = [
        "training", "steps", "difference, early", "at the end", "same winner, %",
        "polysemantic", "on the basis",
    ]  # fmt: skip
    rows = []
    for case in CASES:
        some = pick(runs, case=case)
        if len(some) < 2:
            continue
        rows.append(
            [
                case,
                f"{some[0]['steps']:,}",
                f"{max(run['early'] for run in some):.0e}",
                f"{max(run['end'] for run in some):.0e}",
                interval([100.0 * run["agree"] for run in some]),
                interval([run["rotated"]["polysemantic_above_0.3"] for run in some]),
                interval([run["plain"]["polysemantic_above_0.3"] for run in some]),
            ]
        )
    return columns, rows


ROTATED = Question(
    [Case(case, training, partial(measure, case=case)) for case, (training, _) in CASES.items()],
    table,
    Path("benchmarks/findings/training/rotated.json"),
)
