"""The command line of flow.edit: interventions on saved weights.

    python -m flow.edit run.npz show
    python -m flow.edit run.npz duplicate --out cure.npz
    python -m flow.simulate --init cure.npz

The result is a file for ``--init`` of :mod:`flow.simulate` and records what was done to what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from flow.cli.flags import (
    InputError,
    check_output,
    choice,
    exit_code,
    file_name,
    named_flags,
    nearest,
    number,
    parse_flags,
    whole,
)

if TYPE_CHECKING:
    import numpy as np

PROG = "python -m flow.edit"


@dataclass(frozen=True)
@named_flags
class Which:
    """Which W of the file."""

    init_time: Annotated[float | None, number("a flow time >= 0", hint="(default: the last)")] = (
        None
    )
    """which of the saved times of the file"""


@dataclass(frozen=True)
@named_flags
class Result:
    """Where the edited W goes."""

    out: Annotated[Path | None, file_name(".npz", hint="(required)")] = None
    """file for the edited W"""
    overwrite: bool = False
    """replace the file if it exists"""


@dataclass(frozen=True)
class Show:
    """Print the neurons with several features on them."""

    which: Which = Which()


@dataclass(frozen=True)
@named_flags
class Duplicate:
    """Put a copy of a neuron beside it, both with weights / √2, and noise on their non-zeros.

    The paper's proposed cure of a polysemantic neuron, for tied weights: norms and overlaps stay
    as they were up to the noise. Independent noise parts the features in one case out of two, noise
    of opposite sign always.
    """

    neuron: Annotated[int | None, whole(0, hint="(default: the first with two features)")] = None
    """which neuron, from 0"""
    noise: Annotated[float, number("a number >= 0")] = 0.01
    """standard deviation of the noise"""
    seed: Annotated[int, whole(0)] = 0
    """seed of the noise"""
    opposed: bool = False
    """noise of opposite sign on the two copies, which favours one copy for positive weights and the
    other for negative ones"""
    which: Which = Which()
    result: Result = Result()


@dataclass(frozen=True)
@named_flags
class Flip:
    """Turn the sign of one weight: a benign collision into a malign one, or back."""

    feature: Annotated[int | None, whole(0, hint="(required)")] = None
    """which row, from 0"""
    neuron: Annotated[int | None, whole(0, hint="(required)")] = None
    """which column, from 0"""
    which: Which = Which()
    result: Result = Result()


@dataclass(frozen=True)
@named_flags
class Assign:
    """Set one weight, whatever it was; 0 kills it."""

    feature: Annotated[int | None, whole(0, hint="(required)")] = None
    """which row, from 0"""
    neuron: Annotated[int | None, whole(0, hint="(required)")] = None
    """which column, from 0"""
    value: Annotated[
        float | None, number("a finite number", low=-1e100, high=1e100, hint="(required)")
    ] = None
    """what it is set to"""
    which: Which = Which()
    result: Result = Result()


@dataclass(frozen=True)
@named_flags
class Permute:
    """Shuffle neurons or features; the flow does not care, which is a test of everything else."""

    what: Annotated[str, choice(("neurons", "features"))] = "neurons"
    """what is shuffled"""
    seed: Annotated[int, whole(0)] = 0
    """seed of the shuffle"""
    which: Which = Which()
    result: Result = Result()


@dataclass(frozen=True)
@named_flags
class Rescale:
    """Multiply W, one feature of it, or one neuron of it."""

    factor: Annotated[float | None, number("a number >= 0", hint="(required)")] = None
    """by how much"""
    feature: Annotated[int | None, whole(0, hint="(default: all)")] = None
    """which row, from 0"""
    neuron: Annotated[int | None, whole(0, hint="(default: all)")] = None
    """which column, from 0"""
    which: Which = Which()
    result: Result = Result()


Edit = Show | Duplicate | Flip | Assign | Permute | Rescale
EDITS: dict[str, type[Edit]] = {
    "show": Show,
    "duplicate": Duplicate,
    "flip": Flip,
    "assign": Assign,
    "permute": Permute,
    "rescale": Rescale,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return its exit code."""
    return exit_code(_edit, argv)


