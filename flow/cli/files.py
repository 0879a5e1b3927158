"""Files that are named on a command line."""

from __future__ import annotations

from pathlib import Path

from flow.cli.flags import InputError
from flow.results.weights import SavedWeights, TimeNotSaved, read_weights


def read_init(path: Path, time: float | None = None) -> SavedWeights:
    """What --init and --init-time name; InputError for what cannot be used."""
    try:
        return read_weights(path, time)
    except TimeNotSaved as error:
        raise InputError(f"--init-time: {error}") from error
    except ValueError as error:
        raise InputError(f"--init: {error}") from error
