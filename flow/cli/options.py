"""The flags of a run: what they are called, how files set them, which do not go together.

Nothing here imports NumPy, so that help and complaints come at once.
"""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from flow.cli.flags import (
    InputError,
    MaxSeconds,
    NoiseLaw,
    SavedRun,
    SaveTimes,
    Value,
    choice,
    file_name,
    flag_names,
    flag_types,
    named_flags,
    nearest,
    number,
    one_line,
    parse_flags,
    whole,
)
from flow.defaults import BACKENDS, DEFAULT_RTOL, DTYPES, FORCE_SETS


def _subsets(tokens: list[str]) -> tuple[str, ...]:
    for token in tokens:
        if token not in FORCE_SETS:
            raise ValueError(
                f"expected some of {', '.join(FORCE_SETS)}, got {token!r}"
                f"{nearest(token, FORCE_SETS)}"
            )
    if not tokens or len(set(tokens)) < len(tokens):
        raise ValueError(
            f"expected different subsets, at least one, got {' '.join(tokens) or 'none'}"
        )
    return tuple(tokens)


# Groups ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
@named_flags
class ProblemFlags:
    """What is simulated: dW/dt = feature benefit - interference - lam sign(W) - mu W."""

    n: Annotated[int, whole(1)] = 256
    """features, the rows of W"""
    m: Annotated[int, whole(1)] = 1024
    """neurons, the columns of W"""
    lam: Annotated[
        float,
        number("a number >= 0", remedy="; --no-regularization switches the force off"),
    ] = 0.01
    """strength λ of the l1 regularization"""
    c: Annotated[float, number("a number >= 0")] = 1.0
    """strength of feature benefit and interference; the paper's loss has 4, its text 1"""
    c_interference: Annotated[float | None, number("a number >= 0", hint="(default: as --c)")] = (
        None
    )
    """strength of interference, where it is another"""
    leak: Annotated[float, number("a number >= 0")] = 0.0
    """slope of the outputs below zero: 0 for ReLU, 1 for linear outputs"""
    co_occurrence: Annotated[float | None, number("a number between 0 and 1", hint="(off)")] = None
    """probability that a feature is on, in place of one feature at a time"""
    most_active: Annotated[int | None, whole(1)] = None
    """with --co-occurrence: features that are on at the most; any number without it"""
    mu: Annotated[float, number("a number >= 0")] = 0.0
    """strength μ of weight decay, the l2 regularization"""
    dtype: Annotated[str, choice(DTYPES)] = "float64"
    """precision of W"""


@dataclass(frozen=True)
class ForceFlags:
    """Which forces act."""

    feature_benefit: bool = True
    """c (1 - |W_i|²) W_i: pulls every encoding to unit length"""
    interference: bool = True
    """-c Σ_j ReLU(W_i·W_j) W_j: pushes overlapping encodings apart"""
    regularization: bool = True
    """-λ sign(W): shrinks every weight at the same speed"""


@dataclass(frozen=True)
@named_flags
class NoiseFlags:
    """Noise on the hidden layer: feature benefit and interference averaged over it."""

    noise: NoiseLaw = "none"
    """its distribution, the same on every neuron and independent; student-t:5 has 5 degrees of
    freedom"""
    sigma: Annotated[float, number("a number >= 0 and < 1e100", high=1e100)] = 0.1
    """its standard deviation"""


@dataclass(frozen=True)
@named_flags
class StartFlags:
    """Where W starts: random, or from a file."""

    seed: Annotated[int, whole(0)] = 0
    """seed of the normal start"""
    scale: Annotated[float, number("a number >= 0")] = 1.0
    """entries have standard deviation scale/√m; the paper's figure 2 has 0.9"""
    init: Annotated[Path | None, file_name(".npz", hint="(default: random start)")] = None
    """go on from this run or edited W, under its forces, rtol and dtype; flags that are given
    win"""
    init_time: Annotated[float | None, number("a flow time >= 0", hint="(default: its last)")] = (
        None
    )
    """which of the saved times of the --init file to start from"""


@dataclass(frozen=True)
@named_flags
class IntegrationFlags:
    """How far, how exactly, and what is kept."""

    t_end: Annotated[float | None, number("a flow time >= 0", hint="(default: until at rest)")] = (
        None
    )
    """flow time to stop at"""
    rtol: Annotated[float, number("a number > 0 and < 1", high=1.0)] = DEFAULT_RTOL
    """bound on the error of a step, per encoding"""
    backend: Annotated[str, choice(BACKENDS)] = "auto"
    """auto is exact (closed form) where rows do not act on each other, else numba"""
    save_at: SaveTimes = None
    """flow times at which W is kept; log:N spaces N evenly in log t up to --t-end, or to 1/λ"""
    max_steps: Annotated[int, whole(1)] = 100_000
    """give up after so many steps"""
    max_seconds: MaxSeconds = None
    """give up after so much time"""
    threads: Annotated[int | None, whole(1, hint="(default: all cores that may be used)")] = None
    """how many threads compute; no result depends on it"""


