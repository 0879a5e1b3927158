"""How long steps are: the first one, the longest that is safe, and what errors say of the next."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flow.forces import ForceSum
from flow.integrators.schemes import (
    LONGEST_GROWTH,
    LONGEST_GROWTH_BESIDE_DRIFT,
    LONGEST_OVERLAP,
)
from flow.kernels.interference import Coupling
from flow.kernels.rows import RowSums

SAFETY, SHRINK, GROW = 0.9, 0.2, 4.0
"""A step is changed to the best guess times SAFETY, but by no less and no more than these."""
FIXED_STEP_RTOL = 1e-8
"""Accuracy asked of the row solver where steps are fixed."""
OUTWEIGHS = 3.0
"""ℓ1 takes a row to zero for certain where it is so many times what general drifts push with; much
below, stages that hold the push as a rate do not settle as the row shrinks."""
SMALLEST = 1e-14
"""Steps below this share of t, or of 1/c, can no longer be told from none."""


@dataclass(frozen=True)
class StepControl:
    """Error control of a scheme, or steps of one length.

    The local error of a scheme of order p grows as h^(p+1). Where the allowed error is proportional
    to the step, their ratio grows only as h^p: a rejected step is shortened by that exponent, lest
    it be rejected again, while one that was accepted is lengthened by the smaller 1/(p + 1).
    """

    forces: ForceSum
    """What acts, added up."""
    rtol: float
    order: int
    """p of the scheme."""
    fixed: float | None = None
    """Length of every step, instead of error control."""

    def first(self, sums: RowSums) -> float:
        """A step over which no row moves far; scales as 1/c, so that conventions agree."""
        if self.fixed is not None:
            return self.fixed
        speeds = np.sqrt(sums.dissipation) / np.maximum(1.0, np.sqrt(sums.squared_norm))
        fastest = float(np.max(speeds))
        longest = 1.0 / self.forces.scale
        return min(longest, 0.1 * self.rtol ** (1.0 / 3.0) / fastest) if fastest > 0.0 else longest

    def longest(self, sums: RowSums, coupling: Coupling) -> float:
        """The step beyond which rounding or lost balances spoil it, whatever its error."""
        if self.fixed is not None:
            return self.fixed
        forces = self.forces
        pull = float(coupling.pull.max())
        longest = LONGEST_OVERLAP / pull if pull > 0.0 else math.inf
        if forces.growth_quadratic == 0.0:
            return longest
        growth = forces.growth_constant - coupling.radial
        growth -= forces.growth_quadratic * sums.squared_norm
        if forces.drifts:
            growth = np.where(self._vanishes(sums, growth), 0.0, growth)
        fastest = float(np.abs(growth).max())
        bound = LONGEST_GROWTH_BESIDE_DRIFT if forces.drifts else LONGEST_GROWTH
        return min(longest, bound / fastest) if fastest > 0.0 else longest

    def _vanishes(self, sums: RowSums, growth: np.ndarray) -> np.ndarray:
        """(n,) rows that ℓ1 takes to zero, and that are less than the error any step may make.

        Noise pushes with a force that stays finite as a row vanishes: as a rate it is infinite
        there, and steps bounded by it would get ever shorter and never to the row's end.
        """
        short = np.sqrt(sums.squared_norm) <= self.allowed(0.0)
        return short & (self.forces.l1 * sums.l1 > OUTWEIGHS * np.abs(growth) * sums.squared_norm)

    def allowed(self, h: float) -> float:
        """What error a step of length h may make: rtol·min(1, max(c h, 1/10)).

        Growth and races amplify an error by what is left of the run. Early steps are short, so
        charged by the step alone they would spend most of the error where it costs most.
        """
        if self.fixed is not None:
            return FIXED_STEP_RTOL
        return self.rtol * min(1.0, max(self.forces.scale * h, 0.1))

    def accepts(self, error: float, allowed: float) -> bool:
        """Whether a step with that error is taken. An error of NaN is not."""
        return self.fixed is not None or error <= allowed

    def after_rejection(self, h: float, error: float, allowed: float) -> float:
        """The step to try instead of one of length h."""
        ratio = (allowed / error) ** (1.0 / self.order) if math.isfinite(error) else 0.0
        return h * min(max(SAFETY * ratio, SHRINK), 0.9)

    def after_acceptance(self, h: float, wanted: float, error: float, allowed: float) -> float:
        """The step to try next, after one of length h where one of length `wanted` was due."""
        if self.fixed is not None:
            return wanted
        factor = GROW
        if error > 0.0:
            ratio = (allowed / error) ** (1.0 / (self.order + 1))
            factor = min(max(SAFETY * ratio, SHRINK), GROW)
        # A step cut short to land on a time says little about the next length.
        return max(wanted, h * factor) if h < wanted else h * factor

    def too_small(self, h: float, t: float) -> bool:
        """Whether t + h can no longer be told from t."""
        return h <= SMALLEST * max(t, 1.0 / self.forces.scale)
