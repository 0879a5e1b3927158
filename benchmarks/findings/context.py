"""``python -m benchmarks.findings.context``: features of exclusive contexts on one neuron.

Protocol, that of the authors' working code: n = 50 features in two blocks of 25, m = 50 neurons. A
fair coin picks the block of an input; 13 of its features, drawn without replacement, are 1, all
else is 0. y = ReLU(D Eᵀx + b), D and E untied, b learned from 0 and not charged. Loss: the mean
over 100 fresh inputs and 50 features of (y − x)², plus 0.0005 (Σ|D| + Σ|E|): here c = 4p/n with p
= 13/50, and λ = 0.001. AdamW, rate 1e-3, decay 0.01, 10,000 steps, float32, eight starts; D and E
are drawn independently, N(0, 1/m), or a fifth of that in size ("small").

Varied: the probability that an input has the other block too (overlap), 0 to 1; the size of the
blocks, 10, 25 and 50 (n = m, half of a block on).

Counted on D with |D_ik| > 0.1: neurons with two features, those of them with features of both
blocks, pairs on a neuron across blocks and within one, of opposite and of equal sign; features
whose own gain D_i·E_i exceeds 0.8, or is below 0.1; the mean squared error on 2,000 fresh inputs.

Foreseen, before the runs: (1) the counts of the authors' code, 11.3 ± 1.2 polysemantic neurons,
all across, from normal starts, and 7.1 ± 2.4, 5.9 of them across, from small ones (theirs, ± 95
%); (2) neurons shared across blocks fall as overlap grows, as they fall with co-occurrence, and
hardly any is left at 0.1, where a pair of blocks meets as often as p = 0.1 makes features meet;
(3) at overlap 1 there are none; (4) their number grows with the block, in proportion to n.
Foreseen after (4) had failed at n = 100, where most features are lost: (5) with half of λ there, so
that λ/c is that of n = 50, nine features of ten are encoded and (4) holds.

Expected: 6 minutes on two cores. Runs are kept and measured once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.command import command_line
from benchmarks.findings.training.runs import (
    Case,
    Question,
    Run,
    Table,
    answer,
    encoder_starts,
    groups,
    interval,
    pick,
    starts,
)
from flow.analysis.pairs import collisions
from flow.analysis.states import is_polysemantic
from flow.training import train
from flow.training.setup import FIGURE_3, Data, Network, Training

STARTS = 8
STEPS = 10_000
BATCH = 100
SMALL = 0.2
ABOVE = 0.1
"""Size of the weights that count."""
FRESH = 2000
LEARNED, LOST = 0.8, 0.1
"""Own gains of features that are encoded, and that are not."""


class Setting(NamedTuple):
    """What is varied."""

    n: int = 50
    on: int = 13
    """Features of a block that are on."""
    overlap: float = 0.0
    scale: float = 1.0
    lam: float = 1e-3

    @property
    def training(self) -> Training:
        """The authors' settings; the loss is the mean over inputs and features."""
        data = Data(exclusive=self.on, overlap=self.overlap, batch=BATCH)
        c = 4.0 * data.expected_on(self.n) / BATCH / self.n
        network = Network(c=c, lam=self.lam, untied=True, output_bias=True)
        return Training(network=network, data=data, optimizer=FIGURE_3.optimizer)

    @property
    def name(self) -> str:
        start = "small" if self.scale == SMALL else "normal"
        charged = "" if self.lam == 1e-3 else f", λ = {self.lam:g}"
        return f"n = {self.n}, {self.on} on, overlap {self.overlap:g}, {start} start{charged}"


SETTINGS = (
    Setting(),
    Setting(scale=SMALL),
    Setting(overlap=0.03),
    Setting(overlap=0.1),
    Setting(overlap=0.3),
    Setting(overlap=1.0),
    Setting(n=20, on=5),
    Setting(n=100, on=26),
    Setting(n=100, on=26, lam=5e-4),
)


