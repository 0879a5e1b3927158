"""Features that occur together: does polysemanticity go away?

The first commenter on the post asked for inputs in which each feature is on with probability p
independently of the others, and foresaw that polysemanticity "goes down very significantly
(probably to zero if the probabilities are high enough and the training is done for long enough)".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from flow.training import forces_of, train
from flow.training.setup import Data, Training

M = 128
RATE, T_END = 0.02, 400.0
LOOKS = (0.0, 100.0, 200.0, 300.0, 400.0)

DATA = {
    "one at a time, full batch": Data(),
    "one at a time, batch 128": Data(batch=128),
    "p = 0.001": Data(probability=0.001, batch=2048),
    "p = 0.005": Data(probability=0.005, batch=512),
    "p = 0.01": Data(probability=0.01, batch=256),
    "p = 0.03": Data(probability=0.03, batch=128),
    "p = 0.1": Data(probability=0.1, batch=128),
    "p = 0.3": Data(probability=0.3, batch=128),
    "p = 0.5": Data(probability=0.5, batch=128),
    "p = 0.1, uniform": Data(probability=0.1, batch=128, magnitude="uniform"),
}
"""A batch has every feature about twice or more often, so that gradients are not noisier for
small p."""
FROM_REST = ("p = 0.1", "p = 0.5")
"""Those also begun at the end of the flow without co-occurrence: are collisions undone?"""


def measure(training: Training, *, data: str, from_rest: bool, seeds: Sequence[int]) -> list[Run]:
    W0 = starts(N, M, seeds, dtype="float32")
    if from_rest:
        forces = forces_of(training.network)
        W0 = np.stack([integrate(forces, W.astype(float)).final.astype(W.dtype) for W in W0])
    steps = round(T_END / RATE)
    runs = train(training, W0, steps=steps, record_every=steps, save_at=LOOKS[:-1], streams=seeds)
    return [
        {
            "data": data,
            "from_rest": from_rest,
            "seed": seed,
            "t": run.times.tolist(),
            "at": [counts(W) for W in run.weights],
        }
        for seed, run in zip(seeds, runs, strict=True)
    ]


def table(runs: list[Run]) -> Table:
    """n = 64, m = 128, λ = 0.01, c = 4, 10 seeds, proximal SGD of η = 0.02 to t = 400, fresh
    inputs at every step: neurons with two weights above 0.3 in size at three times, mean ± 95 %
    interval over seeds (0.0 ± 0.0 is none in 10 runs: fewer than 0.3 a run at 95 %, Poisson);
    lowest overlap W_i·W_j of any pair and seed at the end."""
    columns = [
        "features on", "start", "batch", *(f"polysemantic, t = {t:g}" for t in LOOKS[2:]),
        "non-zeros per feature", "lowest overlap",
    ]  # fmt: skip
    rows = []
    for label, data in DATA.items():
        for from_rest in (False, True):
            some = pick(runs, data=label, from_rest=from_rest)
            if len(some) < 2:
                continue
            rows.append(
                [
                    label,
                    "the flow's end" if from_rest else "Gaussian",
                    str(data.batch or N),
                    *(
                        interval([run["at"][k]["polysemantic_above_0.3"] for run in some])
                        for k in range(2, len(LOOKS))
                    ),
                    interval([run["at"][-1]["nonzeros"] for run in some], digits=2),
                    f"{min(run['at'][-1]['lowest_overlap'] for run in some):.2f}",
                ]
            )
    return columns, rows


def _size(data: Data) -> int:
    batch = data.batch or N
    return 2 if batch > 512 else 5 if batch > 128 else SEEDS


TOGETHER = Question(
    [
        Case(
            f"{label}{', from rest' if from_rest else ''}, seeds {seeds[0]}-{seeds[-1]}",
            replace(proximal(RATE, NETWORK), data=data),
            partial(measure, data=label, from_rest=from_rest, seeds=seeds),
        )
        for label, data in DATA.items()
        for from_rest in ((False, True) if label in FROM_REST else (False,))
        for seeds in groups(SEEDS, _size(data))
    ],
    table,
    Path("benchmarks/findings/training/together.json"),
)
