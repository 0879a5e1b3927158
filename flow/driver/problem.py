"""What is to be run, checked: the arguments of a run as one object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsFloat

import numpy as np

from flow.analysis.stationarity import default_tolerance, resolution
from flow.defaults import BACKENDS, DEFAULT_RTOL
from flow.driver.step_control import StepControl
from flow.forces import Force, ForceSum, sum_forces
from flow.initial import check_weights
from flow.integrators.schemes import ProximalChebyshev, Scheme
from flow.kernels.threads import checked_threads

MIXED_FROM = 65_536
"""Weights from which on a run may use mixed precision."""
MIXED_RTOL = 1e-3
"""The smallest tolerance at which it may."""
MIXED_L1 = 2e-4
"""The smallest λ/c at which it may: 20 times what rounding to float32 leaves of dW/dt at rest."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How far, how exactly and by what means; see :func:`flow.integrate` for each.

    Raises ValueError for values out of range.
    """

    t_end: float | None = None
    save_at: Iterable[float] | None = None
    rtol: float = DEFAULT_RTOL
    backend: str = "auto"
    events: bool = False
    overlap_events: bool = False
    scheme: Scheme | None = None
    fixed_step: float | None = None
    t_start: float = 0.0
    first_step: float | None = None
    stationarity_tol: float | None = None
    max_steps: int = 100_000
    max_seconds: float = math.inf
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("t_end", "rtol", "t_start", "fixed_step", "first_step", "stationarity_tol",
                     "max_seconds"):  # fmt: skip
            self._settle_number(name)
        if not (0.0 < self.rtol < 1.0):
            raise ValueError(f"expected rtol between 0 and 1, got {self.rtol!r}; try 5e-3")
        if not (math.isfinite(self.t_start) and self.t_start >= 0.0):
            raise ValueError(
                f"expected t_start as a finite flow time >= 0, got {self.t_start!r}; 0 is usual"
            )
        t_end = self.t_end
        if t_end is not None and not (math.isfinite(t_end) and t_end >= self.t_start):
            raise ValueError(
                f"expected t_end as a finite flow time >= t_start = {self.t_start:g}, or None to "
                f"run until rest, got {t_end!r}"
            )
        for name in ("fixed_step", "first_step"):
            length = getattr(self, name)
            if length is not None and not (math.isfinite(length) and length > 0.0):
                raise ValueError(
                    f"expected {name} as a finite flow time > 0, or None, got {length!r}"
                )
        for name in ("max_steps", "max_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"expected {name} >= 0, got {getattr(self, name)!r}")
        if self.stationarity_tol is not None and not self.stationarity_tol >= 0.0:
            raise ValueError(
                f"expected stationarity_tol >= 0, or None, got {self.stationarity_tol!r}"
            )
        if self.backend not in BACKENDS:
            raise ValueError(
                f"expected backend as one of {', '.join(BACKENDS)}, got {self.backend!r}"
            )
        object.__setattr__(self, "save_at", self._checked_saves())

    def _settle_number(self, name: str) -> None:
        """Take what is a number as a float: NumPy's and Python's alike."""
        value = getattr(self, name)
        if value is None and name not in ("rtol", "t_start", "max_seconds"):
            return
        if isinstance(value, str | bytes | bool) or not isinstance(value, SupportsFloat):
            raise TypeError(f"expected {name} as a number, got {value!r}; write {name}=5.0, say")
        object.__setattr__(self, name, float(value))

    def _checked_saves(self) -> tuple[float, ...] | None:
        if self.save_at is None:
            return None
        if isinstance(self.save_at, str | bytes) or not isinstance(self.save_at, Iterable):
            raise TypeError(
                f"expected save_at as several flow times, got {self.save_at!r}; write "
                f"save_at=[5.0], say"
            )
        saves = tuple(self._landed(float(t)) for t in self.save_at)
        ahead = all(self.t_start <= t < math.inf for t in saves)
        if not ahead or list(saves) != sorted(set(saves)):
            raise ValueError(
                f"expected save_at as increasing flow times >= {self.t_start:g}, got {list(saves)}"
            )
        if saves and self.t_end is not None and saves[-1] > self.t_end:
            raise ValueError(
                f"expected save_at up to t_end = {self.t_end:g}, got {saves[-1]:g}; leave out what "
                f"lies beyond"
            )
        return saves

    def _landed(self, t: float) -> float:
        """t, or t_end where the two differ by rounding: 3·0.1 is 0.3."""
        t_end = self.t_end
        return t_end if t_end is not None and math.isclose(t, t_end, rel_tol=1e-12) else t

    @property
    def saves(self) -> tuple[float, ...]:
        """(s,) increasing flow times at which to keep the weights; the start if nothing is said."""
        return (self.t_start,) if self.save_at is None else tuple(self.save_at)


@dataclass(frozen=True)
class Problem:
    """What is to be run, checked."""

    forces: tuple[Force, ...]
    total: ForceSum
    """The forces, added up."""
    W0: np.ndarray
    """(n, m) where it starts, contiguous."""
    options: RunOptions
    backend: str
    """The one that was chosen: numba, exact or diffrax."""
    scheme: Scheme
    tolerance: float
    """The largest |dW/dt| that counts as rest."""
    threads: int
    """How many compute it; no result depends on it."""

    @property
    def rtol(self) -> float:
        """The error that a step may make."""
        return self.options.rtol

    @property
    def mixed_precision(self) -> bool:
        """Whether dense products may be made in float32 though W is in float64.

        Only where ℓ1 empties W, so that the end is computed sparse and in float64, and only where
        neither the tolerance nor λ, which sets the size of overlaps, is near what float32 resolves.
        Below MIXED_FROM weights it would save next to nothing.
        """
        total, W = self.total, self.W0
        return (
            W.dtype == np.float64
            and W.size >= MIXED_FROM
            and W.shape[1] >= 16
            and total.interferes
            and total.preserves_dead_neurons
            and not total.drifts
            and self.options.fixed_step is None
            and self.rtol >= MIXED_RTOL
            and total.l1 >= MIXED_L1 * total.scale
        )

    @property
    def control(self) -> StepControl:
        """The lengths of its steps."""
        options = self.options
        return StepControl(self.total, options.rtol, self.scheme.order, options.fixed_step)


def make_problem(
    forces: Sequence[Force], W0: np.ndarray, options: RunOptions, *, finite: bool = True
) -> Problem:
    """The run of `forces` from W0 : (n, m); without `finite`, W0 may hold NaN.

    Raises ValueError for weights that no run can have, a scheme that cannot handle ℓ1 and a backend
    that cannot run these forces; TypeError for what is not a force; ImportError where a backend's
    packages are missing.
    """
    if isinstance(forces, Force):
        raise TypeError(
            f"expected forces as a list, got {forces!r} alone; write [{type(forces).__name__}(...)]"
        )
    total = sum_forces(forces)
    W0 = np.ascontiguousarray(check_weights(W0, name="W0", finite=finite))
    backend = _choose_backend(options, total)
    if options.overlap_events and backend != "numba":
        raise ValueError(
            f"expected backend 'numba' with overlap_events, got {backend!r}; give backend='numba'"
        )
    scheme = options.scheme or ProximalChebyshev()
    if total.l1 > 0.0 and not scheme.handles_jump:
        raise ValueError(
            f"expected a scheme that handles the jump of −λ·sign(W) at zero, got "
            f"{type(scheme).__name__}; use ProximalChebyshev or ProximalEuler, or leave out "
            f"Regularization"
        )
    if options.fixed_step is None and not scheme.estimates_error:
        raise ValueError(
            f"expected fixed_step with {type(scheme).__name__}, which has no error estimate, got "
            f"None; give fixed_step=..."
        )
    tolerance = options.stationarity_tol
    if tolerance is None and 0.0 < total.l1 <= resolution(total, W0.dtype):
        raise ValueError(
            f"expected lam = 0 or more than {resolution(total, W0.dtype):.2g}, what {W0.dtype} "
            f"resolves beside these strengths, got {total.l1:g}; use float64, or give "
            f"stationarity_tol and t_end"
        )
    if tolerance is None:
        tolerance = default_tolerance(total, W0.dtype)
    threads = checked_threads(options.threads)
    return Problem(tuple(forces), total, W0, options, backend, scheme, tolerance, threads)


def _choose_backend(options: RunOptions, total: ForceSum) -> str:
    backend, scheme = options.backend, options.scheme
    stepping = scheme is not None or options.fixed_step is not None
    if backend == "auto":
        return "numba" if total.couples_rows or stepping else "exact"
    if backend == "exact" and stepping:
        raise ValueError(
            "expected neither scheme nor fixed_step with backend 'exact', which makes no steps, "
            "got one; leave it out, or use backend 'numba'"
        )
    if backend == "exact" and total.couples_rows:
        raise ValueError(
            "expected forces that act on each row alone and without noise for backend 'exact', "
            "got others; use backend 'numba' or leave them out"
        )
    if backend == "diffrax":
        try:
            import diffrax  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "backend 'diffrax' needs JAX: pip install 'incidental-flow[accelerator]'"
            ) from error
        if not isinstance(scheme, ProximalChebyshev | None):
            raise ValueError(
                f"expected the scheme ProximalChebyshev with backend 'diffrax', got "
                f"{type(scheme).__name__}; leave it out, or use backend 'numba'"
            )
    return backend
