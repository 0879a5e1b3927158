"""Rectified outputs under hidden noise: E ReLU(g + z)² and its relatives, z = W_j·ξ.

ξ : (m,) has independent entries of one symmetric law with standard deviation σ. For every output
j, with s = σ‖W_j‖ and at any preactivation g,

    f(g) = E ReLU(g + z)²,    e(g) = E ReLU(g + z) = f'(g)/2,    p(g) = P(g + z > 0) = e'(g)

are a closed form plus a Fourier integral of what that form leaves out (theory/README, section 6):

    f(g) = f₀(g) + (2/π) ∫₀^∞ sin(gτ) [ψ₀(τ) − ψ(τ)] τ⁻³ dτ,        ψ(τ) = E cos(zτ).

f₀ takes z for normal, f₀(g) = (g² + s²)Φ(g/s) + g s φ(g/s), but for bipolar noise on the
:data:`ENUMERATED` largest weights of the row, whose signs are summed over: rows with no more
weights than that are exact, and so is normal noise, whose integral vanishes.

The integral is a sum over fixed nodes u = sτ, where |g|/s is held below the reach of the law. Its
error in f is at most `accuracy`·s² where truncation decides: envelope(U)/(πU²) beyond the last
node U. It is worst for bipolar noise, whose f has kinks in its slope (error of e up to
√accuracy·s/2 at a kink of an otherwise sparse row; 1e-5 s and less on rows that are spread).

Everything here reads NumPy and JAX arrays alike. Runs on NumPy arrays have the same from kernels
(flow/kernels/noise.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple, Protocol

import numpy as np

from flow.defaults import split_noise_law

Array = Any

ENUMERATED = 4
"""Weights of a row whose bipolar noise is summed over sign by sign."""
PANEL = 16
"""Nodes of a Gauss–Legendre panel."""
BLOCK = 2**18
"""Rows are treated together while their arrays have up to so many entries (second cache)."""


# Laws --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """A symmetric law of variance one, as its characteristic function sees it."""

    transform: Callable[[Any, Array], tuple[Array, Array]]
    """(namespace, θ) → ψ(θ) and −ψ'(θ)/ψ(θ)."""
    envelope: Callable[[float], float]
    """Decreasing bound of |E cos(uz)| for every weighted sum z of unit variance."""
    reach: Callable[[float], float]
    """accuracy → |g|/s beyond which noise hardly matters, or the power law has set in."""
    enumerable: bool = False
    """Whether the law is ±1, so that its signs can be summed over."""
    tail: float = math.inf
    """Power p with which f(−g) decays like |g|⁻ᵖ; infinite where it decays exponentially."""


def _bipolar(xp: Any, theta: Array) -> tuple[Array, Array]:
    cos = xp.cos(theta)
    cos = xp.where(cos == 0.0, np.finfo(theta.dtype).tiny, cos)
    return cos, xp.sin(theta) / cos


def _uniform(xp: Any, theta: Array) -> tuple[Array, Array]:
    x = math.sqrt(3.0) * theta
    near = xp.abs(x) < 0.02
    far = xp.where(near, 1.0, x)
    sinc = xp.where(near, 1.0 - x * x / 6.0 * (1.0 - x * x / 20.0), xp.sin(far) / far)
    sinc = xp.where(sinc == 0.0, np.finfo(theta.dtype).tiny, sinc)
    # −(sinc x)'/sinc x = 1/x − cot x = x/3 + x³/45 + …
    slope = xp.where(near, x / 3.0 * (1.0 + x * x / 15.0), (sinc - xp.cos(far)) / (far * sinc))
    return sinc, math.sqrt(3.0) * slope


def _normal(xp: Any, theta: Array) -> tuple[Array, Array]:
    return xp.exp(-0.5 * theta * theta), theta


def _laplace(xp: Any, theta: Array) -> tuple[Array, Array]:
    psi = 1.0 / (1.0 + 0.5 * theta * theta)
    return psi, theta * psi


