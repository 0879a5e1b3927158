"""Interference: encodings that overlap are pushed apart."""

from __future__ import annotations

from dataclasses import dataclass

from flow.forces.base import Array, Force, Summary, check_strength, rectified_gram


@dataclass(frozen=True)
class Interference(Force):
    """Pushes encodings with positive overlap apart: rate −c Σ_{j≠i} ReLU(G_ij) W_j.

    Energy (c/4) Σ_{i≠j} ReLU(G_ij)² over ordered pairs. Source: paper, section 2;
    theory/README, section 1. Raises ValueError for a negative or non-finite strength.
    """

    strength: float = 1.0
    """c ≥ 0; the same convention as :class:`FeatureBenefit`, though the two may differ."""

    def __post_init__(self) -> None:
        check_strength(self, "strength", self.strength)

    @property
    def pair_strength(self) -> float:
        return self.strength

    def energy(self, W: Array) -> Array:
        return 0.25 * self.strength * (rectified_gram(W) ** 2).sum()

    def rate(self, W: Array) -> Array:
        return -self.strength * (rectified_gram(W) @ W)

    def energy_from(self, summary: Summary) -> float:
        return float(0.25 * self.strength * summary.rectified_squares.sum())
