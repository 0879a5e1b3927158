"""Noise as a force: expectations, their gradients, and the flow they make."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from flow import (
    FeatureBenefit,
    Interference,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    Status,
    gaussian_init,
    integrate,
    velocity,
)
from flow.forces import sum_forces
from flow.forces.noise import ENUMERATED, Outputs, law, nodes
from flow.integrators.field import Field
from tests.strategies import log_uniform, seeds, weights
from theory.noise import (
    expected_rectified,
    expected_rectified_square,
    noise_law,
    simplex_with_one_stuck,
)

LAWS = ("bipolar", "uniform", "normal", "laplace", "student-t:3", "student-t:5", "student-t:9")
each_law = pytest.mark.parametrize("name", LAWS)
sigmas = log_uniform(0.03, 1.0)
accuracies = st.sampled_from([1e-3, 1e-4, 1e-5])


def in_theory(name):
    head, _, df = name.partition(":")
    return noise_law(head, float(df) if df else None)


def both(sigma, name, strength=1.0, accuracy=1e-4):
    return [
        NoisyFeatureBenefit(sigma, name, strength, accuracy),
        NoisyInterference(sigma, name, strength, accuracy),
    ]


def over_all_patterns(W, sigma):
    """Loss on own outputs and on others', exactly, with bipolar noise; c = 4."""
    m = W.shape[1]
    own = others = 0.0
    for i, row in enumerate(W):
        signs = np.array(list(itertools.product((-sigma, sigma), repeat=m)))
        y = np.maximum((row + signs) @ W.T, 0.0)
        own += np.mean((1.0 - y[:, i]) ** 2)
        others += np.sum(np.mean(y**2, axis=0)) - np.mean(y[:, i] ** 2)
    return own, others


# Expectations ------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(W=weights(n=(1, 4), m=(1, 9), scale=(0.1, 1.5)), sigma=sigmas, accuracy=accuracies)
def test_bipolar_energies_are_the_loss_averaged_over_all_patterns(W, sigma, accuracy):
    own, others = over_all_patterns(W, sigma)
    benefit, interference = both(sigma, "bipolar", 4.0, accuracy)
    s = sigma * np.linalg.norm(W, axis=1)
    n = W.shape[0]
    assert abs(interference.energy(W) - others) <= n * accuracy * np.sum(s**2) + 1e-12
    # e is the slope of f: its error is of the order of the square root, at the worst.
    allowed = np.sum(accuracy * s**2 + np.sqrt(accuracy) * s)
    assert abs(benefit.energy(W) - own) <= allowed + 1e-12


