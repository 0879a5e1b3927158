"""Laws of theory/counting.py, against enumeration, exact arithmetic and simulated starts."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction
from math import comb

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, norm

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.forces import velocity
from tests.strategies import log_uniform, owned_neurons, seeds
from theory.counting import (
    collision_pairs,
    fit_tilt,
    frozen_winner,
    neurons_without_relocation,
    opposite_sign_pairs,
    paper_count,
    sequential_law,
    slot_law,
    slot_mean,
    slot_variance,
    tilted_slot_law,
    total_law,
)
from theory.equilibrium import stationarity_violation


@st.composite
def slot_sizes(draw, largest):
    """(n, m) with 1 <= n <= 2m: the assumption of the slot law."""
    m = draw(st.integers(1, largest))
    return draw(st.integers(1, 2 * m)), m


def exact_pmf(n, m, x):
    """The displayed formula in rational arithmetic."""
    ways = comb(m, x) * comb(m - x, n - 2 * x) * 2 ** (n - 2 * x)
    return Fraction(ways, comb(2 * m, n))


@pytest.mark.parametrize(("n", "m"), [(n, m) for m in range(1, 6) for n in range(1, 2 * m + 1)])
def test_slot_law_counts_the_neurons_with_both_slots_taken(n, m):
    counts = np.zeros(n // 2 + 1)
    for taken in itertools.combinations(range(2 * m), n):
        counts[sum(slot % 2 == 0 and slot + 1 in taken for slot in taken)] += 1
    law = slot_law(n, m)
    np.testing.assert_allclose(law.pmf(np.arange(n // 2 + 1)), counts / counts.sum(), rtol=1e-13)
    assert law.support == (np.flatnonzero(counts)[0], np.flatnonzero(counts)[-1])


@given(slot_sizes(150))
def test_slot_law_is_its_formula_in_rational_arithmetic(sizes):
    n, m = sizes
    law = slot_law(n, m)
    x = np.arange(law.support[0], law.support[1] + 1)
    exact = [exact_pmf(n, m, int(k)) for k in x]
    assert sum(exact) == 1
    expected = np.array([float(p) for p in exact])
    seen = expected > 1e-290
    np.testing.assert_allclose(law.pmf(x)[seen], expected[seen], rtol=1e-11)
    assert sum(k * p for k, p in zip(x.tolist(), exact, strict=True)) == pytest.approx(
        law.mean(), rel=1e-13
    )
    second = sum(k * k * p for k, p in zip(x.tolist(), exact, strict=True))
    first = sum(k * p for k, p in zip(x.tolist(), exact, strict=True))
    assert float(second - first * first) == pytest.approx(law.var(), rel=1e-12, abs=1e-300)
    assert law.std() ** 2 == pytest.approx(law.var())


@given(slot_sizes(2000), seeds)
def test_slot_law_cdf_tail_and_quantiles_belong_together(sizes, seed):
    law = slot_law(*sizes)
    low, high = law.support
    x = np.arange(low - 2, high + 3)
    np.testing.assert_allclose(law.cdf(x) + law.sf(x), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.diff(law.cdf(x)), law.pmf(x[1:]), atol=1e-13)
    assert law.cdf(low - 1) == 0
    assert law.cdf(high) == 1
    assert law.sf(high) == 0
    assert law.cdf(low + 0.5) == law.cdf(low)
    assert law.pmf(low + 0.5) == 0
    p = np.random.default_rng(seed).uniform(0, 1, 50)
    at = law.ppf(p)
    assert np.all(law.cdf(at) >= p)
    assert np.all(law.cdf(at - 1) < p)
    assert law.ppf(0.0) == low
    assert law.ppf(1.0) <= high
    left, right = law.interval(0.9)
    assert law.cdf(right) - law.cdf(left - 1) >= 0.9


def test_slot_law_is_stable_and_quick_at_a_million_features():
    begin = time.process_time()
    law = slot_law(10**6, 10**6)
    x = np.arange(law.support[0], law.support[1] + 1)
    p = law.pmf(x)
    assert time.process_time() - begin < 2.0
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    assert (x * p).sum() == pytest.approx(law.mean(), rel=1e-12)
    assert ((x - law.mean()) ** 2 * p).sum() == pytest.approx(law.var(), rel=1e-9)
    with mpmath.workdps(40):
        n = m = mpmath.mpf(10**6)
        for k in (0, 10_000, 249_000, 250_000, 251_000, 400_000, 500_000):
            exact = (
                mpmath.loggamma(m + 1)
                - mpmath.loggamma(mpmath.mpf(k) + 1)
                - mpmath.loggamma(n - 2 * k + 1)
                - mpmath.loggamma(m - n + k + 1)
                + (n - 2 * k) * mpmath.log(2)
                - mpmath.log(mpmath.binomial(2 * m, n))
            )
            assert float(law.logpmf(k)) == pytest.approx(float(exact), rel=1e-12, abs=1e-11)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 1), (3, 2), (4, 2), (2, 3), (5, 2), (4, 3)])
def test_without_relocation_is_the_mean_over_all_choices(n, m):
    total = 0
    for slots in itertools.product(range(2 * m), repeat=n):
        total += sum({2 * k, 2 * k + 1} <= set(slots) for k in range(m))
    assert neurons_without_relocation(n, m) == pytest.approx(total / (2 * m) ** n, abs=1e-13)


@given(st.integers(2, 10**6), st.integers(1, 10**12))
def test_without_relocation_keeps_its_digits_when_neurons_abound(n, m):
    with mpmath.workdps(60):
        big = mpmath.mpf(m)
        bracket = 1 - 2 * (1 - 1 / (2 * big)) ** n + (1 - 1 / big) ** n
        assert neurons_without_relocation(n, m) == pytest.approx(float(big * bracket), rel=1e-9)


def test_without_relocation_has_the_quoted_values():
    found = neurons_without_relocation(256, [256, 512, 768, 1024])
    np.testing.assert_allclose(found, [39.6, 25.0, 18.1, 14.1], atol=0.051)


def test_gaussian_starts_have_the_predicted_collisions_and_not_the_papers_count():
    """4,000 starts, n = 24, m = 30; two-sided z-tests at |z| < 4.5 (false alarm 7e-6 each).

    Slip 4: the paper compares a count of pairs, n^2/4m, with a count of neurons.
    """
    n, m, starts = 24, 30, 4000
    w = np.random.default_rng(20240101).normal(size=(starts, n, m))
    winner = np.abs(w).argmax(axis=2)
    sign = np.take_along_axis(w, winner[..., None], axis=2)[..., 0] > 0
    upper = np.triu_indices(n, 1)
    meet = winner[:, upper[0]] == winner[:, upper[1]]
    opposed = meet & (sign[:, upper[0]] != sign[:, upper[1]])
    slots = np.zeros((starts, m, 2), dtype=bool)
    slots[np.arange(starts)[:, None], winner, sign.astype(int)] = True
    neurons = slots.all(axis=2).sum(axis=1)

    def z(samples, predicted):
        error = samples.std(ddof=1) / np.sqrt(starts)
        return float((samples.mean() - predicted) / error)

    assert abs(z(meet.sum(axis=1), collision_pairs(n, m))) < 4.5
    assert abs(z(opposed.sum(axis=1), opposite_sign_pairs(n, m))) < 4.5
    assert abs(z(neurons, neurons_without_relocation(n, m))) < 4.5
    assert z(neurons, paper_count(n, m)) < -10
    assert z(neurons, slot_mean(n, m)) < -10
    assert z(opposed.sum(axis=1), neurons_without_relocation(n, m)) > 10


@given(slot_sizes(10**6))
def test_counts_are_ordered_as_they_must_be(sizes):
    n, m = sizes
    stay, pairs = neurons_without_relocation(n, m), opposite_sign_pairs(n, m)
    assert (
        stay <= pairs * (1 + 1e-9) + 1e-15
    )  # a neuron met with both signs has at least one such pair
    assert pairs * 2 == pytest.approx(collision_pairs(n, m))
    assert paper_count(n, m) * (n - 1) == pytest.approx(pairs * n)
    assert slot_mean(n, m) >= pairs  # without replacement the other sign is likelier
    assert slot_mean(n, m) <= min(n / 2, m) + 1e-9
    assert slot_variance(n, m) >= 0


def test_the_slot_law_can_tell_relocation_from_none_at_equal_sizes():
    """Power: at n = m = 128 the no-relocation mean is far out in the slot law's tail."""
    law = slot_law(128, 128)
    assert law.mean() == pytest.approx(31.87, abs=0.01)
    assert law.std() == pytest.approx(2.83, abs=0.01)
    assert law.cdf(neurons_without_relocation(128, 128)) < norm.sf(3.7)


