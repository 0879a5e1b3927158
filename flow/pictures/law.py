"""The closed-form law of sparsification, as it is drawn beside a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from flow.forces import FeatureBenefit, Regularization
from flow.results.trajectory import Trajectory
from theory.universal import universal_law


@dataclass(frozen=True)
class Law:
    """The closed-form law of sparsification, interference off."""

    times: np.ndarray
    """(k,) flow times."""
    l1: np.ndarray
    """(k,) ‖W_i‖₁."""
    survivors: np.ndarray
    """(k,) non-zeros per feature."""


def closed_form(traj: Trajectory) -> Law | None:
    """The closed-form law of sparsification for a normal start with interference off.

    It is drawn through runs with interference as well, which is what shows the difference.
    None where it does not apply: other starts, no feature benefit, no regularization, or
    λ√m/c above 1.
    """
    c = sum(force.strength for force in traj.forces if isinstance(force, FeatureBenefit))
    lam = sum(force.lam for force in traj.forces if isinstance(force, Regularization))
    scale: Any = traj.metadata.get("scale", 0.0)
    m = traj.final.shape[1]
    if not (c > 0.0 and lam > 0.0 and scale > 0.0 and lam * math.sqrt(m) <= c):
        return None
    law = universal_law(np.linspace(0.0, 10.0, 2001), coupling=lam * math.sqrt(m) / c, norm=scale)
    # The limit of many neurons says nothing about the last few survivors.
    valid = (law.survivors * m >= 2.0) & (law.time > 0.0)
    times = law.time[valid] / (lam * math.sqrt(m))
    return Law(times, law.l1[valid] * math.sqrt(m), law.survivors[valid] * m)
