"""The forces of the flow dW/dt = feature benefit − interference − λ·sign(W), one block per force.

Source: paper, section 2 and appendix A; THE_FLOW section 1. W : (n, m) holds one row per feature
and one column per neuron; G = W Wᵀ : (n, n). Every force is written once, against the array
namespace of W, so NumPy and JAX read the same lines.

A force enters the integrators through *slots*; each has a neutral default:

=================  ==========================================================================
``growth``         row growth  (constant − quadratic·‖W_i‖²) W_i, which integrators solve exactly
``overlap``        coefficient c of the pair function φ(G) = c·ReLU(G), i ≠ j, drift φ(G) W
``l1``             weight λ of the sign force −λ·sign(W), the only jump in the field
``drift(W)``       any other smooth rate, (n, m); forces that use it set ``has_drift``
=================  ==========================================================================

and says in ``keeps_zeros`` whether a neuron that is zero in every row stays so under it, which is
what allows sparse evaluation. To add a force, subclass :class:`Force` here; the tests of the
forces find it and hold it to the laws (slots = rate = −∇energy, equivariance).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

Array = Any
"""An (n, m) array of a NumPy or JAX namespace."""


class Growth(NamedTuple):
    """Row growth (constant − quadratic·‖W_i‖²) W_i."""

    constant: float = 0.0
    quadratic: float = 0.0


class Summary(NamedTuple):
    """What the energies of slot forces depend on, per row; each entry has shape (n,)."""

    l1: np.ndarray
    """‖W_i‖₁."""
    squared_norm: np.ndarray
    """‖W_i‖²."""
    overlap: np.ndarray
    """Σ_{j≠i} ReLU(G_ij)²."""


def _overlaps(W: Array) -> Array:
    """ReLU(G) with its diagonal set to zero, (n, n)."""
    xp = W.__array_namespace__()
    G = W @ W.T
    return xp.where(xp.eye(G.shape[0], dtype=bool), xp.zeros_like(G), xp.maximum(G, 0.0))


def _squared_norms(W: Array) -> Array:
    return W.__array_namespace__().sum(W * W, axis=1)


def summarize(W: Array) -> Summary:
    """The :class:`Summary` of W : (n, m)."""
    xp = W.__array_namespace__()
    return Summary(xp.sum(xp.abs(W), axis=1), _squared_norms(W), xp.sum(_overlaps(W) ** 2, axis=1))


class Force:
    """One term of dW/dt, with the energy it descends (rate = −∂energy/∂W) and its slots."""

    registry: ClassVar[dict[str, type[Force]]] = {}
    keeps_zeros: ClassVar[bool] = True
    has_drift: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        Force.registry[cls.__name__] = cls

    @property
    def growth(self) -> Growth:
        return Growth()

    @property
    def overlap(self) -> float:
        return 0.0

    @property
    def l1(self) -> float:
        return 0.0

    def drift(self, W: Array) -> Array:
        """Smooth rate that fits no other slot, (n, m)."""
        raise NotImplementedError(f"{type(self).__name__} has no general drift")

    def energy(self, W: Array) -> Array:
        """The scalar this force descends."""
        raise NotImplementedError

    def rate(self, W: Array) -> Array:
        """−∂energy/∂W, (n, m): the definition of the force."""
        raise NotImplementedError

    def energy_from(self, summary: Summary) -> float | None:
        """The same energy from row sums, or None where that is not enough."""
        return None


def _check_strength(force: Force, name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0.0):
        raise ValueError(
            f"{type(force).__name__}({name}) must be a finite number >= 0, got {value!r}; "
            f"use 0 or leave the force out to switch it off"
        )


# Feature benefit ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureBenefit(Force):
    """Pulls every encoding to unit length: rate c (1 − ‖W_i‖²) W_i.

    Energy (c/4) Σ_i (1 − ‖W_i‖²)². Source: paper, section 2; THE_FLOW section 1.
    Raises ValueError for a negative or non-finite strength.
    """

    strength: float = 1.0
    """c ≥ 0; the paper's loss has c = 4, its text c = 1."""

    def __post_init__(self) -> None:
        _check_strength(self, "strength", self.strength)

    @property
    def growth(self) -> Growth:
        return Growth(self.strength, self.strength)

    def energy(self, W: Array) -> Array:
        return 0.25 * self.strength * ((1.0 - _squared_norms(W)) ** 2).sum()

    def rate(self, W: Array) -> Array:
        return self.strength * (1.0 - _squared_norms(W))[:, None] * W

    def energy_from(self, summary: Summary) -> float:
        return float(0.25 * self.strength * ((1.0 - summary.squared_norm) ** 2).sum())


