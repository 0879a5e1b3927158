"""Inputs for the laws: the assumptions of the theorems, as generators.

Weights come from a drawn seed and a drawn scale, never from elementwise floats: those shrink to
ties, i.e. to saddles, where rounding picks the winner.
"""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from flow.explore.state import (
    FORCES,
    STRENGTHS,
    Assign,
    Duplicate,
    Flip,
    State,
    Strength,
    Switch,
    Timed,
)

Array = NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)


@st.composite
def log_uniform(draw: st.DrawFn, low: float, high: float) -> float:
    """A positive number, uniform in its logarithm."""
    return math.exp(draw(st.floats(math.log(low), math.log(high))))


@st.composite
def weights(
    draw: st.DrawFn,
    *,
    n: tuple[int, int] = (1, 8),
    m: tuple[int, int] = (1, 16),
    scale: tuple[float, float] = (0.3, 1.5),
) -> Array:
    """Gaussian W : (n, m), entries N(0, scale^2/m), sizes and scale from the given ranges."""
    rows, columns = draw(st.integers(*n)), draw(st.integers(*m))
    spread = draw(st.floats(*scale))
    generator = np.random.default_rng(draw(seeds))
    return generator.normal(0.0, spread / math.sqrt(columns), (rows, columns))


def regularization_strengths(low: float = 1e-4, high: float = 0.3) -> st.SearchStrategy[float]:
    """lambda > 0, uniform in its logarithm."""
    return log_uniform(low, high)


@st.composite
def sparse_weights(
    draw: st.DrawFn, n: tuple[int, int] = (1, 12), m: tuple[int, int] = (1, 12)
) -> Array:
    """Gaussian weights, of which a drawn share is zero."""
    W = draw(weights(n=n, m=m))
    share = draw(st.floats(0.0, 1.0))
    keep = np.random.default_rng(draw(seeds)).random(W.shape) < share
    return np.where(keep, W, 0.0)


@st.composite
def states(draw: st.DrawFn, *, n: tuple[int, int] = (1, 64), m: tuple[int, int] = (1, 64)) -> State:
    """What a page shows, with up to four changes on the way."""
    numbers = st.floats(0.0, 10.0)
    rows, columns = draw(st.integers(*n)), draw(st.integers(*m))
    features, neurons = st.integers(0, rows - 1), st.integers(0, columns - 1)
    changes = st.one_of(
        st.builds(Strength, st.sampled_from(STRENGTHS), numbers),
        st.builds(Switch, st.sampled_from(FORCES), st.booleans()),
        st.builds(Flip, features, neurons),
        st.builds(Assign, features, neurons, st.floats(-2.0, 2.0)),
        st.builds(Duplicate, neurons, numbers, st.integers(0, 99), st.booleans()),
    )
    timed = draw(st.lists(st.builds(Timed, st.floats(0.0, 1e4), changes), max_size=4))
    return State(
        n=rows,
        m=columns,
        seed=draw(seeds),
        scale=draw(numbers),
        lam=draw(numbers),
        c=draw(numbers),
        c_interference=draw(st.none() | numbers),
        mu=draw(numbers),
        off=tuple(draw(st.lists(st.sampled_from(FORCES), unique=True))),
        noise=draw(st.sampled_from(["none", "bipolar", "student-t:5"])),
        sigma=draw(numbers),
        rtol=draw(log_uniform(1e-7, 0.5)),
        t_end=draw(st.none() | st.floats(1e4, 1e6)),
        changes=tuple(sorted(timed, key=lambda one: one.t)),
    )


