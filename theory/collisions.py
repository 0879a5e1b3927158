"""Two features on one neuron: benign and malign collisions, and the race between equals.

Encodings W_i, W_j share a single non-zero coordinate, weights u and v there and nothing else.

    benign (opposite signs)   w' = c_b (1 − w²) w − λ for each alone: they can share for ever
    malign (same sign)        u' = c_b (1 − u²) u − c_i u v² − λ,   v' likewise

It is the benign ones that make neurons polysemantic. For c_b = c_i the malign system is that of
two coordinates of one encoding, hence the closed-form race. Times are flow time.

Sources: paper, section 2.5; theory/README, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from theory._checks import Array, non_negative, positive, require
from theory.equilibrium import critical_lambda, equal_survivor_roots, row_survives
from theory.unit_length import undo_start_offset

__all__ = [
    "FixedPoint",
    "benign_rate",
    "benign_survives",
    "larger_wins",
    "malign_fixed_points",
    "malign_jacobian",
    "malign_rate",
    "race_applies",
    "race_constant",
    "race_time",
    "separatrix",
    "sharing_is_stable",
]


def benign_rate(size: ArrayLike, lam: ArrayLike, *, benefit: ArrayLike = 1.0) -> Array:
    """Rate of |w| in a benign collision (or alone): c_b (1 − w²) w − λ. Exact.

    G_ij = u v < 0, so neither weight feels the other.

    size : |w| > 0; lam : λ; benefit : c_b; arguments broadcast. Source: paper, section 2.5.
    """
    w = positive("size", size)
    return np.asarray(non_negative("benefit", benefit) * (1 - w**2) * w - np.asarray(lam))


def benign_survives(
    size: ArrayLike, lam: ArrayLike, *, benefit: ArrayLike = 1.0
) -> NDArray[np.bool_]:
    """Whether a lone weight lives for ever: |w| ≥ w₋ and λ ≤ λ_crit. Exact.

    w₋ is the smaller root of `theory.equilibrium.equal_survivor_roots`, the separatrix of the
    benign system; a benign collision is lasting when both weights pass.

    size : |w| > 0; lam : λ; benefit : c_b; arguments broadcast.
    """
    w, limit = positive("size", size), critical_lambda(c=benefit)
    possible = non_negative("lam", lam) <= limit
    lower, _ = equal_survivor_roots(np.where(possible, lam, limit), c=benefit)
    return np.asarray(possible & (w >= lower))


def malign_rate(
    u: ArrayLike,
    v: ArrayLike,
    lam: ArrayLike,
    *,
    benefit: ArrayLike = 1.0,
    interference: ArrayLike = 1.0,
) -> tuple[Array, Array]:
    """(u', v') while both weights are positive. Exact.

        u' = c_b (1 − u²) u − c_i u v² − λ,     v' = c_b (1 − v²) v − c_i v u² − λ

    u, v : weights > 0; lam : λ; benefit, interference : c_b, c_i; arguments broadcast.
    Source: paper, section 2.5 (strengths of the mutual terms); theory/README, section 3.
    """
    u_, v_, lam_ = positive("u", u), positive("v", v), non_negative("lam", lam)
    own, other = non_negative("benefit", benefit), non_negative("interference", interference)
    return _malign_rate(u_, v_, lam_, own, other)


def _malign_rate(
    u: Array, v: Array, lam: Array | float, own: Array | float, other: Array | float
) -> tuple[Array, Array]:
    """The polynomials of `malign_rate`, wherever a solver's stages may look."""
    first = own * (1 - u**2) * u - other * u * v**2 - lam
    second = own * (1 - v**2) * v - other * v * u**2 - lam
    return np.asarray(first), np.asarray(second)


def malign_jacobian(
    u: float, v: float, *, benefit: float = 1.0, interference: float = 1.0
) -> Array:
    """Jacobian of `malign_rate`, (2, 2) and symmetric, since the flow is a gradient flow.

    u, v : weights; benefit, interference : c_b, c_i.
    """
    cross = -2 * interference * u * v
    return np.array(
        [
            [benefit * (1 - 3 * u**2) - interference * v**2, cross],
            [cross, benefit * (1 - 3 * v**2) - interference * u**2],
        ]
    )


@dataclass(frozen=True)
class FixedPoint:
    """A point of the open quadrant u, v > 0 where both weights rest."""

    u: float
    """weight of the first feature"""
    v: float
    """weight of the second feature"""
    eigenvalues: tuple[float, float]
    """eigenvalues of the Jacobian, ascending; negative attracts"""

    @property
    def kind(self) -> str:
        """ "attractor", "saddle" or "repeller"."""
        negative = sum(value < 0 for value in self.eigenvalues)
        return ("repeller", "saddle", "attractor")[negative]


