"""A state as TOML, as commands and as Python, each of which makes the same run.

TOML has what the command line has and is read by it; where nothing is changed on the way it is a
``--config`` file of :mod:`flow.simulate` as well. The commands are those of :mod:`flow.simulate`
and :mod:`flow.edit`, the Python is that of :mod:`flow`: both make the run without a page, with the
same bits.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from decimal import Decimal

from flow.explore.links import change_words, link, number, said, split_word, state_of
from flow.explore.state import FORCES, Assign, Duplicate, Edit, Flip, State

# TOML --------------------------------------------------------------------------------------------


def toml(state: State) -> str:
    """The state as TOML."""
    lines = [
        f"{name} = {_quoted(value) if isinstance(value, str) else number(value)}"
        for name, value in said(state).items()
    ]
    lines += [f"{force.replace('-', '_')} = false" for force in state.off]
    if state.changes:
        lines.append(f"changes = [{', '.join(map(_quoted, change_words(state)))}]")
    return "\n".join(lines) + "\n"


def from_toml(text: str) -> State:
    """The state of :func:`toml`; ValueError for TOML that stands for none."""
    pairs = []
    for key, value in tomllib.loads(text).items():
        force = key.replace("_", "-")
        if force in FORCES and isinstance(value, bool):
            pairs += [] if value else [("off", force)]
        elif key == "changes" and isinstance(value, list):
            pairs += [split_word(str(word)) for word in value]
        elif isinstance(value, int | float | str) and not isinstance(value, bool):
            pairs.append((key.replace("-", "_"), str(value)))
        else:
            raise ValueError(f"expected a number, a text or a list of changes, got {key} = {value}")
    return state_of(pairs)


def _quoted(text: str) -> str:
    return f'"{text}"'


# Commands ----------------------------------------------------------------------------------------


def flags(state: State) -> list[str]:
    """The state as words of the command line of :mod:`flow.explore`."""
    words = _start_flags(state)
    changes = change_words(state)
    return [*words, "--changes", *changes] if changes else words


def command(state: State) -> str:
    """The command that opens the page of this state."""
    return shlex.join(["python", "-m", "flow.explore", *flags(state)])


def commands(state: State) -> str:
    """Commands that make the run and keep it, ``1.npz``, ``2.npz`` …, without a page.

    An edited W starts anew at t = 0, so times after an edit count from it; if more is changed
    there, the same bits to rounding of these times.
    """
    return "\n".join(shlex.join(["python", "-m", *words]) for words in command_words(state)) + "\n"


def command_words(state: State) -> Iterator[list[str]]:
    """The same as words, without ``python -m``."""
    run = ["flow.simulate", *_start_flags(state, without="t_end")]
    now, files, offset = state, 0, Decimal(0)
    for t, edits, after in state.stages():
        files += 1
        yield [*run, "--t-end", _minus(t, offset), "--out", f"{files}.npz"]
        for edit in edits:
            files += 1
            edited = ["flow.edit", f"{files - 1}.npz", *_edit_flags(edit)]
            yield [*edited, "--out", f"{files}.npz"]
            offset = Decimal(repr(t))
        run = ["flow.simulate", "--init", f"{files}.npz", *_changed_flags(now, after)]
        now = after
    end = [] if state.t_end is None else ["--t-end", _minus(state.t_end, offset)]
    yield [*run, *end, "--out", f"{files + 1}.npz"]


def _start_flags(state: State, without: str = "") -> list[str]:
    words = []
    for name, value in said(state).items():
        if name != without:
            text = value if isinstance(value, str) else number(value)
            words += [f"--{name.replace('_', '-')}", text]
    return words + [f"--no-{force}" for force in state.off]


def _changed_flags(before: State, after: State) -> list[str]:
    """Flags of a run that goes on under other forces; what a force needs that comes on, too."""
    came = {force for force in before.off if force not in after.off}
    words = [f"--{'no-' if force in after.off else ''}{force}" for force in FORCES
             if (force in before.off) != (force in after.off)]  # fmt: skip
    acting = [force for force in FORCES[:2] if force not in after.off]
    if acting and (after.c != before.c or came & {*FORCES[:2]}):
        words += ["--c", number(after.c)]
    own = (after.c_interference, after.c) != (before.c_interference, before.c)
    if "interference" in acting and (own or "interference" in came):
        push = after.c if after.c_interference is None else after.c_interference
        words += ["--c-interference", number(push)]
    if "regularization" not in after.off and (after.lam != before.lam or "regularization" in came):
        words += ["--lam", number(after.lam)]
    if after.mu != before.mu:
        words += ["--mu", number(after.mu)]
    if after.noise != "none" and came & {*FORCES[:2]}:
        words += ["--noise", after.noise, "--sigma", number(after.sigma)]
    return words


def _edit_flags(edit: Edit) -> list[str]:
    match edit:
        case Flip(feature, neuron):
            return ["flip", "--feature", str(feature), "--neuron", str(neuron)]
        case Assign(feature, neuron, value):
            where = ["--feature", str(feature), "--neuron", str(neuron)]
            return ["assign", *where, f"--value={number(value)}"]
        case Duplicate(neuron, noise, seed, opposed):
            words = ["duplicate", "--neuron", str(neuron), "--noise", number(noise)]
            return [*words, "--seed", str(seed), *(["--opposed"] if opposed else [])]


def _minus(t: float, offset: Decimal) -> str:
    """t − offset, as exact as decimals are."""
    return number(t) if offset == 0 else str(Decimal(repr(t)) - offset)


# Python ------------------------------------------------------------------------------------------


def python(state: State) -> str:
    """Python that makes the run; `run` is its trajectory."""
    forces = ", ".join(map(repr, state.forces()))
    lines = [
        f"# {link(state)}",
        "from flow import *",
        *(["from flow import edit"] if any(edits for _, edits, _ in state.stages()) else []),
        "",
        f"W0 = gaussian_init(n={state.n}, m={state.m}, seed={state.seed}, scale={state.scale!r})",
        f"sim = Simulation([{forces}], W0, rtol={state.rtol!r})",
    ]
    before = state
    for t, edits, after in state.stages():
        lines.append(f"sim.run(until={t!r})")
        for edit in edits:
            lines.append(_edit_line(edit, state.rtol))
        if after.forces() != before.forces():
            lines.append(f"sim.forces = [{', '.join(map(repr, after.forces()))}]")
        before = after
    lines += [f"sim.run({'' if state.t_end is None else f'until={state.t_end!r}'})"]
    return "\n".join([*lines, "run = sim.trajectory()"]) + "\n"


def _edit_line(edit: Edit, rtol: float) -> str:
    match edit:
        case Flip(feature, neuron):
            return f"sim.W = edit.flip(sim.W, {feature}, {neuron})"
        case Assign(feature, neuron, value):
            return f"sim.W = edit.assign(sim.W, {feature}, {neuron}, {value!r})"
        case Duplicate(neuron, noise, seed, opposed):
            W = f"edit.duplicate(sim.W, {neuron}, noise={noise!r}, seed={seed}, opposed={opposed})"
            return f"sim = Simulation(sim.forces, {W}, rtol={rtol!r}, t_start=sim.t)"
