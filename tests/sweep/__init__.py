"""What the tests of sweeps share: a small grid, forces with noise, the command, the same bits."""

import os
import subprocess
import sys

from flow.sweep.results import EXPORTED
from tests import ROOT

GRID = {"n": 6, "m": [6, 12], "lam": 0.05, "seeds": 3}
"""Six runs that come to rest in milliseconds."""
NOISY = "NoisyFeatureBenefit + NoisyInterference"
RESULTS = (*EXPORTED, "trace", "winners")
"""The columns that a run decides: everything but timings and history."""


def identical(one, other):
    """Whether two sweeps hold the same bits."""
    return [[row[name] for name in RESULTS] for row in one.rows] == [
        [row[name] for name in RESULTS] for row in other.rows
    ]


def command(*words, cwd, start=("-m", "flow.sweep")):
    """`python -m flow.sweep words` in `cwd`, to its end."""
    return subprocess.run(
        [sys.executable, *start, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
