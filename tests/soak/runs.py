"""Random runs, and what must hold for every one of them."""

from __future__ import annotations

import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from flow import (
    FeatureBenefit,
    Interference,
    L2Regularization,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    Status,
    Trajectory,
    gaussian_init,
    integrate,
)
from flow.defaults import SMALL_RUN

SECONDS = 3.0
"""About as long as a run may take; what would take longer is cut short by a limit on its steps."""
ENDS = (Status.STATIONARY, Status.REACHED_T_END, Status.SADDLE, Status.STEP_LIMIT)
LAWS = ("bipolar", "uniform", "normal", "laplace", "student-t:5")
DEVICE_SHAPES = ((8, 16), (32, 64))
"""JAX compiles for each shape anew."""


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Between low and high, its logarithm uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_forces(rng: np.random.Generator, small: bool) -> list[Any]:
    """Any subset of the forces, noise only where it is cheap."""
    forces: list[Any] = []
    noisy = small and rng.random() < 0.15
    noise = {"sigma": log_uniform(rng, 0.01, 0.5), "distribution": str(rng.choice(LAWS))}
    c = log_uniform(rng, 0.25, 4.0)
    if rng.random() < 0.9:
        forces.append(NoisyFeatureBenefit(strength=c, **noise) if noisy else FeatureBenefit(c))
    if rng.random() < 0.8:
        strength = c * log_uniform(rng, 0.3, 3.0) if rng.random() < 0.3 else c
        plain = Interference(strength)
        forces.append(NoisyInterference(strength=strength, **noise) if noisy else plain)
    if rng.random() < 0.8:
        forces.append(Regularization(log_uniform(rng, 1e-3, 0.5)))
    if rng.random() < 0.15:
        forces.append(L2Regularization(log_uniform(rng, 1e-3, 0.5)))
    return forces


def random_run(rng: np.random.Generator) -> tuple[list[Any], np.ndarray, dict[str, Any]]:
    """Forces, a start and arguments of :func:`flow.integrate`."""
    n, m = int(log_uniform(rng, 1, 513)), int(log_uniform(rng, 1, 4097))
    small = n * m <= 512
    forces = random_forces(rng, small)
    dtype = np.float32 if rng.random() < 0.3 else np.float64
    W0 = gaussian_init(
        n, m, seed=int(rng.integers(2**32)), scale=log_uniform(rng, 1e-6, 10.0), dtype=dtype
    )
    noisy = any(isinstance(f, NoisyFeatureBenefit | NoisyInterference) for f in forces)
    step = 2e-4 + 5.0 * n * n * m * (2e-7 if noisy else 2e-10) + 5.0 * n * m * 1e-8
    arguments: dict[str, Any] = {
        "rtol": float(rng.choice([5e-3, 1e-4, 2e-5])),
        "t_end": log_uniform(rng, 0.1, 300.0) if rng.random() < 0.6 else None,
        "events": bool(rng.random() < 0.3),
        "max_steps": int(np.clip(SECONDS / step, 3, 20_000)),
    }
    if arguments["t_end"] is not None and rng.random() < 0.3:
        arguments["save_at"] = sorted(rng.uniform(0.0, arguments["t_end"], 3).tolist())
    return forces, W0, arguments


def literal_rate(forces: list[Any], W: np.ndarray) -> np.ndarray | None:
    """dW/dt without ℓ1 as README has it, in float64; None with noise."""
    W = W.astype(np.float64)
    rate = np.zeros_like(W)
    for force in forces:
        if isinstance(force, FeatureBenefit):
            rate += force.strength * (1.0 - (W**2).sum(axis=1, keepdims=True)) * W
        elif isinstance(force, Interference):
            G = W @ W.T
            np.fill_diagonal(G, 0.0)
            rate -= force.strength * np.maximum(G, 0.0) @ W
        elif isinstance(force, L2Regularization):
            rate -= force.mu * W
        elif not isinstance(force, Regularization):
            return None
    return rate


def at_rest(forces: list[Any], run: Trajectory) -> str | None:
    """What is wrong with a run that says it has come to rest."""
    rate = literal_rate(forces, run.final)
    if rate is None:
        return None
    W, lam = run.final, sum(f.lam for f in forces if isinstance(f, Regularization))
    moving = np.where(W != 0.0, np.abs(rate - lam * np.sign(W)), np.maximum(np.abs(rate) - lam, 0))
    if lam == 0.0:
        moving = np.abs(rate)
    rounding = 64.0 * np.finfo(W.dtype).eps * max(1.0, float(np.abs(rate).max(initial=lam)))
    largest = float(moving.max(initial=0.0))
    allowed = run.certificate.tolerance * (1 + 1e-6) + rounding
    return None if largest <= allowed else f"at rest with |dW/dt| = {largest:g} > {allowed:g}"


