"""Noise in the hidden layer: what it does to the loss, and what it cannot do.

    y = ReLU(W (Wᵀ x + ξ)),     loss(x) = ‖y − x‖²,     ξ_k independent, symmetric, std σ

Two explanations of the sparsity that follows are here side by side. The paper's: an implicit
term of order η² of stochastic gradient descent, 16 η² σ⁴ κ ‖W_i‖₄⁴
(`implicit_term`, `implicit_path`). And the expected loss itself, whose gradient flow knows
no step size (`expected_loss`): outputs of other features are turned on by the noise z = W_j·ξ,
and how often that happens depends on the direction of W_j unless the noise is normal
(`kurtosis_correction`). The sign is the excess kurtosis κ in both.

    f(g) = E ReLU(g + z)²,     e(g) = E ReLU(g + z) = f'(g) / 2,     s = σ ‖w‖

Methods for e and f: "normal" (closed form), "fourier" (any law; error in f below 1e-9 s², for
bipolar noise 1e-7 s²), and "enumeration" (bipolar; all 2ᵐ patterns). Sources: paper, section 3
and appendix C; theory/README, section 6. Times are flow time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.special import gamma, kv, ndtr

from theory._checks import Array, non_negative, positive, real, require

__all__ = [
    "NoiseLaw",
    "expected_loss",
    "expected_loss_gradient",
    "expected_rectified",
    "expected_rectified_square",
    "fourth_moment",
    "implicit_path",
    "implicit_rate",
    "implicit_term",
    "kurtosis_correction",
    "kurtosis_correction_error",
    "next_step_loss",
    "noise_law",
    "own_output_stays_on",
    "own_rate_while_on",
    "residual_interference",
    "simplex_alike",
    "simplex_with_one_stuck",
]

Method = Literal["normal", "fourier", "enumeration"]
_MOST_PATTERNS = 20


# Laws --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseLaw:
    """A symmetric law, scaled to variance one."""

    name: str
    kurtosis: float
    """Excess kurtosis μ₄/σ⁴ − 3; infinite for Student-t with df ≤ 4."""
    sixth_cumulant: float
    """κ₆/σ⁶; NaN where it does not exist (Student-t with df ≤ 6)."""
    characteristic: Callable[[Array], Array]
    """E cos(t ξ) at real t."""
    bound: float
    """Largest |ξ|; infinite for unbounded laws."""
    subgaussian: bool
    """Whether E exp(t ξ) ≤ exp(t²/2) for all t."""


def noise_law(name: str, df: float | None = None) -> NoiseLaw:
    """The law "bipolar", "uniform", "normal", "laplace", or "student-t" with df > 2.

    κ = −2, −1.2, 0, 3, 6/(df − 4). Raises ValueError for another name, or a df without variance.
    """
    if name == "student-t":
        require(df is not None and df > 2, "df > 2 (finite variance)", df, "pass df=5")
        assert df is not None
        return NoiseLaw(
            name,
            6 / (df - 4) if df > 4 else math.inf,
            240 / ((df - 4) * (df - 6)) if df > 6 else math.nan,
            lambda t: _student_characteristic(t, df),
            math.inf,
            False,
        )
    require(df is None, f"no df for {name!r}", df, "leave it out")
    root3 = math.sqrt(3)
    laws = {
        "bipolar": NoiseLaw(name, -2.0, 16.0, np.cos, 1.0, True),
        "uniform": NoiseLaw(
            name, -1.2, 48 / 7, lambda t: np.sinc(root3 * np.asarray(t) / np.pi), root3, True
        ),
        "normal": NoiseLaw(name, 0.0, 0.0, lambda t: np.exp(-0.5 * np.square(t)), math.inf, True),
        "laplace": NoiseLaw(
            name, 3.0, 30.0, lambda t: 1 / (1 + 0.5 * np.square(t)), math.inf, False
        ),
    }
    require(name in laws, f"one of {', '.join([*laws, 'student-t'])}", name, "check the spelling")
    return laws[name]


def _student_characteristic(t: ArrayLike, df: float) -> Array:
    x = math.sqrt(df - 2) * np.abs(np.asarray(t, dtype=np.float64))
    near = x < 1e-8
    x = np.where(near, 1.0, x)
    nu = df / 2
    return np.where(near, 1.0, kv(nu, x) * x**nu / (gamma(nu) * 2 ** (nu - 1)))


def fourth_moment(w: ArrayLike, sigma: ArrayLike, kurtosis: ArrayLike) -> Array:
    """E (w·ξ)⁴ = 3 σ⁴ ‖w‖₂⁴ + κ σ⁴ ‖w‖₄⁴. Exact.

    The paper prints a factor 6 on a sum over ordered pairs, where it is 3.

    w : (…, m); sigma : σ; kurtosis : κ.
    Source: paper, appendix C.2; theory/README, sections 6 and 8.
    """
    v, s = real("w", w), non_negative("sigma", sigma)
    square, fourth = np.sum(v**2, axis=-1), np.sum(v**4, axis=-1)
    return np.asarray(s**4 * (3 * square**2 + np.asarray(kurtosis) * fourth))


# The paper's explanation -------------------------------------------------------------------------


def next_step_loss(
    w: ArrayLike, eta: ArrayLike, sigma: ArrayLike, law: NoiseLaw
) -> tuple[Array, Array]:
    """Expected loss on input e_i one step of SGD later, in its two parts; other ReLUs off.

        E (‖W'‖² − 1)² = 16 η² (4 σ² + E (w·ξ)⁴) + O(η³)
        E (W'·ξ')² = σ² [1 − 4 η (1 − 4 η) σ² + 4 η² (μ₄ + (m−1) σ⁴)]

    with W' = w − 2 η (w·ξ)(2w + ξ), ‖w‖ = 1; the second is exact.

    w : (…, m); eta, sigma : η, σ; law : of the noise.
    Source: paper, appendix C.2 (its "±" before the last term is a plus); theory/README, section 8.
    """
    v, h, s = real("w", w), non_negative("eta", eta), non_negative("sigma", sigma)
    square = np.sum(v**2, axis=-1)
    require(np.abs(square - 1) < 1e-9, "rows of unit length", square, "divide by the norm")
    size = 16 * h**2 * (4 * s**2 + fourth_moment(v, s, law.kurtosis))
    mu4 = (law.kurtosis + 3) * s**4
    step = 4 * h**2 * (mu4 + (v.shape[-1] - 1) * s**4)
    kick = s**2 * (1 - 4 * h * (1 - 4 * h) * s**2 + step)
    return np.asarray(size), np.broadcast_to(kick, size.shape)


def implicit_term(w: ArrayLike, eta: ArrayLike, sigma: ArrayLike, kurtosis: ArrayLike) -> Array:
    """The part of the next step's loss that depends on direction: 16 η² σ⁴ κ ‖w‖₄⁴.

    w : (…, m); eta, sigma, kurtosis : η, σ, κ.
    Source: paper, section 3.2 (bracket corrected); theory/README, section 6.
    """
    v = real("w", w)
    scale = 16 * non_negative("eta", eta) ** 2 * non_negative("sigma", sigma) ** 4
    return np.asarray(scale * np.asarray(kurtosis) * np.sum(v**4, axis=-1))


def implicit_rate(w: ArrayLike, eta: ArrayLike, sigma: ArrayLike, kurtosis: ArrayLike) -> Array:
    """d‖w‖₄⁴/dt if gradient descent followed the implicit term on the unit sphere.

        w' = −64 η² σ⁴ κ (w³ − ‖w‖₄⁴ w),   t = η·steps
        d‖w‖₄⁴/dt = −256 η² σ⁴ κ (‖w‖₆⁶ − ‖w‖₄⁸)

    In flow time it still carries η². w : (…, m), ‖w‖ = 1; eta, sigma, kurtosis : η, σ, κ.
    """
    v = real("w", w)
    require(
        np.abs(np.sum(v**2, axis=-1) - 1) < 1e-9, "rows of unit length", w, "divide by the norm"
    )
    scale = 256 * non_negative("eta", eta) ** 2 * non_negative("sigma", sigma) ** 4
    spread = np.sum(v**6, axis=-1) - np.sum(v**4, axis=-1) ** 2
    return np.asarray(-scale * np.asarray(kurtosis) * spread)


def implicit_path(
    w: ArrayLike, times: ArrayLike, eta: float, sigma: float, kurtosis: float
) -> Array:
    """‖w‖₄⁴ at increasing flow times under the implicit term alone, (times, …).

    The replicator equation p_k' = −128 η² σ⁴ κ p_k (p_k − Σ_l p_l²), p = w², which
    keeps Σ_k p_k = 1; integrated to 1e-9.

    w : (…, m), scaled to unit length first; times : (k,), increasing; eta, sigma, kurtosis : η, σ,
    κ; returns (k, …).
    """
    v, ts = real("w", w), non_negative("times", times)
    start = v**2 / np.sum(v**2, axis=-1, keepdims=True)
    rate = -128 * eta**2 * sigma**4 * kurtosis

    def replicator(_: float, y: Array) -> Array:
        p = y.reshape(start.shape)
        return np.asarray(rate * p * (p - np.sum(p**2, axis=-1, keepdims=True))).ravel()

    run = solve_ivp(
        replicator, (0.0, float(ts[-1])), start.ravel(), "DOP853", ts, rtol=1e-9, atol=1e-12
    )
    path = run.y.T.reshape(ts.size, *start.shape)
    return np.asarray(np.sum(path**2, axis=-1))


# The expected loss -------------------------------------------------------------------------------


def expected_rectified_square(
    g: ArrayLike, w: ArrayLike, sigma: float, law: NoiseLaw, method: Method = "fourier"
) -> Array:
    """f(g) = E ReLU(g + w·ξ)².

    normal:   (g² + s²) Φ(g/s) + g s φ(g/s)
    fourier:  that + (2/π) ∫₀^∞ sin(g τ) [exp(−s² τ²/2) − ψ(τ)] τ⁻³ dτ

    g : any shape; w : (m,); sigma : σ; law : of the noise; method : see the top of this file.
    Source: theory/README, section 6.
    """
    v, x = real("w", w), real("g", g)
    if method == "enumeration":
        return np.mean(np.maximum(x[..., None] + _sums(v, sigma, law), 0) ** 2, axis=-1)
    s = _spread(v, sigma)
    closed = (x**2 + s**2) * ndtr(x / s) + x * s * _phi(x / s)
    if method == "normal":
        return np.asarray(closed)
    defect = _defect(v, law)
    return closed + s**2 * _fourier(np.sin, x / s, lambda u: defect(u) / u**3)


def expected_rectified(
    g: ArrayLike, w: ArrayLike, sigma: float, law: NoiseLaw, method: Method = "fourier"
) -> Array:
    """e(g) = E ReLU(g + w·ξ) = f'(g)/2.

    normal:   g Φ(g/s) + s φ(g/s)
    fourier:  that + (1/π) ∫₀^∞ cos(g τ) [exp(−s² τ²/2) − ψ(τ)] τ⁻² dτ

    Arguments as in `expected_rectified_square`.
    """
    v, x = real("w", w), real("g", g)
    if method == "enumeration":
        return np.mean(np.maximum(x[..., None] + _sums(v, sigma, law), 0), axis=-1)
    s = _spread(v, sigma)
    closed = x * ndtr(x / s) + s * _phi(x / s)
    if method == "normal":
        return np.asarray(closed)
    defect = _defect(v, law)
    return closed + 0.5 * s * _fourier(np.cos, x / s, lambda u: defect(u) / u**2)


def expected_loss(w: ArrayLike, sigma: float, law: NoiseLaw, method: Method = "fourier") -> float:
    """Σ_i E ‖ReLU(W (W_i + ξ)) − e_i‖², the loss over all one-hot inputs.

        Σ_i [1 − 2 e_i(‖W_i‖²) + f_i(‖W_i‖²)] + Σ_{i≠j} f_j(G_ij),   G = W Wᵀ

    At σ → 0 it is the noiseless loss, 4 times the energies of feature benefit and interference
    at c = 1.

    w : (n, m), the matrix W; sigma : σ; law : of the noise; method : see the top of this file.
    Source: theory/README, section 6.
    """
    v = _matrix(w)
    gram = v @ v.T
    total = 0.0
    for j, row in enumerate(v):
        total += float(np.sum(expected_rectified_square(gram[j], row, sigma, law, method)))
        total += 1 - 2 * float(expected_rectified(gram[j, j], row, sigma, law, method))
    return total


def expected_loss_gradient(
    w: ArrayLike, sigma: float, law: NoiseLaw, method: Method = "enumeration"
) -> Array:
    """Gradient of `expected_loss`, (n, m): in closed form for normal noise, or over all patterns.

    enumeration: E of 2 [r_ii' (2 W_i + ξ) + …], the chain rule pattern by pattern.
    normal: with Φ, φ at g/s_j,
        d/dg f = 2 (g Φ + s φ),  d/dW_j f = 2 σ² Φ W_j,
        d/dg e = Φ,                d/dW_j e = σ² φ W_j / s_j.

    w : (n, m), the matrix W; sigma : σ; law : of the noise. Raises ValueError for method
    "fourier", for which the loss has to be differenced.
    """
    v = _matrix(w)
    require(
        method in ("enumeration", "normal"), "enumeration or normal", method, "difference the loss"
    )
    gram, n = v @ v.T, v.shape[0]
    if method == "normal":
        s = sigma * np.linalg.norm(v, axis=1)[:, None]
        t = gram / s
        cdf, pdf = ndtr(t), _phi(t)
        slope = 2 * (gram * cdf + s * pdf)  # of f_j at G_ji, row j
        turn = 2 * sigma**2 * cdf.sum(axis=1)[:, None] * v
        slope[np.diag_indices(n)] -= 2 * np.diagonal(cdf)
        turn -= 2 * sigma**2 * (np.diagonal(pdf) / s[:, 0])[:, None] * v
        return np.asarray((slope + slope.T) @ v + turn)
    patterns = _patterns(v, law) * sigma
    gradient = np.zeros_like(v)
    for i in range(n):
        hidden = v[i] + patterns
        excess = np.maximum(hidden @ v.T, 0)
        active = excess > 0
        excess[:, i] -= 1
        back = 2 * np.where(active, excess, 0) / len(patterns)
        gradient += back.T @ hidden
        gradient[i] += back.sum(axis=0) @ v
    return gradient


def own_rate_while_on(w: ArrayLike, sigma: ArrayLike) -> Array:
    """−d/dW_i of E (1 − ‖W_i‖² − W_i·ξ)²: [4 (1 − ‖W_i‖²) − 2 σ²] W_i, any noise.

    Radial: while its own ReLU stays on, one feature alone never turns.

    w : (…, m); sigma : σ. Source: theory/README, section 6.
    """
    v = real("w", w)
    growth = 4 * (1 - np.sum(v**2, axis=-1, keepdims=True))
    return np.asarray((growth - 2 * non_negative("sigma", sigma) ** 2) * v)


def own_output_stays_on(w: ArrayLike, sigma: float, law: NoiseLaw) -> Array:
    """Whether no noise turns output i off on input e_i: B ‖W_i‖₁ ≤ ‖W_i‖², B = σ·bound.

    Exact; False for unbounded laws. w : (…, m); sigma : σ; law : of the noise.
    Source: theory/README, section 6.
    """
    v = real("w", w)
    reach = sigma * law.bound * np.sum(np.abs(v), axis=-1)
    return np.asarray(reach <= np.sum(v**2, axis=-1))


def kurtosis_correction(g: ArrayLike, w: ArrayLike, sigma: float, kurtosis: float) -> Array:
    """First correction of f to its normal form, −(κ σ ‖w‖₄⁴ / 12 ‖w‖³) g φ(g/s).

    The fourth cumulant of z in an Edgeworth expansion. For g < 0 and κ < 0 a sparser w costs
    less: the paper's sign, without a step size.

    g : any shape; w : (m,); sigma, kurtosis : σ, κ. Source: theory/README, section 6.
    """
    v, x = real("w", w), real("g", g)
    size = float(np.linalg.norm(v))
    scale = kurtosis * sigma * float(np.sum(v**4)) / (12 * size**3)
    return np.asarray(-scale * x * _phi(x / (sigma * size)))


def kurtosis_correction_error(g: ArrayLike, w: ArrayLike, sigma: float, law: NoiseLaw) -> Array:
    """The next terms over the first: how far `kurtosis_correction` can be trusted.

        f − f_normal = s² φ(x) [−κ r₄ x/12 − κ₆ r₆ He₃(x)/360
                                   − κ² r₄² He₅(x)/576 + …]

    x = g/s, r_p = Σ_k (w_k/‖w‖)^p. For rows with r₄ ≤ 0.1 and where it is below 0.3 in
    size, the true error is 1.3 times this, and 0.05, at most (bipolar, uniform, Laplace): from
    |x| ≤ 3 at r₄ = 0.1 to beyond 3.5 at 0.03. For r₄ near 1 the law of z is a few atoms and
    no expansion holds. NaN without a sixth cumulant.

    g : any shape; w : (m,); sigma : σ; law : of the noise.
    """
    v, t = real("w", w), real("g", g)
    unit = v / np.linalg.norm(v)
    x = t / (sigma * float(np.linalg.norm(v)))
    r4, r6 = float(np.sum(unit**4)), float(np.sum(unit**6))
    # E F^(k) for F = ReLU(x + z)² is 2 d^(k−3)/dx^(k−3) φ(x) = 2 (−1)^(k−3) He_(k−3) φ.
    first = -law.kurtosis * r4 * x / 12
    he3, he5 = x**3 - 3 * x, x**5 - 10 * x**3 + 15 * x
    second = -law.sixth_cumulant * r6 * he3 / 360 - law.kurtosis**2 * r4**2 * he5 / 576
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(second / first)


def residual_interference(n: ArrayLike, sigma: ArrayLike, law: NoiseLaw | None = None) -> Array:
    """Bound on each pair's noisy interference once all overlaps are as low as they can all be.

        f(−1/(n−1)) ≤ 2 σ² exp(−1 / (2 (n−1)² σ²)),     ‖W_j‖ = 1

    n unit encodings can have G_ij = −1/(n−1) for all pairs and no less. So the noise that matters
    has σ ≳ 1/(n−1), and its effect is not a power of σ.

    n, sigma : broadcast; law : of the noise, with sub-Gaussian tails (bipolar, uniform, normal).
    Source: theory/README, section 6. Raises ValueError for other laws, or n < 2.
    """
    if law is not None:
        require(law.subgaussian, "a law with sub-Gaussian tails", law.name, "use bipolar noise")
    count, s = positive("n", n), positive("sigma", sigma)
    require(count >= 2, "n >= 2", n, "one feature meets no interference")
    return np.asarray(2 * s**2 * np.exp(-1 / (2 * (count - 1) ** 2 * s**2)))


# Simplices, the end states -----------------------------------------------------------------------


def simplex_with_one_stuck(n: int) -> Array:
    """n unit encodings, all overlaps −1/(n−1), turned so that n−1 of them are sparse: (n, n−1).

        W_i = a e_i − b (1 − e_i),  i < n;  W_n = −(1, …, 1)/√(n−1)
        b = (√n − 1)/(n−1)^(3/2),      a = 1/√(n−1) + (n−2) b

    Interference under noise of σ ≳ 1/(n−1) repels every pair until, for m ≥ n−1, the
    encodings are nearly a regular simplex, whose sum is zero: that fixes the last one once the
    others are on neurons of their own. It is figure 7's stuck encoding, ‖W_n‖₄⁴ = 1/(n−1), and
    figure 4's end value for bipolar noise, 0.794 in the mean at n = 8. (The flow at n = 8,
    σ = 0.15 ends close by, at directions of mean fourth norm 0.808, cosines −0.161 with the
    stuck encoding and −0.136 without.) What is left of the flow is a rotation, and to the order
    of `kurtosis_correction` noise with κ < 0 climbs Σ_i ‖W_i‖₄⁴ there. This is a
    maximum of it for n ≥ 4; that no other than `simplex_alike` is one is a conjecture (240
    ascents, n = 3 … 16, m up to 20; of 118 runs of the flow to t = 2000, n = 16, 32, 64, bipolar
    and uniform noise, 107 ended within 0.003 of this mean fourth norm, 10 within 0.012 of the
    other, and one still moved). Zero columns may be added, columns permuted and negated.
    """
    require(n >= 3, "n >= 3", n, "two encodings are opposite: 1 and -1 on one neuron")
    k = n - 1
    b = (math.sqrt(n) - 1) / k**1.5
    sparse = (k**-0.5 + k * b) * np.eye(k) - b
    return np.vstack([sparse, np.full(k, -(k**-0.5))])


def simplex_alike(n: int) -> Array:
    """The same simplex turned so that its encodings are alike, W = √(n/(n−1)) (I − 1/n): (n, n).

    It needs one neuron more. Also a maximum, for n ≥ 5, of a mean ‖W_i‖₄⁴ below that of
    `simplex_with_one_stuck` for n ≤ 12 and above it for n ≥ 13.
    """
    require(n >= 2, "n >= 2", n, "one encoding has no overlap")
    return np.asarray(math.sqrt(n / (n - 1)) * (np.eye(n) - 1 / n))


# Tools -------------------------------------------------------------------------------------------


def _matrix(w: ArrayLike) -> Array:
    v = real("w", w)
    require(v.ndim == 2, "W : (n, m)", v.shape, "pass one matrix of weights")
    return v


def _spread(v: Array, sigma: float) -> float:
    size = float(np.linalg.norm(v))
    require(sigma * size > 0, "sigma > 0 and a row that is not zero", (sigma, size), "check both")
    return sigma * size


def _phi(x: ArrayLike) -> Array:
    return np.asarray(np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi))


def _patterns(v: Array, law: NoiseLaw) -> Array:
    """(2ᵐ, m) signs."""
    m = v.shape[-1]
    require(law.name == "bipolar", "bipolar noise", law.name, "use method='fourier'")
    require(m <= _MOST_PATTERNS, f"m <= {_MOST_PATTERNS}", m, "use method='fourier'")
    return np.array(list(itertools.product((-1.0, 1.0), repeat=m)))


def _sums(v: Array, sigma: float, law: NoiseLaw) -> Array:
    """(2ᵐ,) values of w·ξ, one per pattern."""
    return np.asarray(sigma * (_patterns(v, law) @ v))


def _defect(v: Array, law: NoiseLaw) -> Callable[[Array], Array]:
    """exp(−u²/2) − ψ(u/s)."""
    unit = v / np.linalg.norm(v)

    def defect(u: Array) -> Array:
        psi = np.ones_like(u)
        for weight in unit:
            psi *= law.characteristic(weight * u)
        return np.asarray(np.exp(-0.5 * u**2) - psi)

    return defect


_LAST = 2000.0
"""Where the Fourier integrals are cut off: beyond it at most 1/(π 2000²) s² of f is missing."""


def _nodes(x: Array) -> tuple[Array, Array]:
    """Gauss-Legendre panels on (0, _LAST] that resolve cos(x u)."""
    width = min(0.25, 8 / max(1.0, float(np.max(np.abs(x), initial=0))))
    panels = math.ceil(_LAST / width)
    y, weight = np.polynomial.legendre.leggauss(16)
    half = 0.5 * _LAST / panels
    middle = half * (2 * np.arange(panels) + 1)
    return (middle[:, None] + half * y).ravel(), np.tile(half * weight, panels)


def _fourier(wave: Callable[[Array], Array], x: Array, h: Callable[[Array], Array]) -> Array:
    """(2/π) ∫₀^∞ wave(x u) h(u) du."""
    u, weight = _nodes(x)
    values = weight * h(u)
    return 2 / math.pi * np.array([wave(t * u) @ values for t in x.ravel()]).reshape(x.shape)