def test_counts_broadcast_over_sizes():
    n, m = np.array([[4], [8]]), np.array([4, 8, 16])
    for count in (collision_pairs, opposite_sign_pairs, paper_count, slot_mean, slot_variance):
        assert count(n, m).shape == (2, 3)
        assert count(n, m)[1, 0] == count(8, 4)
    assert slot_law(8, 8).pmf(np.zeros((2, 3))).shape == (2, 3)


@pytest.mark.parametrize(("n", "m"), [(0, 3), (7, 3), (2.5, 3), (3, 0)])
def test_slot_law_refuses_what_does_not_fit(n, m):
    with pytest.raises(ValueError, match="1 <= n <= 2m"):
        slot_law(n, m)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: slot_mean(7, 3), "1 <= n <= 2m"),
        (lambda: neurons_without_relocation(3, 0.5), "expected m >= 1"),
        (lambda: collision_pairs(3, -1), "expected m"),
        (lambda: collision_pairs(3, 0), "expected m"),
        (lambda: collision_pairs(3, np.nan), "expected m"),
        (lambda: collision_pairs(3, np.inf), "expected m"),
        (lambda: slot_law(3, 3).ppf(1.5), "expected 0 <= p <= 1"),
        (lambda: slot_law(3, 3).interval(1.0), "expected 0 < level < 1"),
        (lambda: tilted_slot_law(3, 3, -0.1), "expected a finite theta >= 0"),
        (lambda: tilted_slot_law(3, 3, np.inf), "expected a finite theta >= 0"),
        (lambda: sequential_law(4, 3), "expected n <= m"),
        (lambda: fit_tilt([2], 3, 3), "expected counts from 0 to 1"),
        (lambda: fit_tilt([], 3, 3), "expected at least one count"),
        (lambda: fit_tilt([1], 3, 3, level=1.0), "expected 0 < level < 1"),
        (lambda: frozen_winner([1.0, 2.0], np.zeros((2, 3))), "expected a row"),
    ],
)
def test_counts_and_probabilities_out_of_range_are_refused(call, expected):
    with pytest.raises(ValueError, match=expected):
        call()


