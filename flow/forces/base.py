"""What a force is: its equation, its energy, and the slots through which integrators see it.

Source: paper, section 2 and appendix A; theory/README, section 1. W : (n, m) holds one row per
feature and one column per neuron; G = W Wᵀ : (n, n). Every force is written once, against the array
namespace of W, so NumPy and JAX read the same lines.

A force enters the integrators through *slots*; each has a neutral default:

=================  ==========================================================================
``growth``         row growth  (constant − quadratic·‖W_i‖²) W_i, which integrators solve exactly
``pair_strength``  coefficient c of the pair function φ(G) = c·ReLU(G), i ≠ j, drift φ(G) W
``leak_strength``  coefficient c' of its part below zero, −c'·ReLU(−G)
``l1``             weight λ of the sign force −λ·sign(W), the only jump in the field
``drift(W)``       any other rate, (n, m), and its ``stiffness(W)``; sets ``has_general_drift``
=================  ==========================================================================

and says in ``preserves_dead_neurons`` whether a neuron that is zero in every row stays so under it,
which is what allows sparse evaluation. To add a force, subclass :class:`Force` in its own file; the
tests of the forces find it and hold it to the laws (slots = rate = −∇energy, equivariance).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np

Array = Any
"""An (n, m) array of a NumPy or JAX namespace."""


class Growth(NamedTuple):
    """Row growth (constant − quadratic·‖W_i‖²) W_i."""

    constant: float = 0.0
    quadratic: float = 0.0


class Summary(NamedTuple):
    """What the energies of slot forces depend on, per row; each entry has shape (n,)."""

    l1: np.ndarray
    """‖W_i‖₁."""
    squared_norm: np.ndarray
    """‖W_i‖²."""
    rectified_squares: np.ndarray
    """Σ_{j≠i} ReLU(G_ij)²."""


def rectified_gram(W: Array, sign: float = 1.0) -> Array:
    """ReLU(sign·G) with its diagonal set to zero, (n, n)."""
    xp = W.__array_namespace__()
    G = sign * (W @ W.T)
    return xp.where(xp.eye(G.shape[0], dtype=bool), xp.zeros_like(G), xp.maximum(G, 0.0))


def squared_norms(W: Array) -> Array:
    """(n,) ‖W_i‖²."""
    return W.__array_namespace__().sum(W * W, axis=1)


def summarize(W: Array) -> Summary:
    """The :class:`Summary` of W : (n, m)."""
    xp = W.__array_namespace__()
    return Summary(
        xp.sum(xp.abs(W), axis=1), squared_norms(W), xp.sum(rectified_gram(W) ** 2, axis=1)
    )


@dataclass(frozen=True)
class Force:
    """One term of dW/dt, with the energy it descends (rate = −∂energy/∂W) and its slots.

    A subclass is a frozen dataclass whose fields are its parameters. It defines ``energy`` and
    ``rate``, and with a general drift also ``drift`` and ``stiffness``; TypeError if it does not.
    """

    registry: ClassVar[dict[str, type[Force]]] = {}
    preserves_dead_neurons: ClassVar[bool] = True
    has_general_drift: ClassVar[bool] = False
    replaces: ClassVar[tuple[type[Force], ...]] = ()
    """Forces that this one contains, so that both together would count them twice."""

    def __init_subclass__(cls) -> None:
        needed = dict(_NEEDED if not cls.has_general_drift else _NEEDED | _NEEDED_WITH_DRIFT)
        for method, returned in needed.items():
            if getattr(cls, method) is getattr(Force, method):
                raise TypeError(
                    f"expected the force {cls.__name__} to define {method}(self, W), got none; "
                    f"add it: for W : (n, m) it returns {returned}"
                )
        Force.registry[cls.__name__] = cls

    @property
    def growth(self) -> Growth:
        return Growth()

    @property
    def pair_strength(self) -> float:
        return 0.0

    @property
    def leak_strength(self) -> float:
        return 0.0

    @property
    def l1(self) -> float:
        return 0.0

    def drift(self, W: Array) -> Array:
        """Smooth rate that fits no other slot, (n, m)."""
        raise NotImplementedError(
            f"{type(self).__name__} has no general drift: see has_general_drift"
        )

    def stiffness(self, W: Array) -> Array:
        """Upper estimate of the fastest rate at which the general drift relaxes, 1/time."""
        raise NotImplementedError(
            f"{type(self).__name__} has no general drift: see has_general_drift"
        )

    @property
    def drift_scale(self) -> float:
        """The rate that the strength of the general drift sets, 1/time."""
        return 0.0

    def energy(self, W: Array) -> Array:
        """The scalar this force descends."""
        raise NotImplementedError("every force defines its energy")

    def rate(self, W: Array) -> Array:
        """−∂energy/∂W, (n, m): the definition of the force."""
        raise NotImplementedError("every force defines its rate")

    def energy_from(self, summary: Summary) -> float | None:
        """The same energy from row sums, or None where that is not enough."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """The force as plain data: its name and its parameters."""
        return {"name": type(self).__name__, **asdict(self)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Force:
        """The force that :meth:`to_dict` made `data` of.

        Raises ValueError for a name that no force has, for parameters that the force does not
        have or lacks, and for values that they cannot have.
        """
        given = dict(data)
        name = given.pop("name", None)
        if name not in Force.registry:
            raise ValueError(
                f"expected the name of a force, one of {', '.join(Force.registry)}, got {name!r}; "
                f"import the module that defines it first, if it is another"
            )
        kind = Force.registry[name]
        known = [field.name for field in fields(kind)]
        required = {field.name for field in fields(kind) if field.default is MISSING}
        if not required <= given.keys() <= set(known):
            raise ValueError(
                f"expected {name} with {' and '.join(known) or 'no parameters'}, got "
                f"{', '.join(map(str, given)) or 'none'}; add what is missing, leave out the rest"
            )
        return kind(**given)


_NEEDED = {
    "energy": "the scalar that the force descends",
    "rate": "−∂energy/∂W, (n, m)",
}
"""What every force defines, and what it returns."""
_NEEDED_WITH_DRIFT = {
    "drift": "the part of the rate that fits no other slot, (n, m)",
    "stiffness": "an upper estimate of the fastest rate at which the drift relaxes, 1/time",
}
"""What a force with a general drift defines besides."""


def check_strength(force: Force, name: str, value: float) -> None:
    """ValueError unless a strength is a finite number ≥ 0."""
    if not (math.isfinite(value) and value >= 0.0):
        raise ValueError(
            f"{type(force).__name__}({name}) must be a finite number >= 0, got {value!r}; "
            f"use 0 or leave the force out to switch it off"
        )