def malign_fixed_points(
    lam: float, *, benefit: float = 1.0, interference: float = 1.0
) -> list[FixedPoint]:
    """All rest points with both features on the neuron, same sign; exact, for λ > 0.

    Symmetric, u = v = w:  c_b (1 − k w²) w = λ with k = 1 + c_i/c_b, i.e. the roots of
    `equal_survivor_roots`. Eigenvalues

        splitting (1,−1):  λ/w + 2 (c_i − c_b) w²
        common (1, 1):     λ/w − 2 (c_b + c_i) w²

    Asymmetric, only for c_b > c_i: with δ = c_b − c_i, s = u + v,

        s³ − s = λ (c_b + c_i) / (c_b δ),     u v = λ / (δ s)

    real and distinct when s³ > 4 λ/δ. They branch off the symmetric point exactly
    where its splitting eigenvalue changes sign: saddles between sharing and one winner.
    (Derivation: subtract the two equations and divide by u − v; add them and insert.)

    The rest points on the axes, (w₊, 0) and (0, w₊), are those of `equal_survivor_roots`
    with one survivor; (0, 0) always attracts. They are returned in this order: symmetric larger
    root, symmetric smaller root, asymmetric u > v, asymmetric u < v.

    lam : λ > 0; benefit, interference : c_b, c_i. Source: theory/README, section 3; the asymmetric
    ones are derived here.
    """
    lam, own = float(positive("lam", lam)), float(positive("benefit", benefit))
    other = float(non_negative("interference", interference))
    rivals = 1 + other / own
    points: list[tuple[float, float]] = []
    if lam <= critical_lambda(rivals, c=own):
        small, large = (float(w) for w in equal_survivor_roots(lam, rivals, c=own))
        points += [(large, large), (small, small)]
    if own > other:
        delta = own - other
        roots = np.roots([1.0, 0.0, -1.0, -lam * (own + other) / (own * delta)])
        total = float(roots[np.argmax(roots.real)].real)
        square = total**2 - 4 * lam / (delta * total)
        if square > 0:
            half = float(np.sqrt(square)) / 2
            high, low = total / 2 + half, lam / (delta * total) / (total / 2 + half)
            points += [(high, low), (low, high)]
    return [
        FixedPoint(u, v, _eigenvalues(u, v, benefit=own, interference=other)) for u, v in points
    ]


def sharing_is_stable(lam: float, *, benefit: float = 1.0, interference: float = 1.0) -> bool:
    """Whether two features can hold one neuron with the same sign: c_b − c_i > λ / (2 w³).

    w is the larger symmetric root. Interference must be weaker than feature benefit; with equal
    strengths they never can. Exact.

    lam : λ; benefit, interference : c_b, c_i. Source: theory/README, section 3.
    """
    rivals = 1 + float(interference) / float(positive("benefit", benefit))
    if lam > critical_lambda(rivals, c=benefit):
        return False
    _, w = equal_survivor_roots(lam, rivals, c=benefit)
    return bool(benefit - interference > lam / (2 * w**3))


def larger_wins(lam: float, *, benefit: float = 1.0, interference: float = 1.0) -> bool:
    """Whether the diagonal u = v separates the two outcomes (or everything dies).

    True unless asymmetric rest points exist. Then from u > v > 0 the weight v dies first: the
    flow is a gradient flow, keeps u > v, and has no rest point in u > v > 0 to end in.

    lam : λ > 0; benefit, interference : c_b, c_i.
    """
    points = malign_fixed_points(lam, benefit=benefit, interference=interference)
    return all(point.u == point.v for point in points)