def relabelling(
    rng: np.random.Generator, W: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """A permutation of the features, one of the neurons, and signs for the neurons."""
    n, m = W.shape
    return rng.permutation(n), rng.permutation(m), rng.choice([-1.0, 1.0], m)


@st.composite
def owned_neurons(draw: st.DrawFn) -> tuple[Array, Array, float]:
    """Owners at rest, at most one a (neuron, sign) slot and not on all, a new row, and lambda.

    Owners : (n, m), each one weight of size w+, the stable root of (1 - w^2) w = lambda; the new
    row : (m,) Gaussian, or with a drawn share of zeros.
    """
    m = draw(st.integers(2, 9))
    count = draw(st.integers(1, 2 * m - 1))
    lam = draw(regularization_strengths(0.03, 0.15))
    generator = np.random.default_rng(draw(seeds))
    size = 2 / math.sqrt(3) * math.cos(math.acos(-3 * math.sqrt(3) * lam / 2) / 3)
    slots = generator.permutation(2 * m)[:count]
    owners = np.zeros((count, m))
    owners[np.arange(count), slots // 2] = np.where(slots % 2 == 0, size, -size)
    row = generator.normal(0.0, draw(st.floats(0.5, 1.5)) / math.sqrt(m), m)
    return owners, np.where(generator.random(m) < draw(st.floats(0.5, 1.0)), row, 0.0), lam


@st.composite
def one_hot_weights(draw: st.DrawFn, *, m: tuple[int, int] = (1, 12), alive: int = 0) -> Array:
    """W : (n, m) of one-hot rows of sizes 0.5 ... 1, at most one of either sign on a neuron.

    A drawn number of rows is dead; at least `alive` are not.
    """
    columns = draw(st.integers(*m))
    living = draw(st.integers(min(alive, 2 * columns), 2 * columns))
    dead = draw(st.integers(0, 3))
    generator = np.random.default_rng(draw(seeds))
    slots = generator.permutation(2 * columns)[:living]
    W = np.zeros((living + dead, columns))
    sizes = generator.uniform(0.5, 1.0, living) * np.where(slots % 2 == 0, 1.0, -1.0)
    W[np.arange(living), slots // 2] = sizes
    return generator.permutation(W) if len(W) else np.zeros((1, columns))


@st.composite
def repelling_rows(draw: st.DrawFn) -> Array:
    """W : (n, m) of unit rows with no G_ij > 0, in general position.

    Blocks of d coordinates hold d rows at obtuse angles, and some of them one row more, the most
    that there can be; then everything is turned.
    """
    generator = np.random.default_rng(draw(seeds))
    blocks = []
    for _ in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 4))
        # Any matrix that is ≤ 0 off its diagonal and dominated by it is the G of some rows.
        coupling = generator.uniform(0.0, 1.0, (size, size))
        gram = -(coupling + coupling.T)
        np.fill_diagonal(gram, 0.0)
        np.fill_diagonal(gram, generator.uniform(1.01, 2.0, size) * -gram.sum(axis=1) + 1e-2)
        rows = np.linalg.cholesky(gram)
        rows /= np.linalg.norm(rows, axis=1)[:, None]
        if draw(st.booleans()):
            # −Σ x_i W_i has the overlaps −(G x)_j = −y_j < 0 with all of them.
            x = np.linalg.solve(rows @ rows.T, generator.uniform(0.1, 1.0, size))
            more = -(x @ rows)
            rows = np.vstack([rows, more / np.linalg.norm(more)])
        blocks.append(rows)
    height, width = (sum(block.shape[axis] for block in blocks) for axis in (0, 1))
    W, row, column = np.zeros((height, width)), 0, 0
    for block in blocks:
        W[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    turn, _ = np.linalg.qr(generator.normal(size=(width, width)))
    return np.asarray(W @ turn)


@st.composite
def orthonormal_rows(draw: st.DrawFn) -> Array:
    """W : (n, m), n ≤ m, uniformly random orthonormal rows."""
    columns = draw(st.integers(2, 10))
    rows = draw(st.integers(1, columns))
    generator = np.random.default_rng(draw(seeds))
    q, r = np.linalg.qr(generator.normal(size=(columns, rows)))
    return np.asarray((q * np.sign(np.diagonal(r))).T)
