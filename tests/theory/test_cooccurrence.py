"""Laws of theory/cooccurrence.py, against the loss summed over all patterns of six features."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import log_uniform
from theory.cooccurrence import exact_threshold, revival_force, revival_threshold, shared_rest

PATTERNS = np.array(list(itertools.product((0.0, 1.0), repeat=6)))


def rate(W, p, c):
    """−(c/4) ∇ E‖ReLU(W Wᵀx) − x‖²/p, by enumeration; a ReLU at exactly zero is off."""
    on = PATTERNS.sum(axis=1)
    weight = p**on * (1 - p) ** (6 - on) / p
    hidden = PATTERNS @ W
    output = hidden @ W.T
    residual = np.where(output > 0, output - PATTERNS, 0.0) * weight[:, None]
    return -(c / 2) * (residual.T @ hidden + PATTERNS.T @ (residual @ W))


def pair_and_four(p, lam, c):
    """W : (6, 5): features 0 (larger) and 1 share neuron 0, the others have one each."""
    u, v, w = shared_rest(p, lam, c=c)
    W = np.zeros((6, 5))
    W[0, 0], W[1, 0] = u, -v
    W[np.arange(2, 6), np.arange(1, 5)] = w
    return W


strengths = st.tuples(log_uniform(1e-5, 0.04), st.floats(0.3, 1.4), st.floats(0.5, 5.0))


@settings(max_examples=60)
@given(strengths)
def test_the_shared_rest_is_where_the_enumerated_flow_stands(drawn):
    ratio, share, c = drawn
    lam = ratio * c
    p = share * float(revival_threshold(lam, c=c))
    W = pair_and_four(p, lam, c)
    moved = rate(W, p, c) - lam * np.sign(W)
    assert np.abs(moved[W != 0]).max() < 1e-9 * c
    assert W[0, 0] > -W[1, 0]
    # To first order in small p and λ/c the pair splits as is said.
    small = p + ratio
    assert W[0, 0] ** 2 == pytest.approx(1 + p / 2 - ratio, abs=3 * small**2)
    assert W[1, 0] ** 2 == pytest.approx(1 - p / 2 - ratio, abs=3 * small**2)


@settings(max_examples=60)
@given(strengths)
def test_the_force_on_a_zero_beside_a_pair_is_the_enumerated_one(drawn):
    ratio, share, c = drawn
    lam = ratio * c
    p = share * float(revival_threshold(lam, c=c))
    W = pair_and_four(p, lam, c)
    for row, force in enumerate(revival_force(p, lam, c=c)):
        for neuron in (1, 4):
            beside = W.copy()
            beside[row, neuron] = 1e-9
            assert rate(beside, p, c)[row, neuron] == pytest.approx(force, rel=1e-6, abs=1e-8 * c)
    leading = c / 4 * p**2 + p * lam
    assert revival_force(p, lam, c=c)[1] == pytest.approx(leading, rel=0.3)


@settings(max_examples=30)
@given(log_uniform(1e-6, 0.02), st.floats(0.5, 5.0))
def test_the_threshold_is_where_the_force_is_lambda_and_its_expansion_is_close(ratio, c):
    lam = ratio * c
    exact = exact_threshold(lam, c=c)
    assert max(revival_force(exact, lam, c=c)) == pytest.approx(lam, rel=1e-9)
    assert 0 <= exact / float(revival_threshold(lam, c=c)) - 1 < ratio + 1e-9
    assert exact_threshold(ratio, c=1.0) == pytest.approx(exact, rel=1e-8)  # λ/c alone matters


def settle(p, lam, c, step):
    """Non-zeros per feature after a nudge of every zero by 1e-4, by proximal steps."""
    rng = np.random.default_rng(0)
    W = pair_and_four(p, lam, c)
    W = np.where(W == 0, 1e-4 * rng.choice([-1.0, 1.0], W.shape), W)
    for _ in range(round(8 / (step * lam))):
        V = W + step * rate(W, p, c)
        W = np.sign(V) * np.maximum(np.abs(V) - step * lam, 0.0)
    return np.count_nonzero(W) / len(W)


def test_after_a_nudge_the_collision_stays_below_the_threshold_and_spreads_above():
    lam, c = 0.04, 4.0
    threshold = exact_threshold(lam, c=c)
    assert settle(0.97 * threshold, lam, c, 0.2 / c) == 1.0
    assert settle(1.03 * threshold, lam, c, 0.2 / c) > 1.3


def test_quoted_values():
    assert revival_threshold(0.01, c=4) == pytest.approx(0.0951, abs=5e-5)
    assert exact_threshold(0.01, c=4) == pytest.approx(0.0952, abs=5e-5)
    np.testing.assert_allclose(revival_threshold([0.0, 1e-8]), [0.0, 2e-4], rtol=1e-4)
    forces = [max(revival_force(p, 0.01, c=4)) / 0.01 for p in (0.0495, 0.0849)]
    np.testing.assert_allclose(forces, [0.294, 0.804], atol=5e-4)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: shared_rest(1.0, 0.1), "expected 0 <= p < 1"),
        (lambda: shared_rest(0.1, 0.5), "expected lam up to"),
        (lambda: shared_rest(0.9, 0.1), "expected p and lam at which both"),
        (lambda: exact_threshold(0.2), "expected 0 < lam <= c/10"),
        (lambda: revival_threshold(-1.0), "expected lam"),
    ],
)
def test_what_is_out_of_range_is_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()
