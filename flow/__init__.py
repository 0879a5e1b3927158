"""Gradient flow of the forces that make neurons polysemantic: the public names."""

from flow.driver import integrate
from flow.forces import (
    FeatureBenefit,
    Force,
    Interference,
    L2Regularization,
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
    "Observables",
    "Regularization",
    "Status",
    "Trajectory",
    "certify",
    "gaussian_init",
    "integrate",
    "velocity",
]
