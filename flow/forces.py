"""The forces of the flow dW/dt = feature benefit − interference − λ·sign(W), one block per force.

Source: paper, section 2 and appendix A; THE_FLOW section 1. W : (n, m) holds one row per feature
and one column per neuron; G = W Wᵀ : (n, n). Every force is written once, against the array
namespace of W, so NumPy and JAX read the same lines.

A force enters the integrators through *slots*; each has a neutral default:

=================  ==========================================================================
``growth``         row growth  (constant − quadratic·‖W_i‖²) W_i, which integrators solve exactly
``overlap``        coefficient c of the pair function φ(G) = c·ReLU(G), i ≠ j, drift φ(G) W
``l1``             weight λ of the sign force −λ·sign(W), the only jump in the field
``drift(W)``       any other rate, (n, m), and its ``stiffness(W)``; sets ``has_drift``
=================  ==========================================================================

and says in ``keeps_zeros`` whether a neuron that is zero in every row stays so under it, which is
what allows sparse evaluation. To add a force, subclass :class:`Force` here; the tests of the
forces find it and hold it to the laws (slots = rate = −∇energy, equivariance).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from flow.noise import Outputs, blocks, law

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
    replaces: ClassVar[type[Force] | None] = None
    """A force that this one contains, so that both together would count it twice."""

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

    def stiffness(self, W: Array) -> Array:
        """Upper estimate of the fastest rate at which the general drift relaxes, 1/time."""
        raise NotImplementedError(f"{type(self).__name__} has no general drift")

    @property
    def drift_scale(self) -> float:
        """The rate that the strength of the general drift sets, 1/time."""
        return 0.0

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


# Noise -------------------------------------------------------------------------------------------
#
# The hidden layer gets noise, y = ReLU(W(Wᵀx + ξ)), ξ independent over neurons with standard
# deviation σ. A quarter of c times the expected loss over all inputs e_i is the sum of the two
# energies below; at σ = 0 they are feature benefit and interference. Paper, section 3 and
# appendix C; THE_FLOW section 6.


def _check_noise(force: Force, sigma: float, distribution: str, accuracy: float) -> None:
    law(distribution)
    if not (math.isfinite(sigma * sigma) and sigma >= 0.0):
        raise ValueError(
            f"{type(force).__name__}(sigma) must be a finite number >= 0 with a finite square, the "
            f"standard deviation of the noise on each neuron, got {sigma!r}"
        )
    if not 0.0 < accuracy < 1.0:
        raise ValueError(
            f"{type(force).__name__}(accuracy) must lie between 0 and 1, got {accuracy!r}"
        )


@dataclass(frozen=True)
class NoisyFeatureBenefit(Force):
    """Feature benefit as it is under hidden noise: what every input asks of its own output.

    Energy (c/4) Σ_i E (1 − ReLU(‖W_i‖² + z_i))², z_i = W_i·ξ. While that output stays on this is
    (c/4) Σ_i [(1 − ‖W_i‖²)² + σ²‖W_i‖²], feature benefit with a pull −(c/2)σ²W_i, and nothing
    turns a row; what switching off changes, (c/4)[−2 e_i(−‖W_i‖²) − f_i(−‖W_i‖²)] with e, f as
    in :mod:`flow.noise`, is the general drift. Replaces :class:`FeatureBenefit`; the two together
    are refused. Source: paper, section 3; THE_FLOW section 6. Raises ValueError for a negative
    or non-finite number or an unknown distribution.
    """

    sigma: float
    """σ ≥ 0, standard deviation of the noise on each neuron."""
    distribution: str
    """One of :data:`flow.noise.DISTRIBUTIONS`, such as "bipolar" or "student-t:5"."""
    strength: float = 1.0
    """c ≥ 0; the expected loss itself is c = 4."""
    accuracy: float = 1e-4
    """Error of f in units of σ²‖W_i‖²; see :mod:`flow.noise`."""

    has_drift: ClassVar[bool] = True
    replaces: ClassVar[type[Force] | None] = FeatureBenefit

    def __post_init__(self) -> None:
        _check_strength(self, "strength", self.strength)
        _check_noise(self, self.sigma, self.distribution, self.accuracy)

    @property
    def growth(self) -> Growth:
        return Growth(self.strength * (1.0 - 0.5 * self.sigma**2), self.strength)

    @property
    def drift_scale(self) -> float:
        return self.strength

    def energy(self, W: Array) -> Array:
        squared = _squared_norms(W)
        always_on = (1.0 - squared) ** 2 + self.sigma**2 * squared
        off = sum((2.0 * off.mean() + off.square()).sum() for _, off in self._switched_off(W))
        return 0.25 * self.strength * (always_on.sum() - off)

    def rate(self, W: Array) -> Array:
        pull = 1.0 - 0.5 * self.sigma**2 - _squared_norms(W)
        return self.strength * pull[:, None] * W + self.drift(W)

    def drift(self, W: Array) -> Array:
        xp = W.__array_namespace__()
        drift = []
        for rows, off in self._switched_off(W):
            one = xp.ones((rows.stop - rows.start, 1), dtype=W.dtype)
            turn = 2.0 * off.mean_gradient(one) + off.square_gradient(one)
            drift.append(turn - 4.0 * (off.probability() + off.mean()) * W[rows])
        return 0.25 * self.strength * xp.concat(drift)

    def stiffness(self, W: Array) -> Array:
        """c(1 + s)/2, s = σ max ‖W_i‖: switching off adds c(p + e) at most, p ≤ 1/2, e ≤ s/2."""
        xp = W.__array_namespace__()
        return 0.5 * self.strength * (1.0 + self.sigma * xp.sqrt(xp.max(_squared_norms(W))))

    def _switched_off(self, W: Array) -> Iterator[tuple[slice, Outputs]]:
        """Blocks of rows with their outputs at −‖W_i‖²."""
        squared = _squared_norms(W)[:, None]
        for rows in blocks(W.shape[0], 1, W.shape[1], self.distribution, self.accuracy):
            yield (
                rows,
                Outputs(W[rows], -squared[rows], self.sigma, self.distribution, self.accuracy),
            )


@dataclass(frozen=True)
class NoisyInterference(Force):
    """Interference as it is under hidden noise: outputs that noise may turn on.

    Energy (c/4) Σ_{i≠j} f_j(G_ij), f_j(g) = E ReLU(g + z_j)², z_j = W_j·ξ, over ordered pairs;
    rate_i = −(c/4) [Σ_{j≠i} (f_j' + f_i')(G_ij) W_j + Σ_{j≠i} ∂f_i(G_ij)/∂W_i]. The law of z_j,
    and with it the rate, depends on the direction of W_j unless the noise is normal: this is the
    part of the expected loss that makes encodings sparse (bipolar, uniform) or spreads them
    (Laplace, Student-t). Replaces :class:`Interference`; the two together are refused.
    Cost: normal n²m; else n(n + m) times the nodes of :func:`flow.noise.nodes`. Source: paper,
    section 3; THE_FLOW section 6. Raises ValueError for a negative or non-finite number or an
    unknown distribution.
    """

    sigma: float
    """σ ≥ 0, standard deviation of the noise on each neuron."""
    distribution: str
    """One of :data:`flow.noise.DISTRIBUTIONS`, such as "bipolar" or "student-t:5"."""
    strength: float = 1.0
    """c ≥ 0; the expected loss itself is c = 4."""
    accuracy: float = 1e-4
    """Error of f in units of σ²‖W_j‖²; see :mod:`flow.noise`."""

    has_drift: ClassVar[bool] = True
    replaces: ClassVar[type[Force] | None] = Interference

    def __post_init__(self) -> None:
        _check_strength(self, "strength", self.strength)
        _check_noise(self, self.sigma, self.distribution, self.accuracy)

    @property
    def drift_scale(self) -> float:
        return self.strength

    def energy(self, W: Array) -> Array:
        total = sum((other * outputs.square()).sum() for other, outputs in self._outputs(W))
        return 0.25 * self.strength * total

    def rate(self, W: Array) -> Array:
        return self.drift(W)

    def drift(self, W: Array) -> Array:
        xp = W.__array_namespace__()
        means, turns = [], []
        for other, outputs in self._outputs(W):
            means.append(other * outputs.mean())
            turns.append(outputs.square_gradient(other))
        slopes = 2.0 * xp.concat(means)
        return -0.25 * self.strength * ((slopes + slopes.T) @ W + xp.concat(turns))

    def stiffness(self, W: Array) -> Array:
        """c [2 λ_max(G) + nσ² + max_i Σ_{j≠i} (e_ij + e_ji)/2] with e_ij ≤ ReLU(G_ij) + s_j/2.

        From E over the noise of the Hessian of (c/4) Σ ReLU(W_j·(W_i + ξ))².
        """
        xp = W.__array_namespace__()
        n = W.shape[0]
        s = self.sigma * xp.sqrt(_squared_norms(W))
        on = xp.max(xp.sum(_overlaps(W), axis=1) + 0.25 * (xp.sum(s) + n * s))
        top = xp.linalg.eigvalsh(W @ W.T)[-1]
        return self.strength * (2.0 * top + n * self.sigma**2 + on)

    def _outputs(self, W: Array) -> Iterator[tuple[Array, Outputs]]:
        """Blocks of rows with their outputs at G_ij, and a mask (r, n) of the inputs i ≠ j."""
        xp, n = W.__array_namespace__(), W.shape[0]
        other = 1.0 - xp.eye(n, dtype=W.dtype)
        for rows in blocks(n, n, W.shape[1], self.distribution, self.accuracy):
            G = W[rows] @ W.T
            yield other[rows], Outputs(W[rows], G, self.sigma, self.distribution, self.accuracy)


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
        drifts = (force.drift_scale for force in self.drifts)
        return max(abs(self.growth_constant), self.growth_quadratic, self.overlap, *drifts) or 1.0


def sum_slots(forces: Sequence[Force]) -> Slots:
    """Add up the slots of `forces`.

    Raises TypeError for anything that is not a force, ValueError for a force beside one that
    replaces it.
    """
    for force in forces:
        if not isinstance(force, Force):
            raise TypeError(
                f"forces must be Force objects such as Interference(), got {force!r}; "
                f"known forces: {', '.join(Force.registry)}"
            )
    for force in forces:
        if force.replaces is not None and any(type(f) is force.replaces for f in forces):
            name, replaced = type(force).__name__, force.replaces.__name__
            raise ValueError(f"{name} replaces {replaced}, got both; leave {replaced} out")
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
    return with_jump(smooth, lam, W)


def with_jump(smooth: Array, lam: Any, W: Array) -> Array:
    """dW/dt where the forces but regularization add up to `smooth`: see :func:`velocity`."""
    xp = W.__array_namespace__()
    released = xp.sign(smooth) * xp.maximum(xp.abs(smooth) - lam, 0.0)
    return xp.where(W != 0, smooth - lam * xp.sign(W), released)
