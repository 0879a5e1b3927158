"""Has the flow come to rest, and is it a resting place it would stay at? Evidence on a given W."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from flow.forces import Force, ForceSum, Growth, sum_forces, velocity
from flow.results.certificate import Certificate

MOST_WITHOUT_L1 = 2**20
"""Weights beyond which the curvature of a W that is full is not looked for: Lanczos keeps twenty
vectors of that size."""
ROUNDING = 256.0
"""Rounding errors of dW/dt at rest, in units of the precision and of the largest terms: what the
row
solver leaves is up to a hundred of them."""
DENSE_HESSIAN = 1200
"""Non-zeros up to which the Hessian is formed, whole or, beyond, each of its blocks; where one is
larger still, its lowest eigenvalue comes by Lanczos."""
DENSE_HESSIAN_OF_DRIFTS = 100
"""The same where a force has a general drift, of which every column costs two evaluations."""


def default_tolerance(slots: ForceSum, dtype: np.dtype) -> float:
    """1e-6·λ, without ℓ1 1e-9·c; no tighter than rounding allows (:func:`resolution`)."""
    wanted = 1e-6 * slots.l1 if slots.l1 > 0.0 else 1e-9 * slots.scale
    return max(wanted, resolution(slots, dtype))


def resolution(slots: ForceSum, dtype: np.dtype) -> float:
    """The size of |dW/dt| that rounding leaves at rest: 1e-5·c in float32, 7e-15·c in float64."""
    return slots.scale * (1e-5 if dtype == np.float32 else 32.0 * float(np.finfo(float).eps))


def hessian_product(slots: ForceSum, W: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Hessian of the smooth energy at W applied to V, (n, m).

    Exact for growth and overlap slots (one-sided where G_ij = 0); central differences of the
    rate for forces with a general drift.
    """
    squared = np.sum(W * W, axis=1)
    growth = slots.growth_constant - slots.growth_quadratic * squared
    product = 2.0 * slots.growth_quadratic * np.sum(W * V, axis=1)[:, None] * W
    product -= growth[:, None] * V
    if slots.interferes:
        phi, slope = _pair_function(slots, W)
        change = V @ W.T
        product += (slope * (change + change.T)) @ W + phi @ V
    if slots.drifts:
        size = float(np.linalg.norm(V))
        step = 1e-6 * max(1.0, float(np.linalg.norm(W))) / size if size else 1.0
        for force in slots.drifts:
            product -= (force.drift(W + step * V) - force.drift(W - step * V)) / (2.0 * step)
    return product


def lowest_curvature(slots: ForceSum, W: np.ndarray) -> float:
    """Lowest eigenvalue of the energy's Hessian on the non-zeros of W; +inf where W = 0.

    The ℓ1 energy is linear there and adds nothing. NaN if Lanczos does not converge, or where
    W is too large for it.
    """
    W = np.asarray(W, np.float64)
    if slots.preserves_dead_neurons:
        W = W[:, W.any(axis=0)]
    rows, columns = np.nonzero(W)
    size = rows.size
    if size == 0:
        return math.inf
    if slots.l1 == 0.0 and size > MOST_WITHOUT_L1:
        return math.nan

    def apply(v: np.ndarray) -> np.ndarray:
        V = np.zeros_like(W)
        V[rows, columns] = np.asarray(v).ravel()
        return hessian_product(slots, W, V)[rows, columns]

    if size <= (DENSE_HESSIAN_OF_DRIFTS if slots.drifts else DENSE_HESSIAN):
        H = (
            np.stack([apply(e) for e in np.eye(size)])
            if slots.drifts
            else _dense_hessian(slots, W, rows, columns)
        )
        return float(eigh(0.5 * (H + H.T), eigvals_only=True, subset_by_index=[0, 0])[0])
    if not slots.drifts:
        blocks = _blocks(W, rows, columns)
        if max(block.size for block in blocks) <= DENSE_HESSIAN:
            return min(_lowest_of_block(slots, W, rows[block], columns[block]) for block in blocks)
    start = np.random.default_rng(0).normal(size=size)
    # Without ℓ1 rest points form manifolds, along which the curvature is zero: it is found to a
    # thousandth of the fastest rate then. A Ritz value is never below the lowest eigenvalue.
    shift, accuracy = (slots.scale, 1e-3) if slots.l1 == 0.0 else (0.0, 0.0)

    def shifted(v: np.ndarray) -> np.ndarray:
        return apply(v) + shift * np.asarray(v).ravel()

    operator = LinearOperator((size, size), matvec=shifted, dtype=np.float64)
    try:
        found = eigsh(operator, k=1, which="SA", v0=start, tol=accuracy, return_eigenvectors=False)
    except ArpackNoConvergence:
        return math.nan
    return float(found[0]) - shift


