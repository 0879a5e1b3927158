"""Does proximal gradient descent tend to the flow as its step goes to zero, and how fast?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.findings.training.runs import (
    SEEDS,
    Case,
    Question,
    Run,
    Table,
    interval,
    pick,
    proximal,
    starts,
)
from flow import integrate
from flow.training import forces_of, train
from flow.training.setup import Network, Training

FEATURES = 12
NETWORK = Network(c=1.0, lam=0.05)
T_END = 20.0
RATES = (0.02, 0.01, 0.005, 0.0025, 0.00125)


def measure(training: Training, *, rate: float) -> list[Run]:
    W0 = starts(FEATURES, FEATURES, range(SEEDS))
    steps = round(T_END / rate)
    rows = []
    for seed, run in enumerate(train(training, W0, steps=steps, record_every=steps)):
        flow = integrate(forces_of(training.network), W0[seed], t_end=T_END, rtol=1e-8, events=True)
        rows.append(
            {
                "rate": rate,
                "seed": seed,
                "error": float(np.abs(run.final - flow.final).max()),
                "extinctions": flow.events.extinctions.time.size,
                "revivals": flow.events.revivals.time.size,
            }
        )
    return rows


def table(runs: list[Run]) -> Table:
    """n = m = 12, λ = 0.05, c = 1, 10 seeds: largest difference of any weight between proximal
    gradient descent and the flow (rtol = 1e-8) at t = 20, over which so many weights go out and
    come back in all; order: log₂ of the ratio to the error at twice the step, median, and mean
    ± 95 % interval over seeds."""
    columns = ["η", "median error", "largest", "extinctions", "revivals", "median order", "order"]
    rows = []
    before: list[float] = []
    for rate in RATES:
        some = pick(runs, rate=rate)
        if len(some) < 2:
            continue
        errors = [run["error"] for run in some]
        orders = np.log2(np.array(before) / errors) if before else None
        rows.append(
            [
                f"{rate:g}",
                f"{np.median(errors):.1e}",
                f"{max(errors):.1e}",
                str(sum(run["extinctions"] for run in some)),
                str(sum(run["revivals"] for run in some)),
                "" if orders is None else f"{np.median(orders):.2f}",
                "" if orders is None else interval(list(orders), digits=2),
            ]
        )
        before = errors
    return columns, rows


ORDER = Question(
    [Case(f"η={rate:g}", proximal(rate, NETWORK), partial(measure, rate=rate)) for rate in RATES],
    table,
    Path("benchmarks/findings/training/order.json"),
)
