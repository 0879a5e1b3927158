"""Commands in processes of their own: killed, interrupted, without disk, forked, small and many."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from flow import (
    FeatureBenefit,
    Interference,
    Regularization,
    Status,
    Trajectory,
    gaussian_init,
    integrate,
    sweep,
)
from tests import ROOT
from tests.soak.case import Case, log_uniform, whole

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST = 120.0
"""Seconds after which a command hangs."""
T_END = 400.0
"""Flow time of the runs that are disturbed: all of a run so far is saved each time, so that a run
of ten thousand steps that is saved after each of them does little else."""


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv[0] = "flow.simulate"
runpy.run_module("flow.simulate", run_name="__main__", alter_sys=True)
"""
"""flow.simulate, none of whose files may be longer than `limit` bytes."""


def command(*words: Any, cwd: Path) -> subprocess.Popen[str]:
    """`python words`."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(
    case: Case, process: subprocess.Popen[str], what: str, longest: float = LONGEST
) -> tuple[int, str]:
    """Exit code and stderr of a command, killed where it hangs."""
    try:
        _, said = process.communicate(timeout=longest * case.patience)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
        case.check(False, f"{what} hangs")
    return process.returncode, said


def disturb(
    case: Case, rng: np.random.Generator, process: subprocess.Popen[str], number: int, delay: float
) -> None:
    """Send a signal after a while, now and then a second one."""
    try:
        process.wait(timeout=delay)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        case.counts["kills" if number == signal.SIGKILL else "signals"] += 1
        if number != signal.SIGKILL and rng.random() < 0.2:
            time.sleep(rng.uniform(0.0, 0.02))
            process.send_signal(number)


def check_code(case: Case, code: int, number: int, said: str, what: str, *, saves: bool) -> None:
    """The exit code is 0, 128 + the signal's, or the signal's own while Python still starts.

    Python's own start, before a line of ours has run, answers Ctrl-C with a traceback and code 1.
    """
    if code == 1 and number == signal.SIGINT and "KeyboardInterrupt" in said:
        if case.check(str(ROOT / "flow") not in said, f"{what}: {said}"):
            case.counts["signals while starting"] += 1
        return
    codes = {0, -number} if number == signal.SIGKILL else {0, -number, 128 + number}
    case.check(code in codes, f"{what}: exit code {code} after {signal.strsignal(number)}: {said}")
    if code in (0, 128 + number) and saves:
        # A second signal may come while Python ends, which it says and ignores.
        case.check("Traceback" not in said or "Exception ignored" in said, f"{what}: {said}")
    if code == -number and number != signal.SIGKILL:
        case.counts["signals while starting"] += 1


# Kills and signals -------------------------------------------------------------------------------


def simulate_disturbed(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """A run with checkpoints, killed or interrupted and gone on with, is the whole one."""
    n, m, lam = whole(rng, 8, 64), whole(rng, 16, 256), log_uniform(rng, 1e-4, 3e-2)
    seed, dtype = int(rng.integers(2**31)), str(rng.choice(["float32", "float64"]))
    lam = max(lam, 1e-3) if dtype == "float32" else lam
    case.about |= {"n": n, "m": m, "lam": lam, "seed": seed, "dtype": dtype, "ends": []}
    W0 = gaussian_init(n, m, seed=seed, dtype=dtype)
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    expected = integrate(forces, W0, t_end=T_END)
    case.counts["runs"] += 1
    flags = ["--n", n, "--m", m, "--lam", repr(lam), "--seed", seed, "--dtype", dtype]
    out = folder / "out.npz"
    for attempt in range(6):
        begun = ["--init", out] if out.exists() else flags
        words = ["-m", "flow.simulate", *begun, "--t-end", T_END, "--out", out, "--overwrite"]
        process = command(*words, "--checkpoint", 0.02, "--quiet", cwd=folder)
        number = int(rng.choice([signal.SIGKILL, signal.SIGKILL, *SIGNALS]))
        delay = float(rng.uniform(0.3, 3.5))
        before = out.stat().st_mtime_ns if out.exists() else 0
        if rng.random() < 0.6:  # a while after its first file, when all is compiled
            deadline = time.monotonic() + 30.0
            while process.poll() is None and time.monotonic() < deadline:
                if out.exists() and out.stat().st_mtime_ns != before:
                    break
                time.sleep(0.002)
            delay = float(rng.uniform(0.0, 0.1))
        if attempt < 5:
            disturb(case, rng, process, number, delay)
        code, said = ended(case, process, "simulate")
        case.about["ends"].append([number, round(delay, 4), code])
        check_code(case, code, number, said, "simulate", saves=True)
        if out.exists():
            found = load(case, out)
            if found is None:
                return
            if code == 128 + number and out.stat().st_mtime_ns != before:
                names = {Status.INTERRUPTED, expected.status}
                case.check(found.status in names, f"interrupted, but saved as {found.status.name}")
        else:
            case.check(code != 0, "exit code 0 without a file")
        if code == 0:
            case.counts["runs"] += 1
            final = Trajectory.load(out)
            case.check(
                final.final.tobytes() == expected.final.tobytes()
                and final.status is expected.status,
                f"gone on with after {case.about['ends']}, it ends elsewhere: {final.message} "
                f"instead of {expected.message}",
            )
            break
    left = {path.name for path in folder.iterdir()} - {"out.npz"}
    killed = any(code == -number for number, _, code in case.about["ends"])
    case.check(killed or not left, f"files are left: {left}")


def load(case: Case, path: Path) -> Trajectory | None:
    """The run in a file that must be whole."""
    try:
        return Trajectory.load(path)
    except ValueError as error:
        case.check(False, f"{path.name} does not load: {error}")
        return None


def sweep_disturbed(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """A sweep, killed or interrupted and gone on with, holds the rows of one that was not."""
    n, seeds = whole(rng, 4, 24), int(rng.integers(3, 16))
    config = f"n = {n}\nm = [{n}, {2 * n}]\nlam = [0.02, 0.05]\nseeds = {seeds}\n"
    (folder / "g.toml").write_text(config)
    case.about |= {"config": config, "ends": []}
    with ThreadPoolExecutor(1) as here:
        expected = sweep.run(folder / "g.toml", folder / "whole.sqlite", executor=here)
    wanted = expected.to_csv()
    case.counts["runs"] += len(expected.rows)
    for attempt in range(6):
        words = ["-m", "flow.sweep", "g.toml", "--workers", 2, "--retries", 1000, "--export", "csv"]
        process = command(*words, cwd=folder)
        number = int(rng.choice([signal.SIGKILL, signal.SIGKILL, *SIGNALS]))
        delay = float(rng.uniform(0.1, 3.0))
        if attempt < 5:
            disturb(case, rng, process, number, delay)
        code, said = ended(case, process, "sweep")
        case.about["ends"].append([number, round(delay, 4), code])
        check_code(case, code, number, said, "sweep", saves=code == 0)
        if (folder / "g.sqlite").exists():
            rows = {row["hash"]: row for row in expected.rows}
            for row in sweep.load(folder / "g.sqlite").rows:
                right = not row["finished"] or row["t"] == rows[row["hash"]]["t"]
                case.check(right, f"row {row['hash']} is wrong")
        if code == 0:
            table = (folder / "g.csv").read_text()
            case.counts["runs"] += len(expected.rows)
            case.check(table == wanted, f"after {case.about['ends']} the table is another one")
            break


# Disks -------------------------------------------------------------------------------------------


def without_disk(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """No room, or no folder any more: one line, exit code 2, and no half file."""
    n, m = whole(rng, 8, 48), whole(rng, 32, 256)
    target = folder / "there"
    target.mkdir()
    out = target / "out.npz"
    kind = str(rng.choice(["full", "full over an old file", "vanishing"]))
    case.about |= {"n": n, "m": m, "disk": kind}
    flags = ["--n", n, "--m", m, "--lam", "0.01", "--quiet", "--overwrite", "--out", out]
    if rng.random() < 0.5:
        flags += ["--checkpoint", "0.01"]
    start, old = ["-m", "flow.simulate"], b""
    if kind == "full over an old file":
        integrate([FeatureBenefit()], gaussian_init(4, 8, seed=0), t_end=1.0).save(out)
        old = out.read_bytes()
    if kind != "vanishing":
        limit = int(rng.integers(0, 4 * n * m))
        case.about["limit"] = limit
        start = ["-c", LIMITED.format(limit=limit)]
    process = command(*start, *flags, cwd=folder)
    if kind == "vanishing":
        time.sleep(float(rng.uniform(0.2, 3.0)))
        shutil.rmtree(target, ignore_errors=True)
    code, said = ended(case, process, "simulate")
    case.counts["runs"] += 1
    case.counts["disk faults"] += 1
    case.about["said"] = said
    lines = [line for line in said.splitlines() if not line.startswith(" ")]
    errors = [line for line in lines if "RuntimeWarning" not in line]
    if kind == "vanishing" and code == 0:  # it was done before, or the folder came too late
        return
    case.check(code == 2, f"exit code {code} with a disk that is {kind}: {said}")
    case.check(
        len(errors) == 1 and errors[0].startswith(("error: expected", "error: --out: expected")),
        f"not one line with a disk that is {kind}: {said}",
    )
    if kind != "vanishing":
        case.check(out.exists() == bool(old), "a file that could not be written is there")
        case.check(not old or out.read_bytes() == old, "the old file was changed")
        left = sorted(path.name for path in target.iterdir() if path != out)
        case.check(not left, f"files are left: {left}")


# Forks -------------------------------------------------------------------------------------------


def forked(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """Processes forked after a run compute the same."""
    size = (whole(rng, 8, 160), whole(rng, 16, 300))
    seed = int(rng.integers(2**31))
    case.about |= {"size": size, "seed": seed}
    program = f"""
        import multiprocessing
        from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate

        def job(seed):
            forces = [FeatureBenefit(), Interference(), Regularization(0.02)]
            return integrate(forces, gaussian_init(*{size}, seed=seed), t_end=2.0).final.tobytes()

        own = [job({seed} + k) for k in range(3)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(job, [{seed} + k for k in range(3)]).get({100 * case.patience})
        raise SystemExit(0 if found == own else "not the same bits")
        """
    process = command("-c", textwrap.dedent(program), cwd=folder)
    code, said = ended(case, process, "a fork")
    case.counts["runs"] += 6
    case.counts["forks"] += 1
    case.check(code == 0, f"forked after a run: {said[-2000:]}")


# Memory ------------------------------------------------------------------------------------------


def flat_memory(case: Case, rng: np.random.Generator, folder: Path) -> None:
    """Resident memory stays within 5 % from the 200th small run to the last.

    The recurrences that are kept, of which there may be no more, are kept from the start.
    """
    runs, seed = (300 if case.short else 2000), int(rng.integers(2**31))
    case.about |= {"small runs": runs, "seed": seed}
    program = f"""
        import sys
        import numpy as np
        from flow import gaussian_init, integrate
        from flow.integrators.schemes import chebyshev_recurrence
        from tests.soak.runs import draw_forces, refusal

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1])

        for stages in range(900, 900 + chebyshev_recurrence.cache_info().maxsize):
            chebyshev_recurrence(stages)
        rng, seen = np.random.default_rng({seed}), []
        for k in range({runs}):
            noisy = rng.random() < 0.05
            n, m = (rng.integers(1, 4), rng.integers(1, 6)) if noisy else (
                rng.integers(1, 17), rng.integers(1, 33))
            forces = draw_forces(rng, noisy=noisy)
            W0 = gaussian_init(n, m, seed=int(rng.integers(2**31)))
            backend = "numba" if rng.random() < 0.5 else "auto"
            if not refusal(forces, "float64"):
                events = bool(rng.random() < 0.5)
                integrate(forces, W0, max_steps=25, backend=backend, events=events)
            if k >= 199:
                seen.append(resident())
        print(seen[0], max(seen), seen[-1], file=sys.stderr)
        """
    process = command("-c", textwrap.dedent(program), cwd=folder)
    code, said = ended(case, process, "many small runs", 380.0)
    case.counts["runs"] += runs
    if not case.check(code == 0, f"many small runs: {said[-2000:]}"):
        return
    first, most, last = map(int, said.split()[-3:])
    case.about["pages"] = [first, most, last]
    case.check(last <= 1.05 * first, f"memory grew from {first} pages at run 200 to {last}")
