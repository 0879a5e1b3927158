"""What every question about training needs: starts, counts, and runs that are measured once."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import markdown, provenance
from flow import gaussian_init
from flow.analysis.states import AUTHORS_WINDOW, polysemantic_neurons
from flow.analysis.statistics import mean_and_interval
from flow.results.files import write_text
from flow.results.provenance import versions
from flow.training.cli import ENCODER_SEED
from flow.training.setup import Network, Optimizer, Training

N = 64
SEEDS = 10
LAM = 0.01
NETWORK = Network(c=4.0, lam=LAM)

Run = dict[str, Any]
"""One instance as plain data, with its seed and what else tells it from the others."""
Table = tuple[list[str], list[list[str]]]
"""Columns and rows."""


@dataclass(frozen=True)
class Case:
    """Runs of one training that are made together."""

    name: str
    training: Any
    """Its settings, a dataclass; of most questions a Training."""
    measure: Callable[[Any], list[Run]]


@dataclass(frozen=True)
class Question:
    """Cases, and the table made of their runs."""

    cases: Sequence[Case]
    table: Callable[[list[Run]], Table]
    """Its docstring is the caption."""
    file: Path
    """Where the runs are kept."""


def gather(question: Question, file: Path, *, until: float = float("inf")) -> list[Run]:
    """The question's runs, those that `file` does not hold yet measured now.

    The file has one case a line, with versions and date, and is rewritten after every case: what
    was cut off goes on from there. No case is begun after `until`, a time of
    :func:`time.perf_counter`.
    """
    kept = json.loads(file.read_text()) if file.exists() else {}
    for case in question.cases:
        if case.name in kept or time.perf_counter() >= until:
            continue
        print(f"{case.name} ...", flush=True)
        began = time.perf_counter()
        runs = case.measure(case.training)
        kept[case.name] = {
            **provenance(),
            **versions("jax", "optax"),
            "seconds": round(time.perf_counter() - began, 1),
            "training": asdict(case.training),
            "runs": runs,
        }
        write(file, kept)
    return [r for case in question.cases for r in kept.get(case.name, {"runs": []})["runs"]]


def answer(question: Question, file: Path, *, until: float = float("inf")) -> str:
    """The question's table in Markdown, below what it says, after :func:`gather`."""
    columns, rows = question.table(gather(question, file, until=until))
    return f"{inspect.getdoc(question.table)}\n\n{markdown(columns, rows)}"


def answers(questions: Sequence[Question], file: Path, max_seconds: float) -> Iterator[str]:
    """:func:`answer` of questions about the same runs: what is missing is made for the first."""
    until = time.perf_counter() + max_seconds
    for question in questions:
        yield answer(question, file, until=until)
        until = 0.0


def write(file: Path, kept: dict[str, Any]) -> None:
    """`kept` as JSON, one entry a line; the file is replaced only when the new one is whole."""
    lines = (
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(entry, ensure_ascii=False)}"
        for name, entry in kept.items()
    )
    write_text(file, "{\n" + ",\n".join(lines) + "\n}\n")


def groups(seeds: int, size: int) -> list[range]:
    """Seeds 0, 1, … in groups that are trained at once."""
    return [range(first, min(first + size, seeds)) for first in range(0, seeds, size)]


def proximal(rate: float, network: Network = NETWORK) -> Training:
    return Training(network=network, optimizer=Optimizer(method="proximal", rate=rate))


def starts(n: int, m: int, seeds: Sequence[int], **how: Any) -> np.ndarray:
    """Gaussian W0, (seeds, n, m)."""
    return np.stack([gaussian_init(n, m, seed=seed, **how) for seed in seeds])


def encoder_starts(n: int, m: int, seeds: Sequence[int], **how: Any) -> np.ndarray:
    """Those of the encoders of untied networks, independent of the decoders'."""
    return starts(n, m, [seed + ENCODER_SEED for seed in seeds], **how)


def counts(W: np.ndarray) -> Run:
    """What is counted on a W : (n, m); large weights too, as not every optimizer makes zeros."""
    W = np.asarray(W, float)
    size = np.abs(W)
    alive = W[size.max(axis=1) > 0.0]
    return {
        "dead": len(W) - len(alive),
        "polysemantic": polysemantic_neurons(W),
        "polysemantic_window": polysemantic_neurons(W, window=AUTHORS_WINDOW),
        "polysemantic_above_0.3": polysemantic_neurons(W, window=(0.3, np.inf)),
        "nonzeros": float(np.mean(np.sum(size > 0.0, axis=1))),
        "above_0.1": float(np.mean(np.sum(size > 0.1, axis=1))),
        "l1": float(size.sum(axis=1).mean()),
        "l4_over_l2": float(np.mean(np.sum(alive**4, axis=1) / np.sum(alive**2, axis=1) ** 2)),
        "lowest_overlap": float((W @ W.T).min()),
    }


def pick(runs: Sequence[Run], **which: Any) -> list[Run]:
    """The runs with these entries."""
    return [run for run in runs if all(run[name] == value for name, value in which.items())]


def interval(values: Sequence[float], *, digits: int = 1) -> str:
    """Mean ± half the width of its 95 % interval over seeds (Student's t)."""
    mean, half = mean_and_interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"
