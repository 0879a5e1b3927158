"""Feature benefit and interference as they are under noise in the hidden layer.

The hidden layer gets noise, y = ReLU(W(Wᵀx + ξ)), ξ independent over neurons with standard
deviation σ. A quarter of c times the expected loss over all inputs e_i is the sum of the two
energies below; at σ = 0 they are feature benefit and interference. Source: paper, section 3 and
appendix C; theory/README, section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from flow.forces.base import Array, Force, Growth, check_strength, rectified_gram, squared_norms
from flow.forces.feature_benefit import FeatureBenefit
from flow.forces.interference import Interference
from flow.forces.noise import Evaluate, Expectations, expect, law


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
    in :mod:`flow.forces.noise`, is the general drift. Replaces :class:`FeatureBenefit`; the two
    together are refused. Source: paper, section 3; theory/README, section 6. Raises ValueError for
    a negative or non-finite number or an unknown distribution.
    """

    sigma: float
    """σ ≥ 0, standard deviation of the noise on each neuron."""
    distribution: str
    """One of :data:`flow.defaults.NOISE_LAWS`, such as "bipolar" or "student-t:5"."""
    strength: float = 1.0
    """c ≥ 0; the expected loss itself is c = 4."""
    accuracy: float = 1e-4
    """Error of f in units of σ²‖W_i‖²; see :mod:`flow.forces.noise`."""

    has_general_drift: ClassVar[bool] = True
    replaces: ClassVar[tuple[type[Force], ...]] = (FeatureBenefit,)

    def __post_init__(self) -> None:
        check_strength(self, "strength", self.strength)
        _check_noise(self, self.sigma, self.distribution, self.accuracy)

    @property
    def growth(self) -> Growth:
        return Growth(self.strength * (1.0 - 0.5 * self.sigma**2), self.strength)

    @property
    def drift_scale(self) -> float:
        return self.strength

    def energy(self, W: Array, evaluate: Evaluate = expect) -> Array:
        squared = squared_norms(W)
        always_on = (1.0 - squared) ** 2 + self.sigma**2 * squared
        off = self._switched_off(W, evaluate)
        return 0.25 * self.strength * (always_on.sum() - (2.0 * off.mean + off.square).sum())

    def rate(self, W: Array) -> Array:
        pull = 1.0 - 0.5 * self.sigma**2 - squared_norms(W)
        return self.strength * pull[:, None] * W + self.drift(W)

    def drift(self, W: Array, evaluate: Evaluate = expect) -> Array:
        off = self._switched_off(W, evaluate, on_square=1.0, on_mean=2.0)
        return 0.25 * self.strength * (off.gradient - 4.0 * (off.probability + off.mean) * W)

    def stiffness(self, W: Array) -> Array:
        """c(1 + s)/2, s = σ max ‖W_i‖: switching off adds c(p + e) at most, p ≤ 1/2, e ≤ s/2."""
        xp = W.__array_namespace__()
        return 0.5 * self.strength * (1.0 + self.sigma * xp.sqrt(xp.max(squared_norms(W))))

    def _switched_off(
        self, W: Array, evaluate: Evaluate, on_square: float = 0.0, on_mean: float = 0.0
    ) -> Expectations:
        """What outputs are at −‖W_i‖²."""
        squared = squared_norms(W)[:, None]
        one = W.__array_namespace__().ones_like(squared)
        noise = (self.sigma, self.distribution, self.accuracy)
        return evaluate(W, -squared, one, *noise, on_square, on_mean)


@dataclass(frozen=True)
class NoisyInterference(Force):
    """Interference as it is under hidden noise: outputs that noise may turn on.

    Energy (c/4) Σ_{i≠j} f_j(G_ij), f_j(g) = E ReLU(g + z_j)², z_j = W_j·ξ, over ordered pairs;
    rate_i = −(c/4) [Σ_{j≠i} (f_j' + f_i')(G_ij) W_j + Σ_{j≠i} ∂f_i(G_ij)/∂W_i]. The law of z_j,
    and with it the rate, depends on the direction of W_j unless the noise is normal: this is the
    part of the expected loss that makes encodings sparse (bipolar, uniform) or spreads them
    (Laplace, Student-t). Replaces :class:`Interference`; the two together are refused.
    Cost: normal n²m; else n(n + m) times the nodes of :func:`flow.forces.noise.nodes`. Source:
    paper, section 3; theory/README, section 6. Raises ValueError for a negative or non-finite
    number or an unknown distribution.
    """

    sigma: float
    """σ ≥ 0, standard deviation of the noise on each neuron."""
    distribution: str
    """One of :data:`flow.defaults.NOISE_LAWS`, such as "bipolar" or "student-t:5"."""
    strength: float = 1.0
    """c ≥ 0; the expected loss itself is c = 4."""
    accuracy: float = 1e-4
    """Error of f in units of σ²‖W_j‖²; see :mod:`flow.forces.noise`."""

    has_general_drift: ClassVar[bool] = True
    replaces: ClassVar[tuple[type[Force], ...]] = (Interference,)

    def __post_init__(self) -> None:
        check_strength(self, "strength", self.strength)
        _check_noise(self, self.sigma, self.distribution, self.accuracy)

    @property
    def drift_scale(self) -> float:
        return self.strength

    def energy(self, W: Array, evaluate: Evaluate = expect) -> Array:
        other, outputs = self._others(W, evaluate)
        return 0.25 * self.strength * (other * outputs.square).sum()

    def rate(self, W: Array) -> Array:
        return self.drift(W)

    def drift(self, W: Array, evaluate: Evaluate = expect) -> Array:
        other, outputs = self._others(W, evaluate, on_square=1.0)
        slopes = 2.0 * other * outputs.mean
        return -0.25 * self.strength * ((slopes + slopes.T) @ W + outputs.gradient)

    def stiffness(self, W: Array) -> Array:
        """c [2 λ_max(G) + nσ² + max_i Σ_{j≠i} (e_ij + e_ji)/2] with e_ij ≤ ReLU(G_ij) + s_j/2.

        From E over the noise of the Hessian of (c/4) Σ ReLU(W_j·(W_i + ξ))².
        """
        xp = W.__array_namespace__()
        n = W.shape[0]
        s = self.sigma * xp.sqrt(squared_norms(W))
        on = xp.max(xp.sum(rectified_gram(W), axis=1) + 0.25 * (xp.sum(s) + n * s))
        top = xp.linalg.eigvalsh(W @ W.T)[-1]
        return self.strength * (2.0 * top + n * self.sigma**2 + on)

    def _others(
        self, W: Array, evaluate: Evaluate, on_square: float = 0.0
    ) -> tuple[Array, Expectations]:
        """A mask (n, n) of the inputs i ≠ j, and what outputs j are at G_ij."""
        other = 1.0 - W.__array_namespace__().eye(W.shape[0], dtype=W.dtype)
        noise = (self.sigma, self.distribution, self.accuracy)
        return other, evaluate(W, W @ W.T, other, *noise, on_square)
