"""One run, filmed: W as an image and the energies of the forces: encodings form, collide and
settle, each on one neuron.

The rows and columns of W are in the order of the end: shared neurons first. All forces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.pictures.plots import ENERGY_LINES, winner_order
from paper_figures.tools import gallery, style
from paper_figures.tools.cache import Data


@dataclass(frozen=True)
class Parameters:
    """The run, c = 1, and its frames."""

    n: int = 32
    m: int = 64
    lam: float = 0.01
    seed: int = 0
    frames: int = 60


FULL = Parameters()
FAST = Parameters(n=16, m=24, lam=0.03, frames=12)


def compute(p: Parameters) -> Data:
    """Frames of W evenly spaced in ln t, and energies at every step."""
    forces = [FeatureBenefit(), Interference(), Regularization(p.lam)]
    run = integrate(forces, gaussian_init(p.n, p.m, seed=p.seed), film=True)
    film = run.film
    assert film is not None
    chosen = np.unique(np.linspace(0, len(film.times) - 1, p.frames).round().astype(np.int64))
    rows, columns = winner_order(run.final)
    seen = run.observables
    return {
        "lam": np.array(p.lam),
        "seed": np.array(p.seed),
        "times": film.times[chosen],
        "W": film.weights[chosen][:, rows][:, :, columns],
        "steps": seen.times,
        "names": np.array(list(seen.energy)),
        "energies": np.array(list(seen.energy.values())),
    }


def plot(data: Data) -> gallery.Film:
    """One image for each frame."""
    figure, (left, right) = style.canvas(3.9, 1, 2, width_ratios=(1.25, 1.0))
    _, n, m = data["W"].shape
    left.grid(False)
    image = left.imshow(data["W"][0], cmap=style.SIGNED, vmin=-1, vmax=1, aspect="auto",
                        interpolation="nearest", extent=(0, m, n, 0))  # fmt: skip
    left.set_xlabel("neurons, shared ones first")
    left.set_ylabel("features")
    first = data["steps"][1]
    for name, energy in zip(data["names"], data["energies"], strict=True):
        label, colour, dashes = ENERGY_LINES[str(name)]
        right.plot(data["steps"][1:], np.maximum(energy[1:], 1e-9), color=colour, ls=dashes,
                   label=label)  # fmt: skip
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(2e-5 * data["energies"].max(), 2.0 * data["energies"].max())
    right.set_xlabel("flow time t")
    right.set_ylabel("energy")
    right.legend(loc="lower left", fontsize=9)
    title = left.set_title(" ")
    marker = right.axvline(first, color="black", lw=1.2)
    figure.set_dpi(100)
    canvas: Any = figure.canvas
    canvas.draw()
    figure.set_layout_engine("none")  # laid out once: it must not move from frame to frame
    frames = []
    for t, W in zip(data["times"], data["W"], strict=True):
        image.set_data(W)
        marker.set_xdata([max(t, first)] * 2)
        title.set_text(f"t = {t:.3g}: {np.count_nonzero(W) / n:.3g} non-zeros each")
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
        frames.append(Image.fromarray(pixels.copy()))
    # One palette, or colours would flicker: those of W, and of three frames together.
    some = Image.fromarray(np.vstack([np.asarray(frames[k]) for k in (0, len(frames) // 2, -1)]))
    weights = np.round(255 * style.SIGNED(np.linspace(0.0, 1.0, 127))[:, :3]).astype(int)
    others = some.quantize(128).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([255, 255, 255, *weights.ravel().tolist(), *others[: 3 * 128]])
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


if __name__ == "__main__":
    gallery.main(__file__)
