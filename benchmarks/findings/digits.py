"""``python -m benchmarks.findings.digits``: the same census in a network that saw real images.

Data: scikit-learn's digits, 1797 images of 8 × 8 pixels, divided by the root of their mean square,
so that an image has length 1 on average; 600 are trained on, the others are kept apart. Networks
y = ReLU(D g(Eᵀx)), untied, without biases:

- *classifier*: 10 outputs, targets the standard basis vector of the class, g linear, m = 8 and 15;
- *classifier, hidden ReLU*: g = ReLU, m = 15;
- *autoencoder*: 64 outputs, targets the pixels, g linear, m = 15.

    L = 10 · mean over images [(c/4) ‖y − target‖² + (λ/2) ‖g(Eᵀx)‖₁] + (λ/2) ‖D‖₁

c = 4, λ = 0.01: were every class one image, and these images orthogonal, the classifier would be
flow.training's untied network of ten features. Adam of rate 0.003, full batch, 12,000
steps with a look after 4,000, float32, 20 starts N(0, 1/m).

Features, ten of each kind, and what they are in the hidden layer, A : (10, m): *outputs* of the
classifiers, the rows of D; *classes*, the mean code over the images of a class that were kept
apart; *principal directions* v_i of the images trained on, Eᵀv_i (largest variance first); *random
directions*, orthonormal, as what no feature looks like. Read as in told_apart.py: each feature is
in the slot of its largest entry, and a layer is read where 80 % of the features have a winner. Then
its test by intervention, on the outputs.

Foreseen, before the runs. (1) Nine images in ten that were kept apart are told by the classifiers.
(2) Outputs have winners less often than the features of the untied toy, and classes less often than
outputs: by either a layer is read in fewer than half of the networks. (3) By largest entries,
outputs that share a neuron have opposite signs in four cases of five where g is linear, and less
often where it is ReLU. (4) Principal directions are read in no network, of either kind, and have
winners as rarely as random ones. (5) With a neuron added, pairs of outputs part in most trials, and
the loss falls; so sharing has a price here, and in its place in fewer than half without cost.

4,000 steps were run first, for the classifier of m = 15, and are no rest: 32 ± 9 % of the outputs
have a winner, and with 2,000 steps more the ten pairs that share a neuron part whether touched or
not. So 12,000 are made, and both looks kept. Foreseen at that: (6) after 12,000 steps outputs of m
= 15 are read in most networks, and share in fewer than two; with m = 8 no more share than must.

Expected: 15 minutes on one core. Runs are kept and measured once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.command import command_line
from benchmarks.findings.flips import share
from benchmarks.findings.told_apart import (
    SEEDS,
    End,
    Layers,
    interventions,
    plain,
    reading,
    summary,
    without_cost,
)
from benchmarks.findings.training.runs import (
    Case,
    Question,
    Run,
    Table,
    answers,
    encoder_starts,
    interval,
    pick,
    starts,
)

CLASSES = 10
TRAINED_ON = 600
LOOKS = (4_000, 12_000)
ON = 3_000
"""Steps that are made after a neuron has been duplicated."""
RATE = 3e-3
KINDS = ("outputs", "classes", "principal directions", "random directions")
FILE = Path("benchmarks/findings/digits.json")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A network and what it is charged for."""

    task: str = "classifier"
    hidden: str = "linear"
    m: int = 15
    c: float = 4.0
    lam: float = 0.01

    @property
    def name(self) -> str:
        hidden = "" if self.hidden == "linear" else ", hidden ReLU"
        return f"{self.task}{hidden}, m = {self.m}"


SETTINGS = (
    Setting(m=8), Setting(), Setting(hidden="relu"), Setting(task="autoencoder"),
)  # fmt: skip


class Images(NamedTuple):
    """Images and their classes, those trained on and those kept apart."""

    seen: np.ndarray
    """(600, 64)"""
    seen_class: np.ndarray
    apart: np.ndarray
    apart_class: np.ndarray


@cache
def images() -> Images:
    """scikit-learn's digits, shuffled once for all."""
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    pixels, classes = pixels[order] / np.sqrt(np.mean(np.sum(pixels**2, axis=1))), classes[order]
    return Images(pixels[:TRAINED_ON], classes[:TRAINED_ON], pixels[TRAINED_ON:],
                  classes[TRAINED_ON:])  # fmt: skip


