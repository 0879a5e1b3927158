"""integrate(): the one driver. Step control, what to keep, when to stop, and under which name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from flow.analysis.stationarity import certify, default_tolerance
from flow.defaults import BACKENDS, DEFAULT_RTOL, Backend
from flow.driver.events import EventRecorder, exact_events
from flow.forces import Force, Slots, Summary, sum_slots
from flow.initial import check_weights
from flow.integrators.closed_form import ExactFlow
from flow.integrators.field import Field, State
from flow.integrators.requests import Attempt, Computer, Place, Renew, Request
from flow.integrators.schemes import (
    LONGEST_GROWTH,
    LONGEST_GROWTH_BESIDE_DRIFT,
    LONGEST_OVERLAP,
    Proposal,
    ProximalChebyshev,
    Scheme,
)
from flow.results.certificate import Certificate
from flow.results.events import Events
from flow.results.observables import Observables
from flow.results.provenance import versions
from flow.results.status import Status
from flow.results.trajectory import Trajectory

Watch = Callable[[float, Callable[[], np.ndarray]], None]
"""Called with (t, weights) as a run goes on; weights() makes W : (n, m) on demand."""


def integrate(
    forces: Sequence[Force],
    W0: np.ndarray,
    *,
    t_end: float | None = None,
    save_at: Iterable[float] | None = None,
    rtol: float = DEFAULT_RTOL,
    backend: Backend = "auto",
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
    watch: Watch | None = None,
    mesh: Any = None,
) -> Trajectory:
    """Run dW/dt = Σ forces from W0, to `t_end` or until it comes to rest.

    Parameters
    ----------
    forces : any subset of the forces, none included; a force that is absent is off.
    W0 : (n, m) finite weights, float32 or float64; the run keeps its dtype.
    t_end : flow time to run to, ≥ t_start. None: until stationary (and past the last of
        `save_at`).
    save_at : increasing flow times ≥ t_start at which to keep the weights; default the start.
        Steps end on them exactly. The end is always kept besides.
    rtol : bound, per step, on max_i ‖local error of W_i‖₂ / max(1, ‖W_i‖₂); down to
        a tenth of it for steps shorter than 1/c, as what follows amplifies early errors.
    backend : "exact" solves rows in closed form where interference is off; "numba" integrates
        any set of forces; "diffrax" is for accelerators; "auto" is exact where that applies,
        else numba.
    progress : show a bar in flow time.
    metadata : recorded with the run (seed, scale, …); anything JSON can hold.
    events : log when weights die and revive, in the trajectory's `events`.
    overlap_events : log when overlaps G_ij change sign there (backend "numba").
    scheme : for the numba backend; default :class:`flow.integrators.schemes.ProximalChebyshev`.
    fixed_step : steps of this length instead of error control.
    t_start : flow time of W0; times count on from there.
    first_step : length of the first step to try; default from the size of the forces. A run
        continued with W0 = traj.weights[k], t_start = traj.times[k] and
        first_step = traj.step_sizes[k] takes bitwise the steps of the run that made `traj`
        (backends "numba" and "diffrax").
    stationarity_tol : largest |dW/dt| that counts as rest; default 1e-6·max(λ, 1e-3·c).
    max_steps, max_seconds : limits; a run that meets one says so in its status.
    watch : called at every accepted step (exact backend: at its own times).
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
    problem = check_problem(
        forces, W0, t_end=t_end, save_at=save_at, rtol=rtol, backend=backend, events=events,
        overlap_events=overlap_events, scheme=scheme, fixed_step=fixed_step, t_start=t_start,
        first_step=first_step, stationarity_tol=stationarity_tol, max_steps=max_steps,
        max_seconds=max_seconds,
    )  # fmt: skip
    if mesh is not None and problem.backend != "diffrax":
        raise ValueError(f"mesh needs backend 'diffrax', got backend {problem.backend!r}")
    n, m = problem.W0.shape
    began = time.perf_counter()
    with prepared(problem.W0.size):
        if problem.backend == "exact":
            run = _run_exact(
                problem.slots, problem.forces, problem.W0, problem.limits, events, watch
            )
        elif problem.backend == "diffrax":
            from flow.accelerator.batch import Batch

            batch = Batch([problem.slots], n, m, problem.W0.dtype, mesh=mesh)
            [run] = batch.run([steps(problem, batch.members[0], progress, watch)])
        else:
            field = Field(problem.slots, n, m, problem.W0.dtype)
            run = _run_alone(steps(problem, field, progress, watch), field, problem.scheme)
        return trajectory(problem, run, time.perf_counter() - began, metadata)


