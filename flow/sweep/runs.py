"""One run of a sweep as plain data: its parameters and its results.

Nothing here imports NumPy, so that a sweep starts, refuses and reports at once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from flow.cli.flags import nearest
from flow.defaults import BACKENDS, DEFAULT_RTOL, DTYPES, FORCE_SETS
from flow.driver.memory import run_bytes
from flow.sweep.forces import MAY_STAY_NONE, build_forces, force_set


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
    """Strength of every force that has one and is not regularization."""
    c_interference: float | None = None
    """Strength of interference, where it is not c."""
    leak: float | None = None
    """Slope of the outputs below zero, for Interference; None where they are ReLUs."""
    scale: float = 1.0
    """The start has entries of standard deviation scale/√m."""
    seed: int = 0
    """Seed of the start."""
    forces: str = "all"
    """Which forces act: all, no-FORCE or only-FORCE, as in ``flow.simulate compare``, or names of
    :mod:`flow.forces` joined by "+"."""
    mu: float | None = None
    """Strength of L2Regularization."""
    sigma: float | None = None
    """Standard deviation of the noise of NoisyFeatureBenefit and NoisyInterference."""
    distribution: str | None = None
    """Its law, such as "bipolar"."""
    accuracy: float | None = None
    """Of these forces; None: their default."""
    p: float | None = None
    """Probability of a feature, for CoOccurrence."""
    most_active: int | None = None
    """Features that are on at the most, for CoOccurrence; None for any number."""
    backend: str = "auto"
    """As in :func:`flow.driver.integration.integrate`."""
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
        if self.most_active is not None:
            _whole("most_active", self.most_active, 1)
        for name in NUMBERS:
            value = getattr(self, name)
            if not (value is None and name in OPTIONAL):
                # 1 and 1.0, 0.0 and -0.0 are one run
                object.__setattr__(self, name, _number(name, value) + 0.0)
        if not 0.0 < self.rtol < 1.0:
            raise ValueError(f"rtol: expected a number > 0 and < 1, got {self.rtol!r}")
        for name, known in (("backend", BACKENDS), ("dtype", DTYPES)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"{name}: expected one of {', '.join(known)}, got {value!r}"
                    f"{nearest(str(value), known)}"
                )
        for name in ("forces", "distribution"):
            value = getattr(self, name)
            if not (isinstance(value, str) or (value is None and name in OPTIONAL)):
                raise TypeError(f"{name}: expected a name, got {value!r}")
        if not isinstance(self.census, bool):
            raise TypeError(f"census: expected true or false, got {self.census!r}")
        self._settle_forces()

    def _settle_forces(self) -> None:
        """One way to write the same forces, and every number of theirs."""
        forces = force_set(self.forces)
        object.__setattr__(self, "forces", forces.text)
        if not forces.regularized:
            object.__setattr__(self, "lam", 0.0)
        if self.c_interference == self.c:
            object.__setattr__(self, "c_interference", None)
        if self.leak == 0.0:
            object.__setattr__(self, "leak", None)
        for name in FORCE_PARAMETERS:
            value = getattr(self, name)
            if value is not None and name not in forces.own:
                raise ValueError(
                    f"{name}: expected forces that have it, got {value!r} with forces = "
                    f"{self.forces!r}; name others, or leave {name} out"
                )
            if value is None and name in forces.own and name not in MAY_STAY_NONE:
                if forces.own[name] is None:
                    raise ValueError(
                        f"{name}: expected a value for forces = {self.forces!r}, got none; add it"
                    )
                object.__setattr__(self, name, forces.own[name])
        if self.backend == "exact" and not forces.closed_form:
            raise ValueError(
                f"backend: expected numba or auto for forces = {self.forces!r}, got 'exact', which "
                f"is for forces that act on each row alone, such as 'no-interference'"
            )
        if self.forces not in FORCE_SETS:  # those cannot be wrong, and need no NumPy
            build_forces(self.forces, asdict(self))

    @property
    def interference(self) -> bool:
        """Whether rows act on each other."""
        return force_set(self.forces).coupled

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
        """32 hexadecimal digits that name these parameters, the same on every machine.

        Those that are None have no part in it: a parameter that is added changes no older name.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        text = json.dumps(given, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


PARAMETERS = tuple(field.name for field in fields(Run))
"""Names of the parameters, in their order."""


OPTIONAL = tuple(field.name for field in fields(Run) if field.default is None)
"""Names of the parameters that may be None."""
FORCE_PARAMETERS = tuple(name for name in OPTIONAL if name != "t_end")
"""Names of the parameters that some forces have and others do not."""
NUMBERS = tuple(f.name for f in fields(Run) if str(f.type).removesuffix(" | None") == "float")
"""Names of the parameters that are finite numbers >= 0."""


def ratios(parameters: Mapping[str, Any]) -> dict[str, float | None]:
    """m/n and λ√m/c of a run, under the names that a config has for them.

    To nine digits, so that runs that a config gives one value have one value here. None for c = 0.
    """
    n, m, lam, c = (parameters[name] for name in ("n", "m", "lam", "c"))
    coupling = None if c == 0.0 else float(f"{lam * math.sqrt(m) / c:.9g}")
    return {"m_over_n": float(f"{m / n:.9g}"), "lam_sqrt_m_over_c": coupling}


LARGEST_WHOLE = 2**63 - 1
"""What a column of whole numbers holds in SQLite, and an index in NumPy."""


def _whole(name: str, value: Any, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name}: expected a whole number >= {low}, got {shown(value)}")
    if value > LARGEST_WHOLE:
        raise ValueError(
            f"{name}: expected at most {LARGEST_WHOLE}, which the file of a sweep can hold, got a "
            f"number of {value.bit_length()} bits"
        )


def _number(name: str, value: Any) -> float:
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number that no float holds
            number = float(value)
    if not (math.isfinite(number) and number >= 0.0):
        raise ValueError(f"{name}: expected a finite number >= 0, got {shown(value)}")
    return number


def shown(value: Any) -> str:
    """A value as it is written, but a very long whole number, which Python may refuse to write."""
    long = isinstance(value, int) and value.bit_length() > 1024
    return f"a whole number of {value.bit_length()} bits" if long else repr(value)


# Results -----------------------------------------------------------------------------------------

PLATEAU_LEAST = 4.0
"""Non-zeros per feature below which a plateau is not looked for: the Θ law m' ≈ 2/(λt)² bends there
for want of survivors."""
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
    plateau_end: float | None = None
    """Flow time at which m'·t² is largest while m', the mean of the non-zeros per feature, is at
    least PLATEAU_LEAST: the corner of the sparsification, before which it is slower than m' ∝ 1/t²
    and after which it is faster. NaN where it goes on to the end."""
    plateau_height: float | None = None
    """m' at that time. The Θ law m' ≈ 2/(λt)² has no corner: m'·(λt)² is then close to 2 all along;
    a plateau that collapses makes it several times as large."""
    collapse_time: float | None = None
    """Flow time from which on m' is below half of that height."""
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
    """A name of :class:`flow.results.trajectory.Status`, or one of FAILURES."""
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
