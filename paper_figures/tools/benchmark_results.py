"""Results of benchmarks that figures draw: measured once, kept in the repository as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]


def part(file: str, name: str) -> dict[str, Any]:
    """One part of a benchmark's file, its name relative to the repository.

    KeyError, with the command that measures it, if it is not there.
    """
    kept = json.loads((ROOT / file).read_text())
    if name not in kept:
        module = Path(file).stem.replace("results", "")
        command = f"python -m benchmarks{'.' if module else ''}{module} {name}".strip()
        raise KeyError(f"expected {name!r} in {file}, got {', '.join(kept)}; run: {command}")
    found: dict[str, Any] = kept[name]
    return found


def array(values: Any) -> np.ndarray:
    """Numbers; NaN where a run diverged, which JSON keeps as null."""
    return np.array(values, dtype=object).astype(float)