def energy_falls(forces: list[Any], run: Trajectory) -> str | None:
    """What is wrong with the energy of a run: it may rise by what a step's error is worth.

    A row is off by rtol·max(1, ‖W_i‖₂) at the most, which changes the energy by no more than
    |gradient|·error + curvature·error²/2.
    """
    seen, rtol = run.observables, run.parameters["rtol"]
    E = seen.total_energy
    if E.size < 2:
        return None
    norms = np.maximum(1.0, seen.l2.max(axis=1))
    error = rtol * np.sqrt((np.maximum(1.0, seen.l2) ** 2).sum(axis=1))
    strength = sum(getattr(f, "strength", getattr(f, "mu", 0.0)) for f in forces) + 1.0
    slope = np.sqrt(np.maximum(seen.dissipation, 0.0))
    bend = 4.0 * strength * norms**2 * seen.l2.shape[1]
    eps = 1e-4 if run.final.dtype == np.float32 else 1e-11
    first = np.maximum(slope[1:], slope[:-1]) * np.maximum(error[1:], error[:-1])
    allowed = first + 0.5 * np.maximum(bend[1:], bend[:-1]) * error[1:] ** 2
    allowed += eps * (1.0 + np.abs(E[:-1]))
    rise = np.diff(E) - allowed
    k = int(rise.argmax())
    return None if rise[k] <= 0.0 else f"energy rises from {E[k]!r} to {E[k + 1]!r} at step {k}"


def same(a: Trajectory, b: Trajectory) -> bool:
    """Whether two runs agree in every bit of what they are."""
    return (
        a.status is b.status
        and a.final.tobytes() == b.final.tobytes()
        and a.observables.times.tobytes() == b.observables.times.tobytes()
        and a.observables.total_energy.tobytes() == b.observables.total_energy.tobytes()
    )


def check_run(rng: np.random.Generator, count: Counter[str]) -> list[str]:
    """One run, and everything that must hold of it."""
    forces, W0, arguments = random_run(rng)
    run = integrate(forces, W0, **arguments)
    count["runs"] += 1
    about = f"{forces}, {W0.shape}, {W0.dtype}, {arguments}, {run.status.name}"
    wrong = []
    if run.status not in ENDS:
        wrong.append(f"ended with {run.message}")
    elif not np.isfinite(run.weights).all() or not np.isfinite(run.final).all():
        wrong.append("weights that are not finite")
    else:
        wrong += [energy_falls(forces, run)]
        if run.status is Status.STATIONARY:
            wrong += [at_rest(forces, run)]
            count["certificates"] += 1
    if W0.size >= SMALL_RUN and run.parameters["backend"] == "numba":
        other = integrate(forces, W0, **arguments, threads=1)
        count["runs"] += 1
        count["comparisons of threads"] += 1
        if not same(run, other):
            wrong.append("one thread gives other bits")
    with tempfile.TemporaryDirectory() as folder:
        run.save(f"{folder}/run.npz")
        if not same(Trajectory.load(f"{folder}/run.npz"), run):
            wrong.append("a saved run is another one")
    count["files"] += 1
    return [f"{what}: {about}" for what in wrong if what]


def check_backends(rng: np.random.Generator, count: Counter[str]) -> list[str]:
    """A short run on every backend that can make it: races have no time to amplify what differs."""
    n, m = DEVICE_SHAPES[int(rng.integers(len(DEVICE_SHAPES)))]
    forces = random_forces(rng, small=False)
    W0 = gaussian_init(n, m, seed=int(rng.integers(2**32)), scale=log_uniform(rng, 0.1, 2.0))
    arguments = {"t_end": log_uniform(rng, 0.01, 0.5), "rtol": 1e-6}
    coupled = any(isinstance(f, Interference) for f in forces)
    backends = ["numba", "diffrax"] + ([] if coupled else ["exact"])
    finals = {
        backend: integrate(forces, W0, backend=backend, **arguments).final for backend in backends
    }
    count["runs"] += len(backends)
    count["comparisons of backends"] += len(backends) - 1
    wrong = []
    for backend in backends[1:]:
        apart = float(np.abs(finals[backend] - finals["numba"]).max())
        if not apart <= 1e-4 * max(1.0, float(np.abs(W0).max())):
            wrong.append(f"{backend} is {apart:g} from numba: {forces}, {(n, m)}, {arguments}")
    return wrong


def check_threads(rng: np.random.Generator, count: Counter[str]) -> list[str]:
    """Several runs at once in this process are what they are alone."""
    chosen = [random_run(rng) for _ in range(3)]

    def make(job: tuple[list[Any], np.ndarray, dict[str, Any]]) -> Trajectory:
        forces, W0, arguments = job
        return integrate(forces, W0, **{**arguments, "max_steps": arguments["max_steps"] // 4 + 1})

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(make, chosen))
    count["runs"] += 2 * len(chosen)
    count["comparisons of threads"] += len(chosen)
    return [
        f"beside others a run has other bits: {forces}, {W0.shape}, {arguments}"
        for (forces, W0, arguments), run in zip(chosen, together, strict=True)
        if not same(run, make((forces, W0, arguments)))
    ]
