"""The evidence that a run has come to rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Certificate:
    """How close a W is to a stationary point, and the curvature there."""

    residual: float
    """max |dW/dt|: the excess of |smooth force| over λ at zeros, |force| elsewhere."""
    tolerance: float
    """The residual that counts as stationary."""
    curvature: float
    """Lowest eigenvalue of the energy's Hessian on the non-zeros; NaN if it was not asked for."""
    curvature_floor: float
    """Curvature below this (−1e-6·c) makes the point a saddle."""

    @property
    def stationary(self) -> bool:
        return bool(self.residual <= self.tolerance)

    @property
    def saddle(self) -> bool:
        """Whether a direction of the non-zeros goes downhill."""
        return self.curvature < self.curvature_floor
