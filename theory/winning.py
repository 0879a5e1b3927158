"""Who wins: how likely the initially largest weight of a feature is the one that stays.

Interference shifts the weights of a row before they settle. What matters is the size of the shifts
against the gaps between the largest weights, and this depends on n and m through

    ε = n/√m

**Exact for its model** (proof at `largest_wins`): the top of a row is a Poisson process of sizes,
and every weight gets an independent normal shift of standard deviation β, in units in which the
sizes have density e^(−y); those are the units of the gaps of the largest of many normal weights.

    P(β) = ∫ φ(g) dg / [Φ(g) + e^(β²/2 − βg) Φ(β − g)]

**Heuristic**: β² ∝ ε. With m' survivors in each row two rows share m'²/m neurons. While these are
many, holding the overlap of a pair at zero shifts a shared coordinate by a variance, in those
units, of order m/m'² for the pair in one e-fold of m'; a coordinate is shared with n m'/m rows, so
that all of them make n/m'. Where rows share less than a neuron, m' ≪ √m, a coordinate meets
n m'/m others at all. Both are largest, and equal ε, at m' ≈ √m. For ε ≪ 1 these are rare
meetings, hence 1 − P ∝ ε and not √ε.

**Measured** (17,127 runs): with m ≥ 4n and fixed Λ = λ√m/c, P depends on ε alone to about ± 0.02;
`noise` turns ε into β with one constant for each Λ. This is *not* exact: smaller m/n lies lower, at
m = 2n and small Λ by 0.03 to 0.04. At m = n and small Λ it fails (0.29 at n = m = 64 where 0.33 is
expected), at Λ = 1 it does not. Sizes predicted before they were run:
benchmarks/findings/README.md, "Who wins, predicted".

**Weak limit.** For ε ≪ 1 largest weights lose to single rows, 1 − P = (n − 1) A(m)/√m. *Measured*:
A is 0.33 ± 0.02, 0.48 ± 0.04, 0.67 ± 0.05, 0.86 ± 0.08 at m = 16, 64, 256, 1024 in two rows that
descend ℓ1 on ‖W_i‖ = 1, G_12 ≤ 0 (λ → 0; benchmarks/findings/two_rows.py), and 0.45 ± 0.06,
0.69 ± 0.10, 0.80 ± 0.10 in the flow at Λ = 0.01 at the last three: A is
this problem's. *Heuristic*: it is no constant but grows, in the limit as ln m. While N = m'²/m ≫ 1
neurons are shared, G/√N is a stationary Gaussian process in τ = ln(m/m'), of correlation
e^(−|Δ|) (1 + |Δ|/2)², which interference holds at or below zero by a push of mean 0.152 ± 0.002
and kernel e^(−Δ) (2 + Δ) (a Skorokhod problem, solved by Monte Carlo). A weight whose partner dies
at m' is shifted by 0.152 N^(−1/2) in the mean, in units of the gaps at m'; one in m/m' weights has
a partner for so long; and the product, 0.152/√m, is the same in every e-fold of m' from m to √m.
In half-normal units that adds 0.26 to A for every factor of 4 in m, where 0.14 to 0.19 is found.

Sources: paper, sections 1.1 and 5; theory/README, section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr

from theory._checks import Array, non_negative, positive, require

__all__ = ["epsilon", "largest_wins", "largest_wins_strong", "largest_wins_weak", "noise"]

_BETA_MAX = 40.0  # P is 2e-89 there
_NODES = np.linspace(0.0, 1.0, 4001)
_MEASURED = np.array(
    [[0.001, 0.58], [0.01, 0.555], [0.046, 0.54], [0.1, 0.52], [0.22, 0.48], [0.46, 0.41],
     [1.0, 0.275]]
)  # fmt: skip
"""Λ and β/√ε, fitted to the largest winners of the count map with m ≥ 2n."""


def epsilon(n: ArrayLike, m: ArrayLike) -> Array:
    """ε = n/√m, so that ε²/4 is the paper's count n²/4m. n, m : > 0, broadcast."""
    return np.asarray(positive("n", n) / np.sqrt(positive("m", m)))


