"""Laws of theory/occupancy.py, on one-hot weights, against enumeration and on real ends."""

from __future__ import annotations

import math
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.forces import velocity
from tests.strategies import log_uniform, one_hot_weights, regularization_strengths, seeds
from theory.counting import slot_law, tilted_slot_law
from theory.occupancy import Occupancy, exact_test, occupancy, power


@given(one_hot_weights())
def test_shared_less_unused_neurons_are_the_features_beyond_the_neurons(W):
    use = occupancy(W)
    assert use is not None
    alive, m = np.count_nonzero(W.any(axis=1)), W.shape[1]
    assert (use.features, use.neurons) == (alive, m)
    assert use.shared - use.unused == alive - m
    assert use.shared == use.necessary + use.incidental
    assert use.necessary * use.incidental >= 0


@given(one_hot_weights())
def test_incidental_sharing_could_be_undone_one_unused_neuron_each_at_equal_loss(W):
    """Moving one of a pair to an unused neuron changes neither overlap costs nor norms."""
    use = occupancy(W)
    moved = W.copy()
    for _ in range(use.incidental):
        load = np.count_nonzero(moved, axis=0)
        shared, unused = np.argmax(load == 2), np.argmin(load)
        row = np.argmax(moved[:, shared] != 0)
        moved[row, unused], moved[row, shared] = moved[row, shared], 0.0
    after = occupancy(moved)
    assert after.incidental == 0
    assert after.shared == use.necessary
    for V in (W, moved):
        G = V @ V.T
        assert np.all(G[~np.eye(len(G), dtype=bool)] <= 0)


@given(one_hot_weights(m=(2, 6), alive=2), seeds, st.floats(0.0, 0.999),
       regularization_strengths(0.01, 0.3))  # fmt: skip
