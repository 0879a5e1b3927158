"""The diffrax backend on whatever device JAX finds: one evaluation, and the ensemble of Figure 3.

An accelerator runs the sizes that the questions name. On the CPU sizes are reduced, and the tables
say so: there the Numba backend is what to use, since it leaves out zeros.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.tables import Table, seconds
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate

CPU_FLOPS = 5e11
"""Most operations of one evaluation that the CPU is asked for."""
SHARE_OF_MEMORY = 0.5
"""Of an accelerator's memory: the most that W, its drift and a copy may take."""


def device() -> tuple[str, bool]:
    """What JAX computes on, and whether that is an accelerator."""
    import jax

    first = jax.devices()[0]
    count = len(jax.devices())
    name = f"{count} × {first.device_kind}" if count > 1 else first.device_kind
    accelerated = first.platform != "cpu"
    print(f"device: {name} ({first.platform})" + ("" if accelerated else ", sizes reduced"))
    return name, accelerated


def _memory() -> float:
    import jax

    known = jax.devices()[0].memory_stats() or {}
    return float(known.get("bytes_limit", np.inf))


def accelerator(fast: bool) -> Table:
    """One evaluation of the field, beside the matrix-multiply peak measured in the same process.

    The evaluation is C = φ(W Wᵀ) W with all that the solver needs besides, 4 n² m operations in
    its two products; the peak is that of a square product of the same dtype and full precision.
    """
    import jax
    import jax.numpy as jnp

    from flow.accelerator.solver import flow_term

    name, accelerated = device()
    sizes = [(256, 4096), (2048, 16384), (8192, 65536)]
    rows: list[list[Any]] = []
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(True):
            peak = _peak(dtype, 8192 if accelerated else 2048)
            for n, m in sizes[: 1 if fast else 3]:
                operations = 4.0 * n * n * m
                needed = 3.0 * n * m * np.dtype(dtype).itemsize
                if not accelerated and operations > CPU_FLOPS:
                    print(f"left out on the CPU: ({n}, {m}) in {np.dtype(dtype)}")
                    continue
                if needed > SHARE_OF_MEMORY * _memory():
                    print(f"left out for want of memory: ({n}, {m}) in {np.dtype(dtype)}")
                    continue
                term = flow_term([FeatureBenefit(), Interference(), Regularization(1e-3)])
                sample = jax.jit(lambda W, term=term: term.sample(0.0, W, None))
                W = jnp.asarray(gaussian_init(n, m, seed=0), dtype)
                best = _best(lambda: jax.block_until_ready(sample(W)), operations)  # noqa: B023
                found = sample(W)
                error = drift_error(
                    np.asarray(W), np.asarray(found.C), np.asarray(found.coupling.radial)
                )
                rate = operations / best
                rows.append(
                    [name, str(np.dtype(dtype)), n, m, 1e3 * best, rate / 1e9, peak / 1e9,
                     rate / peak, error]
                )  # fmt: skip
    columns = ["device", "dtype", "n", "m", "ms", "GFLOP/s", "peak GFLOP/s", "share", "max error"]
    return columns, rows


def _best(call: Any, operations: float) -> float:
    return seconds(call, 3 if operations > 1e11 else 20)[1]


def _peak(dtype: type, size: int) -> float:
    import jax
    import jax.numpy as jnp

    A = jnp.asarray(gaussian_init(size, size, seed=0), dtype)
    product = jax.jit(full_precision_product)
    operations = 2.0 * size**3
    return operations / _best(lambda: jax.block_until_ready(product(A)), operations)


def full_precision_product(A: Any) -> Any:
    """A·A in the precision of A: no TF32."""
    import jax
    import jax.numpy as jnp

    return jnp.matmul(A, A, precision=jax.lax.Precision.HIGHEST)


def drift_error(W: np.ndarray, C: np.ndarray, radial: np.ndarray) -> float:
    """Largest error of the drift in some rows, against the definition in float64."""
    rows = np.unique(np.linspace(0, W.shape[0] - 1, 16).astype(int))
    W = W.astype(float, copy=False)
    overlap = np.maximum(W[rows] @ W.T, 0.0)
    overlap[np.arange(rows.size), rows] = 0.0
    return float(np.abs(C[rows] + radial[rows, None] * W[rows] - overlap @ W).max())


def ensemble(fast: bool) -> Table:
    """Figure 3's ensemble to stationarity (c = 4, λ = 1e-3, 16 seeds per m), beside Numba.

    One call for all runs, after one that compiles; Numba runs one member after the other. On the
    CPU: n = 32, λ = 4e-3 and 4 seeds.
    """
    from flow import integrate_ensemble

    name, accelerated = device()
    if accelerated:
        n, lam, seeds, sizes = 256, 1e-3, 16, [256 * k for k in range(1, 17)]
    else:
        n, lam, seeds, sizes = 32, 4e-3, 4, [64, 128, 256]
    if fast:
        seeds, sizes = 2, sizes[:2]
    forces = [FeatureBenefit(4.0), Interference(4.0), Regularization(lam)]
    integrate(forces, gaussian_init(n, 64, seed=0), max_steps=2)
    rows: list[list[Any]] = []
    starts = [[gaussian_init(n, m, seed=seed) for seed in range(seeds)] for m in sizes]
    for chosen in (*([group] for group in starts), starts):
        W0s = [W0 for group in chosen for W0 in group]
        began = time.perf_counter()
        integrate_ensemble(forces, W0s)
        first = time.perf_counter() - began
        began = time.perf_counter()
        runs = integrate_ensemble(forces, W0s)
        ours = time.perf_counter() - began
        began = time.perf_counter()
        alone = [integrate(forces, W0, backend="numba") for W0 in W0s]
        numba = time.perf_counter() - began
        pairs = list(zip(runs, alone, strict=True))
        rows.append(
            [name, n, chosen[0][0].shape[1] if len(chosen) == 1 else "all", len(runs),
             first - ours, ours, numba, ours / numba,
             sum(run.status.finished for run in runs),
             float(np.mean([((a.final == 0) == (b.final == 0)).all() for a, b in pairs])),
             float(np.median([np.abs(a.final - b.final).max() for a, b in pairs]))]
        )  # fmt: skip
    columns = ["device", "n", "m", "runs", "compile s", "ours s", "Numba s", "ours / Numba"]
    return [*columns, "finished", "same zeros", "median difference"], rows