def largest_wins(beta: ArrayLike) -> Array:
    """Probability that the initially largest of many weights is the largest after random shifts.

        P(β) = ∫ φ(g) dg / [Φ(g) + e^(β²/2 − βg) Φ(β − g)]

    Exact for its model: sizes y are a Poisson process of density e^(−y), shifts βg with g standard
    normal, independent. *Proof.* Points (y, g) are a Poisson process of density e^(−y) φ(g)
    (marking). The point (y, g) is first before and after iff no other (y', g') has y' > y or
    y' + βg' > y + βg, i.e. y' > y + min(0, β(g − g')). The mean number of those is

        e^(−y) K(g),    K(g) = E max(1, e^(β(g' − g))) = Φ(g) + e^(β²/2 − βg) Φ(β − g)

    so that P = ∫∫ e^(−y) φ(g) exp(−e^(−y) K(g)) dy dg, of which y is integrated at once. ∎

    To about 1e-14 relative, by the trapezoidal rule: the integrand is analytic.

    beta : β in [0, 40], any shape. Source: theory/README, section 4.
    Raises ValueError outside this range.
    """
    b = non_negative("beta", beta)
    require(b <= _BETA_MAX, f"beta <= {_BETA_MAX:g}", beta, "P is below 1e-88 there")
    b = b[..., None]
    g = -10.0 + (20.0 + b / 2) * _NODES
    log_k = np.logaddexp(log_ndtr(g), b**2 / 2 - b * g + log_ndtr(b - g))
    density = np.exp(-(g**2) / 2 - log_k) / np.sqrt(2 * np.pi)
    return np.asarray((density.sum(axis=-1)) * (20.0 + b[..., 0] / 2) * _NODES[1])


def largest_wins_weak(beta: ArrayLike) -> Array:
    """P(β) for β → 0: 1 − β/√π, with an error of order β².

    The two largest weights are a gap of density e^(−gap) apart, and two shifts differ by
    E(g' − g)₊ = 1/√π. beta : any shape.
    """
    return np.asarray(1 - non_negative("beta", beta) / np.sqrt(np.pi))


def largest_wins_strong(beta: ArrayLike) -> Array:
    """P(β) for β → ∞: π φ(β/2)/β, with a relative error of order 1/β².

    With g = β/2 + v/β the denominator is 1 + e^(−v), and ∫ dv/(2 cosh(v/2)) = π.
    beta : > 0, any shape.
    """
    b = positive("beta", beta)
    return np.asarray(np.pi * np.exp(-(b**2) / 8) / (np.sqrt(2 * np.pi) * b))


def noise(epsilon: ArrayLike, coupling: ArrayLike) -> Array:
    """β = C(Λ) √ε, C **measured**: 0.58 for Λ → 0, 0.555 at 0.01, 0.275 at 1.

    For `largest_wins`. With m ≥ 4n and 1 ≤ ε ≤ 8 it gives the share of features whose largest
    weight wins to ± 0.025, at m = 2n and small Λ up to 0.04 too much; the exponents of n and m that
    fit best are not quite 1/2 and −1/4. Below
    ε = 1 it says too few winners (0.89 where 0.93 is found at ε = 0.125, Λ = 0.01).

    epsilon, coupling : ε > 0 and Λ in [0.001, 1], broadcast. C is interpolated in ln Λ.
    Source: theory/README, section 4. Raises ValueError for Λ outside this range.
    """
    at = positive("coupling", coupling)
    low, high = _MEASURED[[0, -1], 0]
    require(
        (at >= low) & (at <= high), f"{low:g} <= coupling <= {high:g}", coupling, "not measured"
    )
    constant = np.interp(np.log(at), np.log(_MEASURED[:, 0]), _MEASURED[:, 1])
    return np.asarray(constant * np.sqrt(positive("epsilon", epsilon)))
