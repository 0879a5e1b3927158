"""Runs in this process: invariants of one run, and the same run made another way."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
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
from flow.analysis.stationarity import resolution
from flow.forces import Force, sum_forces
from flow.integrators.schemes import BogackiShampine, ProximalEuler
from tests.soak.case import Case, log_uniform, whole

LAWS = ("bipolar", "uniform", "normal", "laplace", "student-t:5", "student-t:9")
RTOLS = (5e-3, 1e-4, 2e-5)
FLOPS = 4e9
"""Of the products W Wᵀ and φ(G) W in the steps that a run may make."""
COMPILED_SHAPES = ((8, 64), (16, 32))
"""JAX compiles for every shape: there are two."""
PLAIN = (FeatureBenefit, Interference, Regularization, L2Regularization)


# What is drawn -----------------------------------------------------------------------------------


def draw_forces(rng: np.random.Generator, *, noisy: bool) -> list[Force]:
    """A subset of the forces, with strengths over three decades."""
    c = log_uniform(rng, 1e-2, 10.0)
    on = rng.random(4) < (0.85, 0.75, 0.7, 0.2)
    forces: list[Force] = []
    if noisy:
        law, sigma = str(rng.choice(LAWS)), log_uniform(rng, 1e-2, 0.5)
        kinds: list[Any] = [NoisyFeatureBenefit, NoisyInterference]
        kept = [kind for kind in kinds if rng.random() < 0.8] or kinds
        forces += [kind(sigma, law, c) for kind in kept]
        on[:2] &= [NoisyFeatureBenefit not in kept, NoisyInterference not in kept]
    if on[0]:
        forces.append(FeatureBenefit(c))
    if on[1]:
        forces.append(Interference(c * (1.0 if rng.random() < 0.7 else log_uniform(rng, 0.1, 10))))
    if on[2]:
        forces.append(Regularization(c * log_uniform(rng, 1e-4, 0.3)))
    if on[3]:
        forces.append(L2Regularization(c * log_uniform(rng, 1e-3, 2.0)))
    return forces


def draw_start(
    rng: np.random.Generator, sizes: tuple[int, int], *, small: bool = False
) -> tuple[dict[str, Any], np.ndarray]:
    """What a start is made of, and the start."""
    n, m = sizes
    low = 0.1 if small else 1e-6
    start = {
        "n": n, "m": m, "seed": int(rng.integers(2**32)), "scale": log_uniform(rng, low, 10.0),
        "dtype": str(rng.choice(["float32", "float64"], p=[0.35, 0.65])),
    }  # fmt: skip
    return start, gaussian_init(**start)


def draw_how(
    rng: np.random.Generator, forces: list[Force], sizes: tuple[int, int]
) -> dict[str, Any]:
    """How a run is made: its end, precision, limits and means."""
    n, m = sizes
    c = max(total_scale(forces), 1e-3)
    noisy = any(force.has_general_drift for force in forces)
    steps = 60 if noisy else int(np.clip(FLOPS / (4.0 * n * n * m * 8.0 + 2e6), 8, 600))
    how: dict[str, Any] = {
        "rtol": float(rng.choice(RTOLS, p=[0.5, 0.35, 0.15])), "max_steps": steps,
        "t_end": None if rng.random() < 0.5 else log_uniform(rng, 1e-3, 300.0) / c,
    }  # fmt: skip
    if rng.random() < 0.15:
        smooth = not any(force.l1 > 0.0 for force in forces)
        scheme = BogackiShampine if smooth and rng.random() < 0.5 else ProximalEuler
        h = log_uniform(rng, 1e-3, 0.05) / c
        how |= {"scheme": scheme(), "fixed_step": h, "t_end": h * rng.integers(1, 40)}
    elif rng.random() < 0.3:
        how["backend"] = "numba"
    return how


def total_scale(forces: list[Force]) -> float:
    """The largest strength."""
    return max(
        (getattr(force, "strength", getattr(force, "mu", 0.0)) for force in forces), default=1.0
    )


def refusal(forces: list[Force], dtype: str) -> bool:
    """Whether a run to rest is to be refused: λ is less than the precision resolves."""
    total = sum_forces(forces)
    return 0.0 < total.l1 <= resolution(total, np.dtype(dtype))


# Laws of one run ---------------------------------------------------------------------------------


def literal_rate(forces: list[Force], W: np.ndarray) -> tuple[np.ndarray, float, np.ndarray] | None:
    """The smooth rate as the README says it, λ, and the sizes of its terms; None with noise."""
    W = W.astype(np.float64)
    smooth, terms, lam = np.zeros_like(W), np.zeros_like(W), 0.0
    for force in forces:
        if isinstance(force, FeatureBenefit):
            squared = (W**2).sum(axis=1, keepdims=True)
            rate = force.strength * (1.0 - squared) * W
            terms += force.strength * (1.0 + squared) * np.abs(W)
        elif isinstance(force, Interference):
            G = W @ W.T
            np.fill_diagonal(G, 0.0)
            rate = -force.strength * np.maximum(G, 0.0) @ W
            terms += force.strength * np.maximum(G, 0.0) @ np.abs(W)
        elif isinstance(force, Regularization):
            lam += force.lam
            continue
        elif isinstance(force, L2Regularization):
            rate = -force.mu * W
            terms += np.abs(rate)
        else:
            return None
        smooth += rate
    return smooth, lam, terms + lam


def check_rest(case: Case, run: Trajectory) -> None:
    """STATIONARY: |dW/dt| is below the tolerance, by the literal formula."""
    found = literal_rate(list(run.forces), run.final)
    if found is None:
        return
    smooth, lam, terms = found
    W = run.final
    held = np.maximum(np.abs(smooth) - lam, 0.0)
    residual = np.where(W == 0.0, held, np.abs(smooth - lam * np.sign(W))).max()
    rounding = 64.0 * np.finfo(W.dtype).eps * terms.max(initial=0.0)
    said = run.certificate
    case.about["residual"] = [float(residual), said.residual, said.tolerance]
    case.check(
        residual <= said.tolerance + rounding,
        f"stationary, but |dW/dt| is {residual:.3g} where {said.tolerance:.3g} counts as rest",
    )
    case.check(
        abs(residual - said.residual) <= rounding + 1e-6 * said.residual,
        f"the certificate says {said.residual:.6g}, the formula {residual:.6g}",
    )


def check_energy(case: Case, run: Trajectory) -> None:
    """Σ energies falls, up to rtol² of their sizes (tests/integrators) and rounding."""
    energy = run.observables.total_energy
    if energy.size < 2:
        return
    sizes = sum(np.abs(e) for e in run.observables.energy.values()) if run.forces else 0.0 * energy
    size = np.maximum(sizes[1:], sizes[:-1])
    rtol, eps = run.parameters["rtol"], float(np.finfo(run.final.dtype).eps)
    rise = np.diff(energy)
    allowed = rtol**2 * max(energy[0], float(np.max(sizes))) + 32.0 * eps * size
    worst = int(np.argmax(rise - allowed))
    case.check(
        bool((rise <= allowed).all()),
        f"the energy rose by {rise[worst]:.3g} from {energy[worst]:.6g} at step {worst + 1}, "
        f"t = {run.observables.times[worst]:.6g}; {np.ravel(allowed)[worst]:.3g} is allowed",
    )


def check_run(case: Case, run: Trajectory, how: dict[str, Any]) -> None:
    """What is true of any run."""
    case.about["end"] = [run.status.name, run.message]
    fixed = how.get("fixed_step") is not None
    expected = {Status.STATIONARY, Status.REACHED_T_END, Status.STEP_LIMIT}
    if any(force.has_general_drift for force in run.forces):
        # Noise pushes a row that vanishes with a force that does not: steps follow it to nothing.
        expected |= {Status.STEP_TOO_SMALL}
        case.counts["noise ends"] += run.status is Status.STEP_TOO_SMALL
    if not case.check(
        run.status in expected or fixed, f"ended as {run.status.name}: {run.message}"
    ):
        return
    if run.status is Status.STEP_LIMIT:
        steps = run.stats["accepted"] + run.stats["rejected"]
        case.check(steps == how["max_steps"], f"a limit of {how['max_steps']} met at {steps}")
    if run.status is Status.NON_FINITE:
        return
    case.check(bool(np.isfinite(run.weights).all()), "weights are not finite")
    o = run.observables
    case.check(bool((np.diff(o.times) > 0.0).all()), "times do not increase")
    case.check(
        bool((o.nonzeros[-1] == (run.final != 0).sum(axis=1)).all()),
        "non-zeros observed at the end are not those of the weights",
    )
    if not fixed:
        check_energy(case, run)
    if run.status is Status.STATIONARY:
        check_rest(case, run)


def same_run(case: Case, one: Trajectory, other: Trajectory, what: str) -> None:
    """Bit for bit, steps and ends."""
    a, b = one.observables, other.observables
    pairs = {
        "final": (one.final, other.final), "times": (a.times, b.times), "l1": (a.l1, b.l1),
        "energy": (a.total_energy, b.total_energy), "dissipation": (a.dissipation, b.dissipation),
        "nonzeros": (a.nonzeros, b.nonzeros),
    }  # fmt: skip
    different = [name for name, (x, y) in pairs.items() if x.tobytes() != y.tobytes()]
    case.check(not different, f"{what}: not the same bits in {', '.join(different)}")
    case.check(
        {**one.stats, "seconds": 0} == {**other.stats, "seconds": 0}, f"{what}: other counts"
    )


def same_file(case: Case, run: Trajectory, loaded: Trajectory) -> None:
    """A file holds all of a run."""
    same_run(case, run, loaded, "saved and loaded")
    case.check(run.weights.tobytes() == loaded.weights.tobytes(), "other weights were loaded")
    for name, values in run.events.arrays().items():
        other = loaded.events.arrays()[name]
        case.check(values.tobytes() == other.tobytes(), f"other events {name} were loaded")
    said = (run.status, run.message, run.forces)
    case.check(said == (loaded.status, loaded.message, loaded.forces), "another end was loaded")
    case.check(
        str(asdict(run.certificate)) == str(asdict(loaded.certificate)),
        "another certificate was loaded",
    )


# Cases -------------------------------------------------------------------------------------------


def one_run(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """A run, its laws, and the same one by other threads, looked at, saved, gone on with."""
    noisy = rng.random() < 0.15
    sizes = (whole(rng, 1, 6), whole(rng, 1, 10)) if noisy else (
        whole(rng, 1, 512), whole(rng, 1, 4096))  # fmt: skip
    forces = draw_forces(rng, noisy=noisy)
    start, W0 = draw_start(rng, sizes)
    how = draw_how(rng, forces, sizes)
    case.about |= {"forces": [f.to_dict() for f in forces], "start": start, "how": plain(how)}
    try:
        run = integrate(forces, W0, threads=1, **how)
    except ValueError as error:
        case.counts["refused"] += 1
        case.check(refusal(forces, start["dtype"]), f"refused: {error}")
        return
    case.counts["runs"] += 1
    case.check(not refusal(forces, start["dtype"]), "λ below what is resolved was not refused")
    check_run(case, run, how)
    other_way = str(rng.choice(["threads", "looks", "parts"]))
    case.about["again"] = other_way
    case.counts["runs"] += 1
    if other_way == "threads":
        same_run(case, run, integrate(forces, W0, threads=2, **how), "one thread and two")
    elif other_way == "looks":
        end = float(run.times[-1])
        looks = sorted(set(rng.uniform(0.0, end, 5).tolist())) if end > 0.0 else [0.0]
        # Saves reach no further than the run: a limit would be met elsewhere.
        watched = integrate(forces, W0, events=True, save_at=looks, film=True, **how)
        same_run(case, run, watched, "looked at")
        inside = watched.times[:-1] if watched.times.size > len(looks) else watched.times
        case.check(inside.tolist() == looks, "not kept at the times asked for")
        watched.save(folder / "watched.npz")
        same_file(case, watched, Trajectory.load(folder / "watched.npz"))
    elif run.parameters["backend"] == "numba":
        parts(case, rng, forces, W0, how, run, folder)
    run.save(folder / "run.npz")
    same_file(case, run, Trajectory.load(folder / "run.npz"))


def parts(
    case: Case, rng: np.random.Generator, forces: list[Force], W0: np.ndarray, how: dict[str, Any],
    whole_run: Trajectory, folder: Path,
) -> None:  # fmt: skip
    """A run that is cut short, saved and gone on with ends as the whole one."""
    tried = whole_run.stats["accepted"] + whole_run.stats["rejected"]
    if tried < 2:
        return
    first = int(rng.integers(1, tried))
    part = integrate(forces, W0, **{**how, "max_steps": first})
    if part.status is not Status.STEP_LIMIT:  # the last steps of a run may be let pass at rest
        return
    part.save(folder / "part.npz")
    left = how["max_steps"] - (part.stats["accepted"] + part.stats["rejected"])
    sim = Trajectory.load(folder / "part.npz").simulation(max_steps=left)
    sim.run(how["t_end"])
    rest = sim.trajectory()
    case.about["cut"] = first
    case.check(
        rest.final.tobytes() == whole_run.final.tobytes() and rest.status is whole_run.status,
        f"cut after {first} steps and gone on with, it ends elsewhere: {rest.message} instead of "
        f"{whole_run.message}",
    )


def plain(how: dict[str, Any]) -> dict[str, Any]:
    """Arguments as JSON holds them."""
    return {k: v if isinstance(v, int | float | str | None) else repr(v) for k, v in how.items()}


def two_backends(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """Rows on their own: steps against the closed form, within what the steps may add up to.

    Row growth amplifies no faster than e^(ct), ℓ1 and decay contract: the errors of the steps,
    rtol·min(1, max(c h, 1/10)) of max(1, ‖W_i‖) each, add up to no more than e^(ct) times their
    sum.
    """
    c = log_uniform(rng, 1e-2, 10.0)
    forces: list[Force] = [FeatureBenefit(c)]
    if rng.random() < 0.8:
        forces.append(Regularization(c * log_uniform(rng, 1e-3, 0.3)))
    if rng.random() < 0.3:
        forces.append(L2Regularization(c * log_uniform(rng, 1e-3, 2.0)))
    start, W0 = draw_start(rng, (whole(rng, 1, 128), whole(rng, 1, 2048)))
    W0 = W0.astype(np.float64)
    t_end, rtol = log_uniform(rng, 1e-2, 3.0) / c, float(rng.choice([1e-4, 2e-5]))
    case.about |= {
        "forces": [f.to_dict() for f in forces], "start": start, "t_end": t_end, "rtol": rtol,
    }  # fmt: skip
    exact = integrate(forces, W0, t_end=t_end, backend="exact")
    steps = integrate(forces, W0, t_end=t_end, backend="numba", rtol=rtol)
    case.counts["runs"] += 2
    for run in (exact, steps):
        check_run(case, run, {"max_steps": 100_000})
    h = np.diff(steps.observables.times)
    charged = rtol * np.minimum(1.0, np.maximum(c * h, 0.1)).sum()
    size = np.maximum(1.0, np.maximum(steps.observables.l2.max(axis=0), 1.0))
    error = np.linalg.norm(steps.final - exact.final, axis=1) / size
    allowed = charged * math.exp(c * t_end)
    case.about["error"] = [float(error.max()), allowed]
    case.check(
        bool(error.max() <= allowed),
        f"steps and closed form are {error.max():.3g} apart, {allowed:.3g} is allowed",
    )


def accelerated(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """The diffrax backend makes the steps of the numba backend."""
    forces: list[Force] = [
        FeatureBenefit(c := log_uniform(rng, 0.1, 10.0)), Interference(c),
        Regularization(c * log_uniform(rng, 3e-3, 0.1)),
    ]  # fmt: skip
    start, W0 = draw_start(rng, COMPILED_SHAPES[rng.integers(2)], small=True)
    W0 = W0.astype(np.float64)
    t_end, rtol = log_uniform(rng, 0.1, 4.0) / c, float(rng.choice([5e-3, 1e-4]))
    case.about |= {
        "forces": [f.to_dict() for f in forces], "start": start, "t_end": t_end, "rtol": rtol,
    }  # fmt: skip
    one, other = (
        integrate(forces, W0, t_end=t_end, rtol=rtol, backend=backend)
        for backend in ("numba", "diffrax")
    )
    case.counts["runs"] += 2
    for run in (one, other):
        check_run(case, run, {"max_steps": 100_000})
    counts = [(run.stats["accepted"], run.stats["rejected"]) for run in (one, other)]
    case.check(counts[0] == counts[1], f"numba made {counts[0]} steps, diffrax {counts[1]}")
    apart = float(np.abs(one.final - other.final).max())
    case.check(apart <= 1e-8, f"numba and diffrax are {apart:.3g} apart")


def together(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """Runs at once in threads are those on their own."""
    jobs = []
    for _ in range(int(rng.integers(2, 5))):
        sizes = (whole(rng, 1, 160), whole(rng, 1, 600))
        forces = draw_forces(rng, noisy=False)
        start, W0 = draw_start(rng, sizes)
        how = draw_how(rng, forces, sizes) | {"events": bool(rng.random() < 0.5)}
        if not refusal(forces, start["dtype"]):
            jobs.append((forces, W0, how))
        case.about.setdefault("jobs", []).append(
            {"forces": [f.to_dict() for f in forces], "start": start, "how": plain(how)}
        )
    alone = [integrate(forces, W0, **how) for forces, W0, how in jobs]
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(lambda job: integrate(job[0], job[1], **job[2]), jobs))
    case.counts["runs"] += 2 * len(jobs)
    for k, (one, other) in enumerate(zip(alone, beside, strict=True)):
        same_run(case, one, other, f"job {k} alone and beside others")