def measure(
    training: Training, *, setting: Setting, seeds: Sequence[int], steps: int = STEPS
) -> list[Run]:
    n = setting.n
    how = {"scale": setting.scale, "dtype": "float32"}
    runs = train(
        training, starts(n, n, seeds, **how), encoder0=encoder_starts(n, n, seeds, **how),
        steps=steps, record_every=steps,
    )  # fmt: skip
    found = []
    for seed, run in zip(seeds, runs, strict=True):
        assert run.encoder is not None
        assert run.output_bias is not None
        D, E = run.final.astype(float), run.encoder.final.astype(float)
        found.append({"setting": setting.name, "seed": seed, **shared(D), **learned(D, E)})
        X = inputs(setting, FRESH, np.random.default_rng(seed))
        y = np.maximum(X @ E @ D.T + run.output_bias[-1], 0.0)
        found[-1]["error"] = float(np.mean((y - X) ** 2))
    return found


def inputs(setting: Setting, count: int, rng: np.random.Generator) -> np.ndarray:
    """Fresh inputs (count, n), drawn with NumPy."""
    half = setting.n // 2
    X = np.zeros((count, 2, half))
    block = rng.integers(0, 2, count)
    both = rng.random(count) < setting.overlap
    for k in (0, 1):
        on = rng.permuted(np.tile(np.arange(half) < setting.on, (count, 1)), axis=1)
        X[:, k] = on & ((block == k) | both)[:, None]
    return X.reshape(count, setting.n)


def shared(D: np.ndarray) -> Run:
    """Neurons and pairs of D : (n, m), across the two halves of its rows and within one."""
    half = len(D) // 2
    on = np.where(np.abs(D) > ABOVE, D, 0.0)
    pairs = collisions(on)
    across = (pairs.first < half) & (pairs.second >= half)
    both = (on[:half] != 0.0).any(axis=0) & (on[half:] != 0.0).any(axis=0)
    return {
        "polysemantic": int(is_polysemantic(on).sum()),
        "across": int(both.sum()),
        "pairs_across": [int((across & pairs.benign).sum()), int((across & ~pairs.benign).sum())],
        "pairs_within": [int((~across & pairs.benign).sum()), int((~across & ~pairs.benign).sum())],
    }


def learned(D: np.ndarray, E: np.ndarray) -> Run:
    """Features that are encoded, and that are not."""
    gain = np.sum(D * E, axis=1)
    return {"learned": int(np.sum(gain > LEARNED)), "lost": int(np.sum(gain < LOST))}


def table(runs: list[Run]) -> Table:
    """Mean ± 95 % interval over starts; neurons with two features of |D| > 0.1, of
    these across blocks; pairs of features on a neuron, of opposite / equal sign, a run."""
    columns = [
        "setting", "starts", "polysemantic", "across blocks", "pairs across: opposite / equal",
        "pairs within: opposite / equal", "gain > 0.8", "gain < 0.1", "error",
    ]  # fmt: skip
    rows = []
    for setting in SETTINGS:
        some = pick(runs, setting=setting.name)
        if len(some) < 2:
            continue
        pairs = (
            " / ".join(interval([run[name][k] for run in some]) for k in (0, 1))
            for name in ("pairs_across", "pairs_within")
        )
        rows.append(
            [
                setting.name,
                str(len(some)),
                *(interval([run[name] for run in some]) for name in ("polysemantic", "across")),
                *pairs,
                *(interval([run[name] for run in some]) for name in ("learned", "lost")),
                interval([run["error"] for run in some], digits=4),
            ]
        )
    return columns, rows


QUESTION = Question(
    [
        Case(
            f"{setting.name}, starts {seeds[0]}-{seeds[-1]}",
            setting.training,
            partial(measure, setting=setting, seeds=seeds),
        )
        for seeds in groups(STARTS, 4)
        for setting in SETTINGS
    ],
    table,
    Path("benchmarks/findings/context.json"),
)


def main(max_seconds: float = float("inf"), out: Path = QUESTION.file) -> None:
    """Train what is not in the file yet, and print the table.

    Args:
        max_seconds: begin no case after so much time; 0 prints what there is.
        out: JSON file; runs that it holds are not made again.
    """
    print(f"\n{answer(QUESTION, out, until=time.perf_counter() + max_seconds)}")


if __name__ == "__main__":
    command_line(main)
