"""Appendix A, tied weights: do a decoder and an encoder of their own find each other?

The paper says that they "would end up almost identical by the end of training".
"""

from __future__ import annotations

from collections.abc import Sequence
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
from flow.training import train
from flow.training.setup import FIGURE_3, Network, Training

M = 128

NETWORK = Network(c=4.0, lam=LAM, untied=True)
LOOKS = (0.0, 1.0, 10.0, 50.0, 200.0, 1000.0)
"""Rate × steps."""
LEARNED = 0.5
"""D_i·E_i at the end, above which feature i counts as learned."""

CASES: dict[str, tuple[Training, float, str, int]] = {
    "ℓ1, scale 1": (proximal(0.05, NETWORK), 1.0, "float64", 20_000),
    "ℓ1, scale 0.1": (proximal(0.05, NETWORK), 0.1, "float64", 20_000),
    "no penalty, scale 1": (
        proximal(0.05, replace(NETWORK, lam=0.0)), 1.0, "float64", 20_000,
    ),
    "ℓ1, leaky ReLU, scale 1": (
        proximal(0.05, replace(NETWORK, output="leaky-relu")), 1.0, "float64", 20_000,
    ),
    "AdamW, λ = 0.001, scale 1": (
        Training(network=replace(NETWORK, lam=1e-3), optimizer=FIGURE_3.optimizer),
        1.0, "float32", 50_000,
    ),
}  # fmt: skip
"""Settings, scale of the start, precision, steps."""


def measure(training: Training, *, case: str) -> list[Run]:
    _, scale, dtype, steps = CASES[case]
    seeds = range(SEEDS)
    D0 = starts(N, M, seeds, scale=scale, dtype=dtype)
    E0 = encoder_starts(N, M, seeds, scale=scale, dtype=dtype)
    looks = [t for t in LOOKS if t < training.optimizer.rate * steps]
    runs = train(training, D0, encoder0=E0, steps=steps, record_every=steps, save_at=looks)
    rows = []
    for seed, run in zip(seeds, runs, strict=True):
        assert run.encoder is not None
        D, E = run.weights.astype(float), run.encoder.weights.astype(float)
        inner = np.sum(D * E, axis=2)
        norms = np.linalg.norm(D, axis=2) * np.linalg.norm(E, axis=2)
        # A dead feature has no direction: it is not in the mean.
        cosine = np.where(norms > 0.0, inner / np.where(norms > 0.0, norms, 1.0), np.nan)
        facing = inner[0] > 0.0
        row: Run = {"case": case, "seed": seed, "t": run.times.tolist(), "end": counts(D[-1])}
        for name, some in (("facing", facing), ("opposed", ~facing)):
            learned = inner[-1, some] > LEARNED
            row[name] = {
                "features": int(some.sum()),
                "learned": int(learned.sum()),
                "cosine": [_mean(values) for values in cosine[:, some]],
                "learned_cosine": _mean(cosine[-1, some][learned]),
            }
        rows.append(row)
    return rows


def _mean(values: np.ndarray) -> float | None:
    """Of the numbers among them; None where there are none."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else None


def table(runs: list[Run]) -> Table:
    """n = 64, m = 128, c = 4, λ = 0.01, 10 seeds, decoder D and encoder E started independently,
    proximal gradient descent unless said otherwise: mean cosine of D_i and E_i at times
    (rate × steps), for the features whose rows face each other at the start (D_i·E_i > 0) and for
    those opposed; how many of each are learned (D_i·E_i > 0.5 at the end, of all seeds), and the
    cosine of the learned; neurons with two weights of the decoder above 0.3, mean ± 95 % interval
    over seeds."""
    columns = [
        "case", "at the start", *(f"t = {t:g}" for t in LOOKS), "learned", "cosine of learned",
        "polysemantic",
    ]  # fmt: skip
    rows = []
    for case in CASES:
        some = pick(runs, case=case)
        if len(some) < 2:
            continue
        for group in ("facing", "opposed"):
            seen = [run[group] for run in some]
            learned = sum(one["learned"] for one in seen)
            rows.append(
                [
                    case if group == "facing" else "",
                    group,
                    *(_cell(some, group, look) for look in LOOKS),
                    f"{learned} of {sum(one['features'] for one in seen)}",
                    _average([one["learned_cosine"] for one in seen], digits=6),
                    interval([run["end"]["polysemantic_above_0.3"] for run in some])
                    if group == "facing"
                    else "",
                ]
            )
    return columns, rows


def _cell(runs: list[Run], group: str, look: float) -> str:
    """The mean cosine at a time; empty where no weights were kept then."""
    times = np.array(runs[0]["t"])
    k = int(np.argmin(np.abs(times - look)))
    if not np.isclose(times[k], look):
        return ""
    return _average([run[group]["cosine"][k] for run in runs], digits=3)


def _average(values: Sequence[float | None], *, digits: int) -> str:
    there = [value for value in values if value is not None]
    return f"{np.mean(there):.{digits}f}" if there else ""


UNTIED = Question(
    [Case(case, training, partial(measure, case=case)) for case, (training, *_) in CASES.items()],
    table,
    Path("benchmarks/findings/training/untied.json"),
)
