"""Work–precision: our scheme against what a user would otherwise pick, error beside cost.

n = 32, m = 128, λ = 0.02, T = 200, starts of scale 0.9. The error is the largest over the final W
against our scheme at rtol 1e-9; races amplify, so it is a median over seeds. Peers get the literal
field −λ·sign(W) with sign(0) = 0, as one would write it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from benchmarks.tables import Table
from flow import FeatureBenefit, Force, Interference, Regularization, gaussian_init, integrate
from flow.integrators.schemes import ProximalEuler

N, M, LAM, T_END, SCALE = 32, 128, 0.02, 200.0, 0.9
FORCES: list[Force] = [FeatureBenefit(), Interference(), Regularization(LAM)]
MOST_EVALUATIONS = 100_000
"""A peer that has not arrived after this many evaluations is a row that says so."""
MOST_EVALUATIONS_FAST = 3_000

Result = tuple[np.ndarray | None, int, float]
"""Final W or None, evaluations, seconds."""


class _OutOfBudget(Exception):
    pass


def _literal_field(
    smooth_sign: float | None, most: int
) -> tuple[Callable[..., np.ndarray], list[int]]:
    """dW/dt as a user would write it, and a counter; tanh(W/ε) for sign(W) if ε is given."""
    count = [0]

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        count[0] += 1
        if count[0] > most:
            raise _OutOfBudget
        W = y.reshape(N, M)
        G = W @ W.T
        np.fill_diagonal(G, 0.0)
        np.maximum(G, 0.0, out=G)
        sign = np.sign(W) if smooth_sign is None else np.tanh(W / smooth_sign)
        growth = 1.0 - np.einsum("ik,ik->i", W, W)
        return (growth[:, None] * W - G @ W - LAM * sign).ravel()

    return rate, count


def _scipy(method: str, rtol: float, atol: float, most: int, smooth: float | None = None) -> Any:
    def solve(W0: np.ndarray) -> Result:
        rate, count = _literal_field(smooth, most)
        began = time.perf_counter()
        try:
            solution = solve_ivp(
                rate, (0.0, T_END), W0.ravel(), method=method, rtol=rtol, atol=atol
            )
            final = solution.y[:, -1].reshape(N, M) if solution.success else None
        except _OutOfBudget:
            final = None
        return final, count[0], time.perf_counter() - began

    return solve


def _euler(step: float) -> Any:
    """Forward Euler that sets weights to zero when they change sign, as the authors do."""

    def solve(W0: np.ndarray) -> Result:
        rate, count = _literal_field(None, 10**9)
        W = W0.ravel().copy()
        began = time.perf_counter()
        for _ in range(round(T_END / step)):
            new = W + step * rate(0.0, W)
            new[new * W < 0.0] = 0.0
            W = new
        return W.reshape(N, M), count[0], time.perf_counter() - began

    return solve


def _tsit5(rtol: float, most: int) -> Any:
    def solve(W0: np.ndarray) -> Result:
        import diffrax
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)

        def rate(t: Any, W: Any, args: Any) -> Any:
            G = jnp.maximum(W @ W.T, 0.0) * (1.0 - jnp.eye(N))
            return (1.0 - (W * W).sum(1))[:, None] * W - G @ W - LAM * jnp.sign(W)

        @jax.jit
        def run(W: Any) -> Any:
            return diffrax.diffeqsolve(
                diffrax.ODETerm(rate),
                diffrax.Tsit5(),
                0.0,
                T_END,
                1e-3,
                W,
                stepsize_controller=diffrax.PIDController(rtol=rtol, atol=1e-2 * rtol),
                max_steps=most // 6,
                saveat=diffrax.SaveAt(t1=True),
                throw=False,
            )

        jax.block_until_ready(run(jnp.asarray(W0)).ys)  # compile time is not counted
        began = time.perf_counter()
        solution = run(jnp.asarray(W0))
        final = np.asarray(solution.ys)[0]
        seconds = time.perf_counter() - began
        done = solution.result == diffrax.RESULTS.successful
        evaluations = 6 * int(solution.stats["num_steps"])
        return (final if bool(done) else None), evaluations, seconds

    return solve


def _ours(**arguments: Any) -> Any:
    def solve(W0: np.ndarray) -> Result:
        run = integrate(FORCES, W0, t_end=T_END, **arguments)
        return run.final, run.stats["evaluations"], run.stats["seconds"]

    return solve


def precision(fast: bool) -> Table:
    """Work–precision at n=32, m=128, λ=0.02, T=200: evaluations and time beside final error."""
    seeds = 3 if fast else 20
    starts = [gaussian_init(N, M, seed=seed, scale=SCALE) for seed in range(seeds)]
    integrate(FORCES, starts[0], t_end=1.0)
    reference_rtol = 1e-6 if fast else 1e-9
    references = [integrate(FORCES, W0, t_end=T_END, rtol=reference_rtol).final for W0 in starts]
    methods: list[tuple[str, str, Any, int]] = [
        ("ours", f"rtol {rtol:.0e}", _ours(rtol=rtol), seeds)
        for rtol in (1e-2, 5e-3, 1e-3, 7e-4, 3e-4, 1e-4, 1e-5)
    ]
    methods += [
        ("proximal Euler", f"step {h}", _ours(scheme=ProximalEuler(), fixed_step=h), seeds)
        for h in (0.2, 0.02)
    ]
    slow = 3
    most = MOST_EVALUATIONS_FAST if fast else MOST_EVALUATIONS
    methods += [("Euler, sign changes set to 0", f"step {h}", _euler(h), slow) for h in (0.2, 0.02)]
    methods += [
        ("SciPy RK45", "rtol 1e-3, atol 1e-5", _scipy("RK45", 1e-3, 1e-5, most), slow),
        ("SciPy RK45", "rtol 1e-5, atol 1e-7", _scipy("RK45", 1e-5, 1e-7, most), slow),
        ("SciPy LSODA", "rtol 1e-3, atol 1e-5", _scipy("LSODA", 1e-3, 1e-5, most), slow),
        ("RK45 with tanh(W/ε)", "ε 1e-3, rtol 1e-3", _scipy("RK45", 1e-3, 1e-5, most, 1e-3), slow),
        ("diffrax Tsit5", "rtol 1e-3", _tsit5(1e-3, most), slow),
    ]
    if not fast:
        methods.append(("SciPy BDF", "rtol 1e-3, atol 1e-5", _scipy("BDF", 1e-3, 1e-5, most), 1))
    rows = []
    for name, setting, solve, count in methods:
        results = [solve(W0) for W0 in starts[:count]]
        errors = [
            float(np.abs(final - reference).max())
            for (final, _, _), reference in zip(results, references[:count], strict=True)
            if final is not None
        ]
        evaluations = float(np.median([r[1] for r in results]))
        seconds = float(np.median([r[2] for r in results]))
        if len(errors) == count:
            shown = [float(np.median(errors)), float(np.quantile(errors, 0.9))]
        else:
            shown = ["not finished"] * 2  # type: ignore[list-item]
        rows.append([name, setting, count, evaluations, seconds, *shown])
    columns = ["method", "setting", "seeds", "evaluations", "median s", "median error", "90 %"]
    return columns, rows
