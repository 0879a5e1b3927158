"""The command line of flow.simulate: one run of the flow, or the same start under several sets of
forces.

    python -m flow.simulate --n 256 --m 1024 --lam 0.01 --seed 0 --plot run.png
    python -m flow.simulate compare --n 64 --m 256 --plot compare.png

``python flow/simulate.py`` does the same. The exit codes stand in :mod:`flow.simulate`.
"""

from __future__ import annotations

import math
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from flow.cli.flags import InputError, check_output, exit_code, flag_names, shows_bar
from flow.cli.interruption import Interruptions
from flow.cli.options import (
    CompareOptions,
    ForceFlags,
    Given,
    Options,
    SimulateOptions,
    read_options,
)
from flow.defaults import FORCE_SETS, PAPER_FORCES

if TYPE_CHECKING:
    from flow.driver.simulation import Callback, Simulation
    from flow.forces import Force
    from flow.results.film import Film
    from flow.results.trajectory import Trajectory
    from flow.results.weights import SavedWeights

PROG = "python -m flow.simulate"
HANGUP = getattr(signal, "SIGHUP", None)
"""What comes when the terminal closes: nobody reads what would be said."""
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

    def command(words: list[str]) -> int:
        with Interruptions() as interruptions:
            if words[:1] == ["compare"]:
                return _compare(words[1:], interruptions)
            if "compare" in words:
                raise InputError(
                    f"expected compare as the first word, got it after {words[0]}; write {PROG} "
                    f"compare ..."
                )
            return _simulate(words, interruptions)

    return exit_code(command, argv)


def _simulate(argv: list[str], interruptions: Interruptions) -> int:
    options, given = read_options(SimulateOptions, argv, prog=PROG, description=ABOUT)
    _check_outputs(options, options.output.out)
    setup = _prepare(options, given, argv)
    options = setup.options
    traj = _integrate(setup, setup.acting, options.output.out, interruptions)
    if interruptions.received != HANGUP:
        written = _draw(options, traj)
        if not options.output.quiet:
            from flow.cli import report

            W0 = setup.start.W if options.output.census else None
            for line in report.summary(
                traj,
                report.expected_counts(traj),
                W0=W0,
                superposition=options.output.superposition,
            ):
                print(line)
            if written:
                print(f"{'written':<14}{', '.join(written)}")
    return _exit_code(options, [traj], interruptions)


def _compare(argv: list[str], interruptions: Interruptions) -> int:
    _refuse_switches(argv)
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
    options = setup.options
    runs: dict[str, Trajectory] = {}
    films: dict[str, Film] = {}
    for name in names:
        if not output.quiet:
            print(f"{name} ...", file=sys.stderr, flush=True)
        besides = setup.acting - set(PAPER_FORCES)
        traj = _integrate(setup, {*FORCE_SETS[name], *besides}, files[name], interruptions)
        runs[name] = traj
        if traj.film is not None:
            films[name] = traj.film
        if traj.status.name == "INTERRUPTED" or interruptions.received is not None:
            break
    if interruptions.received == HANGUP:
        return _exit_code(options, list(runs.values()), interruptions)
    if output.plot is not None:
        from flow.pictures import plots, shown
        from flow.pictures.law import closed_form

        drawn = {name: traj for name, traj in runs.items() if shown.drawable(traj)}
        laws = {name: closed_form(traj) for name, traj in drawn.items()}
        if drawn:
            plots.write_figure(plots.comparison(drawn, films, laws), output.plot)
    if not output.quiet:
        from flow.cli import report

        if setup.changed:
            print(f"changed: {setup.changed}")
        expected = {name: report.expected_counts(traj) for name, traj in runs.items()}
        for line in report.comparison(runs, expected):
            print(line)
        written = [*(str(files[name]) for name in runs if files[name]), *_shown(output.plot)]
        if written:
            print(f"written: {', '.join(written)}")
    return _exit_code(options, list(runs.values()), interruptions)


# Before the run ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setup(Generic[Options]):
    """Everything about the runs of a command but their forces."""

    options: Options
    """With what the file of --init had in the place of flags that were not given."""
    given: Given
    start: SavedWeights
    earlier: tuple[Force, ...] | None
    """The forces of the file; None where there is no file, or none in it."""
    acting: set[str]
    """Names of the forces that act, by their flags."""
    changed: str
    """What flags changed of what the file had, in words."""
    saves: list[float] | None
    argv: list[str]
    """Recorded with the runs."""


