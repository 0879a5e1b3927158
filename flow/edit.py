"""Interventions on weights: what would happen if W were changed here?

    python -m flow.edit run.npz show
    python -m flow.edit run.npz duplicate --out cure.npz
    python -m flow.simulate --init cure.npz

The result is a file for ``--init`` of :mod:`flow.simulate` and records what was done to what.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run as a script: Python put this folder on the path, where the packages are one up.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np


def duplicate(
    W: np.ndarray, neuron: int, *, noise: float, seed: int, opposed: bool = False
) -> np.ndarray:
    """W : (n, m) with `neuron` and a copy of it as neuron m, (n, m + 1).

    Both have its weights / √2 plus noise on the features it is used by: independent N(0, noise²),
    or, `opposed`, +|N(0, noise²)| on the one and as much less on the other, so that features with
    weights of opposite sign each have another larger copy.
    Source: paper, discussion of how to remove incidental polysemanticity; the factor 1/√2
    instead of 1/2 on the outgoing weights is that of tied weights.
    """
    w = W[:, neuron]
    rng = np.random.default_rng(seed)
    if opposed:
        push = np.abs(rng.normal(0.0, noise, w.size))
        shaken = np.stack([push, -push]) * (w != 0.0)
    else:
        shaken = rng.normal(0.0, noise, (2, w.size)) * (w != 0.0)
    copies = (w / np.sqrt(2.0) + shaken).astype(W.dtype)
    edited = np.column_stack([W, copies[1]])
    edited[:, neuron] = copies[0]
    return edited


def flip(W: np.ndarray, feature: int, neuron: int) -> np.ndarray:
    """W : (n, m) with the sign of W_ik turned."""
    edited = W.copy()
    edited[feature, neuron] *= -1.0
    return edited


def assign(W: np.ndarray, feature: int, neuron: int, value: float) -> np.ndarray:
    """W : (n, m) with W_ik set to `value`; 0 kills it."""
    edited = W.copy()
    edited[feature, neuron] = value
    return edited


def permute(W: np.ndarray, what: str, *, seed: int) -> np.ndarray:
    """W : (n, m) with its "neurons" or "features" shuffled."""
    return np.random.default_rng(seed).permutation(W, axis=1 if what == "neurons" else 0)


def rescale(
    W: np.ndarray, factor: float, *, feature: int | None = None, neuron: int | None = None
) -> np.ndarray:
    """W : (n, m), or one row, column or entry of it, times `factor`."""
    edited = W.copy()
    rows = slice(None) if feature is None else feature
    columns = slice(None) if neuron is None else neuron
    edited[rows, columns] *= factor
    return edited


if __name__ == "__main__":
    from flow.cli.edit import main

    sys.exit(main())
