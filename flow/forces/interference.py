"""Interference: encodings that overlap are pushed apart, where outputs leak even below zero."""

from __future__ import annotations

from dataclasses import dataclass

from flow.forces.base import Array, Force, Summary, check_strength, rectified_gram


@dataclass(frozen=True)
class Interference(Force):
    """Pushes encodings with positive overlap apart: rate −c Σ_{j≠i} ReLU(G_ij) W_j.

    Energy (c/4) Σ_{i≠j} ReLU(G_ij)² over ordered pairs. With a leak ℓ, the slope of the output
    below zero, negative overlaps are pulled together:

        rate_i = −c Σ_{j≠i} [ReLU(G_ij) − ℓ² ReLU(−G_ij)] W_j
        energy = (c/4) Σ_{i≠j} [ReLU(G_ij)² + ℓ² ReLU(−G_ij)²]

    ℓ = 1 is the linear output: no collision is benign then. Source: paper, section 2;
    theory/README, section 1. Raises ValueError for a negative or non-finite number.
    """

    strength: float = 1.0
    """c ≥ 0; the same convention as :class:`FeatureBenefit`, though the two may differ."""
    leak: float = 0.0
    """ℓ ≥ 0, the slope of the output below zero: 0 for ReLU, 1 for a linear output."""

    def __post_init__(self) -> None:
        check_strength(self, "strength", self.strength)
        check_strength(self, "leak", self.leak)

    @property
    def pair_strength(self) -> float:
        return self.strength

    @property
    def leak_strength(self) -> float:
        return self.strength * self.leak**2

    def energy(self, W: Array) -> Array:
        energy = 0.25 * self.strength * (rectified_gram(W) ** 2).sum()
        if self.leak:
            energy = energy + 0.25 * self.leak_strength * (rectified_gram(W, -1.0) ** 2).sum()
        return energy

    def rate(self, W: Array) -> Array:
        rate = -self.strength * (rectified_gram(W) @ W)
        return rate + self.leak_strength * (rectified_gram(W, -1.0) @ W) if self.leak else rate

    def energy_from(self, summary: Summary) -> float | None:
        if self.leak:
            return None  # negative overlaps are not in the summary
        return float(0.25 * self.strength * summary.rectified_squares.sum())
