"""Where the flow can stop: roots, critical strengths, curvature, and a certificate for any W.

k coordinates of equal size v, alone in their encoding (or on their neuron), rest when

    c (1 − k v²) v = λ

k = 1 is the winner-take-all end state, k ≥ 2 a saddle between winners. k need not be an
integer: two features fighting for one neuron with strengths c_b, c_i behave as k = 1 + c_i/c_b.

Sources: paper, section 2.4; theory/README, section 2 (one survivor) and section 1 (rule at zero).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._checks import Array, non_negative, positive, real, require

__all__ = [
    "critical_lambda",
    "early_kill_bound",
    "equal_survivor_eigenvalues",
    "equal_survivor_roots",
    "hessian_on_support",
    "lowest_curvature",
    "row_survives",
    "smooth_force",
    "stationarity_violation",
]


def critical_lambda(survivors: ArrayLike = 1, *, c: ArrayLike = 1.0) -> Array:
    """Largest λ at which k equal weights can rest; for k = 1, above it everything dies.

        λ_crit = 2c / (3 √(3k))

    survivors : k > 0, real, broadcast with c. Exact. Source: theory/README, section 2.
    """
    k = positive("survivors", survivors)
    return np.asarray(2 * positive("c", c) / (3 * np.sqrt(3 * k)))


def equal_survivor_roots(
    lam: ArrayLike, survivors: ArrayLike = 1, *, c: ArrayLike = 1.0
) -> tuple[Array, Array]:
    """Both positive roots v of c (1 − k v²) v = λ, (smaller, larger).

        √k v₋ = (2/√3) sin(arcsin(h) / 3)
        √k v₊ = (2/√3) cos(arccos(−h) / 3),      h = λ / λ_crit(k)

    k = 1: v₊ is the end state's weight, v₋ the size below which a lone weight dies. Exact.
    lam, survivors, c : broadcast. Source: theory/README, section 2.
    Raises ValueError for λ above `critical_lambda`: there is no root then.
    """
    k = positive("survivors", survivors)
    share = non_negative("lam", lam) / critical_lambda(k, c=c)
    require(share <= 1, "lambda <= critical_lambda", lam, "above it every weight dies: no root")
    unit = 2 / np.sqrt(3 * k)
    small = unit * np.sin(np.arcsin(share) / 3)
    large = unit * np.cos(np.arccos(-share) / 3)
    return np.asarray(small), np.asarray(large)


def equal_survivor_eigenvalues(
    size: ArrayLike, survivors: ArrayLike = 1, *, c: ArrayLike = 1.0
) -> tuple[Array, Array]:
    """Eigenvalues of the flow at k equal weights v of one encoding: (common, splitting).

        common:     c (1 − 3 k v²)     once, all weights together
        splitting:  c (1 − k v²) = λ / v     k − 1 times, one against another

    Splitting is positive, so for k ≥ 2 the larger root is a saddle and the smaller, where
    common is positive too, repels. For k = 1 only `common` exists. Exact.

    size, survivors, c : v > 0, k and c, broadcast. Source: theory/README, section 2.
    """
    square = positive("survivors", survivors) * positive("size", size) ** 2
    c_ = positive("c", c)
    return np.asarray(c_ * (1 - 3 * square)), np.asarray(c_ * (1 - square))


def early_kill_bound(row: ArrayLike, *, c: ArrayLike = 1.0) -> Array:
    """A λ up to which a row, interference off, is certainly not killed as a whole.

        λ_kill = c (1 − N²) N / r,    N = min(‖W(0)‖, 1/√3),    r = ‖W(0)‖₁/‖W(0)‖

    Proof: N' = c (1 − N²) N − λ r(t), and r falls along the flow. Below 1/√3 the cubic
    rises, so N' ≥ 0 at the start stays so; above, N cannot cross 1/√3 downwards because there
    the cubic is at its maximum 2c/(3√3) ≥ λ r. Sharp for m equal weights and
    sufficient otherwise; a Gaussian row of norm ≥ 1/√3 has λ_kill √m/c → 0.482.
    The paper's λ ≤ 1/√m is the same condition up to the constant.

    row : (…, m), broadcast with c. Source: theory/README, section 2 (equation for N); paper,
    section 2.1.
    Raises ValueError for a row of zeros.
    """
    size = np.abs(real("row", row))
    norm = np.sqrt(np.square(size).sum(axis=-1))
    require(norm > 0, "a non-zero weight in every row", row, "drop dead rows first")
    rising = np.minimum(norm, 3**-0.5)
    return np.asarray(positive("c", c) * rising * (1 - rising**2) * norm / size.sum(axis=-1))


def row_survives(row: ArrayLike, lam: ArrayLike, *, c: ArrayLike = 1.0) -> NDArray[np.bool_]:
    """Assumption of the sparsification laws: λ ≤ `early_kill_bound`.

    row : (…, m), broadcast with lam and c.
    """
    return np.asarray(non_negative("lam", lam) <= early_kill_bound(row, c=c))


def smooth_force(weights: ArrayLike, *, benefit: float = 1.0, interference: float = 1.0) -> Array:
    """Feature benefit plus interference, the smooth part of dW/dt.

        f_i = c_b (1 − ‖W_i‖²) W_i − c_i Σ_{j≠i} ReLU(G_ij) W_j,     G = W Wᵀ

    weights : (n, m); benefit, interference : c_b, c_i, 0 is off; returns (n, m).
    Source: paper, section 2.3.
    """
    w = _matrix(weights)
    gram = w @ w.T
    growth = float(non_negative("benefit", benefit)) * (1 - np.diagonal(gram))
    return np.asarray(growth[:, None] * w - interference * (_positive_pairs(gram) @ w))


def stationarity_violation(
    weights: ArrayLike, lam: float, *, benefit: float = 1.0, interference: float = 1.0
) -> float:
    """How far W is from rest: 0 exactly where the flow stands still.

        max( |f_ik − λ sign(W_ik)| where W_ik ≠ 0,   (|f_ik| − λ)₊ where W_ik = 0 )

    weights : (n, m); lam : λ; benefit, interference : c_b, c_i; returns a speed, in 1/time.
    Source: theory/README, section 1.
    """
    w = _matrix(weights)
    force = smooth_force(w, benefit=benefit, interference=interference)
    moving = np.abs(force - float(non_negative("lam", lam)) * np.sign(w))
    leaving = np.maximum(np.abs(force) - lam, 0.0)
    return float(np.max(np.where(w != 0, moving, leaving)))


def hessian_on_support(
    weights: ArrayLike, *, benefit: float = 1.0, interference: float = 1.0
) -> Array:
    """Second derivative of the loss in the non-zero coordinates (zeros are held by ℓ1).

        (i,a),(i,b):  −c_b (1 − ‖W_i‖²) δ_ab + 2 c_b W_ia W_ib + c_i Σ_j H_ij W_ja W_jb
        (i,a),(j,b):  c_i (H_ij W_ja W_ib + ReLU(G_ij) δ_ab),       H_ij = [G_ij > 0], j ≠ i

    The ℓ1 term is linear there and adds nothing. At G_ij = 0 the curvature is one-sided and the
    smaller side, H = 0, is taken.

    weights : (n, m) with p non-zeros, in row-major order; benefit, interference : c_b, c_i; returns
    (p, p), dense, meant for p up to a few thousand. Source: the energies of theory/README,
    section 1.
    """
    w = _matrix(weights)
    gram = w @ w.T
    rectified = _positive_pairs(gram)
    active = (rectified > 0).astype(np.float64)
    i, a = np.nonzero(w)
    column = w[:, a]  # (n, p)
    value = w[i, a]
    same_row = i[:, None] == i
    within = 2 * benefit * np.outer(value, value)
    within += interference * ((active[i].T * column).T @ column)
    within[np.diag_indices_from(within)] -= benefit * (1 - np.diagonal(gram)[i])
    crossed = column[i].T  # entry (p, q) is W at (row of q, column of p)
    across = active[i][:, i] * crossed * crossed.T + rectified[i][:, i] * (a[:, None] == a)
    return np.asarray(np.where(same_row, within, interference * across))


def lowest_curvature(
    weights: ArrayLike, *, benefit: float = 1.0, interference: float = 1.0
) -> float:
    """Smallest eigenvalue of `hessian_on_support`; infinity when every weight is zero.

    A rest point attracts if it is positive and is a saddle if it is negative.

    weights : (n, m); benefit, interference : c_b, c_i.
    """
    hessian = hessian_on_support(weights, benefit=benefit, interference=interference)
    return float(np.linalg.eigvalsh(hessian)[0]) if len(hessian) else float("inf")


def _matrix(weights: ArrayLike) -> Array:
    w = real("weights", weights)
    require(w.ndim == 2, "weights of shape (n, m)", w.shape, "pass a matrix, one row per feature")
    return w


def _positive_pairs(gram: Array) -> Array:
    rectified = np.maximum(gram, 0.0)
    np.fill_diagonal(rectified, 0.0)
    return np.asarray(rectified)
