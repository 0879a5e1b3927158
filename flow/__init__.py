"""Gradient flow of the forces that make neurons polysemantic: the public names.

Each is imported when it is first asked for, so that ``python -m flow.simulate --help`` does not
wait for the compiler.
"""

from typing import TYPE_CHECKING

from flow.lazy import exports

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

__getattr__, __dir__ = exports(
    __name__,
    {
        "Certificate": ".stationarity",
        "FeatureBenefit": ".forces",
        "Force": ".forces",
        "Interference": ".forces",
        "L2Regularization": ".forces",
        "NoisyFeatureBenefit": ".forces",
        "NoisyInterference": ".forces",
        "Observables": ".trajectory",
        "Regularization": ".forces",
        "Status": ".trajectory",
        "Trajectory": ".trajectory",
        "certify": ".stationarity",
        "gaussian_init": ".initial",
        "integrate": ".driver",
        "integrate_ensemble": ".diffrax_ensemble",
        "velocity": ".forces",
    },
)
