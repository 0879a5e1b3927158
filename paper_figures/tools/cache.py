"""Numbers of figures, kept on disk under what made them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import flow
import theory
from flow.results.files import written_aside
from flow.results.provenance import sources

Data = Mapping[str, np.ndarray]
"""What a figure's `compute` returns: named arrays of numbers or text."""


def key(name: str, parameters: Mapping[str, Any], files: Sequence[Path]) -> str:
    """16 hexadecimal digits: of the figure's name, its parameters and the bytes of `files`."""
    seen = hashlib.sha256(json.dumps([name, parameters], sort_keys=True).encode())
    for path in sorted(files):
        seen.update(hashlib.sha256(path.read_bytes()).digest())
    return seen.hexdigest()[:16]


def code() -> list[Path]:
    """The source of the simulator and of the theory: other code, other numbers."""
    return [*sources(flow), *sources(theory)]


def cached(path: Path, compute: Callable[[], Data], *, fresh: bool = False) -> Data:
    """What `compute` returns: from the ``.npz`` at `path` if it is whole, else kept there.

    Nothing is pickled; the file appears whole or not at all. `fresh`: compute in any case.
    """
    if not fresh:
        try:
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (FileNotFoundError, ValueError, EOFError, OSError, zipfile.BadZipFile):
            pass  # not there, or cut off by another program: made again
    data = {name: np.asarray(values) for name, values in compute().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as file:
        np.savez_compressed(file, **data)  # type: ignore[arg-type]
    return data
