"""Integration schemes: small objects that propose one step; :mod:`flow.driver.integration` does the
rest.

A scheme states its order, whether it copes with the jump of −λ·sign(W) at zero, and whether it
estimates its error. Source: theory/README, section 5; the Chebyshev recurrence is that of RKC
(Sommeijer, Shampine, Verwer, J. Comput. Appl. Math. 88, 1998).
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from flow.forces import ForceSum
from flow.integrators.field import Field, RevivalCandidates
from flow.integrators.layout import State
from flow.kernels import interference as kernels
from flow.kernels import rows as row_kernels
from flow.kernels.interference import Coupling

LONGEST_GROWTH = 3.0
"""Steps stay below this over the fastest row growth: e^(growth·h) amplifies rounding."""
LONGEST_GROWTH_BESIDE_DRIFT = 0.1
"""The same where a general drift may hold the growth in balance: a stage damps what is stiff by
5 % at the least, which must make up for e^(growth·h)."""
LONGEST_OVERLAP = 1.5
"""Steps stay below this over the largest Σ_j φ(G_ij): through it rows that share a neuron grow at
each other's cost, a balance that a scheme loses where it treats growth and drift apart for long."""


class MeanDrift(NamedTuple):
    """The mean over a step of what a row feels of the others."""

    drift: Any
    """(entries,) mean of C."""
    radial: Any
    """(n,) mean of ρ."""


class Proposal(NamedTuple):
    """What a scheme proposes after a step, in the layout in which the step was made."""

    W: np.ndarray
    """(entries,)"""
    C: np.ndarray
    """(entries,) drift at W."""
    coupling: Coupling
    outside: RevivalCandidates | None
    """Zeros outside a sparse layout that may revive; None when dense."""
    error: float
    """max_i ‖local error of W_i‖₂ / max(1, ‖W_i‖₂); 0 for schemes without an estimate."""
    mean: MeanDrift | None = None
    """What the rows were solved under, for looking inside the step; None where that is not kept."""


class Scheme(Protocol):
    """What the driver needs to know of a scheme."""

    order: ClassVar[int]
    handles_jump: ClassVar[bool]
    """Whether weights may reach zero under −λ·sign(W)."""
    estimates_error: ClassVar[bool]

    def propose(self, field: Field, state: State, h: float, rtol: float) -> Proposal:
        """W after a step of length h, rows solved to a twentieth of rtol."""

    def inside(
        self, field: Field, state: State, proposal: Proposal, h: float, theta: float, rtol: float
    ) -> np.ndarray:
        """(entries,) W at the share 0 < theta < 1 of a step that was proposed."""


# Proximal Chebyshev ------------------------------------------------------------------------------


class Recurrence(NamedTuple):
    """Coefficients of a Runge–Kutta–Chebyshev method, by stage.

    They are packed, as near rest a step may have a thousand stages and many recurrences are kept.
    """

    mu: array[float]
    nu: array[float]
    mu_tilde: array[float]
    gamma_tilde: array[float]
    c: array[float]


DAMPING = 2.0 / 13.0


@lru_cache(maxsize=512)
def chebyshev_recurrence(stages: int) -> Recurrence:
    """Coefficients of the second-order Runge–Kutta–Chebyshev method with that many stages."""
    s = stages
    w0 = 1.0 + DAMPING / s**2
    T, dT, ddT = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for j in range(2, s + 1):
        T.append(2.0 * w0 * T[j - 1] - T[j - 2])
        dT.append(2.0 * T[j - 1] + 2.0 * w0 * dT[j - 1] - dT[j - 2])
        ddT.append(4.0 * dT[j - 1] + 2.0 * w0 * ddT[j - 1] - ddT[j - 2])
    w1 = dT[s] / ddT[s]
    b = [ddT[j] / dT[j] ** 2 if j >= 2 else 0.0 for j in range(s + 1)]
    b[0] = b[1] = b[2]
    c = [w1 * ddT[j] / dT[j] if j >= 2 else 0.0 for j in range(s + 1)]
    c[1] = c[2] / dT[2]
    mu, nu, mu_tilde, gamma_tilde = ([0.0] * (s + 1) for _ in range(4))
    gamma_tilde[1] = b[1] * w1
    for j in range(2, s + 1):
        mu[j] = 2.0 * b[j] * w0 / b[j - 1]
        nu[j] = -b[j] / b[j - 2]
        mu_tilde[j] = 2.0 * b[j] * w1 / b[j - 1]
        gamma_tilde[j] = -(1.0 - b[j - 1] * T[j - 1]) * mu_tilde[j]
    return Recurrence(*(array("d", x) for x in (mu, nu, mu_tilde, gamma_tilde, c)))


def chebyshev_stages(h: float, stiffness: float) -> int:
    """Fewest stages, at least two, whose stability interval (2/3)(s² − 1)(1 − 2ε/15) holds h·ρ."""
    needed = h * stiffness / (2.0 / 3.0 * (1.0 - 2.0 * DAMPING / 15.0))
    return max(2, math.ceil(math.sqrt(1.0 + needed)))