def separatrix(
    lam: float,
    *,
    benefit: float = 1.0,
    interference: float = 1.0,
    reach: float = 2.0,
    points: int = 200,
) -> Array:
    """The curve in u ≥ v between "the first feature wins" and the other outcomes, (points, 2).

    Where `larger_wins` it is the diagonal. Otherwise it is the stable manifold of the
    asymmetric saddle, traced backwards in time (numerically, to about 1e-9); below it (smaller
    v/u) u wins, between it and its mirror image both stay.

    Parameters
    ----------
    lam : λ > 0.
    benefit, interference : c_b, c_i.
    reach : the curve is traced out to max(u, v) = reach, and in towards the symmetric repeller.
    points : number of points on it, ≥ 2.

    Returns
    -------
    (points, 2) values of (u, v), from the origin outwards.
    """
    require(points >= 2, "points >= 2", points, "a curve has two ends")
    if larger_wins(lam, benefit=benefit, interference=interference):
        line = np.linspace(0.0, float(positive("reach", reach)), points)
        return np.stack([line, line], axis=1)
    saddle = next(
        p for p in malign_fixed_points(lam, benefit=benefit, interference=interference) if p.u > p.v
    )
    centre = np.array([saddle.u, saddle.v])
    jacobian = malign_jacobian(saddle.u, saddle.v, benefit=benefit, interference=interference)
    direction = np.linalg.eigh(jacobian)[1][:, 0]
    direction = direction * np.sign(direction.sum())  # both components positive: outwards

    def rate(y: Array) -> Array:
        return np.stack(_malign_rate(y[0], y[1], lam, benefit, interference))

    def backwards(_: float, y: Array) -> Array:
        return np.asarray(-rate(y) / (np.hypot(*rate(y)) + 1e-9))  # by arc length; rests at rest

    def leaves(_: float, y: Array) -> float:
        return float(reach - y.max())

    def settles(_: float, y: Array) -> float:
        return float(np.hypot(*rate(y)) - 1e-8)

    leaves.terminal = settles.terminal = True  # type: ignore[attr-defined]
    arms = []
    for side in (-1.0, 1.0):
        start = centre + side * 1e-6 * direction
        arm = solve_ivp(
            backwards, (0.0, 4 * reach), start, rtol=1e-10, atol=1e-12, events=(leaves, settles)
        ).y
        arms.append(arm)
    curve = np.concatenate([arms[0][:, ::-1], centre[:, None], arms[1]], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=1)))])
    at = np.linspace(0.0, length[-1], points)
    return np.stack([np.interp(at, length, side) for side in curve], axis=1)


def race_applies(
    a: ArrayLike, b: ArrayLike, lam: ArrayLike, *, c: float = 1.0
) -> NDArray[np.bool_]:
    """Assumptions of the race: a > b > 0 and λ ≤ the early-kill bound of the pair (a, b).

    a, b, lam : broadcast; c : strength of feature benefit.
    """
    a_, b_ = np.broadcast_arrays(positive("a", a), positive("b", b))
    return np.asarray((a_ > b_) & row_survives(np.stack([a_, b_], axis=-1), lam, c=c))


def race_constant(a: ArrayLike, b: ArrayLike) -> Array:
    """X₀ = lim λ T for the two-way race from a > b > 0.

        X₀ = [arsinh((a + b)/(a − b)) − arsinh 1] / √2

    a, b : broadcast. Source: theory/README, section 2. Raises ValueError unless a > b > 0.
    """
    a_, b_ = positive("a", a), positive("b", b)
    require(a_ > b_, "a > b", (a, b), "put the larger weight first; a tie is never decided")
    return np.asarray((np.arcsinh((a_ + b_) / (a_ - b_)) - np.arcsinh(1.0)) / np.sqrt(2))


def race_time(
    a: ArrayLike, b: ArrayLike, lam: ArrayLike, *, c: float = 1.0, order: int = 1
) -> Array:
    """When the smaller of two weights dies: two coordinates of one encoding, or of one neuron.

        leading order    T = X₀ / λ
        first order      T + off(T) = X₀ / λ − (1/2c) ln( √(a² + b²) / (a − b) )

    off(T), from `theory.unit_length`, vanishes for a² + b² = 1. Error O(1/c) at leading
    order, O(λ) at first. Assumptions: `race_applies`, all else zero, and for a malign
    collision equal strengths of benefit and interference.

    a, b, lam : broadcast; c : strength of feature benefit; order : 0 or 1.
    Source: theory/README, section 2, there for a² + b² = 1.
    """
    slow = race_constant(a, b) / positive("lam", lam)
    require(order in (0, 1), "order 0 or 1", order, "higher orders are not worked out")
    if order == 0:
        return np.asarray(slow)
    a_, b_ = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    norm = np.hypot(a_, b_)
    return undo_start_offset(slow - np.log(norm / (a_ - b_)) / (2 * c), norm, c=c)


def _eigenvalues(u: float, v: float, *, benefit: float, interference: float) -> tuple[float, float]:
    low, high = np.linalg.eigvalsh(
        malign_jacobian(u, v, benefit=benefit, interference=interference)
    )
    return float(low), float(high)
