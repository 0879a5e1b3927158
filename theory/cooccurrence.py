"""Features that occur together: when a shared neuron starts to be left.

Inputs have every feature on with probability p, independently, and the loss is the expected one
over p, L(W) = E‖ReLU(W Wᵀx) − x‖²/p, of which the flow's energy is c/4: one-hot inputs are p → 0.
Two features on a neuron with opposite signs then hurt each other: with both on one is wiped out.

**Derived.** Where features i and j share a neuron with weights u ≥ v > 0 of opposite signs, a lone
feature l has another with weight w, and all else is zero,

    c (1 − w²) w = λ
    (c/4) [4 (1 − p)(1 − u²) u + 2p (1 − u² + uv)(2u − v)] = λ
    (c/4) [4 (1 − p)(1 − v²) v − 2p (1 − u² + uv) u] = λ

is a rest point (`shared_rest`): when both are on only the larger has an output, u (u − v), so that
it is pulled up and the smaller one down. The force on the zero of i on the neuron of l, towards the
sign that l has there, is to first order in that weight (`revival_force`)

    F = (c/2) w [p (1 − p)(1 − u²) + p² (1 − u² + uv) + p (1 − w²)]  =  (c/4) p² + pλ + …

from the outputs of i (j off, then on) and of l. For small p and λ/c

    u² = 1 + p/2 − λ/c + …,    v² = 1 − p/2 − λ/c + …

and the zero leaves when F > λ, at (`revival_threshold`)

    p_c = (2/c) (√(λ² + cλ) − λ)  ≈  2 √(λ/c)

Row j has the same without the middle term and with v for u; it is the same at leading order, and a
little more beyond, so that the *smaller* one revives first. On a neuron that is shared itself the
pushes of its two owners cancel at leading order. So below p_c co-occurrence leaves every benign
collision as it is. Above it weights revive; that this *cures* the collision does not follow.

Source: theory/README, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, root

from theory._checks import Array, non_negative, positive, require
from theory.equilibrium import critical_lambda, equal_survivor_roots

__all__ = ["SharedRest", "exact_threshold", "revival_force", "revival_threshold", "shared_rest"]


class SharedRest(NamedTuple):
    """Sizes at rest of a shared neuron's two weights and of a lone one."""

    larger: float
    """u"""
    smaller: float
    """v"""
    alone: float
    """w"""


def revival_threshold(lam: ArrayLike, *, c: ArrayLike = 1.0) -> Array:
    """p_c above which a zero beside a benign collision revives, for small λ/c.

        p_c = (2/c) (√(λ² + cλ) − λ)

    Relative error below λ/c: at λ/c = 0.0025 it is 0.0951 where `exact_threshold` is 0.0952.

    lam : λ; c : strength of both forces; broadcast. Raises ValueError unless λ ≥ 0 and c > 0.
    """
    lam_, c_ = non_negative("lam", lam), positive("c", c)
    return np.asarray(2 * (np.sqrt(lam_**2 + c_ * lam_) - lam_) / c_)


def shared_rest(p: float, lam: float, *, c: float = 1.0) -> SharedRest:
    """Where a benign pair and a lone feature rest under co-occurrence; to about 1e-12.

    p : probability of a feature, in [0, 1); lam : λ; c : strength of both forces.
    Raises ValueError where the pair has no rest with both weights there.
    """
    p, lam, c = _checked(p, lam, c)
    alone = float(equal_survivor_roots(lam, 1, c=c)[1])

    def rates(x: Array) -> Array:
        u, v = x
        output = 1 - u * (u - v)
        return np.array([
            c * (1 - p) * (1 - u**2) * u + c / 2 * p * output * (2 * u - v) - lam,
            c * (1 - p) * (1 - v**2) * v - c / 2 * p * output * u - lam,
        ])  # fmt: skip

    guess = np.sqrt(np.maximum(0.05, alone**2 + np.array([p / 2, -p / 2])))
    found = root(rates, guess, tol=1e-13)
    u, v = found.x
    require(
        np.abs(rates(found.x)).max() < 1e-9 * c and u >= v > 0 and u * (u - v) < 1,
        "p and lam at which both of a pair stay",
        (p, lam),
        "lower them",
    )
    return SharedRest(float(u), float(v), alone)


def revival_force(p: float, lam: float, *, c: float = 1.0) -> tuple[float, float]:
    """Force at rest on zeros of the larger and the smaller one's row, on a lone one's neuron.

        larger     (c/2) w [p (1 − p)(1 − u²) + p² (1 − u² + uv) + p (1 − w²)]
        smaller    (c/2) w [p (1 − p)(1 − v²) + p (1 − w²)]

    Both are (c/4) p² + pλ at leading order. Exact for `shared_rest`, whatever other features there
    are, as long as they are on neurons of their own. A zero revives where it exceeds λ.

    p, lam, c : as there.
    """
    u, v, w = shared_rest(p, lam, c=c)
    other = p * (1 - w**2)
    larger = p * (1 - p) * (1 - u**2) + p**2 * (1 - u**2 + u * v) + other
    smaller = p * (1 - p) * (1 - v**2) + other
    return c / 2 * w * larger, c / 2 * w * smaller


def exact_threshold(lam: float, *, c: float = 1.0) -> float:
    """The p at which the larger of the two forces of `revival_force` is λ: no expansion.

    lam : λ > 0, at most c/10; c : strength of both forces.
    """
    require(0 < lam <= 0.1 * c, "0 < lam <= c/10", lam, "the pair does not last beyond")

    def excess(p: float) -> float:
        return max(revival_force(p, lam, c=c)) - lam

    guess = float(revival_threshold(lam, c=c))
    return float(brentq(excess, 0.5 * guess, min(1.5 * guess, 0.95), xtol=1e-13))


def _checked(p: float, lam: float, c: float) -> tuple[float, float, float]:
    c_ = float(positive("c", c))
    lam_ = float(non_negative("lam", lam))
    require(0 <= p < 1, "0 <= p < 1", p, "a probability")
    require(
        lam_ <= critical_lambda(c=c_), "lam up to 2c/(3 sqrt 3)", lam, "no weight survives there"
    )
    return float(p), lam_, c_
