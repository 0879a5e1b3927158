"""Which runs a sweep holds: grids over the parameters, from TOML or from Python.

A grid gives every parameter one value or several, and stands for every combination. Instead of
m it may give the ratio m_over_n, instead of lam the product lam_sqrt_m_over_c = λ√m/c. `seeds` is
a number of seeds counted from 0, or a list. A parameter that only some of the forces have, such as
sigma, is an axis for those alone. Several grids add up; a list of single runs is a list of grids
with one value each.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from flow.cli.flags import InputError as InputError
from flow.cli.flags import nearest
from flow.sweep.forces import force_set
from flow.sweep.runs import FORCE_PARAMETERS, LARGEST_WHOLE, PARAMETERS, Run, shown

RATIOS = {"m": "m_over_n", "lam": "lam_sqrt_m_over_c", "seed": "seeds"}
"""What may stand for a parameter."""
KEYS = (*PARAMETERS, *RATIOS.values())
"""Every key of a grid."""
LARGEST = 1_000_000
"""Most runs that a config may stand for: more is a slip, or deserves several files."""

Config = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Run]
"""A TOML file, the same as a mapping, or the runs themselves."""


def read_config(config: Config) -> tuple[list[Run], str]:
    """The runs that `config` stands for, each once, seed by seed, and its text.

    All cells come with their first seed before any comes with its second: what is there after an
    interruption covers the whole grid. Raises InputError, in one line, for a file that cannot be
    read, an unknown key, a value that no run can have, or no run at all.
    """
    if isinstance(config, str | os.PathLike):
        path = Path(config)
        text = _read(path)
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(
                f'expected TOML, such as lam = 0.1 and forces = "all", got {path}: {error}'
            ) from error
        where = f"in {path}: "
        found = _from_table(table, where)
    elif isinstance(config, Mapping):
        where = ""
        found = _from_table(config, where)
        text = repr(dict(config))  # which Python refuses for the longest of whole numbers
    else:
        found, where = list(config), ""
        if not all(isinstance(run, Run) for run in found):
            raise InputError("expected a file, a mapping or a list of Run, got a list of others")
        text = f"{len(found)} runs"
    if not found:
        raise InputError(f"{where}expected at least one run, got none; give n, m and lam")
    return sorted(dict.fromkeys(found), key=lambda run: run.seed), text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"expected a config that can be read, got {path} ({reason})") from error


def _from_table(table: Mapping[str, Any], where: str) -> list[Run]:
    """Top-level keys are a grid, or what the tables called `grid` have in common."""
    common = {key: value for key, value in table.items() if key != "grid"}
    grids = table.get("grid")
    if grids is None:
        return list(expand(common, where))
    if not isinstance(grids, Sequence) or isinstance(grids, str):
        raise InputError(f"{where}grid: expected tables [[grid]], got {grids!r}")
    runs: list[Run] = []
    for number, grid in enumerate(grids, 1):
        if not isinstance(grid, Mapping):
            raise InputError(f"{where}grid: expected tables [[grid]], got {grid!r}")
        inherited = {
            key: value for key, value in common.items() if _twin(key) not in grid
        }  # m_over_n of a grid takes the place of a common m
        runs += expand({**inherited, **grid}, f"{where}grid {number}: ")
    return runs


def _twin(key: str) -> str | None:
    """The other name of what `key` sets."""
    both = {**RATIOS, **{ratio: name for name, ratio in RATIOS.items()}}
    return both.get(key)


def expand(grid: Mapping[str, Any], where: str = "") -> Iterable[Run]:
    """Every combination of the values of `grid`; InputError for one that cannot be."""
    for key in grid:
        if key not in KEYS:
            raise InputError(
                f"{where}expected names of parameters as keys, got {key!r}{nearest(key, KEYS)}; "
                f"known: {', '.join(KEYS)}"
            )
    for name, ratio in RATIOS.items():
        if name in grid and ratio in grid:
            raise InputError(f"{where}expected {name} or {ratio}, got both; leave one of them out")
    axes = {key: _values(key, value, where) for key, value in grid.items()}
    forces = axes.get("forces", ["all"])
    own, regularized = _in_all(forces, where)
    for field in fields(Run):
        needed = field.default is MISSING and (field.name != "lam" or regularized)
        if needed and field.name not in grid and RATIOS.get(field.name) not in grid:
            others = f" or {RATIOS[field.name]}" if field.name in RATIOS else ""
            raise InputError(f"{where}expected {field.name}{others}, got neither; add it")
    for name in FORCE_PARAMETERS:
        if name in grid and name not in own:
            raise InputError(
                f"{where}{name}: expected forces that have it, got "
                f"{', '.join(map(str, forces))}; name others, or leave {name} out"
            )
    size = math.prod(len(axis) for axis in axes.values())
    if size > LARGEST:
        raise InputError(f"{where}expected at most {LARGEST:,} runs, got {size:,}; split the grid")
    return [
        _run(dict(zip(axes, values, strict=True)), where)
        for values in itertools.product(*axes.values())
    ]


def _in_all(forces: Sequence[Any], where: str) -> tuple[set[str], bool]:
    """Which parameters some of these forces have, and whether λ means anything to any."""
    try:
        found = [force_set(text) for text in forces if isinstance(text, str)]
    except ValueError as error:
        raise InputError(f"{where}{error}") from error
    return {name for one in found for name in one.own}, any(one.regularized for one in found)


def _values(key: str, value: Any, where: str) -> Sequence[Any]:
    """The values of one key: a single one, a list, a range in log steps, a number of seeds."""
    if key == "seeds" and isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise InputError(
                f"{where}seeds: expected a number of seeds >= 1 or a list, got {shown(value)}"
            )
        if value > LARGEST:
            raise InputError(
                f"{where}seeds: expected at most {LARGEST:,} seeds, got {shown(value)}; one seed "
                f"of that value is seeds = [...]"
            )
        return range(value)
    if isinstance(value, Mapping):
        return _log_range(key, value, where)
    values = value if isinstance(value, list | tuple | range) else [value]
    if not values:
        raise InputError(f"{where}{key}: expected at least one value, got none")
    return values


def _log_range(key: str, value: Mapping[str, Any], where: str) -> list[float]:
    shape = (
        f"{where}{key}: expected {{ from = A, to = B, log_steps = N }} with A, B > 0, a ratio of B "
        f"to A that a float holds, and 2 <= N <= {LARGEST:,}"
    )
    if set(value) != {"from", "to", "log_steps"}:
        raise InputError(f"{shape}, got the keys {', '.join(map(str, value)) or 'none'}")
    low, high, steps = value["from"], value["to"], value["log_steps"]
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high))
    whole = isinstance(steps, int) and not isinstance(steps, bool)
    ends = numbers and all(0 < x <= sys.float_info.max for x in (low, high))
    ratio = high / low if ends else math.nan
    if not (0.0 < ratio < math.inf and whole and 2 <= steps <= LARGEST):
        got = ", ".join(f"{name} = {shown(number)}" for name, number in value.items())
        raise InputError(f"{shape}, got {got}")
    # Ten digits: the same numbers, and so the same hashes, whatever the machine's pow rounds to.
    return [float(f"{low * ratio ** (k / (steps - 1)):.10g}") for k in range(steps)]


def _run(given: dict[str, Any], where: str) -> Run:
    """One combination; ratios are worked out here."""
    if "seeds" in given:
        given["seed"] = given.pop("seeds")
    forces = given.get("forces", "all")
    if isinstance(forces, str):
        own = force_set(forces).own
        given = {k: v for k, v in given.items() if k in own or k not in FORCE_PARAMETERS}
    ratio, product = given.pop("m_over_n", None), given.pop("lam_sqrt_m_over_c", None)
    try:
        if ratio is not None:
            given["m"] = _neurons(given["n"], ratio)
        run = Run(**{"lam": 0.0, **given})
        if product is None:
            return run
        # The product stands where λ would, and is checked as λ would be.
        checked = Run(**{**given, "lam": product})
        strength = checked.lam * run.c / math.sqrt(run.m)
        return Run(**{**given, "lam": float(f"{strength:.10g}")})
    except (ValueError, TypeError) as error:
        text = str(error)
        if product is not None and text.startswith("lam:"):
            text = text.replace("lam:", "lam_sqrt_m_over_c:", 1)
        raise InputError(f"{where}{text}") from error


def _neurons(n: Any, ratio: Any) -> int:
    known = isinstance(ratio, int | float) and not isinstance(ratio, bool)
    sizes = known and isinstance(n, int) and 0 < n <= LARGEST_WHOLE and 0 < ratio <= LARGEST_WHOLE
    if not sizes:
        raise ValueError(
            f"m_over_n: expected a number > 0, got {shown(ratio)} at n = {shown(n)}; neither may "
            f"be above {LARGEST_WHOLE}"
        )
    m = round(n * ratio)
    if not math.isclose(m, n * ratio, rel_tol=1e-9):
        raise ValueError(
            f"m_over_n: expected a ratio that gives a whole number of neurons, got {ratio!r} "
            f"at n = {n}"
        )
    return m
