"""``python -m benchmarks.findings.flips``: is the sign of a collision the cause of its fate?

Two features on one neuron collide benignly with weights of opposite sign, malignly with weights of
the same sign. Here the sign is changed by hand in the middle of a run, and the run goes on.

Protocol: n = 64, m = 128, λ = 0.01, c = 1, Gaussian starts, every run to rest. A run is stopped at
λt = 0.25 (on the plateau of the count), 0.5 (where the count collapses), 1 (after it) and at rest.
A pair is two features with both weights above 0.3 in size on one neuron; of each kind at most
`PAIRS` a run and time are drawn. Treatments, each a branch of the run:

- *untouched*: the run as it is;
- *one*: the sign of the smaller weight is turned, so that the kind of the pair changes;
- *both*: both signs are turned: the same blow to everybody else on the neuron, the kind stays;
- *all*: *one*, done at once to every pair of the kind (each weight in one pair).

At rest the weights of a pair are equal, and equal weights of the same sign are never parted
(a saddle): there the larger, drawn by lot, is made 1 % larger first, in *both* too.

Counted: whether the features of the pair stay on the neuron with the sign that they have after the
turn, which of them, whether one dies, how many features the neuron ends with, and how many others
end on another neuron or with another sign than they do untouched. Where each feature of a pair has
one weight alone, the closed-form race of theory.collisions says who stays and when the other dies.

Foreseen, before the runs: (1) no benign pair that is made malign keeps both features; (2) malign
pairs made benign keep both more often than untouched, at each time; (3) *both* ends as *untouched*
does, within the intervals; (4) at rest the larger stays always, the other dies at the race's time
to 1 %, no other feature is touched, and the neuron goes from two features to one.

Expected: 20 runs with about 60 branches each, 2 to 4 minutes on one core.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest
from tqdm import tqdm

from benchmarks.command import command_line
from benchmarks.tables import keep, markdown, provenance
from flow import FeatureBenefit, Interference, Regularization, Simulation, gaussian_init
from flow.analysis.pairs import Collisions, collisions
from flow.analysis.states import winners
from flow.analysis.statistics import mean_and_interval
from flow.edit import flip, rescale
from theory.collisions import race_applies, race_time

ABOVE = 0.3
"""Both weights of a pair exceed this in size."""
PAIRS = 6
"""Pairs of a kind that are flipped in a run at a time, one after the other."""
TIMES = {"plateau, λt = 0.25": 0.25, "collapse, λt = 0.5": 0.5, "after it, λt = 1": 1.0}
REST = "rest"
NUDGE = 1.01
TREATMENTS = ("untouched", "one", "both", "all")


class Pair(NamedTuple):
    """Two features on one neuron, the one with the larger weight first."""

    larger: int
    smaller: int
    neuron: int


class Branch(NamedTuple):
    """A run that was changed for the sake of some pairs, and what it ended with."""

    pairs: Sequence[Pair]
    start: np.ndarray
    """W : (n, m) after the change."""
    end: np.ndarray
    sim: Simulation


# One run -----------------------------------------------------------------------------------------


def measure(n: int, m: int, lam: float, seed: int) -> list[dict[str, Any]]:
    """What comes of the pairs of one run, a line for each time, kind and treatment."""
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    sim = Simulation(forces, gaussian_init(n, m, seed=seed), events=True)
    whole = sim.branch()
    whole.run()
    rng = np.random.default_rng(seed)
    lines = []
    for when in (*TIMES, REST):
        if when == REST:
            sim = whole
        elif whole.t > TIMES[when] / lam:
            sim.run(until=TIMES[when] / lam)
        else:
            continue  # At rest before that.
        met = collisions(sim.W, threshold=ABOVE)
        for kind, of_kind in (("benign", met.benign), ("malign", ~met.benign)):
            pairs = _pairs(met, rng.permutation(np.flatnonzero(of_kind)), rng, tie=when == REST)
            for treatment, branches in _treat(sim, whole, pairs, nudged=when == REST):
                line = {"when": when, "t": sim.t, "kind": kind, "treatment": treatment}
                line |= _count(branches, whole.W)
                if treatment == "one":
                    line["races"] = [race for one in branches for race in _race(one, lam, sim.t)]
                lines.append(line)
    return lines


def _pairs(
    met: Collisions, which: np.ndarray, rng: np.random.Generator, *, tie: bool
) -> list[Pair]:
    """Those of `which`, with the larger drawn by lot where sizes are equal but for rounding."""
    pairs = []
    for k in which:
        i, j = int(met.first[k]), int(met.second[k])
        swap = abs(met.first_weight[k]) < abs(met.second_weight[k])
        if tie:
            swap = rng.random() < 0.5
        pairs.append(Pair(*((j, i) if swap else (i, j)), int(met.neuron[k])))
    return pairs


def _treat(
    sim: Simulation, whole: Simulation, pairs: Sequence[Pair], *, nudged: bool
) -> Iterator[tuple[str, list[Branch]]]:
    """Every treatment's branches; `whole` is the run at rest."""
    some = pairs[:PAIRS]
    yield "untouched", [Branch(some, sim.W, whole.W, whole)]
    for treatment in ("one", "both"):
        yield treatment, [_branch(sim, [pair], treatment, nudged) for pair in some]
    yield "all", [_branch(sim, _apart(pairs), "all", nudged)]


