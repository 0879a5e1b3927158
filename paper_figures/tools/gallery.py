"""Making figures: which there are, from numbers to files, the command line, the gallery."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import tyro
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from benchmarks.command import command_line
from flow.cli.flags import InputError
from flow.results.files import write_text, written_aside
from paper_figures import FIGURES
from paper_figures.tools import style
from paper_figures.tools.cache import Data, cached, code, key

HERE = Path(__file__).parents[1]
FRAME_SECONDS, LAST_FRAME_SECONDS = 0.1, 2.5
"""How long frames of a film stand."""

Film = list[Image.Image]


class FigureModule(Protocol):
    """What a module of a figure has."""

    __doc__: str | None
    __file__: str | None
    FULL: Any
    """Frozen dataclass of parameters."""
    FAST: Any
    """The same, for a small version in seconds."""

    @staticmethod
    def compute(p: Any) -> Data:
        """Numbers from parameters."""

    @staticmethod
    def plot(data: Any) -> Figure | Film:
        """A picture, or the frames of a film, from numbers alone."""


@dataclass(frozen=True)
class Options:
    """How figures are made."""

    fast: bool = False
    """small versions, in a folder of their own"""
    pdf: bool = False
    """write PDF besides PNG"""
    out: Path | None = None
    """folder to write to (default: this package's, with --fast its folder fast)"""
    cache: Path = HERE / "cache"
    """folder for the numbers"""
    fresh: bool = False
    """compute anew what is kept there"""


def load(name: str) -> FigureModule:
    """The module of a figure."""
    module: Any = importlib.import_module(f"paper_figures.{name}")
    return module


def named(wanted: Sequence[str]) -> list[str]:
    """Names of figures from their beginnings (``fig3``), all for none; InputError if unknown."""
    found: list[str] = []
    for word in wanted or FIGURES:
        fits = [name for name in FIGURES if name == word] or [
            name for name in FIGURES if name.startswith(word)
        ]
        if not fits:
            raise InputError(
                f"expected names of figures, got {word!r}; known: {', '.join(FIGURES)}"
            )
        found += [name for name in fits if name not in found]
    return found


def numbers(name: str, options: Options) -> Data:
    """The numbers of a figure, computed or as they were kept."""
    module = load(name)
    p = module.FAST if options.fast else module.FULL
    # A figure that draws what was measured before says which files it reads.
    read = [HERE.parent / file for file in getattr(p, "files", ())]
    digits = key(name, asdict(p), [*code(), Path(str(module.__file__)), *read])
    path = options.cache / f"{name}-{digits}.npz"
    return cached(path, lambda: module.compute(p), fresh=options.fresh)


def make(name: str, options: Options) -> list[Path]:
    """Make one figure; returns its files."""
    folder = _folder(options)
    folder.mkdir(parents=True, exist_ok=True)
    data = numbers(name, options)
    with style.in_style():
        picture = load(name).plot(data)
    if not isinstance(picture, Figure):
        path = folder / f"{name}{suffix(name)}"
        save_film(picture, path)
        return [path]
    paths = [folder / f"{name}{kind}" for kind in (".png", *([".pdf"] if options.pdf else []))]
    for path in paths:
        style.save(picture, path)
    return paths


def suffix(name: str) -> str:
    """Of the file of a figure."""
    return ".gif" if name == "animation" else ".png"


def _folder(options: Options) -> Path:
    return options.out or (HERE / "fast" if options.fast else HERE)


def save_film(frames: Film, path: Path) -> None:
    """Write frames as a GIF that repeats; the last one stands for a while."""
    last = len(frames) - 1
    stands = [
        round(1e3 * (FRAME_SECONDS if k < last else LAST_FRAME_SECONDS)) for k in range(len(frames))
    ]
    with written_aside(path) as file:
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:],
                       duration=stands, loop=0, optimize=True)  # fmt: skip


# Gallery -----------------------------------------------------------------------------------------


def gallery(fast: bool = False) -> str:
    """The page of all figures: each with what it shows, its command and its parameters."""
    flag = " --fast" if fast else ""
    parts = [
        "# Figures\n",
        f"All of them: `python -m paper_figures{flag}`. Each picture is made from the parameters"
        " under it and from nothing else; the same numbers give the same file, bit by bit."
        " This page is generated from the modules' docstrings.\n",
    ]
    for name in FIGURES:
        module = load(name)
        p = module.FAST if fast else module.FULL
        about = inspect.cleandoc(module.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        given = ", ".join(f"{key} = {_shown(value)}" for key, value in asdict(p).items())
        parts.append(
            f"## {name}\n\n![{name}]({name}{suffix(name)})\n\n{about}\n\n"
            f"`python -m paper_figures {name}{flag}` ({given})\n"
        )
    return "\n".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


# Command line ------------------------------------------------------------------------------------


def figures(
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    options: tyro.conf.OmitArgPrefixes[Options] = Options(),
) -> None:
    """Make figures, all of them if none is named; the beginning of a name is enough.

    Args:
        names: figures to make, such as fig3.
        options: how they are made.
    """
    bar = tqdm(named(names), unit="figure", disable=None)
    for name in bar:
        bar.set_postfix_str(name)
        for path in make(name, options):
            tqdm.write(str(path), file=sys.stdout)
    page = _folder(options) / "README.md"
    write_text(page, gallery(options.fast))


def main(module: str) -> None:
    """The command line of one figure, by the file of its module."""
    name = Path(module).stem

    def one(options: tyro.conf.OmitArgPrefixes[Options] = Options()) -> None:
        for path in make(name, options):
            print(path)

    one.__doc__ = f"Make the figure {name}."
    command_line(one)
