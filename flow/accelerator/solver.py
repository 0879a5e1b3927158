"""The flow for diffrax: a term for semilinear-plus-ℓ1 equations and the solver that copes with it.

An ordinary solver chatters on −λ·sign(W). :class:`ProximalChebyshevSolver` is the scheme of
:class:`flow.integrators.schemes.ProximalChebyshev`: zeros are reached, kept and left exactly. It is
used as any other solver of diffrax,

    term = flow_term([FeatureBenefit(), Interference(), Regularization(0.01)])
    solution = diffrax.diffeqsolve(
        term, ProximalChebyshevSolver(), 0.0, 50.0, 0.01, W0,
        stepsize_controller=row_controller(5e-3),
    )

and for equations that are not this flow with a :class:`SemilinearTerm` of one's own.
Source: theory/README, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flow.accelerator.rows import (
    FAILED,
    Array,
    advance_rows,
    phi_functions,
    row_sum,
    scalar_dtype,
)
from flow.defaults import DEFAULT_RTOL
from flow.forces import Force, ForceSum, sum_forces, with_jump
from flow.integrators.schemes import (
    DAMPING,
    LONGEST_GROWTH,
    LONGEST_GROWTH_BESIDE_DRIFT,
    LONGEST_OVERLAP,
    chebyshev_recurrence,
)
from flow.kernels.interference import POWER_ITERATIONS, Coupling

# Terms -------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """The field at one W; what the solver carries from step to step."""

    C: Array
    """(…, m) drift: dW_i/dt = (growth − ρ_i) W_i − C_i − λ·sign(W_i)."""
    coupling: Coupling
    """Each (…,): Σ_j φ(G_ij), Σ_j ReLU(G_ij)², and ρ_i; the first two are 0 for other equations."""
    stiffness: Array
    """Upper estimate of the fastest rate of the drift, 1/time."""
    evaluations: Array
    """Evaluations of the drift in the step that led here."""


class SemilinearTerm(diffrax.AbstractTerm):
    """dW_i/dt = (g₀ − g₁‖W_i‖²) W_i + f_i(t, W) − λ·sign(W_i), one row per leading index.

    A single array W : (…, m) is evolved; a vector is one row. The growth and the ℓ1 force are
    solved exactly; f is any smooth rate, for which :class:`ProximalChebyshevSolver` is explicit
    and stabilised along the negative real axis: dissipative f, such as minus the gradient of a
    loss, may be stiff.
    """

    rate: Callable[[Array, Array, Any], Array] | None = None
    """f(t, W, args) → (…, m); None for zero."""
    growth_constant: Any = 0.0
    """g₀."""
    growth_quadratic: Any = 0.0
    """g₁ ≥ 0."""
    l1: Any = 0.0
    """λ ≥ 0."""
    stiffness: Any = None
    """Upper bound on the fastest decay rate of f, 1/time; None estimates it by power iteration on
    the Jacobian of f, 8 products per step."""

    @property
    def couples_rows(self) -> bool:
        """Whether anything but growth and ℓ1 acts."""
        return self.rate is not None

    @property
    def has_general_drift(self) -> bool:
        """Whether more acts than growth, ℓ1 and interference."""
        return self.rate is not None

    def sample(self, t: Array, W: Array, args: Any) -> Sample:
        """The drift at W. `evaluations` is for the solver to fill in."""
        nothing = jnp.zeros(W.shape[:-1], scalar_dtype())
        coupling = Coupling(nothing, nothing, nothing)
        if self.rate is None:
            return Sample(jnp.zeros_like(W), coupling, jnp.zeros((), scalar_dtype()), _count(0))
        rate = partial(_at_full_precision, self.rate)
        if self.stiffness is None:
            f, jacobian = jax.linearize(lambda W: rate(t, W, args), W)
            stiffness = _fastest_rate(jacobian, W)
        else:
            f, stiffness = rate(t, W, args), self.stiffness
        return Sample(-f, coupling, jnp.asarray(stiffness, scalar_dtype()), _count(1))

    def longest_step(self, W: Array, sample: Sample) -> Array:
        """The step beyond which rounding or lost balances spoil a step, whatever its error."""
        longest = LONGEST_GROWTH_BESIDE_DRIFT if self.has_general_drift else LONGEST_GROWTH
        g1 = self.growth_quadratic
        growth = self.growth_constant - sample.coupling.radial - g1 * row_sum(W * W)
        fastest = jnp.max(jnp.abs(jnp.where(g1 == 0.0, 0.0, growth)))
        coupling = jnp.max(sample.coupling.pull)
        return jnp.minimum(
            longest / jnp.maximum(fastest, 1e-30),
            LONGEST_OVERLAP / jnp.maximum(coupling, 1e-30),
        )

    def vf(self, t: Array, y: Array, args: Any) -> Array:
        """dW/dt, with the right value at zero: :func:`flow.forces.velocity`."""
        _check_state(y)
        return self.velocity(y, self.sample(t, y, args))

    def velocity(self, W: Array, sample: Sample) -> Array:
        """dW/dt at a W whose drift has been sampled."""
        dtype = W.dtype
        growth = self.growth_constant - sample.coupling.radial
        growth -= self.growth_quadratic * row_sum(W * W)
        lam = jnp.asarray(self.l1, dtype)
        smooth = growth.astype(dtype)[..., None] * W - sample.C
        return with_jump(smooth, lam, W)

    def contr(self, t0: Array, t1: Array, **kwargs: Any) -> Array:
        return t1 - t0

    def prod(self, vf: Array, control: Array) -> Array:
        return vf * jnp.asarray(control, vf.dtype)


def _count(number: int) -> Array:
    """Of the type that a stage count has: another would compile every program twice."""
    return jnp.full((), number, jnp.result_type(int))


def _at_full_precision(call: Callable[..., Array], *arguments: Any) -> Array:
    """Matrix products in `call` keep the precision of their operands on every device."""
    with jax.default_matmul_precision("highest"):
        return call(*arguments)


def _length(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x * x, dtype=scalar_dtype()))


def _fastest_rate(jacobian: Callable[[Array], Array], W: Array) -> Array:
    """Power-iteration estimate of the size of the Jacobian's largest eigenvalue, raised by 10 %."""
    v = 1.0 + 0.5 * jnp.cos(1.0 + jnp.arange(W.size, dtype=W.dtype)).reshape(W.shape)

    def iterate(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        v, _ = carry
        u = jacobian(v)
        length = _length(u)
        return u / jnp.where(length == 0.0, 1.0, length).astype(u.dtype), length

    v = v / _length(v).astype(v.dtype)
    _, top = lax.fori_loop(0, POWER_ITERATIONS, iterate, (v, jnp.zeros((), scalar_dtype())))
    return 1.1 * lax.stop_gradient(top)


class FlowTerm(SemilinearTerm):
    """The flow of a set of forces, read from their slots. Make one with :func:`flow_term`."""

    pair_strength: Any = 0.0
    """Strength c of the interference φ(G) = c·ReLU(G) − c'·ReLU(−G)."""
    leak_strength: Any = 0.0
    """c'."""
    drifts: tuple[Force, ...] = eqx.field(static=True, default=())
    """Forces with a drift that fits no other slot."""
    interferes: bool = eqx.field(static=True, default=True)
    """Whether `pair_strength` or `leak_strength` may differ from 0."""
    leaks: bool = eqx.field(static=True, default=True)
    """Whether `leak_strength` may."""

    @property
    def couples_rows(self) -> bool:
        return self.interferes or bool(self.drifts)

    @property
    def has_general_drift(self) -> bool:
        return bool(self.drifts)

    def sample(self, t: Array, W: Array, args: Any) -> Sample:
        n = W.shape[0]
        C, rho = jnp.zeros_like(W), jnp.zeros(n, scalar_dtype())
        total, squared, stiffness = rho, rho, jnp.zeros((), scalar_dtype())
        if self.interferes:
            c = jnp.asarray(self.pair_strength, W.dtype)
            G = jnp.matmul(W, W.T, precision=lax.Precision.HIGHEST)
            own = jnp.diagonal(G)
            relu = jnp.where(jnp.eye(n, dtype=bool), 0.0, jnp.maximum(G, 0.0))
            total, squared = self.pair_strength * row_sum(relu), row_sum(relu * relu)
            rho = jnp.where(
                own > 0.0, self.pair_strength * squared / jnp.where(own > 0.0, own, 1.0), 0.0
            )
            phi, slope = c * relu, self.pair_strength
            if self.leaks:
                below = jnp.where(jnp.eye(n, dtype=bool), 0.0, jnp.maximum(-G, 0.0))
                total = total + self.leak_strength * row_sum(below)
                pairing = self.leak_strength * row_sum(below * below)
                rho = rho + jnp.where(own > 0.0, pairing / jnp.where(own > 0.0, own, 1.0), 0.0)
                phi = phi - jnp.asarray(self.leak_strength, W.dtype) * below
                slope = jnp.maximum(slope, self.leak_strength)
            phi = jnp.where(jnp.eye(n, dtype=bool), -rho.astype(W.dtype)[:, None], phi)
            C = jnp.matmul(phi, W, precision=lax.Precision.HIGHEST)
            top = _top_eigenvalue(G, total > 0.0)
            stiffness = 1.1 * (2.0 * slope * top + jnp.max(total))
        for force in self.drifts:
            C = C - _at_full_precision(force.drift, W)
            own = _at_full_precision(force.stiffness, W)
            stiffness = stiffness + own.astype(scalar_dtype())
        if self.drifts:
            # Perpendicular to its row: the rest is linear in the row's length, as growth is.
            size = row_sum(W * W)
            radial = jnp.where(size > 0.0, row_sum(C * W) / jnp.where(size > 0.0, size, 1.0), 0.0)
            C = C - radial.astype(W.dtype)[:, None] * W
            rho = rho + radial
        coupling = Coupling(total, squared, rho)
        return Sample(C, coupling, lax.stop_gradient(stiffness), _count(self.couples_rows))


def _top_eigenvalue(G: Array, overlapping: Array) -> Array:
    """Of G among the rows that overlap with another: as
    flow.kernels.interference.dense_top_eigenvalue."""
    start = 1.0 + 0.5 * jnp.cos(1.0 + jnp.arange(G.shape[0], dtype=G.dtype))
    v = jnp.where(overlapping, start, 0.0)

    def apply(v: Array) -> Array:
        return jnp.where(overlapping, jnp.matmul(G, v, precision=lax.Precision.HIGHEST), 0.0)

    for _ in range(POWER_ITERATIONS - 1):
        u = apply(v)
        length = _length(u)
        v = u / jnp.where(length > 0.0, length, 1.0).astype(u.dtype)
    norm = row_sum(v * v)
    return jnp.where(norm > 0.0, row_sum(apply(v) * v) / jnp.where(norm > 0.0, norm, 1.0), 0.0)


def flow_term(forces: Sequence[Force] | ForceSum) -> FlowTerm:
    """The term of dW/dt = Σ forces, for W : (n, m); TypeError for anything that is not a force.

    Source: theory/README, section 1.
    """
    slots = forces if isinstance(forces, ForceSum) else sum_forces(forces)
    return FlowTerm(
        growth_constant=slots.growth_constant,
        growth_quadratic=slots.growth_quadratic,
        l1=slots.l1,
        pair_strength=slots.pair_strength,
        leak_strength=slots.leak_strength,
        drifts=slots.drifts,
        interferes=slots.interferes,
        leaks=slots.leak_strength != 0.0,
    )


# Error norm --------------------------------------------------------------------------------------


def row_norm(error: Any) -> Array:
    """The largest 2-norm of a row: the norm in which `rtol` bounds the error of a step."""
    return jnp.max(jnp.stack([jnp.max(jnp.sqrt(row_sum(x * x))) for x in jax.tree.leaves(error)]))


def row_controller(rtol: float, **settings: Any) -> diffrax.PIDController:
    """Step control that bounds max_i ‖local error of W_i‖₂ / max(1, ‖W_i‖₂) by `rtol`.

    The division is in the solver's error estimate already, so `rtol` is the controller's atol.
    `settings` go to :class:`diffrax.PIDController`.
    """
    return diffrax.PIDController(
        rtol=0.0, atol=rtol, norm=row_norm, **{"factormax": 4.0, **settings}
    )


# Solver ------------------------------------------------------------------------------------------

MAX_STAGES = 1000
"""Stages a step may have; one that needs more is reported as failed, and so made shorter."""
_STABLE = 2.0 / 3.0 * (1.0 - 2.0 * DAMPING / 15.0)


class _Line(NamedTuple):
    """Stage j of the Chebyshev recurrence: what it and the one before it have, in this order."""

    j: Array
    T: tuple[Array, Array]
    dT: tuple[Array, Array]
    ddT: tuple[Array, Array]
    b: tuple[Array, Array]
    P: tuple[Array, Array]
    R: tuple[Array, Array]
    K: Array
    row_error: Array
    sample: Sample


def _second_weights() -> np.ndarray:
    """w₁ = T'_s(w₀)/T''_s(w₀) of the recurrence with s stages, which its stages start from."""
    # μ̃₂ = 2 b₂ w₁/b₁ with b₁ = b₂.
    stages = range(2, MAX_STAGES + 1)
    return np.array([0.0, 0.0, *(0.5 * chebyshev_recurrence(s).mu_tilde[2] for s in stages)])


_SECOND_WEIGHTS = _second_weights()


class RowInterpolation(diffrax.AbstractLocalInterpolation):
    """Inside a step: the rows solved over part of it. Second order, zeros exact."""

    t0: Any  # type: ignore[misc]  # diffrax declares it abstract
    t1: Any  # type: ignore[misc]
    y0: Array
    C0: Array
    P: Array
    """Mean drift over the step; up to a time θ inside it, C₀ + θ (P − C₀)."""
    rho0: Array
    rho: Array
    equation: Array
    """g₀, g₁, λ and the accuracy of the row solver."""

    def evaluate(self, t0: Any, t1: Any | None = None, left: bool = True) -> Array:
        if t1 is not None:
            return self.evaluate(t1, left=left) - self.evaluate(t0, left=left)
        h = jnp.asarray(t0 - self.t0, scalar_dtype())
        length = self.t1 - self.t0
        theta = jnp.where(length == 0.0, 0.0, h / jnp.where(length == 0.0, 1.0, length))
        mean = self.C0 + theta.astype(self.P.dtype) * (self.P - self.C0)
        rho = self.rho0 + theta * (self.rho - self.rho0)
        one = jnp.ones((), scalar_dtype())
        W, _ = advance_rows(self.y0, mean, one, rho, self.rho0, h, *self.equation)
        return W


class ProximalChebyshevSolver(diffrax.AbstractAdaptiveSolver):
    """Row growth and ℓ1 exact, the rest by a stabilised explicit recurrence. Order two.

    The scheme of :class:`flow.integrators.schemes.ProximalChebyshev`, for any
    :class:`SemilinearTerm`; takes every step size controller, SaveAt, event and progress meter of
    diffrax, and jit and vmap. Its error estimate is that of a row, ‖err_i‖₂/max(1, ‖W_i‖₂), spread
    over the weights of the row in proportion to their size, so that zeros have none:
    :func:`row_controller` reads it in the norm that is meant, and the usual norms make sense as
    well.

    Forward-mode derivatives (``diffrax.ForwardMode()``) work as it stands. Reverse mode needs a
    bound on the number of stages: give `max_stages`. Derivatives are those of the numerical
    solution at fixed step sizes; the flow is differentiable except where a weight just reaches
    zero or just leaves it, where one of the one-sided derivatives is returned.

    Raises, where diffrax raises: RuntimeError for a solve backward in time, in which the ℓ1 flow
    is not unique; ValueError for a state that is not one array of floats.
    Source: theory/README, section 5.
    """

    rtol: float = DEFAULT_RTOL
    """The tolerance of the controller: rows are solved to 1/20 of it."""
    max_stages: int | None = eqx.field(static=True, default=None)
    """Most stages of a step. None: up to :data:`MAX_STAGES`, and no reverse-mode derivatives."""
    bounds_steps: bool = eqx.field(static=True, default=True)
    """Whether the error estimate also keeps steps below :meth:`SemilinearTerm.longest_step`."""
    members: str | None = eqx.field(static=True, default=None)
    """The axis name of the ``vmap`` that the solver is under, if any. All members then make as many
    turns as the one with most stages, which saves choosing between arrays at every turn."""

    term_structure: ClassVar[Any] = SemilinearTerm
    interpolation_cls: ClassVar[Any] = RowInterpolation

    def order(self, terms: Any) -> int:
        return 2

    def error_order(self, terms: Any) -> int:
        return 3

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Sample:
        return _inner(terms).sample(t0, y0, args)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Array:
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Sample,
        made_jump: Any,
    ) -> tuple[Array, Array, dict[str, Array], Sample, Any]:  # fmt: skip
        term, y0 = _forward(terms, y0)
        start = solver_state
        if made_jump is not False:
            start = lax.cond(made_jump, lambda s: term.sample(t0, y0, args), lambda s: s, start)
        scalar = partial(jnp.asarray, dtype=scalar_dtype())
        h = scalar(t1 - t0)
        equation = jnp.stack([
            scalar(x) for x in (term.growth_constant, term.growth_quadratic, term.l1)
        ] + [scalar(0.05 * self.rtol)])  # fmt: skip
        rho0 = start.coupling.radial
        if not term.couples_rows:
            y1, row_error = advance_rows(y0, start.C, jnp.ones_like(h), rho0, rho0, h, *equation)
            P, R, end = start.C, rho0, start
        else:
            y1, row_error, end, P, R = self._stages(term, t0, h, y0, args, start, equation)
            row_error += _drift_error(term, h, y1, start, end, P, R)
            row_error = jnp.where(end.evaluations <= self._most, row_error, FAILED)
        row_error /= jnp.maximum(1.0, jnp.sqrt(row_sum(y1 * y1)))
        if self.bounds_steps:
            # Safety 0.9 of the usual controller then proposes the longest step next.
            longest = term.longest_step(y0, start)
            row_error = jnp.maximum(row_error, 0.9**3 * self.rtol * (h / longest) ** 3)
        error = lax.stop_gradient(_spread(row_error, y1))
        dense = {"y0": y0, "C0": start.C, "P": P, "rho0": rho0, "rho": R, "equation": equation}
        return y1, error, dense, end, diffrax.RESULTS.successful

    @property
    def _most(self) -> int:
        return MAX_STAGES if self.max_stages is None else min(self.max_stages, MAX_STAGES)

    def _stages(
        self, term: SemilinearTerm, t0: Any, h: Array, W: Array, args: Any, start: Sample,
        equation: Array,
    ) -> tuple[Array, Array, Sample, Array, Array]:  # fmt: skip
        """W after the step, its row errors, its sample, mean drift P_s and mean radial rates."""
        C0, rho0 = start.C, start.coupling.radial
        needed = jnp.ceil(jnp.sqrt(1.0 + h * start.stiffness / _STABLE))
        stages = jnp.clip(needed, 2.0, 2.0**30).astype(int)
        # A step that needs too many is made with two, and thrown away.
        s = lax.stop_gradient(jnp.where(stages <= self._most, stages, 2))
        w0 = 1.0 + DAMPING / jnp.asarray(s, scalar_dtype()) ** 2
        w1 = jnp.asarray(_SECOND_WEIGHTS, scalar_dtype())[s]
        b2 = 1.0 / (4.0 * w0 * w0)
        cast = partial(jnp.asarray, dtype=W.dtype)

        def stage(line: _Line) -> _Line:
            j, T, dT, ddT, b = line.j, line.T, line.dT, line.ddT, line.b
            last = j >= s
            c = jnp.where(j == 1, w1 * b2, w1 * ddT[0] / dT[0])
            c = jnp.where(last, 1.0, c)
            K, row_error = advance_rows(
                W, line.P[0], 1.0 / c, line.R[0] / c, rho0, c * h, *equation
            )
            sample = term.sample(t0 + (c * h).astype(jnp.result_type(t0)), K, args)
            T_next = 2.0 * w0 * T[0] - T[1]
            dT_next = 2.0 * T[0] + 2.0 * w0 * dT[0] - dT[1]
            ddT_next = 4.0 * dT[0] + 2.0 * w0 * ddT[0] - ddT[1]
            b_next = ddT_next / dT_next**2
            mu, nu, mu_tilde = 2.0 * b_next * w0 / b[0], -b_next / b[1], 2.0 * b_next * w1 / b[0]
            gamma_tilde = -(1.0 - b[0] * T[0]) * mu_tilde
            P = cast(mu) * line.P[0] + cast(nu) * line.P[1]
            P = P + cast(mu_tilde) * sample.C + cast(gamma_tilde) * C0
            R = mu * line.R[0] + nu * line.R[1]
            R = R + mu_tilde * sample.coupling.radial + gamma_tilde * rho0
            # After its last stage a step stands: another turn, for the sake of members that need
            # it, finds the same again.
            stand = partial(jnp.where, last)

            def scalar(x: tuple[Array, Array], new: Array) -> tuple[Array, Array]:
                return stand(x[0], new), stand(x[1], x[0])

            return _Line(
                j + 1, scalar(T, T_next), scalar(dT, dT_next), scalar(ddT, ddT_next),
                scalar(b, b_next), (stand(line.P[0], P), line.P[0]),
                (stand(line.R[0], R), line.R[0]), K, row_error, sample,
            )  # fmt: skip

        one, nought = jnp.ones_like(w0), jnp.zeros_like(w0)
        first = b2 * w1
        line = _Line(
            jnp.asarray(1, s.dtype), (w0, one), (one, nought), (nought, nought), (b2, b2),
            (cast(first) * C0, jnp.zeros_like(C0)), (first * rho0, jnp.zeros_like(rho0)),
            W, jnp.zeros_like(rho0), start,
        )  # fmt: skip
        turns = s if self.members is None else lax.pmax(s, self.members)
        if self.max_stages is None:
            line = lax.while_loop(lambda line: line.j <= turns, stage, line)
            line = _nondifferentiable_backward(line)
        else:
            line = eqxi.while_loop(
                lambda line: line.j <= turns, stage, line, max_steps=self._most,
                kind="checkpointed",
            )  # fmt: skip
        end = line.sample._replace(evaluations=stages)
        return line.K, line.row_error, end, line.P[0], line.R[0]


