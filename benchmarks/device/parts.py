"""What is measured on the device: one function a part, which yields its rows as they come.

    python -m benchmarks.device.parts NAME full|rehearsal SECONDS

A row is what a table needs: `case`, `measured` with its `unit`, `worst` `of` so many, `goal` (an
upper bound), `error` and what `error_is`, `compile_s`, and `peak GiB`, the most memory of the
device that was in use at once since the process began. Times have no compiling in them: programs
are compiled ahead, called once, then timed until the device is done; of whole runs, which compile
as they go, what JAX says it spent is taken off.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accelerator import drift_error, full_precision_product
from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    Trajectory,
    gaussian_init,
    integrate,
    integrate_ensemble,
)
from flow.analysis.states import polysemantic_neurons
from flow.analysis.statistics import mean_and_interval
from flow.forces import Force, sum_forces
from flow.integrators.field import Field
from flow.integrators.schemes import ProximalChebyshev

Row = dict[str, Any]

FIGURE3 = Path(__file__).parents[2] / "paper_figures/data/fig3_flow.json"
"""What the Numba backend counted in figure 3's runs."""
RTOL = 5e-3
"""Of every run, whatever the default is."""
STEP_GOAL, SINGLE_GOAL, FOLLOW_GOAL = 1e-12, 1e-5, 1e-4
"""|ΔW| of one step in float64, of one in float32 (TF32 would be a hundred times off), and of
float32 against float64 up to t = 1."""
PRODUCT_GOAL = {"float32": 1e-5, "float64": 1e-13}
"""Relative error of the product that is the peak: TF32 has 3e-4."""


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    peak: int
    """Size of the square product whose rate is the peak."""
    steps: tuple[tuple[int, int], ...]
    """(n, m) at which single steps are compared with Numba's."""
    seeds: int
    """Whole runs, n = 32, m = 128, that are compared with Numba's."""
    timed_steps: tuple[tuple[int, int, int, str], ...]
    """Members, n, m and dtype of the steps that are timed."""
    evaluations: tuple[tuple[int, int], ...]
    figure3: tuple[int, tuple[int, ...], int, float]
    """n, every m, seeds, λ."""
    large: tuple[int, int, float]
    """n, m, λ."""
    copied: int
    """Bytes that are moved to and on the device to tell how fast that is."""


SCALES = {
    "full": Scale(
        peak=8192,
        steps=((256, 1024),),
        seeds=5,
        timed_steps=(
            (1, 256, 4096, "float64"),
            (64, 256, 256, "float64"),
            (1, 2048, 16384, "float32"),
        ),
        evaluations=((256, 4096), (2048, 16384), (4096, 65536), (8192, 65536)),
        figure3=(256, tuple(256 * k for k in range(1, 17)), 16, 1e-3),
        large=(4096, 65536, 1e-3),
        copied=2**30,
    ),
    "rehearsal": Scale(
        peak=128,
        steps=((8, 16),),
        seeds=1,
        timed_steps=((1, 32, 128, "float64"),),
        evaluations=((8, 16), (32, 128)),
        figure3=(8, (60, 64), 2, 0.02),
        large=(4, 6, 0.05),
        copied=2**16,
    ),
}  # fmt: skip


# Measuring ---------------------------------------------------------------------------------------


def peak_memory() -> float | None:
    """GiB of the device in use at most so far; None where the device does not say."""
    import jax

    known = jax.devices()[0].memory_stats() or {}
    peak = known.get("peak_bytes_in_use")
    return None if peak is None else peak / 2**30


def timed(call: Callable[[], Any], *, least: int = 5, most: int = 50, budget: float = 1.0) -> Row:
    """Median and worst seconds of a call that is compiled, each until the device is done."""
    import jax

    jax.block_until_ready(call())  # the first call also loads the program and takes memory
    times: list[float] = []
    while len(times) < least or (len(times) < most and sum(times) < budget):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return {"seconds": float(np.median(times)), "worst": max(times), "of": len(times)}


def compiled(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[..., Any], float]:
    """The program for these arguments, ahead of its first call, and the seconds that took."""
    import jax

    began = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    return program, time.perf_counter() - began


