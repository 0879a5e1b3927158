"""The flags of a run: what they are called, how files set them, which do not go together.

Nothing here imports NumPy, so that help and complaints come at once.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from flow.cli.flags import (
    DEGREES_OF_FREEDOM,
    SAVE_TIMES,
    InputError,
    MaxSeconds,
    SavedRun,
    choice,
    file_name,
    flag_names,
    nearest,
    number,
    one_line,
    parse_flags,
    whole,
)
from flow.defaults import (
    BACKENDS,
    DEFAULT_DEGREES,
    DEFAULT_RTOL,
    DTYPES,
    FORCE_SETS,
    NOISE_LAWS,
)


def _subsets(tokens: list[str]) -> tuple[str, ...]:
    for token in tokens:
        if token not in FORCE_SETS:
            raise InputError(
                f"--subsets: expected some of {', '.join(FORCE_SETS)}, got {token!r}"
                f"{nearest(token, FORCE_SETS)}"
            )
    if not tokens or len(set(tokens)) < len(tokens):
        raise InputError(
            f"--subsets: expected different subsets, at least one, got {' '.join(tokens) or 'none'}"
        )
    return tuple(tokens)


_SUBSETS: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
    nargs="*",
    metavar="NAME ...",
    instance_from_str=_subsets,
    is_instance=lambda value: True,
    str_from_instance=list,
)


# Groups ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProblemFlags:
    """What is simulated: dW/dt = feature benefit - interference - lam sign(W)."""

    n: Annotated[int, whole("n", 1)] = 256
    """features, the rows of W"""
    m: Annotated[int, whole("m", 1)] = 1024
    """neurons, the columns of W"""
    lam: Annotated[
        float,
        number("lam", "a number >= 0", remedy="; --no-regularization switches the force off"),
    ] = 0.01
    """strength λ of the l1 regularization"""
    c: Annotated[float, number("c", "a number >= 0")] = 1.0
    """strength of feature benefit and interference; the paper's loss has 4, its text 1"""
    dtype: Annotated[str, choice("dtype", DTYPES)] = "float64"
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
class NoiseFlags:
    """Noise on the hidden layer: feature benefit and interference averaged over it."""

    noise: Annotated[str, choice("noise", ("none", *NOISE_LAWS))] = "none"
    """its distribution, the same on every neuron and independent"""
    sigma: Annotated[float, number("sigma", "a number >= 0 and < 1e100", high=1e100)] = 0.1
    """its standard deviation"""
    degrees: Annotated[int, DEGREES_OF_FREEDOM] = DEFAULT_DEGREES
    """degrees of freedom of student-t, odd"""


@dataclass(frozen=True)
class StartFlags:
    """Where W starts: random, or from a file."""

    seed: Annotated[int, whole("seed", 0)] = 0
    """seed of the normal start"""
    scale: Annotated[float, number("scale", "a number >= 0")] = 1.0
    """entries have standard deviation scale/√m; the paper's figure 2 has 0.9"""
    init: Annotated[
        Path | None, file_name("init", ".npz"), arg(help_behavior_hint="(default: random start)")
    ] = None
    """start from this run or edited W instead; its clock and step go on"""
    init_time: Annotated[
        float | None,
        number("init-time", "a flow time >= 0"),
        arg(help_behavior_hint="(default: its last)"),
    ] = None
    """which of the saved times of the --init file to start from"""


@dataclass(frozen=True)
class IntegrationFlags:
    """How far, how exactly, and what is kept."""

    t_end: Annotated[
        float | None,
        number("t-end", "a flow time >= 0"),
        arg(help_behavior_hint="(default: until at rest)"),
    ] = None
    """flow time to stop at"""
    rtol: Annotated[float, number("rtol", "a number > 0 and < 1", high=1.0)] = DEFAULT_RTOL
    """bound on the error of a step, per encoding"""
    backend: Annotated[str, choice("backend", BACKENDS)] = "auto"
    """auto is exact (closed form) where rows do not act on each other, else numba"""
    save_at: Annotated[
        tuple[str, ...] | None,
        SAVE_TIMES,
        arg(help_behavior_hint="(default: start and end)"),
    ] = None
    """flow times at which W is kept; log:N spaces N evenly in log t up to --t-end, or to 1/λ"""
    max_steps: Annotated[int, whole("max-steps", 1)] = 100_000
    """give up after so many steps"""
    max_seconds: MaxSeconds = None
    """give up after so much time"""