@given(W=weights(n=(1, 4), m=(1, ENUMERATED), scale=(0.1, 1.5)), sigma=sigmas)
def test_rows_with_few_weights_are_exact(W, sigma):
    W = np.pad(W, ((0, 0), (0, 3)))
    own, others = over_all_patterns(W, sigma)
    benefit, interference = both(sigma, "bipolar", 4.0)
    np.testing.assert_allclose(interference.energy(W), others, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(benefit.energy(W), own, rtol=1e-11)


@each_law
@pytest.mark.parametrize("m", [1, 3, 12])
def test_every_law_keeps_to_the_accuracy_asked_for(name, m):
    """Against the Fourier integral by brute force (bipolar: enumeration)."""
    row = np.random.default_rng(m).normal(size=m)
    sigma = 0.2
    s = sigma * np.linalg.norm(row)
    g = s * np.array([-7.0, -2.0, -0.4, 0.0, 1.3, 30.0])
    method = "enumeration" if name == "bipolar" else "fourier"
    f = expected_rectified_square(g, row, sigma, in_theory(name), method)
    e = expected_rectified(g, row, sigma, in_theory(name), method)
    for accuracy in (1e-4, 1e-6):
        out = Outputs(row[None], g[None], sigma, name, accuracy)
        assert np.abs(out.square()[0] - f).max() <= accuracy * s**2
        assert np.abs(out.mean()[0] - e).max() <= 0.5 * accuracy**0.5 * s


@each_law
def test_probability_is_the_slope_of_the_mean(name):
    row = np.random.default_rng(4).normal(size=14)
    g = np.linspace(-3.0, 3.0, 11) * 0.3
    slope = [Outputs(row[None], (g + d)[None], 0.3, name, 1e-7) for d in (1e-4, 0.0, -1e-4)]
    difference = (slope[0].mean() - slope[2].mean()) / 2e-4
    # Bipolar: p is a staircase, here of 2^14 steps.
    np.testing.assert_allclose(slope[1].probability(), difference, atol=2e-3)


@each_law
def test_negative_and_positive_outputs_add_up_to_the_square(name):
    """f(g) + f(−g) = g² + s² and e(g) − e(−g) = g, for any symmetric law."""
    W = np.random.default_rng(0).normal(size=(3, 10))
    g = np.array([[0.1, 1.0, 40.0]] * 3)
    up, down = (Outputs(W, x, 0.2, name, 1e-4) for x in (g, -g))
    square = g**2 + 0.04 * np.sum(W**2, axis=1)[:, None]
    np.testing.assert_allclose(up.square() + down.square(), square, rtol=1e-12)
    np.testing.assert_allclose(up.mean() - down.mean(), g, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(up.probability() + down.probability(), 1.0, rtol=1e-12)


@each_law
def test_transforms_come_with_their_own_logarithmic_slope(name):
    theta = np.concatenate([np.geomspace(1e-4, 0.1, 20), np.linspace(0.11, 3.0, 20)])
    transform, step = law(name).transform, 1e-6
    value, slope = transform(np, theta)
    np.testing.assert_allclose(value, in_theory(name).characteristic(theta), rtol=1e-6, atol=1e-9)
    up, down = (np.log(np.abs(transform(np, theta + d)[0])) for d in (step, -step))
    np.testing.assert_allclose(slope, (down - up) / (2.0 * step), rtol=1e-4, atol=2e-9)


@pytest.mark.parametrize("df", [3, 5])
def test_heavy_tails_go_on_as_power_laws_beyond_reach(df):
    name, row, sigma = f"student-t:{df}", np.array([0.7]), 0.2
    s = sigma * np.linalg.norm(row)
    g = -s * nodes(name, 1e-4).reach * np.array([1.5, 3.0])
    out = Outputs(row[None], g[None], sigma, name, 1e-4)
    f = expected_rectified_square(g, row, sigma, in_theory(name))
    e = expected_rectified(g, row, sigma, in_theory(name))
    np.testing.assert_allclose(out.square()[0], f, rtol=0.15)
    np.testing.assert_allclose(out.mean()[0], e, rtol=0.15)


# Gradients ---------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    W=weights(n=(1, 4), m=(1, 10)), sigma=log_uniform(0.05, 0.6), seed=seeds,
    name=st.sampled_from([name for name in LAWS if name != "bipolar"]),
)  # fmt: skip
def test_rates_are_minus_the_gradient_of_the_energies(W, sigma, seed, name):
    direction = np.random.default_rng(seed).normal(size=W.shape)
    step = 1e-5
    for force in both(sigma, name, accuracy=1e-7):
        slope = force.energy(W + step * direction) - force.energy(W - step * direction)
        expected = -np.sum(force.rate(W) * direction)
        scale = np.abs(force.rate(W) * direction).sum() + sigma
        assert abs(slope / (2.0 * step) - expected) <= 2e-5 * scale


def test_bipolar_rates_are_the_autodiff_gradient_over_all_patterns_to_1e_8():
    """Spread rows whose own output stays on, or switches off (there the rate jumps where a
    pattern does, and only rows with few weights are exact)."""
    jax = pytest.importorskip("jax")
    n, m = 3, 12
    patterns = np.array(list(itertools.product((-1.0, 1.0), repeat=m)))

    def losses(W, signs):
        y = jax.numpy.maximum((W[:, None, :] + signs) @ W.T, 0.0)
        mean = jax.numpy.mean((y - jax.numpy.eye(n)[:, None, :]) ** 2, axis=1)
        return jax.numpy.trace(mean), mean.sum() - jax.numpy.trace(mean)

    spread = gaussian_init(n, m, seed=0)
    few = np.where(np.random.default_rng(1).permuted(np.arange(m) < ENUMERATED * np.ones((n, 1)),
                                                     axis=1), spread, 0.0)  # fmt: skip
    for W, sigma, allowed in ((spread, 0.15, (1e-8, 1e-8)), (spread, 0.5, (5e-6, 1e-8)),
                              (few, 0.6, (1e-8, 1e-8))):  # fmt: skip
        with jax.enable_x64(True):
            exact = [np.asarray(g) for g in jax.jacrev(losses)(W, sigma * patterns)]
        for force, gradient, atol in zip(
            both(sigma, "bipolar", 4.0, 1e-11), exact, allowed, strict=True
        ):
            np.testing.assert_allclose(force.rate(W), -gradient, rtol=0, atol=atol)


@each_law
def test_rows_block_by_block_are_the_rows_together(name, monkeypatch):
    W, forces = gaussian_init(7, 9, seed=1), both(0.2, name)
    together = [(force.energy(W), force.rate(W)) for force in forces]
    monkeypatch.setattr(
        "flow.forces.noise.BLOCK", 2 * 9 * max(2**ENUMERATED, nodes(name, 1e-4).u.size)
    )
    for force, (energy, rate) in zip(forces, together, strict=True):
        np.testing.assert_allclose(force.energy(W), energy, rtol=1e-13)
        np.testing.assert_allclose(force.rate(W), rate, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["bipolar", "student-t:5"])
def test_jax_reads_the_same_lines_under_jit(name):
    jax = pytest.importorskip("jax")
    W = gaussian_init(4, 8, seed=3)
    forces = both(0.2, name)
    with jax.enable_x64(True):
        seen = jax.jit(lambda W: [(force.rate(W), force.energy(W)) for force in forces])(W)
    for force, (rate, energy) in zip(forces, seen, strict=True):
        np.testing.assert_allclose(rate, force.rate(W), atol=1e-9)
        np.testing.assert_allclose(energy, force.energy(W), rtol=1e-9)


@given(W=weights(n=(1, 5), m=(1, 10)), name=st.sampled_from(LAWS), sigma=log_uniform(1e-12, 1e-2))
def test_without_noise_the_noiseless_forces_are_left(W, name, sigma):
    """|e − ReLU(g)| ≤ s/2 and |∂f/∂W| ≤ 2(|g| + s)σ bound the difference by O(σ)."""
    plain = FeatureBenefit(1.3).rate(W) + Interference(1.3).rate(W)
    size, n = float(np.max(np.linalg.norm(W, axis=1))), W.shape[0]
    bound = 2.0 * 1.3 * n * sigma * size * (1.0 + size) * (1.0 + sigma)
    noisy = sum(force.rate(W) for force in both(sigma, name, 1.3))
    # The own output only switches off where ‖W_i‖ is not large against σ.
    if np.linalg.norm(W, axis=1).min() > 40.0 * sigma or name == "bipolar":
        assert np.abs(noisy - plain).max() <= bound + 1e-12
    none = sum(force.rate(W) for force in both(0.0, name, 1.3))
    np.testing.assert_allclose(none, plain, rtol=1e-12, atol=1e-12)


# Laws of the forces ------------------------------------------------------------------------------


@given(W=weights(n=(2, 5), m=(2, 8)), seed=seeds)
def test_normal_noise_prefers_no_direction(W, seed):
    m = W.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(m, m)))[0]
    for force in both(0.2, "normal"):
        np.testing.assert_allclose(force.energy(W @ rotation), force.energy(W), rtol=1e-10)
        turned = force.rate(W @ rotation)
        np.testing.assert_allclose(turned, force.rate(W) @ rotation, rtol=1e-9, atol=1e-12)


