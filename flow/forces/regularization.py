"""Regularization: ℓ1, the force that makes encodings sparse, and ℓ2, its control."""

from __future__ import annotations

from dataclasses import dataclass

from flow.forces.base import Array, Force, Growth, Summary, check_strength, squared_norms


@dataclass(frozen=True)
class Regularization(Force):
    """Shrinks every weight at the same speed: rate −λ·sign(W_ik).

    Energy λ Σ_i ‖W_i‖₁. At W_ik = 0 the velocity is decided by the other forces together
    (:func:`velocity`): the weight stays zero while the smooth force is at most λ in size.
    Source: paper, section 2; theory/README, section 1. Raises ValueError for a negative or
    non-finite λ.
    """

    lam: float
    """λ ≥ 0."""

    def __post_init__(self) -> None:
        check_strength(self, "lam", self.lam)

    @property
    def l1(self) -> float:
        return self.lam

    def energy(self, W: Array) -> Array:
        return self.lam * abs(W).sum()

    def rate(self, W: Array) -> Array:
        return -self.lam * W.__array_namespace__().sign(W)

    def energy_from(self, summary: Summary) -> float:
        return float(self.lam * summary.l1.sum())


@dataclass(frozen=True)
class L2Regularization(Force):
    """Weight decay, the control for ℓ1: rate −μ W. It shrinks encodings but never sparsifies.

    Energy (μ/2) Σ_i ‖W_i‖². Source: theory/README, section 1 (a control of this project).
    Raises ValueError for a negative or non-finite μ.
    """

    mu: float
    """μ ≥ 0."""

    def __post_init__(self) -> None:
        check_strength(self, "mu", self.mu)

    @property
    def growth(self) -> Growth:
        return Growth(-self.mu, 0.0)

    def energy(self, W: Array) -> Array:
        return 0.5 * self.mu * squared_norms(W).sum()

    def rate(self, W: Array) -> Array:
        return -self.mu * W

    def energy_from(self, summary: Summary) -> float:
        return float(0.5 * self.mu * summary.squared_norm.sum())