def _edit(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0
    count = next((k for k, word in enumerate(argv) if word.startswith("-")), len(argv))
    words, flags = argv[:count], argv[count:]
    names, files = [w for w in words if w in EDITS], [w for w in words if w not in EDITS]
    if len(names) != 1:
        raise InputError(
            f"expected FILE.npz and one of {', '.join(EDITS)}, got "
            f"{' '.join(words) or flags[0]!r}{_meant(files) if not names else ''}; --help explains "
            f"them"
        )
    name = names[0]
    kind = EDITS[name]
    wanted: Any = parse_flags(
        kind, flags, kind(), f"{PROG} FILE.npz {name}", cleandoc(kind.__doc__ or "")
    )
    if len(files) != 1:
        raise InputError(
            f"expected one FILE.npz beside {name}, got {' '.join(files) or 'none'}; every value "
            f"follows a --flag of its own"
        )
    path = Path(files[0])
    result: Result | None = getattr(wanted, "result", None)
    out = None if result is None else result.out
    if result is not None:
        if out is None:
            raise InputError("--out: expected a file for the edited W, got none; add it")
        check_output("out", out, overwrite=result.overwrite)

    from flow.cli.files import read_init
    from flow.results.weights import write_weights

    start = read_init(path, wanted.which.init_time)
    if out is None:
        for line in _polysemantic(start.W):
            print(line)
        return 0
    W, wanted = _apply(wanted, start.W)
    settings = {
        key: value for key, value in asdict(wanted).items() if key not in ("which", "result")
    }
    done = {"edit": name, **settings, "file": str(path), "t": start.t}
    write_weights(out, W, {"edits": [done], "before": dict(start.about)})
    shown = ", ".join(_told(key, value) for key, value in settings.items() if _is_told(value))
    print(f"{out}: {name} ({shown}), W is now {W.shape[0]} x {W.shape[1]}")
    return 0


def _is_told(value: Any) -> bool:
    return value is not None and value is not False


def _told(key: str, value: Any) -> str:
    return key if value is True else f"{key} {value}"


def _meant(words: Sequence[str]) -> str:
    """The edit that one of some words is nearly."""
    return next((hint for hint in (nearest(word, EDITS) for word in words) if hint), "")


def _overview() -> str:
    lines = [f"usage: {PROG} FILE.npz EDIT [flags] --out NEW.npz", "(or EDIT FILE.npz)", ""]
    for name, kind in EDITS.items():
        lines.append(f"  {name:<11}{(kind.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", f"{PROG} EDIT --help lists the flags of an edit."])


def _apply(wanted: Any, W: np.ndarray) -> tuple[np.ndarray, Any]:
    """The edited weights, and the edit with what was left open filled in."""
    import dataclasses

    import numpy as np

    from flow.analysis.states import is_polysemantic
    from flow.edit import assign, duplicate, flip, permute, rescale

    for flag, size in (("feature", W.shape[0]), ("neuron", W.shape[1])):
        index = getattr(wanted, flag, None)
        if index is not None and index >= size:
            raise InputError(f"--{flag}: expected 0 to {size - 1}, got {index}")
    if isinstance(wanted, Duplicate):
        if wanted.neuron is None:
            shared = np.flatnonzero(is_polysemantic(W))
            if not shared.size:
                raise InputError(
                    "--neuron: expected a neuron to duplicate, as no neuron has two features; "
                    "got none"
                )
            wanted = dataclasses.replace(wanted, neuron=int(shared[0]))
        made = duplicate(
            W, wanted.neuron, noise=wanted.noise, seed=wanted.seed, opposed=wanted.opposed
        )
        return made, wanted
    if isinstance(wanted, Flip):
        if wanted.feature is None or wanted.neuron is None:
            raise InputError("expected --feature and --neuron, got only one or none; add them")
        if W[wanted.feature, wanted.neuron] == 0.0:
            raise InputError(
                f"expected a weight that is not zero, got W[{wanted.feature}, {wanted.neuron}] = "
                f"0; show lists shared neurons"
            )
        return flip(W, wanted.feature, wanted.neuron), wanted
    if isinstance(wanted, Assign):
        if wanted.feature is None or wanted.neuron is None or wanted.value is None:
            raise InputError("expected --feature, --neuron and --value, got not all; add them")
        return assign(W, wanted.feature, wanted.neuron, wanted.value), wanted
    if isinstance(wanted, Permute):
        return permute(W, wanted.what, seed=wanted.seed), wanted
    if wanted.factor is None:
        raise InputError("--factor: expected a number >= 0, got none; add it")
    return rescale(W, wanted.factor, feature=wanted.feature, neuron=wanted.neuron), wanted


def _polysemantic(W: np.ndarray) -> Iterator[str]:
    import numpy as np

    from flow.analysis.states import is_polysemantic

    shared = np.flatnonzero(is_polysemantic(W))
    yield f"{shared.size} of {W.shape[1]} neurons have two features or more"
    for k in shared[:20]:
        rows = np.flatnonzero(W[:, k])
        features = ", ".join(f"{i} ({W[i, k]:+.3f})" for i in rows[:8])
        yield f"  neuron {k}: features {features}{', ...' if rows.size > 8 else ''}"
    if shared.size > 20:
        yield f"  and {shared.size - 20} more"