@each_law
@given(seed=seeds)
@settings(max_examples=10)
def test_an_output_that_is_on_never_turns(name, seed):
    """One feature alone, away from where noise switches its output off."""
    W = np.random.default_rng(seed).normal(size=(1, 12))
    W *= 1.2 / np.linalg.norm(W)
    rate = NoisyFeatureBenefit(0.03, name).rate(W)
    across = rate - np.sum(rate * W) / np.sum(W * W) * W
    heavy = name.startswith("student")  # some of that noise is large, whatever its σ
    assert np.abs(across).max() <= (2e-4 if heavy else 1e-12)


@settings(max_examples=12)
@given(W=weights(n=(2, 4), m=(1, 5)), name=st.sampled_from(LAWS), sigma=log_uniform(0.05, 0.5))
def test_no_direction_relaxes_faster_than_the_stiffness_says(W, name, sigma):
    kinks = name == "bipolar"  # there the own output's rate jumps: no rate is fast enough
    for force in both(sigma, name, accuracy=1e-6)[kinks:]:
        step, size = 1e-4, W.size
        jacobian = np.empty((size, size))
        for k, e in enumerate(np.eye(size).reshape(size, *W.shape)):
            change = force.drift(W + step * e) - force.drift(W - step * e)
            jacobian[k] = -change.ravel() / (2.0 * step)
        fastest = np.linalg.eigvalsh(0.5 * (jacobian + jacobian.T))[-1]
        assert fastest <= 1.02 * force.stiffness(W) + 1e-3


