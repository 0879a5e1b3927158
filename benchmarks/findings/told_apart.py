"""``python -m benchmarks.findings.told_apart``: was sharing incidental, in networks of every kind?

`theory.occupancy` answers for a one-hot W: with X shared, M single and U unused neurons,
X − U = n_alive − m, of which max(0, n_alive − m) must share; 4XU/M(M − 1) estimates θ, and one
shared beside one unused neuron refutes that sharing happened only where it had to (*forced only*).
Here the same is asked of what training leaves, which is not one-hot.

Protocol. n = 32 features (context: 20), m = 3n/4 neurons, where a quarter of n must share, and
m = 3n/2, where none must; c = 4, λ = 0.01 unless said otherwise; 20 seeds.

What takes the place of one-hot rows: a feature is on the neuron where its code A_i (of deeper.py)
is largest in size, and in that slot, neuron and sign. It lives if its code is longer than a tenth
of the longest. X are neurons with both slots taken, M with one, U with none; so X − U = n' − m with
n' the slots that are taken, and the exact test holds given n'. Further features in a slot that is
taken are counted beside it, the *crowd* C = n_alive − n'; X + C features share, X + C − U being
n_alive − m for any W. A layer is *read* if 80 % of its living features have a winner, 0.9 of their
row's length on one neuron; otherwise nothing is said about it.

How well it tells. Beside 20 Gaussian starts each setting is trained from 20 starts with known
occupancy: *forced only* (each feature on a neuron of its own as far as there are neurons, the rest
on the other sides of some) and *slot law* (a random slot for each), both with Gaussian weights of
0.3 of the usual size added. False alarm: forced only is refused where it is true; θ = 1 is refused
(exact test, 5 %) where the slot law is true. Power: the same where it is not true. Wilson intervals
of 95 %.

By intervention. Two neurons with two features each, in every network from a Gaussian start and, at
m = 3n/4, from forced only, are duplicated with opposed noise of 0.01 (flow.edit; in a stack in the
last layer), one at a time, and training goes on for half of its steps: *added*, with the copy as
one neuron more, and *instead*, with the copy in place of the neuron that is used least (on which
the largest share of any row is the smallest). The pair parted without cost if its two features end
on different neurons, none has died, fewer features share than before, and the loss exceeds that of
the untouched network, trained on as long, by less than 0.1 c/4, a tenth of what a lost feature
costs.

Foreseen, before the runs. (1) One layer, tied, and AdamW: all is read; at m = 3n/2 forced only is
refused wherever anything is shared, at m = 3n/4 in three quarters of the networks; θ̂ in 0.6 … 1.2,
and θ = 1 is refused in three of 20 at the most. (2) Two layers: the last is read and the first is
not, and θ̂ of the last exceeds 1. (3) Untied, dead features leave neurons free: forced only is
refused at m = 3n/4, too. (4) Features that occur together share only where they must: forced only
is not refused at m = 3n/4 in most, and nothing is shared at m = 3n/2. (5) Noise: no layer of m =
3n/4 is read, and no neuron is shared at m = 3n/2 but with the one stuck encoding. (6) Contexts:
some are read, and what they share is incidental at both m. (7) False alarms at most one in 20 for
forced only, three in 20 for θ = 1, but for noise; the power of each test against the other start
0.9 or more. (8) *Added* parts without cost nine times in ten whether sharing is needed or not, so
it does not tell; *instead* does so where a neuron is unused, and otherwise kills a feature or
leaves as many that share: it agrees with the count in nine of ten trials.

Expected: 40 minutes on one core. Runs are kept and measured once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.command import command_line
from benchmarks.findings import context
from benchmarks.findings.deeper import NETWORK as STACK
from benchmarks.findings.deeper import alive, codes
from benchmarks.findings.flips import share
from benchmarks.findings.training.runs import (
    NETWORK,
    Case,
    Question,
    Run,
    Table,
    answers,
    interval,
    pick,
    proximal,
    starts,
)
from flow.edit import duplicate
from flow.training import TrainingTrajectory, train
from flow.training.cli import ENCODER_SEED, LAYER_SEED
from flow.training.setup import FIGURE_3, FIGURE_3_STEPS, FIGURE_4, Data, Training
from theory.occupancy import Occupancy, occupancy

SEEDS = 20
N = 32
WINNER = 0.9
"""Share of a row's length that one neuron has if it is the feature's winner."""
READ = 0.8
"""Share of living features with a winner from which on a layer is read."""
GROUND = 0.3
"""Size of the Gaussian weights below planted ones, of the usual."""
LEVEL = 0.05
PAIRS = 2
"""Shared neurons of a network that are duplicated."""
NOISE = 0.01
COST = 0.1
"""Of c/4, what a lost feature costs: a loss that has grown by less counts as none."""
FRESH = 2048
"""Inputs, or draws of noise, on which a loss is evaluated where these are drawn."""
STARTS = ("Gaussian", "forced only", "slot law")
FILE = Path("benchmarks/findings/told_apart.json")

Layers = list[tuple[np.ndarray, np.ndarray | None]]
"""Decoder and encoder of every layer, (instances, rows, neurons)."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks of one kind."""

    training: Training
    steps: int
    dtype: str = "float64"
    n: int = N
    depth: int = 1
    code: float = 1.0
    """Size of planted weights in the first layer; those of a second are the inverse."""