def _prepare(options: Options, given: Given, argv: list[str]) -> _Setup[Options]:
    """Read or draw the start and settle all options; sizes are checked before W is drawn."""
    from flow.cli.forces import acting, inherit, saved_forces

    start, earlier, changed = None, None, ""
    if options.start.init is not None:
        start = _read_start(options, given)
        if "forces" in start.parameters:
            earlier = saved_forces(start.parameters)
            options = inherit(options, given, start.parameters)
    names = acting(options, given, earlier)
    if start is None:
        start = _drawn_start(options, names)
    else:
        if "dtype" in given:
            start = replace(start, W=start.W.astype(options.problem.dtype))
        n, m = start.W.shape
        _check_memory(options, names, n, m, str(start.W.dtype))
        if earlier is not None:
            changed = _changed(options, given, names, earlier, start.parameters)
    saves = _save_times(options, start)
    return _Setup(options, given, start, earlier, names, changed, saves, argv)


def _drawn_start(options: Options, names: Collection[str]) -> SavedWeights:
    problem, wish = options.problem, options.start
    _check_memory(options, names, problem.n, problem.m, problem.dtype)
    from flow.initial import gaussian_init
    from flow.results.weights import SavedWeights

    W = gaussian_init(problem.n, problem.m, seed=wish.seed, scale=wish.scale, dtype=problem.dtype)
    return SavedWeights(W, 0.0, {"seed": wish.seed, "scale": wish.scale})


def _read_start(options: Options, given: Given) -> SavedWeights:
    """The weights that --init names; InputError for flags that they contradict."""
    from flow.cli.files import read_init

    problem, wish = options.problem, options.start
    assert wish.init is not None
    start = read_init(wish.init, wish.init_time)
    for name, wanted, found in zip(("n", "m"), (problem.n, problem.m), start.W.shape, strict=True):
        if name in given and wanted != found:
            raise InputError(
                f"--{name}: expected {found}, as in {wish.init}, got {wanted}; leave --{name} out"
            )
    t_end = options.integration.t_end
    if t_end is not None and t_end < start.t:
        raise InputError(
            f"--t-end: expected a flow time >= {start.t:g}, where {wish.init} was saved, got "
            f"{t_end:g}"
        )
    return start


def _changed(
    options: Options,
    given: Given,
    names: Collection[str],
    earlier: Sequence[Force],
    parameters: Mapping[str, Any],
) -> str:
    """What flags change of what the file of --init had, in words."""
    from flow.cli.forces import changes, described, forces_of

    before, after = described(earlier), described(forces_of(options, given, names, earlier))
    now = {"rtol": f"{options.integration.rtol:g}", "dtype": options.problem.dtype}
    for name in ("rtol", "dtype"):
        if name in given and name in parameters:
            old = parameters[name]
            before[name] = old if isinstance(old, str) else f"{old:g}"
            after[name] = now[name]
    return changes(before, after)


def _refuse_switches(argv: Sequence[str]) -> None:
    """InputError for a switch of a force: what `compare` runs under has a flag of its own."""
    switches = flag_names(ForceFlags)
    for word in argv:
        name = word.removeprefix("--").removeprefix("no-").replace("_", "-")
        if word.startswith("--") and name in switches:
            raise InputError(
                f"expected --subsets to say what compare runs under, got {word}; add --subsets "
                f"all no-interference, say"
            )


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
    times = start.t + np.geomspace(first, span, count)[:-1]
    last = start.t + span if t_end is None else t_end
    return sorted({start.t, *(min(float(t), last) for t in times), last})


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


def _check_memory(
    options: SimulateOptions | CompareOptions, names: Collection[str], n: int, m: int, dtype: str
) -> None:
    """InputError for a run with W : (n, m), or runs to compare, that memory has no room for.

    names : the forces that act in a single run.
    """
    from flow.driver.filming import film_bytes
    from flow.driver.memory import available_bytes, run_bytes

    if isinstance(options, SimulateOptions):
        runs, interference = 1, "Interference" in names
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


def _integrate(
    setup: _Setup[Any], names: Collection[str], out: Path | None, interruptions: Interruptions
) -> Trajectory:
    """A run under the forces of these names, saved to `out`.

    Ctrl-C and its like end it after the step that is being made, and a second one at once; what was
    reached is saved, and a file that is being written is written to its end.
    """
    from flow.driver.progress import compiling_said
    from flow.results.status import Status

    said = compiling_said(not setup.options.output.quiet)
    try:
        with said, interruptions.waiting():
            sim = _simulation(setup, names, _Keeper(setup.options, out, interruptions))
            if interruptions.received is None:
                with suppress(KeyboardInterrupt):
                    sim.run(
                        setup.options.integration.t_end,
                        progress=_shows_progress(setup.options, setup.given),
                    )
            with interruptions.ignored():
                traj = sim.trajectory()
                if sim.status is None:  # it came before the first step
                    traj = replace(
                        traj, status=Status.INTERRUPTED, message=f"interrupted at t = {sim.t:g}"
                    )
                if out is not None:
                    traj.save(out)
    except (ValueError, ImportError, NotImplementedError) as error:
        raise InputError(str(error)) from error
    except MemoryError as error:
        raise InputError(
            f"expected a run that fits in memory, got one that does not ({error}); lower --n or --m"
        ) from error
    return traj