def test_a_noisy_force_beside_the_one_it_replaces_is_refused():
    for noisy, plain in zip(both(0.1, "normal"), (FeatureBenefit(), Interference()), strict=True):
        message = f"{type(noisy).__name__} replaces {type(plain).__name__}, got both"
        with pytest.raises(ValueError, match=message):
            integrate([plain, noisy], gaussian_init(2, 3, seed=0))
    noisy = both(0.1, "normal")
    assert sum_forces([noisy[0], Interference()]).drifts == (noisy[0],)
    assert sum_forces([FeatureBenefit(), noisy[1]]).drifts == (noisy[1],)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": -0.1}, "sigma. must be a finite number >= 0"),
        ({"sigma": float("nan")}, "sigma. must be a finite number >= 0"),
        ({"distribution": "gaussian"}, "one of bipolar, uniform, normal, laplace, student"),
        ({"distribution": "student-t"}, "with DF an odd whole number from 3 to 99"),
        ({"distribution": "student-t:4"}, "odd whole number from 3 to 99"),
        ({"distribution": "student-t:1"}, "odd whole number from 3 to 99"),
        ({"distribution": "student-t:101"}, "odd whole number from 3 to 99"),
        ({"distribution": "normal:5"}, "one of bipolar, uniform, normal, laplace, student"),
        ({"accuracy": 0.0}, "accuracy. must lie between 0 and 1"),
    ],
)
def test_noise_that_cannot_be_is_refused(change, message):
    for force in both(0.1, "bipolar"):
        with pytest.raises(ValueError, match=message):
            replace(force, **change)


@each_law
def test_nodes_grow_with_accuracy_only_where_there_is_something_to_integrate(name):
    counts = [nodes(name, accuracy).u.size for accuracy in (1e-2, 1e-4, 1e-6)]
    assert counts == sorted(counts)
    assert (counts[-1] == 0) == (name == "normal")
    assert law(name).envelope(50.0) <= 1.0


# In the flow -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bipolar", "normal", "student-t:5"])
def test_the_integrator_follows_a_general_one(name):
    """λ = 0, against LSODA on the same rate."""
    forces, W0 = both(0.2, name, 4.0), gaussian_init(4, 6, seed=2)
    run = integrate(forces, W0, t_end=4.0, rtol=1e-5)
    exact = solve_ivp(
        lambda t, y: velocity(forces, y.reshape(W0.shape)).ravel(),
        (0.0, 4.0), W0.ravel(), method="LSODA", rtol=1e-7, atol=1e-9,
    )  # fmt: skip
    assert run.status is Status.REACHED_T_END
    np.testing.assert_allclose(run.final, exact.y[:, -1].reshape(W0.shape), atol=2e-3)


