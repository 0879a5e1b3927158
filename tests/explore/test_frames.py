"""Eight bits an entry: zeros stay zeros, signs stay signs, small weights are seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.explore import frames
from flow.explore.frames import REACH, FrameRecorder, decode, encode, thinned
from tests.strategies import seeds, sparse_weights


@given(sparse_weights())
def test_a_code_keeps_zeros_signs_and_the_root_of_a_weight_to_half_a_code(W):
    shown = decode(encode(W))
    np.testing.assert_array_equal(encode(W) == frames.ZERO, W == 0.0)
    assert (np.sign(shown) * np.sign(W) >= 0.0).all()
    root = np.sqrt(np.minimum(np.abs(W), REACH))
    np.testing.assert_allclose(np.sqrt(np.abs(shown)), root, atol=0.501 * np.sqrt(REACH) / 126)


@given(sparse_weights(), sparse_weights())
def test_codes_are_in_the_order_of_weights(a, b):
    values = np.sort(np.concatenate([a.ravel(), b.ravel()]))
    assert (np.diff(encode(values).astype(int)) >= 0).all()


@given(seeds, st.integers(5, 60))
def test_thinned_times_keep_ends_and_landmarks_and_are_few(seed, most):
    rng = np.random.default_rng(seed)
    times = np.concatenate([[0.0], np.cumsum(rng.exponential(np.geomspace(0.01, 10.0, 200)))])
    marks = rng.choice(times, 3)
    kept = thinned(times.tolist(), most, marks.tolist())
    assert len(kept) <= max(most, 5)
    assert kept == sorted(set(kept))
    assert {times[0], times[-1], *marks} <= set(times[kept])


@pytest.mark.parametrize(("n", "m"), [(4, 6), (64, 96), (40, 6000)])
def test_the_frames_of_a_run_stay_within_their_bytes(n, m, monkeypatch):
    monkeypatch.setattr(frames, "MOST_BYTES", 2**18)
    recorder = FrameRecorder(40)
    rng = np.random.default_rng(0)
    for k in range(200):
        W = rng.normal(size=(n, m))
        W[:, : int(m * (1 - 0.98**k))] = 0.0
        recorder.add(1.1**k - 1.0, W)
    found = recorder.frames()
    assert found.W.nbytes + found.G.nbytes <= 2**18
    assert found.W.shape[0] == found.times.size <= 40
    assert {*np.flatnonzero(W.any(axis=0))} <= {*found.neurons} or found.neurons.size < m
    np.testing.assert_allclose(decode(found.G[-1]), np.clip(W @ W.T, -REACH, REACH), atol=0.03)
