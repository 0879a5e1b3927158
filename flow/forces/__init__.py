"""The equation dW/dt = feature benefit − interference − λ·sign(W), one block per force.

Each force has its displayed equation, its energy, its rate, and how it enters the split form of the
integrators (:mod:`flow.forces.base`); :mod:`flow.forces.noise` is what noise makes of two of them.
NumPy is all that is needed.
"""

from flow.forces.base import Array, Force, Growth, Summary, summarize
from flow.forces.cooccurrence import CoOccurrence
from flow.forces.feature_benefit import FeatureBenefit
from flow.forces.interference import Interference
from flow.forces.regularization import L2Regularization, Regularization
from flow.forces.total import ForceSum, sum_forces, velocity, with_jump
from flow.forces.under_noise import NoisyFeatureBenefit, NoisyInterference

__all__ = [
    "Array",
    "CoOccurrence",
    "FeatureBenefit",
    "Force",
    "ForceSum",
    "Growth",
    "Interference",
    "L2Regularization",
    "NoisyFeatureBenefit",
    "NoisyInterference",
    "Regularization",
    "Summary",
    "sum_forces",
    "summarize",
    "velocity",
    "with_jump",
]