class Problem(NamedTuple):
    """What is to be run, checked."""

    forces: Sequence[Force]
    slots: Slots
    W0: np.ndarray
    limits: _Limits
    backend: str
    scheme: Scheme
    events: bool
    overlap_events: bool


def check_problem(
    forces: Sequence[Force],
    W0: np.ndarray,
    *,
    t_end: float | None,
    save_at: Iterable[float] | None,
    rtol: float,
    backend: str,
    events: bool = False,
    overlap_events: bool = False,
    scheme: Scheme | None = None,
    fixed_step: float | None = None,
    t_start: float = 0.0,
    first_step: float | None = None,
    stationarity_tol: float | None = None,
    max_steps: int = 100_000,
    max_seconds: float = math.inf,
    finite: bool = True,
) -> Problem:
    """The arguments of :func:`integrate`, or its errors; without `finite`, W0 may hold NaN."""
    slots = sum_slots(forces)
    W0 = np.ascontiguousarray(check_weights(W0, name="W0", finite=finite))
    if not (0.0 < rtol < 1.0):
        raise ValueError(f"rtol must lie between 0 and 1, got {rtol!r}")
    if not (math.isfinite(t_start) and t_start >= 0.0):
        raise ValueError(f"t_start must be a finite flow time >= 0, got {t_start!r}")
    if t_end is not None and not (math.isfinite(t_end) and t_end >= t_start):
        raise ValueError(
            f"t_end must be a finite flow time >= t_start = {t_start:g} or None, got {t_end!r}"
        )
    for name, length in (("fixed_step", fixed_step), ("first_step", first_step)):
        if length is not None and not (math.isfinite(length) and length > 0.0):
            raise ValueError(f"{name} must be a finite flow time > 0 or None, got {length!r}")
    if max_steps < 0 or max_seconds < 0:
        raise ValueError(f"limits must be >= 0, got max_steps={max_steps}, {max_seconds=}")
    saves = _check_saves(save_at, t_start, t_end)
    chosen = _choose_backend(backend, slots, scheme, fixed_step)
    if overlap_events and chosen != "numba":
        raise ValueError(
            f"overlap_events needs backend 'numba', got backend {chosen!r}; give backend='numba'"
        )
    if stationarity_tol is None:
        stationarity_tol = default_tolerance(slots, W0.dtype)
    elif not stationarity_tol >= 0.0:
        raise ValueError(f"stationarity_tol must be >= 0, got {stationarity_tol!r}")
    scheme = scheme or ProximalChebyshev()
    if slots.l1 > 0.0 and not scheme.handles_jump:
        raise ValueError(
            f"{type(scheme).__name__} cannot handle the jump of −λ·sign(W) at zero; use "
            f"ProximalChebyshev or ProximalEuler, or leave out Regularization"
        )
    if fixed_step is None and not scheme.estimates_error:
        raise ValueError(f"{type(scheme).__name__} has no error estimate: give fixed_step=...")
    limits = _Limits(t_start, t_end, saves, rtol, fixed_step, first_step, stationarity_tol,
                     max_steps, max_seconds)  # fmt: skip
    return Problem(forces, slots, W0, limits, chosen, scheme, events, overlap_events)


@contextmanager
def prepared(size: int) -> Iterator[None]:
    """Settings of a run: results must not depend on the number of BLAS threads, so slices run
    BLAS with one; a run that overflows ends with a status, not with warnings."""
    with (
        threadpool_limits(limits=1, user_api="blas"),
        np.errstate(over="ignore", invalid="ignore"),
        _threads(size),
    ):
        yield


