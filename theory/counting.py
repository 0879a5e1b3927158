"""How many neurons end up polysemantic: collision counts and the slot law.

n features choose among m neurons, each with a sign: 2m (neuron, sign) *slots*. A neuron is
polysemantic when both of its slots are taken (a benign collision; two features in one slot are
a malign one, which cannot last). Three different things get counted here, and the paper's
n²/4m mixes the first two:

    pairs of features that meet              collision_pairs, opposite_sign_pairs, paper_count
    neurons met with both signs, if nobody moves afterwards      neurons_without_relocation
    neurons shared once every malign loser has found a free slot (conjecture)      slot_law

and around the slot law stand

    frozen_winner, sequential_law   **theorem**: features learned one after another
    tilted_slot_law, fit_tilt       **conjecture**: features learned at the same time

**Theorem (frozen owners).** Let every W_j, j ≠ i, be one weight of size w₊ on one neuron, at
rest (w₊ the stable root of c (1 − w²) w = λ), with at most one owner for each (neuron, sign) slot,
and held there; let interference be as strong as feature benefit. Then the winner of row i is its
initially largest weight on a *free* slot, unless the row dies or that weight is tied.

*Proof.* The owner of (k, s) has W_j = s w₊ e_k, hence G_ij = s w₊ W_ik, and −c ReLU(G_ij) W_j acts
on coordinate k alone, there by −c w₊² W_ik if W_ik has the sign s and not at all otherwise. So with
g = c (1 − ‖W_i‖²) and x = |W_ik|,

    free slot:   x' = g x − λ          taken slot:   x' = (g − c w₊²) x − λ

and a zero stays zero, as no owner pushes at W_ik = 0. Free coordinates have one growth rate, so
their order is kept and gaps between them never close (section 2 of theory/README). On a taken slot
g ≤ c (1 − x²), so that x' ≤ c (1 − w₊²) x − λ − c x³ = λ (x/w₊ − 1) − c x³: negative for
0 ≤ x ≤ w₊, and beyond too, its derivative λ/w₊ − 3c x² being negative where x ≥ w₊ > 1/√3. The
bound is −λ at x = 0 and tends to −∞, so x reaches zero in bounded time. What is left is a row on
its free coordinates alone. ∎

**Corollary (exact law).** Let n ≤ m rows with independent entries of exchangeable sizes and fair
signs be learned one after another, each starting after those before it have come to rest and are
held, and let no row die. Then the number of shared neurons has the law of `sequential_law`, for
every λ. It is *not* exactly the slot law: a row proposes one sign on each neuron, not both, so that
an empty neuron takes it for certain when its turn comes and a half-taken one in half the cases.
With n = 2 the two share with probability 1/(2m), in the slot law 1/(2m − 1). The means differ by a
share that falls as 1/m: for large m features learned one after another follow the slot law.

Sources: paper, sections 1.1 and 2.5; theory/README, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp, xlog1py
from scipy.stats import chi2

from theory._checks import Array, positive, real, require

__all__ = [
    "CountLaw",
    "SequentialLaw",
    "SlotLaw",
    "Tilt",
    "TiltedSlotLaw",
    "collision_pairs",
    "fit_tilt",
    "frozen_winner",
    "neurons_without_relocation",
    "opposite_sign_pairs",
    "paper_count",
    "sequential_law",
    "slot_law",
    "slot_law_applies",
    "slot_mean",
    "slot_variance",
    "tilted_slot_law",
    "total_law",
]


def collision_pairs(n: ArrayLike, m: ArrayLike) -> Array:
    """Expected number of feature pairs whose initially largest weights share a neuron.

        E = n(n − 1) / (2m)

    Exact for rows with independent, exchangeable coordinates (Gaussian starts among them): each
    of the n(n−1)/2 pairs meets with probability 1/m. A three-way meeting counts as three pairs.

    n, m : broadcast. Source: paper, section 1.1. Raises ValueError unless n, m > 0.
    """
    n_, m_ = positive("n", n), positive("m", m)
    return np.asarray(n_ * (n_ - 1) / (2 * m_))


def opposite_sign_pairs(n: ArrayLike, m: ArrayLike) -> Array:
    """Expected number of colliding pairs with opposite signs, i.e. of benign collisions.

        E = n(n − 1) / (4m)

    Half of `collision_pairs`: signs are independent of sizes in a symmetric start.

    n, m : broadcast. Source: paper, section 2.5. Raises ValueError unless n, m > 0.
    """
    return np.asarray(collision_pairs(n, m) / 2)


def paper_count(n: ArrayLike, m: ArrayLike) -> Array:
    """The paper's prediction for the number of polysemantic neurons.

        n² / (4m)

    `opposite_sign_pairs` to leading order in n. It is a count of *pairs* which the paper
    compares with a count of *neurons*: kept here to be drawn beside the others, not as truth.

    n, m : broadcast. Source: paper, section 2.5, with the reservation of theory/README, section 4.
    Raises ValueError unless n, m > 0.
    """
    n_, m_ = positive("n", n), positive("m", m)
    return np.asarray(n_**2 / (4 * m_))


def neurons_without_relocation(n: ArrayLike, m: ArrayLike) -> Array:
    """Expected number of neurons taken with both signs if every initial argmax stays put.

        E = m [1 − 2 (1 − 1/2m)^n + (1 − 1/m)^n]

    Exact for n independent uniform choices among the 2m slots (any symmetric exchangeable
    start). Losers of malign collisions are taken to leave no trace and not to move.

    n, m : broadcast, m ≥ 1. Source: theory/README, section 4.
    Raises ValueError unless n > 0 and m ≥ 1.
    """
    n_, m_ = positive("n", n), positive("m", m)
    require(m_ >= 1, "m >= 1", m, "a count of neurons is at least 1")
    # With A = n ln(1 − 1/2m) the bracket is (1 − e^A)² − e^(2A) (1 − e^(B − 2A)): both terms are
    # of the size of the answer, whereas the printed form loses all digits once m ≫ n.
    log_missed = xlog1py(n_, -1 / (2 * m_))
    log_ratio = xlog1py(n_, -1 / (2 * m_ - 1) ** 2)
    bracket = np.expm1(log_missed) ** 2 + np.exp(2 * log_missed) * np.expm1(log_ratio)
    return np.asarray(m_ * np.maximum(bracket, 0.0))


def slot_law_applies(n: int, m: int) -> bool:
    """Whether n features fit into the 2m slots, which is all that the slot law assumes."""
    return bool(n >= 1 and m >= 1 and n <= 2 * m)


def slot_mean(n: ArrayLike, m: ArrayLike) -> Array:
    """Mean of the slot law (conjecture as a prediction, exact as a moment).

        E X = n(n − 1) / (4m − 2)

    n, m : broadcast. Source: theory/README, section 4. Raises ValueError unless 1 ≤ n ≤ 2m.
    """
    n_, m_ = _slots(n, m)
    return np.asarray(n_ * (n_ - 1) / (4 * m_ - 2))


def slot_variance(n: ArrayLike, m: ArrayLike) -> Array:
    """Variance of the slot law (conjecture as a prediction, exact as a moment).

        Var X = n(n−1)(2m−n)(2m−n−1) / [2 (2m−1)² (2m−3)]

    For m = 1 the count is certain and the variance 0 (the formula's 0/(−2)).

    n, m : broadcast. Source: theory/README, section 4. Raises ValueError unless 1 ≤ n ≤ 2m.
    """
    n_, m_ = _slots(n, m)
    top = n_ * (n_ - 1) * (2 * m_ - n_) * (2 * m_ - n_ - 1)
    return np.asarray(np.abs(top / (2 * (2 * m_ - 1) ** 2 * (2 * m_ - 3))))


def slot_law(n: int, m: int) -> SlotLaw:
    """The slot law for n features and m neurons; see `SlotLaw`."""
    return SlotLaw(n=n, m=m)


def sequential_law(n: int, m: int) -> SequentialLaw:
    """The law of features learned one after another; see `SequentialLaw`."""
    return SequentialLaw(n=n, m=m)


def tilted_slot_law(n: int, m: int, theta: float) -> TiltedSlotLaw:
    """The slot law with sharing made θ times as likely; see `TiltedSlotLaw`."""
    return TiltedSlotLaw(n=n, m=m, theta=theta)


@dataclass(frozen=True)
class CountLaw:
    """A distribution of the number X of polysemantic neurons among m, with n features on them.

    What laws have in common: everything but the table of log P(X = x) over the support.
    Raises ValueError unless n, m are integers with 1 ≤ n ≤ 2m.
    """

    n: int
    """number of features"""
    m: int
    """number of neurons"""

    def __post_init__(self) -> None:
        whole = isinstance(self.n, int | np.integer) and isinstance(self.m, int | np.integer)
        require(
            whole and slot_law_applies(self.n, self.m),
            "integers 1 <= n <= 2m",
            (self.n, self.m),
            "there are only 2m slots: lower n or raise m",
        )

    @property
    def support(self) -> tuple[int, int]:
        """Smallest and largest possible count: max(0, n − m) and floor(n / 2)."""
        return max(0, int(self.n) - int(self.m)), int(self.n) // 2

    def logpmf(self, x: ArrayLike) -> Array:
        """log P(X = x); minus infinity off the support. x : any shape."""
        x_ = np.asarray(x, dtype=np.float64)
        low, high = self.support
        inside = (x_ >= low) & (x_ <= high) & (x_ == np.floor(x_))
        index = np.where(inside, x_ - low, 0).astype(np.int64)
        return np.asarray(np.where(inside, self._log_table[index], -np.inf))

    def pmf(self, x: ArrayLike) -> Array:
        """P(X = x). x : any shape."""
        return np.asarray(np.exp(self.logpmf(x)))

    def cdf(self, x: ArrayLike) -> Array:
        """P(X ≤ x). x : any shape."""
        return self._lookup(self._cdf_table, x)

    def sf(self, x: ArrayLike) -> Array:
        """P(X > x), summed from the far end so that a small tail keeps digits. x : any shape."""
        return self._lookup(self._sf_table, x)

    def ppf(self, probability: ArrayLike) -> NDArray[np.int64]:
        """Quantile: the smallest count x with P(X ≤ x) ≥ probability.

        probability : any shape. Raises ValueError for a probability outside [0, 1].
        """
        wanted = np.asarray(probability, dtype=np.float64)
        require((wanted >= 0) & (wanted <= 1), "0 <= p <= 1", probability, "pass a probability")
        index = np.searchsorted(self._cdf_table[1:], wanted, side="left")
        return np.asarray(index + self.support[0], dtype=np.int64)

    def interval(self, level: float) -> tuple[int, int]:
        """Central interval that holds X with probability at least `level` in (0, 1)."""
        require(0 < level < 1, "0 < level < 1", level, "0.95 is customary")
        low, high = self.ppf([(1 - level) / 2, (1 + level) / 2])
        return int(low), int(high)

    def mean(self) -> float:
        """E X."""
        low, high = self.support
        return float(np.arange(low, high + 1) @ np.exp(self._log_table))

    def var(self) -> float:
        """Var X."""
        low, high = self.support
        return float((np.arange(low, high + 1) - self.mean()) ** 2 @ np.exp(self._log_table))

    def std(self) -> float:
        """Standard deviation of X."""
        return float(np.sqrt(self.var()))

    @property
    def _log_table(self) -> Array:
        """log P(X = x) for x over the support."""
        raise NotImplementedError

    @cached_property
    def _cdf_table(self) -> Array:
        below = np.concatenate([[0.0], np.cumsum(np.exp(self._log_table))])
        below[-1] = 1.0
        return np.minimum(below, 1.0)

    @cached_property
    def _sf_table(self) -> Array:
        above = np.concatenate([np.cumsum(np.exp(self._log_table)[::-1])[::-1], [0.0]])
        above[0] = 1.0
        return np.minimum(above, 1.0)

    def _lookup(self, table: Array, x: ArrayLike) -> Array:
        low, high = self.support
        index = np.clip(np.floor(np.asarray(x, dtype=np.float64)), low - 1, high) - low + 1
        return np.asarray(table[index.astype(np.int64)])


@dataclass(frozen=True)
class SlotLaw(CountLaw):
    """Distribution of the number X of polysemantic neurons at the end of training.

        P(X = x) = C(m, x) C(m − x, n − 2x) 2^(n − 2x) / C(2m, n)

    **Conjecture** (measured, not proved): losers of malign collisions relocate, and the end
    state looks like a uniformly random n-subset of the 2m (neuron, sign) slots. Whether it holds
    depends on λ√m/c: at 1 the mean count is 0.98 ± 0.02 of this law's, at 0.05 and below it is
    0.81 ± 0.02 of it (m ≥ 2n). The distribution itself is exact combinatorics;
    geneticists know it as the law of Levene and Haldane (slots are alleles, neurons individuals).

    Computed in log space by its recurrence from the mode, so that n = 10⁶ is as good as n = 10:

        P(x + 1) / P(x) = (n − 2x)(n − 2x − 1) / [4 (x + 1)(m − n + x + 1)]

    Source: theory/README, section 4. Raises ValueError unless n, m are integers with 1 ≤ n ≤ 2m.
    """

    def mean(self) -> float:
        """E X, see `slot_mean`."""
        return float(slot_mean(self.n, self.m))

    def var(self) -> float:
        """Var X, see `slot_variance`."""
        return float(slot_variance(self.n, self.m))

    @cached_property
    def _log_table(self) -> Array:
        return _from_the_mode(_slot_steps(self))


@dataclass(frozen=True)
class TiltedSlotLaw(CountLaw):
    """The slot law with a shared neuron weighing θ, n features and m neurons.

        P(X = x) ∝ C(m, x) C(m − x, n − 2x) 2^(n − 2x) θ^x,      E[4 X U] = θ E[M (M − 1)]

    M = n − 2X neurons have one feature and U = m − n + X none; the identity follows from the
    recurrence, which is the slot law's times θ. θ = 1 is the slot law, θ < 1 avoids sharing, θ = 0
    shares only where it must. It is a product over neurons given the total, so any set of neurons
    has it too, with the same θ, given how many features are on the set; in genetics it is the law
    of genotypes with disequilibrium θ.

    **Conjecture** (measured): with θ chosen for the mean it has the variance of the flow's counts.
    For m ≥ 2n θ depends on n/√m and λ√m/c alone, within errors; its value is not derived.

    Source: theory/README, section 4.
    Raises ValueError unless n, m are integers with 1 ≤ n ≤ 2m and θ is finite and ≥ 0.
    """

    theta: float = 1.0
    """weight of a shared neuron"""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            np.isfinite(self.theta) and self.theta >= 0,
            "a finite theta >= 0",
            self.theta,
            "1 is the slot law",
        )

    @cached_property
    def _log_table(self) -> Array:
        if self.theta == 0.0:
            low, high = self.support
            return np.concatenate([[0.0], np.full(high - low, -np.inf)])
        return _from_the_mode(_slot_steps(self) + np.log(self.theta))


@dataclass(frozen=True)
class SequentialLaw(CountLaw):
    """Distribution of X for n ≤ m features learned one after another beside frozen owners.

    **Theorem**, see the top of this file for its assumptions and proof. While e neurons are empty
    and h have one owner, the next feature shares with probability

        E[K / (e + K)],      K ~ Binomial(h, 1/2)

    as each half-taken neuron is open to it with probability 1/2, and the largest weight among the
    e + K open neurons is equally likely to be on any of them. X is the number of times that
    happens. Exact, in O(n²): J(e, h) = E[1/(e + K)] obeys J(e, h + 1) = (J(e, h) + J(e + 1, h))/2.

    Source: theory/README, section 4. Raises ValueError unless n, m are integers with 1 ≤ n ≤ m:
    beyond that a feature may find no open slot, and dies.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.n <= self.m, "n <= m", (self.n, self.m), "with more features some may die")

    @cached_property
    def _log_table(self) -> Array:
        n, m, most = int(self.n), int(self.m), int(self.n) // 2
        inverse = 1.0 / np.arange(m - n + 1, m + 1)  # J(e, 0) for e = m − n + 1, …, m
        share = np.zeros(
            (n, most + 1)
        )  # by the features there are, and how many neurons they share
        for half in range(n):  # here `inverse` is J(e, half) for e up to m − half
            shared = np.arange(min(most, (n - 1 - half) // 2) + 1)
            empty = m - half - shared
            share[half + 2 * shared, shared] = 1.0 - empty * inverse[inverse.size - 1 - shared]
            inverse = (inverse[:-1] + inverse[1:]) / 2
        probability = np.zeros(most + 1)
        probability[0] = 1.0
        for done in range(n):
            moved = probability * share[done]
            probability = probability - moved
            probability[1:] += moved[:-1]
        with np.errstate(divide="ignore"):
            return np.log(probability)


@dataclass(frozen=True)
class Tilt:
    """θ of counts, by maximum likelihood, with an interval by the likelihood ratio."""

    theta: float
    """the θ at which the tilted slot law has the observed mean"""
    low: float
    """lower end of the interval"""
    high: float
    """upper end; infinite if every run had as many as there can be"""


def fit_tilt(counts: ArrayLike, n: ArrayLike, m: ArrayLike, *, level: float = 0.95) -> Tilt:
    """θ of independent runs with X = counts, of n features and m neurons.

    The law is an exponential family in ln θ: the likelihood is largest where E ΣX is the observed
    Σx, and holds θ while 2 [ln θ̂ Σx − A(θ̂) − ln θ Σx + A(θ)] is below the quantile of χ²₁, with
    A(θ) = Σ_runs ln Σ_x slot(x) θ^x. It assumes the tilted law's own spread.

    counts, n, m : (R,) or scalar integers, counts in the support of each law; level : in (0, 1).
    Raises ValueError for counts that are not in the support.
    """
    groups = _of_one_law(counts, n, m)
    require(0 < level < 1, "0 < level < 1", level, "0.95 is customary")
    total = sum(float(seen.sum()) for _, seen in groups)
    low = sum(law.support[0] * seen.size for law, seen in groups)
    high = sum(law.support[1] * seen.size for law, seen in groups)
    if low == high:
        return Tilt(1.0, 0.0, np.inf)  # one count is possible, which says nothing
    allowed = float(chi2.ppf(level, 1))
    tables = [
        (np.arange(law.support[0], law.support[1] + 1), law._log_table, seen.size)
        for law, seen in groups
    ]

    def slope(eta: float) -> float:
        return total - sum(
            runs * float(np.exp(table + eta * x - logsumexp(table + eta * x)) @ x)
            for x, table, runs in tables
        )

    def likelihood(eta: float) -> float:
        return eta * total - sum(
            runs * float(logsumexp(table + eta * x)) for x, table, runs in tables
        )

    reach = 60.0  # e^60: beyond, a support of at least two points has one left
    if low < total < high:
        best = float(brentq(slope, -reach, reach, xtol=1e-12))
    else:
        best = -reach if total == low else reach

    def drop(eta: float) -> float:
        return 2 * (likelihood(best) - likelihood(eta)) - allowed

    low_end = float(np.exp(brentq(drop, -reach, best))) if drop(-reach) > 0 else 0.0
    high_end = float(np.exp(brentq(drop, best, reach))) if drop(reach) > 0 else np.inf
    theta = 0.0 if total == low else np.inf if total == high else float(np.exp(best))
    return Tilt(theta, low_end, high_end)


def total_law(n: ArrayLike, m: ArrayLike) -> tuple[int, Array]:
    """P(ΣX) of independent runs under the slot law: the smallest total, and its pmf from there on.

    By convolution, of probabilities above 1e-40 alone. n, m : (R,) or scalar integers.
    """
    sizes = np.stack(np.broadcast_arrays(np.atleast_1d(n), np.atleast_1d(m)), axis=1)
    total = (0, np.ones(1))
    for (features, neurons), runs in zip(
        *np.unique(sizes, axis=0, return_counts=True), strict=True
    ):
        law, left = slot_law(int(features), int(neurons)), int(runs)
        power = _trimmed(law.support[0], np.exp(law._log_table))
        while left:  # the binary digits of the number of runs
            if left % 2:
                total = _trimmed(total[0] + power[0], np.convolve(total[1], power[1]))
            left //= 2
            if left:
                power = _trimmed(2 * power[0], np.convolve(power[1], power[1]))
    return total


def frozen_winner(row: ArrayLike, taken: ArrayLike) -> int:
    """Neuron on which a new row ends beside frozen owners; −1 if it has no free slot.

    The largest |W_ik| among those whose (neuron, sign) slot is free: the theorem at the top of
    this file, with its assumptions; a row that dies has no winner at all.

    row : (m,) initial weights of the new feature; taken : (m, 2) whether the slots (k, +) and
    (k, −) have owners.
    """
    w, slots = real("row", row), np.asarray(taken, dtype=np.bool_)
    require(
        w.ndim == 1 and slots.shape == (w.size, 2),
        "a row (m,) and slots (m, 2)",
        (w.shape, slots.shape),
        "columns of slots are + and −",
    )
    open_to = ~np.where(w > 0, slots[:, 0], slots[:, 1]) & (w != 0)
    return int(np.argmax(np.where(open_to, np.abs(w), -1.0))) if open_to.any() else -1


def _of_one_law(
    counts: ArrayLike, n: ArrayLike, m: ArrayLike
) -> list[tuple[SlotLaw, NDArray[np.float64]]]:
    """The counts of independent runs, those of one n and m together, each with its slot law."""
    seen, features, neurons = np.broadcast_arrays(
        np.atleast_1d(real("counts", counts)), np.asarray(n), np.asarray(m)
    )
    require(seen.size > 0, "at least one count", counts, "pass the counts of runs")
    groups = []
    for one in sorted(set(zip(features.tolist(), neurons.tolist(), strict=True))):
        law = slot_law(*one)
        of_it = seen[(features == one[0]) & (neurons == one[1])]
        low, high = law.support
        require(
            np.isfinite(law.logpmf(of_it)),
            f"counts from {low} to {high} for n, m = {one}",
            counts,
            "they are of this n and m",
        )
        groups.append((law, of_it))
    return groups


def _trimmed(start: int, pmf: Array) -> tuple[int, Array]:
    """A pmf without ends below 1e-40; `start` is its first value."""
    kept = np.flatnonzero(pmf > 1e-40)
    return start + int(kept[0]), pmf[kept[0] : kept[-1] + 1]


def _slot_steps(law: CountLaw) -> Array:
    """log P(x + 1)/P(x) of the slot law over the support of `law`."""
    low, high = law.support
    x = np.arange(low, high, dtype=np.float64)
    n, m = float(law.n), float(law.m)
    return np.asarray(np.log((n - 2 * x) * (n - 2 * x - 1)) - np.log(4 * (x + 1) * (m - n + x + 1)))


def _from_the_mode(steps: Array) -> Array:
    """log P(x) of a law from log P(x + 1)/P(x), which must fall with x."""
    mode = int(np.searchsorted(-steps, 0.0))
    # Summing away from the mode keeps the rounding error there, where the mass is, near 0.
    table = np.concatenate([-np.cumsum(steps[:mode][::-1])[::-1], [0.0], np.cumsum(steps[mode:])])
    return np.asarray(table - logsumexp(table))


def _slots(n: ArrayLike, m: ArrayLike) -> tuple[Array, Array]:
    n_, m_ = positive("n", n), positive("m", m)
    require((n_ >= 1) & (n_ <= 2 * m_), "1 <= n <= 2m", (n, m), "there are only 2m slots: raise m")
    return n_, m_