@dataclass(frozen=True)
class OutputFlags:
    """What is written and shown."""

    out: SavedRun = None
    """save the run here; --init continues from it"""
    plot: Annotated[
        Path | None,
        file_name("plot", ".png", ".pdf", ".svg"),
        arg(help_behavior_hint="(default: none)"),
    ] = None
    """draw the run: weights, norms, energies, final W"""
    animate: Annotated[
        Path | None,
        file_name("animate", ".gif", ".mp4"),
        arg(help_behavior_hint="(default: none)"),
    ] = None
    """film of W and the energies; mp4 needs ffmpeg"""
    bipartite: Annotated[
        Path | None,
        file_name("bipartite", ".png", ".pdf", ".svg"),
        arg(help_behavior_hint="(default: none)"),
    ] = None
    """draw which feature is on which neuron at the end"""
    overwrite: bool = False
    """replace files that exist"""
    census: bool = False
    """log deaths and revivals of weights (saved with --out), and add the collisions of the start
    and what became of the winners to the summary"""
    progress: bool = True
    """show a bar in flow time (on a terminal only, unless asked for)"""
    quiet: bool = False
    """print nothing but errors"""


@dataclass(frozen=True)
class FileFlags:
    """Flags from a file."""

    config: Annotated[
        Path | None, file_name("config", ".toml"), arg(help_behavior_hint="(default: none)")
    ] = None
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
class ComparisonFlags:
    """Which runs stand side by side."""

    subsets: Annotated[tuple[str, ...], _SUBSETS] = (
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
    in_config: list[str] = [] if path is None else _tokens(path, names)
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


def _tokens(path: Path, names: dict[str, bool]) -> list[str]:
    """The flags that a TOML file stands for."""
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
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
        if isinstance(value, bool):
            tokens.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list) and name in ("save-at", "subsets"):
            tokens += [f"--{name}", *(str(item) for item in value)]
        elif isinstance(value, int | float | str):
            tokens.append(f"--{name}={value}")
        else:
            raise InputError(f"in {path}: {key}: expected a number or text, got {value!r}")
    return tokens


def _check_conflicts(options: SimulateOptions | CompareOptions, given: Given) -> None:
    """Refuse a setting that something else makes void.

    What the --config file sets may be made void by a flag: flags win.
    """

    def void(setting: str, *by: str) -> bool:
        both_in_config = setting in given.config and all(name in given.config for name in by)
        return setting in given.flags or (both_in_config and given.flags.isdisjoint(by))

    if isinstance(options, SimulateOptions):
        forces = options.forces
        if not forces.regularization and void("lam", "regularization"):
            raise InputError(
                "expected --lam or --no-regularization, got both; leave one of them out"
            )
        if not (forces.feature_benefit or forces.interference):
            for flag, purpose in (("c", "scale"), ("noise", "act on")):
                if void(flag, "feature-benefit", "interference"):
                    raise InputError(
                        f"expected a force for --{flag} to {purpose}, got --no-feature-benefit and "
                        "--no-interference; leave one of the three out"
                    )
        if options.integration.backend == "exact" and options.noise.noise != "none":
            raise InputError(
                "--backend: expected numba, diffrax or auto with --noise, got 'exact'; under noise "
                "rows have no closed form"
            )
        if options.integration.backend == "exact" and forces.interference:
            raise InputError(
                "--backend: expected numba or auto with interference on, got 'exact'; "
                "add --no-interference, under which rows have a closed form"
            )
    if options.noise.noise == "none" and void("sigma", "noise"):
        raise InputError("--sigma: expected --noise with it, got none; add --noise bipolar")
    if options.noise.noise != "student-t" and void("degrees", "noise"):
        raise InputError(
            f"--degrees: expected --noise student-t with it, got {options.noise.noise}; leave out"
        )
    if options.start.init is not None:
        for setting in ("seed", "scale"):
            if void(setting, "init"):
                raise InputError(
                    f"expected --init or --{setting}, got both; a start from a file is not drawn"
                )
    elif "init-time" in given:
        raise InputError("--init-time: expected --init FILE.npz with it, got none; add it")
    if options.output.quiet and "progress" in given.flags and options.output.progress:
        raise InputError("expected --quiet or --progress, got both; leave one of them out")