def trajectory(
    problem: Problem, run: _Run, seconds: float, metadata: Mapping[str, Any] | None
) -> Trajectory:
    """What is left of a run."""
    limits, W0 = problem.limits, problem.W0
    # Only now, when the arrays of the run are free again.
    certificate = run.certificate or certify(
        problem.forces, run.weights[-1], tolerance=limits.tolerance, curvature=False
    )
    on_device = ("jax", "diffrax") if problem.backend == "diffrax" else ()
    return Trajectory(
        times=np.array(run.times),
        weights=np.stack(run.weights),
        step_sizes=np.array(run.step_sizes),
        observables=run.observables,
        events=run.events,
        status=run.status,
        message=run.message,
        certificate=certificate,
        stats={**run.stats, "seconds": seconds},
        parameters={
            "forces": [force.to_dict() for force in problem.forces],
            "n": W0.shape[0],
            "m": W0.shape[1],
            "dtype": str(W0.dtype),
            "t_start": limits.t_start,
            "t_end": limits.t_end,
            "save_at": limits.saves,
            "rtol": limits.rtol,
            "backend": problem.backend,
            "scheme": None if problem.backend == "exact" else type(problem.scheme).__name__,
            "fixed_step": limits.fixed_step,
            "first_step": limits.first_step,
            "stationarity_tol": limits.tolerance,
            "events": problem.events,
            "overlap_events": problem.overlap_events,
        },
        versions={**versions("incidental-flow", "numpy", "numba", "scipy", *on_device)},
        metadata=dict(metadata or {}),
    )


SMALL = 2**14
"""Weights below which one thread is faster than waking several, and safe from waiting for them."""


@contextmanager
def _threads(size: int) -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(1 if size < SMALL else before)
    try:
        yield
    finally:
        numba.set_num_threads(before)


class _Limits(NamedTuple):
    t_start: float
    t_end: float | None
    saves: list[float]
    rtol: float
    fixed_step: float | None
    first_step: float | None
    tolerance: float
    max_steps: int
    max_seconds: float


class _Run(NamedTuple):
    times: list[float]
    weights: list[np.ndarray]
    step_sizes: list[float]
    observables: Observables
    events: Events
    status: Status
    message: str
    certificate: Certificate | None
    """None unless the run ended at rest."""
    stats: dict[str, Any]


# Checks ------------------------------------------------------------------------------------------


def _check_saves(
    save_at: Iterable[float] | None, t_start: float, t_end: float | None
) -> list[float]:
    if save_at is None:
        return [t_start]
    saves = [float(t) for t in save_at]
    last = math.inf if t_end is None else t_end
    if any(not (t_start <= t < math.inf) for t in saves) or saves != sorted(set(saves)):
        raise ValueError(f"save_at must be increasing flow times >= {t_start:g}, got {saves}")
    if saves and saves[-1] > last:
        raise ValueError(f"save_at must not pass t_end={t_end}, got {saves[-1]}")
    return saves


def _choose_backend(
    backend: str, slots: Slots, scheme: Scheme | None, fixed_step: float | None
) -> str:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        stepping = scheme is not None or fixed_step is not None
        return "numba" if slots.has_drift or stepping else "exact"
    if backend == "exact":
        if slots.has_drift:
            raise ValueError(
                "backend 'exact' needs forces that act on each row alone and without noise; leave "
                "out Interference and noise, or use backend 'numba'"
            )
        if scheme is not None or fixed_step is not None:
            raise ValueError("backend 'exact' takes no scheme and no fixed_step")
    if backend == "diffrax":
        try:
            import diffrax  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "backend 'diffrax' needs JAX: pip install 'incidental-flow[accelerator]'"
            ) from error
        if not isinstance(scheme, ProximalChebyshev | None):
            raise ValueError(
                f"backend 'diffrax' has the scheme ProximalChebyshev, got {type(scheme).__name__}; "
                f"leave it out, or use backend 'numba'"
            )
    return backend


# Recording ---------------------------------------------------------------------------------------


