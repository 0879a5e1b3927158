"""``python -m benchmarks.findings.cure``: does duplicating a polysemantic neuron cure it?

The paper proposes to duplicate a polysemantic neuron, to split its weights between the copies
and to add a little noise, in the hope that each of its two features then takes a copy of its
own. Here that is done to every polysemantic neuron of a run at rest, one at a time, with tied
weights (each copy has the weights / √2), and the flow goes on until it rests again.

What to expect: the two features of a benign collision have G_ij < 0, so they do not see each
other. Each is in a race of two nearly equal weights, its own copies, which the larger one wins
(the symmetric point is a saddle). Independent noise decides the two races independently, so
that the features part in one case out of two; noise of opposite sign for the two features
(*opposed*) parts them always.

Source: paper, discussion; theory/README, sections 2 (two-way race) and 3 (benign collisions).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count

import numpy as np

from benchmarks.command import command_line
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.analysis.statistics import mean_and_interval
from flow.edit import duplicate
from flow.forces import Force


@dataclass(frozen=True)
class Trial:
    """One neuron duplicated in one run."""

    seed: int
    outcome: str
    """parted, together, or other (a feature on both copies, on neither, or not at rest)."""
    foreseen: bool
    """Whether each feature kept the copy that the noise had made larger for it."""
    disturbed: int
    """Weights of other features that are zero on one side and not on the other."""


def cure(forces: list[Force], W: np.ndarray, edited: np.ndarray, neuron: int, seed: int) -> Trial:
    """Run the edited W : (n, m + 1) to rest and say where the features of `neuron` ended up."""
    after = integrate(forces, edited)
    copies = [neuron, W.shape[1]]
    i, j = np.flatnonzero(W[:, neuron])
    on = [np.flatnonzero(after.final[row, copies]).tolist() for row in (i, j)]
    alone = all(np.count_nonzero(after.final[row]) == 1 for row in (i, j))
    outcome = "other"
    if after.status.finished and alone and all(len(place) == 1 for place in on):
        outcome = "together" if on[0] == on[1] else "parted"
    larger = [[int(np.argmax(np.abs(edited[row, copies])))] for row in (i, j)]
    others = np.ones(W.shape[0], bool)
    others[[i, j]] = False
    disturbed = int(np.sum((W[others] != 0.0) != (after.final[others, :-1] != 0.0)))
    return Trial(seed, outcome, on == larger, disturbed)


def main(
    n: int = 64,
    m: int = 128,
    lam: float = 0.01,
    seeds: int = 20,
    draws: int = 4,
    noises: tuple[float, ...] = (1e-3, 1e-2, 5e-2),
) -> None:
    """Duplicate every polysemantic neuron of every run, one at a time.

    Args:
        n: features.
        m: neurons.
        lam: strength of the regularization.
        seeds: runs, with seeds 0, 1, ...
        draws: how often the noise is drawn for every neuron.
        noises: standard deviations of the noise.
    """
    forces: list[Force] = [FeatureBenefit(), Interference(), Regularization(lam)]
    before = [integrate(forces, gaussian_init(n, m, seed=seed)).final for seed in range(seeds)]
    print(f"n = {n}, m = {m}, λ = {lam}, {seeds} seeds; intervals of 95 % over seeds")
    print("| noise | trials | features part, share | 95 % interval | together | other | "
          "larger copy kept | others disturbed |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    noise_seeds = count(1_000_000)
    for name, opposed in (("independent", False), ("opposed", True)):
        for noise in noises:
            trials = []
            for seed, W in enumerate(before):
                for neuron in np.flatnonzero(np.count_nonzero(W, axis=0) == 2).repeat(draws):
                    edited = duplicate(
                        W, int(neuron), noise=noise, seed=next(noise_seeds), opposed=opposed
                    )
                    trials.append(cure(forces, W, edited, int(neuron), seed))
            outcomes = Counter(trial.outcome for trial in trials)
            by_seed = [
                np.mean([t.outcome == "parted" for t in trials if t.seed == seed])
                for seed in sorted({t.seed for t in trials})
            ]
            share, half = mean_and_interval(by_seed)
            print(
                f"| {name}, {noise:g} | {len(trials)} | {share:.3f} | ± {half:.3f} | "
                f"{outcomes['together']} | {outcomes['other']} | "
                f"{np.mean([t.foreseen for t in trials]):.3f} | "
                f"{sum(t.disturbed for t in trials)} |",
                flush=True,
            )


if __name__ == "__main__":
    command_line(main)
