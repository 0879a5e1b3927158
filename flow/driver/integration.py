"""integrate(): one run, from its arguments to its trajectory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flow.defaults import DEFAULT_RTOL, Backend
from flow.driver.problem import RunOptions, make_problem
from flow.driver.progress import compiling_said
from flow.driver.simulation import Callback, Simulation
from flow.forces import Force
from flow.integrators.schemes import Scheme
from flow.results.trajectory import Trajectory


def integrate(
    forces: Sequence[Force],
    W0: np.ndarray,
    *,
    t_end: float | None = None,
    save_at: Iterable[float] | None = None,
    rtol: float = DEFAULT_RTOL,
    backend: Backend = "auto",
    threads: int | None = None,
    progress: bool = False,
    metadata: Mapping[str, Any] | None = None,
    events: bool = False,
    overlap_events: bool = False,
    scheme: Scheme | None = None,
    fixed_step: float | None = None,
    t_start: float = 0.0,
    first_step: float | None = None,
    stationarity_tol: float | None = None,
    max_steps: int = 100_000,
    max_seconds: float = math.inf,
    callback: Callback | None = None,
    film: int | bool = False,
    mesh: Any = None,
) -> Trajectory:
    """Run dW/dt = Σ forces from W0, to `t_end` or until it comes to rest.

    Parameters
    ----------
    forces : any subset of the forces, none included; a force that is absent is off.
    W0 : (n, m) finite weights, float32 or float64; the run keeps its dtype. Large loose runs in
        float64 make dense products in float32 (theory/README, section 5, cost).
    t_end : flow time to run to, ≥ t_start. None: until stationary (and past the last of
        `save_at`).
    save_at : increasing flow times ≥ t_start at which to keep the weights; default the start.
        They are dense output of the steps that are made anyway, and change none of them. The end
        is always kept besides.
    rtol : bound, per step, on max_i ‖local error of W_i‖₂ / max(1, ‖W_i‖₂); down to
        a tenth of it for steps shorter than 1/c, as what follows amplifies early errors.
    backend : "exact" solves rows in closed form where interference is off; "numba" integrates
        any set of forces; "diffrax" is for accelerators; "auto" is exact where that applies,
        else numba.
    threads : how many compute, by default as many as affinity, quota and NUMBA_NUM_THREADS allow,
        one in a worker of a pool; small runs, and runs beside others in one process, use one. No
        result depends on it. While a run goes on, BLAS has one thread in the whole process.
    progress : show a bar in flow time.
    metadata : recorded with the run (seed, scale, …); anything JSON can hold.
    events : log when weights die and revive, in the trajectory's `events`.
    overlap_events : log when overlaps G_ij change sign there (backend "numba").
    scheme : for the numba backend; default :class:`flow.integrators.schemes.ProximalChebyshev`.
    fixed_step : steps of this length instead of error control.
    t_start : flow time of W0; times count on from there.
    first_step : length of the first step to try; default from the size of the forces.
    stationarity_tol : largest |dW/dt| that counts as rest; default 1e-6·max(λ, 1e-3·c).
    max_steps, max_seconds : limits; a run that meets one says so in its status.
    callback : called with the :class:`flow.Simulation` after every accepted step (exact backend: at
        its own times). It may read, branch, set forces or W, and return True, which ends the run as
        STOPPED; it cannot step.
    film : keep frames of W for pictures in the trajectory's `film`, of at most 8 MB, or of the
    number
        of bytes given.
    mesh : backend "diffrax": a ``jax.sharding.Mesh`` with one axis, over whose devices the
        neurons are spread; default one device.

    Returns
    -------
    Trajectory, whose status says how the run ended; only STATIONARY and REACHED_T_END are
    finished runs.

    Raises
    ------
    ValueError for arguments out of range, a scheme that cannot handle ℓ1, or a backend that
    cannot run these forces; TypeError for something that is not a force; ImportError where a
    backend's packages are missing.

    Source: theory/README, sections 1, 2 and 5.
    """
    options = RunOptions(
        t_end=t_end, save_at=save_at, rtol=rtol, backend=backend, events=events,
        overlap_events=overlap_events, scheme=scheme, fixed_step=fixed_step, t_start=t_start,
        first_step=first_step, stationarity_tol=stationarity_tol, max_steps=max_steps,
        max_seconds=max_seconds, threads=threads,
    )  # fmt: skip
    with compiling_said(progress):
        sim = Simulation._started(make_problem(forces, W0, options), callback, film, metadata, mesh)
        sim.run(options.t_end, progress=progress)
        return sim.trajectory()
