"""Does training end where the flow ends? n = 64 features, ℓ1 of λ = 0.01, three optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.findings.training.runs import (
    NETWORK,
    SEEDS,
    Case,
    N,
    Question,
    Run,
    Table,
    counts,
    groups,
    interval,
    pick,
    proximal,
    starts,
)
from flow import integrate
from flow.analysis.states import polysemantic_neurons, winners
from flow.training import TrainingTrajectory, forces_of, train
from flow.training.setup import FIGURE_3, FIGURE_3_STEPS, Optimizer, Training
from theory.counting import paper_count, slot_law

SIZES = (64, 128, 256, 512)
SEGMENT, LONGEST = 200.0, 2000.0
"""Flow time between looks at the residual, and at most."""
REST = 1e-6
"""Residual, the largest |dW/dt| of the flow, at which training ends."""

ADAMW = Training(network=NETWORK, optimizer=FIGURE_3.optimizer)
METHODS: dict[str, tuple[Training, str, int | None]] = {
    "proximal, η = 0.02": (proximal(0.02), "float64", None),
    "proximal, η = 0.1": (proximal(0.1), "float64", None),
    "gradient descent, η = 0.02": (
        Training(network=NETWORK, optimizer=Optimizer(method="gd", rate=0.02)), "float64", 30_000,
    ),
    "AdamW, 7,500 steps": (ADAMW, "float32", FIGURE_3_STEPS),
    "AdamW, 75,000 steps": (ADAMW, "float32", 10 * FIGURE_3_STEPS),
}  # fmt: skip
"""Settings, precision, and steps; None: until the flow would be at rest."""


def _train_to_rest(training: Training, W0: np.ndarray) -> tuple[list[TrainingTrajectory], int]:
    """The last runs, and steps in all. Only for optimizers without a memory."""
    steps = round(SEGMENT / training.optimizer.rate)
    W, taken = W0, 0
    while True:
        runs = train(training, W, steps=steps, record_every=steps)
        W, taken = np.stack([run.final for run in runs]), taken + steps
        resting = max(run.certificate.residual for run in runs) <= REST
        if resting or taken * training.optimizer.rate >= LONGEST:
            return runs, taken


def measure(training: Training, *, m: int, method: str, seeds: Sequence[int]) -> list[Run]:
    _, dtype, steps = METHODS[method]
    W0 = starts(N, m, seeds)
    if steps is None:
        ends, steps = _train_to_rest(training, W0.astype(dtype))
    else:
        ends = train(training, W0.astype(dtype), steps=steps, record_every=steps)
    rows = []
    for seed, start, end in zip(seeds, W0, ends, strict=True):
        flow = integrate(forces_of(training.network), start, rtol=1e-3)
        true, found = winners(start, flow.final), winners(start, end.final.astype(float))
        same = (true.neuron == found.neuron) & (true.sign == found.sign)
        rows.append(
            {
                "m": m,
                "method": method,
                "seed": seed,
                "steps": steps,
                "residual": end.certificate.residual,
                "agree": float(same.mean()),
                "largest_is_the_flows": float(true.largest_stayed.mean()),
                "largest_is_the_methods": float(found.largest_stayed.mean()),
                "flow_status": flow.status.name,
                "flow_polysemantic": polysemantic_neurons(flow.final),
                **counts(end.final),
            }
        )
    return rows


def table(runs: list[Run]) -> Table:
    """n = 64, λ = 0.01, c = 4: share of features whose winner (neuron and sign) is the
    flow's; share whose initially largest weight wins in the flow, and in training; polysemantic
    neurons by the authors' window 0.8 ≤ |W| ≤ 1.2, in training and in the flow, ± 95 % intervals
    over seeds; residual: largest |dW/dt| of the flow at the end, of all seeds."""
    columns = [
        "m", "optimizer", "seeds", "steps", "flow's winner, %", "largest wins in the flow, %",
        "in training, %", "polysemantic", "the flow's", "slot law", "n²/4m", "residual",
    ]  # fmt: skip
    rows = []
    for m in SIZES:
        for method in METHODS:
            some = pick(runs, m=m, method=method)
            if len(some) < 2:
                continue
            rows.append(
                [
                    str(m),
                    method,
                    str(len(some)),
                    f"{max(run['steps'] for run in some):,}",
                    *(
                        interval([100.0 * run[share] for run in some])
                        for share in ("agree", "largest_is_the_flows", "largest_is_the_methods")
                    ),
                    interval([run["polysemantic_window"] for run in some]),
                    interval([run["flow_polysemantic"] for run in some]),
                    f"{slot_law(N, m).mean():.1f}",
                    f"{float(paper_count(N, m)):.1f}",
                    f"{max(run['residual'] for run in some):.0e}",
                ]
            )
    return columns, rows


WINNERS = Question(
    [
        Case(
            f"m={m} {method} seeds {seeds[0]}-{seeds[-1]}",
            training,
            partial(measure, m=m, method=method, seeds=seeds),
        )
        for method, (training, _, _) in METHODS.items()
        for m in SIZES
        for seeds in groups(SEEDS, 2 if m == SIZES[-1] else 5)
    ],
    table,
    Path("benchmarks/findings/training/winners.json"),
)
