"""``python -m benchmarks.findings.training.speed``: how long an AdamW step takes, here and in
PyTorch.

PyTorch is no dependency: give the Python of an environment that has it.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from benchmarks.command import command_line
from benchmarks.findings.training.runs import Table, write
from benchmarks.pytorch import pytorch_adamw
from benchmarks.tables import in_fresh_process, markdown, provenance
from flow.cli.flags import InputError

N = 256
SIZES = {1024: 100, 4096: 25}
"""Steps in one timing, for every m."""
REPEATS = 9

PEAK = """
import numpy as np
from benchmarks.tables import seconds
best = 0.0
for k in (1024, 2048):
    a = np.ones((k, k), np.float32)
    best = max(best, 2e-9 * k**3 / seconds(lambda: a @ a, 10)[1])
result = dict(gflops=best)
"""

OURS = """
import time, numpy as np
from flow import gaussian_init
from flow.training import train
from flow.training.setup import FIGURE_3
W0 = gaussian_init({n}, {m}, seed=0, dtype="float32")
def once(steps):
    began = time.perf_counter()
    train(FIGURE_3, W0, steps=steps, record_every=steps)
    return time.perf_counter() - began
once(1)
rest = min(once(1) for _ in range(5))
times = [(once({steps} + 1) - rest) / {steps} for _ in range({repeats})]
result = dict(least=min(times), median=float(np.median(times)))
"""


def measure(m: int, torch_python: Path | None) -> dict[str, Any]:
    """Seconds per step, each program in a process of its own, one after the other."""
    sizes = {"n": N, "m": m, "steps": SIZES[m], "repeats": REPEATS}
    row = {
        **provenance(),
        **sizes,
        "peak_gflops": in_fresh_process(PEAK)["gflops"],
        "ours": in_fresh_process(OURS.format(**sizes)),
    }
    if torch_python is not None:
        for name, fused in (("torch", False), ("torch_fused", True)):
            row[name] = pytorch_adamw(
                N, m, "W @ W.T", steps=SIZES[m], repeats=REPEATS, fused=fused, python=torch_python
            )
    return row


def table(runs: list[dict[str, Any]]) -> Table:
    """One AdamW step of preset figure3, n = 256, float32, in ms, compiled, least and median of 9
    timings. Arithmetic: multiply-adds of the products of matrices, two here and three in
    PyTorch's autograd. Peak: the better of NumPy's products of 1024 and 2048 square."""
    columns = [
        "m", "ours, least", "median", "PyTorch, least", "median", "fused, least", "median",
        "GFLOP per step", "GFLOP/s", "peak GFLOP/s", "share of peak",
    ]  # fmt: skip
    rows = []
    for run in runs:
        work = 4e-9 * run["n"] ** 2 * run["m"]
        speed = work / run["ours"]["least"]
        cells = [str(run["m"])]
        for name in ("ours", "torch", "torch_fused"):
            times = run.get(name)
            cells += [f"{1e3 * times[k]:.2f}" if times else "" for k in ("least", "median")]
        share = 100.0 * speed / run["peak_gflops"]
        rows.append(
            [*cells, f"{work:.3f}", f"{speed:.0f}", f"{run['peak_gflops']:.0f}", f"{share:.0f} %"]
        )
    return columns, rows


def main(
    sizes: tuple[int, ...] = tuple(SIZES),
    torch_python: Path | None = None,
    out: Path = Path("benchmarks/findings/training/speed.json"),
) -> None:
    """Time the steps and print all that have been timed.

    Args:
        sizes: numbers of neurons, any of 1024, 4096.
        torch_python: a Python with PyTorch, to time it as well.
        out: JSON file; sizes that are not asked for are kept.
    """
    if not set(sizes) <= set(SIZES):
        raise InputError(f"--sizes: expected any of {', '.join(map(str, SIZES))}, got {sizes}")
    if torch_python is not None and not torch_python.is_file():
        raise InputError(f"--torch-python: expected a Python with PyTorch, got {torch_python}")
    kept = json.loads(out.read_text()) if out.exists() else {}
    for m in sizes:
        kept[f"m={m}"] = measure(m, torch_python)
        write(out, kept)
    print(f"{inspect.getdoc(table)}\n\n{markdown(*table(list(kept.values())))}")


if __name__ == "__main__":
    command_line(main)
