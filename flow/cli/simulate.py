"""The command line of flow.simulate: one run of the flow, or the same start under several sets of
forces.

    python -m flow.simulate --n 256 --m 1024 --lam 0.01 --seed 0 --plot run.png
    python -m flow.simulate compare --n 64 --m 256 --plot compare.png

``python flow/simulate.py`` does the same. Exit codes: 0 for a run that got where it was sent, 1
for one that did not, 2 for input that cannot be used, 130 after Ctrl-C.
"""

from __future__ import annotations

import math
import shlex
import shutil
import sys
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flow.cli.flags import InputError, check_output, exit_code, shows_bar
from flow.cli.options import CompareOptions, Given, SimulateOptions, read_options
from flow.defaults import FORCE_SETS, PAPER_FORCES, noise_law

if TYPE_CHECKING:
    from flow.cli.report import Expected
    from flow.forces import Force
    from flow.results.film import Film
    from flow.results.trajectory import Trajectory
    from flow.results.weights import SavedWeights

PROG = "python -m flow.simulate"
ABOUT = (
    "Gradient flow of the forces that make neurons polysemantic: runs it, says where it ended, "
    "saves it, draws it. `compare` as the first word runs the same start under several sets of "
    "forces (compare --help)."
)
ABOUT_COMPARE = (
    "The same start under several sets of forces, side by side in one table and one figure."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return its exit code."""
    return exit_code(
        lambda words: _compare(words[1:]) if words[:1] == ["compare"] else _simulate(words), argv
    )


def _simulate(argv: list[str]) -> int:
    options, given = read_options(SimulateOptions, argv, prog=PROG, description=ABOUT)
    _check_outputs(options, options.output.out)
    on = options.forces
    switches = (on.feature_benefit, on.interference, on.regularization)
    setup = _prepare(options, given, argv)
    traj = _integrate(setup, list(compress(PAPER_FORCES, switches)))
    written = _write(options, traj)
    if not options.output.quiet:
        from flow.cli import report

        W0 = setup.start.W if options.output.census else None
        for line in report.summary(
            traj, _expected(traj), W0=W0, superposition=options.output.superposition
        ):
            print(line)
        if written:
            print(f"{'written':<14}{', '.join(written)}")
    return _exit_code([traj])


def _compare(argv: list[str]) -> int:
    options, given = read_options(
        CompareOptions, argv, prog=f"{PROG} compare", description=ABOUT_COMPARE
    )
    output, names = options.output, options.comparison.subsets
    for flag, asked in (
        ("animate", output.animate), ("bipartite", output.bipartite),
        ("superposition", output.superposition),
    ):  # fmt: skip
        if asked:
            raise InputError(f"--{flag}: expected a single run, got compare; leave --{flag} out")
    files = {name: _sibling(output.out, name) for name in names}
    _check_outputs(options, *files.values())
    setup = _prepare(options, given, ["compare", *argv])
    runs: dict[str, Trajectory] = {}
    films: dict[str, Film] = {}
    for name in names:
        if not output.quiet:
            print(f"{name} ...", file=sys.stderr, flush=True)
        traj = runs[name] = _integrate(setup, FORCE_SETS[name])
        if traj.film is not None:
            films[name] = traj.film
        path = files[name]
        if path is not None:
            runs[name].save(path)
        if runs[name].status.name == "INTERRUPTED":
            break
    if output.plot is not None:
        from flow.pictures import plots
        from flow.pictures.law import closed_form

        laws = {name: closed_form(traj) for name, traj in runs.items()}
        plots.write_figure(plots.comparison(runs, films, laws), output.plot)
    if not output.quiet:
        from flow.cli import report

        for line in report.comparison(runs, {name: _expected(runs[name]) for name in runs}):
            print(line)
        written = [*(str(files[name]) for name in runs if files[name]), *_shown(output.plot)]
        if written:
            print(f"written: {', '.join(written)}")
    return _exit_code(list(runs.values()))


# Before the run ----------------------------------------------------------------------------------


class _Setup(NamedTuple):
    """Everything about the runs of a command but their forces."""

    options: SimulateOptions | CompareOptions
    given: Given
    start: SavedWeights
    saves: list[float] | None
    argv: list[str]
    """Recorded with the runs."""


def _prepare(options: SimulateOptions | CompareOptions, given: Given, argv: list[str]) -> _Setup:
    start = _start(options, given)
    return _Setup(options, given, start, _save_times(options, start), argv)


def _start(options: SimulateOptions | CompareOptions, given: Given) -> SavedWeights:
    """The weights to start from; sizes are checked before anything is allocated."""
    from flow.cli.files import read_init
    from flow.results.weights import SavedWeights

    problem, wish = options.problem, options.start
    if wish.init is None:
        _check_memory(options, problem.n, problem.m, problem.dtype)
        from flow.initial import gaussian_init

        W = gaussian_init(
            problem.n, problem.m, seed=wish.seed, scale=wish.scale, dtype=problem.dtype
        )
        return SavedWeights(W, 0.0, {"seed": wish.seed, "scale": wish.scale})
    start = read_init(wish.init, wish.init_time)
    for name, wanted, found in zip(("n", "m"), (problem.n, problem.m), start.W.shape, strict=True):
        if name in given and wanted != found:
            raise InputError(
                f"--{name}: expected {found}, as in {wish.init}, got {wanted}; leave --{name} out"
            )
    W = start.W.astype(problem.dtype) if "dtype" in given else start.W
    _check_memory(options, W.shape[0], W.shape[1], str(W.dtype))
    t_end = options.integration.t_end
    if t_end is not None and t_end < start.t:
        raise InputError(
            f"--t-end: expected a flow time >= {start.t:g}, where {wish.init} was saved, got "
            f"{t_end:g}"
        )
    about = {"init": str(wish.init), "init_time": start.t, "init_about": dict(start.about)}
    return SavedWeights(W, start.t, about)


def _forces(options: SimulateOptions | CompareOptions, names: Sequence[str]) -> list[Force]:
    """Those of the paper's forces that are named, under noise where there is some."""
    from flow.forces import (
        FeatureBenefit,
        Interference,
        NoisyFeatureBenefit,
        NoisyInterference,
        Regularization,
    )

    c, lam, sigma, noise = (
        options.problem.c, options.problem.lam, options.noise.sigma, options.noise.noise,
    )  # fmt: skip
    benefit: Force = FeatureBenefit(c)
    interference: Force = Interference(c)
    if noise != "none":
        law = noise_law(noise, options.noise.degrees)
        benefit = NoisyFeatureBenefit(sigma, law, c)
        interference = NoisyInterference(sigma, law, c)
    every = dict(zip(PAPER_FORCES, (benefit, interference, Regularization(lam)), strict=True))
    return [every[name] for name in names]


def _save_times(
    options: SimulateOptions | CompareOptions, start: SavedWeights
) -> list[float] | None:
    """--save-at as flow times."""
    words, t_end = options.integration.save_at, options.integration.t_end
    if words is None:
        return None
    if not words[0].startswith("log:"):
        saves = [float(word) for word in words]
        if t_end is not None and saves[-1] > t_end:
            raise InputError(
                f"--save-at: expected times up to --t-end {t_end:g}, got {saves[-1]:g}"
            )
        if saves[0] < start.t:
            raise InputError(
                f"--save-at: expected times >= {start.t:g}, where this run starts, got {saves[0]:g}"
            )
        return saves
    import numpy as np

    count = int(words[0][4:])
    lam, c = options.problem.lam, options.problem.c
    span = 1.0 / lam if lam > 0.0 else 100.0 / (c or 1.0)
    span = span if t_end is None else t_end - start.t
    if span == 0.0:
        return [start.t]
    first = min(0.1 / (c or 1.0), 0.1 * span)
    times = start.t + np.geomspace(first, span, count) if count > 1 else [start.t + span]
    return sorted({start.t, *(min(float(t), t_end or math.inf) for t in times)})


def _check_outputs(options: SimulateOptions | CompareOptions, *data: Path | None) -> None:
    """Every file can be written, and none would be lost, before the run is begun.

    data : the files of the runs themselves.
    """
    output = options.output
    named = [("out", path) for path in data if path is not None]
    named += [("plot", path) for path in _shown_paths(output.plot)]
    named += [("animate", path) for path in _shown_paths(output.animate)]
    named += [("bipartite", path) for path in _shown_paths(output.bipartite)]
    for flag, path in named:
        check_output(flag, path, overwrite=output.overwrite)
    if len({path.resolve() for _, path in named}) < len(named):
        raise InputError("expected different names for the files to write, got one twice")
    if (
        output.animate is not None
        and output.animate.suffix.lower() == ".mp4"
        and shutil.which("ffmpeg") is None
    ):
        raise InputError(
            f"--animate: expected a .gif, as ffmpeg is not installed here, got {output.animate}"
        )


def _shown_paths(path: Path | None) -> list[Path]:
    return [] if path is None else [path]


def _shown(path: Path | None) -> list[str]:
    return [str(shown) for shown in _shown_paths(path)]


def _sibling(path: Path | None, name: str) -> Path | None:
    """runs.npz -> runs.no-interference.npz."""
    return None if path is None else path.with_name(f"{path.stem}.{name}{path.suffix}")


def _check_memory(options: SimulateOptions | CompareOptions, n: int, m: int, dtype: str) -> None:
    """InputError for a run with W : (n, m), or runs to compare, that memory has no room for."""
    from flow.driver.filming import film_bytes
    from flow.driver.memory import available_bytes, run_bytes

    if isinstance(options, SimulateOptions):
        runs, interference = 1, options.forces.interference
    else:
        sets = [FORCE_SETS[name] for name in options.comparison.subsets]
        runs, interference = len(sets), any("Interference" in names for names in sets)
    saved, most = runs * _saved(options), _film_bytes(options)
    size = run_bytes(
        n,
        m,
        itemsize=4 if dtype == "float32" else 8,
        interference=interference,
        census=options.output.census,
        saved=saved,
        film=runs * (film_bytes(n, m, most) if most else 0),
    )
    available = available_bytes()
    if size > available:
        what = f"a run with W of {n} x {m} {dtype}" + (
            f" and {saved} saved times" if saved > 2 else ""
        )
        smaller = "--n, --m or --save-at"
        if options.output.census:
            what, smaller = f"{what} and a census", f"{smaller}, leave --census out"
        raise InputError(
            f"expected a run that fits in the {available / 2**30:.3g} GiB of memory available, got "
            f"{what}, which needs {size / 2**30:.3g} GiB; lower {smaller}, or use --dtype float32"
        )


def _saved(options: SimulateOptions | CompareOptions) -> int:
    """How many W of a run are kept, the end among them."""
    words = options.integration.save_at or ("start",)
    return 1 + (int(words[0][4:]) if words[0].startswith("log:") else len(words))


def _film_bytes(options: SimulateOptions | CompareOptions) -> int:
    """How much of a film is kept for the pictures that are wanted, and for those of a saved run."""
    from flow.driver.filming import KEPT_BYTES, SHOWN_BYTES

    output = options.output
    if output.animate is not None:
        return SHOWN_BYTES
    return KEPT_BYTES if output.plot is not None or output.out is not None else 0


# The run -----------------------------------------------------------------------------------------


def _integrate(setup: _Setup, names: Sequence[str]) -> Trajectory:
    """A run under the paper's forces of these names."""
    from flow.driver.integration import integrate

    options, given, start, saves, argv = setup
    how = options.integration
    try:
        traj = integrate(
            _forces(options, names),
            start.W,
            t_start=start.t,
            t_end=how.t_end,
            save_at=saves,
            rtol=how.rtol,
            backend=how.backend,  # type: ignore[arg-type]
            max_steps=how.max_steps,
            max_seconds=math.inf if how.max_seconds is None else how.max_seconds,
            progress=_shows_progress(options, given),
            film=_film_bytes(options),
            events=options.output.census,
            metadata={**start.about, "command": shlex.join([*PROG.split(), *argv])},
        )
    except (ValueError, ImportError, NotImplementedError) as error:
        raise InputError(str(error)) from error
    except MemoryError as error:
        raise InputError(
            f"expected a run that fits in memory, got one that does not ({error}); lower --n or --m"
        ) from error
    return traj


def _shows_progress(options: SimulateOptions | CompareOptions, given: Given) -> bool:
    output = options.output
    return shows_bar(output.progress, output.quiet, "progress" in given)


def _exit_code(runs: list[Trajectory]) -> int:
    if any(traj.status.name == "INTERRUPTED" for traj in runs):
        return 130
    return 0 if all(traj.status.finished for traj in runs) else 1


# After the run -----------------------------------------------------------------------------------


def _write(options: SimulateOptions, traj: Trajectory) -> list[str]:
    """Write what was asked for, the run first; returns the names."""
    output = options.output
    if output.out is not None:
        traj.save(output.out)
    film = traj.film
    if film is not None or output.bipartite is not None:
        from flow.pictures import plots
        from flow.pictures.law import closed_form

        if film is not None and output.plot is not None:
            plots.write_figure(plots.single_run(traj, film, closed_form(traj)), output.plot)
        if film is not None and output.animate is not None:
            plots.write_animation(traj, film, output.animate)
        if output.bipartite is not None:
            plots.write_figure(plots.bipartite(traj), output.bipartite)
    pictures = (output.plot, output.animate, output.bipartite)
    return [*_shown(output.out), *(name for path in pictures for name in _shown(path))]


def _expected(traj: Trajectory) -> Expected | None:
    """What theory says about the count of polysemantic neurons, where n ≤ 2m."""
    from flow.cli.report import Expected
    from theory.counting import paper_count, slot_law, slot_law_applies

    n, m = traj.final.shape
    if not slot_law_applies(n, m):
        return None
    law = slot_law(n, m)
    return Expected(paper=float(paper_count(n, m)), slot_mean=law.mean(), slot_std=law.std())