def test_no_small_disturbance_tells_a_shared_neuron_from_ones_own(W, seed, share, lam):
    """Rate of a feature at W + δ is that without its partner, for ‖δ_i‖, ‖δ_j‖ < (√2 − 1) w."""
    shared = np.flatnonzero(np.count_nonzero(W, axis=0) == 2)
    assume(shared.size)
    i, j = np.flatnonzero(W[:, shared[0]])
    smaller = np.abs(W[[i, j], shared[0]]).min()
    delta = np.random.default_rng(seed).normal(size=W.shape)
    delta *= share * (math.sqrt(2) - 1) * smaller / np.linalg.norm(delta, axis=1)[:, None]
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    together, alone = W + delta, W + delta
    alone[j] = 0.0
    np.testing.assert_allclose(
        velocity(forces, together)[i], velocity(forces, alone)[i], rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize(
    "W",
    [
        [[1.0, 0.2], [0.0, 1.0]],  # a feature on two neurons
        [[1.0, 0.0], [0.9, 0.0]],  # two in one slot
        [[0.0, -1.0], [0.0, -0.9]],
    ],
)
def test_what_is_not_one_hot_has_no_occupancy(W):
    assert occupancy(W) is None


def test_the_estimate_where_sharing_was_never_or_always_avoided():
    assert Occupancy(shared=3, single=4, unused=0).theta == 0.0
    assert Occupancy(shared=0, single=4, unused=2).theta == 0.0
    assert Occupancy(shared=2, single=4, unused=3).theta == 2.0
    assert Occupancy(shared=2, single=0, unused=2).theta == math.inf
    assert math.isnan(Occupancy(shared=0, single=1, unused=2).theta)
    empty = occupancy(np.zeros((2, 3)))
    assert (empty.p_value, empty.features) == (1.0, 0)


@given(st.integers(1, 40), st.integers(0, 40))
def test_the_exact_test_sums_what_is_no_likelier_and_keeps_its_level(m, extra):
    n = min(1 + extra, 2 * m)
    ways = {
        x: comb(m, x) * comb(m - x, n - 2 * x) * 2 ** (n - 2 * x)
        for x in range(max(0, n - m), n // 2 + 1)
    }
    total = comb(2 * m, n)
    at_most = {}
    for x, number in ways.items():
        p = exact_test(x, n, m)
        assert p == pytest.approx(sum(w for w in ways.values() if w <= number) / total, rel=1e-9)
        at_most[x] = p
    for level in (0.01, 0.05, 0.3):
        assert sum(ways[x] for x, p in at_most.items() if p <= level) <= level * total * (1 + 1e-9)


def test_runs_together_are_tested_by_their_total_and_keep_the_level():
    """300 sets of 10 slot-law runs of 10 … 19 features on 16: one-sided binomial test at 1e-5; and
    as many sets under θ = 0.5, of which one run alone is refused less often (144 ± 9 expected)."""
    rng, n = np.random.default_rng(3), np.arange(10, 20)
    refused = {}
    for theta in (1.0, 0.5):
        laws = [tilted_slot_law(int(k), 16, theta) for k in n]
        refused[theta] = sum(
            exact_test([law.ppf(rng.uniform()) for law in laws], n, 16) <= 0.05 for _ in range(300)
        )
    assert binomtest(refused[1.0], 300, 0.05, alternative="greater").pvalue > 1e-5
    assert refused[0.5] > 100 > 1.5 * 300 * max(power(int(k), 16, 0.5) for k in n)
    assert exact_test(4, 12, 16) == exact_test([4], [12], [16])


@given(st.integers(2, 60), st.integers(2, 60), log_uniform(0.1, 8.0))
def test_power_is_the_probability_of_a_small_p_value(m, features, theta):
    n = min(features, 2 * m)
    law = tilted_slot_law(n, m, theta)
    low, high = law.support
    refused = [x for x in range(low, high + 1) if exact_test(x, n, m) <= 0.05]
    assert power(n, m, theta) == pytest.approx(float(law.pmf(refused).sum()), abs=1e-9)
    assert power(n, m, 1.0) <= 0.05 + 1e-9


def test_power_has_the_quoted_values():
    found = [power(n, n, 0.77) for n in (256, 1024, 4096)]
    np.testing.assert_allclose(found, [0.15, 0.52, 0.99], atol=0.005)


def test_a_sample_of_neurons_is_as_good_with_its_own_numbers():
    """400 slot-law networks of 64 on 64, 24 neurons looked at: p ≤ 0.05 no oftener than that.

    One-sided binomial test at 1e-5."""
    rng, n, m, small = np.random.default_rng(2), 64, 64, 0
    for _ in range(400):
        taken = np.zeros(2 * m, dtype=bool)
        taken[rng.permutation(2 * m)[:n]] = True
        load = taken.reshape(m, 2).sum(axis=1)[rng.permutation(m)[:24]]
        small += exact_test(int((load == 2).sum()), int(load.sum()), 24) <= 0.05
    assert binomtest(small, 400, 0.05, alternative="greater").pvalue > 1e-5


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: occupancy([1.0, 0.0]), "expected weights of shape"),
        (lambda: exact_test(3, 4, 4), "expected 0 <= shared <= 2"),
        (lambda: exact_test(0, 6, 4), "expected 2 <= shared <= 3"),
        (lambda: exact_test([1, 3], 4, 4), "expected 0 <= shared <= 2"),
        (lambda: exact_test(0, 9, 4), "1 <= n <= 2m"),
        (lambda: power(4, 4, 1.0, level=0.0), "expected 0 < level < 1"),
    ],
)
def test_what_cannot_be_is_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


# --- against the simulator ------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(16, 24), (20, 20), (24, 16)])
def test_ends_of_the_flow_are_one_hot_and_keep_the_identity(n, m):
    for seed in range(4):
        run = integrate(
            [FeatureBenefit(), Interference(), Regularization(0.05)],
            gaussian_init(n=n, m=m, seed=seed),
        )
        use = occupancy(run.final)
        assert use is not None
        assert use.shared - use.unused == use.features - m
        assert use.necessary == max(0, use.features - m)


@pytest.mark.long
def test_sharing_exceeds_what_is_needed_where_features_outnumber_neurons():
    """n = 64, m = 48, 12 runs: 16 must share and 22 do; incidental ones at 8 s.e. from none."""
    extra = []
    for seed in range(12):
        run = integrate(
            [FeatureBenefit(), Interference(), Regularization(0.3 / math.sqrt(48))],
            gaussian_init(n=64, m=48, seed=seed),
        )
        extra.append(occupancy(run.final).incidental)
    assert np.mean(extra) > 8 * np.std(extra, ddof=1) / math.sqrt(len(extra))
    law = slot_law(64, 48)
    assert abs(np.mean(extra) + 16 - law.mean()) < 4.5 * law.std() / math.sqrt(len(extra))
