"""Gradient flow of the forces that make neurons polysemantic: the public names.

Each is imported when it is first asked for, so that ``python -m flow.simulate --help`` does not
wait for the compiler.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flow.diffrax_ensemble import integrate_ensemble
    from flow.driver import integrate
    from flow.forces import (
        FeatureBenefit,
        Force,
        Interference,
        L2Regularization,
        NoisyFeatureBenefit,
        NoisyInterference,
        Regularization,
        velocity,
    )
    from flow.initial import gaussian_init
    from flow.stationarity import Certificate, certify
    from flow.trajectory import Observables, Status, Trajectory

__all__ = [
    "Certificate",
    "FeatureBenefit",
    "Force",
    "Interference",
    "L2Regularization",
    "NoisyFeatureBenefit",
    "NoisyInterference",
    "Observables",
    "Regularization",
    "Status",
    "Trajectory",
    "certify",
    "gaussian_init",
    "integrate",
    "integrate_ensemble",
    "velocity",
]

_MODULE = {
    "Certificate": "stationarity",
    "FeatureBenefit": "forces",
    "Force": "forces",
    "Interference": "forces",
    "L2Regularization": "forces",
    "NoisyFeatureBenefit": "forces",
    "NoisyInterference": "forces",
    "Observables": "trajectory",
    "Regularization": "forces",
    "Status": "trajectory",
    "Trajectory": "trajectory",
    "certify": "stationarity",
    "gaussian_init": "initial",
    "integrate": "driver",
    "integrate_ensemble": "diffrax_ensemble",
    "velocity": "forces",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'flow' has no attribute {name!r}")
    value = getattr(import_module(f"flow.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
