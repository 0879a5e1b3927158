"""A force that uses its slots as no force of the flow does: dead neurons come alive under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flow.forces import Array, Force


@dataclass(frozen=True)
class Spring(Force):
    """Pulls neuron k to a_k in every row: rate κ (a_k − W_ik), energy (κ/2) Σ_ik (W_ik − a_k)².

    All of it is general drift, which takes dead neurons out of zero and cannot be had from the
    others alone. It tells neurons apart and knows their signs, so it keeps not all laws of the
    registered forces and is none of them.
    """

    targets: tuple[float, ...]
    """a, (m,)."""
    strength: float = 1.0
    """κ."""

    preserves_dead_neurons: ClassVar[bool] = False
    has_general_drift: ClassVar[bool] = True

    @property
    def drift_scale(self) -> float:
        return self.strength

    def drift(self, W: Array) -> Array:
        return self.strength * (W.__array_namespace__().asarray(self.targets, dtype=W.dtype) - W)

    def stiffness(self, W: Array) -> Array:
        return W.__array_namespace__().asarray(self.strength)

    def energy(self, W: Array) -> Array:
        return 0.5 * self.strength * ((self.drift(W) / self.strength) ** 2).sum()

    def rate(self, W: Array) -> Array:
        return self.drift(W)


del Force.registry["Spring"]
