"""Trajectory: everything a run leaves behind, and its file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flow.forces import Force
from flow.results.certificate import Certificate
from flow.results.describe import as_html, describe_run
from flow.results.events import Events
from flow.results.files import written_aside
from flow.results.film import Film
from flow.results.observables import Observables
from flow.results.status import Status

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure

    from flow.analysis.states import EndStates
    from flow.driver.simulation import Simulation
    from flow.explore.saved import Shown

FORMAT = "incidental-flow trajectory 2"


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """A run of the flow."""

    times: np.ndarray
    """(s,) flow times at which the weights were kept."""
    weights: np.ndarray
    """(s, n, m)."""
    observables: Observables
    status: Status
    message: str
    """The status, with numbers."""
    certificate: Certificate
    stats: Mapping[str, Any]
    """Counts: accepted, rejected, evaluations; seconds."""
    parameters: Mapping[str, Any]
    """Forces with strengths, sizes, dtype, tolerances, backend, scheme."""
    versions: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    events: Events = field(default_factory=Events)
    """Deaths and revivals of weights, changes of sign of overlaps; empty unless asked for."""
    film: Film | None = None
    """Frames of W along the run; None unless asked for."""
    checkpoint: Mapping[str, np.ndarray] | None = None
    """The loop's state at the end, from which the same run goes on bit for bit; None where there is
    no loop (backend "exact", training)."""

    @property
    def final(self) -> np.ndarray:
        """(n, m) weights at the end."""
        return self.weights[-1]

    @property
    def forces(self) -> tuple[Force, ...]:
        """The forces of the run; ValueError for one that this version does not have."""
        return tuple(Force.from_dict(force) for force in self.parameters["forces"])

    @property
    def polysemantic(self) -> int:
        """Number of neurons with two features or more at the end, by exact non-zeros.

        Of weights that are not at rest it counts nearly all neurons. Raises ValueError for weights
        that are not finite. Source: paper, section 2.5; theory/README, section 4.
        """
        from flow.analysis.states import polysemantic_neurons

        return polysemantic_neurons(self.final)

    @property
    def end_states(self) -> EndStates:
        """The class of every feature and neuron at the end: :func:`flow.analysis.end_states`.

        A feature that moves faster than what counts as rest is not converged.
        """
        from flow.analysis.states import end_states, row_residuals

        W = self.final
        if not np.isfinite(W).all():
            return end_states(W)
        tolerance = self.parameters["stationarity_tol"]
        with np.errstate(all="ignore"):  # what overflows is not at rest
            residuals = row_residuals(self.forces, W)
        return end_states(W, residuals=residuals, tolerance=tolerance)

    def summary(self) -> str:
        """What the command line says of the run."""
        from flow.cli.report import expected_counts, summary

        return "\n".join(summary(self, expected_counts(self)))

    def plot(self) -> Figure:
        """Four panels: weights by their fate, norms, energies, W at the end.

        Weights are drawn along the film of a run that has one (``integrate(..., film=True)``), else
        between the times that were kept.
        """
        from flow.pictures.shown import plot

        return plot(self)

    def plot_weights(self) -> Figure:
        """|W_ik| of a few features over time, by their fate; along the film, as :meth:`plot`."""
        from flow.pictures.shown import plot_weights

        return plot_weights(self)

    def plot_energies(self) -> Figure:
        """The energy of every force over time."""
        from flow.pictures.shown import plot_energies

        return plot_energies(self)

    def animate(self, path: str | os.PathLike[str]) -> None:
        """Film W and the energies into a ``.gif``, or ``.mp4`` where ffmpeg is installed."""
        from flow.pictures.shown import animate

        animate(self, Path(path))

    def explore(self) -> Shown:
        """The page of :mod:`flow.explore` of this run, in a notebook: scrubbed in the browser.

        It follows the film of a run that has one (``integrate(..., film=True)``), else the weights
        that were kept. Raises ImportError naming the extra ``explore`` if Bokeh is missing.
        """
        try:
            from flow.explore.saved import shown
        except ImportError as error:
            raise ImportError(
                "explore needs Bokeh: pip install 'incidental-flow[explore]'"
            ) from error
        return shown(self)

    def __repr__(self) -> str:
        return describe_run(self)

    def _repr_html_(self) -> str:
        """The same with a small picture of W at the end, for notebooks."""
        from flow.pictures.shown import thumbnail

        return as_html(repr(self), thumbnail(self))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one ``.npz`` (no pickle), aside first and then renamed into place.

        The name gets the suffix ``.npz`` if it has none. A kill at any moment leaves the old file
        or the new one. Raises OSError if the folder is missing or cannot be written.
        """
        path = Path(path)
        path = path if path.suffix else path.with_suffix(".npz")
        arrays: dict[str, Any] = {
            "times": self.times,
            "weights": self.weights,
        }
        for name in ("times", "l1", "l2", "l4", "nonzeros", "dissipation"):
            arrays[f"observables.{name}"] = getattr(self.observables, name)
        for name, values in self.observables.energy.items():
            arrays[f"energy.{name}"] = values
        for name, values in self.events.arrays().items():
            arrays[f"events.{name}"] = values
        if self.film is not None:
            for name in ("times", "rows", "weights"):
                arrays[f"film.{name}"] = getattr(self.film, name)
        for name, values in (self.checkpoint or {}).items():
            arrays[f"checkpoint.{name}"] = values
        arrays["about"] = np.array(
            json.dumps(
                {
                    "format": FORMAT,
                    "status": self.status.name,
                    "message": self.message,
                    "certificate": asdict(self.certificate),
                    "stats": dict(self.stats),
                    "parameters": dict(self.parameters),
                    "versions": dict(self.versions),
                    "metadata": dict(self.metadata),
                },
                default=_as_plain,
            )
        )
        with written_aside(path) as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read a file written by :meth:`save`.

        Raises FileNotFoundError, or ValueError if the file is corrupt or was not written by
        this project.
        """
        with open(path, "rb") as raw:  # np.load leaves a file open that it could not read
            try:
                with np.load(raw, allow_pickle=False) as file:
                    arrays = {name: file[name] for name in file.files}
                return cls._from_arrays(arrays)
            except Exception as error:  # whatever damaged bytes make zipfile, zlib and NumPy raise
                raise ValueError(
                    f"expected a trajectory written by Trajectory.save, got {os.fspath(path)}, "
                    f"which is something else or damaged ({type(error).__name__}: {error}); check "
                    f"the path"
                ) from error

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Trajectory:
        about = json.loads(str(arrays["about"]))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r} instead of {FORMAT!r}")

        def group(name: str) -> dict[str, np.ndarray]:
            start = f"{name}."
            return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}

        film, checkpoint = group("film"), group("checkpoint")
        return cls(
            times=arrays["times"],
            weights=arrays["weights"],
            observables=Observables(energy=group("energy"), **group("observables")),
            events=Events.from_arrays(group("events")),
            film=Film(**film) if film else None,
            checkpoint=checkpoint or None,
            status=Status[about["status"]],
            message=about["message"],
            certificate=Certificate(**about["certificate"]),
            stats=about["stats"],
            parameters=about["parameters"],
            versions=about["versions"],
            metadata=about["metadata"],
        )

    def simulation(self, **changes: Any) -> Simulation:
        """Go on from the end of this run: :meth:`flow.Simulation.resume`."""
        from flow.driver.simulation import Simulation

        return Simulation.resume(self, **changes)

    def to_xarray(self) -> xarray.Dataset:
        """The run as a labelled dataset; needs the extra ``data``.

        Dimensions: time × feature × neuron for the weights, step × feature for observables; events
        that were recorded lie along extinctions, revivals and overlaps, as `extinctions.time` …
        Raises ImportError naming the extra if xarray is missing.
        """
        try:
            import xarray
        except ImportError as error:
            raise ImportError(
                "to_xarray needs xarray: pip install 'incidental-flow[data]'"
            ) from error
        o = self.observables
        data: dict[str, Any] = {
            "weights": (("time", "feature", "neuron"), self.weights, _about("weight W_ik"))
        }
        for name, long_name in _PER_ROW.items():
            data[name] = (("step", "feature"), getattr(o, name), _about(long_name))
        data["dissipation"] = (("step",), o.dissipation, _about("‖dW/dt‖²", "1/flow time²"))
        for name, values in o.energy.items():
            about = _about(f"energy of {name}", "1/flow time")
            data[f"energy_{name}"] = (("step",), values, about)
        logged = {
            "extinctions": self.events.weights_logged,
            "revivals": self.events.weights_logged,
            "overlaps": self.events.overlaps_logged,
        }
        for name, values in self.events.arrays().items():
            group, _, field_name = name.partition(".")
            if logged.get(group):
                unit = "flow time" if field_name in ("time", "resolution") else ""
                data[name] = ((group,), values, _about(f"{field_name} of {group}", unit))
        return xarray.Dataset(
            data,
            coords={
                "time": ("time", self.times, _about("flow time", "flow time")),
                "step_time": ("step", o.times, _about("flow time", "flow time")),
            },
            attrs={
                "status": self.status.name,
                "message": self.message,
                **{
                    name: json.dumps(dict(getattr(self, name)), default=_as_plain)
                    for name in ("stats", "parameters", "versions", "metadata")
                },
            },
        )

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each step, means over features, by flow time; needs the extra ``data``.

        Raises ImportError naming the extra if pandas is missing.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas: pip install 'incidental-flow[data]'"
            ) from error
        o = self.observables
        columns = {name: getattr(o, name).mean(axis=1) for name in _PER_ROW}
        columns["dissipation"] = o.dissipation
        columns |= {f"energy_{name}": values for name, values in o.energy.items()}
        return pandas.DataFrame(columns, index=pandas.Index(o.times, name="t"))


_PER_ROW = {
    "l1": "ℓ1 norm ‖W_i‖₁",
    "l2": "ℓ2 norm ‖W_i‖₂",
    "l4": "fourth norm ‖W_i‖₄⁴",
    "nonzeros": "non-zero weights of a feature",
}
"""Observables that every feature has, and what they are called on an axis."""


def _about(long_name: str, units: str = "") -> dict[str, str]:
    """Attributes that xarray labels axes with."""
    return {"long_name": long_name, "units": units} if units else {"long_name": long_name}


def _as_plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"expected metadata that JSON can hold, got {type(value).__name__}")
