"""When a run ends, and under which name.

A run has come to rest where all |dW/dt| are below the tolerance, no row still grows, and no
direction of the non-zero weights goes downhill. Small weights that still grow are not at rest,
small ones that decay are; a point that something would leave is a saddle only if dW/dt is no larger
there than the rounding of the terms that cancel in it: otherwise the flow is on its way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flow.analysis.stationarity import certify
from flow.driver.problem import Problem
from flow.forces import Force
from flow.results.certificate import Certificate
from flow.results.status import Status

if TYPE_CHECKING:
    from flow.driver.loop import Run

STILL_GROWING = 1e-3
"""Rows that lengthen faster than this share of the fastest rate are on their way."""
CHECK_EVERY = 8
"""Accepted steps between two looks for a certificate of rest, where the last one was refused."""
DRIFT_AT_REST = 1e-2
"""Share of rtol by which weights at rest may still move in the time that is left."""


class Ending(NamedTuple):
    """How a run ended."""

    status: Status
    message: str
    """The status, with numbers."""
    certificate: Certificate | None = None
    """None unless the run ended at rest."""


def terminate(problem: Problem, run: Run) -> Ending | None:
    """Whether the run has got where it was sent, or has met a limit; None if it goes on."""
    options, t = problem.options, run.t
    if not np.isfinite(run.sums.violation).all():
        return Ending(Status.NON_FINITE, f"a weight became NaN or infinite at t = {t:g}")
    if run.until is not None and t >= run.until:
        return Ending(Status.REACHED_T_END, f"reached t_end = {t:g}")
    ending = _rest(problem, run)
    if ending is not None:
        return ending
    if run.accepted + run.rejected - run.tried_before >= options.max_steps:
        message = f"stopped at t = {t:g} after max_steps = {options.max_steps} steps"
        return Ending(Status.STEP_LIMIT, message)
    if time.perf_counter() - run.began > options.max_seconds:
        message = f"stopped at t = {t:g} after max_seconds = {options.max_seconds:g}"
        return Ending(Status.TIME_LIMIT, message)
    return None


def _rest(problem: Problem, run: Run) -> Ending | None:
    """The end of a run that has come to rest; what was still to come is W as it is."""
    sums, total = run.sums, problem.total
    if not sums.violation.max() <= problem.tolerance or run.accepted < run.next_check:
        return None
    growth = total.growth_constant - run.state.coupling.radial
    growth = growth - total.growth_quadratic * sums.squared_norm
    alive = sums.squared_norm > 0.0
    growth = growth[alive] - total.l1 * sums.l1[alive] / sums.squared_norm[alive]
    if growth.size and growth.max() > STILL_GROWING * total.scale:
        return None
    W = run.state.dense(problem.W0.shape[1])
    certificate = certify_rest(problem.forces, W, problem.tolerance)
    ahead = [*run.looks, *([] if run.until is None else [run.until])]
    left = max(ahead, default=run.t) - run.t
    if not (certificate.at_rest and _drift(certificate, left) <= DRIFT_AT_REST * problem.rtol):
        run.next_check = run.accepted + CHECK_EVERY
        return None
    ending = name_rest(certificate, run.t, problem.rtol)
    if ahead:
        ending = _wait(run, W, ending, max(ahead))
    return ending


def _drift(certificate: Certificate, left: float) -> float:
    """How far weights can move in the time `left`, from what dW/dt is: it decays if it can."""
    decay = 1.0 / certificate.curvature if certificate.curvature > 0.0 else np.inf
    return certificate.residual * min(left, decay)


def _wait(run: Run, W: np.ndarray, ending: Ending, end: float) -> Ending:
    """Let time pass at rest, up to `end`."""
    for t in run.looks:
        run.saved.add(t, W.copy())
    run.looks.clear()
    run.t = end
    run.recorder.add(end, run.state, run.sums)
    if run.until is None:
        return ending
    message = f"reached t_end = {end:g}, {ending.message}"
    return Ending(Status.REACHED_T_END, message, ending.certificate)


def certify_rest(forces: Sequence[Force], W: np.ndarray, tolerance: float) -> Certificate:
    """The certificate of W : (n, m), with its curvature."""
    return certify(forces, W, tolerance=tolerance, curvature=True)


def name_rest(certificate: Certificate, t: float, rtol: float) -> Ending:
    """STATIONARY or SADDLE, for a certificate of rest at flow time t of a run with that rtol."""
    about = f"{float(f'{t:.{digits(rtol)}g}'):g}"
    if certificate.saddle:
        message = f"at rest on a saddle since t ≈ {about}, curvature {certificate.curvature:.1e}"
        return Ending(Status.SADDLE, message, certificate)
    message = f"stationary since t ≈ {about}, residual {certificate.residual:.1e}"
    return Ending(Status.STATIONARY, message, certificate)


def digits(rtol: float) -> int:
    """How many digits of a time of rest are worth showing.

    Rest is found at the end of a step, and races amplify errors: at rtol 5e-3, 1e-3 and 1e-4 the
    time is off by 17, 7 and 1 % (median of ten runs, n = 32, m = 64), and by 1 % at 1e-6, too. The
    closed form knows it.
    """
    return 6 if rtol < 1e-8 else 1 if rtol > 3e-4 else 2
