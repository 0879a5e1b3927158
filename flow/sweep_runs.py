"""One run of a sweep as plain data: what decides it, and what comes out of it.

Nothing here imports NumPy, so that a sweep starts, refuses and reports at once.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from flow.memory import run_bytes
from flow.options import SUBSETS

DEFAULT_RTOL = 5e-3
"""As :data:`flow.driver.DEFAULT_RTOL`, which would bring the compiler with it."""
BACKENDS = ("auto", "numba", "exact", "diffrax")
"""As :data:`flow.driver.BACKENDS`, for the same reason."""
DTYPES = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that decides the result of a run; two equal ones give the same bits.

    Raises ValueError or TypeError for a value that no run can have.
    """

    n: int
    """Features."""
    m: int
    """Neurons."""
    lam: float
    """Strength λ of the ℓ1 regularization; recorded as 0 where that force is off."""
    c: float = 1.0
    """Strength of feature benefit and interference."""
    scale: float = 1.0
    """The start has entries of standard deviation scale/√m."""
    seed: int = 0
    """Seed of the start."""
    forces: str = "all"
    """Which forces act: all, no-FORCE or only-FORCE, as in ``flow.simulate compare``."""
    backend: str = "auto"
    """As in :func:`flow.driver.integrate`."""
    rtol: float = DEFAULT_RTOL
    """Error per step."""
    t_end: float | None = None
    """Flow time to run to; None: to rest."""
    dtype: str = "float64"
    """Precision of W."""
    max_steps: int = 100_000
    """Steps after which the run has failed."""
    census: bool = True
    """Whether deaths and revivals of weights are counted (7–10 % of the time of a run)."""

    def __post_init__(self) -> None:
        for name in ("n", "m", "max_steps"):
            _whole(name, getattr(self, name), 1)
        _whole("seed", self.seed, 0)
        for name in ("lam", "c", "scale", "rtol", "t_end"):
            value = getattr(self, name)
            if not (value is None and name == "t_end"):
                # 1 and 1.0, 0.0 and -0.0 are one run
                object.__setattr__(self, name, _number(name, value) + 0.0)
        if not 0.0 < self.rtol < 1.0:
            raise ValueError(f"rtol: expected a number > 0 and < 1, got {self.rtol!r}")
        for name, known in (("forces", tuple(SUBSETS)), ("backend", BACKENDS), ("dtype", DTYPES)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"{name}: expected one of {', '.join(known)}, got {value!r}"
                    f"{nearest(str(value), known)}"
                )
        if not isinstance(self.census, bool):
            raise TypeError(f"census: expected true or false, got {self.census!r}")
        _, interference, regularization = SUBSETS[self.forces]
        if not regularization:
            object.__setattr__(self, "lam", 0.0)
        if interference and self.backend == "exact":
            raise ValueError(
                "backend: expected numba or auto where interference is on, got 'exact'; use forces "
                "without it, such as 'no-interference'"
            )

    @property
    def interference(self) -> bool:
        """Whether rows act on each other."""
        return SUBSETS[self.forces][1]

    @property
    def bytes(self) -> int:
        """Memory that it takes at its most."""
        return run_bytes(
            self.n,
            self.m,
            itemsize=4 if self.dtype == "float32" else 8,
            interference=self.interference,
            census=self.census,
        )

    def hash(self) -> str:
        """32 hexadecimal digits that name these parameters, the same on every machine."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


PARAMETERS = tuple(field.name for field in fields(Run))
"""Names of the parameters, in their order."""


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?" where a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _whole(name: str, value: Any, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name}: expected a whole number >= {low}, got {value!r}")


def _number(name: str, value: Any) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not (known and math.isfinite(value) and value >= 0.0):
        raise ValueError(f"{name}: expected a finite number >= 0, got {value!r}")
    return float(value)


# Results -----------------------------------------------------------------------------------------

TRACE_POINTS = 64
"""Points that are kept of every run's trace."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is kept of a run that returned; None where it cannot be said (weights not finite)."""

    t: float
    """Flow time at the end."""
    accepted: int
    """Steps."""
    rejected: int
    """Steps that were tried and not taken."""
    evaluations: int
    """Of the field."""
    residual: float
    """Largest |dW/dt| at the end."""
    curvature: float
    """Lowest eigenvalue of the energy's Hessian on the non-zeros; NaN if it was not asked for."""
    energy: float
    """Sum over the forces, at the end."""
    l1: float | None = None
    """Mean ‖W_i‖₁ over features."""
    l2: float | None = None
    """Mean ‖W_i‖₂."""
    l4: float | None = None
    """Mean ‖W_i‖₄⁴."""
    nonzeros: int | None = None
    """Non-zero weights."""
    dead: int | None = None
    """Features whose weights are all zero."""
    monosemantic: int | None = None
    """Features on one neuron that they have to themselves."""
    sharing: int | None = None
    """Features on one neuron, with others on it."""
    spread: int | None = None
    """Features on several neurons."""
    not_converged: int | None = None
    """Features whose weights still move; these five add up to n."""
    neurons_unused: int | None = None
    """Neurons with no feature."""
    neurons_one: int | None = None
    """Neurons with one feature."""
    neurons_two: int | None = None
    """Neurons with two features."""
    neurons_more: int | None = None
    """Neurons with more; these four add up to m."""
    polysemantic: int | None = None
    """Neurons with two features or more, by exact non-zeros."""
    polysemantic_window: int | None = None
    """The same with the authors' window 0.8 ≤ |W_ik| ≤ 1.2."""
    largest_stayed: int | None = None
    """Features whose initially largest weight won, with its sign."""
    kept_sign: int | None = None
    """Features whose winner has the sign it started with."""
    rank: float | None = None
    """Mean initial rank of the winners, 1 for the largest; NaN where every feature is dead."""
    benign_both_stayed: int | None = None
    """Collisions of initially largest weights with opposite signs whose features both stayed."""
    benign_larger_stayed: int | None = None
    benign_smaller_stayed: int | None = None
    benign_both_left: int | None = None
    malign_both_stayed: int | None = None
    """The same with equal signs."""
    malign_larger_stayed: int | None = None
    """Malign collisions won by the larger weight."""
    malign_smaller_stayed: int | None = None
    malign_both_left: int | None = None
    extinctions: int | None = None
    """Times a weight reached zero (with census)."""
    revivals: int | None = None
    """Times a weight left zero (with census)."""
    revived_winners: int | None = None
    """Winners that were zero at some time (with census)."""
    weights_sha256: str | None = None
    """Of the bytes of the final W, row by row, little-endian."""
    trace: bytes = b""
    """(3, k ≤ TRACE_POINTS) float32: flow time, mean non-zeros per feature, mean ‖W_i‖₁."""
    winners: bytes = b""
    """(2, n) int32, compressed by zlib: sign·(neuron + 1) of every feature's winner, 0 if dead;
    its initial rank."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt at a run ended."""

    hash: str
    """Of its parameters."""
    status: str
    """A name of :class:`flow.trajectory.Status`, or one of FAILURES."""
    message: str
    """The status, with numbers."""
    finished: bool = False
    """Whether it got where it was sent."""
    measured: Measured | None = None
    """None where nothing came back."""
    seconds: float | None = None
    """Wall-clock time."""
    software: str = ""
    """JSON of what made it: versions, digest of the code, processor."""
    weights: bytes | None = None
    """An ``.npz`` with the final W, if asked for."""


def refused(run: Run, available: int) -> Outcome:
    """The outcome of a run that needs more than the `available` bytes of memory."""
    return Outcome(
        hash=run.hash(),
        status="REFUSED",
        message=(
            f"W of {run.n} x {run.m} {run.dtype} needs {run.bytes / 2**30:.3g} GiB, of which "
            f"{available / 2**30:.3g} GiB are available"
        ),
    )


PENDING = "PENDING"
"""Status of a run that has not been tried to its end."""

FAILURES = {
    "LOST": "the process that ran it died",
    "OUT_OF_MEMORY": "the system gave it no memory",
    "REFUSED": "it needs more memory than there is",
    "ERROR": "it raised an error",
}
"""Ways to fail without a trajectory, besides the statuses of one."""

RESULTS = tuple(field.name for field in fields(Measured))
"""Names of what is measured, in their order."""
