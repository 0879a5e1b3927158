"""Feature benefit: every encoding is pulled to unit length."""

from __future__ import annotations

from dataclasses import dataclass

from flow.forces.base import Array, Force, Growth, Summary, check_strength, squared_norms


@dataclass(frozen=True)
class FeatureBenefit(Force):
    """Pulls every encoding to unit length: rate c (1 − ‖W_i‖²) W_i.

    Energy (c/4) Σ_i (1 − ‖W_i‖²)². Source: paper, section 2; theory/README, section 1.
    Raises ValueError for a negative or non-finite strength.
    """

    strength: float = 1.0
    """c ≥ 0; the paper's loss has c = 4, its text c = 1."""

    def __post_init__(self) -> None:
        check_strength(self, "strength", self.strength)

    @property
    def growth(self) -> Growth:
        return Growth(self.strength, self.strength)

    def energy(self, W: Array) -> Array:
        return 0.25 * self.strength * ((1.0 - squared_norms(W)) ** 2).sum()

    def rate(self, W: Array) -> Array:
        return self.strength * (1.0 - squared_norms(W))[:, None] * W

    def energy_from(self, summary: Summary) -> float:
        return float(0.25 * self.strength * ((1.0 - summary.squared_norm) ** 2).sum())
