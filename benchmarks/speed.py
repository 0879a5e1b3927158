"""How fast: kernels against NumPy, whole runs, growth with m, start-up, the exact backend.

R is one dense interference evaluation in NumPy (``W @ W.T``, ReLU in place, product into a
preallocated array) at the same size, dtype and threads, in the same process: ratios to it travel
between machines.
"""

from __future__ import annotations

import subprocess
from typing import Any

import numpy as np

from benchmarks.pytorch import pytorch_adamw
from benchmarks.tables import Table, in_fresh_process, seconds
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
from flow.forces import sum_forces
from flow.integrators.field import Field
from flow.kernels.interference import Coupling
from flow.kernels.threads import available_threads, compute_with
from theory.counting import slot_mean, slot_variance


def _numpy_evaluation(W: np.ndarray) -> Any:
    out = np.empty_like(W)

    def evaluate() -> None:
        G = W @ W.T
        np.maximum(G, 0.0, out=G)
        np.matmul(G, W, out=out)

    return evaluate


def _our_evaluation(W: np.ndarray, lam: float) -> tuple[Any, str]:
    field = Field(sum_forces([Interference(), Regularization(lam)]), *W.shape, W.dtype)
    state = field.init(W)
    C, coupling = np.empty_like(state.C), Coupling.zeros(W.shape[0])

    def evaluate() -> None:
        field.sample(state.layout, state.W, C, coupling, search=True)

    def limited() -> tuple[float, float]:
        with compute_with(available_threads()):
            return seconds(evaluate, 100)

    return limited, "dense" if state.layout.column is None else "sparse"


def kernel(fast: bool) -> Table:
    """One interference evaluation: dense at four sizes, then on W from a real run as it thins."""
    rows = []
    sizes = [(256, 256), (256, 1024), (256, 4096), (1024, 4096)]
    for n, m in sizes[: 2 if fast else 4]:
        W = gaussian_init(n, m, seed=0)
        rows.append(_compare(W, "start", 1e-3))
    n, m, lam = (256, 1024, 2e-3) if fast else (256, 4096, 1e-3)
    times = np.geomspace(1.0, 20.0, 60) / (lam * np.sqrt(m))
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    run = integrate(forces, gaussian_init(n, m, seed=0), t_end=times[-1], save_at=times)
    fills = np.count_nonzero(run.weights, axis=(1, 2)) / (n * m)
    for target in (0.1, 0.03, 0.01, 0.003):
        k = int(np.argmin(np.abs(np.log(np.maximum(fills, 1e-9) / target))))
        W = run.weights[k]
        rows.append(_compare(W, f"fill {fills[k]:.2%}", lam))
    return ["n", "m", "W", "path", "R ms", "ours ms", "ours / R", "max error"], rows


def _compare(W: np.ndarray, label: str, lam: float) -> list[Any]:
    median_R, _ = seconds(_numpy_evaluation(W), 100)
    limited, path = _our_evaluation(W, lam)
    median, _ = limited()
    field = Field(sum_forces([Interference(), Regularization(lam)]), *W.shape, W.dtype)
    state = field.init(W)
    stored = state.coupling.radial[:, None] * W + state.layout.scatter(state.C, W.shape[1])
    exact = -Interference().rate(W)
    error = float(np.abs(np.where(W != 0, stored - exact, 0.0)).max())
    return [*W.shape, label, path, 1e3 * median_R, 1e3 * median, median / median_R, error]


_RUN = """
import time, numpy as np
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
forces = [FeatureBenefit({c}), Interference({c}), Regularization({lam})]
W0 = gaussian_init({n}, {m}, seed=0).astype({dtype!r})
integrate(forces, W0, max_steps=2)
times = []
for _ in range({repeats}):
    began = time.perf_counter()
    run = integrate(forces, W0, t_end={t_end})
    times.append(time.perf_counter() - began)
result = dict(run.stats, status=run.status.name, median=float(np.median(times)), least=min(times))
"""