# --- the tilted slot law ---------------------------------------------------------------------


@given(slot_sizes(60), log_uniform(1e-3, 1e3))
def test_the_tilted_law_is_the_slot_law_times_theta_to_the_count(sizes, theta):
    n, m = sizes
    law = tilted_slot_law(n, m, theta)
    x = np.arange(law.support[0], law.support[1] + 1)
    weight = np.array([float(exact_pmf(n, m, int(k))) * theta ** float(k - x[0]) for k in x])
    np.testing.assert_allclose(law.pmf(x), weight / weight.sum(), rtol=1e-10)
    assert law.mean() == pytest.approx(x @ law.pmf(x))
    assert law.var() == pytest.approx(x**2 @ law.pmf(x) - law.mean() ** 2, abs=1e-9 * m**2)
    single, unused = n - 2 * x, m - n + x
    moment = (4 * x * unused) @ law.pmf(x)
    assert moment == pytest.approx(theta * ((single * (single - 1)) @ law.pmf(x)), rel=1e-9)


@given(slot_sizes(2000))
def test_theta_of_one_is_the_slot_law_and_of_zero_shares_only_what_must_be(sizes):
    n, m = sizes
    slot, tilted = slot_law(n, m), tilted_slot_law(n, m, 1.0)
    x = np.arange(slot.support[0], slot.support[1] + 1)
    np.testing.assert_array_equal(tilted.logpmf(x), slot.logpmf(x))
    assert tilted_slot_law(n, m, 0.0).pmf(slot.support[0]) == 1.0
    assert tilted_slot_law(n, m, 0.0).var() == 0.0


