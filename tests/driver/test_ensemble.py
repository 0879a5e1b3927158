"""integrate_ensemble(): many runs at once are the runs on their own."""

import jax
import numpy as np
import pytest

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

N = 8
# Seeds, strengths, λ and m all differ; four with a broken one, so that few programs are compiled.
MEMBERS = [
    ([FeatureBenefit(), Interference(), Regularization(0.02)], gaussian_init(N, 60, seed=0)),
    ([FeatureBenefit(4.0), Interference(4.0), Regularization(0.1)], gaussian_init(N, 64, seed=1)),
    ([FeatureBenefit(), Interference(0.5), Regularization(0.05)], gaussian_init(N, 40, seed=2)),
]


def test_members_agree_with_runs_on_their_own_and_one_that_is_not_finite_is_named():
    forces, starts = map(list, zip(*MEMBERS, strict=True))
    broken = starts[0].copy()
    broken[3, 5] = np.nan
    settings = {"save_at": [0.0, 4.0], "rtol": 1e-3, "events": True}
    runs = integrate_ensemble(
        [*forces, forces[0]], [*starts, broken], metadata=[{"seed": s} for s in range(4)],
        **settings,
    )  # fmt: skip
    assert runs[3].status is Status.NON_FINITE
    assert runs[3].message.startswith("member 3: ")
    for b, (own, W0) in enumerate(MEMBERS):
        alone = integrate(own, W0, backend="numba", **settings)
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


def test_the_ladder_of_widths_holds_every_number_of_neurons():
    widths = [bucket(m) for m in range(1, 2000)]
    assert all(m <= width <= max(64, 2 * m) for m, width in enumerate(widths, 1))
    assert set(widths) == {64, 128, 256, 512, 1024, 2048}


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
