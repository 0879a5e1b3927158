"""Numbers and names that several rooms need, each in this one place; imports nothing."""

from typing import Literal, get_args

Backend = Literal["auto", "numba", "exact", "diffrax"]
"""How rows are computed: "exact" in closed form where they do not act on each other, "numba" for
any forces, "diffrax" for accelerators; "auto" is exact where that applies, else numba."""
BACKENDS: tuple[str, ...] = get_args(Backend)

DTYPES = ("float32", "float64")
"""Precisions of W."""

DEFAULT_RTOL = 5e-3
"""Default error per step. Beside runs at 2e-5 it keeps 99.9 % of the winners (neuron and sign) at
n = 64 and 99.5 % at n = m = 256, λ = 0.01 (1,529 of 1,536), and does not bias counts: what a
tighter one buys, `python -m benchmarks.tolerance show` says."""

# Forces ------------------------------------------------------------------------------------------

PAPER_FORCES = ("FeatureBenefit", "Interference", "Regularization")
"""Names of the three forces of the paper."""

FORCE_SETS = {
    "all": PAPER_FORCES,
    "no-interference": ("FeatureBenefit", "Regularization"),
    "no-regularization": ("FeatureBenefit", "Interference"),
    "no-feature-benefit": ("Interference", "Regularization"),
    "only-feature-benefit": ("FeatureBenefit",),
    "only-interference": ("Interference",),
    "only-regularization": ("Regularization",),
}
"""Every set of them that has a name, and the forces in it."""

# Noise -------------------------------------------------------------------------------------------

NOISE_LAWS = ("bipolar", "uniform", "normal", "laplace", "student-t")
"""Laws of hidden noise. Where one word says all, Student-t is "student-t:DF", DF its degrees of
freedom, such as "student-t:5"."""
DEFAULT_DEGREES = 5
"""Degrees of freedom of Student-t noise where none are given."""
MOST_DEGREES = 99
"""Beyond it Student-t noise is as good as normal."""
DEGREES = f"an odd whole number from 3 to {MOST_DEGREES}"
"""Degrees of freedom that Student-t noise may have, in words.

From 3 on the variance is finite, which σ² is; for odd ones the characteristic function, and with
it the force of the flow, is elementary. Training draws the same laws, so that every network that
is trained under noise has a flow to be compared with.
"""

SMALL_RUN = 2**14
"""Weights below which a run computes with one thread: to wake several would take longer."""


def check_degrees(value: float) -> int:
    """`value` as degrees of freedom of Student-t noise; ValueError unless it is :data:`DEGREES`."""
    if not (3 <= value <= MOST_DEGREES and value % 2 == 1):
        raise ValueError(f"expected {DEGREES} as degrees of freedom, got {value!r}; try 5")
    return int(value)


def split_noise_law(name: str) -> tuple[str, int | None]:
    """Law and degrees of freedom (Student-t alone) that a `name` such as "student-t:5" says.

    Raises ValueError for a name that no law has.
    """
    law, _, degrees = str(name).partition(":")
    if law == "student-t" and degrees.isdecimal():
        return law, check_degrees(int(degrees))
    if name not in NOISE_LAWS or law == "student-t":
        known = ", ".join(law if law != "student-t" else "student-t:DF" for law in NOISE_LAWS)
        raise ValueError(
            f"expected a noise law, one of {known} with DF {DEGREES}, got {name!r}; for example "
            f"'bipolar' or 'student-t:5'"
        )
    return law, None


def noise_law(law: str, degrees: float) -> str:
    """One word for a law, and for its degrees of freedom where it is Student-t."""
    return f"{law}:{check_degrees(degrees)}" if law == "student-t" else law