@dataclass
class _Keeper:
    """Called after every accepted step: ends the run when it is asked to, saves it now and then."""

    options: SimulateOptions | CompareOptions
    out: Path | None
    interruptions: Interruptions
    last: float = field(default_factory=time.monotonic)
    """When the run was last saved, or begun."""

    def __call__(self, sim: Simulation) -> None:
        if self.interruptions.received is not None:
            raise KeyboardInterrupt
        every = self.options.output.checkpoint
        if every is None or self.out is None or time.monotonic() - self.last < every:
            return
        with self.interruptions.ignored():
            sim.trajectory().save(self.out)
        self.last = time.monotonic()


def _simulation(setup: _Setup[Any], names: Collection[str], callback: Callback) -> Simulation:
    """The run at its start: a run of a file that nothing is changed of goes on where it ended."""
    from flow.cli.forces import forces_of
    from flow.driver.simulation import Simulation

    options, given, start = setup.options, setup.given, setup.start
    how, wish, run = options.integration, options.start, start.run
    forces = tuple(forces_of(options, given, names, setup.earlier))
    goes_on = (
        run is not None
        and run.checkpoint is not None
        and forces == setup.earlier
        and start.W.dtype == run.final.dtype
    )
    about = dict(start.about)
    if wish.init is not None:
        before = about
        if run is not None and run.metadata.get("goes_on"):
            # The parts of a run that went on are one run, of which the start is remembered.
            before = run.metadata["init_about"]
        about = {"init": str(wish.init), "init_time": start.t, "init_about": before}
        about |= {"goes_on": goes_on} | ({"changed": setup.changed} if setup.changed else {})
    settings: dict[str, Any] = {
        "save_at": setup.saves,
        "rtol": how.rtol,
        "threads": how.threads,
        "max_steps": how.max_steps,
        "max_seconds": math.inf if how.max_seconds is None else how.max_seconds,
        "film": _film_bytes(options),
        "events": options.output.census,
        "metadata": {**about, "command": shlex.join([*PROG.split(), *setup.argv])},
        "callback": callback,
        "inside": False,
    }
    backend = how.backend
    if "backend" not in given and (goes_on or start.parameters.get("backend") == "diffrax"):
        backend = start.parameters["backend"]
    if goes_on:
        assert run is not None
        return Simulation.resume(run, backend=backend, **settings)
    return Simulation(forces, start.W, t_start=start.t, backend=backend, **settings)


def _shows_progress(options: SimulateOptions | CompareOptions, given: Given) -> bool:
    output = options.output
    return shows_bar(output.progress, output.quiet, "progress" in given)


def _exit_code(
    options: SimulateOptions | CompareOptions,
    runs: Sequence[Trajectory],
    interruptions: Interruptions,
) -> int:
    if interruptions.received is not None:
        return 128 + interruptions.received
    names = {traj.status.name for traj in runs}
    if "INTERRUPTED" in names:
        return 128 + signal.SIGINT
    reached = {"STATIONARY", "REACHED_T_END"} | (set() if options.output.strict else {"SADDLE"})
    return 0 if names <= reached else 1


# After the run -----------------------------------------------------------------------------------


def _draw(options: SimulateOptions, traj: Trajectory) -> list[str]:
    """Draw what was asked for; returns the names of all files, the run's first.

    Of a run that failed there is no picture; its summary says why.
    """
    output = options.output
    film = traj.film
    if any(path is not None for path in (output.plot, output.animate, output.bipartite)):
        from flow.pictures import plots, shown
        from flow.pictures.law import closed_form

        if not shown.drawable(traj):
            return _shown(output.out)
        if film is not None and output.plot is not None:
            plots.write_figure(plots.single_run(traj, film, closed_form(traj)), output.plot)
        if film is not None and output.animate is not None:
            plots.write_animation(traj, film, output.animate)
        if output.bipartite is not None:
            plots.write_figure(plots.bipartite(traj), output.bipartite)
    pictures = (output.plot, output.animate, output.bipartite)
    return [*_shown(output.out), *(name for path in pictures for name in _shown(path))]