class _Recorder:
    """Collects observables step by step."""

    def __init__(self, forces: Sequence[Force], m: int) -> None:
        self._forces = forces
        self._names = _names(forces)
        self._m = m
        self._times: list[float] = []
        self._sums: list[np.ndarray] = []
        self._energies: list[list[float]] = []

    def add(self, t: float, state: State, sums: np.ndarray) -> None:
        summary = Summary(sums[:, 0], sums[:, 1], state.overlaps[:, 1])
        energies = []
        for force in self._forces:
            energy = force.energy_from(summary)
            if energy is None:
                energy = float(force.energy(state.dense(self._m)))
            energies.append(energy)
        self._times.append(t)
        self._sums.append(sums)
        self._energies.append(energies)

    def collect(self) -> Observables:
        sums = np.stack(self._sums)
        energies = np.array(self._energies).reshape(len(self._times), len(self._forces))
        return Observables(
            times=np.array(self._times),
            l1=sums[:, :, 0],
            l2=np.sqrt(sums[:, :, 1]),
            l4=sums[:, :, 2],
            nonzeros=sums[:, :, 3].astype(np.int64),
            energy=dict(zip(self._names, energies.T, strict=True)),
            dissipation=sums[:, :, 5].sum(axis=1),
        )


def _names(forces: Sequence[Force]) -> list[str]:
    """Force names, numbered where one occurs twice."""
    names = [type(force).__name__ for force in forces]
    return [
        name if names.count(name) == 1 else f"{name} {names[: k + 1].count(name)}"
        for k, name in enumerate(names)
    ]


# Stepping ----------------------------------------------------------------------------------------

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 4.0
_FIXED_STEP_RTOL = 1e-8
"""Accuracy asked of the row solver where steps are fixed."""


def _run_alone(run: Generator[Request, Any, _Run], field: Field, scheme: Scheme) -> _Run:
    """Answer the requests of a run one by one."""
    try:
        request = next(run)
        while True:
            try:
                answer: State | Proposal
                if isinstance(request, Attempt):
                    answer = scheme.propose(field, *request)
                elif isinstance(request, Place):
                    answer = field.place(request.W)
                else:
                    answer = field.place(request.state.dense(field.m))
            except KeyboardInterrupt as interrupt:
                request = run.throw(interrupt)
            else:
                request = run.send(answer)
    except StopIteration as end:
        return end.value


