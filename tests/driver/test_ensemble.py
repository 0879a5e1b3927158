"""integrate_ensemble(): many runs at once are the runs on their own."""

import gc
import time
from functools import cache

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flow.accelerator.batch as backend
import flow.driver.ensemble as ensemble
from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    Status,
    gaussian_init,
    integrate,
    integrate_ensemble,
)
from flow.accelerator.batch import bucket
from flow.driver.ensemble import _joined_widths

N = 8
# Seeds, strengths, λ, m and the widths that these are padded to all differ; four with a broken one,
# so that few programs are compiled.
MEMBERS = [
    ([FeatureBenefit(), Interference(), Regularization(0.02)], gaussian_init(N, 60, seed=0)),
    ([FeatureBenefit(4.0), Interference(4.0), Regularization(0.1)], gaussian_init(N, 64, seed=1)),
    ([FeatureBenefit(), Interference(0.5), Regularization(0.05)], gaussian_init(N, 100, seed=2)),
]


SETTINGS = {"save_at": [0.0, 4.0], "rtol": 1e-3, "events": True}


@cache
def together():
    """All of them and the broken one; and how many arrays the size of all W there were at most."""
    forces, starts = map(list, zip(*MEMBERS, strict=True))
    broken = starts[0].copy()
    broken[3, 5] = np.nan
    counts = []
    step = backend._step

    def watched(term, W, *rest):
        gc.collect()
        if W.shape[0] > 1:  # what members keep of their own is as large as a batch of one
            counts.append(sum(array.shape == W.shape for array in jax.live_arrays()))
        return step(term, W, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "_step", watched)
        patch.setattr(ensemble, "MOST_PADDING", 2.0)  # so that those of two widths are together
        runs = integrate_ensemble(
            [*forces, forces[0]], [*starts, broken], metadata=[{"seed": s} for s in range(4)],
            **SETTINGS,
        )  # fmt: skip
    return runs, counts


def test_members_that_have_ended_keep_no_arrays_of_the_others():
    """Where all go on there are W and its drift, and so there are when one has ended."""
    _, counts = together()
    assert set(counts) == {2}


def test_members_agree_with_runs_on_their_own_and_one_that_is_not_finite_is_named():
    runs, _ = together()
    assert {run.stats["together"] for run in runs} == {4}
    assert runs[3].status is Status.NON_FINITE
    assert runs[3].message.startswith("member 3: ")
    for b, (own, W0) in enumerate(MEMBERS):
        alone = integrate(own, W0, backend="numba", **SETTINGS)
        run = runs[b]
        assert run.status is Status.STATIONARY
        assert run.final.shape == W0.shape
        # The same steps: what differs is rounding, amplified by races.
        assert (run.stats["accepted"], run.stats["rejected"]) == (
            alone.stats["accepted"], alone.stats["rejected"],
        )  # fmt: skip
        np.testing.assert_allclose(run.times, alone.times, rtol=1e-6)
        np.testing.assert_allclose(run.weights, alone.weights, atol=1e-8)
        np.testing.assert_array_equal(run.weights == 0.0, alone.weights == 0.0)
        np.testing.assert_allclose(
            run.observables.total_energy, alone.observables.total_energy, rtol=1e-8
        )
        for ours, theirs in (
            (run.events.extinctions, alone.events.extinctions),
            (run.events.revivals, alone.events.revivals),
        ):
            np.testing.assert_array_equal(ours.neuron, theirs.neuron)
            np.testing.assert_allclose(ours.time, theirs.time, rtol=1e-6)
        assert run.metadata == {"seed": b, "member": b}
        assert run.parameters["m"] == W0.shape[1]
    ends = {run.stats["t"] for run in runs[:3]}
    assert len(ends) == 3  # each has its own end
    assert not jax.config.jax_enable_x64


def test_batches_change_nothing_that_matters():
    """One member at a time; the forces given once."""
    starts = [gaussian_init(N, 64, seed=s) for s in range(4)]
    forces = MEMBERS[0][0]
    together = integrate_ensemble(forces, np.stack(starts), t_end=5.0)
    one_by_one = integrate_ensemble(forces, starts, t_end=5.0, batch_size=1)
    for one, other in zip(together, one_by_one, strict=True):
        assert one.status is other.status is Status.REACHED_T_END
        np.testing.assert_allclose(one.final, other.final, atol=1e-12)
        assert (one.stats["together"], other.stats["together"]) == (4, 1)


def test_the_limit_on_time_is_that_of_the_call_however_many_batches_it_makes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def late(member, _):
        now[0] += 10.0 * (member == 0)

    starts = [gaussian_init(N, 60, seed=seed) for seed in range(2)]
    runs = integrate_ensemble(MEMBERS[0][0], starts, max_seconds=5.0, batch_size=1, callback=late)
    assert [run.status for run in runs] == [Status.TIME_LIMIT] * 2
    assert [run.stats["accepted"] for run in runs] == [1, 0]


def test_the_ladder_of_widths_holds_every_number_of_neurons():
    widths = [bucket(m) for m in range(1, 2000)]
    assert all(m <= width <= max(64, 2 * m) for m, width in enumerate(widths, 1))
    assert set(widths) == {64, 128, 256, 512, 1024, 2048}


@given(st.dictionaries(st.sampled_from([64 * 2**k for k in range(8)]), st.integers(1, 40)))
def test_widths_are_joined_so_that_padding_adds_at_most_a_quarter_to_a_batch(counts):
    widths, before = {}, 0
    for width, count in counts.items():
        widths[width] = list(range(before, before := before + count))
    batches = _joined_widths(widths)
    assert sorted(b for members in batches for b in members) == list(range(before))
    own = {b: width for width, members in widths.items() for b in members}
    tops = []
    for members in batches:
        sizes = [own[b] for b in members]
        assert 4 * len(sizes) * max(sizes) <= 5 * sum(sizes)
        tops.append(max(sizes))
    assert tops == sorted(tops, reverse=True)


def test_figure_3_is_three_batches_and_a_wide_run_takes_no_crowd_of_narrow_ones_along():
    sizes = [256 * k for k in range(1, 17) for _ in range(16)]
    widths = {}
    for b, m in enumerate(sizes):
        widths.setdefault(bucket(m), []).append(b)
    assert [len(members) for members in _joined_widths(widths)] == [192, 48, 16]
    assert _joined_widths({64: [0, 1, 2], 65536: [3]}) == [[3], [0, 1, 2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forces": [MEMBERS[0][0]] * 2}, "expected forces once for all members or for each of 3"),
        ({"metadata": [{}]}, "expected metadata once for all members or for each of 3, got 1"),
        ({"batch_size": 0}, "batch_size must be >= 1 or None, got 0"),
        ({"rtol": 0.0}, "expected rtol between 0 and 1"),
        (
            {"W0s": [np.eye(2), np.eye(2), np.eye(2, dtype=int)]},
            "member 2: expected W0 of float32 or",
        ),
    ],
)
def test_ensembles_whose_arguments_do_not_fit_together_are_refused(change, message):
    arguments = {"forces": MEMBERS[0][0], "W0s": [np.eye(2)] * 3, **change}
    with pytest.raises(ValueError, match=message):
        integrate_ensemble(**arguments)
    with pytest.raises(TypeError, match="member 1: forces must be Force objects"):
        integrate_ensemble([MEMBERS[0][0], [None]], [np.eye(2)] * 2)
