"""What the other encodings do: strength at the start, decay of overlaps, two exact symmetries.

    −c Σ_{j≠i} ReLU(G_ij) W_j,     G = W Wᵀ

Sources: paper, section 2.5; theory/README, section 3. Times are flow time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._checks import Array, non_negative, positive, real, require
from theory.unit_length import inverse_norm

__all__ = [
    "benefit_variance",
    "free_directions",
    "growing_alone",
    "initial_benefit",
    "initial_growth",
    "initial_interference",
    "interference_variance",
    "no_pair_attracts",
    "overlapping_solution",
    "pair_decay",
    "signs_separate",
    "transposable_rate",
]


def initial_interference(n: ArrayLike, m: ArrayLike, scale: ArrayLike = 1.0) -> Array:
    """Mean of the interference along W_i at a Gaussian start, in units of c.

        E Σ_{j≠i} ReLU(G_ij)² = (n − 1) s⁴ / (2m)

    Exact for entries N(0, s²/m). n, m, scale : broadcast. The paper has Θ(n/m).
    Source: paper, section 2.5; theory/README, section 3.
    """
    n_, m_, s = positive("n", n), positive("m", m), non_negative("scale", scale)
    return np.asarray((n_ - 1) * s**4 / (2 * m_))


def interference_variance(n: ArrayLike, m: ArrayLike, scale: ArrayLike = 1.0) -> Array:
    """Variance over starts of Σ_{j≠i} ReLU(G_ij)²; exact for entries N(0, s²/m).

        (n − 1) (s⁸/m²) [ (5/4)(1 + 2/m) + (n − 1)/(2m) ]

    Given W_i the pairs are independent normals (first term); their common scale is ‖W_i‖
    (second term).

    n, m, scale : broadcast. Source: theory/README, section 3.
    """
    n_, m_, s = positive("n", n), positive("m", m), non_negative("scale", scale)
    return np.asarray((n_ - 1) * s**8 / m_**2 * (1.25 * (1 + 2 / m_) + (n_ - 1) / (2 * m_)))


def initial_benefit(m: ArrayLike, scale: ArrayLike = 1.0) -> Array:
    """Mean of the feature benefit along W_i at a Gaussian start, in units of c.

        E (1 − ‖W_i‖²) ‖W_i‖² = s² − s⁴ (1 + 2/m)

    Exact for entries N(0, s²/m). Positive for s = 0.9, negative for s = 1: the paper's figure 2
    starts by growing and its figure 3 by shrinking.

    m, scale : broadcast. Source: theory/README, section 3.
    """
    m_, s = positive("m", m), non_negative("scale", scale)
    return np.asarray(s**2 - s**4 * (1 + 2 / m_))


def benefit_variance(m: ArrayLike, scale: ArrayLike = 1.0) -> Array:
    """Variance over starts of (1 − ‖W_i‖²) ‖W_i‖²; exact for entries N(0, s²/m).

        2s⁴/m − 8 s⁶ (m + 2)/m² + 8 s⁸ (m + 2)(m + 3)/m³

    from the moments E ‖W‖^(2k) = (s²/m)^k m (m + 2) … (m + 2k − 2) of a chi-square.

    m, scale : broadcast.
    """
    m_, s2 = positive("m", m), non_negative("scale", scale) ** 2
    cubic = 8 * s2**3 * (m_ + 2) / m_**2
    quartic = 8 * s2**4 * (m_ + 2) * (m_ + 3) / m_**3
    return np.asarray(2 * s2**2 / m_ - cubic + quartic)


def initial_growth(
    n: ArrayLike, m: ArrayLike, scale: ArrayLike = 1.0, lam: ArrayLike = 0.0, *, c: float = 1.0
) -> Array:
    """Mean of (1/2) d‖W_i‖²/dt at a Gaussian start with every force on.

        c [s² − s⁴ (1 + 2/m) − (n − 1) s⁴/(2m)] − λ s √(2m/π)

    Its sign says whether encodings start by growing. n = 1 is interference off. Exact for
    entries N(0, s²/m).

    n, m, scale, lam : broadcast; c : strength of both forces. Source: theory/README, section 3.
    """
    smooth = initial_benefit(m, scale) - initial_interference(n, m, scale)
    norm1 = np.asarray(scale) * np.sqrt(2 * np.asarray(m, dtype=np.float64) / np.pi)
    return np.asarray(positive("c", c) * smooth - non_negative("lam", lam) * norm1)


def pair_decay(
    overlap: ArrayLike, norm_squared: ArrayLike, other_squared: ArrayLike, *, c: float = 1.0
) -> Array:
    """What a pair's own interference contributes to the rate of its overlap G_ij.

        −c ReLU(G_ij) (‖W_i‖² + ‖W_j‖²)

    Exact; with n = 2 and λ = 0 feature benefit adds c (2 − ‖W_i‖² − ‖W_j‖²) G_ij and
    that is all.

    overlap : G_ij; norm_squared, other_squared : ‖W_i‖², ‖W_j‖²; c : strength of interference;
    arguments broadcast. Source: paper, section 2.5.
    """
    lengths = non_negative("norm_squared", norm_squared) + non_negative("other", other_squared)
    return np.asarray(-positive("c", c) * np.maximum(real("overlap", overlap), 0.0) * lengths)


def no_pair_attracts(weights: ArrayLike) -> bool:
    """Whether G_ij ≤ 0 for all i ≠ j: interference is off there. weights : (n, m).

    At λ = 0 this set is invariant: rows only change length (`growing_alone`) and no
    overlap changes sign. With λ > 0 it is not, see `signs_separate`.
    """
    gram = _gram(weights)
    np.fill_diagonal(gram, 0.0)
    return bool(np.all(gram <= 0))


def signs_separate(weights: ArrayLike) -> bool:
    """Whether no two features hold a neuron with the same sign: W_ik W_jk ≤ 0 for i ≠ j, all k.

    Equivalently each neuron has at most one positive and one negative weight: every collision is
    benign. This set is invariant for every λ ≥ 0, interference is off throughout, zeros
    are absorbing, and rows evolve as in `theory.sparsification`: weights keep their signs, so
    overlaps stay sums of non-positive terms. (All G_ij ≤ 0 alone is not enough once
    λ > 0: ℓ1 can eat the negative terms of an overlap first.) weights : (n, m).
    Source: theory/README, section 3 ("benign collision"), here for any number of features.
    """
    w = real("weights", weights)
    return bool(np.all((w > 0).sum(axis=0) <= 1) and np.all((w < 0).sum(axis=0) <= 1))


def growing_alone(weights: ArrayLike, time: float, *, c: float = 1.0) -> Array:
    """The flow at λ = 0 from a start in which no pair attracts; exact for all times.

        W_i(t) = W_i(0) / (‖W_i(0)‖ Y_i(t)),      Y_i as in `theory.unit_length.inverse_norm`

    weights : (n, m), rows non-zero; time : t ≥ 0; c : strength of feature benefit.
    Raises ValueError if some G_ij > 0.
    """
    w = real("weights", weights)
    require(no_pair_attracts(w), "all G_ij <= 0", "a positive overlap", "interference acts here")
    norm = np.sqrt(np.square(w).sum(axis=1))
    return np.asarray(w / (norm * inverse_norm(time, norm, c=c))[:, None])


def transposable_rate(weights: ArrayLike, lam: float = 0.0, *, c: float = 1.0) -> Array:
    """dW/dt of the whole flow while all overlaps are ≥ 0 and strengths are equal.

        c (I − W Wᵀ) W − λ sign(W)

    Unchanged under W → Wᵀ: features competing for a neuron are weights competing within an
    encoding, which is why a malign collision is the two-way race.

    weights : (n, m); lam : λ; c : strength of both forces; returns (n, m).
    Source: theory/README, section 3. Raises ValueError if some G_ij < 0.
    """
    w, gram = real("weights", weights), _gram(weights)
    require(gram >= 0, "all G_ij >= 0", "a negative overlap", "there the ReLU cuts the symmetry")
    return np.asarray(positive("c", c) * (w - gram @ w) - lam * np.sign(w))


def overlapping_solution(weights: ArrayLike, time: float, *, c: float = 1.0) -> Array:
    """The flow at λ = 0 while all overlaps stay ≥ 0: singular values grow alone.

        W(0) = U diag(s) Vᵀ,     W(t) = U diag(s(t)) Vᵀ,     s' = c (1 − s²) s

    Exact as long as all G_ij(t) ≥ 0 (then dW/dt = c (I − W Wᵀ) W), which for n = 2 is for
    ever: G₁₂(t) is a positive multiple of s₁(t)² − s₂(t)². For n > 2 overlaps may cross
    zero on the way.

    weights : (n, m) of full rank; time : t ≥ 0; c : strength of both forces.
    Raises ValueError if some G_ij < 0.
    """
    w = real("weights", weights)
    require(_gram(w) >= 0, "all G_ij >= 0", "a negative overlap", "there the ReLU cuts in")
    left, singular, right = np.linalg.svd(w, full_matrices=False)
    return np.asarray((left / inverse_norm(time, singular, c=c)) @ right)


def free_directions(n: ArrayLike, survivors: ArrayLike, active_share: ArrayLike) -> Array:
    """Directions per feature in which W can still move with its zeros and active pairs held.

        d = m' − 1 − f (n − 1)/2

    n m' non-zero coordinates face f n(n−1)/2 active pairs (0 < G_ij = O(λ): held near
    G_ij = 0 by interference against ℓ1) and n lengths ‖W_i‖ = 1. The count is exact for
    independent constraints; d = 0 is a vertex, at which W is pinned.

    **Conjecture** (measured): d ≥ 0 up to a few per cent of n, i.e. m' ≥ 1 + f(n−1)/2.
    Constraints that are held cannot outnumber the coordinates that they hold, so m' is bounded
    from *below*. (That a vertex has at most so many non-zeros is another statement; the plateau is
    not at a vertex.)
    Measured with n = m, λ = 0.001 … 0.002 (one seed, fixed-step proximal Euler):

        n = 64     d/n = 0.18, 0.15, 0.10, 0.00    m'/n = 0.55, 0.53, 0.47, 0.18
        n = 128    d/n = 0.15, 0.14, 0.13, 0.03    m'/n = 0.54, 0.54, 0.53, 0.35
        n = 192    d/n = 0.13, 0.12, 0.11, 0.05    m'/n = 0.54, 0.53, 0.50, 0.38

    at λt = 0.4, 0.5, 0.6, 0.8, with f about 0.72, 0.78, 0.80 until the collapse. So while
    f stays there m' cannot go below about 0.4 n, which is most of the plateau's height, and the
    collapse is pairs letting go: from the moment d reaches 0, m' rides down on 1 + f(n−1)/2.
    **Not explained**: why f settles there, the remaining d of 0.10 … 0.15 n, and the time
    λt of about 0.7 … 0.9 at which pairs let go. A mean-field guess, slowing −d‖W‖₁/dt =
    λ (m' − ‖W‖₁²) by the free share d/(m' − 1), is a factor 1.7 too fast on the
    plateau (n = 64: 7.0 against 4.1 at λt = 0.3, undiminished rate 18.8) and fails after.

    n, survivors, active_share : n, m' (per feature) and f, broadcast. Source: theory/README,
    section 3.
    """
    count = positive("n", n)
    share = non_negative("active_share", active_share)
    return np.asarray(non_negative("survivors", survivors) - 1 - share * (count - 1) / 2)


def _gram(weights: ArrayLike) -> Array:
    w = real("weights", weights)
    require(w.ndim == 2, "weights of shape (n, m)", w.shape, "pass a matrix, one row per feature")
    return np.asarray(w @ w.T)
