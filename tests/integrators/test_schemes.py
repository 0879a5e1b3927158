"""Four oracles for every scheme: order, the exact rows, a stiff reference, the energy identity."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from flow import (
    FeatureBenefit,
    Interference,
    L2Regularization,
    Regularization,
    Status,
    gaussian_init,
    integrate,
    velocity,
)
from flow.integrators.schemes import (
    BogackiShampine,
    ProximalChebyshev,
    ProximalEuler,
    chebyshev_recurrence,
    chebyshev_stages,
)
from tests.strategies import log_uniform, regularization_strengths, seeds
from theory.collisions import race_time

SCHEMES = [ProximalChebyshev(), ProximalEuler(), BogackiShampine()]
each_backend = pytest.mark.parametrize("backend", ["numba", "diffrax"])
N, M = 12, 24
"""One shape for the laws that both backends keep: JAX compiles once for each."""
SMOOTH = {
    "benefit": [FeatureBenefit()],
    "interference": [Interference()],
    "benefit and interference": [FeatureBenefit(), Interference()],
    "all smooth, unequal": [FeatureBenefit(), Interference(0.5), L2Regularization(0.2)],
}


def reference(forces, W0, t_end, rtol=1e-12):
    """SciPy's order-8 method on the definition of the forces."""
    shape = W0.shape
    result = solve_ivp(
        lambda _, y: velocity(forces, y.reshape(shape)).ravel(),
        (0.0, t_end),
        W0.ravel(),
        method="DOP853",
        rtol=rtol,
        atol=1e-14,
    )
    return result.y[:, -1].reshape(shape)


def distance(a, b):
    return float(np.abs(a - b).max())


