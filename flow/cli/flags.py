"""Flags of any command line: what they accept, how they are read, what is said of wrong ones.

Nothing here imports NumPy, so that help and complaints come at once.
"""

import dataclasses
import difflib
import io
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from flow.cli.interruption import Interruptions
from flow.defaults import DEGREES, NOISE_LAWS, split_noise_law
from flow.version import __version__


class InputError(Exception):
    """Something the user gave cannot be used: one line with expected, got and remedy."""


# Running -----------------------------------------------------------------------------------------


def exit_code(command: Callable[[list[str]], int], argv: Sequence[str] | None) -> int:
    """The exit code of a command line `argv` (default: this process's), its errors in one line.

    2 for input that cannot be used, 128 + its number for a signal that asked it to end (130 after
    Ctrl-C, 143 SIGTERM, 129 SIGHUP), else what `command` returns. ``--version`` is
    answered here. What the encoding of stdout does not have is printed as "?".
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        if "--version" in words:
            print(f"incidental-flow {__version__}")
            return 0
        with Interruptions() as interruptions:
            code = command(words)
            sys.stdout.flush()
        return code if interruptions.received is None else 128 + interruptions.received
    except InputError as error:
        return complain(error, 2)
    except BrokenPipeError:
        # Whoever reads has seen enough; nothing more is to be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return complain(f"expected files that can be written, got: {error}", 2)
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        # It came while an import made a class, where Python raises another error from it.
        return _interrupted(cause)


def _interrupted(error: KeyboardInterrupt) -> int:
    print("interrupted", file=sys.stderr)
    return 128 + int(getattr(error, "number", signal.SIGINT))


def complain(error: object, code: int) -> int:
    """Say what is wrong, in one line; returns `code`."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    return code


def shows_bar(progress: bool, quiet: bool, asked: bool) -> bool:
    """Whether to show a bar: unless told not to, on a terminal or where it was asked for."""
    return progress and not quiet and (asked or sys.stderr.isatty())


# Values ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """What a flag takes. In the annotation of a field it learns its name: :func:`named_flags`."""

    metavar: str
    read: Callable[[list[str]], Any]
    """From the words that follow the flag, all that there are; ValueError for the wrong ones."""
    hint: str = ""
    """What help says of the default, where that is None."""

    def spec(self, flag: str) -> PrimitiveConstructorSpec[Any]:
        """The same for tyro; what is refused is an InputError that names the flag."""

        def instance(words: list[str]) -> Any:
            try:
                return self.read(words)
            except ValueError as error:
                raise InputError(f"--{flag}: {error}") from error

        return PrimitiveConstructorSpec(
            nargs="*",  # so that a wrong number of words is refused here as well
            metavar=self.metavar,
            instance_from_str=instance,
            is_instance=lambda value: True,
            str_from_instance=_words,
        )


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(part) for part in value] if isinstance(value, tuple) else [str(value)]


Group = TypeVar("Group")


def named_flags(group: type[Group]) -> type[Group]:
    """Give every :class:`Value` in the annotations of a class the name of its field as a flag."""
    for name, hint in get_type_hints(group, include_extras=True).items():
        group.__annotations__[name] = _named(hint, name.replace("_", "-"))
    return group


def _named(hint: Any, flag: str) -> Any:
    if get_origin(hint) is not Annotated:
        return hint
    kind, value = get_args(hint)
    annotated: Any = Annotated
    if value.hint:
        return annotated[kind, value.spec(flag), tyro.conf.arg(help_behavior_hint=value.hint)]
    return annotated[kind, value.spec(flag)]


def value(metavar: str, read: Callable[[str], Any], *, hint: str = "") -> Value:
    """A single word."""

    def read_one(words: list[str]) -> Any:
        if len(words) != 1:
            raise ValueError(f"expected one value, got {' '.join(words) or 'none'}")
        return read(words[0])

    return Value(metavar, read_one, hint)


def whole(low: int, *, hint: str = "") -> Value:
    """A whole number >= low."""

    def read(word: str) -> int:
        try:
            found = int(word)
        except ValueError:
            found = low - 1
        if found < low:
            raise ValueError(f"expected a whole number >= {low}, got {word!r}")
        return found

    return value("N", read, hint=hint)


def wholes(low: int, *, hint: str = "") -> Value:
    """One or more whole numbers >= low."""
    one = whole(low)

    def read(words: list[str]) -> tuple[int, ...]:
        if not words:
            raise ValueError(f"expected whole numbers >= {low}, got none")
        return tuple(one.read([word]) for word in words)

    return Value("N ...", read, hint)


