"""What every benchmark needs: timing, provenance, and one way to print and keep a table."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def provenance() -> dict[str, Any]:
    """Versions, cores, processor and day of a measurement."""
    packages = ("incidental-flow", "numpy", "numba", "scipy")
    return {
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def seconds(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median and minimum wall-clock time over `repeats`, after one call that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times)), min(times)


def in_fresh_process(code: str) -> dict[str, Any]:
    """Run `code` in a new interpreter; what it prints last must be a JSON object.

    The peak memory of that process is added as ``peak_MiB``: a measurement is not blurred by
    what ran before it.
    """
    # VmHWM and not ru_maxrss, which a child inherits from the process that started it.
    code += (
        "\nimport json as _json, re as _re"
        "\n_peak = _re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())"
        "\nprint(_json.dumps({**result, 'peak_MiB': int(_peak[1]) / 1024}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    return json.loads(done.stdout.splitlines()[-1])


def show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table, columns padded so that it reads in a terminal too."""
    cells = [list(columns), *[[show(value) for value in row] for row in rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