@dataclass(frozen=True)
class ProximalChebyshev:
    """Row growth and ℓ1 exact, interference by a stabilised explicit recurrence. Order two.

    Stage j starts from W at the beginning of the step and solves every row over c_j h under the
    mean drift P_j/c_j (:mod:`flow.kernels.rows`; the same for its radial rates), where

        P_1 = μ̃₁ C₀,    P_j = μ_j P_{j−1} + ν_j P_{j−2} + μ̃_j C(K_{j−1}) + γ̃_j C₀.

    Without growth and ℓ1 this is RKC; without interference it is exact. The number of stages
    grows as √(hρ) with the stiffness ρ of active overlaps, so long steps stay stable; zeros are
    exact at every stage. The error estimate is 0.8 h ‖P_s − (C₀ + C₁)/2‖ per row, plus that of
    the row solver.
    """

    order: ClassVar[int] = 2
    handles_jump: ClassVar[bool] = True
    estimates_error: ClassVar[bool] = True

    def propose(self, field: Field, state: State, h: float, rtol: float) -> Proposal:
        slots = field.slots
        start, W, C0 = state.layout.start, state.W, state.C
        g1 = slots.growth_quadratic
        row_problem = (slots.growth_constant, g1, slots.l1, 0.05 * rtol)
        error = np.zeros(field.n)
        W_new = np.empty_like(W)
        coupling = Coupling.zeros(field.n)
        rho0 = state.coupling.radial
        no_line = _no_line(C0)
        if not slots.couples_rows:
            row_kernels.advance_rows(
                start, W, C0, 1.0, rho0, rho0, h, *row_problem, W_new, error, *no_line
            )
            row_kernels.add_drift_error(
                start, W_new, C0, C0, C0, rho0, rho0, rho0, h, g1, 0.0, error
            )
            mean = MeanDrift(C0, rho0)
            return Proposal(W_new, C0.copy(), coupling, None, float(error.max()), mean)
        stages = chebyshev_stages(h, state.stiffness)
        r = chebyshev_recurrence(stages)
        P, previous = r.gamma_tilde[1] * C0, np.zeros_like(C0)
        R, R_previous = r.gamma_tilde[1] * rho0, np.zeros_like(rho0)
        for j in range(1, stages):
            mu, nu, mu_tilde, gamma_tilde = (
                r.mu[j + 1], r.nu[j + 1], r.mu_tilde[j + 1], r.gamma_tilde[j + 1],
            )  # fmt: skip
            row_kernels.advance_rows(
                start, W, P, 1.0 / r.c[j], R / r.c[j], rho0, r.c[j] * h, *row_problem, W_new, error,
                mu, nu, gamma_tilde, C0, previous,
            )  # fmt: skip
            field.sample(state.layout, W_new, previous, coupling, alpha=mu_tilde, beta=1.0)
            P, previous = previous, P
            R, R_previous = (
                mu * R + nu * R_previous + mu_tilde * coupling.radial + gamma_tilde * rho0,
                R,
            )
        row_kernels.advance_rows(start, W, P, 1.0, R, rho0, h, *row_problem, W_new, error, *no_line)
        C = previous
        outside = field.sample(state.layout, W_new, C, coupling, search=True)
        row_kernels.add_drift_error(
            start, W_new, P, C0, C, R, rho0, coupling.radial, h, g1, 0.8, error
        )
        if outside is not None:
            kernels.late_revivals(slots.l1, h, outside.row, outside.value, error)
        return Proposal(W_new, C, coupling, outside, float(error.max()), MeanDrift(P, R))

    def inside(
        self, field: Field, state: State, proposal: Proposal, h: float, theta: float, rtol: float
    ) -> np.ndarray:
        """The rows solved over θh under the mean drift C₀ + θ (P − C₀). Order two, zeros exact.

        P is the mean over the whole step. Deaths and revivals that the event log interpolates
        between the ends of the step may come a little earlier or later than here.
        """
        assert proposal.mean is not None
        slots, rho0 = field.slots, state.coupling.radial
        P, R = proposal.mean
        drift = state.C + np.asarray(theta, state.C.dtype) * (P - state.C)
        W, error = np.empty_like(state.W), np.zeros(field.n)
        row_kernels.advance_rows(
            state.layout.start, state.W, drift, 1.0, rho0 + theta * (R - rho0), rho0, theta * h,
            slots.growth_constant, slots.growth_quadratic, slots.l1, 0.05 * rtol, W, error,
            *_no_line(drift),
        )  # fmt: skip
        return W


def _no_line(C: np.ndarray) -> tuple[float, float, float, np.ndarray, np.ndarray]:
    """For rows that are advanced without going on with the recurrence."""
    return 0.0, 0.0, 0.0, C, C[:0]