def _drift_error(
    term: SemilinearTerm, h: Array, W: Array, start: Sample, end: Sample, P: Array, R: Array
) -> Array:
    """0.8 h ‖P − (C₀ + C₁)/2‖ over the non-zeros, with the radial rates, damped as lengths are."""
    defect = jnp.where(W != 0.0, P - 0.5 * (start.C + end.C), 0.0)
    squared = row_sum(W * W)
    radial = R - 0.5 * (start.coupling.radial + end.coupling.radial)
    radial *= phi_functions(-2.0 * term.growth_quadratic * squared * h)[0]
    return 0.8 * h * jnp.sqrt(row_sum(defect * defect) + squared * radial * radial)


def _spread(row_error: Array, W: Array) -> Array:
    """An array like W whose rows have these 2-norms: proportional to |W|, even for a zero row."""
    length = jnp.sqrt(row_sum(W * W))[..., None]
    share = jnp.abs(W) / jnp.where(length > 0.0, length, 1.0).astype(W.dtype)
    share = jnp.where(length > 0.0, share, 1.0 / np.sqrt(W.shape[-1]))
    return row_error[..., None].astype(W.dtype) * share.astype(W.dtype)


def _check_state(y: Any) -> None:
    if not (eqx.is_inexact_array(y) and y.ndim >= 1):
        raise ValueError(
            f"ProximalChebyshevSolver evolves one array of floats, rows along its last axis, got "
            f"{jax.tree.structure(y)}; stack the rows into one array"
        )


def _inner(terms: Any) -> SemilinearTerm:
    """The term as it was given to diffeqsolve, which wraps it to keep the direction of time."""
    return terms if isinstance(terms, SemilinearTerm) else terms.term


def _forward(terms: Any, y0: Array) -> tuple[SemilinearTerm, Array]:
    """The same, and a check that time runs forward."""
    if not isinstance(terms, SemilinearTerm):
        y0 = eqx.error_if(
            y0,
            terms.direction < 0,
            "the l1 flow is unique forward in time only: expected t1 >= t0; swap them",
        )
    return _inner(terms), y0


def _nondifferentiable_backward(tree: Any) -> Any:
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    message = (
        "reverse-mode derivatives of ProximalChebyshevSolver need a bound on its stages: give "
        "ProximalChebyshevSolver(max_stages=...), or use adjoint=diffrax.ForwardMode()"
    )
    return eqx.combine(eqxi.nondifferentiable_backward(arrays, msg=message), rest)