@dataclass(frozen=True)
@named_flags
class OutputFlags:
    """What is written and shown."""

    out: SavedRun = None
    """save the run here; --init continues from it"""
    checkpoint: Annotated[
        float | None, number("a number of seconds > 0", hint="(default: at the end alone)")
    ] = None
    """save it about every so many seconds of a long run too"""
    plot: Annotated[Path | None, file_name(".png", ".pdf", ".svg", hint="(default: none)")] = None
    """draw the run: weights, norms, energies, final W"""
    animate: Annotated[Path | None, file_name(".gif", ".mp4", hint="(default: none)")] = None
    """film of W and the energies; mp4 needs ffmpeg"""
    bipartite: Annotated[Path | None, file_name(".png", ".pdf", ".svg", hint="(default: none)")] = (
        None
    )
    """draw which feature is on which neuron at the end"""
    overwrite: bool = False
    """replace files that exist"""
    census: bool = False
    """log deaths and revivals of weights (saved with --out), and add the collisions of the start
    and what became of the winners to the summary"""
    superposition: bool = False
    """add to the summary how far directions and neurons are shared at the end"""
    progress: bool = True
    """show a bar in flow time (on a terminal only, unless asked for)"""
    quiet: bool = False
    """print nothing but errors"""
    strict: bool = False
    """exit with 1 where a run comes to rest on a saddle"""


@dataclass(frozen=True)
@named_flags
class FileFlags:
    """Flags from a file."""

    config: Annotated[Path | None, file_name(".toml", hint="(default: none)")] = None
    """TOML file with flags as keys, such as `n = 64`, `interference = false`; flags win"""


@dataclass(frozen=True)
class SimulateOptions:
    """One run."""

    problem: ProblemFlags = ProblemFlags()
    forces: ForceFlags = ForceFlags()
    noise: NoiseFlags = NoiseFlags()
    start: StartFlags = StartFlags()
    integration: IntegrationFlags = IntegrationFlags()
    output: OutputFlags = OutputFlags()
    file: FileFlags = FileFlags()


@dataclass(frozen=True)
@named_flags
class ComparisonFlags:
    """Which runs stand side by side."""

    subsets: Annotated[tuple[str, ...], Value("NAME ...", _subsets)] = (
        "all",
        "no-interference",
        "no-regularization",
        "no-feature-benefit",
    )
    """force subsets: all, no-FORCE or only-FORCE"""


@dataclass(frozen=True)
class CompareOptions:
    """The same start under several sets of forces."""

    comparison: ComparisonFlags = ComparisonFlags()
    problem: ProblemFlags = ProblemFlags()
    noise: NoiseFlags = NoiseFlags()
    start: StartFlags = StartFlags()
    integration: IntegrationFlags = IntegrationFlags()
    output: OutputFlags = OutputFlags()
    file: FileFlags = FileFlags()


# Reading -----------------------------------------------------------------------------------------

NUMBERS = (int, float, int | None, float | None)
"""Types of flags whose values are numbers in TOML."""

Options = TypeVar("Options", SimulateOptions, CompareOptions)


@dataclass(frozen=True)
class Given:
    """Which flags were set, by their names without dashes in front and without ``no-``."""

    flags: frozenset[str]
    config: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.flags or name in self.config


def read_options(
    kind: type[Options], argv: Sequence[str], *, prog: str, description: str
) -> tuple[Options, Given]:
    """Options from flags, then the --config file, then defaults; and which were set.

    Raises InputError with one line; SystemExit(0) after --help.
    """
    names = flag_names(kind)
    path = _config_path(argv)
    in_config: list[str] = [] if path is None else _tokens(path, names, flag_types(kind))
    try:
        # Of a flag that comes twice the last one counts: flags win.
        options = parse_flags(kind, [*in_config, *argv], kind(), prog, description)
    except InputError:
        if in_config:
            _blame_config(kind, in_config, prog, path)
        raise
    given = Given(_given(argv, names), _given(in_config, names))
    _check_conflicts(options, given)
    return options, given


def _blame_config(kind: type[Any], tokens: Sequence[str], prog: str, path: Path | None) -> None:
    """Raise an error that names the file if its settings alone are wrong already."""
    try:
        parse_flags(kind, tokens, kind(), prog, "")
    except InputError as error:
        raise InputError(f"in {path}: {error}") from error