def directions(kind: str) -> np.ndarray:
    """Ten orthonormal directions of pixels, (10, 64)."""
    if kind == "principal directions":
        seen = images().seen
        return np.linalg.svd(seen - seen.mean(axis=0), full_matrices=False)[2][:CLASSES]
    normal = np.random.default_rng(1).normal(size=(images().seen.shape[1], CLASSES))
    return np.linalg.qr(normal)[0].T


# The network -------------------------------------------------------------------------------------


def hidden(setting: Setting, X: Any, E: Any) -> Any:
    """g(Eᵀx) : (b, m)."""
    code = X @ E
    return code if setting.hidden == "linear" else code.clip(0.0)


def fit(
    setting: Setting, layers: Layers, looks: Sequence[int]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All instances trained; D, E and losses (instances,) after as many steps as `looks` says."""
    import jax
    import jax.numpy as jnp
    import optax

    from flow.training.network import absolute

    ((D, E),) = layers
    seen, classes, *_ = images()
    X = jnp.asarray(seen, jnp.float32)
    target = jax.nn.one_hot(classes, CLASSES) if setting.task == "classifier" else X

    def loss(weights: Any) -> Any:
        decoder, encoder = weights
        code = hidden(setting, X, encoder)
        error = jnp.sum((jax.nn.relu(code @ decoder.T) - target) ** 2, axis=1)
        charged = jnp.sum(absolute(code), axis=1)
        each = 0.25 * setting.c * error + 0.5 * setting.lam * charged
        return CLASSES * jnp.mean(each) + 0.5 * setting.lam * jnp.sum(absolute(decoder))

    adam = optax.adam(RATE)

    @jax.jit
    @jax.vmap
    def trained(decoder: Any, encoder: Any) -> Any:
        def step(_: int, state: Any) -> Any:
            weights, memory = state
            change, memory = adam.update(jax.grad(loss)(weights), memory)
            return optax.apply_updates(weights, change), memory

        weights = (decoder, encoder)
        state, seen = (weights, adam.init(weights)), []
        for begin, end in itertools.pairwise((0, *looks)):
            state = jax.lax.fori_loop(begin, end, step, state)
            seen.append((*state[0], loss(state[0])))
        return seen

    found = trained(jnp.asarray(D), jnp.asarray(E))
    return [(np.asarray(D), np.asarray(E), np.asarray(losses, float)) for D, E, losses in found]


def kinds(setting: Setting) -> tuple[str, ...]:
    """Of features; the outputs of an autoencoder are pixels, and no ten features."""
    return KINDS if setting.task == "classifier" else KINDS[1:]


def code(setting: Setting, D: np.ndarray, E: np.ndarray, kind: str) -> np.ndarray:
    """A : (10, m), what the features of a kind are in the hidden layer."""
    _, _, apart, classes = images()
    D, E = D.astype(float), E.astype(float)
    if kind == "outputs":
        return D
    if kind == "classes":
        each = hidden(setting, apart, E)
        return np.stack([each[classes == k].mean(axis=0) for k in range(CLASSES)])
    return directions(kind) @ E


def told(setting: Setting, D: np.ndarray, E: np.ndarray) -> float:
    """Classifier: the share of images kept apart that get the largest output of their class;
    autoencoder: the share of their Σ‖x‖² that is reproduced, 1 − Σ‖y − x‖²/Σ‖x‖²."""
    _, _, apart, classes = images()
    y = np.maximum(hidden(setting, apart, E.astype(float)) @ D.astype(float).T, 0.0)
    if setting.task == "classifier":
        return float(np.mean(np.argmax(y, axis=1) == classes))
    return float(1.0 - np.sum((y - apart) ** 2) / np.sum(apart**2))


def measure(
    setting: Setting, *, seeds: Sequence[int], looks: Sequence[int] = LOOKS, on: int = ON
) -> list[Run]:
    """Train, read all kinds of features, and duplicate neurons that two outputs share."""
    outputs = CLASSES if setting.task == "classifier" else images().seen.shape[1]
    D0 = starts(outputs, setting.m, seeds, dtype="float32")
    E0 = encoder_starts(images().seen.shape[1], setting.m, seeds, dtype="float32")
    ends = fit(setting, [(D0, E0)], looks)
    about = {"setting": setting.name}
    found: list[Run] = []
    for steps, (D, E, losses) in zip(looks, ends, strict=True):
        for seed, decoder, encoder, loss in zip(seeds, D, E, losses, strict=True):
            quality = told(setting, decoder, encoder)
            for kind in kinds(setting):
                A = code(setting, decoder, encoder, kind)
                found.append(
                    {**about, "steps": steps, "features": kind, "seed": seed, "loss": float(loss),
                     "told": quality, **plain(reading(A)), **signs(A)}
                )  # fmt: skip
    if setting.task != "classifier":
        return found

    def train_on(layers: Layers) -> list[End]:
        ((D, _, losses),) = fit(setting, layers, [on])
        return [End(rows.astype(float), loss) for rows, loss in zip(D, losses, strict=True)]

    D, E, _ = ends[-1]
    networks: dict[int, Layers] = {
        seed: [(decoder[None], encoder[None])]
        for seed, decoder, encoder in zip(seeds, D, E, strict=True)
    }
    outputs_of = {seed: decoder.astype(float) for seed, decoder in zip(seeds, D, strict=True)}
    return found + list(interventions(about, networks, outputs_of, train_on))


def signs(A: np.ndarray) -> Run:
    """Pairs of features on one neuron, by their largest entries: of opposite and of equal sign."""
    on = reading(A).neuron
    value = np.sign(A[np.arange(len(A)), np.argmax(np.abs(A), axis=1)])
    first, second = np.triu_indices(len(A), 1)
    together = (on[first] == on[second]) & (on[first] >= 0)
    opposite = value[first] != value[second]
    return {
        "opposite": int(np.sum(together & opposite)),
        "equal": int(np.sum(together & ~opposite)),
    }


# Tables ------------------------------------------------------------------------------------------


def table(runs: list[Run]) -> Table:
    """20 networks each; mean ± 95 % interval over those that are read, as in the table of
    told_apart; pairs on one neuron by their largest entries, of opposite / equal sign, of all
    networks; told: classifiers, the images kept apart that are told, in %; autoencoder, the share
    of their Σ‖x‖² that is reproduced."""
    columns = [
        "network", "features", "steps", "read", "with a winner, %", "living", "shared", "crowd",
        "unused", "needed", "incidental", "θ̂", "θ = 1 refused", "forced only refused",
        "opposite / equal", "told, %",
    ]  # fmt: skip
    rows = []
    for setting in SETTINGS:
        there = pick(runs, setting=setting.name)
        looks = sorted({run["steps"] for run in there if "steps" in run})
        for kind, steps in itertools.product(kinds(setting), looks):
            some = [
                run for run in there if (run.get("features"), run.get("steps")) == (kind, steps)
            ]
            first = kind == kinds(setting)[0]
            if len(some) < 2 or not (first or steps == looks[-1]):
                continue
            pairs = [sum(run[name] for run in some) for name in ("opposite", "equal")]
            rows.append(
                [
                    setting.name if first and steps == looks[0] else "", kind, f"{steps:,}",
                    *summary(some, setting.m), f"{pairs[0]} / {pairs[1]}",
                    interval([100.0 * run["told"] for run in some]) if first else "",
                ]
            )  # fmt: skip
    return columns, rows


def parted(runs: list[Run]) -> Table:
    """Neurons that two outputs share, duplicated: the outputs end on two neurons; so, and without
    cost; median growth of the loss beyond that of the untouched network. Shares of trials with
    their 95 % intervals (Wilson)."""
    columns = ["network", "copy", "trials", "parted", "without cost", "growth of the loss"]
    rows = []
    for setting in SETTINGS:
        for kind in ("added", "instead"):
            lines = [
                run for run in pick(runs, setting=setting.name) if run.get("intervention") == kind
            ]
            if lines:
                free = sum(without_cost(line, setting.c) for line in lines)
                rows.append(
                    [
                        setting.name, kind, str(len(lines)),
                        share(sum(line["parted"] for line in lines), len(lines)),
                        share(free, len(lines)),
                        f"{np.median([line['cost'] for line in lines]):+.3f}",
                    ]
                )  # fmt: skip
    return columns, rows


CASES = [Case(setting.name, setting, partial(measure, seeds=range(SEEDS))) for setting in SETTINGS]
QUESTIONS = tuple(Question(CASES, make, FILE) for make in (table, parted))


def main(max_seconds: float = float("inf"), out: Path = FILE) -> None:
    """Train what is not in the file yet, and print the tables.

    Args:
        max_seconds: begin no case after so much time; 0 prints what there is.
        out: JSON file; runs that it holds are not made again.
    """
    for text in answers(QUESTIONS, out, max_seconds):
        print(f"\n{text}")


if __name__ == "__main__":
    command_line(main)