def steps(
    problem: Problem, field: Computer, progress: bool, watch: Watch | None
) -> Generator[Request, Any, _Run]:
    """The loop of a run; `field` and whoever answers its requests compute for it."""
    forces, slots, W0, limits, _, scheme, events, overlap_events = problem
    _, m = W0.shape
    recorder = _Recorder(forces, m)
    began = time.perf_counter()
    state = yield Place(W0)
    sums = field.row_sums(state)
    t = limits.t_start
    recorder.add(t, state, sums)
    log = EventRecorder(slots, state, weights=events, overlaps=overlap_events)
    if watch is not None:
        watch(t, W0.copy)
    h = limits.fixed_step or limits.first_step or _first_step(sums, limits.rtol, slots)
    pending = [s for s in limits.saves if s > t]
    times, weights, step_sizes = [], [], []
    if t in limits.saves:
        times, weights, step_sizes = [t], [W0.copy()], [h]
    accepted = rejected = 0
    status = message = certificate = None
    bar = _Bar(progress, t, limits.t_end)
    try:
        while status is None:
            if limits.t_end is not None and t >= limits.t_end:
                status, message = Status.REACHED_T_END, f"reached t_end = {t:g}"
            elif not np.isfinite(sums[:, 4]).all():
                status, message = Status.NON_FINITE, f"a weight became NaN or infinite at t = {t:g}"
            elif limits.t_end is None and not pending and sums[:, 4].max() <= limits.tolerance:
                certificate = _judge(forces, slots, state.dense(m), limits.tolerance)
                if certificate.stationary:
                    status, message = _verdict(certificate, t)
                    break
            if status is not None:
                break
            if accepted + rejected >= limits.max_steps:
                status = Status.STEP_LIMIT
                message = f"stopped at t = {t:g} after max_steps = {limits.max_steps} steps"
                break
            if time.perf_counter() - began > limits.max_seconds:
                status = Status.TIME_LIMIT
                message = f"stopped at t = {t:g} after max_seconds = {limits.max_seconds:g}"
                break
            if limits.fixed_step is None:
                h = min(h, _longest_step(sums, slots, state))
            target = pending[0] if pending else limits.t_end
            landing = target is not None and t + 1.0000001 * h >= target
            step = target - t if landing and target is not None else h
            fixed = limits.fixed_step is not None
            allowed = _FIXED_STEP_RTOL if fixed else _allowed_error(limits.rtol, step, slots.scale)
            proposal = yield Attempt(state, step, allowed)
            error = proposal.error
            if not fixed:
                if not error <= allowed:
                    rejected += 1
                    finite = math.isfinite(error)
                    ratio = (allowed / error) ** (1.0 / scheme.order) if finite else 0.0
                    h = step * min(max(_SAFETY * ratio, _SHRINK), 0.9)
                    if h <= 1e-14 * max(t, 1.0 / slots.scale):
                        status = Status.STEP_TOO_SMALL if finite else Status.NON_FINITE
                        message = f"steps shrank to {h:.1e} at t = {t:g} with error {error:.1e}"
                    continue
                factor = _GROW
                if error > 0.0:
                    ratio = (allowed / error) ** (1.0 / (scheme.order + 1))
                    factor = min(max(_SAFETY * ratio, _SHRINK), _GROW)
                # A step cut short to land on a save point says little about the next length.
                h = max(h, step * factor) if step < h else step * factor
            accepted += 1
            before, t = t, target if landing and target is not None else t + step
            log.add(before, t, state, proposal)
            state.W, state.C, state.overlaps = proposal.W, proposal.C, proposal.overlaps
            renew = field.settle(state, proposal.outside)
            if landing and pending:
                pending.pop(0)
                W = state.dense(m)
                # A canonical layout, so that a run continued from this file is bitwise the same.
                state = yield Place(W)
                times.append(t)
                weights.append(W)
                step_sizes.append(h)
            elif renew:
                state = yield Renew(state)
            sums = field.row_sums(state)
            recorder.add(t, state, sums)
            bar.show(t, step, sums)
            if watch is not None:
                watch(t, partial(state.dense, m))
    except KeyboardInterrupt:
        status, message = Status.INTERRUPTED, f"interrupted at t = {t:g}"
    finally:
        bar.close()
    final = state.dense(m)
    if not times or times[-1] < t:
        times.append(t)
        weights.append(final)
        step_sizes.append(h)
    at_rest = status in (Status.STATIONARY, Status.SADDLE)
    assert status is not None
    assert message is not None
    stats = {
        "accepted": accepted,
        "rejected": rejected,
        "evaluations": field.evaluations,
        "t": t,
    }
    return _Run(
        times, weights, step_sizes, recorder.collect(), log.collect(),
        status, message, certificate if at_rest else None, stats,
    )  # fmt: skip


def _allowed_error(rtol: float, h: float, scale: float) -> float:
    """What error a step of length h may make: rtol·min(1, max(c h, 1/10)).

    Growth and races amplify an error by what is left of the run. Early steps are short, so charged
    by the step alone they would spend most of the error where it costs most.
    """
    return rtol * min(1.0, max(scale * h, 0.1))


def _judge(forces: Sequence[Force], slots: Slots, W: np.ndarray, tolerance: float) -> Certificate:
    return certify(forces, W, tolerance=tolerance, curvature=slots.l1 > 0.0)


def _verdict(certificate: Certificate, t: float) -> tuple[Status, str]:
    if certificate.saddle:
        return (
            Status.SADDLE,
            f"at rest on a saddle at t = {t:g}, curvature {certificate.curvature:.1e}",
        )
    return Status.STATIONARY, f"stationary at t = {t:g}, residual {certificate.residual:.1e}"


def _first_step(sums: np.ndarray, rtol: float, slots: Slots) -> float:
    """A step over which no row moves far; scales as 1/c, so that conventions agree."""
    fastest = float(np.max(np.sqrt(sums[:, 5]) / np.maximum(1.0, np.sqrt(sums[:, 1]))))
    longest = 1.0 / slots.scale
    return min(longest, 0.1 * rtol ** (1.0 / 3.0) / fastest) if fastest > 0.0 else longest


def _longest_step(sums: np.ndarray, slots: Slots, state: State) -> float:
    overlap = float(state.overlaps[:, 0].max())
    longest = LONGEST_OVERLAP / overlap if overlap > 0.0 else math.inf
    if slots.growth_quadratic == 0.0:
        return longest
    growth = slots.growth_constant - state.overlaps[:, 2] - slots.growth_quadratic * sums[:, 1]
    fastest = float(np.abs(growth).max())
    bound = LONGEST_GROWTH_BESIDE_DRIFT if slots.drifts else LONGEST_GROWTH
    return min(longest, bound / fastest) if fastest > 0.0 else longest


