"""The first command of the README, `python flow/simulate.py --plot run.png`: weights race and one
of each feature is left; their number falls along the universal law; the energies fall; at the end
two features stand on one neuron 13 times, with opposite signs (dots of two colours in one column).

All forces, c = 1, to rest. Six of the features are drawn in the first panel, two of them from
shared neurons.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    Trajectory,
    gaussian_init,
    integrate,
)
from paper_figures.tools import gallery
from paper_figures.tools.cache import Data


@dataclass(frozen=True)
class Parameters:
    """The run that the command makes."""

    n: int = 256
    m: int = 1024
    lam: float = 0.01
    seed: int = 0


FULL = Parameters()
FAST = Parameters(n=16, m=24, lam=0.03)


def compute(p: Parameters) -> Data:
    """The file of the run, byte for byte."""
    run = integrate(
        [FeatureBenefit(), Interference(), Regularization(p.lam)],
        gaussian_init(p.n, p.m, seed=p.seed),
        film=True,
        metadata={"seed": p.seed, "scale": 1.0},
    )
    with tempfile.TemporaryDirectory() as folder:
        run.save(Path(folder) / "run.npz")
        return {"run": np.fromfile(Path(folder) / "run.npz", np.uint8)}


def load(data: Data) -> Trajectory:
    """The run."""
    with tempfile.TemporaryDirectory() as folder:
        data["run"].tofile(Path(folder) / "run.npz")
        return Trajectory.load(Path(folder) / "run.npz")


def plot(data: Data) -> Figure:
    """What `run.plot()` draws."""
    figure: Figure = load(data).plot()
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