# Interference ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interference(Force):
    """Pushes encodings with positive overlap apart: rate −c Σ_{j≠i} ReLU(G_ij) W_j.

    Energy (c/4) Σ_{i≠j} ReLU(G_ij)² over ordered pairs. Source: paper, section 2;
    THE_FLOW section 1. Raises ValueError for a negative or non-finite strength.
    """

    strength: float = 1.0
    """c ≥ 0; the same convention as :class:`FeatureBenefit`, though the two may differ."""

    def __post_init__(self) -> None:
        _check_strength(self, "strength", self.strength)

    @property
    def overlap(self) -> float:
        return self.strength

    def energy(self, W: Array) -> Array:
        return 0.25 * self.strength * (_overlaps(W) ** 2).sum()

    def rate(self, W: Array) -> Array:
        return -self.strength * (_overlaps(W) @ W)

    def energy_from(self, summary: Summary) -> float:
        return float(0.25 * self.strength * summary.overlap.sum())


# ℓ1 regularization -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Regularization(Force):
    """Shrinks every weight at the same speed: rate −λ·sign(W_ik).

    Energy λ Σ_i ‖W_i‖₁. At W_ik = 0 the velocity is decided by the other forces together
    (:func:`velocity`): the weight stays zero while the smooth force is at most λ in size.
    Source: paper, section 2; THE_FLOW section 1. Raises ValueError for a negative or
    non-finite λ.
    """

    lam: float
    """λ ≥ 0."""

    def __post_init__(self) -> None:
        _check_strength(self, "lam", self.lam)

    @property
    def l1(self) -> float:
        return self.lam

    def energy(self, W: Array) -> Array:
        return self.lam * abs(W).sum()

    def rate(self, W: Array) -> Array:
        return -self.lam * W.__array_namespace__().sign(W)

    def energy_from(self, summary: Summary) -> float:
        return float(self.lam * summary.l1.sum())


# Weight decay ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class L2Regularization(Force):
    """Weight decay, the control for ℓ1: rate −μ W. It shrinks encodings but never sparsifies.

    Energy (μ/2) Σ_i ‖W_i‖². Source: THE_FLOW section 1 (a control of this project).
    Raises ValueError for a negative or non-finite μ.
    """

    mu: float
    """μ ≥ 0."""

    def __post_init__(self) -> None:
        _check_strength(self, "mu", self.mu)

    @property
    def growth(self) -> Growth:
        return Growth(-self.mu, 0.0)

    def energy(self, W: Array) -> Array:
        return 0.5 * self.mu * _squared_norms(W).sum()

    def rate(self, W: Array) -> Array:
        return -self.mu * W

    def energy_from(self, summary: Summary) -> float:
        return float(0.5 * self.mu * summary.squared_norm.sum())


# Sums of forces ----------------------------------------------------------------------------------


class Slots(NamedTuple):
    """The sum of a set of forces, as integrators see it.

    dW_i/dt = (growth_constant − growth_quadratic ‖W_i‖²) W_i − overlap·Σ_{j≠i} ReLU(G_ij) W_j
              + Σ drift(W)_i − l1·sign(W_i)
    """

    growth_constant: float
    growth_quadratic: float
    overlap: float
    l1: float
    drifts: tuple[Force, ...]
    keeps_zeros: bool

    @property
    def has_drift(self) -> bool:
        """Whether rows act on each other, so that the field must be sampled along a step."""
        return self.overlap != 0.0 or bool(self.drifts)

    @property
    def scale(self) -> float:
        """The fastest of the rates 1/c that the strengths set (1 where all are off)."""
        return max(abs(self.growth_constant), self.growth_quadratic, self.overlap) or 1.0


def sum_slots(forces: Sequence[Force]) -> Slots:
    """Add up the slots of `forces`; TypeError names anything that is not a force."""
    for force in forces:
        if not isinstance(force, Force):
            raise TypeError(
                f"forces must be Force objects such as Interference(), got {force!r}; "
                f"known forces: {', '.join(Force.registry)}"
            )
    return Slots(
        growth_constant=float(sum(f.growth.constant for f in forces)),
        growth_quadratic=float(sum(f.growth.quadratic for f in forces)),
        overlap=float(sum(f.overlap for f in forces)),
        l1=float(sum(f.l1 for f in forces)),
        drifts=tuple(f for f in forces if f.has_drift),
        keeps_zeros=all(f.keeps_zeros for f in forces),
    )


def velocity(forces: Sequence[Force], W: Array) -> Array:
    """dW/dt with all `forces` on, and the right value at zero, (n, m).

        dW_ik/dt = f_ik − λ sign(W_ik)                   W_ik ≠ 0
        dW_ik/dt = sign(f_ik) max(|f_ik| − λ, 0)         W_ik = 0

    f is the sum of the smooth forces. The second line is the one subgradient that the flow
    picks: zeros stick while |f_ik| ≤ λ. Source: THE_FLOW section 1.
    """
    xp = W.__array_namespace__()
    smooth = xp.zeros_like(W)
    for force in forces:
        if force.l1 == 0.0:
            smooth = smooth + force.rate(W)
    lam = sum(force.l1 for force in forces)
    released = xp.sign(smooth) * xp.maximum(xp.abs(smooth) - lam, 0.0)
    return xp.where(W != 0, smooth - lam * xp.sign(W), released)