def _student(df: int) -> Callable[[Any, Array], tuple[Array, Array]]:
    """e^(−y) times a polynomial in y = √(ν−2)|θ|: the Bessel function K_{ν/2} for odd ν."""
    root, polynomial = math.sqrt(df - 2.0), bessel_polynomial((df - 1) // 2)
    lower = [k * a for k, a in enumerate(polynomial)][1:]

    def transform(xp: Any, theta: Array) -> tuple[Array, Array]:
        y = root * xp.abs(theta)
        value = _horner(polynomial, y)
        # −(log ψ)' = 1 − q'/q for ψ = e^(−y) q(y); it is odd in θ.
        return xp.exp(-y) * value, root * xp.sign(theta) * (1.0 - _horner(lower, y) / value)

    return transform


def bessel_polynomial(k: int) -> list[float]:
    """Coefficients, ascending, of y^(k+½) K_{k+½}(y) e^y, constant term one."""
    constant = math.factorial(2 * k) / (math.factorial(k) * 2**k)
    return [
        math.factorial(k + j) / (math.factorial(j) * math.factorial(k - j) * 2**j) / constant
        for j in range(k, -1, -1)
    ]


def _horner(coefficients: list[float], y: Array) -> Array:
    value = coefficients[-1]
    for a in reversed(coefficients[:-1]):
        value = value * y + a
    return value


def _subgaussian_reach(accuracy: float) -> float:
    return math.sqrt(2.0 * math.log(2.0 / accuracy))


_LAWS = {
    "bipolar": Law(_bipolar, lambda u: 1.0, _subgaussian_reach, enumerable=True),
    "uniform": Law(_uniform, lambda u: 1.0 / (math.sqrt(3.0) * u), _subgaussian_reach),
    "normal": Law(_normal, lambda u: 0.0, _subgaussian_reach),
    "laplace": Law(
        _laplace, lambda u: 1.0 / (1.0 + 0.5 * u * u), lambda a: math.log(1.0 / a) / math.sqrt(2.0)
    ),
}
"""All but Student-t, which has degrees of freedom; named as in :data:`flow.defaults.NOISE_LAWS`."""


@lru_cache
def law(distribution: str) -> Law:
    """The :class:`Law` of that name, such as "student-t:5"; ValueError lists the names there are.

    See :func:`flow.defaults.split_noise_law`.
    """
    name, nu = split_noise_law(distribution)
    if nu is None:
        return _LAWS[name]
    transform = _student(nu)
    return Law(
        transform,
        lambda u: float(transform(np, np.float64(u))[0]),
        # Leading power laws of the tail are followed by terms |g|⁻² smaller.
        lambda accuracy: max(8.0, accuracy ** (-1.0 / nu)),
        tail=nu - 2.0,
    )


# Nodes -------------------------------------------------------------------------------------------


class Nodes(NamedTuple):
    """A quadrature rule in u = sτ, and the |g|/s up to which it holds."""

    u: np.ndarray
    weight: np.ndarray
    reach: float
    panel: int
    """Nodes after which they repeat: u[k + panel] = u[k] + width."""
    width: float


@lru_cache
def nodes(distribution: str, accuracy: float) -> Nodes:
    """The rule for that law: no nodes for normal noise.

    Where f(−g) decays fast the trapezoidal rule with step π/reach is exact up to its tail
    (Poisson summation); otherwise Gauss–Legendre panels.
    """
    chosen = law(distribution)
    reach = chosen.reach(accuracy)
    step = math.pi / reach
    if distribution == "normal":
        return Nodes(np.zeros(0), np.zeros(0), reach, 1, step)
    last = 1.0
    while max(chosen.envelope(last), math.exp(-0.5 * last**2)) > math.pi * accuracy * last**2:
        last *= 1.02
    if math.isinf(chosen.tail):
        u = step * np.arange(1, math.ceil(last / step) + 1)
        return Nodes(u, np.full(u.size, step), reach, 1, step)
    x, w = np.polynomial.legendre.leggauss(PANEL)
    panels = math.ceil(last * reach / 18.0)
    edges = np.linspace(0.0, last, panels + 1)
    half = 0.5 * (edges[1] - edges[0])
    middle = 0.5 * (edges[1:] + edges[:-1])
    u, weight = (middle[:, None] + half * x).ravel(), np.tile(half * w, panels)
    return Nodes(u, weight, reach, PANEL, float(edges[1] - edges[0]))


# Expectations ------------------------------------------------------------------------------------


class Outputs:
    """The noisy outputs of some rows at given preactivations.

    Parameters
    ----------
    W : (r, m), the rows of the outputs.
    g : (r, q), preactivations without noise at which each is asked for.
    sigma : standard deviation of the noise on every neuron.
    distribution : name of its law.
    accuracy : bound on the error of f, in units of s².
    """

    def __init__(
        self, W: Array, g: Array, sigma: float, distribution: str, accuracy: float
    ) -> None:
        xp = W.__array_namespace__()
        chosen, rule = law(distribution), nodes(distribution, accuracy)
        tiny = float(np.finfo(W.dtype).tiny) ** 0.25
        length = xp.maximum(xp.sqrt(xp.sum(W * W, axis=1)), tiny)
        self._xp, self._law, self._sigma, self._reach = xp, chosen, sigma, rule.reach
        self._s = xp.maximum(sigma * length, tiny)[:, None]
        self._x = g / self._s
        unit = W / length[:, None]
        count = min(ENUMERATED, W.shape[1]) if chosen.enumerable else 0
        order = xp.argsort(-xp.abs(unit), axis=1)
        self._count, self._rank = count, xp.argsort(order, axis=1)
        self._top = xp.take_along_axis(unit, order[:, :count], axis=1)
        self._rest = xp.where(self._rank < count, 0.0, unit)
        # The part of s that is taken for normal; the rest is in the atoms.
        self._share = xp.sqrt(xp.sum(self._rest * self._rest, axis=1))[:, None]
        signs = np.array(list(product((-1.0, 1.0), repeat=count))).reshape(2**count, count)
        self._signs = xp.asarray(signs.astype(W.dtype))
        atoms = self._top @ self._signs.T
        self._y = self._x[:, :, None] + atoms[:, None, :]
        t = self._y / xp.maximum(self._share[:, :, None], 1e-12 * xp.abs(self._y) + tiny)
        self._P = import_module(_SPECIAL[xp.__name__]).ndtr(t)
        self._phi = xp.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)
        kept = rule.u.size
        if isinstance(W, np.ndarray) and math.isinf(chosen.tail):
            # Nothing is missing beyond reach: an output that is surely on, or off, is not noisy.
            kept *= bool((xp.abs(self._x) < rule.reach).any())
        self._u = u = xp.asarray(rule.u[:kept].astype(W.dtype))
        self._du = xp.asarray(rule.weight[:kept].astype(W.dtype))
        fixed, self._top_slope = chosen.transform(xp, self._top[:, :, None] * u)
        free, self._slope = chosen.transform(xp, self._rest[:, :, None] * u)
        fixed = xp.prod(fixed, axis=1)
        self._psi = fixed * xp.prod(free, axis=1)
        self._bell = fixed * xp.exp(-0.5 * (self._share * u) ** 2)
        self._phase = xp.clip(self._x, -self._reach, self._reach)[:, :, None] * u

    # Sums below are in units of s, at x = g/s.

    @cached_property
    def _sin(self) -> Array:
        return self._xp.sin(self._phase)

    @cached_property
    def _cos(self) -> Array:
        return self._xp.cos(self._phase)

    @cached_property
    def _ramp(self) -> Array:
        """E ReLU(y + normal part) at every atom, (r, q, atoms)."""
        return self._y * self._P + self._share[:, :, None] * self._phi

    def _fade(self, derivatives: int) -> Array:
        """How f's correction, or that derivative of it, goes on beyond reach: (r, q)."""
        ratio = self._reach / self._xp.maximum(self._xp.abs(self._x), self._reach)
        return ratio ** (self._law.tail + derivatives)

    def _correction(self, waves: Array, derivatives: int) -> Array:
        """∫ waves [ψ₀ − ψ] u^(derivatives − 3) du, faded beyond reach: (r, q)."""
        missing = self._du * (self._bell - self._psi) * self._u ** (derivatives - 3)
        return self._fade(derivatives) * (waves @ missing[:, :, None])[:, :, 0]

    def square(self) -> Array:
        """f, (r, q)."""
        share = self._share[:, :, None]
        closed = self._xp.mean(self._y * self._ramp + share * share * self._P, axis=2)
        return self._s**2 * (closed + 2.0 / math.pi * self._correction(self._sin, 0))

    def mean(self) -> Array:
        """e, (r, q)."""
        closed = self._xp.mean(self._ramp, axis=2)
        return self._s * (closed + self._correction(self._cos, 1) / math.pi)

    def probability(self) -> Array:
        """p, (r, q)."""
        return self._xp.mean(self._P, axis=2) - self._correction(self._sin, 2) / math.pi

    def square_gradient(self, weight: Array) -> Array:
        """Σ_q weight ∂f/∂W_j at fixed g, (r, m); weight : (r, q)."""
        many = weight[:, :, None] * (2.0 / self._P.shape[2])
        on_rest = self._xp.sum(many * self._P, axis=(1, 2))[:, None] * self._rest
        on_top = self._xp.sum(many * self._ramp, axis=1) @ self._signs
        turned = self._turned(self._sin, weight, 0)
        return self._sigma * self._s * (self._joined(on_rest, on_top) + 2.0 / math.pi * turned)

    def mean_gradient(self, weight: Array) -> Array:
        """Σ_q weight ∂e/∂W_j at fixed g, (r, m)."""
        many = weight[:, :, None] / self._P.shape[2]
        share = self._xp.where(self._share > 0.0, self._share, 1.0)
        on_rest = self._xp.sum(many * self._phi, axis=(1, 2))[:, None] * (self._rest / share)
        on_top = self._xp.sum(many * self._P, axis=1) @ self._signs
        turned = self._turned(self._cos, weight, 1)
        return self._sigma * (self._joined(on_rest, on_top) + turned / math.pi)

    def _turned(self, waves: Array, weight: Array, derivatives: int) -> Array:
        """∫ Σ_q weight·waves ∂[ψ₀ − ψ]/∂(W_j/‖W_j‖) u^(derivatives − 3) du, (r, m)."""
        sums = self._xp.sum((weight * self._fade(derivatives))[:, :, None] * waves, axis=1)
        factor = self._du * sums * self._u ** (derivatives - 2)
        bell = self._xp.sum(factor * self._u * self._bell, axis=1)[:, None]
        on_rest = (self._slope @ (factor * self._psi)[:, :, None])[:, :, 0] - bell * self._rest
        missing = factor * (self._bell - self._psi)
        return self._joined(on_rest, -(self._top_slope @ missing[:, :, None])[:, :, 0])

    def _joined(self, rest: Array, top: Array) -> Array:
        """(r, m), with what belongs to the enumerated weights, (r, count), in its place."""
        if self._count == 0:
            return rest
        place = self._xp.minimum(self._rank, self._count - 1)
        top = self._xp.take_along_axis(top, place, axis=1)
        return self._xp.where(self._rank < self._count, top, rest)


