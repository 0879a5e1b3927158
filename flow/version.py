"""The version of this package: that of pyproject.toml, installed or not."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _version() -> str:
    """What the checkout says that this file is in, else what was installed."""
    try:
        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        found = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        if found["name"] == "incidental-flow":
            return str(found["version"])
    except (OSError, KeyError, ValueError):
        pass  # an installed package has another project's file above it, or none
    try:
        return version("incidental-flow")
    except PackageNotFoundError:
        return "unknown"


__version__ = _version()
