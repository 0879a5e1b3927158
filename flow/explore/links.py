"""A state as a link, ``?n=64&seed=0&lam=0.01&off=interference@20&flip=47,16@565``, and back.

What is said before the run begins is ``name=value``; what is changed at flow time t is
``name=value@t``:

=====================  ============================================================
``lam=0.02@50``        another strength: lam, c, c_interference, mu
``off=interference@20``  a force switched off, ``on=…`` on
``flip=47,16@565``     the sign of the weight of feature 47 on neuron 16
``set=47,16,0.3@565``  that weight set; 0 kills it
``duplicate=16,0.01,1,opposed@565``  a copy of neuron 16: noise 0.01 of seed 1, opposed or not
=====================  ============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flow.cli.flags import nearest
from flow.explore.state import (
    STRENGTHS,
    Assign,
    Change,
    Duplicate,
    Flip,
    State,
    Strength,
    Switch,
    Timed,
)

Pairs = list[tuple[str, str]]
"""Names and values, as text."""
ALWAYS = ("n", "m", "seed", "lam")
"""What every link says."""
KINDS: dict[str, type] = {
    "n": int, "m": int, "seed": int, "scale": float, "lam": float, "c": float,
    "c_interference": float, "mu": float, "noise": str, "sigma": float, "rtol": float,
    "t_end": float,
}  # fmt: skip
"""What is said before a run begins, beside the forces that are off, in this order."""
MOST_CHARACTERS = 4000


def number(x: float) -> str:
    """The shortest text that reads as `x`."""
    text = repr(x)
    return text.removesuffix(".0")


def said(state: State) -> dict[str, Any]:
    """What a state says before its run begins: what every link says, and what is not usual."""
    return {
        name: getattr(state, name)
        for name in KINDS
        if name in ALWAYS or getattr(state, name) != getattr(_USUAL, name)
    }


def pairs_of(state: State) -> Pairs:
    """The state as names and values."""
    found = [
        (name, value if isinstance(value, str) else number(value))
        for name, value in said(state).items()
    ]
    found += [("off", force) for force in state.off]
    return found + [split_word(word) for word in change_words(state)]


def change_words(state: State) -> list[str]:
    """The changes of a state as words, such as ``off=interference@20``."""
    return [f"{_change_text(timed.change)}@{number(timed.t)}" for timed in state.changes]


def split_word(word: str) -> tuple[str, str]:
    """Name and value of a word ``name=value``; ValueError for another."""
    name, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"expected a change such as off=interference@20, got {word!r}")
    return name, value


def state_of(pairs: Iterable[tuple[str, str]]) -> State:
    """The state that names and values stand for; ValueError for wrong ones."""
    values: dict[str, Any] = {}
    off: list[str] = []
    changes: list[Timed] = []
    for name, text in pairs:
        if "@" in text:
            change, _, t = text.rpartition("@")
            changes.append(Timed(_read("the time of a change", float, t), _change(name, change)))
        elif name == "off":
            off.append(text)
        elif name not in KINDS:
            hint = nearest(name, [*KINDS, *_CHANGES])
            raise ValueError(f"expected {', '.join(KINDS)} or off, got {name!r}{hint}")
        elif name in values:
            raise ValueError(f"expected {name} once, got it twice")
        else:
            values[name] = _read(name, KINDS[name], text)
    changes.sort(key=lambda timed: timed.t)
    return State(**values, off=tuple(off), changes=tuple(changes))


def link(state: State) -> str:
    """The state as the query of a link, with its question mark."""
    return "?" + urlencode(pairs_of(state), safe="@,:")


def from_link(text: str) -> State:
    """The state of a link or of its query; ValueError, in a sentence, for one that is none."""
    _, mark, query = text.rpartition("?")
    query = query if mark else text
    if len(query) > MOST_CHARACTERS:
        raise ValueError(
            f"expected a link of at most {MOST_CHARACTERS} characters, got {len(query)}"
        )
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    return state_of(pairs)


# Changes -----------------------------------------------------------------------------------------


def _change_text(change: Change) -> str:
    match change:
        case Strength(name, value):
            return f"{name}={number(value)}"
        case Switch(force, on):
            return f"{'on' if on else 'off'}={force}"
        case Flip(feature, neuron):
            return f"flip={feature},{neuron}"
        case Assign(feature, neuron, value):
            return f"set={feature},{neuron},{number(value)}"
        case Duplicate(neuron, noise, seed, opposed):
            return f"duplicate={neuron},{number(noise)},{seed}" + (",opposed" if opposed else "")


def _change(name: str, text: str) -> Change:
    if name in STRENGTHS:
        return Strength(name, _read(name, float, text))
    if name not in _CHANGES:
        raise ValueError(
            f"expected a change, one of {', '.join([*STRENGTHS, *_CHANGES])}, got {name!r}"
            f"{nearest(name, [*STRENGTHS, *_CHANGES])}"
        )
    parts = text.split(",")
    kinds, make, example = _CHANGES[name]
    least = sum(kind is not _opposed for kind in kinds)
    if not least <= len(parts) <= len(kinds):
        raise ValueError(f"expected a change such as {name}={example}, got {text!r}")
    return make(*(_read(name, kind, part) for kind, part in zip(kinds, parts, strict=False)))


def _opposed(text: str) -> bool:
    if text != "opposed":
        raise ValueError
    return True


_CHANGES: dict[str, tuple[list[Callable[[str], Any]], Callable[..., Change], str]] = {
    "off": ([str], lambda force: Switch(force, False), "interference@20"),
    "on": ([str], lambda force: Switch(force, True), "interference@20"),
    "flip": ([int, int], Flip, "47,16@565"),
    "set": ([int, int, float], Assign, "47,16,0.3@565"),
    "duplicate": ([int, float, int, _opposed], Duplicate, "16,0.01,1,opposed@565"),
}
"""What a change is made of, how it is made, an example."""


def _read(name: str, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        what = {int: "a whole number", float: "a number"}.get(kind, "'opposed'")  # type: ignore[call-overload]
        raise ValueError(f"{name}: expected {what}, got {text!r}") from None


_USUAL = State()
assert {*KINDS} == {field.name for field in fields(State)} - {"off", "changes"}