class _Bar:
    """Progress in flow time; without an end in sight, a line that says how it goes."""

    def __init__(self, on: bool, t_start: float, t_end: float | None) -> None:
        form = "{l_bar}{bar}| t = {n:.4g}/{total:.4g} [{elapsed}<{remaining}{postfix}]"
        if t_end is None:
            form = "{desc}t = {n:.4g} [{elapsed}{postfix}]"
        self._bar = tqdm(initial=t_start, total=t_end, disable=not on, bar_format=form, leave=False)

    def show(self, t: float, step: float, sums: np.ndarray) -> None:
        if not self._bar.disable:
            self._bar.set_postfix_str(
                f"step {step:.2g}, non-zeros per feature {sums[:, 3].mean():.4g}, "
                f"largest |dW/dt| {sums[:, 4].max():.1e}",
                refresh=False,
            )
            self._bar.update(t - self._bar.n)

    def close(self) -> None:
        self._bar.close()


# Exact -------------------------------------------------------------------------------------------

_EXACT_TIMES = 200


def _run_exact(
    slots: Slots,
    forces: Sequence[Force],
    W0: np.ndarray,
    limits: _Limits,
    events: bool,
    watch: Watch | None,
) -> _Run:
    flow = ExactFlow(
        W0,
        growth_constant=slots.growth_constant,
        growth_quadratic=slots.growth_quadratic,
        lam=slots.l1,
    )
    began = limits.t_start
    stop = limits.t_end
    if stop is None:
        stop = max(began + flow.stationary_time(0.999 * limits.tolerance), *limits.saves, began)
        if not math.isfinite(stop):
            raise ValueError("these forces never bring W0 to rest; give t_end")
    kept = sorted({*limits.saves, stop})
    # The closed form counts from W0.
    saves, end = [t - began for t in kept], stop - began
    start = min(1e-2 / slots.scale, 1e-2 * end)
    grid = np.geomspace(start, end, _EXACT_TIMES) if end > 0.0 else np.zeros(0)
    times = np.unique(np.concatenate([[0.0], np.minimum(grid, end), saves]))
    seen = flow.observables(times)
    l1, squared = seen["l1"], seen["l2"] ** 2
    growth = slots.growth_constant - slots.growth_quadratic * squared
    # Σ_k (growth·w − λ sign w)² over the non-zeros; zeros stay where they are.
    speed = growth**2 * squared - 2.0 * growth * slots.l1 * l1 + slots.l1**2 * seen["nonzeros"]
    none = np.zeros(W0.shape[0])
    energies = [
        [_energy(force, Summary(a, q, none), flow, t) for force in forces]
        for a, q, t in zip(l1, squared, times, strict=True)
    ]
    observables = Observables(
        times=began + times,
        l1=l1,
        l2=seen["l2"],
        l4=seen["l4"],
        nonzeros=seen["nonzeros"],
        energy=dict(zip(_names(forces), np.array(energies).reshape(times.size, -1).T, strict=True)),
        dissipation=np.maximum(speed, 0.0).sum(axis=1),
    )
    weights = [flow.weights(t) for t in saves]
    if watch is not None:
        for t in times:
            watch(began + t, partial(flow.weights, t))
    certificate = _judge(forces, slots, weights[-1], limits.tolerance)
    if limits.t_end is not None:
        status, message = Status.REACHED_T_END, f"reached t_end = {stop:g}"
    else:
        status, message = _verdict(certificate, stop)
    stats = {
        "accepted": int(flow.stats["steps"]),
        "rejected": int(flow.stats["rejected"]),
        "evaluations": int(flow.stats["evaluations"]),
        "t": stop,
    }
    step = end / _EXACT_TIMES
    log = exact_events(flow, W0, began, stop) if events else Events()
    return _Run(
        kept, weights, [step] * len(kept), observables, log, status, message, certificate, stats
    )


def _energy(force: Force, summary: Summary, flow: ExactFlow, t: float) -> float:
    energy = force.energy_from(summary)
    return float(force.energy(flow.weights(t))) if energy is None else energy
