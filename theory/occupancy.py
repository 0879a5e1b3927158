"""Was sharing needed? What the use of neurons says, and why nothing else can.

Live features are on one neuron each, with at most one of either sign on a neuron (a *one-hot* W).
X neurons are shared, M have one feature, U none.

**Theorem (identity).** X − U = n_alive − m. *Proof.* Features are 2X + M, neurons X + M + U. ∎
So max(0, n_alive − m) shared neurons are **necessary**, and the others, min(X, U), **incidental**:
so many features could be given an unused neuron of their own at the same loss, X being U plus what
is necessary.

**Theorem (no local test).** Let W be one-hot with features i and j sharing a neuron, of sizes u
and v, the smaller of which is w. At every W + δ with ‖δ_i‖, ‖δ_j‖ < (√2 − 1) w the rates of rows i
and j are what they are without the other: W + δ with row j replaced by zeros gives row i the same.
*Proof.* G_ij = −uv + (terms linear in δ) + δ_i·δ_j ≤ −uv + u‖δ_j‖ + v‖δ_i‖ + ‖δ_i‖‖δ_j‖, which is
(u + ‖δ_i‖)(v + ‖δ_j‖) − 2uv. With r = √2 − 1 it is below (u + rw)(v + rw) − 2uv
≤ uv (1 + r)² − 2uv = 0. Where G_ij < 0 interference between the two is off. ∎
So no small disturbance of a feature, however it is watched, tells a shared neuron from one of its
own, let alone whether sharing was needed: weights, rates and responses of i are the same for n < m
and for n > m. What differs is which slots are taken, that is, occupancy. It says how many of the
shared neurons are incidental, and nothing can say *which*.

**Exact test.** Given n_alive and m, incidental sharing without preference is the slot law
(`theory.counting.slot_law`, θ = 1), in genetics the exact test of Hardy-Weinberg proportions; and
E[4XU] = θ E[M(M − 1)] under the tilted law makes 4XU/M(M − 1) an estimate of θ. It is 0 iff sharing
happened only as far as it had to (X = 0 or U = 0): one shared and one unused neuron together refute
that. A random sample of neurons has the same laws with its own numbers, n and m being unknown.

All this is of one-hot ends of this model. How much of it is left where rows are not one-hot, in
networks trained otherwise and in one that saw real images, is measured in
benchmarks/findings/README.md.

Sources: theory/README, section 4; Engels, Genetics 183 (2009) 1431, for the test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._checks import real, require
from theory.counting import slot_law, tilted_slot_law, total_law

__all__ = ["Occupancy", "exact_test", "occupancy", "power"]


@dataclass(frozen=True)
class Occupancy:
    """How many features the neurons of a one-hot W have."""

    shared: int
    """X: neurons with two features, one of either sign"""
    single: int
    """M: neurons with one"""
    unused: int
    """U: neurons with none"""

    @property
    def features(self) -> int:
        """n_alive = 2X + M."""
        return 2 * self.shared + self.single

    @property
    def neurons(self) -> int:
        """m = X + M + U."""
        return self.shared + self.single + self.unused

    @property
    def necessary(self) -> int:
        """Shared neurons that so many features need: max(0, n_alive − m)."""
        return max(0, self.features - self.neurons)

    @property
    def incidental(self) -> int:
        """Shared neurons beyond that: min(X, U)."""
        return min(self.shared, self.unused)

    @property
    def theta(self) -> float:
        """θ̂ = 4XU / M(M − 1); NaN where nothing else was possible (X U = 0 and M < 2)."""
        top, pairs = 4 * self.shared * self.unused, self.single * (self.single - 1)
        return top / pairs if pairs else np.inf if top else np.nan

    @property
    def p_value(self) -> float:
        """`exact_test` of θ = 1; 1 without features."""
        return exact_test(self.shared, self.features, self.neurons) if self.features else 1.0


def occupancy(weights: ArrayLike) -> Occupancy | None:
    """The use of neurons in W : (n, m); None if W is not one-hot.

    That is: some feature has several non-zero weights, or two share a slot. Dead features do not
    count. Reads exact zeros.
    """
    w = real("weights", weights)
    require(w.ndim == 2, "weights of shape (n, m)", w.shape, "pass a matrix, one row per feature")
    plus, minus = (w > 0).sum(axis=0), (w < 0).sum(axis=0)
    if (
        max(np.count_nonzero(w, axis=1).max(initial=0), plus.max(initial=0), minus.max(initial=0))
        > 1
    ):
        return None
    load = np.bincount(plus + minus, minlength=3)
    return Occupancy(shared=int(load[2]), single=int(load[1]), unused=int(load[0]))


def exact_test(shared: ArrayLike, n: ArrayLike, m: ArrayLike) -> float:
    """Two-sided p-value of X shared neurons against the slot law of n features and m neurons.

        p = Σ P(ΣX = x) over all x with P(x) ≤ P(Σ shared)

    Exact: under θ = 1 it is below any α with probability at most α. Of independent runs the total
    is tested, which is all that θ can be told by. n are the live features, and both may be those of
    a sample of neurons. 0 where that total has a probability below 1e-40.

    shared, n, m : integers, (R,) for R runs or scalar. Raises ValueError for an X that cannot be.
    """
    x, n_, m_ = (np.atleast_1d(a) for a in np.broadcast_arrays(shared, n, m))
    for seen, features, neurons in sorted(
        set(zip(x.tolist(), n_.tolist(), m_.tolist(), strict=True))
    ):
        low, high = slot_law(features, neurons).support
        require(low <= seen <= high, f"{low} <= shared <= {high}", seen, "it is of this n and m")
    low, pmf = total_law(n_, m_)
    at = int(x.sum()) - low
    likely = pmf[at] if 0 <= at < pmf.size else 0.0
    return float(min(1.0, pmf[pmf <= likely * (1 + 1e-9)].sum()))


def power(n: int, m: int, theta: float, *, level: float = 0.05) -> float:
    """Probability that one run under the tilted law of θ has `exact_test` below `level`.

    Exact. One run tells θ = 0.77 from 1 with power 0.15, 0.52, 0.99 at n = m = 256, 1024, 4096.
    Raises ValueError as `tilted_slot_law` does, and unless 0 < level < 1.
    """
    require(0 < level < 1, "0 < level < 1", level, "0.05 is customary")
    law, null = tilted_slot_law(n, m, theta), slot_law(n, m)
    low, high = null.support
    x = np.arange(low, high + 1)
    log_p = null.logpmf(x)
    order = np.argsort(log_p)
    # The tail below each x in order of probability, ties together, is its p-value.
    tail = np.cumsum(np.exp(log_p[order]))
    last = np.searchsorted(log_p[order], log_p + 1e-9, side="right") - 1
    return float(law.pmf(x[tail[last] <= level]).sum())