def number(
    what: str, *, low: float = 0.0, high: float = math.inf, remedy: str = "", hint: str = ""
) -> Value:
    """A finite number in [low, high); (low, high) where `what` says "> 0"."""

    def read(word: str) -> float:
        try:
            found = float(word)
        except ValueError:
            found = math.nan
        inside = low < found < high if "> 0" in what else low <= found < high
        if not inside:
            raise ValueError(f"expected {what}, got {word!r}{remedy}")
        return found

    return value("X", read, hint=hint)


def choice(choices: Sequence[str], *, hint: str = "") -> Value:
    """One of some words."""

    def read(word: str) -> str:
        if word not in choices:
            raise ValueError(
                f"expected one of {', '.join(choices)}, got {word!r}{nearest(word, choices)}"
            )
        return word

    return value("{" + ",".join(choices) + "}", read, hint=hint)


def file_name(*suffixes: str, hint: str = "") -> Value:
    """A path whose name has one of the suffixes."""

    def read(word: str) -> Path:
        path = Path(word)
        if not word or path.suffix.lower() not in suffixes:
            raise ValueError(
                f"expected a file name that ends in {' or '.join(suffixes)}, got {word!r}"
            )
        return path

    return value(f"FILE{suffixes[0]}", read, hint=hint)


def _save_times(words: list[str]) -> tuple[str, ...]:
    """Times, or the single word log:N, checked but still as text: log:N needs the end."""
    parts = [part for word in words for part in word.split(",")]
    expected = "expected increasing flow times >= 0, or log:N with N >= 1"
    if len(parts) == 1 and parts[0].startswith("log:"):
        if not parts[0][4:].isdecimal() or int(parts[0][4:]) < 1:
            raise ValueError(f"{expected}, got {parts[0]!r}")
        return tuple(parts)
    try:
        times = [float(part) for part in parts]
    except ValueError:
        times = []
    if not times or not all(0.0 <= t < math.inf for t in times) or times != sorted(set(times)):
        raise ValueError(f"{expected}, got {' '.join(words) or 'nothing'!r}")
    return tuple(parts)


def _noise_law(word: str) -> str:
    if word == "none":
        return word
    try:
        split_noise_law(word)
    except ValueError as error:
        known = ["none", *(law if law != "student-t" else "student-t:5" for law in NOISE_LAWS)]
        meant = NOISE_SYNONYMS.get(word.lower())
        hint = f"; did you mean {meant}?" if meant else nearest(word, known)
        raise ValueError(
            f"expected one of {', '.join(known)}, where 5 stands for {DEGREES}, got {word!r}{hint}"
        ) from error
    return word


NOISE_SYNONYMS = {
    "gaussian": "normal",
    "gauss": "normal",
    "rademacher": "bipolar",
    "binary": "bipolar",
    "sign": "bipolar",
    "student": "student-t:5",
    "student-t": "student-t:5",
    "t": "student-t:5",
}
"""What else laws of noise are called."""

_LAWS = ",".join(law if law != "student-t" else f"{law}:DF" for law in ("none", *NOISE_LAWS))
NoiseLaw = Annotated[str, value(f"{{{_LAWS}}}", _noise_law)]
"""A law of hidden noise, or "none"."""
MaxSeconds = Annotated[float | None, number("a number of seconds > 0", hint="(default: no limit)")]
"""A limit on wall-clock time."""
SavedRun = Annotated[Path | None, file_name(".npz", hint="(default: not saved)")]
"""The file of a run."""
SaveTimes = Annotated[
    tuple[str, ...] | None, Value("T ... | log:N", _save_times, "(default: start and end)")
]
"""Flow times at which W is kept."""


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
        description=f"{description} --version says which version this is.".lstrip(),
        return_unknown_args=True,
    )
    if unknown:
        word = unknown[0]
        if word.startswith("--"):
            names = flag_names(kind)
            flags = [f"--{name}" for name in names]
            flags += [f"--no-{name}" for name, is_switch in names.items() if is_switch]
            given = word.split("=")[0].replace("_", "-")
            meant = [flag for flag in FLAG_SYNONYMS.get(given, ()) if flag in flags]
            hint = f"; did you mean {meant[0]}?" if meant else nearest(given, flags)
            raise InputError(f"expected a known flag, got {given}{hint}; --help lists them")
        raise InputError(f"expected a flag, got {word!r}; every value follows a --flag of its own")
    return options


FLAG_SYNONYMS = {
    "--lambda": ("--lam",),
    "--l1": ("--lam",),
    "--l2": ("--mu", "--penalty"),
    "--weight-decay": ("--mu",),
    "--degrees": ("--noise",),
    "--features": ("--n",),
    "--neurons": ("--m",),
}
"""What else flags are called; the first that a command has is meant."""


def flag_types(kind: type) -> dict[str, Any]:
    """Type of what every flag sets, by the name of the flag."""
    types: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default):
            types |= flag_types(type(field.default))
        else:
            types[field.name.replace("_", "-")] = hints[field.name]
    return types


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
