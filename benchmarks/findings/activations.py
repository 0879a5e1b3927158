"""``python -m benchmarks.findings.activations``: does a winner arise, are there benign collisions?

Protocol: the network of the paper with one nonlinearity changed, n = 32, m = 64, c = 4, with ℓ1 of
λ = 0.01 on the weights and without, ten seeds from the same Gaussian starts, proximal gradient
descent of η = 0.05 for 20,000 steps (t = 1000). Layer norm makes hidden vectors of length √m of
any, hence rows of length about 1/√m and the smaller η = 1e-3; it gets 100,000 steps (t = 100), ten
times as long as before. Rest is told by how far a weight still moves in the last tenth of a run.

Counted on W: a feature has a winner if one weight has 0.9 of the length of its row; it is on a
neuron if its weight has 0.3 of the length; pairs on a neuron are benign with opposite, malign with
equal signs. Learned is a feature whose own output exceeds every other's by 0.5 when it is on.

Foreseen, before the runs: (1) with ℓ1 winners arise under every activation but layer norm, without
ℓ1 under top-1 alone; (2) benign collisions are there where outputs do not tell a negative input
from none (ReLU; sigmoid, which even asks for it) and codes have two signs (linear, top-k, layer
norm), and nowhere else: none with tanh, a hidden ReLU or a hidden GELU; (3) a sigmoid without bias
has more of them than n²/4m = 4, as every output is to be pushed below one half; (4) layer norm with
ℓ1 comes to rest with one weight a feature beside small ones.

Expected: 5 minutes on two cores, half of them for layer norm. Runs are kept and measured once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.command import command_line
from benchmarks.findings.training.runs import (
    LAM,
    SEEDS,
    Case,
    Question,
    Run,
    Table,
    answer,
    interval,
    pick,
    proximal,
    starts,
)
from flow.analysis.pairs import collisions
from flow.analysis.states import is_polysemantic
from flow.training import TrainingTrajectory, train
from flow.training.setup import Network, Training

N, M = 32, 64
NETWORK = Network(c=4.0)
ACTIVATIONS = {
    "as in the paper": NETWORK,
    "output sigmoid": replace(NETWORK, output="sigmoid"),
    "output sigmoid, bias": replace(NETWORK, output="sigmoid", output_bias=True),
    "output tanh": replace(NETWORK, output="tanh"),
    "hidden ReLU": replace(NETWORK, hidden="relu"),
    "hidden GELU": replace(NETWORK, hidden="gelu"),
    "hidden top-1": replace(NETWORK, hidden="top-k", top=1),
    "hidden top-4": replace(NETWORK, hidden="top-k", top=4),
    "layer norm": replace(NETWORK, hidden="layer-norm"),
}
RATE, STEPS = 0.05, 20_000
SLOW_RATE, SLOW_STEPS = 1e-3, 100_000
"""Of layer norm."""
WINNER = 0.9
ON = 0.3
"""Shares of the length of a row."""
LEARNED = 0.5


def measure(
    training: Training, *, name: str, lam: float, seeds: Sequence[int], steps: int
) -> list[Run]:
    rate = training.optimizer.rate
    runs = train(
        training, starts(N, M, seeds), steps=steps, record_every=steps,
        save_at=[rate * (steps - steps // 10)],
    )  # fmt: skip
    about = {"activation": name, "lam": lam}
    return [
        {**about, "seed": seed, "status": run.status.name, **count(training.network, run)}
        for seed, run in zip(seeds, runs, strict=True)
    ]


def count(network: Network, run: TrainingTrajectory) -> Run:
    """What is counted at the end of a run that was looked at before it, too."""
    W = run.final
    length = np.linalg.norm(W, axis=1, keepdims=True)
    on = np.where(np.abs(W) > ON * length, W, 0.0)
    pairs = collisions(on)
    y = outputs(network, W, run.output_bias)
    own = np.diagonal(y)
    other = np.max(np.where(np.eye(len(W), dtype=bool), -np.inf, y), axis=1)
    return {
        "winners": float(np.mean(np.abs(W).max(axis=1) > WINNER * length[:, 0])),
        "learned": float(np.mean(own - other > LEARNED)),
        "nonzeros": float(np.mean(np.count_nonzero(W, axis=1))),
        "length": float(length.mean()),
        "polysemantic": int(is_polysemantic(on).sum()),
        "benign": int(pairs.benign.sum()),
        "malign": int((~pairs.benign).sum()),
        "moved": float(np.abs(W - run.weights[-2]).max()),
        "loss": float(run.loss[-1]),
    }


def outputs(network: Network, W: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """(n, n) what comes out for every feature alone."""
    from flow.accelerator.settings import own_settings
    from flow.training.network import Batch, Weights, output

    with own_settings(double=W.dtype == np.float64):
        weights = Weights(W, None, None if bias is None else bias[-1])
        return np.asarray(output(network, weights, Batch()))


def table(runs: list[Run]) -> Table:
    """n = 32, m = 64, c = 4, ten seeds, t = 1000 (layer norm: t = 100), mean ± 95 % interval over
    seeds; a winner has 0.9 of its row's length, polysemantic neurons have two features with 0.3 of
    their rows' lengths, benign / malign pairs are those of all seeds; n²/4m = 4. Moved: the largest
    change of any weight in the last tenth of a run."""
    columns = [
        "activation", "λ", "features with a winner, %", "learned, %", "non-zeros", "length",
        "polysemantic", "benign / malign", "moved",
    ]  # fmt: skip
    rows = []
    for name in ACTIVATIONS:
        for lam in (LAM, 0.0):
            some = pick(runs, activation=name, lam=lam)
            if len(some) < 2:
                continue
            rows.append(
                [
                    name,
                    f"{lam:g}",
                    interval([100.0 * run["winners"] for run in some]),
                    interval([100.0 * run["learned"] for run in some]),
                    interval([run["nonzeros"] for run in some]),
                    interval([run["length"] for run in some], digits=2),
                    interval([run["polysemantic"] for run in some]),
                    f"{sum(r['benign'] for r in some)} / {sum(r['malign'] for r in some)}",
                    f"{max(run['moved'] for run in some):.0e}",
                ]
            )
    return columns, rows


def case(name: str, lam: float) -> Case:
    slow = name == "layer norm"
    network = replace(ACTIVATIONS[name], lam=lam)
    return Case(
        f"{name}, λ = {lam:g}",
        proximal(SLOW_RATE if slow else RATE, network),
        partial(
            measure, name=name, lam=lam, seeds=range(SEEDS), steps=SLOW_STEPS if slow else STEPS
        ),
    )


QUESTION = Question(
    [case(name, lam) for name in ACTIVATIONS for lam in (LAM, 0.0)],
    table,
    Path("benchmarks/findings/activations.json"),
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
