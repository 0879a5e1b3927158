"""``python -m benchmarks.findings.deeper``: polysemantic neurons in networks of several layers.

Protocol: y = f(D₁ r₁) with L hidden layers (flow.training.setup.Network), all features one at a
time, full batch, c = 4, ℓ1 of λ = 0.01 on the activations of every hidden layer (the codes h_l of
all inputs). n = 32 and 64 features; m/n = 1, 2, 4, 8 neurons in every layer; L = 1, 2, 3; and
stacks of two and three with one narrow layer (m = n) among wide ones (m = 4n). W_l starts with
normal entries of variance 1/m_l, so that all rows have length about 1. Kinds:

- *tied*: the stack goes back through its own weights, no ReLU but at the output;
- *ReLU between*: the same with ReLU on every code but the last and on its reconstruction;
- *untied*: as *tied*, with encoders of their own.

Ten seeds; gradient descent in float64 with η = 0.02 and 30,000 steps (t = 600), as in the table of
winners, whose numbers L = 1 makes again (L = 3: η = 0.005, t = 150; at 0.02 it diverges, which was
found out by trying); and figure 3's AdamW in float32, 7,500 steps.

What is looked at: the rows of A_l = W₁ W₂ … W_l : (n, m_l), the code of every feature in layer l
(with ReLU between: the codes themselves; untied: of the encoders). ℓ1 on the activations of two
layers or more has no proximal step and makes no exact zeros; so a feature counts as on a neuron if
its weight lies in the authors' window 0.8 … 1.2, or if it exceeds 0.3, or 0.1, of the length of its
row. The last two do not see the scale of a layer, which ℓ1 on activations does not fix: W₁ may
shrink while W₂ grows, at no loss.

Counted, for each layer: neurons with two or more features by the three rules, non-zeros (0.1 of
the length), benign and malign pairs (0.3), features alive (longer than a tenth of the longest),
lengths; from a layer to the next, how many of the pairs that share a neuron (0.3) share one again,
beside the number of all pairs that do.

Foreseen, before the runs: (1) L = 1 gives the table of winners again; (2) tied, the last layer's
count is n²/4m of its own width within a factor of 1.5, whatever the others' widths; (3) the layers
below it shrink in length and have more neurons of several features than n²/4m; (4) with ReLU
between, no benign pair is left below the last layer and the count there is near 0; (5) a pair has
company again in the next layer about as often as any pair; (6) untied, features die, as they do
with one layer, in half of the cases or more.

Expected: 14 hours of one core, of which the ten of large widths, for gradient descent at n = 64
above all, are not run. The reduced part (`--reduced`) takes 15 minutes: gradient descent, n = 32,
m/n = 1, 2 and the narrow layers, three seeds; and of the whole protocol L = 1, n = 64, m = 64, 128,
ten seeds, which is in the table of winners.
Every run is kept and measured once; a measurement that was cut off goes on from there.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

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
    gather,
    groups,
    interval,
    pick,
    starts,
)
from flow.analysis.pairs import collisions
from flow.analysis.states import AUTHORS_WINDOW, is_polysemantic, polysemantic_neurons
from flow.results.files import write_text
from flow.training import TrainingTrajectory, train
from flow.training.cli import ENCODER_SEED, LAYER_SEED
from flow.training.setup import FIGURE_3, FIGURE_3_STEPS, Network, Optimizer, Training
from theory.counting import paper_count

NETWORK = Network(c=4.0, lam=LAM, penalized="activations")
KINDS = {
    "tied": NETWORK,
    "ReLU between": replace(NETWORK, between="relu"),
    "untied": replace(NETWORK, untied=True),
}
METHODS: dict[str, tuple[Optimizer, str, int]] = {
    "gradient descent": (Optimizer(method="gd", rate=0.02), "float64", 30_000),
    "AdamW": (FIGURE_3.optimizer, "float32", FIGURE_3_STEPS),
}
"""Optimizer, precision and steps."""
RATE_OF_THREE = 0.005
"""Of gradient descent with three layers."""
ON = (0.3, 0.1)
"""Shares of the length of a row above which a feature is on a neuron."""
ALIVE = 0.1
"""Share of the longest row of a layer that the row of a feature has if it is alive."""
FILE = Path("benchmarks/findings/deeper.json")


def shapes(n: int, ratios: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Widths of the hidden layers: alike, and one narrow layer among wide ones."""
    for ratio, depth in itertools.product(ratios, (1, 2, 3)):
        yield (ratio * n,) * depth
    yield from ((n, 4 * n), (4 * n, n), (4 * n, n, 4 * n))


# One network -------------------------------------------------------------------------------------