def _flag_name(token: str) -> str:
    return token[2:].split("=")[0].replace("_", "-")


def _given(argv: Sequence[str], names: dict[str, bool]) -> frozenset[str]:
    found = {_flag_name(token) for token in argv if token.startswith("--")}
    return frozenset(
        name
        for name, is_switch in names.items()
        if name in found or (is_switch and f"no-{name}" in found)
    )


def _config_path(argv: Sequence[str]) -> Path | None:
    path: str | None = None
    for token, following in zip_longest(argv, argv[1:], fillvalue=""):
        if token.startswith("--config="):
            path = token.removeprefix("--config=")
        elif token == "--config":
            path = None if following.startswith("--") else following
    return Path(path) if path else None


def _tokens(path: Path, names: dict[str, bool], types: dict[str, Any]) -> list[str]:
    """The flags that a TOML file stands for."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"--config: expected a file that can be read, got {path} ({error.strerror})"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config: expected TOML, got {path}: {one_line(error)}") from error
    tokens = []
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in names or name == "config":
            known = [known for known in names if known != "config"]
            raise InputError(
                f"in {path}: expected names of flags as keys, got {key!r}{nearest(name, known)}"
            )
        if names[name] != isinstance(value, bool):
            expected = "true or false" if names[name] else "a value"
            raise InputError(f"in {path}: {key}: expected {expected}, got {value!r}")
        if isinstance(value, str) and types[name] in NUMBERS:
            raise InputError(
                f"in {path}: {key}: expected a number, got the text {value!r}; leave the quotes out"
            )
        if isinstance(value, bool):
            tokens.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list) and name in ("save-at", "subsets"):
            tokens += [f"--{name}", *(str(item) for item in value)]
        elif isinstance(value, int | float | str):
            tokens.append(f"--{name}={value}")
        else:
            raise InputError(f"in {path}: {key}: expected a number or text, got {value!r}")
    return tokens


# Settings that make others void ------------------------------------------------------------------


class Conflict(NamedTuple):
    """A flag that is refused, with a reason, where something else makes it void."""

    flag: str
    made_void_by: tuple[str, ...]
    """Flags that do. What the --config file sets may be made void by a flag: flags win."""
    where: Callable[[Any], bool]
    """Whether they do, given all options."""
    message: str
    """The reason; options are filled in as `o`."""


NO_NOISE = "--sigma: expected --noise with it, got none; add --noise bipolar"
_BOTH = "expected --init or --{flag}, got both; a start from a file is not drawn"

CONFLICTS = (
    Conflict(
        "sigma",
        ("noise",),
        lambda o: o.noise.noise == "none" and o.start.init is None,
        NO_NOISE,
    ),
    Conflict("seed", ("init",), lambda o: o.start.init is not None, _BOTH.format(flag="seed")),
    Conflict("scale", ("init",), lambda o: o.start.init is not None, _BOTH.format(flag="scale")),
    Conflict(
        "init-time",
        (),
        lambda o: o.start.init is None,
        "--init-time: expected --init FILE.npz with it, got none; add it",
    ),
    Conflict(
        "checkpoint",
        (),
        lambda o: o.output.out is None,
        "--checkpoint: expected --out FILE.npz with it, got none; add it",
    ),
    Conflict(
        "progress",
        ("quiet",),
        lambda o: o.output.quiet and o.output.progress,
        "expected --quiet or --progress, got both; leave one of them out",
    ),
)
"""Of every command."""

CONFLICTS_OF_A_RUN = (
    Conflict(
        "backend",
        (),
        lambda o: (
            o.integration.backend == "exact"
            and o.noise.noise != "none"
            and (o.forces.feature_benefit or o.forces.interference)
        ),
        "--backend: expected numba, diffrax or auto with --noise, got 'exact'; under noise rows "
        "have no closed form",
    ),
    Conflict(
        "backend",
        (),
        lambda o: (
            o.integration.backend == "exact" and o.forces.interference and o.start.init is None
        ),
        "--backend: expected numba or auto with interference on, got 'exact'; add "
        "--no-interference, under which rows have a closed form",
    ),
)
"""Of a single run, whose forces have switches."""


def _check_conflicts(options: SimulateOptions | CompareOptions, given: Given) -> None:
    """InputError for the first setting that something else makes void."""
    single = CONFLICTS_OF_A_RUN if isinstance(options, SimulateOptions) else ()
    for flag, made_void_by, where, message in (*single, *CONFLICTS):
        in_config = flag in given.config and all(name in given.config for name in made_void_by)
        is_set = flag in given.flags or (in_config and given.flags.isdisjoint(made_void_by))
        if is_set and where(options):
            raise InputError(message.format(o=options))
