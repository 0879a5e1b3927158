"""What made a result: versions of packages and the machine."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from flow.version import __version__


@cache
def versions(*packages: str) -> dict[str, str]:
    """Version of each package, "not installed" for one that is not there; do not change it."""
    found = {}
    for name in packages:
        try:
            found[name] = __version__ if name == "incidental-flow" else version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def sources(package: ModuleType) -> list[Path]:
    """Every file of code of a package and of those inside it, always in the same order."""
    return sorted(Path(str(package.__file__)).parent.rglob("*.py"))


@cache
def target() -> str:
    """The processor that Numba compiles for, as LLVM names it: on others the last bits may differ.

    Hypervisors hide the marketing name, which :func:`processor` gives.
    """
    from llvmlite import binding

    return str(binding.get_host_cpu_name())


@cache
def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
