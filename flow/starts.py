"""Weights from a file: the start of a run that continues another, or of one that was edited."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flow.files import written_aside
from flow.flags import InputError
from flow.trajectory import Trajectory

FORMAT = "incidental-flow weights 1"


@dataclass(frozen=True)
class Start:
    """Where a run begins."""

    W: np.ndarray
    """(n, m) weights."""
    t: float
    """Flow time they were saved at; 0 for weights that no run left as they are."""
    first_step: float | None
    """Step to try first; None where that has to be found out."""
    about: Mapping[str, Any]
    """What made them: parameters and metadata of the run, edits."""


def read_start(path: Path, time: float | None = None) -> Start:
    """Weights from a saved run (at its last or the given saved time) or from plain weights.

    A plain file holds an array ``W`` : (n, m), as :func:`write_weights` or ``np.savez(path, W=W)``
    leave it. Raises InputError for a file that is missing, corrupt or foreign, weights that are
    not finite (n, m) floats, or a time that was not saved.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = list(file.files)
            plain = {name: file[name] for name in names} if "W" in names else None
        run = Trajectory.load(path) if plain is None else None
    except OSError as error:
        raise InputError(
            f"--init: expected a file that can be read, got {path} ({error.strerror or error})"
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
        raise InputError(
            f"--init: expected a run written by --out, or an .npz with an array W, got {path} "
            f"which is neither or damaged; check the path"
        ) from error
    if run is not None:
        k = _saved(run, time, path)
        step = float(run.step_sizes[k])
        about = {"parameters": dict(run.parameters), "metadata": dict(run.metadata)}
        return Start(
            _check(run.weights[k], path), float(run.times[k]), step if step > 0.0 else None, about
        )
    assert plain is not None
    if time is not None:
        raise InputError(
            f"--init-time: expected a file with several saved times, got {path}, which holds one "
            f"W; leave --init-time out"
        )
    return Start(_check(plain["W"], path), 0.0, None, _about(plain.get("about")))


def write_weights(path: Path, W: np.ndarray, about: Mapping[str, Any]) -> None:
    """Write W : (n, m) and what is known about it, aside first and then renamed into place."""
    text = np.array(json.dumps({"format": FORMAT, **about}))
    with written_aside(path) as file:
        np.savez(file, W=W, about=text)


def _saved(run: Trajectory, time: float | None, path: Path) -> int:
    if time is None:
        return len(run.times) - 1
    k = int(np.argmin(np.abs(run.times - time)))
    if not np.isclose(run.times[k], time, rtol=1e-9, atol=0.0):
        shown = ", ".join(f"{t:.10g}" for t in run.times[:8]) + (
            ", ..." if len(run.times) > 8 else ""
        )
        raise InputError(
            f"--init-time: expected a saved time of {path} ({shown}), got {time:g}; --save-at "
            f"decides what a run saves"
        )
    return k


def _check(W: np.ndarray, path: Path) -> np.ndarray:
    if W.ndim != 2 or 0 in W.shape:
        raise InputError(
            f"--init: expected W of shape (n features, m neurons), got shape {W.shape} in {path}"
        )
    if W.dtype not in (np.float32, np.float64):
        raise InputError(
            f"--init: expected W of float32 or float64, got {W.dtype} in {path}; convert it with "
            f"W.astype(float)"
        )
    if not np.isfinite(W).all():
        raise InputError(f"--init: expected finite weights, got NaN or infinity in {path}")
    return W


def _about(text: np.ndarray | None) -> dict[str, Any]:
    try:
        about = json.loads(str(text))
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}