def fitted_order(steps, errors):
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize(
    ("scheme", "backend", "name"),
    [
        (scheme, backend, name)
        for backend, schemes in (("numba", SCHEMES), ("diffrax", SCHEMES[:1]))
        for scheme in schemes
        for name in SMOOTH
        # Feature benefit alone is exact in our scheme, to rounding: no order to see.
        if scheme != ProximalChebyshev() or name != "benefit"
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_the_order_is_the_one_declared_on_smooth_forces(scheme, backend, name):
    forces = SMOOTH[name]
    # Non-negative weights: no overlap crosses the kink of ReLU, so order three holds as well.
    W0 = np.abs(gaussian_init(N, M, seed=0, scale=0.5))
    exact = reference(forces, W0, 0.6)
    steps = [0.6 / k for k in (8, 16, 32, 64)]

    def final(h):
        return integrate(forces, W0, t_end=0.6, scheme=scheme, fixed_step=h, backend=backend).final

    errors = [distance(final(h), exact) for h in steps]
    assert abs(fitted_order(steps, errors) - scheme.order) <= 0.2


@given(seed=seeds, scale=st.floats(0.3, 1.5), lam=regularization_strengths(1e-3, 0.1))
@settings(max_examples=25)
def test_rows_without_interference_agree_with_the_exact_solution_within_ten_rtol(seed, scale, lam):
    W0 = gaussian_init(3, 60, seed=seed, scale=scale)
    forces = [FeatureBenefit(), Regularization(lam)]
    # The middle of the race: long after the start, before the amplification of the end.
    times = [1.0, 3.0, 1.0 / (lam * np.sqrt(60))]
    times = sorted(set(times))
    exact = integrate(forces, W0, save_at=times, t_end=times[-1], backend="exact")
    for rtol in (1e-2, 1e-4, 1e-6):
        run = integrate(forces, W0, save_at=times, t_end=times[-1], rtol=rtol, backend="numba")
        for ours, true in zip(run.weights, exact.weights, strict=True):
            size = np.maximum(1.0, np.linalg.norm(true, axis=1))
            assert np.max(np.linalg.norm(ours - true, axis=1) / size) <= 10 * rtol


def test_without_interference_no_step_is_bounded_by_the_row_growth():
    lam = 1e-4
    forces = [FeatureBenefit(), Regularization(lam)]
    W0 = gaussian_init(4, 50, seed=0)
    run = integrate(forces, W0, backend="numba")
    assert np.diff(run.observables.times).max() > 1000.0
    assert run.stats["accepted"] < 100


@pytest.mark.parametrize("forces", list(SMOOTH.values())[1:], ids=list(SMOOTH.keys())[1:])
def test_without_regularization_we_agree_with_a_tight_explicit_solver(forces):
    W0 = gaussian_init(8, 16, seed=0, scale=0.9)
    exact = reference(forces, W0, 2.0, rtol=1e-10)
    assert distance(integrate(forces, W0, t_end=2.0, rtol=1e-11).final, exact) <= 1e-8


def test_with_all_forces_we_agree_with_extrapolated_proximal_euler():
    """Extinctions, revivals and races on the way; Euler's two extrapolations agree to 1e-4."""
    forces = [FeatureBenefit(), Interference(), Regularization(0.02)]
    W0 = gaussian_init(24, 96, seed=0, scale=0.9)

    def euler(h):
        return integrate(forces, W0, t_end=50.0, scheme=ProximalEuler(), fixed_step=h).final

    extrapolated = 2 * euler(2e-3) - euler(4e-3)
    run = integrate(forces, W0, t_end=50.0, rtol=1e-6)
    assert run.observables.nonzeros[-1].mean() < 12
    assert distance(run.final, extrapolated) <= 1e-3


@each_backend
def test_order_two_survives_extinctions(backend):
    forces = [FeatureBenefit(), Interference(), Regularization(0.05)]
    W0 = gaussian_init(N, M, seed=0, scale=0.9)
    steps = [1 / k for k in (4, 8, 16, 32, 64)]

    def final(h):
        return integrate(forces, W0, t_end=8.0, fixed_step=h, backend=backend).final

    exact = integrate(forces, W0, t_end=8.0, fixed_step=1 / 1024).final
    died = np.count_nonzero(W0) - np.count_nonzero(exact)
    assert died > 20
    errors = [distance(final(h), exact) for h in steps]
    assert abs(fitted_order(steps, errors) - 2.0) <= 0.3


@each_backend
@given(seed=seeds, lam=regularization_strengths(5e-3, 0.1), rtol=log_uniform(1e-4, 3e-2))
@settings(max_examples=40)
def test_the_energy_never_rises(backend, seed, lam, rtol):
    W0 = gaussian_init(N, M, seed=seed, scale=1.0)
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    run = integrate(forces, W0, rtol=rtol, backend=backend)
    energy = run.observables.total_energy
    assert np.diff(energy).max() <= rtol**2 * energy[0]


@pytest.mark.parametrize("rtol", [1e-2, 1e-3])
@pytest.mark.parametrize(("n", "m", "lam"), [(24, 96, 0.02), (32, 32, 0.01)])
def test_the_energy_lost_is_the_integral_of_the_squared_velocity(n, m, lam, rtol):
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    t_end = 2.0 / lam
    # Points for the quadrature: the integrand jumps by λ² at every extinction.
    grid = np.concatenate([np.linspace(0, 5, 500), np.linspace(5, t_end, 1000)[1:]])
    run = integrate(forces, gaussian_init(n, m, seed=3), t_end=t_end, save_at=grid, rtol=rtol)
    o = run.observables
    lost = o.total_energy[0] - o.total_energy
    spent = np.diff(o.times) * 0.5 * (o.dissipation[1:] + o.dissipation[:-1])
    gap = np.abs(lost[1:] - np.cumsum(spent)).max()
    assert gap <= 10 * rtol * o.total_energy[0]


@given(seed=seeds, c=log_uniform(0.1, 10.0), lam=regularization_strengths(1e-2, 0.1))
@settings(max_examples=20)
def test_conventions_c_lambda_t_and_1_lambda_over_c_ct_describe_the_same_path(seed, c, lam):
    W0 = gaussian_init(6, 12, seed=seed)
    one = integrate([FeatureBenefit(), Interference(), Regularization(lam)], W0, t_end=10.0)
    other = integrate(
        [FeatureBenefit(c), Interference(c), Regularization(c * lam)], W0, t_end=10.0 / c
    )
    assert one.stats["accepted"] == other.stats["accepted"]
    np.testing.assert_allclose(c * other.observables.times, one.observables.times, rtol=1e-9)
    np.testing.assert_allclose(other.final, one.final, rtol=1e-6, atol=1e-8)


@each_backend
def test_a_weight_at_zero_revives_when_the_smooth_force_passes_lambda(backend):
    """By hand: W_00 = 0 is pushed by −c·ReLU(G_01)·W_10 with G_01 = W_01 W_11 = 0.5."""
    W0 = np.zeros((N, M))
    W0[:2, :2] = [[0.0, 0.5], [-0.8, 1.0]]
    push = 0.5 * 0.8
    for lam, revives in ((push * 1.01, False), (push * 0.99, True)):
        run = integrate([Interference(), Regularization(lam)], W0, t_end=1e-3, backend=backend)
        assert (run.final[0, 0] > 0.0) == revives
        if not revives:
            assert run.final[0, 0] == 0.0
    run = integrate([Interference(), Regularization(0.1)], W0, t_end=1e-3, backend=backend)
    np.testing.assert_allclose(run.final[0, 0], (push - 0.1) * 1e-3, rtol=2e-3)


@pytest.mark.parametrize(
    ("scheme", "backend"),
    [
        (ProximalChebyshev(), "numba"),
        (ProximalChebyshev(), "diffrax"),
        (ProximalEuler(), "numba"),
    ],
    ids=["ours", "ours on diffrax", "euler"],
)
def test_zeros_are_bitwise_zero_where_nothing_pushes(scheme, backend):
    W0 = gaussian_init(N, M, seed=4)
    W0[:, ::2] = 0.0
    step = None if isinstance(scheme, ProximalChebyshev) else 0.01
    run = integrate(
        [FeatureBenefit(), Interference(), Regularization(0.05)],
        W0,
        t_end=20.0,
        scheme=scheme,
        fixed_step=step,
        backend=backend,
    )
    assert run.final[:, ::2].tobytes() == np.zeros((N, M // 2)).tobytes()
    dead = run.final == 0.0
    assert dead.mean() > 0.6
    assert not np.signbit(run.final[dead]).any()


def test_ratios_between_tolerances_shrink_whole_runs_errors():
    """Races amplify, so whole runs are compared by ratios, over seeds."""
    forces = [FeatureBenefit(), Interference(), Regularization(0.02)]
    ratios = []
    for seed in range(5):
        W0 = gaussian_init(16, 48, seed=seed, scale=0.9)
        finals = [integrate(forces, W0, t_end=40.0, rtol=r).final for r in (1e-3, 1e-5, 1e-8)]
        ratios.append(distance(finals[1], finals[2]) / distance(finals[0], finals[2]))
    # Order two at error per step r: global error goes as r^(2/3), i.e. 0.046 for 100.
    assert np.median(ratios) <= 0.2


def test_a_recurrence_takes_eight_bytes_a_coefficient():
    """Near rest steps have a thousand stages, and 512 recurrences are kept."""
    tracemalloc.start()
    recurrence = chebyshev_recurrence.__wrapped__(1000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held <= 1.2 * 8 * sum(map(len, recurrence))


@pytest.mark.parametrize("stages", [2, 3, 4, 7, 20, 90])
def test_the_chebyshev_recurrence_is_second_order_and_stable_on_its_interval(stages):
    """On y' = −y over h: 1 − h + h²/2 + O(h³), and |y| ≤ 1 up to the declared stability limit."""
    r = chebyshev_recurrence(stages)

    def solve(h):
        values, P, previous = [1.0], r.gamma_tilde[1], 0.0
        for j in range(1, stages):
            values.append(1.0 - h * P)
            P, previous = (
                r.mu[j + 1] * P
                + r.nu[j + 1] * previous
                + r.mu_tilde[j + 1] * values[-1]
                + r.gamma_tilde[j + 1],
                P,
            )
        return 1.0 - h * P

    for h in (1e-2, 2e-2):
        assert abs(solve(h) - (1.0 - h + 0.5 * h * h)) <= 0.2 * h**3
    limit = max(z for z in np.geomspace(1.0, 1e4, 400) if chebyshev_stages(z, 1.0) <= stages)
    assert limit >= 0.5 * (stages**2 - 1) or limit > 9e3
    for z in np.linspace(0.0, limit, 200):
        assert abs(solve(z)) <= 1.0 + 1e-9


@pytest.mark.parametrize("rtol", [1e-2, 3e-3, 1e-3])
@pytest.mark.parametrize("lam", [0.002, 0.008])
def test_a_malign_collision_ends_on_time_at_loose_tolerances_too(lam, rtol):
    """Its motion, λ per unit time, is a balance of growth and interference many steps long."""
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    a, b = 0.781, 0.625  # a² + b² = 1: the closed form holds without an offset
    run = integrate(forces, np.array([[a], [b]]), rtol=rtol)
    o = run.observables
    dead = np.flatnonzero(o.nonzeros[:, 1] == 0)[0]
    expected = float(race_time(a, b, lam))
    assert o.times[dead] >= 0.95 * expected
    assert o.times[dead - 1] <= 1.05 * expected
    assert run.status is Status.STATIONARY
    assert run.stats["accepted"] <= 250
