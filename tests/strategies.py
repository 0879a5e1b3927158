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
