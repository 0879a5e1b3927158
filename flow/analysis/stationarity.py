"""Has the flow come to rest, and is it a resting place it would stay at? Evidence on a given W."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from flow.forces import Force, Slots, sum_slots, velocity
from flow.results.certificate import Certificate

DENSE_HESSIAN = 1200
"""Non-zeros up to which the Hessian is formed; beyond, its lowest eigenvalue comes by Lanczos."""


def default_tolerance(slots: Slots, dtype: np.dtype) -> float:
    """1e-6·max(λ, 1e-3·c); in float32 no tighter than rounding allows, 1e-5·c."""
    tolerance = 1e-6 * max(slots.l1, 1e-3 * slots.scale)
    return max(tolerance, 1e-5 * slots.scale) if dtype == np.float32 else tolerance


def hessian_product(slots: Slots, W: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Hessian of the smooth energy at W applied to V, (n, m).

    Exact for growth and overlap slots (one-sided where G_ij = 0); central differences of the
    rate for forces with a general drift.
    """
    squared = np.sum(W * W, axis=1)
    growth = slots.growth_constant - slots.growth_quadratic * squared
    product = 2.0 * slots.growth_quadratic * np.sum(W * V, axis=1)[:, None] * W
    product -= growth[:, None] * V
    if slots.overlap:
        G = W @ W.T
        np.fill_diagonal(G, 0.0)
        change = V @ W.T
        change = np.where(G > 0.0, change + change.T, 0.0)
        product += slots.overlap * (change @ W + np.maximum(G, 0.0) @ V)
    if slots.drifts:
        size = float(np.linalg.norm(V))
        step = 1e-6 * max(1.0, float(np.linalg.norm(W))) / size if size else 1.0
        for force in slots.drifts:
            product -= (force.drift(W + step * V) - force.drift(W - step * V)) / (2.0 * step)
    return product


def lowest_curvature(slots: Slots, W: np.ndarray) -> float:
    """Lowest eigenvalue of the energy's Hessian on the non-zeros of W; +inf where W = 0.

    The ℓ1 energy is linear there and adds nothing. NaN if Lanczos does not converge.
    """
    W = np.asarray(W, np.float64)
    if slots.keeps_zeros:
        W = W[:, W.any(axis=0)]
    rows, columns = np.nonzero(W)
    size = rows.size
    if size == 0:
        return math.inf

    def apply(v: np.ndarray) -> np.ndarray:
        V = np.zeros_like(W)
        V[rows, columns] = np.asarray(v).ravel()
        return hessian_product(slots, W, V)[rows, columns]

    if size <= DENSE_HESSIAN:
        H = (
            np.stack([apply(e) for e in np.eye(size)])
            if slots.drifts
            else _dense_hessian(slots, W, rows, columns)
        )
        return float(eigh(0.5 * (H + H.T), eigvals_only=True, subset_by_index=[0, 0])[0])
    start = np.random.default_rng(0).normal(size=size)
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    try:
        return float(eigsh(operator, k=1, which="SA", v0=start, return_eigenvectors=False)[0])
    except ArpackNoConvergence:
        return math.nan


def _dense_hessian(
    slots: Slots, W: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """The matrix of :func:`hessian_product` on the non-zeros, growth and overlap slots only.

    Entry ((i, k), (j, l)), with φ' = 1 where G_ij > 0, i ≠ j:

        i = j:  2 g₁ W_ik W_il − growth_i δ_kl + c Σ_p φ'_ip W_pk W_pl
        i ≠ j:  c φ'_ij W_jk W_il + c ReLU(G_ij) δ_kl
    """
    growth = slots.growth_constant - slots.growth_quadratic * np.sum(W * W, axis=1)
    same_row = rows[:, None] == rows[None, :]
    same_column = columns[:, None] == columns[None, :]
    w = W[rows, columns]
    H = np.where(same_row, 2.0 * slots.growth_quadratic * np.outer(w, w), 0.0)
    H[np.diag_indices(rows.size)] -= growth[rows]
    if slots.overlap:
        G = W @ W.T
        np.fill_diagonal(G, 0.0)
        active = G > 0.0
        crossed = W[rows[None, :], columns[:, None]] * W[rows[:, None], columns[None, :]]
        H += slots.overlap * np.where(active[rows[:, None], rows[None, :]], crossed, 0.0)
        H += slots.overlap * np.where(same_column, np.maximum(G, 0.0)[rows[:, None], rows], 0.0)
        for i in np.unique(rows):
            own = np.flatnonzero(rows == i)
            others = W[active[i]][:, columns[own]]
            H[np.ix_(own, own)] += slots.overlap * (others.T @ others)
    return H


def certify(
    forces: Sequence[Force], W: np.ndarray, *, tolerance: float, curvature: bool = True
) -> Certificate:
    """Certificate of W : (n, m) under `forces`, from the definition of the forces.

    residual = max |dW/dt| by :func:`flow.forces.velocity`; the curvature, where it is asked for,
    by :func:`lowest_curvature`. Source: theory/README, sections 1 and 4.
    """
    slots = sum_slots(forces)
    if slots.keeps_zeros:
        live = W.any(axis=0)
        W = W if live.all() else W[:, live]  # dead neurons are at rest
    residual = float(np.max(np.abs(velocity(forces, W)), initial=0.0))
    lowest = lowest_curvature(slots, W) if curvature else math.nan
    return Certificate(residual, tolerance, lowest, -1e-6 * slots.scale)