def measure(
    training: Training,
    *,
    n: int,
    widths: tuple[int, ...],
    kind: str,
    method: str,
    seeds: Sequence[int],
    steps: int | None = None,
) -> list[Run]:
    """Train, and count in every layer; steps: fewer than the method has."""
    _, dtype, whole = METHODS[method]
    steps = whole if steps is None else steps

    def drawn(offset: int) -> list[np.ndarray]:
        sides = itertools.pairwise((n, *widths))
        return [
            starts(a, b, [seed + offset + layer * LAYER_SEED for seed in seeds], dtype=dtype)
            for layer, (a, b) in enumerate(sides)
        ]

    decoders, encoders = drawn(0), drawn(ENCODER_SEED) if training.network.untied else [None]
    runs = train(
        training, decoders[0], encoder0=encoders[0], inner0=decoders[1:],
        inner_encoder0=encoders[1:], steps=steps, record_every=steps,
    )  # fmt: skip
    about = {"n": n, "widths": list(widths), "kind": kind, "method": method}
    return [
        {
            **about,
            "seed": seed,
            "status": run.status.name,
            "loss": [float(run.loss[0]), float(run.loss[-1])],
            "layers": layers(codes(training.network, run)) if run.status.finished else [],
        }
        for seed, run in zip(seeds, runs, strict=True)
    ]


def codes(network: Network, run: TrainingTrajectory) -> list[np.ndarray]:
    """A_l : (n, m_l), what every feature, alone, is in each hidden layer; g is linear."""
    matrices = [np.asarray((layer.encoder or layer).final, float) for layer in (run, *run.inner)]
    made = [matrices[0]]
    for W in matrices[1:]:
        if network.between == "relu":
            made[-1] = np.maximum(made[-1], 0.0)
        made.append(made[-1] @ W)
    return made


def on_neurons(A: np.ndarray, share: float) -> np.ndarray:
    """A : (n, m), with 0 in dead rows and for weights not above a share of their row's length."""
    length = np.linalg.norm(A, axis=1, keepdims=True)
    return np.where((np.abs(A) > share * length) & alive(A)[:, None], A, 0.0)


def alive(A: np.ndarray) -> np.ndarray:
    """(n,) which features have a row that is not short beside the longest of A : (n, m)."""
    length = np.linalg.norm(A, axis=1)
    return length > ALIVE * length.max()


