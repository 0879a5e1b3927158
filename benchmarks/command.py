"""How the command lines of benchmarks and figures end: as those of `flow`, with one line for what
is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

import tyro

from flow.cli.flags import InputError, exit_code


def check_names(kind: str, names: Collection[str], known: Collection[str]) -> None:
    """Raises InputError for names of that kind that are not known."""
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"unknown {kind} {', '.join(unknown)}; known: {', '.join(known)}")


def command_line(what: Callable[..., Any] | Mapping[str, Callable[..., Any]]) -> NoReturn:
    """Run a function, or the one of several that the first word names, by this process's words.

    Ends the process: 0, or as :func:`flow.cli.flags.exit_code` says.
    """
    module = getattr(sys.modules["__main__"], "__spec__", None)
    prog = None if module is None else f"python -m {module.name.removesuffix('.__main__')}"

    def answer(words: list[str]) -> int:
        if callable(what):
            tyro.cli(what, prog=prog, args=words)
        else:
            tyro.extras.subcommand_cli_from_dict(dict(what), prog=prog, args=words)
        return 0

    raise SystemExit(exit_code(answer, None))