@pytest.mark.parametrize("lam", [0.0, 0.01])
@pytest.mark.parametrize("name", ["bipolar", "laplace"])
def test_energy_falls_at_the_rate_of_dissipation(name, lam):
    forces = [*both(0.15, name), Regularization(lam)]
    run = integrate(forces, gaussian_init(4, 6, seed=0), t_end=20.0, rtol=1e-4)
    seen = run.observables
    total, rate, dt = seen.total_energy, seen.dissipation, np.diff(seen.times)
    assert (np.diff(total) <= 1e-9).all()
    lost = np.sum(0.5 * (rate[1:] + rate[:-1]) * dt)
    np.testing.assert_allclose(total[0] - total[-1], lost, rtol=0.05)


@pytest.mark.parametrize("name", ["bipolar", "uniform", "normal", "laplace", "student-t:5"])
def test_where_l1_is_strong_features_vanish_under_noise(name):
    """Outputs that noise turns on push a row out with a force that stays as the row vanishes."""
    forces = [*both(0.2, name), Regularization(0.4)]
    run = integrate(forces, gaussian_init(4, 6, seed=1))
    assert run.status is Status.STATIONARY
    assert not run.final.any()
    assert (np.diff(run.observables.times) > 0.0).all()


def test_with_l1_the_noisy_flow_comes_to_rest_with_exact_zeros():
    forces = [*both(0.1, "bipolar"), Regularization(0.02)]
    run = integrate(forces, gaussian_init(6, 12, seed=1))
    assert run.status is Status.STATIONARY
    assert (run.observables.nonzeros[-1] < 12).all()
    assert run.parameters["forces"][1] == {
        "name": "NoisyInterference", "sigma": 0.1, "distribution": "bipolar",
        "strength": 1.0, "accuracy": 1e-4,
    }  # fmt: skip


@pytest.mark.parametrize("alone", [False, True], ids=["both", "interference alone"])
def test_under_noise_c_lambda_t_and_1_lambda_over_c_ct_describe_the_same_path(alone):
    """(c, λ, t) and (1, λ/c, c t) describe the same path."""
    W0 = gaussian_init(5, 7, seed=3)
    slow, fast = (both(0.15, "uniform", c)[alone:] for c in (1.0, 4.0))
    one = integrate([*slow, Regularization(0.01)], W0, t_end=20.0)
    four = integrate([*fast, Regularization(0.04)], W0, t_end=5.0)
    np.testing.assert_allclose(one.final, four.final, atol=1e-10)
    assert one.stats["accepted"] == four.stats["accepted"]


MIXED = {
    "noise on both": both(0.15, "laplace"),
    "noise on the benefit": [NoisyFeatureBenefit(0.15, "normal", 0.7), Interference(1.3)],
    "noise on interference": [FeatureBenefit(0.7), NoisyInterference(0.15, "normal", 1.3)],
}
each_mixture = pytest.mark.parametrize("forces", MIXED.values(), ids=MIXED.keys())


@pytest.mark.parametrize(
    "forces", [*MIXED.values(), both(0.15, "bipolar")], ids=[*MIXED.keys(), "bipolar"]
)
@given(W=weights(n=(1, 5), m=(1, 9)))
@settings(max_examples=20)
def test_a_field_with_noise_is_the_velocity(forces, W):
    slots = sum_forces(forces)
    state = Field(slots, *W.shape, W.dtype).init(W)
    growth = slots.growth_constant - slots.growth_quadratic * np.sum(W * W, axis=1)
    growth -= state.coupling.radial
    rate = growth[:, None] * W - state.C.reshape(W.shape)
    np.testing.assert_allclose(rate, velocity(forces, W), rtol=1e-12, atol=1e-13)


@each_mixture
@given(W=weights(n=(1, 5), m=(1, 9)))
@settings(max_examples=20)
def test_the_drift_of_a_field_with_noise_is_perpendicular_to_its_row(forces, W):
    state = Field(sum_forces(forces), *W.shape, W.dtype).init(W)
    along = np.sum(state.C.reshape(W.shape) * W, axis=1)
    np.testing.assert_allclose(along, 0.0, atol=1e-14)