def _apart(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs no two of which have a weight in common, the first ones first."""
    taken: set[tuple[int, int]] = set()
    kept = []
    for pair in pairs:
        weights = {(pair.larger, pair.neuron), (pair.smaller, pair.neuron)}
        if not weights & taken:
            taken |= weights
            kept.append(pair)
    return kept


def _branch(sim: Simulation, pairs: Sequence[Pair], treatment: str, nudged: bool) -> Branch:
    W = sim.W
    for larger, smaller, neuron in pairs:
        W = flip(W, smaller, neuron)
        if treatment == "both":
            W = flip(W, larger, neuron)
        if nudged:
            W = rescale(W, NUDGE, feature=larger, neuron=neuron)
    other = sim.branch()
    other.W = W
    other.run()
    return Branch(pairs, W, other.W, other)


FATES = {
    (True, True): "both", (True, False): "larger", (False, True): "smaller",
    (False, False): "none",
}  # fmt: skip
"""Whether the features with the larger and with the smaller weight stayed."""


def _fate(branch: Branch, pair: Pair) -> str:
    """Who has a weight of the sign after the change on the neuron at the end."""
    on = branch.start[:, pair.neuron] * branch.end[:, pair.neuron] > 0.0
    return FATES[bool(on[pair.larger]), bool(on[pair.smaller])]


def _count(branches: Sequence[Branch], untouched: np.ndarray) -> dict[str, Any]:
    """What became of the pairs of some branches, and of the others; untouched : W at rest."""
    fates: Counter[str] = Counter()
    loads: Counter[str] = Counter()
    dead, others = 0, []
    for branch in branches:
        one, other = winners(untouched, untouched), winners(untouched, branch.end)
        changed = (one.neuron != other.neuron) | (one.sign != other.sign)
        for pair in branch.pairs:
            fates[_fate(branch, pair)] += 1
            loads[str(min(3, np.count_nonzero(branch.end[:, pair.neuron])))] += 1
            dead += sum(not branch.end[i].any() for i in (pair.larger, pair.smaller))
            changed[[pair.larger, pair.smaller]] = False
        others.append(int(changed.sum()))
    return {
        "pairs": fates.total(),
        "fates": dict(fates),
        "neuron": dict(loads),
        "dead": dead,
        "others": others,
    }


def _race(branch: Branch, lam: float, begun: float) -> list[dict[str, Any]]:
    """The closed-form race of a malign pair of lone features, beside the run; else nothing."""
    (pair,) = branch.pairs
    rows = branch.start[[pair.larger, pair.smaller]]
    a, b = rows[:, pair.neuron]
    lone = np.all(np.count_nonzero(rows, axis=1) == 1)
    if not (lone and a * b > 0.0 and abs(a) > abs(b) and race_applies(abs(a), abs(b), lam)):
        return []
    died = branch.sim.trajectory().events.extinctions
    these = (died.feature == pair.smaller) & (died.neuron == pair.neuron) & (died.time > begun)
    return [
        {
            "larger_stayed": _fate(branch, pair) == "larger",
            "foreseen": float(race_time(abs(a), abs(b), lam)),
            "found": float(died.time[these][0] - begun) if these.any() else None,
        }
    ]


# The table ---------------------------------------------------------------------------------------

COLUMNS = [
    "when", "pairs", "treatment", "number", "both stay", "one stays (the larger)", "none stays",
    "features that die", "neuron ends with two or more", "others changed",
]  # fmt: skip


def share(count: int, total: int) -> str:
    """A percentage with its 95 % interval (Wilson)."""
    if not total:
        return ""
    ends = binomtest(count, total).proportion_ci(method="wilson")
    return f"{100 * count / total:.0f} % ({100 * ends.low:.0f}–{100 * ends.high:.0f})"


def table(lines: Sequence[dict[str, Any]]) -> list[list[str]]:
    """One row for each time, kind and treatment that there are pairs for."""
    rows = []
    for when in (*TIMES, REST):
        for kind in ("benign", "malign"):
            for treatment in TREATMENTS:
                some = [
                    line for line in lines
                    if (line["when"], line["kind"], line["treatment"]) == (when, kind, treatment)
                    and line["pairs"]
                ]  # fmt: skip
                if some:
                    rows.append([when, kind, treatment, *_cells(some)])
    return rows


def _cells(lines: Sequence[dict[str, Any]]) -> list[str]:
    total = sum(line["pairs"] for line in lines)
    fates: Counter[str] = Counter()
    loads: Counter[str] = Counter()
    for line in lines:
        fates.update(line["fates"])
        loads.update(line["neuron"])
    one = fates["larger"] + fates["smaller"]
    mean, half = mean_and_interval([float(np.mean(line["others"])) for line in lines])
    return [
        str(total),
        share(fates["both"], total),
        f"{share(one, total)}, {fates['larger']} of {one}" if one else share(0, total),
        share(fates["none"], total),
        str(sum(line["dead"] for line in lines)),
        share(loads["2"] + loads["3"], total),
        f"{mean:.1f} ± {half:.1f}",
    ]


def races(lines: Sequence[dict[str, Any]]) -> str:
    """One sentence about the races that the closed form foretells."""
    found = [race for line in lines for race in line.get("races", [])]
    timed = [race for race in found if race["found"] is not None]
    if not timed:
        return "No pair was a race that the closed form foretells."
    off = [race["found"] / race["foreseen"] - 1.0 for race in timed]
    stayed = sum(race["larger_stayed"] for race in found)
    return (
        f"Races of lone features: the larger stayed in {stayed} of {len(found)}; the other died at "
        f"{100 * np.mean(off):+.2f} % of the time foreseen on average, "
        f"{100 * min(off):+.2f} to {100 * max(off):+.2f} %."
    )


def main(
    n: int = 64,
    m: int = 128,
    lam: float = 0.01,
    seeds: int = 20,
    out: Path = Path("benchmarks/findings/flips.json"),
    max_seconds: float = float("inf"),
) -> None:
    """Flip the pairs of every run and print what becomes of them; runs are kept and not made again.

    Args:
        n: features.
        m: neurons.
        lam: strength of the regularization.
        seeds: runs, with seeds 0, 1, ...
        out: JSON file; runs of the same sizes and λ that it holds are not made again.
        max_seconds: begin no run after so much time; 0 prints what there is.
    """
    about = {"n": n, "m": m, "lam": lam}
    kept = json.loads(out.read_text()) if out.exists() else {}
    if kept.get("about") != about:
        kept = {"about": about, "runs": {}}
    until = time.perf_counter() + max_seconds
    for seed in tqdm(range(seeds)):
        if str(seed) in kept["runs"] or time.perf_counter() >= until:
            continue
        kept["runs"][str(seed)] = measure(n, m, lam, seed)
        kept.update(provenance())
        keep(out, kept)
    lines = [line for run in kept["runs"].values() for line in run]
    print(f"\nn = {n}, m = {m}, λ = {lam:g}, {len(kept['runs'])} runs\n")
    print(markdown(COLUMNS, table(lines)))
    print(f"\n{races(lines)}")


if __name__ == "__main__":
    command_line(main)