@given(slot_sizes(30), log_uniform(0.2, 5.0), st.floats(0.1, 0.9))
def test_a_set_of_neurons_has_the_law_with_its_own_features_and_the_same_theta(sizes, theta, share):
    """P(X_A = a, features on A = k) = Z(k, |A|) Z(n − k, m − |A|)/Z(n, m) × the laws of the parts:
    checked through the convolution of the parts, which has to be the law of the whole."""
    n, m = sizes
    part = min(max(1, round(share * m)), m)
    if part == m:
        return
    whole = np.zeros(n // 2 + 1)
    for k in range(max(0, n - 2 * (m - part)), min(n, 2 * part) + 1):
        ways = []
        for features, neurons in ((k, part), (n - k, m - part)):
            if features == 0:
                ways.append(np.ones(1))
                continue
            x = np.arange(features // 2 + 1)
            ways.append([
                float(exact_pmf(features, neurons, int(y)) * comb(2 * neurons, features))
                * theta ** int(y) if features - y <= neurons else 0.0 for y in x
            ])  # fmt: skip
        both = np.convolve(*ways)
        whole[: both.size] += both[: whole.size]
    law = tilted_slot_law(n, m, theta)
    np.testing.assert_allclose(law.pmf(np.arange(n // 2 + 1)), whole / whole.sum(), atol=1e-12)


@given(slot_sizes(200), log_uniform(0.05, 20.0), seeds)
def test_the_fitted_theta_has_the_observed_mean_and_the_likelihood_falls_to_the_ends(
    sizes, theta, seed
):
    n, m = sizes
    law = tilted_slot_law(n, m, theta)
    counts = law.ppf(np.random.default_rng(seed).uniform(size=12))
    tilt = fit_tilt(counts, n, m)
    assert tilt.low <= tilt.theta <= tilt.high
    if law.support[0] < counts.mean() < law.support[1]:
        best = tilted_slot_law(n, m, tilt.theta)
        assert best.mean() == pytest.approx(counts.mean(), rel=1e-9)
        for end in {tilt.low, tilt.high} - {0.0, np.inf}:
            there = tilted_slot_law(n, m, end)
            drop = 2 * (best.logpmf(counts) - there.logpmf(counts)).sum()
            assert drop == pytest.approx(3.8415, rel=1e-3)
    else:
        assert tilt.theta in (0.0, 1.0, np.inf)


@given(st.lists(slot_sizes(9), min_size=1, max_size=4), log_uniform(0.1, 10.0), seeds)
def test_theta_of_runs_of_several_sizes_is_where_the_mean_total_is_the_observed_one(
    sizes, theta, seed
):
    rng = np.random.default_rng(seed)
    laws = [tilted_slot_law(n, m, theta) for n, m in sizes]
    counts = np.array([law.ppf(rng.uniform()) for law in laws])
    n, m = np.array(sizes).T
    tilt = fit_tilt(counts, n, m)
    assert tilt.low <= tilt.theta <= tilt.high
    ends = np.array([law.support for law in laws]).sum(axis=0)
    if ends[0] < counts.sum() < ends[1]:
        means = [tilted_slot_law(*size, tilt.theta).mean() for size in sizes]
        assert sum(means) == pytest.approx(counts.sum(), rel=1e-9)


@given(st.lists(slot_sizes(7), min_size=1, max_size=5), st.integers(1, 3))
def test_the_law_of_the_total_is_that_of_independent_counts(sizes, times):
    """Enumerated with rational numbers."""
    expected = {0: Fraction(1)}
    for n, m in sizes * times:
        one = {x: exact_pmf(n, m, x) for x in range(max(0, n - m), n // 2 + 1)}
        both = {}
        for x, p in expected.items():
            for y, q in one.items():
                both[x + y] = both.get(x + y, 0) + p * q
        expected = both
    n, m = np.array(sizes * times).T
    low, pmf = total_law(n, m)
    assert (low, len(pmf)) == (min(expected), len(expected))
    np.testing.assert_allclose(pmf, [float(p) for _, p in sorted(expected.items())], rtol=1e-10)


def test_the_interval_of_theta_holds_it_as_often_as_it_says():
    """150 samples of 20 runs at n = m = 12, theta = 0.7: binomial at 4.5 s.e., false alarm 1e-4.

    Counts are whole, so that it holds theta a little more often than the 95 % it is made for."""
    law, held = tilted_slot_law(12, 12, 0.7), 0
    rng = np.random.default_rng(5)
    for _ in range(150):
        tilt = fit_tilt(law.ppf(rng.uniform(size=20)), 12, 12)
        held += tilt.low <= 0.7 <= tilt.high
    assert abs(held / 150 - 0.95) < 4.5 * np.sqrt(0.95 * 0.05 / 150)


# --- features learned one after another ------------------------------------------------------


def settle(owners, row, lam, step=0.05):
    """The new row's end beside owners that are held: Euler steps of the whole flow's rate."""
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    W = np.vstack([owners, row])
    for _ in range(round(12 / lam / step)):
        moved = W[-1] + step * velocity(forces, W)[-1]
        moved[W[-1] * moved < 0] = 0.0  # a weight rests at zero before it changes its sign
        if np.array_equal(moved, W[-1]) or np.count_nonzero(moved) == 0:
            break
        W[-1] = moved
    return moved


@settings(max_examples=60)
@given(owned_neurons())
def test_beside_frozen_owners_the_largest_weight_on_a_free_slot_wins(case):
    """The theorem at the top of theory/counting.py; Euler steps keep the order of free weights
    as exactly as the flow does."""
    owners, row, lam = case
    taken = np.stack([(owners > 0).any(axis=0), (owners < 0).any(axis=0)], axis=1)
    end = settle(owners, row, lam)
    predicted = frozen_winner(row, taken)
    free = ~np.where(row > 0, taken[:, 0], taken[:, 1])
    assert np.all(end[~free] == 0.0)
    if predicted < 0:
        assert not end.any()
    elif end.any():
        assert np.argmax(np.abs(end)) == predicted
        assert np.all(end * row >= 0)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3), (4, 4), (3, 5)])
def test_the_sequential_law_is_the_mean_over_all_orders_and_signs(n, m):
    """Every row is an order of the neurons by size and a sign for each: m! 2^m rows, all alike.

    What is there when a row comes is a set of slots; every row is tried on every set."""
    orders = list(itertools.permutations(range(m)))
    signs = list(itertools.product((0, 1), repeat=m))
    states = {frozenset(): Fraction(1)}
    for _ in range(n):
        after: dict = {}
        for taken, probability in states.items():
            each = probability / (len(orders) * len(signs))
            for order in orders:
                for sign in signs:
                    slot = next((k, sign[k]) for k in order if (k, sign[k]) not in taken)
                    key = taken | {slot}
                    after[key] = after.get(key, 0) + each
        states = after
    counts = [Fraction(0)] * (n // 2 + 1)
    for taken, probability in states.items():
        counts[sum((k, 0) in taken and (k, 1) in taken for k in range(m))] += probability
    law = sequential_law(n, m)
    expected = [float(p) for p in counts]
    np.testing.assert_allclose(law.pmf(np.arange(n // 2 + 1)), expected, rtol=1e-12)


def test_rows_that_take_the_largest_free_weight_follow_the_sequential_and_not_the_slot_law():
    """4,000 sets of six Gaussian rows on six neurons: chi-square at 1e-5 for the one, and the
    slot law is rejected at 1e-8."""
    rng, n, m, sets = np.random.default_rng(3), 6, 6, 4000
    seen = np.zeros(n // 2 + 1)
    for rows in rng.normal(size=(sets, n, m)):
        taken = np.zeros((m, 2), dtype=bool)
        for row in rows:
            k = frozen_winner(row, taken)
            taken[k, 0 if row[k] > 0 else 1] = True
        seen[taken.all(axis=1).sum()] += 1
    x = np.arange(n // 2 + 1)
    assert chisquare(seen, sets * sequential_law(n, m).pmf(x)).pvalue > 1e-5
    assert chisquare(seen, sets * slot_law(n, m).pmf(x)).pvalue < 1e-8


@given(st.integers(1, 300), st.integers(0, 300))
def test_the_sequential_law_has_fewer_shared_neurons_by_a_share_that_falls_as_one_over_m(n, more):
    m = n + more
    law = sequential_law(n, m)
    assert law.pmf(np.arange(n // 2 + 1)).sum() == pytest.approx(1.0, abs=1e-12)
    if n >= 2:
        short = m * (1 - law.mean() / slot_mean(n, m))
        assert 0.3 < short <= 0.5 + 1e-6
        assert sequential_law(2, m).mean() == pytest.approx(1 / (2 * m))


# --- against the simulator ------------------------------------------------------------------


def polysemantic_neurons(n, m, lam, runs):
    """Neurons with weights of both signs at rest, for seeds 0, 1, ...; all rests are checked."""
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    counts = []
    for seed in range(runs):
        start = gaussian_init(n=n, m=m, seed=seed, scale=1.0)
        final = integrate(forces, start, t_end=20 / lam, rtol=1e-3).final
        assert stationarity_violation(final, lam) < 1e-6 * lam
        counts.append(((final > 0).any(axis=0) & (final < 0).any(axis=0)).sum())
    return np.array(counts)


@pytest.mark.parametrize(
    ("n", "m", "runs"),
    [
        (48, 48, 24),
        pytest.param(128, 128, 40, marks=pytest.mark.long),
        pytest.param(128, 256, 40, marks=pytest.mark.long),
        pytest.param(128, 512, 40, marks=pytest.mark.long),
    ],
)
def test_slot_law_conjecture_at_lambda_004(n, m, runs):
    """Mean by z-test at |z| < 4.5 (false alarm 7e-6); the count without relocation is rejected.

    A conjecture: it holds at this lambda within the error of so many runs, not in general.
    """
    counts = polysemantic_neurons(n, m, 0.04, runs)
    law = slot_law(n, m)
    error = law.std() / np.sqrt(runs)
    assert abs(counts.mean() - law.mean()) < 4.5 * error
    if n == m:
        assert counts.mean() - neurons_without_relocation(n, m) > 8 * error
    # the spread too: a variance ratio this far out has probability below 1e-5 for 24 runs
    assert 0.2 < counts.var(ddof=1) / law.var() < 2.7


def learned_one_by_one(n, m, lam, seed):
    """Shared neurons and how many went where the theorem says, with real flow and nothing held."""
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    start = gaussian_init(n=n, m=m, seed=seed)
    W, kept = np.zeros((0, m)), 0
    for row in start:
        taken = np.stack([(W > 0).any(axis=0), (W < 0).any(axis=0)], axis=1)
        predicted = frozen_winner(row, taken)
        W = integrate(forces, np.vstack([W, row])).final
        kept += predicted == np.argmax(np.abs(W[-1]))
    return np.sum(np.count_nonzero(W, axis=0) > 1), kept / n


@pytest.mark.parametrize(
    ("n", "m", "lam", "runs"),
    [(8, 8, 0.1, 20), pytest.param(24, 24, 0.06, 24, marks=pytest.mark.long)],
)
def test_features_learned_one_by_one_follow_the_sequential_law_though_nothing_is_held(
    n, m, lam, runs
):
    """Mean at |z| < 4.5 (false alarm 7e-6), with the 0.08 that owners that tilt take off it."""
    counts, kept = np.array([learned_one_by_one(n, m, lam, seed) for seed in range(runs)]).T
    law = sequential_law(n, m)
    assert abs(counts.mean() - law.mean()) < 4.5 * law.std() / np.sqrt(runs) + 0.08 * law.mean()
    assert kept.mean() > 0.95
