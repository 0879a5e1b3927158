"""The sum of a set of forces: what integrators see of it, and its velocity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flow.forces.base import Array, Force


class ForceSum(NamedTuple):
    """The sum of a set of forces, as integrators see it.

    dW_i/dt = (growth_constant − growth_quadratic ‖W_i‖²) W_i − Σ_{j≠i} φ(G_ij) W_j
              + Σ drift(W)_i − l1·sign(W_i)

    with φ(g) = pair_strength·ReLU(g) − leak_strength·ReLU(−g).
    """

    growth_constant: float
    growth_quadratic: float
    pair_strength: float
    leak_strength: float
    l1: float
    drifts: tuple[Force, ...]
    preserves_dead_neurons: bool

    @property
    def interferes(self) -> bool:
        """Whether there is a pair function."""
        return self.pair_strength != 0.0 or self.leak_strength != 0.0

    @property
    def couples_rows(self) -> bool:
        """Whether rows act on each other, so that the field must be sampled along a step."""
        return self.interferes or bool(self.drifts)

    @property
    def scale(self) -> float:
        """The fastest of the rates 1/c that the strengths set (1 where all are off)."""
        drifts = (force.drift_scale for force in self.drifts)
        return (
            max(
                abs(self.growth_constant),
                self.growth_quadratic,
                self.pair_strength,
                self.leak_strength,
                *drifts,
            )
            or 1.0
        )


def sum_forces(forces: Sequence[Force]) -> ForceSum:
    """Add up the slots of `forces`.

    Raises TypeError for anything that is not a force, ValueError for a force beside one that
    replaces it, or that replaces the same.
    """
    for force in forces:
        if not isinstance(force, Force):
            raise TypeError(
                f"forces must be Force objects such as Interference(), got {force!r}; "
                f"known forces: {', '.join(Force.registry)}"
            )
    for force in forces:
        for other in forces:
            name, beside = type(force).__name__, type(other).__name__
            if type(other) in force.replaces:
                raise ValueError(f"{name} replaces {beside}, got both; leave {beside} out")
            if type(other) is not type(force) and set(force.replaces) & set(other.replaces):
                raise ValueError(
                    f"expected {name} or {beside}, which replace the same force, got both; leave "
                    f"one of them out"
                )
    return ForceSum(
        growth_constant=float(sum(f.growth.constant for f in forces)),
        growth_quadratic=float(sum(f.growth.quadratic for f in forces)),
        pair_strength=float(sum(f.pair_strength for f in forces)),
        leak_strength=float(sum(f.leak_strength for f in forces)),
        l1=float(sum(f.l1 for f in forces)),
        drifts=tuple(f for f in forces if f.has_general_drift),
        preserves_dead_neurons=all(f.preserves_dead_neurons for f in forces),
    )


def velocity(forces: Sequence[Force], W: Array) -> Array:
    """dW/dt with all `forces` on, and the right value at zero, (n, m).

        dW_ik/dt = f_ik − λ sign(W_ik)                   W_ik ≠ 0
        dW_ik/dt = sign(f_ik) max(|f_ik| − λ, 0)         W_ik = 0

    f is the sum of the smooth forces. The second line is the one subgradient that the flow
    picks: zeros stick while |f_ik| ≤ λ. Source: theory/README, section 1.
    """
    xp = W.__array_namespace__()
    smooth = xp.zeros_like(W)
    for force in forces:
        if force.l1 == 0.0:
            smooth = smooth + force.rate(W)
    lam = sum(force.l1 for force in forces)
    return with_jump(smooth, lam, W)


def with_jump(smooth: Array, lam: Any, W: Array) -> Array:
    """dW/dt where the forces but regularization add up to `smooth`: see :func:`velocity`."""
    xp = W.__array_namespace__()
    released = xp.sign(smooth) * xp.maximum(xp.abs(smooth) - lam, 0.0)
    return xp.where(W != 0, smooth - lam * xp.sign(W), released)
