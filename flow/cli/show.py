"""The command line of flow.show: a saved run, told and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flow.cli.flags import (
    InputError,
    check_output,
    exit_code,
    file_name,
    named_flags,
    parse_flags,
)

PROG = "python -m flow.show"


@named_flags
@dataclass(frozen=True)
class ShowFlags:
    """What is said of the run, and what is drawn."""

    plot: Annotated[Path | None, file_name(".png", ".pdf", ".svg", hint="(default: none)")] = None
    """draw the run: weights, norms, energies, final W"""
    animate: Annotated[Path | None, file_name(".gif", ".mp4", hint="(default: none)")] = None
    """film of W and the energies; mp4 needs ffmpeg"""
    bipartite: Annotated[Path | None, file_name(".png", ".pdf", ".svg", hint="(default: none)")] = (
        None
    )
    """draw which feature is on which neuron at the end"""
    census: bool = False
    """add the collisions of the start and what became of the winners; for a run that kept its
    start"""
    superposition: bool = False
    """add how far directions and neurons are shared"""
    overwrite: bool = False
    """replace files that exist"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return its exit code."""
    return exit_code(_show, argv)


def _show(argv: list[str]) -> int:
    flags = argv if not argv or argv[0].startswith("-") else argv[1:]
    about = f"{PROG} FILE.npz"
    wanted = parse_flags(ShowFlags, flags, ShowFlags(), about, "A saved run, told and drawn.")
    if flags is argv:
        raise InputError("expected FILE.npz, a run saved with --out, before the flags, got none")
    pictures = {
        "plot": wanted.plot,
        "animate": wanted.animate,
        "bipartite": wanted.bipartite,
    }
    for flag, path in pictures.items():
        if path is not None:
            check_output(flag, path, overwrite=wanted.overwrite)

    from flow.cli import report
    from flow.results.trajectory import Trajectory

    try:
        run = Trajectory.load(argv[0])
    except OSError as error:
        raise InputError(
            f"expected a run that can be read, got {argv[0]} ({error.strerror}); check the path"
        ) from error
    except ValueError as error:
        raise InputError(str(error)) from error
    start = None
    if wanted.census:
        if run.times[0] != run.parameters["t_start"]:
            raise InputError(
                f"--census: expected a run that kept its start, got {argv[0]}, whose first weights "
                f"are of t = {run.times[0]:g}; save at {run.parameters['t_start']:g} too"
            )
        start = run.weights[0]
    expected = report.expected_counts(run)
    for line in report.summary(run, expected, W0=start, superposition=wanted.superposition):
        print(line)
    if any(pictures.values()):
        from flow.pictures import plots, shown

        if not shown.drawable(run):
            raise InputError(
                f"expected a run with finite weights to draw, got {run.status.name}: {run.message}"
            )
        if wanted.plot is not None:
            plots.write_figure(shown.plot(run), wanted.plot)
        if wanted.animate is not None:
            shown.animate(run, wanted.animate)
        if wanted.bipartite is not None:
            plots.write_figure(plots.bipartite(run), wanted.bipartite)
        print(f"{'written':<14}{', '.join(str(path) for path in pictures.values() if path)}")
    return 0
