"""Why the non-zeros of W stop falling: what orthogonality asks of the rows.

**Proved.** `mean_overlap`: unit rows with no G_ij > 0 have little overlap in all. Followed by
ℓ1 under equality constraints (`orthogonal_rate`), whose rate at the start is exact, `initial_rate`.
**Conjecture**, measured: once overlaps cannot relax pair by pair, *all* pairs are pinned near zero,
those with G_ij < 0 by this bound, and the plateau stands on (n + 1)/2 non-zeros per feature
(`plateau_height`), whatever share of the pairs interference holds.

Not derived: when the plateau ends. **Measured** (benchmarks/findings/README.md, "The plateau and
outputs that leak"): λt_c = T (1 + K n)/√n with T the time that m' = n/4 takes without interference
and K = 0.030, 0.0097, 0.0039, 0.0014 at m/n = 1, 2, 4, 8, n = 32 … 128; beyond, to n = 512, K n
grows as n^0.89 at m = n and as n^0.77 at 2n. So in the mean-field time λt√n the collapse comes the
later the larger n is, as far as was looked: a finite-n effect. What lets go are single large
weights. At the start a large weight of orthonormal rows grows at a rate of order √n, `spike_rate`;
on the plateau (linear outputs, m = n) these terms cancel: its velocity in λt is the same for n = 64
and 128 to about 0.1, negative below w ≈ 0.3 and growing as 1.5 w² or so above. So a row waits until
one of its weights, of typical size √(2/n), is large by chance. Two guesses are refuted by that:
growth by a rest of order √n w³ of the terms that cancel, and growth at one velocity whatever the
weight.

Source: theory/README, section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from theory._checks import Array, non_negative, positive, real, require

__all__ = [
    "crowd",
    "initial_overlap",
    "initial_rate",
    "l1_rate_on_constraints",
    "mean_overlap",
    "orthogonal_rate",
    "plateau_height",
    "relaxes_pair_by_pair",
    "spike_rate",
]


def mean_overlap(weights: ArrayLike) -> float:
    """Mean over i of Σ_{j≠i} |G_ij|; at most 1 where ‖W_i‖ = 1 and no G_ij > 0 (i ≠ j).

    *Proof.* 0 ≤ ‖Σ_i W_i‖² = Σ_i ‖W_i‖² + Σ_{i≠j} G_ij = n − Σ_{i≠j} |G_ij|. ∎

    More generally, for any lengths and signs,

        mean_i Σ_{j≠i} |G_ij| = mean_i ‖W_i‖² − ‖Σ_i W_i‖²/n + 2 mean_i Σ_{j≠i} ReLU(G_ij)

    so that with lengths at 1 and overlaps at most of order λ the sum is 1 iff the encodings add up
    to zero. In the flow it is 0.96 … 1.09 on the plateau, and a pair that is not held by
    interference is held by this bound: |G_ij| is of order 1/n on average.

    weights : (n, m). Source: theory/README, section 3.
    """
    gram = _gram(weights)
    return float((np.abs(gram).sum() - np.trace(gram)) / len(gram))


def initial_overlap(n: ArrayLike, m: ArrayLike) -> Array:
    """Mean over Gaussian starts of Σ_{j≠i} |G_ij| over the pairs with G_ij < 0.

        (n − 1) E ReLU(−G_ij),    E ReLU(−G_ij) = Γ((m + 1)/2) / (√π m Γ(m/2)) ≈ 1/√(2πm)

    Exact for entries N(0, 1/m): given W_i the overlap is normal with standard deviation ‖W_i‖/√m.

    n, m : broadcast. Source: theory/README, section 3.
    """
    n_, m_ = positive("n", n), positive("m", m)
    return np.asarray(
        (n_ - 1) * np.exp(gammaln((m_ + 1) / 2) - gammaln(m_ / 2)) / np.sqrt(np.pi) / m_
    )


def relaxes_pair_by_pair(n: ArrayLike, m: ArrayLike) -> np.ndarray:
    """Whether a Gaussian start has overlaps that interference could relax one by one.

    They are G_ij > 0, and if relaxing them left those with G_ij < 0 as they are, the bound of
    `mean_overlap` would have to hold for the latter: `initial_overlap` ≤ 1, or about n²/m ≤ 2π.
    Beyond, all encodings have to move together until Σ_i W_i is about zero.

    n, m : broadcast.
    """
    return np.asarray(initial_overlap(n, m) <= 1.0)


def crowd(weights: ArrayLike) -> Array:
    """Σ_j W_jk over the features other than the largest of neuron k, over that largest weight.

    −1 where the encodings add up to zero on the neuron: a large weight has a crowd of small ones of
    the other sign against it, which is what Σ_i W_i = 0 asks, whoever owns the neuron. NaN for an
    unused neuron.

    weights : (n, m); returns (m,). Source: theory/README, section 3.
    """
    w = real("weights", weights)
    require(w.ndim == 2, "weights of shape (n, m)", w.shape, "pass a matrix, one row per feature")
    owner = w[np.abs(w).argmax(axis=0), np.arange(w.shape[1])]
    others = w.sum(axis=0) - owner
    return np.divide(others, owner, out=np.full(owner.shape, np.nan), where=owner != 0.0)


def plateau_height(n: ArrayLike) -> Array:
    """(n + 1)/2: non-zeros per feature below which independent constraints cannot be met.

    n lengths and *all* n(n − 1)/2 overlaps are held, and n m' non-zero coordinates have to hold
    them: `theory.interference.free_directions` with f = 1. That all pairs are held, not the active
    ones alone, and that constraints are independent, is a **conjecture**. Measured for m = n at
    60 % of the time of collapse: m'/n = 0.538, 0.536, 0.528, 0.516 at n = 64, 128, 256, 384, where
    this says 0.508, 0.504, 0.502, 0.501. At m = 2n and 4n (0.61, 0.68) it is not reached.

    n : any shape.
    """
    return np.asarray((positive("n", n) + 1) / 2)


def orthogonal_rate(weights: ArrayLike) -> Array:
    """dW/d(λt) of ℓ1 descent among orthonormal rows: the limit λ → 0 of linear outputs.

        dW/d(λt) = sym(S Wᵀ) W − S,    S = sign(W),    sym(A) = (A + Aᵀ)/2

    the projection of −S on the tangents of W Wᵀ = 1, with equality constraints for all pairs: what
    the network without ReLU does, and the control that has the plateau but no ReLU.

    weights : (n, m) with orthonormal rows and no zeros; returns (n, m).
    Raises ValueError for rows that are not orthonormal to 1e-8.
    """
    w, a = _orthonormal(weights)
    return np.asarray((a + a.T) / 2 @ w - np.sign(w))


def l1_rate_on_constraints(weights: ArrayLike) -> float:
    """−d(mean_i ‖W_i‖₁)/d(λt) under `orthogonal_rate`: m − ‖sym(S Wᵀ)‖²/n, exactly.

    weights : as there.
    """
    w, a = _orthonormal(weights)
    return float(w.shape[1] - np.square((a + a.T) / 2).sum() / len(w))


def initial_rate(n: ArrayLike, m: ArrayLike) -> Array:
    """Mean of `l1_rate_on_constraints` over uniformly random orthonormal rows. Exact for n ≤ m.

        (m − 1)(1 − 2/π) − (n − 1)/2 · (1 − (m − 1) κ²),    κ = Γ((m − 1)/2) / (√π Γ(m/2))

    which is (1 − 2/π)(m − (n + 1)/2) for large m: holding the rows orthogonal takes half of the
    force of ℓ1 away at m = n. *Proof.* A = S Wᵀ. A_ii = ‖W_i‖₁ has E A_ii² = 1 + (m − 1) 2/π on
    the sphere. Given W_i, the row W_j is uniform on the sphere of W_i^⊥, of dimension m − 1, so

        E A_ij² = E (m − A_ii²)/(m − 1) = 1 − 2/π
        E A_ij A_ji = κ E Σ_kl S_ik W_il (δ_kl − W_ik W_il)/√(1 − W_il²) = 2/π − (m − 1) κ²

    where κ = E|u₁| of a unit vector u in m − 1 dimensions, E (u·x) sign(u·y) = κ x·y/‖y‖, and
    m E|W_il| √(1 − W_il²) = 2/(πκ). Hence E sym(A)_ij² = (1 − (m − 1) κ²)/2, for n − 1 of them. ∎

    n, m : 1 ≤ n ≤ m, m ≥ 2, broadcast. Source: theory/README, section 3.
    """
    n_, m_ = positive("n", n), positive("m", m)
    require((n_ >= 1) & (n_ <= m_) & (m_ >= 2), "1 <= n <= m, m >= 2", (n, m),
            "more than m rows cannot be orthonormal")  # fmt: skip
    kappa = np.exp(gammaln((m_ - 1) / 2) - gammaln(m_ / 2)) / np.sqrt(np.pi)
    alone = (m_ - 1) * (1 - 2 / np.pi)
    return np.asarray(alone - (n_ - 1) / 2 * (1 - (m_ - 1) * kappa**2))


def spike_rate(weight: ArrayLike, n: ArrayLike) -> Array:
    """Mean velocity in λt of one weight w > 0 of an otherwise random orthogonal matrix, m = n.

        dw/d(λt) ≈ √(n/2π) w (2√(1 − w²) − (1 − w²)) − (1 − w²)/2 + O(1/√n)

    under `orthogonal_rate`. *Derivation.* For square W it is Ẇ = (W Sᵀ W − S)/2 exactly. With r and
    c the rest of w's row and column and W' the rest of W,

        dw/d(λt) = [w (w + ‖r‖₁ + ‖c‖₁) + rᵀ S'ᵀ c − 1]/2

    Here ‖r‖₁ = √(2n/π) √(1 − w²) in the mean, and so ‖c‖₁. Orthogonality asks W' r = −w c, that is,
    W' = −w ĉ r̂ᵀ + W'' with W'' random on what is orthogonal to ĉ and r̂: entries of standard
    deviation 1/√n, whose signs answer to the first part by −√(2n/π) w ĉ r̂ᵀ. Then rᵀ S'ᵀ c is
    −√(2n/π) w (1 − w²): what other features do against a large weight, half of what it has. ∎

    Both parts are of order √n and grow with w: at the start large weights run away at once. On the
    plateau, where signs of small weights are no longer free, they cancel (top of this file).

    weight : w in (0, 1); n : broadcast. Source: theory/README, section 3.
    """
    w = positive("weight", weight)
    require(w < 1, "0 < weight < 1", weight, "rows have unit length")
    rest = 1 - w**2
    alone = np.sqrt(positive("n", n) / (2 * np.pi)) * w
    return np.asarray(alone * (2 * np.sqrt(rest) - rest) - rest / 2)


def _gram(weights: ArrayLike) -> Array:
    w = real("weights", weights)
    require(w.ndim == 2, "weights of shape (n, m)", w.shape, "pass a matrix, one row per feature")
    return np.asarray(w @ w.T)


def _orthonormal(weights: ArrayLike) -> tuple[Array, Array]:
    w, gram = real("weights", weights), _gram(weights)
    off = non_negative("distance", np.abs(gram - np.eye(len(gram))).max())
    require(off < 1e-8, "orthonormal rows", f"an overlap or length off by {off:.1e}",
            "orthonormalise them first")  # fmt: skip
    return w, np.asarray(np.sign(w) @ w.T)