def _blocks(W: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
    """Which non-zeros the Hessian couples: those of features that share neurons, directly or not.

    Every entry of :func:`_dense_hessian` between two rows has a neuron k with W_ik W_jk ≠ 0.
    """
    n, m = W.shape
    graph = coo_array((np.ones(rows.size), (rows, n + columns)), shape=(n + m, n + m))
    _, labels = connected_components(graph, directed=False)
    order = np.argsort(labels[rows], kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[rows][order])) + 1)


def _lowest_of_block(
    slots: ForceSum, W: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> float:
    """Lowest eigenvalue of the Hessian on the non-zeros of one block."""
    features, rows = np.unique(rows, return_inverse=True)
    neurons, columns = np.unique(columns, return_inverse=True)
    H = _dense_hessian(slots, W[np.ix_(features, neurons)], rows, columns)
    return float(eigh(0.5 * (H + H.T), eigvals_only=True, subset_by_index=[0, 0])[0])


def _dense_hessian(
    slots: ForceSum, W: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """The matrix of :func:`hessian_product` on the non-zeros, growth and overlap slots only.

    Entry ((i, k), (j, l)):

        i = j:  2 g₁ W_ik W_il − growth_i δ_kl + Σ_p φ'_ip W_pk W_pl
        i ≠ j:  φ'_ij W_jk W_il + φ_ij δ_kl
    """
    growth = slots.growth_constant - slots.growth_quadratic * np.sum(W * W, axis=1)
    same_row = rows[:, None] == rows[None, :]
    same_column = columns[:, None] == columns[None, :]
    w = W[rows, columns]
    H = np.where(same_row, 2.0 * slots.growth_quadratic * np.outer(w, w), 0.0)
    H[np.diag_indices(rows.size)] -= growth[rows]
    if slots.interferes:
        phi, slope = _pair_function(slots, W)
        crossed = W[rows[None, :], columns[:, None]] * W[rows[:, None], columns[None, :]]
        H += slope[rows[:, None], rows[None, :]] * crossed
        H += np.where(same_column, phi[rows[:, None], rows], 0.0)
        for i in np.unique(rows):
            own = np.flatnonzero(rows == i)
            active = slope[i] != 0.0
            others = W[active][:, columns[own]]
            H[np.ix_(own, own)] += (slope[i, active] * others.T) @ others
    return H


def _pair_function(slots: ForceSum, W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """φ(G) and φ'(G), (n, n) with nothing on their diagonals; φ'(0) is the slope from below."""
    G = W @ W.T
    np.fill_diagonal(G, 0.0)
    phi = slots.pair_strength * np.maximum(G, 0.0) + slots.leak_strength * np.minimum(G, 0.0)
    slope = np.where(G > 0.0, slots.pair_strength, slots.leak_strength)
    np.fill_diagonal(slope, 0.0)
    return phi, slope


def certify(
    forces: Sequence[Force], W: np.ndarray, *, tolerance: float, curvature: bool = True
) -> Certificate:
    """Certificate of W : (n, m) under `forces`, from the definition of the forces.

    residual = max |dW/dt| by :func:`flow.forces.velocity`; the curvature, where it is asked for,
    by :func:`lowest_curvature`. Source: theory/README, sections 1 and 4.
    """
    slots = sum_forces(forces)
    if slots.preserves_dead_neurons:
        live = W.any(axis=0)
        W = W if live.all() else W[:, live]  # dead neurons are at rest
    residual = float(np.max(np.abs(velocity(forces, W)), initial=0.0))
    lowest = lowest_curvature(slots, W) if curvature else math.nan
    rounding = ROUNDING * float(np.finfo(W.dtype).eps) * _largest_terms(forces, slots, W)
    floor = -slots.scale * (1e-4 if W.dtype == np.float32 else 1e-6)
    return Certificate(residual, tolerance, lowest, floor, rounding)


def _largest_terms(forces: Sequence[Force], slots: ForceSum, W: np.ndarray) -> float:
    """The largest sum of the sizes of what adds up to a dW_ik/dt, before anything cancels."""
    squared = np.sum(W * W, axis=1)[:, None]
    growth = abs(slots.growth_constant) + slots.growth_quadratic * squared
    terms = growth * np.abs(W) + slots.l1
    for force in forces:
        if force.l1 == 0.0 and force.growth == Growth():
            terms = terms + np.abs(force.rate(W))
    return float(np.max(terms, initial=0.0))
