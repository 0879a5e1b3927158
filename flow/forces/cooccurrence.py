"""Co-occurrence: feature benefit and interference as they are when features occur together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import ClassVar

import numpy as np

from flow.forces.base import Array, Force, Growth, check_strength, squared_norms
from flow.forces.feature_benefit import FeatureBenefit
from flow.forces.interference import Interference

MOST_INPUTS = 2**17
"""Inputs of which the expectation is taken at the most."""


@dataclass(frozen=True)
class CoOccurrence(Force):
    """What inputs x ask of W that have every feature on with probability p, independently.

    Energy and rate are those of the expected loss, exact by enumeration of the inputs:

        energy = (c/4p) E‖ReLU(W Wᵀx) − x‖²,
        rate = −(c/2p) E[r (Wᵀx)ᵀ + x (Wᵀr)ᵀ],    r = (ReLU(y) − x)·1[y > 0],  y = W Wᵀx

    In the limit p → 0 this is feature benefit and interference together, which it replaces: beside
    either of them it is refused. Two features on one neuron with opposite signs then hurt each
    other, the more often the larger p is (`theory.cooccurrence`).

    There are 2ⁿ inputs. `most_active` = k leaves out those with more than k features on: of all
    inputs that are not empty they are the share `omitted(n)`. Cost: the number of inputs times n².
    Source: paper, section 4 (future work); theory/README, section 3.
    Raises ValueError for a p that is not between 0 and 1, a negative or non-finite strength,
    fewer than one feature on, and, once n is known, for more than 2¹⁷ inputs.
    """

    p: float
    """0 < p < 1, the probability that a feature is on."""
    strength: float = 1.0
    """c ≥ 0, as in :class:`FeatureBenefit` and :class:`Interference`."""
    most_active: int | None = None
    """Features that are on at the most; None for any number."""

    has_general_drift: ClassVar[bool] = True
    replaces: ClassVar[tuple[type[Force], ...]] = (FeatureBenefit, Interference)

    def __post_init__(self) -> None:
        check_strength(self, "strength", self.strength)
        if not 0.0 < self.p < 1.0:
            raise ValueError(
                f"expected a probability p between 0 and 1, got {self.p!r}; for one feature at a "
                f"time use FeatureBenefit and Interference"
            )
        if self.most_active is not None and self.most_active < 1:
            raise ValueError(
                f"expected most_active as a whole number >= 1, got {self.most_active!r}; leave it "
                f"out for any number of features"
            )

    @property
    def growth(self) -> Growth:
        return Growth(self.strength, self.strength)

    @property
    def drift_scale(self) -> float:
        return self.strength

    def check_size(self, n: int) -> None:
        """ValueError for n features that have more inputs than can be gone through."""
        most = self._most(n)
        if sum(math.comb(n, k) for k in range(1, most + 1)) > MOST_INPUTS:
            raise ValueError(
                f"expected at most {MOST_INPUTS:,} inputs, got those with up to {most} of {n} "
                f"features on, which are more; choose a smaller most_active, such as 2"
            )

    def omitted(self, n: int) -> float:
        """Share of the inputs of n features, the empty one aside, that `most_active` leaves out."""
        chances = [math.comb(n, k) * self.p**k * (1 - self.p) ** (n - k) for k in range(n + 1)]
        return math.fsum(chances[self._most(n) + 1 :]) / math.fsum(chances[1:])

    def _most(self, n: int) -> int:
        return n if self.most_active is None else min(self.most_active, n)

    def energy(self, W: Array) -> Array:
        xp = W.__array_namespace__()
        x, chance = self._inputs(W)
        error = xp.maximum((x @ W) @ W.T, 0.0) - x
        return 0.25 * self.strength * xp.sum(chance[:, None] * error**2)

    def rate(self, W: Array) -> Array:
        x, weighted = self._errors(W)
        return -0.5 * self.strength * (weighted.T @ (x @ W) + x.T @ (weighted @ W))

    def drift(self, W: Array) -> Array:
        return self.rate(W) - self.strength * (1.0 - squared_norms(W))[:, None] * W

    def stiffness(self, W: Array) -> Array:
        """c [λ₁(WᵀMW) + λ₁(G) λ₁(M) + |λ|₁(S) + max(1, 3‖W_i‖² − 1)]: M = E[xxᵀ]/p, S the symmetric
        part of E[r xᵀ]/p, and the last term for the growth that the drift leaves out.
        """
        xp = W.__array_namespace__()
        _, chance = self._inputs(W)
        x, weighted = self._errors(W)
        M = x.T @ (chance[:, None] * x)
        S = weighted.T @ x
        G, root, eigenvalues = W @ W.T, xp.linalg.cholesky(M), xp.linalg.eigvalsh
        spread = eigenvalues(root.T @ G @ root)[-1] + eigenvalues(G)[-1] * eigenvalues(M)[-1]
        pull = xp.max(xp.abs(eigenvalues(0.5 * (S + S.T))))
        own = xp.maximum(1.0, 3.0 * xp.max(squared_norms(W)) - 1.0)
        return self.strength * (spread + pull + own)

    def _inputs(self, W: Array) -> tuple[Array, Array]:
        """x : (inputs, n), and the chance of each over p."""
        xp = W.__array_namespace__()
        x, chance = _inputs(self, W.shape[0])
        return xp.asarray(x, dtype=W.dtype), xp.asarray(chance, dtype=W.dtype)

    def _errors(self, W: Array) -> tuple[Array, Array]:
        """x, and r times its chance over p, both (inputs, n)."""
        xp = W.__array_namespace__()
        x, chance = self._inputs(W)
        y = (x @ W) @ W.T
        return x, chance[:, None] * xp.where(y > 0.0, y - x, 0.0)


@cache
def _inputs(force: CoOccurrence, n: int) -> tuple[np.ndarray, np.ndarray]:
    force.check_size(n)
    on = [kept for k in range(1, force._most(n) + 1) for kept in combinations(range(n), k)]
    x = np.zeros((len(on), n))
    for row, kept in enumerate(on):
        x[row, list(kept)] = 1.0
    active = x.sum(axis=1)
    chance = force.p ** (active - 1.0) * (1.0 - force.p) ** (n - active)
    x.setflags(write=False)
    chance.setflags(write=False)
    return x, chance