FAMILIES = {
    "one layer, tied": Family(training=proximal(0.05), steps=10_000),
    "AdamW": Family(
        training=Training(network=NETWORK, optimizer=FIGURE_3.optimizer),
        steps=FIGURE_3_STEPS, dtype="float32",
    ),
    "two layers": Family(
        training=Training(network=STACK, optimizer=FIGURE_3.optimizer),
        steps=FIGURE_3_STEPS, dtype="float32", depth=2, code=0.6,
    ),
    "untied": Family(
        training=proximal(0.1, replace(NETWORK, untied=True)), steps=4_000, dtype="float32",
    ),
    "together, p = 0.1": Family(
        training=replace(proximal(0.05), data=Data(probability=0.1, batch=64)),
        steps=6_000, dtype="float32",
    ),
    "noise, no ℓ1": Family(training=FIGURE_4, steps=30_000, dtype="float32"),
    "contexts": Family(
        training=context.Setting(n=20, on=5).training, steps=context.STEPS, dtype="float32", n=20,
    ),
}  # fmt: skip


def widths(n: int) -> tuple[int, int]:
    """Neurons: too few, and more than enough."""
    return 3 * n // 4, 3 * n // 2


# What is counted ---------------------------------------------------------------------------------


class Reading(NamedTuple):
    """The use of neurons in a layer whose rows need not be one-hot."""

    use: Occupancy
    """Of slots."""
    crowd: int
    """Living features in a slot that another one has taken."""
    winners: float
    """Share of living features with a winner."""
    neuron: np.ndarray
    """(n,) the neuron that every feature is on; −1 for dead ones."""

    @property
    def read(self) -> bool:
        return self.winners >= READ

    @property
    def sharing(self) -> int:
        """Features beyond the first on their neurons."""
        return self.use.shared + self.crowd

    @property
    def incidental(self) -> int:
        """Of these, how many could have had a neuron of their own."""
        return min(self.sharing, self.use.unused)


def reading(A: np.ndarray) -> Reading:
    """The use of neurons by the codes A : (n, m) of the features, each in its largest entry."""
    lives, m = alive(A), A.shape[1]
    length = np.linalg.norm(A, axis=1)
    largest = np.argmax(np.abs(A), axis=1)
    value = A[np.arange(len(A)), largest]
    slot = np.zeros((m, 2), int)
    np.add.at(slot, (largest[lives], (value[lives] < 0.0).astype(int)), 1)
    load = np.bincount((slot > 0).sum(axis=1), minlength=3)
    won = np.abs(value[lives]) >= WINNER * length[lives]
    return Reading(
        Occupancy(shared=int(load[2]), single=int(load[1]), unused=int(load[0])),
        int(lives.sum() - (slot > 0).sum()),
        float(won.mean()) if lives.any() else 0.0,
        np.where(lives, largest, -1),
    )


