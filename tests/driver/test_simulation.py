"""A simulation can be stepped, looked at, changed, branched and gone on with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow import (
    FeatureBenefit,
    Interference,
    L2Regularization,
    Regularization,
    Simulation,
    Status,
    Trajectory,
    gaussian_init,
    integrate,
    integrate_ensemble,
)
from flow.integrators.schemes import BogackiShampine, ProximalEuler
from tests.spring import Spring
from tests.strategies import seeds

ALL = [FeatureBenefit(), Interference(), Regularization(0.03)]
ROWS = [FeatureBenefit(), Regularization(0.03)]
SMOOTH = [FeatureBenefit(), Interference()]
W0 = gaussian_init(12, 24, seed=3)

METHODS = {
    "numba": (ALL, {"backend": "numba"}),
    "exact": (ROWS, {"backend": "exact"}),
    "diffrax": (ALL, {"backend": "diffrax"}),
    "euler": (ALL, {"scheme": ProximalEuler(), "fixed_step": 0.05}),
    "bogacki-shampine": (SMOOTH, {"scheme": BogackiShampine()}),
}
each_method = pytest.mark.parametrize("method", METHODS)


def assert_same_run(one, other):
    assert one.final.tobytes() == other.final.tobytes()
    for name in ("times", "l1", "l2", "l4", "nonzeros", "dissipation"):
        a, b = getattr(one.observables, name), getattr(other.observables, name)
        assert a.tobytes() == b.tobytes(), name
    assert {**one.stats, "seconds": 0.0} == {**other.stats, "seconds": 0.0}


# Looking -----------------------------------------------------------------------------------------


@each_method
def test_looking_changes_no_step(method):
    forces, how = METHODS[method]
    seen = []

    def look(sim):
        inside = 0.3 * sim.t
        seen.append((sim.t, sim.W.sum(), sim.branch().t, sim.trajectory().status))
        if len(seen) > 1 and seen[-2][0] < inside:
            sim.at(inside)

    plain = integrate(forces, W0, t_end=20.0, **how)
    watched = integrate(
        forces, W0, t_end=20.0, save_at=np.linspace(0.0, 20.0, 41), events=True, film=True,
        callback=look, **how,
    )  # fmt: skip
    assert_same_run(plain, watched)
    assert len(seen) == plain.observables.times.size - 1
    np.testing.assert_array_equal(watched.times, np.linspace(0.0, 20.0, 41))
    assert watched.film.times[-1] == 20.0


def test_a_callback_that_does_not_look_inside_steps_sees_the_same_run():
    starts = []

    def look(sim):
        if starts:
            with pytest.raises(ValueError, match="expected a flow time within the last step"):
                sim.at(0.5 * (starts[-1] + sim.t))
        starts.append(sim.t)

    sim = Simulation(ALL, W0, callback=look, inside=False)
    sim.run(until=5.0)
    assert len(starts) > 2
    assert_same_run(sim.trajectory(), integrate(ALL, W0, t_end=5.0))


def largest_error_inside(forces, how, h):
    """Of W within steps of length h up to t = 1.6, as norms of rows, at three places of each."""
    sim = Simulation(forces, W0, fixed_step=h, **how)
    exact = Simulation(forces, W0, rtol=1e-10)
    errors = []
    for _ in range(round(1.6 / h)):
        start = sim.t
        sim.step()
        for theta in (0.25, 0.5, 0.75):
            t = start + theta * h
            exact.run(until=t)
            errors.append(np.linalg.norm(sim.at(t) - exact.W, axis=1).max())
    return max(errors)


@pytest.mark.parametrize(
    ("forces", "how", "order"),
    [
        (SMOOTH, {}, 2),
        (SMOOTH, {"scheme": ProximalEuler()}, 1),
        (SMOOTH, {"scheme": BogackiShampine()}, 3),
    ],
    ids=["chebyshev", "euler", "bogacki-shampine"],
)
def test_weights_inside_steps_have_the_order_of_the_scheme(forces, how, order):
    errors = [largest_error_inside(forces, how, h) for h in (0.1, 0.05, 0.025)]
    slopes = np.log2(np.divide(errors[:-1], errors[1:]))
    assert abs(slopes[-1] - order) < 0.2, (errors, slopes)


@settings(max_examples=15)
@given(seed=seeds, lam=st.sampled_from([0.0, 0.01, 0.05]), rtol=st.sampled_from([5e-3, 1e-3]))
def test_errors_inside_a_step_are_within_what_the_step_may_make(seed, lam, rtol):
    start = gaussian_init(10, 20, seed=seed)
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    sim = Simulation(forces, start, rtol=rtol)
    for _ in range(6):
        before, t0 = sim.W, sim.t
        if not sim.step():
            break
        h = sim.t - t0
        allowed = rtol * min(1.0, max(h, 0.1))
        fine = Simulation(forces, before, t_start=t0, rtol=1e-3 * rtol)
        for theta in (0.2, 0.5, 0.8):
            fine.run(until=t0 + theta * h)
            error = np.linalg.norm(sim.at(t0 + theta * h) - fine.W, axis=1)
            size = np.maximum(1.0, np.linalg.norm(fine.W, axis=1))
            assert (error / size).max() <= allowed


def test_weights_inside_a_step_meet_its_ends():
    sim = Simulation(ALL, W0)
    for _ in range(8):
        before, t0 = sim.W, sim.t
        sim.step()
        np.testing.assert_array_equal(sim.at(t0), before)
        np.testing.assert_array_equal(sim.at(sim.t), sim.W)
        h = sim.t - t0
        np.testing.assert_allclose(sim.at(t0 + 1e-9 * h), before, atol=1e-8)
        np.testing.assert_allclose(sim.at(sim.t - 1e-9 * h), sim.W, atol=1e-8)


@pytest.mark.parametrize("method", ["numba", "exact", "diffrax"])
def test_a_time_outside_the_last_step_is_refused(method):
    forces, how = METHODS[method]
    sim = Simulation(forces, W0, **how)
    with pytest.raises(ValueError, match="expected a flow time within the last step"):
        sim.at(1.0)
    sim.run(until=2.0)
    sim.step()
    with pytest.raises(ValueError, match=r"run\(until=0.5\) goes there"):
        sim.at(0.5)


def test_a_save_point_that_is_t_end_up_to_rounding_is_t_end():
    run = integrate(ALL, W0, save_at=[0.1 * k for k in range(4)], t_end=0.3)
    assert run.times.tolist() == [0.0, 0.1, 0.2, 0.3]


# Stepping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["numba", "exact", "diffrax"])
def test_steps_one_by_one_are_those_of_a_run(method):
    forces, how = METHODS[method]
    run = integrate(forces, W0, **how)
    sim = Simulation(forces, W0, **how)
    times = [sim.t] + [sim.t for _ in sim]
    assert sim.status is run.status is Status.STATIONARY
    assert np.array(times).tobytes() == run.observables.times.tobytes()
    assert sim.W.tobytes() == run.final.tobytes()
    assert not sim.step()


@pytest.mark.parametrize("method", ["numba", "exact", "diffrax"])
def test_a_run_lands_where_it_is_sent_and_goes_on_from_there(method):
    forces, how = METHODS[method]
    sim = Simulation(forces, W0, **how)
    assert sim.run(until=3.7) is Status.REACHED_T_END
    assert sim.t == 3.7
    whole = integrate(forces, W0, t_end=3.7, **how)
    assert sim.W.tobytes() == whole.final.tobytes()
    assert_same_run(sim.trajectory(), whole)
    assert sim.run() is Status.STATIONARY
    with pytest.raises(ValueError, match=r"expected a finite flow time >= .*, got 1.0"):
        sim.run(until=1.0)


@pytest.mark.parametrize("method", ["numba", "exact", "diffrax"])
def test_a_branch_has_the_same_future_and_leaves_the_other_alone(method):
    forces, how = METHODS[method]
    whole = integrate(forces, W0, **how)
    sim = Simulation(forces, W0, **how)
    for _ in range(9):
        sim.step()
    branch, other = sim.branch(), sim.branch()
    other.forces = [FeatureBenefit(2.0), Regularization(0.1)]
    other.run(until=sim.t + 3.0)
    branch.run()
    assert branch.W.tobytes() == whole.final.tobytes()
    sim.run()
    assert sim.W.tobytes() == whole.final.tobytes()
    assert_same_run(sim.trajectory(), whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_goes_on_from_a_file_bit_for_bit_from_any_step(dtype, tmp_path):
    start = gaussian_init(24, 48, seed=1, dtype=dtype)
    whole = integrate(ALL, start)
    sim = Simulation(ALL, start)
    sparse = False
    for k, _ in enumerate(sim):
        if k % 5 == 0:
            sim.trajectory().save(tmp_path / "part.npz")
            rest = Trajectory.load(tmp_path / "part.npz").simulation()
            sparse |= "column" in sim.trajectory().checkpoint
            rest.run()
            assert rest.W.tobytes() == whole.final.tobytes()
            seen = rest.trajectory().observables
            assert seen.l1.tobytes() == whole.observables.l1[k + 1 :].tobytes()
    assert sparse


# Changing ----------------------------------------------------------------------------------------


def test_forces_can_be_changed_on_the_way():
    sim = Simulation(ALL, W0, save_at=[0.0, 4.0, 6.0])
    sim.run(until=5.0)
    assert sim.backend == "numba"
    sim.forces = ROWS
    assert sim.backend == "exact"
    middle = sim.W
    sim.run(until=8.0)
    sim.forces = ALL
    sim.run()
    run = sim.trajectory()
    assert run.forces == tuple(ALL)
    schedule = [(part["t"], len(part["forces"])) for part in run.parameters["schedule"]]
    assert schedule == [(0.0, 3), (5.0, 2), (8.0, 3)]
    o = run.observables
    off = (o.times > 5.0) & (o.times < 8.0)
    assert np.isnan(o.energy["Interference"][off]).all()
    assert np.isfinite(o.energy["Interference"][~off & (o.times != 5.0) & (o.times != 8.0)]).all()
    assert np.isfinite(o.energy["FeatureBenefit"]).all()
    assert run.times[:3].tolist() == [0.0, 4.0, 6.0]
    alone = integrate(ROWS, middle, t_start=5.0, t_end=8.0, save_at=[6.0])
    np.testing.assert_array_equal(run.weights[2], alone.weights[0])
    later = integrate(ALL, alone.final, t_start=8.0)
    np.testing.assert_array_equal(run.final, later.final)


def test_a_run_that_is_changed_goes_on_to_rest_whatever_is_saved():
    for saves in (None, [], [0.0, 3.0]):
        sim = Simulation(ALL, W0, save_at=saves)
        sim.run(until=5.0)
        sim.forces = ROWS
        assert [other.backend for other in sim][-1] == "exact"
        assert sim.status is Status.STATIONARY


def test_weights_can_be_changed_on_the_way():
    sim = Simulation(ALL, W0)
    sim.run(until=5.0)
    W = -sim.W
    sim.W = W
    sim.run(until=9.0)
    np.testing.assert_array_equal(sim.W, integrate(ALL, W, t_start=5.0, t_end=9.0).final)
    with pytest.raises(ValueError, match="another shape is a new Simulation"):
        sim.W = W[:, :-1]


@pytest.mark.parametrize("method", ["numba", "exact", "diffrax"])
def test_a_callback_can_stop_a_run_and_change_it_but_not_step_it(method):
    forces, how = METHODS[method]
    run = integrate(forces, W0, callback=lambda sim: sim.t > 2.0, **how)
    assert run.status is Status.STOPPED
    assert not run.status.finished
    assert run.times[-1] == run.observables.times[run.observables.times > 2.0][0]

    def weaken(sim):
        if sim.forces == tuple(forces) and sim.t > 2.0:
            sim.forces = ROWS[:1]

    run = integrate(forces, W0, callback=weaken, t_end=6.0, backend=how["backend"])
    assert run.forces == tuple(ROWS[:1])
    assert run.times[-1] == 6.0
    for stepping in (Simulation.step, Simulation.run):
        with pytest.raises(RuntimeError, match="step a branch instead"):
            integrate(forces, W0, callback=stepping, **how)


def test_members_of_an_ensemble_have_callbacks():
    seen = []

    def look(member, sim):
        seen.append(member)
        if member == 1:
            return sim.t > 2.0
        if member == 2 and sim.t > 2.0 and sim.forces == tuple(ALL):
            sim.forces = ROWS
        return None

    starts = [gaussian_init(8, 16, seed=s) for s in range(3)]
    plain = integrate_ensemble(ALL, starts)
    runs = integrate_ensemble(ALL, starts, callback=look)
    assert set(seen) == {0, 1, 2}
    assert [run.status.name for run in runs] == ["STATIONARY", "STOPPED", "STATIONARY"]
    np.testing.assert_allclose(runs[0].final, plain[0].final, atol=1e-12)
    assert runs[2].forces == tuple(ROWS)
    with pytest.raises(RuntimeError, match="step a branch instead"):
        integrate_ensemble(ALL, starts, callback=lambda _, sim: sim.step())


def test_a_force_that_wakes_dead_neurons_brings_back_those_that_were_dropped():
    sim = Simulation(ALL, W0)
    sim.run()
    dead = ~sim.W.any(axis=0)
    assert dead.sum() > 4
    sim.forces = [FeatureBenefit(), Spring((0.2,) * W0.shape[1])]
    sim.run(until=sim.t + 2.0)
    assert sim.W[:, dead].any(axis=0).all()


# Rest --------------------------------------------------------------------------------------------


def test_small_weights_that_grow_are_not_at_rest():
    run = integrate(SMOOTH, gaussian_init(8, 16, seed=0, scale=1e-9))
    assert run.status is Status.STATIONARY
    np.testing.assert_allclose(np.linalg.norm(run.final, axis=1), 1.0, atol=1e-6)


def test_small_weights_that_decay_are_at_rest():
    run = integrate([L2Regularization(0.5), Interference()], gaussian_init(8, 16, seed=0))
    assert run.status is Status.STATIONARY
    assert np.abs(run.final).max() < 1e-8


def test_a_saddle_without_regularization_is_called_one():
    assert integrate(SMOOTH, np.full((2, 2), 0.5)).status is Status.SADDLE
    beside = np.array([[0.5, 0.5 + 1e-9], [0.5, 0.5]])
    run = integrate(SMOOTH, beside)
    assert run.status is Status.STATIONARY
    np.testing.assert_allclose(run.final, [[0.0, 1.0], [1.0, 0.0]], atol=1e-6)


def test_a_run_at_rest_need_not_be_stepped_to_its_end():
    rest = integrate(ALL, W0)
    run = integrate(ALL, W0, t_end=1e8, save_at=[1e3, 1e6, 1e8])
    assert run.status is Status.REACHED_T_END
    assert run.stats["accepted"] == rest.stats["accepted"]
    assert run.times.tolist() == [1e3, 1e6, 1e8]
    assert (run.weights == rest.final).all()


def test_a_weak_regularization_is_followed_until_one_weight_is_left():
    forces = [FeatureBenefit(4.0), Interference(4.0), Regularization(1e-9)]
    run = integrate(forces, gaussian_init(1, 32, seed=3))
    assert run.status is Status.STATIONARY
    assert np.count_nonzero(run.final) == 1


def test_a_time_of_rest_has_the_digits_that_are_right():
    coarse, fine = integrate(ALL, W0), integrate(ALL, W0, rtol=1e-7)
    said = [float(run.message.split("≈ ")[1].split(",")[0]) for run in (coarse, fine)]
    assert said[0] == float(f"{coarse.times[-1]:.1g}")
    assert said[1] == float(f"{fine.times[-1]:.2g}")


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: integrate(FeatureBenefit(), W0), TypeError, r"write \[FeatureBenefit\(...\)\]"),
        (lambda: integrate(ALL, W0, save_at=5.0), TypeError, "expected save_at as several"),
        (lambda: integrate(ALL, W0, t_end="5"), TypeError, "expected t_end as a number, got '5'"),
        (
            lambda: integrate([*SMOOTH, Regularization(1e-6)], W0.astype(np.float32)),
            ValueError,
            "more than 1e-05, what float32 resolves",
        ),
    ],
)
def test_what_people_do_is_answered_with_a_remedy(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_results_of_one_run_are_themselves_and_nothing_else():
    run = integrate(ALL, W0, t_end=np.float32(1.0))
    assert run == run
    assert run in [run]
    assert run != integrate(ALL, W0, t_end=1.0)
    assert hash(run) == hash(run)
