"""When a run ends, and under which name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flow.analysis.stationarity import certify
from flow.driver.problem import Problem
from flow.forces import Force, Slots
from flow.results.certificate import Certificate
from flow.results.status import Status

if TYPE_CHECKING:
    from flow.driver.loop import Run


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
    if options.t_end is not None and t >= options.t_end:
        return Ending(Status.REACHED_T_END, f"reached t_end = {t:g}")
    if not np.isfinite(run.sums.violation).all():
        return Ending(Status.NON_FINITE, f"a weight became NaN or infinite at t = {t:g}")
    if options.t_end is None and not run.looks:
        ending = _rest(problem, run)
        if ending is not None:
            return ending
    if run.accepted + run.rejected >= options.max_steps:
        message = f"stopped at t = {t:g} after max_steps = {options.max_steps} steps"
        return Ending(Status.STEP_LIMIT, message)
    if time.perf_counter() - run.began > options.max_seconds:
        message = f"stopped at t = {t:g} after max_seconds = {options.max_seconds:g}"
        return Ending(Status.TIME_LIMIT, message)
    return None


def _rest(problem: Problem, run: Run) -> Ending | None:
    """The end of a run that has come to rest, by the definition of the forces."""
    if not run.sums.violation.max() <= problem.tolerance:
        return None
    W = run.state.dense(problem.W0.shape[1])
    certificate = certify_rest(problem.forces, problem.total, W, problem.tolerance)
    return name_rest(certificate, run.t) if certificate.stationary else None


def certify_rest(
    forces: Sequence[Force], total: Slots, W: np.ndarray, tolerance: float
) -> Certificate:
    """The certificate of W : (n, m), with its curvature where ℓ1 makes rest points isolated."""
    return certify(forces, W, tolerance=tolerance, curvature=total.l1 > 0.0)


def name_rest(certificate: Certificate, t: float) -> Ending:
    """STATIONARY or SADDLE, for a certificate of rest at flow time t."""
    if certificate.saddle:
        message = f"at rest on a saddle at t = {t:g}, curvature {certificate.curvature:.1e}"
        return Ending(Status.SADDLE, message, certificate)
    message = f"stationary at t = {t:g}, residual {certificate.residual:.1e}"
    return Ending(Status.STATIONARY, message, certificate)
