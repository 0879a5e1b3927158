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
from pathlib import Path
from typing import Any

import numpy as np

from flow.cli import report
from flow.results.files import write_text
from flow.results.provenance import processor, versions

Table = tuple[list[str], list[list[Any]]]
"""Names of columns, and rows."""


def provenance() -> dict[str, Any]:
    """Versions, cores, processor and day of a measurement."""
    packages = ("incidental-flow", "numpy", "numba", "scipy")
    return {
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "processor": processor(),
        "python": platform.python_version(),
        **versions(*packages),
    }


def seconds(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median and minimum wall-clock time over `repeats`, after one call that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times)), min(times)


def in_fresh_process(code: str, *, python: Path = Path(sys.executable)) -> dict[str, Any]:
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
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=Path.cwd())
    if done.returncode:
        sys.stderr.write(done.stderr)
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


def kept_runs(file: Path) -> list[Any]:
    """What :func:`keep_runs` wrote; nothing where there is no file."""
    return list(json.loads(file.read_text(encoding="utf-8"))["runs"]) if file.exists() else []


def keep(file: Path, what: Any, *, indent: int | None = None) -> None:
    """Write plain data as JSON; a kill at any moment leaves the old file or the new one."""
    write_text(file, json.dumps(what, indent=indent, ensure_ascii=False) + "\n")


def keep_runs(file: Path, runs: Sequence[Any], **head: Any) -> None:
    """`head` and then `runs`, one a line, as JSON; the file is replaced once all is written."""
    above = "".join(f"{json.dumps(name)}: {json.dumps(entry)},\n" for name, entry in head.items())
    lines = ",\n".join(json.dumps(run) for run in runs)
    write_text(file, f'{{{above}"runs": [\n{lines}\n]}}\n')


def show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table of values."""
    return report.markdown([list(columns), *[[show(value) for value in row] for row in rows]])
