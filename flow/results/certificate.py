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
    """Curvature below this (−1e-6·c, in float32 −1e-4·c) makes the point a saddle."""

    rounding: float = 0.0
    """What is left of dW/dt by rounding where its terms cancel."""

    @property
    def stationary(self) -> bool:
        """Whether the residual counts as rest."""
        return bool(self.residual <= self.tolerance)

    @property
    def unstable(self) -> bool:
        """Whether a direction of the non-zeros goes downhill."""
        return self.curvature < self.curvature_floor

    @property
    def saddle(self) -> bool:
        """Whether W is where the flow would stay but for rounding, and would not come back."""
        return self.unstable and self.residual <= self.rounding

    @property
    def at_rest(self) -> bool:
        """Whether the flow has ended: at a place where it would stay, or on a saddle."""
        return self.stationary and (not self.unstable or self.saddle)
