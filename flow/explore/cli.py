"""The command line of flow.explore.

python -m flow.explore
python -m flow.explore '?n=64&seed=0&lam=0.01&off=interference@20'
python -m flow.explore --n 32 --m 64 --save page.html
"""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flow.cli.flags import (
    InputError,
    NoiseLaw,
    Value,
    check_output,
    exit_code,
    file_name,
    named_flags,
    number,
    parse_flags,
    whole,
)
from flow.cli.options import ForceFlags
from flow.defaults import DEFAULT_RTOL
from flow.explore.state import FORCES, State

PROG = "python -m flow.explore"
ABOUT = (
    "The flow under one's hands: a page in the browser, on this machine alone, with the solver "
    "behind it. A link of such a page as the first word opens what it shows."
)


def _words(words: list[str]) -> tuple[str, ...]:
    return tuple(words)


@dataclass(frozen=True)
@named_flags
class StartFlags:
    """What the page shows first."""

    n: Annotated[int, whole(1)] = 64
    """features, the rows of W"""
    m: Annotated[int, whole(1)] = 128
    """neurons, the columns of W"""
    seed: Annotated[int, whole(0)] = 0
    """seed of the normal start"""
    scale: Annotated[float, number("a number >= 0")] = 1.0
    """entries have standard deviation scale/√m"""
    lam: Annotated[float, number("a number >= 0")] = 0.01
    """strength λ of the l1 regularization"""
    c: Annotated[float, number("a number >= 0")] = 1.0
    """strength of feature benefit and interference"""
    c_interference: Annotated[float | None, number("a number >= 0", hint="(default: as --c)")] = (
        None
    )
    """strength of interference, where it is another"""
    mu: Annotated[float, number("a number >= 0")] = 0.0
    """strength μ of weight decay"""
    noise: NoiseLaw = "none"
    """law of the noise in the hidden layer"""
    sigma: Annotated[float, number("a number >= 0")] = 0.1
    """its standard deviation"""
    rtol: Annotated[float, number("a number > 0 and < 1", high=1.0)] = DEFAULT_RTOL
    """bound on the error of a step, per encoding"""
    t_end: Annotated[float | None, number("a flow time >= 0", hint="(default: until at rest)")] = (
        None
    )
    """flow time to stop at"""
    changes: Annotated[tuple[str, ...], Value("CHANGE@T ...", _words)] = ()
    """what is changed on the way, such as off=interference@20 flip=47,16@565"""
    config: Annotated[Path | None, file_name(".toml", hint="(default: none)")] = None
    """TOML of such a page instead"""


@dataclass(frozen=True)
@named_flags
class PageFlags:
    """Where it is shown."""

    save: Annotated[Path | None, file_name(".html", hint="(default: none)")] = None
    """write a page that needs no server here, and end"""
    overwrite: bool = False
    """replace a file that exists"""
    port: Annotated[int, whole(0)] = 0
    """port of the server on 127.0.0.1; 0 is any that is free"""
    browser: bool = True
    """open the browser"""


@dataclass(frozen=True)
class ExploreOptions:
    """A page."""

    start: StartFlags = StartFlags()
    forces: ForceFlags = ForceFlags()  # noqa: RUF009 (frozen)
    page: PageFlags = PageFlags()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return its exit code."""
    return exit_code(_explore, argv)


def _explore(argv: list[str]) -> int:
    linked = argv[:1] if argv and not argv[0].startswith("-") else []
    words = argv[len(linked) :]
    options = parse_flags(ExploreOptions, words, ExploreOptions(), PROG, ABOUT)
    page = options.page
    if page.save is not None:
        check_output("save", page.save, overwrite=page.overwrite)
    try:
        import bokeh  # noqa: F401
    except ImportError as error:
        raise InputError(
            "expected Bokeh, which draws the page, got none; pip install 'incidental-flow[explore]'"
        ) from error
    from flow.explore.links import from_link

    try:
        state = from_link(linked[0]) if linked else state_of(options)
    except ValueError as error:
        raise InputError(str(error)) from error
    if page.save is not None:
        from flow.explore.saved import save

        try:
            save(state, page.save)
        except ValueError as error:
            raise InputError(str(error)) from error
        print(f"written: {page.save}")
        return 0
    from flow.explore.server import Bench, quiet

    quiet()
    try:
        bench = Bench(state, page.port)
    except OSError as error:
        raise InputError(f"--port: expected a free port, got {page.port} ({error})") from error

    def ready(address: str) -> None:
        from flow.explore.links import link

        print(f"{address}{link(state)}\nCtrl-C ends it.", flush=True)
        if page.browser:
            webbrowser.open(f"{address}{link(state)}")

    with bench:
        bench.serve(ready)
    return 0


def state_of(options: ExploreOptions) -> State:
    """The state that flags stand for; ValueError for flags that stand for none."""
    from flow.explore import links
    from flow.explore.texts import from_toml

    start, off = options.start, options.forces
    if start.config is not None:
        try:
            return from_toml(start.config.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ValueError(f"--config: expected a file that can be read, got {error}") from error
    values = {name: getattr(start, name) for name in links.KINDS}
    pairs = [
        (name, value if isinstance(value, str) else links.number(value))
        for name, value in values.items()
        if value is not None
    ]
    switches = (off.feature_benefit, off.interference, off.regularization)
    pairs += [("off", force) for force, on in zip(FORCES, switches, strict=True) if not on]
    return links.state_of([*pairs, *(links.split_word(word) for word in start.changes)])
