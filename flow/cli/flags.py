"""Flags of any command line: what they accept, how they are read, what is said of wrong ones.

Nothing here imports NumPy, so that help and complaints come at once.
"""

import dataclasses
import difflib
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from flow.defaults import DEGREES, check_degrees


class InputError(Exception):
    """Something the user gave cannot be used: one line with expected, got and remedy."""


# Running -----------------------------------------------------------------------------------------


def exit_code(command: Callable[[list[str]], int], argv: Sequence[str] | None) -> int:
    """The exit code of a command line `argv` (default: this process's), its errors in one line.

    2 for input that cannot be used, 130 after Ctrl-C, else what `command` returns.
    """
    try:
        code = command(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except InputError as error:
        return complain(error, 2)
    except BrokenPipeError:
        # Whoever reads has seen enough; nothing more is to be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return complain(f"expected files that can be written, got: {error}", 2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def complain(error: object, code: int) -> int:
    """Say what is wrong, in one line; returns `code`."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    return code


def shows_bar(progress: bool, quiet: bool, asked: bool) -> bool:
    """Whether to show a bar: unless told not to, on a terminal or where it was asked for."""
    return progress and not quiet and (asked or sys.stderr.isatty())


# Values ------------------------------------------------------------------------------------------


def value_spec(
    flag: str, metavar: str, read: Callable[[str], Any]
) -> PrimitiveConstructorSpec[Any]:
    """One value of a flag; any number of tokens is taken in, to refuse the wrong ones here."""

    def instance(tokens: list[str]) -> Any:
        if len(tokens) != 1:
            raise InputError(f"--{flag}: expected one value, got {' '.join(tokens) or 'none'}")
        return read(tokens[0])

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=metavar,
        instance_from_str=instance,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [] if value is None else [str(value)],
    )


def whole(flag: str, low: int) -> PrimitiveConstructorSpec[Any]:
    """A whole number >= low."""

    def read(token: str) -> int:
        try:
            value = int(token)
        except ValueError:
            value = low - 1
        if value < low:
            raise InputError(f"--{flag}: expected a whole number >= {low}, got {token!r}")
        return value

    return value_spec(flag, "N", read)


def number(
    flag: str, what: str, *, low: float = 0.0, high: float = math.inf, remedy: str = ""
) -> PrimitiveConstructorSpec[Any]:
    """A finite number in [low, high); (low, high) where `what` says "> 0"."""

    def read(token: str) -> float:
        try:
            value = float(token)
        except ValueError:
            value = math.nan
        inside = low < value < high if "> 0" in what else low <= value < high
        if not inside:
            raise InputError(f"--{flag}: expected {what}, got {token!r}{remedy}")
        return value

    return value_spec(flag, "X", read)


def choice(flag: str, choices: Sequence[str]) -> PrimitiveConstructorSpec[Any]:
    """One of some words."""

    def read(token: str) -> str:
        if token not in choices:
            raise InputError(
                f"--{flag}: expected one of {', '.join(choices)}, got {token!r}"
                f"{nearest(token, choices)}"
            )
        return token

    return value_spec(flag, "{" + ",".join(choices) + "}", read)


def file_name(flag: str, *suffixes: str) -> PrimitiveConstructorSpec[Any]:
    """A path whose name has one of the suffixes."""

    def read(token: str) -> Path:
        path = Path(token)
        if not token or (suffixes and path.suffix.lower() not in suffixes):
            raise InputError(
                f"--{flag}: expected a file name that ends in {' or '.join(suffixes) or 'anything'}"
                f", got {token!r}"
            )
        return path

    return value_spec(flag, f"FILE{suffixes[0]}" if suffixes else "FILE", read)


def _degrees(token: str) -> int:
    try:
        return check_degrees(float(token))
    except ValueError as error:
        raise InputError(f"--degrees: expected {DEGREES}, got {token!r}") from error


DEGREES_OF_FREEDOM = value_spec("degrees", "N", _degrees)
"""--degrees of Student-t noise."""
MaxSeconds = Annotated[
    float | None,
    number("max-seconds", "a number of seconds > 0"),
    tyro.conf.arg(help_behavior_hint="(default: no limit)"),
]
"""--max-seconds."""
SavedRun = Annotated[
    Path | None,
    file_name("out", ".npz"),
    tyro.conf.arg(help_behavior_hint="(default: not saved)"),
]
"""--out of a run."""


def _save_times(tokens: list[str]) -> tuple[str, ...]:
    """Times, or the single word log:N, checked but still as text: log:N needs the end."""
    words = [word for token in tokens for word in token.split(",")]
    expected = "--save-at: expected increasing flow times >= 0, or log:N with N >= 1"
    if len(words) == 1 and words[0].startswith("log:"):
        if not words[0][4:].isdecimal() or int(words[0][4:]) < 1:
            raise InputError(f"{expected}, got {words[0]!r}")
        return tuple(words)
    try:
        times = [float(word) for word in words]
    except ValueError:
        times = []
    if not times or not all(0.0 <= t < math.inf for t in times) or times != sorted(set(times)):
        raise InputError(f"{expected}, got {' '.join(tokens) or 'nothing'!r}")
    return tuple(words)


SAVE_TIMES: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
    nargs="*",
    metavar="T ... | log:N",
    instance_from_str=_save_times,
    is_instance=lambda value: True,
    str_from_instance=lambda value: [] if value is None else list(value),
)


def check_output(flag: str, path: Path, *, overwrite: bool) -> None:
    """Raise InputError unless `path` can be written without losing anything."""
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"--{flag}: expected a folder that exists, got {folder}; make it first")
    if path.is_dir():
        raise InputError(f"--{flag}: expected a file, got the folder {path}")
    if path.exists() and not overwrite:
        raise InputError(
            f"--{flag}: expected a new file, got {path}, which exists; --overwrite replaces it"
        )
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"--{flag}: expected a folder that can be written, got {folder}; choose another"
        )


# Reading -----------------------------------------------------------------------------------------

Flags = TypeVar("Flags")


def parse_flags(
    kind: type[Flags], argv: Sequence[str], default: Flags, prog: str, description: str
) -> Flags:
    """The dataclass `kind` from flags; fields that are dataclasses are groups of flags.

    Raises InputError with one line; SystemExit(0) after --help.
    """
    shape: Any = tyro.conf.OmitArgPrefixes
    options, unknown = tyro.cli(
        shape[kind],
        args=list(argv),
        default=default,
        prog=prog,
        description=description,
        return_unknown_args=True,
    )
    if unknown:
        word = unknown[0]
        if word.startswith("--"):
            names = flag_names(kind)
            flags = [f"--{name}" for name in names]
            flags += [f"--no-{name}" for name, is_switch in names.items() if is_switch]
            raise InputError(
                f"expected a known flag, got {word}{nearest(word, flags)}; --help lists them"
            )
        raise InputError(f"expected a flag, got {word!r}; every value follows a --flag of its own")
    return options


def flag_names(kind: type) -> dict[str, bool]:
    """Name of every flag, and whether it is a switch."""
    names: dict[str, bool] = {}
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default):
            names |= flag_names(type(field.default))
        else:
            names[field.name.replace("_", "-")] = field.type is bool
    return names


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?" where a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def one_line(error: object) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())
