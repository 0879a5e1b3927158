"""How many neurons end up polysemantic: collision counts and the slot law.

n features choose among m neurons, each with a sign: 2m (neuron, sign) *slots*. A neuron is
polysemantic when both of its slots are taken (a benign collision; two features in one slot are
a malign one, which cannot last). Three different things get counted here, and the paper's
n²/4m mixes the first two:

    pairs of features that meet              collision_pairs, opposite_sign_pairs, paper_count
    neurons met with both signs, if nobody moves afterwards      neurons_without_relocation
    neurons shared once every malign loser has found a free slot (conjecture)      slot_law

Sources: paper, sections 1.1 and 2.5; theory/README, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, xlog1py

from theory._checks import Array, positive, require

__all__ = [
    "SlotLaw",
    "collision_pairs",
    "neurons_without_relocation",
    "opposite_sign_pairs",
    "paper_count",
    "slot_law",
    "slot_law_applies",
    "slot_mean",
    "slot_variance",
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


@dataclass(frozen=True)
class SlotLaw:
    """Distribution of the number X of polysemantic neurons at the end of training.

        P(X = x) = C(m, x) C(m − x, n − 2x) 2^(n − 2x) / C(2m, n)

    **Conjecture** (measured, not proved): losers of malign collisions relocate, and the end
    state looks like a uniformly random n-subset of the 2m (neuron, sign) slots. Whether it holds
    depends on λ√m/c: at 1 the mean count is 0.98 ± 0.01 of this law's, at 0.05 and below it is
    0.81 ± 0.01 of it (m ≥ 2n; standard errors). The distribution itself is exact combinatorics.

    Computed in log space by its recurrence from the mode, so that n = 10⁶ is as good as n = 10:

        P(x + 1) / P(x) = (n − 2x)(n − 2x − 1) / [4 (x + 1)(m − n + x + 1)]

    Source: theory/README, section 4. Raises ValueError unless n, m are integers with 1 ≤ n ≤ 2m.
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
        """E X, see `slot_mean`."""
        return float(slot_mean(self.n, self.m))

    def var(self) -> float:
        """Var X, see `slot_variance`."""
        return float(slot_variance(self.n, self.m))

    def std(self) -> float:
        """Standard deviation of X."""
        return float(np.sqrt(self.var()))

    @cached_property
    def _log_table(self) -> Array:
        low, high = self.support
        x = np.arange(low, high, dtype=np.float64)
        n, m = float(self.n), float(self.m)
        steps = np.log((n - 2 * x) * (n - 2 * x - 1)) - np.log(4 * (x + 1) * (m - n + x + 1))
        mode = int(np.searchsorted(-steps, 0.0))  # the ratios fall with x: log-concave law
        # Summing away from the mode keeps the rounding error there, where the mass is, near 0.
        table = np.concatenate(
            [-np.cumsum(steps[:mode][::-1])[::-1], [0.0], np.cumsum(steps[mode:])]
        )
        return np.asarray(table - logsumexp(table))

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


def _slots(n: ArrayLike, m: ArrayLike) -> tuple[Array, Array]:
    n_, m_ = positive("n", n), positive("m", m)
    require((n_ >= 1) & (n_ <= 2 * m_), "1 <= n <= 2m", (n, m), "there are only 2m slots: raise m")
    return n_, m_
