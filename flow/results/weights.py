"""Weights in a file: the start of a run that continues another, or of one that was edited."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flow.initial import check_weights
from flow.results.files import written_aside
from flow.results.trajectory import Trajectory

FORMAT = "incidental-flow weights 1"


class TimeNotSaved(ValueError):
    """The file holds no weights of the time that was asked for."""


@dataclass(frozen=True)
class SavedWeights:
    """Weights from a file, and where a run goes on from them."""

    W: np.ndarray
    """(n, m) weights."""
    t: float
    """Flow time they were saved at; 0 for weights that no run left as they are."""
    about: Mapping[str, Any]
    """What made them: parameters and metadata of the run, edits."""
    run: Trajectory | None = None
    """The run that ends with them; None where none does."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Those of the run that left the weights, before any edit; empty where none is known."""
        about = self.about
        while isinstance(about.get("before"), Mapping):
            about = about["before"]
        found = about.get("parameters")
        return found if isinstance(found, Mapping) else {}


def read_weights(path: str | os.PathLike[str], time: float | None = None) -> SavedWeights:
    """Weights from a saved run (at its last or the given saved time) or from plain weights.

    A plain file holds an array ``W`` : (n, m), as :func:`write_weights` or ``np.savez(path, W=W)``
    leave it. Raises ValueError for a file that is missing, corrupt or foreign, or weights that are
    not finite (n, m) floats; TimeNotSaved for a time that was not saved.
    """
    path = Path(path)
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = list(file.files)
            plain = {name: file[name] for name in names} if "W" in names else None
        run = Trajectory.load(path) if plain is None else None
    except OSError as error:
        raise ValueError(
            f"expected a file that can be read, got {path} ({error.strerror or error})"
        ) from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        NotImplementedError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"expected a run written by --out, or an .npz with an array W, got {path} "
            f"which is neither or damaged; check the path"
        ) from error
    name = f"W of {path}"
    if run is not None:
        k = _saved(run, time, path)
        about = {"parameters": dict(run.parameters), "metadata": dict(run.metadata)}
        W = check_weights(run.weights[k], name=name)
        at_end = k == len(run.times) - 1
        return SavedWeights(W, float(run.times[k]), about, run if at_end else None)
    assert plain is not None
    if time is not None:
        raise TimeNotSaved(
            f"expected a file with several saved times, got {path}, which holds one W; leave the "
            f"time out"
        )
    return SavedWeights(check_weights(plain["W"], name=name), 0.0, _about(plain.get("about")))


def write_weights(
    path: str | os.PathLike[str] | BinaryIO,
    W: np.ndarray,
    about: Mapping[str, Any],
    *,
    compressed: bool = False,
) -> None:
    """Write W : (n, m) and what is known about it.

    To a path: aside first and then renamed into place. To an open file: as it is.
    """
    if isinstance(path, str | os.PathLike):
        with written_aside(path) as file:
            write_weights(file, W, about, compressed=compressed)
        return
    save = np.savez_compressed if compressed else np.savez
    save(path, W=W, about=np.array(json.dumps({"format": FORMAT, **about})))


def _saved(run: Trajectory, time: float | None, path: Path) -> int:
    if time is None:
        return len(run.times) - 1
    k = int(np.argmin(np.abs(run.times - time)))
    if not np.isclose(run.times[k], time, rtol=1e-9, atol=0.0):
        shown = ", ".join(f"{t:.10g}" for t in run.times[:8]) + (
            ", ..." if len(run.times) > 8 else ""
        )
        raise TimeNotSaved(
            f"expected a saved time of {path} ({shown}), got {time:g}; --save-at decides what a "
            f"run saves"
        )
    return k


def _about(text: np.ndarray | None) -> dict[str, Any]:
    try:
        about = json.loads(str(text))
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}
