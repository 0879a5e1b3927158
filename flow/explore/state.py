"""All that a page shows, as data: a start, the forces on it, and what is changed on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any

import numpy as np

from flow.defaults import DEFAULT_RTOL, split_noise_law
from flow.edit import assign, duplicate, flip
from flow.forces import (
    FeatureBenefit,
    Force,
    Interference,
    L2Regularization,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
)

MOST_WEIGHTS = 2**18
"""Largest n·m of a page: 256 × 1024."""
MOST_FEATURES = 512
"""Largest n: G has n² entries."""
MOST_CHANGES = 32
FORCES = ("feature-benefit", "interference", "regularization")
"""Forces that have a switch, as its flag."""
STRENGTHS = ("lam", "c", "c_interference", "mu")
"""Strengths that can be changed on the way."""


@dataclass(frozen=True)
class Strength:
    """Another λ, c, strength of interference or μ."""

    name: str
    """One of :data:`STRENGTHS`."""
    value: float

    def __post_init__(self) -> None:
        if self.name not in STRENGTHS:
            raise ValueError(f"expected one of {', '.join(STRENGTHS)}, got {self.name!r}")
        _number(self.name, self.value, 0.0)


@dataclass(frozen=True)
class Switch:
    """A force switched on or off."""

    force: str
    """One of :data:`FORCES`."""
    on: bool

    def __post_init__(self) -> None:
        _known_force(self.force)


@dataclass(frozen=True)
class Flip:
    """The sign of one weight turned."""

    feature: int
    neuron: int

    def of(self, W: np.ndarray) -> np.ndarray:
        """W : (n, m) after it; ValueError where the weight is zero."""
        if W[self.feature, self.neuron] == 0.0:
            raise ValueError(
                f"expected a weight that is not zero to flip, got feature {self.feature} on neuron "
                f"{self.neuron}, which is 0; choose another, or set it"
            )
        return flip(W, self.feature, self.neuron)


@dataclass(frozen=True)
class Assign:
    """One weight set; 0 kills it."""

    feature: int
    neuron: int
    value: float

    def __post_init__(self) -> None:
        _number("the weight", self.value, -1e3, 1e3)

    def of(self, W: np.ndarray) -> np.ndarray:
        """W : (n, m) after it."""
        return assign(W, self.feature, self.neuron, self.value)


@dataclass(frozen=True)
class Duplicate:
    """A copy of a neuron beside it, noise on both: :func:`flow.edit.duplicate`."""

    neuron: int
    noise: float = 0.01
    seed: int = 0
    opposed: bool = False

    def __post_init__(self) -> None:
        _number("noise", self.noise, 0.0)
        _whole("seed", self.seed, 0)

    def of(self, W: np.ndarray) -> np.ndarray:
        """W : (n, m + 1) after it."""
        return duplicate(W, self.neuron, noise=self.noise, seed=self.seed, opposed=self.opposed)


Edit = Flip | Assign | Duplicate
Change = Strength | Switch | Edit


@dataclass(frozen=True)
class Timed:
    """A change and the flow time at which it is made."""

    t: float
    change: Change


@dataclass(frozen=True)
class State:
    """Everything that decides what a page shows; two equal ones give the same bits.

    Raises ValueError, with what was expected, for a state that no page shows.
    """

    n: int = 64
    """Features."""
    m: int = 128
    """Neurons."""
    seed: int = 0
    scale: float = 1.0
    """The start has entries of standard deviation scale/√m."""
    lam: float = 0.01
    """Strength λ of regularization."""
    c: float = 1.0
    """Strength of feature benefit, and of interference where that has none of its own."""
    c_interference: float | None = None
    """Strength of interference, where it is another."""
    mu: float = 0.0
    """Strength μ of weight decay."""
    off: tuple[str, ...] = ()
    """Forces that are off from the start, in the order of :data:`FORCES`."""
    noise: str = "none"
    """Law of the noise in the hidden layer."""
    sigma: float = 0.1
    """Its standard deviation."""
    rtol: float = DEFAULT_RTOL
    t_end: float | None = None
    """Flow time to run to; None: to rest."""
    changes: tuple[Timed, ...] = ()
    """In the order of time; of one time, in the order in which they are made."""

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("m", 1), ("seed", 0)):
            _whole(name, getattr(self, name), least)
        if self.n * self.m > MOST_WEIGHTS or self.n > MOST_FEATURES:
            raise ValueError(
                f"expected n × m of at most {MOST_WEIGHTS:,} weights (256 × 1024) and n of at most "
                f"{MOST_FEATURES}, got {self.n} × {self.m}; python -m flow.simulate runs larger "
                f"ones"
            )
        for name in ("scale", "lam", "c", "mu", "sigma"):
            _number(name, getattr(self, name), 0.0)
        if self.c_interference is not None:
            _number("c_interference", self.c_interference, 0.0)
        if not 1e-8 <= self.rtol < 1.0:
            raise ValueError(f"rtol: expected a number >= 1e-8 and < 1, got {self.rtol!r}")
        if self.t_end is not None:
            _number("t_end", self.t_end, 0.0)
        for force in self.off:
            _known_force(force)
        if self.noise != "none":
            split_noise_law(self.noise)
        self._settle()
        self._check_changes()

    def _settle(self) -> None:
        """One way to write the same state."""
        settled: dict[str, object] = {"off": tuple(f for f in FORCES if f in self.off)}
        if self.noise == "none":
            settled["sigma"] = State.sigma
        for field in fields(self):
            if field.type == "float":
                settled[field.name] = float(getattr(self, field.name)) + 0.0
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def _check_changes(self) -> None:
        if len(self.changes) > MOST_CHANGES:
            raise ValueError(f"expected at most {MOST_CHANGES} changes, got {len(self.changes)}")
        times = [timed.t for timed in self.changes]
        for t in times:
            _number("the time of a change", t, 0.0)
        if times != sorted(times):
            raise ValueError(f"expected changes in the order of time, got {times}")
        if self.t_end is not None and times and times[-1] > self.t_end:
            raise ValueError(f"expected changes up to t_end = {self.t_end:g}, got {times[-1]:g}")
        m = self.m
        for timed in self.changes:
            change = timed.change
            for name, size in (("feature", self.n), ("neuron", m)):
                index = getattr(change, name, 0)
                if not 0 <= index < size:
                    raise ValueError(f"expected {name} 0 to {size - 1}, got {index}")
            m += isinstance(change, Duplicate)

    # What follows from it ------------------------------------------------------------------------

    def forces(self) -> tuple[Force, ...]:
        """The forces that act at the start."""
        push = self.c if self.c_interference is None else self.c_interference
        noisy = self.noise != "none"
        on = {force: force not in self.off for force in FORCES}
        found: list[Force] = []
        if on["feature-benefit"]:
            found.append(
                NoisyFeatureBenefit(self.sigma, self.noise, self.c)
                if noisy
                else FeatureBenefit(self.c)
            )
        if on["interference"]:
            found.append(
                NoisyInterference(self.sigma, self.noise, push) if noisy else Interference(push)
            )
        if on["regularization"]:
            found.append(Regularization(self.lam))
        if self.mu > 0.0:
            found.append(L2Regularization(self.mu))
        return tuple(found)

    def stages(self) -> Iterator[tuple[float, tuple[Edit, ...], State]]:
        """What is done at every time of a change: when, the edits of W, the state whose forces act
        from then on."""
        now = replace(self, changes=(), t_end=None)
        for t, group in groupby(self.changes, key=lambda timed: timed.t):
            edits = []
            for timed in group:
                change = timed.change
                if isinstance(change, Strength):
                    changed: dict[str, Any] = {change.name: change.value}
                    now = replace(now, **changed)
                elif isinstance(change, Switch):
                    off = {*now.off} - {change.force} if change.on else {*now.off, change.force}
                    now = replace(now, off=tuple(off))
                else:
                    edits.append(change)
            yield t, tuple(edits), now

    def at_end(self) -> State:
        """The state whose forces act after the last change."""
        *_, (_, _, last) = [(0.0, (), replace(self, changes=(), t_end=None)), *self.stages()]
        return last

    def until(self, t: float) -> State:
        """The same up to t: without the changes after it."""
        return replace(self, changes=tuple(timed for timed in self.changes if timed.t <= t))

    def changed(self, t: float, change: Change) -> State:
        """Another future: this one up to t, and a change there."""
        before = self.until(t)
        return replace(before, changes=(*before.changes, Timed(t, change)))

    @property
    def parent(self) -> State | None:
        """The future that the last change branched off; None where nothing was changed."""
        if not self.changes:
            return None
        last = self.changes[-1].t
        return replace(self, changes=tuple(timed for timed in self.changes if timed.t < last))


def _known_force(force: str) -> None:
    if force not in FORCES:
        raise ValueError(f"expected a force, one of {', '.join(FORCES)}, got {force!r}")


def _whole(name: str, value: int, least: int) -> None:
    if not (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        raise ValueError(f"{name}: expected a whole number >= {least}, got {value!r}")


def _number(name: str, value: float, least: float, most: float = math.inf) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and least <= value <= most):
        limit = "" if most == math.inf else f" and <= {most:g}"
        raise ValueError(f"{name}: expected a finite number >= {least:g}{limit}, got {value!r}")