def _timed_run(
    n: int, m: int, lam: float, c: float, repeats: int,
    dtype: str = "float64", t_end: float | None = None, then: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Runs at the default rtol, compiled, in a process of their own; `then` adds to the result."""
    return in_fresh_process(
        _RUN.format(n=n, m=m, lam=lam, c=c, repeats=repeats, dtype=dtype, t_end=t_end) + then
    )


def whole(fast: bool) -> Table:
    """Runs to stationarity at the default rtol, compiled, each in a process of its own."""
    cases = [
        (256, 1024, 0.01, 1.0, 5),
        (256, 256, 0.0025, 1.0, 3),
        (256, 4096, 1e-3, 1.0, 3),
        (256, 4096, 1e-3, 4.0, 3),
        (1024, 16384, 1e-3, 1.0, 1),
    ]
    rows = []
    for n, m, lam, c, repeats in cases[: 2 if fast else 5]:
        r = _timed_run(n, m, lam, c, repeats)
        rows.append(
            [n, m, lam, c, r["median"], r["least"], r["accepted"], r["rejected"],
             r["evaluations"], r["t"], r["status"], round(r["peak_MiB"])]
        )  # fmt: skip
    columns = ["n", "m", "λ", "c", "median s", "min s", "steps", "rejected", "evaluations", "t"]
    return [*columns, "status", "peak MiB"], rows


def adamw(fast: bool) -> Table:
    """The flow of figure 3's loss, c = 4 and λ = 1e-3, beside what its authors did in PyTorch
    (``pip install -e '.[peers]'``): 7,500 float32 full-batch AdamW steps of the same network,
    extrapolated from 30 that are timed. They cover 7.5 units of flow time; the flow comes to rest
    after 10³ to 10⁵."""
    rows: list[list[Any]] = []
    n, lam, steps, rate = 256, 1e-3, 7_500, 1e-3
    for m in (256,) if fast else (256, 1024, 4096):
        try:
            peer = pytorch_adamw(n, m, "x @ W @ W.T", steps=30, repeats=3)
        except subprocess.CalledProcessError as failure:
            reason = failure.stderr.strip().splitlines()[-1]
            rows.append([n, m, reason, *[None] * 6])
            continue
        trained = steps * peer["median"]
        for dtype, t_end in (("float64", None), ("float32", None), ("float32", steps * rate)):
            ours = _timed_run(n, m, lam, 4.0, 3, dtype, t_end)
            rows.append([
                n, m, f"PyTorch {peer['torch']}", 1e3 * peer["median"], trained,
                dtype, ours["t"], ours["median"], trained / ours["median"],
            ])  # fmt: skip
    columns = ["n", "m", "peer", "AdamW ms/step", "7,500 steps s", "flow", "to t", "flow s"]
    return [*columns, "ratio"], rows


def growth(fast: bool) -> Table:
    """Time to stationarity against m at n = 256, λ = 1e-3, and its exponent between neighbours."""
    rows: list[list[Any]] = []
    for m in (1024, 2048) if fast else (1024, 2048, 4096, 8192, 16384):
        r = _timed_run(256, m, 1e-3, 1.0, 1 if fast else 3)
        slope = (
            float(np.log(r["median"] / rows[-1][1]) / np.log(m / rows[-1][0]))
            if rows
            else float("nan")
        )
        copies = 256 * m * 8 / 2**20
        rows.append([m, r["median"], slope, r["accepted"], r["evaluations"], r["peak_MiB"], copies])
    return ["m", "s", "exponent", "steps", "evaluations", "peak MiB", "W MiB"], rows


_ENDS = """
from flow.analysis.states import polysemantic_neurons, winners
result |= dict(count=polysemantic_neurons(run.final),
               largest=int(winners(W0, run.final).largest_stayed.sum()),
               most=int(np.count_nonzero(run.final, axis=1).max()))
"""
"""What is counted where `_RUN` has ended."""


def large(fast: bool) -> Table:
    """Sizes nobody has looked at: one start in float32, λ = 1e-3, to rest. R is that of float32;
    the count stands beside the slot law (mean ± its standard deviation), with the features whose
    largest weight won and the most weights that a row has kept."""
    rows: list[list[Any]] = []
    for n, m in [(32, 512)] if fast else [(512, 65536), (2048, 16384)]:
        r = _timed_run(n, m, 1e-3, 1.0, 1, "float32", then=_ENDS)
        _, R = seconds(_numpy_evaluation(gaussian_init(n, m, seed=0).astype(np.float32)), 5)
        mean, deviation = slot_mean(n, m), slot_variance(n, m) ** 0.5
        rows.append(
            [n, m, r["median"], r["median"] / R, r["accepted"], r["evaluations"], r["t"],
             r["status"], r["peak_MiB"], n * m * 4 / 2**20, r["count"],
             f"{mean:.1f} ± {deviation:.1f}", r["largest"], r["most"]]
        )  # fmt: skip
    columns = ["n", "m", "s", "s / R", "steps", "evaluations", "t", "status", "peak MiB", "W MiB"]
    return [*columns, "polysemantic", "slot law", "largest wins", "most in a row"], rows


_IMPORT = "import time; b = time.perf_counter(); import flow.driver.integration; " + (
    "a = time.perf_counter() - b"
)
_START = (
    _IMPORT
    + """
import numpy as np
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
integrate([FeatureBenefit(), Interference(), Regularization(0.01)],
          gaussian_init(256, 1024, seed=0), max_steps=1)
result = dict(imports=a, first=time.perf_counter() - b)
"""
)


def startup(fast: bool) -> Table:
    """From nothing to the end of the first step: warm compile cache, and an empty one."""
    import os
    import tempfile

    rows = []
    warm = in_fresh_process(_START)
    warm = in_fresh_process(_START)
    rows.append(["warm cache", warm["imports"], warm["first"]])
    if not fast:
        kept = os.environ.get("NUMBA_CACHE_DIR")
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NUMBA_CACHE_DIR"] = folder
            cold = in_fresh_process(_START)
        if kept is None:
            del os.environ["NUMBA_CACHE_DIR"]
        else:
            os.environ["NUMBA_CACHE_DIR"] = kept
        rows.append(["cold", cold["imports"], cold["first"]])
    return ["cache", "import s", "first step s"], rows


_EXACT = """
import time, numpy as np
from flow.integrators.closed_form import ExactFlow
from flow.kernels.threads import available_threads, compute_with
def once(m, lam):
    # numpy's legacy generator: the start of the reference points in figure 2
    np.random.seed(0)
    W0 = np.abs(np.random.normal(0.0, 0.9 / np.sqrt(m), (1, m)))
    began = time.perf_counter()
    flow = ExactFlow(W0, growth_constant=1.0, growth_quadratic=1.0, lam=lam)
    seen = flow.observables([0.1 / lam, 0.5 / lam, 1.0 / lam])
    finished = np.partition(flow.extinction_times(0), -2)[-2] if m <= 10**6 else float("nan")
    return time.perf_counter() - began, finished
with compute_with(available_threads()):
    once(1000, 1e-3)
    times = [once({m}, {lam}) for _ in range({repeats})]
result = dict(median=float(np.median([t for t, _ in times])), finished=float(times[0][1]))
"""


def exact(fast: bool) -> Table:
    """The exact backend on one row: sort, whole flow to one survivor, three observations."""
    rows = []
    sizes = ((10**5, 1e-5, 7), (10**6, 1e-6, 3), (10**7, 1e-6, 1), (10**8, 1e-6, 1))
    for m, lam, repeats in sizes[: 2 if fast else 4]:
        r = in_fresh_process(_EXACT.format(m=m, lam=lam, repeats=repeats))
        rows.append([f"{m:.0e}", lam, r["median"], r["finished"], round(r["peak_MiB"])])
    return ["m", "λ", "s", "one survivor at t", "peak MiB"], rows