def layers(made: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """What is counted in each layer, from the codes A_l : (n, m_l)."""
    found = []
    company = None
    for A in made:
        large, some = (on_neurons(A, share) for share in ON)
        pairs = collisions(large)
        length = np.linalg.norm(A, axis=1)
        together = (large != 0.0).astype(int) @ (large != 0.0).T > 0
        together = together[np.triu_indices(len(A), 1)]
        found.append(
            {
                "width": A.shape[1],
                "alive": int(alive(A).sum()),
                "length": float(np.mean(length)),
                "nonzeros": float(np.mean(np.count_nonzero(some, axis=1))),
                "window": polysemantic_neurons(A, window=AUTHORS_WINDOW),
                **{
                    f"above_{share}": int(is_polysemantic(on).sum())
                    for share, on in zip(ON, (large, some), strict=True)
                },
                "benign": int(pairs.benign.sum()),
                "malign": int((~pairs.benign).sum()),
                "pairs": int(together.sum()),
                "kept_from_below": None if company is None else int(np.sum(company & together)),
            }
        )
        company = together
    return found


def optimizer(method: str, depth: int) -> Optimizer:
    """That of a method in a network of so many layers."""
    usual = METHODS[method][0]
    return replace(usual, rate=RATE_OF_THREE) if usual.method == "gd" and depth > 2 else usual


# The cases and the table -------------------------------------------------------------------------


def cases(
    n: int, ratios: Sequence[int], methods: Sequence[str], seeds: Sequence[range]
) -> Iterator[Case]:
    """Every kind and shape, with n features."""
    for method, kind, widths, some in itertools.product(methods, KINDS, shapes(n, ratios), seeds):
        if kind == "ReLU between" and len(widths) == 1:
            continue  # There is nothing between.
        yield Case(
            f"n={n} {kind} {'-'.join(map(str, widths))} {method} seeds {some[0]}-{some[-1]}",
            Training(network=KINDS[kind], optimizer=optimizer(method, len(widths))),
            partial(measure, n=n, widths=widths, kind=kind, method=method, seeds=some),
        )


RATIOS = ("1", "2", "4", "8", "1–4", "4–1", "4–1–4")
"""Widths over n of the columns of `last_layers`; one number stands for all layers."""


def last_layers(runs: list[Run]) -> Table:
    """Polysemantic neurons (two features above 0.3 of their codes' lengths) of the last layer, by
    the widths of all layers over n; mean ± 95 % interval over ten seeds, or over so many as
    stand in brackets; the others diverged or were not run."""
    columns = ["n", "kind", "optimizer", "layers", *(f"m/n = {ratio}" for ratio in RATIOS)]
    counts: dict[tuple[Any, ...], dict[str, dict[int, int]]] = {}
    for run in runs:
        n, widths = run["n"], run["widths"]
        ratios = [str(m // n) for m in widths]
        name = ratios[0] if len(set(ratios)) == 1 else "–".join(ratios)
        key = (n, list(KINDS).index(run["kind"]), list(METHODS).index(run["method"]), len(widths))
        seeds = counts.setdefault(key, {}).setdefault(name, {})
        if run["layers"]:
            seeds[run["seed"]] = run["layers"][-1]["above_0.3"]

    def cell(seeds: dict[int, int]) -> str:
        few = "" if len(seeds) == SEEDS else f" ({len(seeds)})"
        return f"{interval(list(seeds.values()))}{few}" if len(seeds) > 1 else ""

    rows = [
        [str(n), list(KINDS)[kind], list(METHODS)[method], str(depth),
         *(cell(found.get(ratio, {})) for ratio in RATIOS)]
        for (n, kind, method, depth), found in sorted(counts.items())
    ]  # fmt: skip
    return columns, [*rows, *(
        [str(n), "n²/4m of the last", "", "",
         *(f"{float(paper_count(n, n * int(ratio[-1]))):g}" for ratio in RATIOS)]
        for n in sorted({key[0] for key in counts})
    )]  # fmt: skip


def table(runs: list[Run]) -> Table:
    """Mean ± 95 % interval over seeds, so many of which did not diverge. Polysemantic: neurons with
    two features in 0.8 … 1.2, above 0.3 and above 0.1 of their rows' lengths; pairs on a neuron
    above 0.3: benign / malign, of all seeds; again together: pairs that share a neuron in the layer
    below and in this, of those that share one below, and beside it how many of all n(n − 1)/2 pairs
    a seed share one here."""
    columns = [
        "n", "kind", "optimizer", "widths", "seeds", "layer", "n²/4m", "window", "> 0.3", "> 0.1",
        "non-zeros", "benign / malign", "alive", "length", "again together (all pairs)",
    ]  # fmt: skip
    rows = []
    keys = {(r["n"], r["kind"], r["method"], tuple(r["widths"])) for r in runs}
    kinds, methods = list(KINDS), list(METHODS)
    for n, kind, method, widths in sorted(
        keys,
        key=lambda k: (k[0], methods.index(k[2]), kinds.index(k[1]), len(k[3]), k[3]),
    ):
        # A run of the reduced part may stand in the whole one, too.
        by_seed = {
            run["seed"]: run
            for run in pick(runs, n=n, kind=kind, method=method, widths=list(widths))
        }
        made = list(by_seed.values())
        some = [run for run in made if run["layers"]]
        if len(some) < 2:
            continue
        shape, seeds = "–".join(map(str, widths)), f"{len(some)} of {len(made)}"
        about = (str(n), kind, method, shape, seeds)
        for number in range(len(widths)):
            here = [run["layers"][number] for run in some]
            first = number == 0
            rows.append(
                [
                    *(about if first else ("",) * 5),
                    str(number + 1),
                    f"{float(paper_count(n, widths[number])):.1f}",
                    *(
                        interval([layer[rule] for layer in here])
                        for rule in ("window", "above_0.3", "above_0.1", "nonzeros")
                    ),
                    f"{sum(a['benign'] for a in here)} / {sum(a['malign'] for a in here)}",
                    interval([layer["alive"] for layer in here]),
                    interval([layer["length"] for layer in here], digits=2),
                    "" if first else _again([run["layers"] for run in some], number),
                ]
            )  # fmt: skip
    return columns, rows


def _again(runs: Sequence[Sequence[dict[str, Any]]], number: int) -> str:
    below = sum(layers[number - 1]["pairs"] for layers in runs)
    kept = sum(layers[number]["kept_from_below"] for layers in runs)
    return f"{kept} of {below} ({sum(layers[number]['pairs'] for layers in runs)})"


WHOLE = [case for n in (32, 64) for case in cases(n, (1, 2, 4, 8), list(METHODS), groups(SEEDS, 5))]
REDUCED = [
    *(case for m in (64, 128) for case in WHOLE if case.name.startswith(f"n=64 tied {m} grad")),
    *cases(32, (1, 2), ["gradient descent"], [range(3)]),
]


QUESTION = Question(
    list({case.name: case for case in (*WHOLE, *REDUCED)}.values()), last_layers, FILE
)
"""All cases, of which a part may have been run."""


def page(file: Path) -> str:
    """Every layer of every network in a file of runs, as Markdown."""
    layer_by_layer = answer(replace(QUESTION, table=table), file, until=0.0)
    return f"# Deeper networks, layer by layer\n\n{layer_by_layer}\n"


def main(reduced: bool = False, max_seconds: float = float("inf"), out: Path = FILE) -> None:
    """Train what is not in the file yet, and print the table of the last layers.

    Args:
        reduced: only the part that takes minutes.
        max_seconds: begin no case after so much time; 0 prints what there is.
        out: JSON file; runs that it holds are not made again. Beside it stands every layer of every
            network as Markdown.
    """
    asked = replace(QUESTION, cases=REDUCED if reduced else WHOLE)
    gather(asked, out, until=time.perf_counter() + max_seconds)
    print(f"\n{answer(QUESTION, out, until=0.0)}")
    write_text(out.with_suffix(".md"), page(out))


if __name__ == "__main__":
    command_line(main)