_SPECIAL = {"numpy": "scipy.special", "jax.numpy": "jax.scipy.special"}
"""Where the normal distribution function is for the arrays of a namespace."""


class Expectations(NamedTuple):
    """f, e and p of some outputs, each (n, q), and what their rows change in them."""

    square: Array
    mean: Array
    probability: Array
    gradient: Array
    """(n, m), Σ_q weight (a ∂f/∂W_j + b ∂e/∂W_j) at fixed g."""


class Evaluate(Protocol):
    """Whatever evaluates them: :func:`expect`, or kernels that do the same."""

    def __call__(
        self,
        W: Array,
        g: Array,
        weight: Array,
        sigma: float,
        distribution: str,
        accuracy: float,
        on_square: float = 0.0,
        on_mean: float = 0.0,
    ) -> Expectations:
        """:class:`Expectations` of the rows of W : (n, m) at g : (n, q).

        weight : (n, q), without which the gradient leaves out what it is zero for. on_square,
        on_mean : a and b; at zero for both the gradient is not computed.
        """


def expect(
    W: Array,
    g: Array,
    weight: Array,
    sigma: float,
    distribution: str,
    accuracy: float,
    on_square: float = 0.0,
    on_mean: float = 0.0,
) -> Expectations:
    """:class:`Expectations` for NumPy and JAX arrays, block by block: see :class:`Evaluate`."""
    xp = W.__array_namespace__()
    parts = []
    for rows in blocks(g.shape[0], g.shape[1], W.shape[1], distribution, accuracy):
        outputs = Outputs(W[rows], g[rows], sigma, distribution, accuracy)
        gradient = xp.zeros_like(W[rows])
        if on_square:
            gradient = gradient + outputs.square_gradient(on_square * weight[rows])
        if on_mean:
            gradient = gradient + outputs.mean_gradient(on_mean * weight[rows])
        parts.append((outputs.square(), outputs.mean(), outputs.probability(), gradient))
    return Expectations(*(xp.concat(part) for part in zip(*parts, strict=True)))


def blocks(n: int, q: int, m: int, distribution: str, accuracy: float) -> Iterator[slice]:
    """Slices of n rows whose arrays, q preactivations and m weights each, stay in the cache."""
    width = max(2**ENUMERATED, nodes(distribution, accuracy).u.size)
    size = max(1, BLOCK // (width * max(q, m)))
    return (slice(k, min(k + size, n)) for k in range(0, n, size))