class Compiling:
    """Seconds that JAX has spent on compiling, tracing included, and the number of programs."""

    EVENTS = (
        "/jax/core/compile/jaxpr_trace_duration",
        "/jax/core/compile/jaxpr_to_mlir_module_duration",
        "/jax/core/compile/backend_compile_duration",
    )

    def __init__(self) -> None:
        self.seconds, self.programs = 0.0, 0

    def add(self, event: str, seconds: float, **_: Any) -> None:
        """Called by JAX."""
        if event in self.EVENTS:
            self.seconds += seconds
            self.programs += event == self.EVENTS[-1]


@contextmanager
def compiling() -> Iterator[Compiling]:
    """What is compiled within the block."""
    from jax import monitoring

    spent = Compiling()
    monitoring.register_event_duration_secs_listener(spent.add)
    try:
        yield spent
    finally:
        monitoring.unregister_event_duration_listener(spent.add)


def paper_forces(lam: float, c: float = 1.0) -> list[Force]:
    """Benefit and interference of strength c, ℓ1 of strength λ."""
    return [FeatureBenefit(c), Interference(c), Regularization(lam)]


# Parts -------------------------------------------------------------------------------------------


def device(scale: Scale, limit: float) -> Iterator[Row]:
    """That there is one, and what a call, a word from it and a byte cost."""
    import jax
    import jax.numpy as jnp

    one = jnp.ones((8, 128), jnp.float32)
    program, seconds = compiled(lambda x: jnp.sum(x) + x[0, 0], one)
    times = timed(lambda: program(one))
    yield {
        "case": "one small program, called and waited for", "measured": 1e6 * times["seconds"],
        "worst": 1e6 * times["worst"], "of": times["of"], "unit": "µs", "compile s": seconds,
    }  # fmt: skip
    count = 100
    program, seconds = compiled(
        lambda x: jax.lax.while_loop(
            lambda c: (c[0] < count) & (c[1][0, 0] < 1e9), lambda c: (c[0] + 1, c[1] * 1.5), (0, x)
        ),
        jnp.zeros_like(one),
    )
    zeros = jnp.zeros_like(one)
    times = timed(lambda: program(zeros))
    yield {
        "case": "one turn of a loop that ends by a condition",
        "measured": 1e6 * times["seconds"] / count, "worst": 1e6 * times["worst"] / count,
        "of": times["of"], "unit": "µs", "compile s": seconds,
    }  # fmt: skip
    host = np.ones(scale.copied // 4, np.float32)
    times = timed(lambda: jnp.asarray(host).copy(), most=10)
    yield _bandwidth("host to device", host.nbytes, times, 0.0)
    x = jnp.asarray(host)
    program, seconds = compiled(lambda x: x + 1.0, x)
    yield _bandwidth("device memory, read and written", 2 * host.nbytes,
                     timed(lambda: program(x)), seconds)  # fmt: skip


def _bandwidth(case: str, size: int, times: Row, seconds: float) -> Row:
    return {
        "case": case, "measured": size / times["seconds"] / 2**30,
        "worst": size / times["worst"] / 2**30, "of": times["of"], "unit": "GiB/s",
        "compile s": seconds, "peak GiB": peak_memory(),
    }  # fmt: skip


def correct(scale: Scale, limit: float) -> Iterator[Row]:
    """The Numba backend's steps and runs, and the same run twice."""
    for n, m in scale.steps:
        yield _step_error(n, m, np.float64, STEP_GOAL)
        yield _step_error(n, m, np.float32, SINGLE_GOAL)
    n, m, forces = 32, 128, paper_forces(0.02)
    differing, error = 0, 0.0
    for seed in range(scale.seeds):
        W0 = gaussian_init(n, m, seed=seed)
        ours, numba = (integrate(forces, W0, rtol=RTOL, backend=b) for b in ("diffrax", "numba"))
        same = ours.status is numba.status and ((ours.final == 0) == (numba.final == 0)).all()
        differing += not same
        error = max(error, float(np.abs(ours.final - numba.final).max()))
    yield {
        "case": f"whole runs with other zeros than Numba's, ({n}, {m}), float64",
        "measured": differing, "of": scale.seeds, "unit": "runs", "goal": 0,
        "error": error, "error_is": "largest |ΔW| at rest", "peak GiB": peak_memory(),
    }  # fmt: skip
    again = integrate(forces, W0, rtol=RTOL, backend="diffrax")
    yield {
        "case": "the last of them run twice", "measured": _differing(ours.final, again.final),
        "unit": "weights with other bits", "goal": 0,
    }  # fmt: skip
    half = integrate(
        forces, W0, rtol=RTOL, backend="diffrax", max_steps=ours.stats["accepted"] // 2
    )
    rest = half.simulation()
    rest.run()
    yield {
        "case": "the same, gone on with from the middle",
        "measured": _differing(ours.final, rest.W), "unit": "weights with other bits", "goal": 0,
    }  # fmt: skip
    single, double = (
        integrate(forces, W0.astype(dtype), t_end=1.0, rtol=RTOL, backend=backend).final
        for dtype, backend in ((np.float32, "diffrax"), (np.float64, "numba"))
    )
    yield {
        "case": "float32 to t = 1 against float64",
        "measured": float(np.abs(single - double).max()), "unit": "largest |ΔW|",
        "goal": FOLLOW_GOAL,
    }  # fmt: skip


def _differing(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.count_nonzero(one != other))


def _step_error(n: int, m: int, dtype: Any, goal: float) -> Row:
    """One step of the device from W in `dtype` against Numba's in float64, at three lengths.

    Where Numba lays W out whole as well: of a sparse W it stores what is not zero or may revive, as
    far as the beginning of the step tells.
    """
    import jax
    import jax.numpy as jnp

    from flow.accelerator.solver import ProximalChebyshevSolver, flow_term

    @jax.jit
    def step(term: Any, W: Any, h: Any) -> Any:
        solver = ProximalChebyshevSolver(rtol=RTOL, bounds_steps=False)
        return solver.step(term, 0.0, h, W, None, term.sample(0.0, W, None), False)[0]

    forces = paper_forces(0.02)
    errors = []
    for t in (0.0, 0.5, 3.0):
        W = integrate(forces, gaussian_init(n, m, seed=1), t_end=t, rtol=RTOL, backend="numba")
        start = W.final.astype(dtype)
        for h in (0.1, 1.0, 6.0):
            field = Field(sum_forces(forces), n, m, np.dtype(np.float64))
            state = field.init(start.astype(np.float64))
            if state.layout.width < m or state.layout.column is not None:
                continue
            theirs = ProximalChebyshev().propose(field, state, h, RTOL)
            if theirs.error > 1.0:  # thrown away by every run: rounding may decide within it
                continue
            with jax.enable_x64(True):
                ours = np.asarray(step(jax.tree.map(np.float64, flow_term(forces)),
                                       jnp.asarray(start), h))  # fmt: skip
            errors.append(float(np.abs(ours - state.layout.scatter(theirs.W, m)).max()))
    return {
        "case": f"one step against Numba's, ({n}, {m}), {np.dtype(dtype)}",
        "measured": max(errors, default=float("nan")), "of": len(errors),
        "unit": "largest |ΔW|", "goal": goal,
    }  # fmt: skip


def evaluation(scale: Scale, limit: float) -> Iterator[Row]:
    """One evaluation of the field beside the rate of a large product of the same precision."""
    import jax
    import jax.numpy as jnp

    from flow.accelerator.solver import flow_term

    peaks = {}
    with jax.enable_x64(True):
        for dtype in ("float32", "float64"):
            A = gaussian_init(scale.peak, scale.peak, seed=0, dtype=dtype)
            on_device = jnp.asarray(A)
            program, seconds = compiled(full_precision_product, on_device)
            times = timed(lambda program=program, A=on_device: program(A))
            peaks[dtype] = 2.0 * scale.peak**3 / times["seconds"]
            rows = A[:16].astype(float) @ A.astype(float)
            error = np.abs(np.asarray(program(on_device)[:16]) - rows).max() / np.abs(rows).max()
            yield {
                "case": f"product of {scale.peak} × {scale.peak}, {dtype}: relative error",
                "measured": float(error), "unit": "", "goal": PRODUCT_GOAL[dtype],
            }  # fmt: skip
            yield {
                "case": f"product of {scale.peak} × {scale.peak}, {dtype}: the peak",
                "measured": peaks[dtype] / 1e12,
                "worst": 2.0 * scale.peak**3 / times["worst"] / 1e12, "of": times["of"],
                "unit": "TFLOP/s", "error": float(error), "error_is": "relative error",
                "compile s": seconds, "peak GiB": peak_memory(),
            }  # fmt: skip
        term = flow_term(paper_forces(1e-3))
        for n, m in scale.evaluations:
            drawn = gaussian_init(n, m, seed=0)
            for dtype in ("float32", "float64"):
                host = drawn.astype(dtype, copy=False)
                W = jnp.asarray(host)
                program, seconds = compiled(lambda W: term.sample(0.0, W, None), W)
                times = timed(lambda program=program, W=W: program(W))
                found = program(W)
                error = drift_error(host, np.asarray(found.C), np.asarray(found.coupling.radial))
                rate = 4.0 * n * n * m / times["seconds"]
                yield {
                    "case": f"one evaluation, ({n}, {m}), {dtype}",
                    "measured": 1e3 * times["seconds"], "worst": 1e3 * times["worst"],
                    "of": times["of"], "unit": "ms", "share of peak": rate / peaks[dtype],
                    "TFLOP/s": rate / 1e12, "error": error, "error_is": "largest |ΔC|",
                    "compile s": seconds, "peak GiB": peak_memory(),
                }  # fmt: skip
                del W, found, program


def figure3(scale: Scale, limit: float) -> Iterator[Row]:
    """Figure 3 (c = 4) as one ensemble, to rest; a second time, compiled, if that fits."""
    n, sizes, seeds, lam = scale.figure3
    cases = [(m, seed) for m in sizes for seed in range(seeds)]
    starts = [gaussian_init(n, m, seed=seed) for m, seed in cases]
    ends = time.perf_counter() + 0.9 * limit
    seconds = 0.0
    for name in ("first call", "compiled"):
        began = time.perf_counter()
        if name == "compiled" and ends - began < 1.2 * seconds:
            return
        with compiling() as spent:
            runs = integrate_ensemble(
                paper_forces(lam, c=4.0), starts, rtol=RTOL, progress=True,
                max_seconds=max(0.0, ends - began),
            )  # fmt: skip
        seconds = time.perf_counter() - began - spent.seconds
        finished = sum(run.status.finished for run in runs)
        yield {
            "case": f"figure 3, n = {n}, {len(runs)} runs, float64, {name}",
            "measured": seconds if finished == len(runs) else float("inf"), "unit": "s",
            "goal": 60.0, "seconds": seconds, "of": 1, "programs": spent.programs,
            "compile s": spent.seconds, "peak GiB": peak_memory(), **_counts(scale, cases, runs),
        }  # fmt: skip
        yield {
            "case": f"runs of it that did not finish, {name}", "measured": len(runs) - finished,
            "of": len(runs), "unit": "runs", "goal": 0,
            "evaluations": sum(run.stats["evaluations"] for run in runs),
        }  # fmt: skip


def _counts(scale: Scale, cases: list[tuple[int, int]], runs: list[Trajectory]) -> Row:
    """Polysemantic neurons, run by run, and how far their mean is from that of the Numba runs."""
    counts = [polysemantic_neurons(run.final) for run in runs]
    if scale.figure3 != SCALES["full"].figure3 or not FIGURE3.exists():
        return {"polysemantic": counts}
    kept = json.loads(FIGURE3.read_text(encoding="utf-8"))
    known = {(row[0], row[1]): row[kept["columns"].index("polysemantic")] for row in kept["rows"]}
    apart = [count - known[case] for count, case in zip(counts, cases, strict=True)]
    mean, half = mean_and_interval(apart)
    return {
        "polysemantic": counts, "error": abs(mean),
        "error_is": f"|mean difference of the counts from Numba's|, ± {half:.2g} (95 %)",
    }  # fmt: skip


def large(scale: Scale, limit: float) -> Iterator[Row]:
    """One large run in float32, to rest."""
    n, m, lam = scale.large
    ends = time.perf_counter() + 0.9 * limit
    W0 = gaussian_init(n, m, seed=0, dtype=np.float32)
    began = time.perf_counter()
    with compiling() as spent:
        run = integrate(
            paper_forces(lam), W0, rtol=RTOL, backend="diffrax", progress=True,
            max_seconds=max(0.0, ends - began),
        )  # fmt: skip
    seconds = time.perf_counter() - began - spent.seconds
    yield {
        "case": f"({n}, {m}), float32, to rest: {run.message}",
        "measured": seconds if run.status.finished else float("inf"), "unit": "s", "goal": 300.0,
        "seconds": seconds, "of": 1, "error": run.certificate.residual,
        "error_is": f"largest |dW/dt|, {run.certificate.tolerance:.1e} counts as rest",
        "compile s": spent.seconds, "peak GiB": peak_memory(), "programs": spent.programs,
        **{name: run.stats[name] for name in ("accepted", "rejected", "evaluations", "t")},
        "polysemantic": polysemantic_neurons(run.final),
    }  # fmt: skip


def step(scale: Scale, limit: float) -> Iterator[Row]:
    """Whole steps, by the stage: what remains of it beside one evaluation is not the products."""
    from flow.accelerator.batch import Batch

    for members, n, m, dtype in scale.timed_steps:
        forces = sum_forces(paper_forces(1e-3))
        runs = Batch([forces] * members, n, m, np.dtype(dtype))
        start = {b: gaussian_init(n, m, seed=b, dtype=dtype) for b in range(members)}
        runs.init(start)
        trials = dict.fromkeys(range(members), (1.0, RTOL))
        with compiling() as spent:
            proposals = runs.try_steps(trials, keep=False)
        stages = runs.evaluations(0) - 1
        del proposals
        times = timed(partial(_step_once, runs, trials))
        once = timed(partial(_sample_once, runs))
        yield {
            "case": f"one stage of a step of {stages}, {members} × ({n}, {m}), {dtype}",
            "measured": 1e3 * times["seconds"] / stages, "worst": 1e3 * times["worst"] / stages,
            "of": times["of"], "unit": "ms", "evaluation alone, ms": 1e3 * once["seconds"],
            "compile s": spent.seconds, "peak GiB": peak_memory(),
        }  # fmt: skip
        del runs


def _step_once(runs: Any, trials: dict[int, tuple[float, float]]) -> Any:
    return runs.try_steps(trials, keep=False)[0].W.values


def _sample_once(runs: Any) -> Any:
    from flow.accelerator.batch import _sample
    from flow.accelerator.settings import own_settings

    with own_settings():
        return _sample(runs._term, runs._W, None)


PARTS = {part.__name__: part for part in (device, correct, evaluation, figure3, large, step)}


# The process -------------------------------------------------------------------------------------


def describe() -> Row:
    """The card, its driver, and JAX's word for both."""
    import jax

    first = jax.devices()[0]
    return {
        "name": first.device_kind, "platform": first.platform, "devices": len(jax.devices()),
        "driver": _driver(), "runtime": str(first.client.platform_version),
        "memory GiB": (first.memory_stats() or {}).get("bytes_limit", 0) / 2**30 or None,
    }  # fmt: skip


def _driver() -> str | None:
    """Name, driver and memory as nvidia-smi tells them; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip() or done.stderr.strip()


def end_with_reader(out: int) -> None:
    """End this process when nobody reads the pipe `out` any more, lest it keep the device."""

    def watch() -> None:
        pipe = select.poll()
        pipe.register(out, 0)  # no event but the one that cannot be left out: an error
        pipe.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Print the rows of one part, as they come, to what standard output was at the start."""
    name, scale, limit = sys.argv[1:]
    os.environ.setdefault("TQDM_MININTERVAL", "5")  # a log, not a terminal
    # Before JAX starts, which by itself takes three quarters and no more.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what libraries print is not a row
        end_with_reader(out.fileno())
        about = describe()
        print(json.dumps({"device": about}), file=out, flush=True)
        if scale == "full" and about["platform"] == "cpu":
            raise SystemExit(
                "expected an accelerator, got the CPU; install JAX for it, or give --rehearse"
            )
        for row in PARTS[name](SCALES[scale], float(limit)):
            print(json.dumps(row), file=out, flush=True)


if __name__ == "__main__":
    main()