# Reference schemes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProximalEuler:
    """Forward Euler on the smooth forces, soft threshold for ℓ1: the plain reference. Order one.

    W ← shrink(W + h f(W), hλ)
    """

    order: ClassVar[int] = 1
    handles_jump: ClassVar[bool] = True
    estimates_error: ClassVar[bool] = False

    def propose(self, field: Field, state: State, h: float, rtol: float) -> Proposal:
        slots = field.slots
        W_new, C = np.empty_like(state.W), np.empty_like(state.C)
        coupling = Coupling.zeros(field.n)
        row_kernels.soft_threshold_step(
            state.layout.start, state.W, state.C, state.coupling.radial, h,
            slots.growth_constant, slots.growth_quadratic, slots.l1, W_new,
        )  # fmt: skip
        outside = field.sample(state.layout, W_new, C, coupling, search=True)
        return Proposal(W_new, C, coupling, outside, 0.0)

    def inside(
        self, field: Field, state: State, proposal: Proposal, h: float, theta: float, rtol: float
    ) -> np.ndarray:
        """A shorter step. Order one."""
        slots = field.slots
        W = np.empty_like(state.W)
        row_kernels.soft_threshold_step(
            state.layout.start, state.W, state.C, state.coupling.radial, theta * h,
            slots.growth_constant, slots.growth_quadratic, slots.l1, W,
        )  # fmt: skip
        return W


class Tableau(NamedTuple):
    """An explicit Runge–Kutta method whose last stage is the first of the next step."""

    stages: tuple[tuple[float, ...], ...]
    """Row j: the weights of the rates before it, in units of h."""
    error: tuple[float, ...]
    """Weights of the rates in the error estimate."""


@dataclass(frozen=True)
class BogackiShampine:
    """Explicit Runge–Kutta 3(2) on the literal field, for smooth force sets only. Order three.

    Refused by :func:`flow.integrate` when ℓ1 is on: the field then jumps at zero, where an
    explicit method chatters (theory/README, section 1). Source: Bogacki, Shampine, Appl. Math.
    Lett. 2, 1989.
    """

    order: ClassVar[int] = 3
    handles_jump: ClassVar[bool] = False
    estimates_error: ClassVar[bool] = True
    tableau: ClassVar[Tableau] = Tableau(
        stages=((1.0 / 2.0,), (0.0, 3.0 / 4.0), (2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0)),
        error=(-5.0 / 72.0, 1.0 / 12.0, 1.0 / 9.0, -1.0 / 8.0),
    )

    def propose(self, field: Field, state: State, h: float, rtol: float) -> Proposal:
        layout, slots = state.layout, field.slots
        grid = (field.n, layout.width)
        C, coupling = state.C, state.coupling
        W = stage = state.W.reshape(grid)
        rates = [_smooth_rate(slots, stage, C, coupling)]
        C, coupling = np.empty_like(state.C), Coupling.zeros(field.n)
        for weights in self.tableau.stages:
            stage = W + h * sum(a * k for a, k in zip(weights, rates, strict=True))
            field.sample(layout, stage.ravel(), C, coupling)
            rates.append(_smooth_rate(slots, stage, C, coupling))
        defect = h * sum(a * k for a, k in zip(self.tableau.error, rates, strict=True))
        size = np.maximum(1.0, np.linalg.norm(stage, axis=1))
        error = float(np.max(np.linalg.norm(defect, axis=1) / size))
        return Proposal(stage.ravel(), C, coupling, None, error)

    def inside(
        self, field: Field, state: State, proposal: Proposal, h: float, theta: float, rtol: float
    ) -> np.ndarray:
        """The cubic through W and dW/dt at both ends (Hermite). Order three."""
        grid, slots = (field.n, state.layout.width), field.slots
        before, after = state.W.reshape(grid), proposal.W.reshape(grid)
        slope0 = h * _smooth_rate(slots, before, state.C, state.coupling)
        slope1 = h * _smooth_rate(slots, after, proposal.C, proposal.coupling)
        change = after - before
        bend = (1.0 - 2.0 * theta) * change + (theta - 1.0) * slope0 + theta * slope1
        return (before + theta * change + theta * (theta - 1.0) * bend).ravel()


def _smooth_rate(slots: ForceSum, W: np.ndarray, C: np.ndarray, coupling: Coupling) -> np.ndarray:
    """dW/dt : (n, width) without ℓ1, from the drift at W."""
    squared = (W * W).sum(axis=1)
    growth = slots.growth_constant - coupling.radial - slots.growth_quadratic * squared
    return np.asarray(growth.astype(W.dtype)[:, None] * W - C.reshape(W.shape))


SCHEMES: dict[str, type[Scheme]] = {
    scheme.__name__: scheme for scheme in (ProximalChebyshev, ProximalEuler, BogackiShampine)
}
"""By the names that runs record."""
