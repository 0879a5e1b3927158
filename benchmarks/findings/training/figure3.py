"""The paper's figure 3 as its authors made it: polysemantic neurons after AdamW, n = 256.

They ran 16 instances for every m = 256, 512, …, 4096; here some of those m have fewer.
Source: theory/README, section 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.findings.training.runs import (
    Case,
    Question,
    Run,
    Table,
    counts,
    groups,
    interval,
    starts,
)
from flow.training import train
from flow.training.setup import FIGURE_3, FIGURE_3_STEPS, Training
from theory.counting import paper_count, slot_law

FEATURES = 256
INSTANCES = {256: 16, 512: 8, 1024: 4, 2048: 2, 4096: 2}
PUBLISHED = {256: 72.0, 512: 24.0, 1024: 10.1, 2048: 5.4, 4096: 3.8}
"""Means drawn in the figure, read off to ±3 %."""


def measure(training: Training, *, m: int, seeds: Sequence[int]) -> list[Run]:
    W0 = starts(FEATURES, m, seeds, dtype="float32")
    runs = train(training, W0, steps=FIGURE_3_STEPS, record_every=FIGURE_3_STEPS)
    return [
        {"n": FEATURES, "m": m, "seed": seed, "steps": FIGURE_3_STEPS, **counts(run.final)}
        for seed, run in zip(seeds, runs, strict=True)
    ]


def table(runs: list[Run]) -> Table:
    """n = 256, preset figure3 (AdamW, λ = 0.001, c = 4, 7,500 steps, float32): polysemantic
    neurons by the authors' window, mean ± 95 % interval over seeds, beside the published means
    of 16 instances."""
    rows = []
    for m, published in PUBLISHED.items():
        some = [run["polysemantic_window"] for run in runs if run["m"] == m]
        if some:
            law, paper = slot_law(FEATURES, m).mean(), float(paper_count(FEATURES, m))
            rows.append(
                [
                    str(m),
                    str(len(some)),
                    interval(some) if len(some) > 1 else f"{some[0]:g}",
                    f"{published:g}",
                    f"{law:.1f}",
                    f"{paper:.1f}",
                ]
            )
    return ["m", "seeds", "polysemantic", "published", "slot law", "n²/4m"], rows


FIGURE3 = Question(
    [
        Case(
            f"m={m} seeds {seeds[0]}-{seeds[-1]}",
            FIGURE_3,
            partial(measure, m=m, seeds=seeds),
        )
        for m, instances in INSTANCES.items()
        for seeds in groups(instances, min(4, max(1, 2048 // m)))
    ],
    table,
    Path("paper_figures/data/adamw_figure3.json"),
)
