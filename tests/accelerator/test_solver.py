"""The solver in plain diffrax: a foreign equation, SaveAt, events, meters, vmap, derivatives."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.accelerator.solver import (
    ProximalChebyshevSolver,
    SemilinearTerm,
    flow_term,
    row_controller,
)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


# A foreign term: ℓ1-regularised least squares, ½‖Aw − b‖² + λ‖w‖₁ ------------------------------

TIMES = np.array([0.0, 0.01, 0.07, 0.15, 8.0])


@eqx.filter_jit
def descend(w0, A, b, lam, rtol, times):
    t0, t1 = times[0], times[-1]
    return diffrax.diffeqsolve(
        SemilinearTerm(rate=lambda t, w, args: -(A.T @ (A @ w - b)), l1=lam),
        ProximalChebyshevSolver(rtol=rtol),
        t0,
        t1,
        1e-3 * (t1 - t0),
        w0,
        stepsize_controller=row_controller(rtol, dtmin=1e-12),
        saveat=diffrax.SaveAt(ts=times, steps=True, t1=True),
        max_steps=512,
        throw=False,
    )


def least_squares():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 10)), rng.normal(size=30), np.array(4.0)


def known_limit(A, b, lam):
    """The minimiser by proximal gradient descent to rounding, and its optimality conditions."""
    w, step = np.zeros(A.shape[1]), 1.0 / np.linalg.norm(A, 2) ** 2
    for _ in range(5000):
        w = w - step * A.T @ (A @ w - b)
        w = np.sign(w) * np.maximum(np.abs(w) - step * lam, 0.0)
    pull = A.T @ (b - A @ w)
    np.testing.assert_allclose(pull[w != 0], lam * np.sign(w[w != 0]), rtol=1e-10)
    assert np.abs(pull[w == 0]).max() < lam
    return w


def test_a_foreign_term_reaches_its_known_limit_with_every_kind_of_saving():
    A, b, lam = least_squares()
    limit = known_limit(A, b, lam)
    assert 0 < np.count_nonzero(limit) < limit.size
    w0 = np.random.default_rng(1).normal(size=10)
    coarse, fine = (
        descend(w0, A, b, lam, rtol, TIMES) for rtol in (np.array(1e-3), np.array(1e-6))
    )
    assert coarse.result == diffrax.RESULTS.successful
    kept = np.isfinite(coarse.ts)
    for solution, rtol in ((coarse, 1e-3), (fine, 1e-6)):
        end = np.asarray(solution.ys)[np.isfinite(solution.ts)][-1]
        np.testing.assert_allclose(end, limit, atol=rtol)
        np.testing.assert_array_equal(end == 0.0, limit == 0.0)
    # What is saved inside steps, and at their ends, is as good as the tolerance.
    steps = coarse.stats["num_accepted_steps"]
    assert kept.sum() == TIMES.size + steps
    assert steps < fine.stats["num_accepted_steps"]
    for t in TIMES:
        one, other = (
            np.asarray(s.ys)[np.flatnonzero(np.asarray(s.ts) == t)[0]] for s in (coarse, fine)
        )
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_time_runs_forward_only_and_failure_has_a_name():
    A, b, lam = least_squares()
    with pytest.raises(Exception, match="unique forward in time only"):
        jax.block_until_ready(descend(np.ones(10), A, b, lam, np.array(1e-4), TIMES[::-1]).ys)
    broken = descend(np.full(10, np.nan), A, b, lam, np.array(1e-4), TIMES)
    assert broken.result == diffrax.RESULTS.max_steps_reached


def test_a_state_that_is_not_one_array_is_refused():
    with pytest.raises(ValueError, match="evolves one array of floats"):
        diffrax.diffeqsolve(
            SemilinearTerm(), ProximalChebyshevSolver(), 0.0, 1.0, 0.1, (jnp.ones(3), jnp.ones(3))
        )


# The flow: events, meters, jit, vmap --------------------------------------------------------------


@pytest.mark.long
def test_events_meters_jit_and_vmap_over_seeds_and_strengths(capsys):
    """Every member stops at its own time, at the end of the step by which half its weights died."""
    starts = np.stack([gaussian_init(4, 12, seed=s) for s in range(3)])
    lams = np.array([0.05, 0.1, 0.2])

    @jax.jit
    @jax.vmap
    def solve(W0, lam):
        term = flow_term([FeatureBenefit(), Interference(), Regularization(0.1)])
        return diffrax.diffeqsolve(
            eqx.tree_at(lambda term: term.l1, term, lam),
            ProximalChebyshevSolver(rtol=1e-6),
            0.0,
            50.0,
            1e-3,
            W0,
            stepsize_controller=row_controller(1e-6),
            event=diffrax.Event(lambda t, W, args, **_: jnp.sum(W != 0.0) <= 24),
            progress_meter=diffrax.TextProgressMeter(),
        )

    solution = solve(starts, lams)
    assert (solution.result == diffrax.RESULTS.event_occurred).all()
    ends = np.asarray(solution.ts)[:, 0]
    assert np.unique(ends).size == 3
    for W0, lam, t, W in zip(starts, lams, ends, solution.ys[:, 0], strict=True):
        alone = integrate(
            [FeatureBenefit(), Interference(), Regularization(lam)], W0, t_end=t, rtol=1e-6
        )
        np.testing.assert_allclose(W, alone.final, atol=1e-4)
        assert np.count_nonzero(W) <= 24
    assert "%" in capsys.readouterr().out


# Derivatives --------------------------------------------------------------------------------------

FORCES = [FeatureBenefit(), Interference(), Regularization(0.05)]


def measured(W, lam, direction, adjoint, max_stages=None):
    """direction · W(1) in eight steps of fixed length."""
    term = eqx.tree_at(lambda term: term.l1, flow_term(FORCES), lam)
    solution = diffrax.diffeqsolve(
        term, ProximalChebyshevSolver(rtol=1e-8, max_stages=max_stages), 0.0, 1.0, 0.125, W,
        stepsize_controller=diffrax.ConstantStepSize(), adjoint=adjoint, max_steps=8,
    )  # fmt: skip
    return jnp.sum(solution.ys[0] * direction)


@pytest.mark.long
def test_derivatives_in_both_modes_are_difference_quotients():
    rng = np.random.default_rng(2)
    # On the way: some weights are zero and stay so, others move.
    W = integrate(FORCES, gaussian_init(4, 12, seed=0), t_end=2.0).final
    direction = rng.normal(size=W.shape)
    shift = (rng.normal(size=W.shape) * (W != 0.0), 0.7)

    @jax.jit
    def forward(W, lam):
        return jax.jvp(
            lambda W, lam: measured(W, lam, direction, diffrax.ForwardMode()), (W, lam), shift
        )

    gradient = jax.jit(
        jax.grad(
            lambda W, lam: measured(W, lam, direction, diffrax.RecursiveCheckpointAdjoint(), 4),
            argnums=(0, 1),
        )
    )
    _, slope = forward(W, 0.05)
    step = 1e-6
    above, below = (forward(W + d * shift[0], 0.05 + d * shift[1])[0] for d in (step, -step))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-5)
    dW, dlam = gradient(W, 0.05)
    np.testing.assert_allclose(np.sum(dW * shift[0]) + dlam * shift[1], slope, rtol=1e-9)


@pytest.mark.long
def test_reverse_mode_without_a_bound_on_stages_is_refused_with_the_remedy():
    W = gaussian_init(4, 12, seed=0)
    with pytest.raises(RuntimeError, match=r"max_stages=\.\.\.\), or use adjoint=diffrax.Forward"):
        jax.grad(measured)(W, 0.05, W, diffrax.RecursiveCheckpointAdjoint())