@each_mixture
@given(W=weights(n=(2, 5), m=(30, 40)), seed=seeds)
@settings(max_examples=20)
def test_a_field_with_noise_is_the_velocity_however_few_weights_are_left(forces, W, seed):
    W[np.random.default_rng(seed).random(W.shape) < 0.98] = 0.0
    forces = [*forces, Regularization(0.1)]
    field = Field(sum_forces(forces), *W.shape, W.dtype)
    fastest = field.row_sums(field.init(W)).violation
    np.testing.assert_allclose(fastest, np.abs(velocity(forces, W)).max(axis=1), rtol=1e-12)


@each_mixture
@given(W=weights(n=(1, 4), m=(1, 5)))
@settings(max_examples=20)
def test_no_direction_of_a_field_with_noise_relaxes_faster_than_its_stiffness_says(forces, W):
    """The drift's share: what is left of the rate without the row growth."""
    slots = sum_forces(forces)
    stiffness = Field(slots, *W.shape, W.dtype).init(W).stiffness

    def drift(A):
        growth = slots.growth_constant - slots.growth_quadratic * np.sum(A * A, axis=1)
        return velocity(forces, A) - growth[:, None] * A

    step = 1e-4
    jacobian = [
        ((drift(W - step * E) - drift(W + step * E)) / (2.0 * step)).ravel()
        for E in np.eye(W.size).reshape(-1, *W.shape)
    ]
    fastest = np.linalg.eigvalsh(0.5 * (np.array(jacobian) + np.transpose(jacobian)))[-1]
    assert fastest <= 1.02 * stiffness + 1e-3


@pytest.mark.parametrize("lam", [0.0, 0.01])
def test_no_closed_form_under_noise_and_auto_knows(lam):
    W0 = gaussian_init(3, 5, seed=0)
    forces = [NoisyFeatureBenefit(0.1, "normal"), Regularization(lam)]
    with pytest.raises(ValueError, match="act on each row alone and without noise"):
        integrate(forces, W0, t_end=1.0, backend="exact")
    assert integrate(forces, W0, t_end=1.0).parameters["backend"] == "numba"


@pytest.mark.long
@pytest.mark.parametrize("name", ["bipolar", "normal"])
def test_numba_and_diffrax_converge_to_one_path_under_noise(name):
    """Both at their tolerances: they converge to one path."""
    pytest.importorskip("diffrax")
    W0 = gaussian_init(8, 12, seed=0)
    for lam in (0.0, 0.01):
        forces = [*both(0.15, name, 4.0), Regularization(lam)]
        ends = [
            [integrate(forces, W0, t_end=100.0, rtol=rtol, backend=backend).final
             for backend in ("numba", "diffrax")]
            for rtol in (5e-3, 2e-4)
        ]  # fmt: skip
        apart = [np.abs(a - b).max() for a, b in ends]
        assert apart[0] < 0.02
        assert apart[1] < 0.003


SIGNS = {"bipolar": 1, "uniform": 1, "normal": 0, "laplace": -1, "student-t:5": -1}


@pytest.mark.parametrize("name", SIGNS)
def test_the_flow_makes_sparse_by_the_sign_of_the_kurtosis(name):
    """No step size anywhere; n = 8, m = 12, σ = 0.15, c = 4, t = 200 (theory/README, section 6)."""
    run = integrate(both(0.15, name, 4.0), gaussian_init(8, 12, seed=0), t_end=200.0)
    start, end = run.observables.l4[0].mean(), run.observables.l4[-1].mean()
    if SIGNS[name] == 0:
        assert abs(end - start) < 0.005
    else:
        assert SIGNS[name] * (end - start) > 0.04


def test_bipolar_noise_ends_in_the_simplex_with_one_stuck_encoding():
    """Figures 4 and 7, at the length of the paper's runs."""
    run = integrate(both(0.15, "bipolar", 4.0), gaussian_init(8, 12, seed=0), t_end=2000.0)
    W = run.final / np.linalg.norm(run.final, axis=1, keepdims=True)
    ideal = simplex_with_one_stuck(8)
    np.testing.assert_allclose(W @ W.T, ideal @ ideal.T, atol=0.02)
    fourth, expected = (np.sort(np.sum(V**4, axis=1)) for V in (W, ideal))
    np.testing.assert_allclose(fourth, expected, atol=0.02)
