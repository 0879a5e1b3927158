"""A run drawn as it stands: what the methods of a trajectory return."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow.pictures import plots
from flow.pictures.law import closed_form
from flow.results.film import Film
from flow.results.trajectory import Trajectory


def film_of(traj: Trajectory) -> Film:
    """The film of a run, or its kept weights as one."""
    if traj.film is not None:
        return traj.film
    rows = np.arange(traj.weights.shape[1])
    return Film(traj.times, rows, traj.weights.astype(np.float32))


def drawable(traj: Trajectory) -> bool:
    """Whether the weights of a run are numbers that a picture can show."""
    with np.errstate(over="ignore"):
        shown = (film_of(traj).weights, traj.final.astype(np.float32))
    return all(bool(np.isfinite(W).all()) for W in shown)


def check_drawable(traj: Trajectory) -> None:
    """ValueError for a run that no picture can show."""
    if not drawable(traj):
        raise ValueError(
            f"expected a run with finite weights to draw, got {traj.status.name}: {traj.message}"
        )


def plot(traj: Trajectory) -> Figure:
    """See :meth:`flow.Trajectory.plot`."""
    check_drawable(traj)
    return plots.single_run(traj, film_of(traj), closed_form(traj))


def plot_weights(traj: Trajectory) -> Figure:
    """See :meth:`flow.Trajectory.plot_weights`."""
    check_drawable(traj)
    return _one(6.0, 4.5, lambda axis: plots.draw_weights(axis, film_of(traj), traj.final))


def plot_energies(traj: Trajectory) -> Figure:
    """See :meth:`flow.Trajectory.plot_energies`."""
    return _one(6.0, 4.5, lambda axis: plots.draw_energies(axis, traj))


def animate(traj: Trajectory, path: Path) -> None:
    """See :meth:`flow.Trajectory.animate`."""
    check_drawable(traj)
    plots.write_animation(traj, film_of(traj), path)


def thumbnail(traj: Trajectory) -> str:
    """W at the end as an HTML image; nothing for weights that are not finite."""
    if not np.isfinite(traj.final).all():
        return ""
    figure = _one(3.2, 2.4, lambda axis: plots.draw_final(axis, traj))
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=72)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="W at the end" src="data:image/png;base64,{data}">'


def _one(width: float, height: float, draw: Callable[[Axes], None]) -> Figure:
    with plots.in_style():
        figure = plots.new_figure(width, height)
        draw(figure.subplots())
    return figure