def plain(seen: Reading) -> Run:
    """A reading as plain data."""
    use = seen.use
    return {
        "shared": use.shared, "single": use.single, "unused": use.unused, "crowd": seen.crowd,
        "winners": seen.winners, "p": use.p_value,
    }  # fmt: skip


# Starts ------------------------------------------------------------------------------------------


def drawn(family: Family, m: int, seeds: Sequence[int], scale: float = 1.0) -> Layers:
    """Gaussian starts."""
    shapes = [(family.n, m), (m, m)][: family.depth]

    def layer(number: int, offset: int) -> np.ndarray:
        numbers = [seed + offset + number * LAYER_SEED for seed in seeds]
        return starts(*shapes[number], numbers, scale=scale, dtype=family.dtype)

    untied = family.training.network.untied
    return [
        (layer(number, 0), layer(number, ENCODER_SEED) if untied else None)
        for number in range(family.depth)
    ]


def slots(kind: str, n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """A one-hot W : (n, m) of entries ±1 by *forced only* or *slot law*."""
    if kind == "slot law":
        taken = rng.permutation(2 * m)[:n]
        neuron, sign = taken % m, np.where(taken < m, 1.0, -1.0)
    else:
        neuron, sign = np.arange(n) % m, rng.choice([-1.0, 1.0], m)[np.arange(n) % m]
        sign[m:] *= -1.0
        neuron = rng.permutation(m)[neuron]
        order = rng.permutation(n)
        neuron, sign = neuron[order], sign[order]
    W = np.zeros((n, m))
    W[np.arange(n), neuron] = sign
    return W


def start_of(kind: str, seed: int) -> np.random.Generator:
    """The random numbers of a planted start; its slots are drawn first."""
    return np.random.default_rng([seed, STARTS.index(kind)])


def planted(family: Family, kind: str, m: int, seeds: Sequence[int]) -> Layers:
    """Starts of known occupancy, the same in every layer, on a Gaussian ground."""
    made = drawn(family, m, seeds, scale=GROUND)
    for k, seed in enumerate(seeds):
        rng = start_of(kind, seed)
        for number, layer in enumerate(made):
            W = family.code * slots(kind, family.n, m, rng) if number == 0 else np.zeros((m, m))
            if number:
                W[np.arange(m), rng.permutation(m)] = rng.choice([-1.0, 1.0], m) / family.code
            for matrix in layer:
                if matrix is not None:
                    matrix[k] += W
    return made


def joined(parts: Sequence[Layers]) -> Layers:
    """Instances of several starts after one another."""

    def together(matrices: Sequence[np.ndarray | None]) -> np.ndarray | None:
        there = [matrix for matrix in matrices if matrix is not None]
        return np.concatenate(there) if there else None

    made: Layers = []
    for layer in zip(*parts, strict=True):
        decoder = together([matrices[0] for matrices in layer])
        assert decoder is not None
        made.append((decoder, together([matrices[1] for matrices in layer])))
    return made


# Runs --------------------------------------------------------------------------------------------


def run(family: Family, layers: Layers, steps: int, seed: int) -> list[TrainingTrajectory]:
    """Train all instances."""
    (W0, encoder0), *inner = layers
    return train(
        family.training, W0, encoder0=encoder0, inner0=[W for W, _ in inner],
        inner_encoder0=[E for _, E in inner if E is not None], steps=steps, record_every=steps,
        save_at=[], seed=seed,
    )  # fmt: skip


def ends(run: TrainingTrajectory) -> Layers:
    """The last weights of a run, as a start of one instance."""
    return [
        (layer.final[None], None if layer.encoder is None else layer.encoder.final[None])
        for layer in (run, *run.inner)
    ]


def expected_loss(training: Training, run: TrainingTrajectory) -> float:
    """The loss at the end of a run, on many inputs where these or noise are drawn."""
    import jax
    import jax.numpy as jnp

    from flow.training.inputs import draw_batch, make_keys
    from flow.training.network import Layer, Weights, loss

    data, noise = training.data, training.noise
    if data.batch is None and noise is None:
        return float(run.loss[-1])
    if data.batch is not None:
        training = replace(training, data=replace(data, batch=FRESH))
    if noise is not None:
        training = replace(training, noise=replace(noise, fresh=True))
    first, *inner = (
        Layer(*(None if W is None else jnp.asarray(W[0]) for W in layer)) for layer in ends(run)
    )
    bias = None if run.output_bias is None else jnp.asarray(run.output_bias[-1])
    weights = Weights(*first, bias, tuple(inner))
    keys = jax.tree.map(lambda key: key[0] if key.ndim else key, make_keys(0, [0]))
    network = training.network

    def one(number: Any) -> Any:
        return loss(network, weights, draw_batch(training, weights, number, keys))

    draws = 1 if noise is None else FRESH // len(run.final)
    return float(np.mean(jax.vmap(one)(jnp.arange(draws))))


def measure(
    training: Training,
    *,
    name: str,
    family: Family,
    m: int,
    seeds: Sequence[int],
    steps: int | None = None,
) -> list[Run]:
    """Train from all starts and count in every layer; then duplicate, and train on."""
    steps = family.steps if steps is None else steps
    layers = joined(
        [drawn(family, m, seeds), *(planted(family, kind, m, seeds) for kind in STARTS[1:])]
    )
    trained = run(family, layers, steps, seed=0)
    found: list[Run] = []
    for k, one in enumerate(trained):
        kind, seed = STARTS[k // len(seeds)], seeds[k % len(seeds)]
        about = {"family": name, "n": family.n, "m": m, "start": kind, "seed": seed}
        made = codes(training.network, one) if one.status.finished else []
        found += [
            {**about, "layer": number, **plain(reading(A))} for number, A in enumerate(made, 1)
        ]
    network = family.training.network

    def train_on(layers: Layers) -> list[End]:
        return [
            End(codes(network, one)[-1], expected_loss(family.training, one))
            if one.status.finished
            else End(None, np.nan)
            for one in run(family, layers, max(1, steps // 2), seed=1)
        ]

    about = {"family": name, "n": family.n, "m": m}
    count = len(seeds)
    # From forced only starts there are pairs, all needed, where neurons are too few.
    for some in (trained[:count], trained[count : 2 * count] if m < family.n else []):
        good = {s: one for s, one in zip(seeds, some, strict=False) if one.status.finished}
        last = {seed: codes(network, one)[-1] for seed, one in good.items()}
        networks = {seed: ends(one) for seed, one in good.items()}
        found += interventions(about, networks, last, train_on)
    return found


# The intervention --------------------------------------------------------------------------------


class Trial(NamedTuple):
    """A shared neuron that is duplicated."""

    seed: int
    """Of the network."""
    neuron: int
    pair: np.ndarray
    """(2,) the features on it."""
    least: int
    """The neuron that is used least, but for it."""


def trials(seed: int, A: np.ndarray, rng: np.random.Generator) -> list[Trial]:
    """Some of the neurons with two features, by lot."""
    on = reading(A).neuron
    load = np.bincount(on[on >= 0], minlength=A.shape[1])
    length = np.linalg.norm(A, axis=1, keepdims=True)
    used = np.max(np.abs(A) / np.where(length > 0.0, length, 1.0), axis=0, where=alive(A)[:, None],
                  initial=0.0)  # fmt: skip
    found = []
    for neuron in rng.permutation(np.flatnonzero(load == 2))[:PAIRS]:
        others = used.copy()
        others[neuron] = np.inf
        pair = np.flatnonzero(on == neuron)
        found.append(Trial(seed, int(neuron), pair, int(np.argmin(others))))
    return found


def edited(layers: Layers, trial: Trial, seed: int, *, added: bool) -> Layers:
    """The network with the neuron of the last layer twice: one neuron more, or one less besides."""

    def edit(W: np.ndarray) -> np.ndarray:
        made = duplicate(W[0], trial.neuron, noise=NOISE, seed=seed, opposed=True)
        return (made if added else np.delete(made, trial.least, axis=1))[None]

    *below, (decoder, encoder) = layers
    return [*below, (edit(decoder), None if encoder is None else edit(encoder))]


class End(NamedTuple):
    """What is seen of a network that was trained on."""

    code: np.ndarray | None
    """A : (n, m), what each feature is in the last layer; None if it diverged."""
    loss: float


def interventions(
    about: Run,
    networks: Mapping[int, Layers],
    codes: Mapping[int, np.ndarray],
    train_on: Callable[[Layers], list[End]],
) -> Iterator[Run]:
    """What becomes of pairs whose neuron is duplicated, in networks and their codes by seed."""
    rng = np.random.default_rng(0)
    tried = [trial for seed, A in codes.items() for trial in trials(seed, A, rng)]
    if not tried:
        return
    # All that have one shape are trained in one call: the untouched, and those of either kind.
    untouched = dict(zip(networks, train_on(joined(list(networks.values()))), strict=True))
    for kind in ("added", "instead"):
        changed = [
            edited(networks[trial.seed], trial, number, added=kind == "added")
            for number, trial in enumerate(tried)
        ]
        for trial, end in zip(tried, train_on(joined(changed)), strict=True):
            was = reading(codes[trial.seed])
            line = {**about, "intervention": kind, "seed": trial.seed, "before": plain(was)}
            control = untouched[trial.seed]
            if end.code is None or control.code is None:
                yield {**line, "cost": None, "parted": False, "after": None}
                continue
            now, stayed = reading(end.code), reading(control.code)
            place = now.neuron[trial.pair]
            yield {
                **line,
                "parted": bool(place.min() >= 0 and place[0] != place[1]),
                "cost": end.loss - control.loss,
                "died": int((now.neuron < 0).sum() - (stayed.neuron < 0).sum()),
                "fewer": stayed.sharing - now.sharing,
                "after": plain(now),
            }


def without_cost(line: Run, c: float) -> bool:
    """Whether the pair parted, nothing died, fewer share and the loss did not grow."""
    return bool(
        line["parted"] and line["died"] <= 0 and line["fewer"] > 0 and line["cost"] < COST * c / 4.0
    )


# Tables ------------------------------------------------------------------------------------------


def use_of(line: Run) -> Occupancy:
    return Occupancy(shared=line["shared"], single=line["single"], unused=line["unused"])


def is_read(line: Run) -> bool:
    return bool(line["winners"] >= READ)


def refused(line: Run) -> bool:
    """Whether forced only is: something is shared and something unused."""
    return bool(line["unused"] > 0 and line["shared"] + line["crowd"] > 0)


def settings(runs: Sequence[Run]) -> Iterator[tuple[str, int, int, list[Run]]]:
    """Family, m and layer with the readings, in order."""
    for name, family in FAMILIES.items():
        for m in sorted({run["m"] for run in pick(runs, family=name)}):
            for layer in range(1, family.depth + 1):
                yield name, m, layer, [
                    run for run in pick(runs, family=name, m=m) if run.get("layer") == layer
                ]  # fmt: skip


def found(runs: list[Run]) -> Table:
    """From Gaussian starts. Mean ± 95 % interval over the networks that are read; shared: neurons
    with both slots taken; crowd: features in a slot that is taken; needed: max(0, living features
    − m); incidental: those that share and could have had a neuron of their own; θ̂ of all networks
    together, Σ4XU / ΣM(M − 1); refused, of the networks read."""
    columns = [
        "network", "m", "layer", "read", "with a winner, %", "living", "shared", "crowd", "unused",
        "needed", "incidental", "θ̂", "θ = 1 refused", "forced only refused",
    ]  # fmt: skip
    rows = [
        [name, str(m), str(layer), *summary(pick(lines, start="Gaussian"), m)]
        for name, m, layer, lines in settings(runs)
    ]
    return columns, rows


def summary(every: Sequence[Run], m: int) -> list[str]:
    """Cells of a table from the readings of a layer of m neurons in several networks."""
    some = [line for line in every if is_read(line)]
    winners = interval([100.0 * line["winners"] for line in every], digits=0)
    cells = [f"{len(some)} of {len(every)}", winners]
    if len(some) < 2:
        return [*cells, *[""] * 9]
    uses = [use_of(line) for line in some]
    living = [use.features + line["crowd"] for use, line in zip(uses, some, strict=True)]
    top = sum(4 * use.shared * use.unused for use in uses)
    pairs = sum(use.single * (use.single - 1) for use in uses)
    return [
        *cells,
        interval(living),
        *(interval([line[key] for line in some]) for key in ("shared", "crowd", "unused")),
        interval([max(0, count - m) for count in living]),
        interval([min(line["shared"] + line["crowd"], line["unused"]) for line in some]),
        f"{top / pairs:.2f}" if pairs else "",
        share(sum(line["p"] <= LEVEL for line in some), len(some)),
        share(sum(map(refused, some)), len(some)),
    ]


def known(runs: list[Run]) -> Table:
    """From starts of known occupancy: networks that are read, of 20 each, and of these such with
    exactly the shared, single and unused neurons that were planted; false alarms and power, of
    those read, with their 95 % intervals (Wilson)."""
    columns = [
        "network", "m", "layer", "forced only: read (as planted)", "it is refused (false alarm)",
        "θ = 1 is refused (power)", "slot law: read (as planted)",
        "θ = 1 is refused (false alarm)", "forced only is refused (power)",
    ]  # fmt: skip
    rows = []
    for name, m, layer, lines in settings(runs):
        cells = []
        for kind in STARTS[1:]:
            every = [line for line in lines if line["start"] == kind]
            some = [line for line in every if is_read(line)]
            refuted = share(sum(map(refused, some)), len(some))
            unlike = share(sum(line["p"] <= LEVEL for line in some), len(some))
            order = (refuted, unlike) if kind == "forced only" else (unlike, refuted)
            right = sum(as_planted(line) for line in some)
            cells += [f"{len(some)} of {len(every)} ({right})", *order]
        rows.append([name, str(m), str(layer), *cells])
    return columns, rows


def as_planted(line: Run) -> bool:
    """Whether the use of neurons is exactly that of the start."""
    kind = line["start"]
    W = slots(kind, line["n"], line["m"], start_of(kind, line["seed"]))
    return use_of(line) == occupancy(W) and line["crowd"] == 0


def parted(runs: list[Run]) -> Table:
    """Neurons with two features, duplicated with opposed noise: the pair ends on two neurons; so,
    and without cost (none dies, fewer share, the loss exceeds that of the untouched by less than a
    tenth of a lost feature), where some neuron had been unused and where none had been; median
    growth of the loss. Shares of trials with their 95 % intervals (Wilson)."""
    columns = [
        "network", "m", "copy", "trials", "parted", "without cost, some unused", "none unused",
        "growth of the loss, some unused", "none unused",
    ]  # fmt: skip
    rows = []
    for name, family in FAMILIES.items():
        for m in sorted({run["m"] for run in pick(runs, family=name)}):
            for kind in ("added", "instead"):
                lines = [
                    run for run in pick(runs, family=name, m=m)
                    if run.get("intervention") == kind and run["cost"] is not None
                ]  # fmt: skip
                if not lines:
                    continue
                free, full = (
                    [line for line in lines if (line["before"]["unused"] > 0) == there]
                    for there in (True, False)
                )
                c = family.training.network.c
                rows.append(
                    [
                        name, str(m), kind, str(len(lines)),
                        share(sum(line["parted"] for line in lines), len(lines)),
                        *(
                            share(sum(without_cost(line, c) for line in some), len(some))
                            for some in (free, full)
                        ),
                        *(
                            f"{np.median([line['cost'] for line in some]):+.3f}" if some else ""
                            for some in (free, full)
                        ),
                    ]
                )  # fmt: skip
    return columns, rows


CASES = [
    Case(
        f"{name}, m = {m}",
        family.training,
        partial(measure, name=name, family=family, m=m, seeds=range(SEEDS)),
    )
    for name, family in FAMILIES.items()
    for m in widths(family.n)
]
QUESTIONS = tuple(Question(CASES, table, FILE) for table in (found, known, parted))


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
