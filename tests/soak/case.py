"""One case: what it was given, what it counted, which faults it found."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COUNTED = (
    "cases", "runs", "refused", "kills", "signals", "disk faults", "forks", "noise ends",
    "comparisons", "faults",
)  # fmt: skip
"""What the table at the end counts."""


@dataclass
class Case:
    """A case that is being made."""

    seed: int
    """What it is drawn from."""
    short: bool = False
    """Whether a case is to take seconds where it could take a minute."""
    patience: float = 1.0
    """What limits of time are multiplied by, for a machine that is slow or shared."""
    about: dict[str, Any] = field(default_factory=dict)
    """What was drawn, and numbers worth reading."""
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def check(self, holds: bool, sentence: str) -> bool:
        """Count a comparison, and a fault where it does not hold."""
        self.counts["comparisons"] += 1
        if not holds:
            self.faults.append(sentence)
        return bool(holds)

    def record(self) -> dict[str, Any]:
        """The case as plain data."""
        return {
            "seed": self.seed, "about": self.about, "counts": dict(self.counts),
            "faults": self.faults,
        }  # fmt: skip


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A positive number, uniform in its logarithm."""
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from low to high, uniform in its logarithm."""
    return min(high, int(log_uniform(rng, low, high + 1)))
