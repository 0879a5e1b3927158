"""How a benchmark's own command line ends: as those of `flow`, with one line for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import tyro

from flow.cli.flags import exit_code


def command_line(what: Callable[..., Any] | Mapping[str, Callable[..., Any]]) -> NoReturn:
    """Run a function, or the one of several that the first word names, by this process's words.

    Ends the process: 0, or as :func:`flow.cli.flags.exit_code` says.
    """

    def answer(words: list[str]) -> int:
        if callable(what):
            tyro.cli(what, args=words)
        else:
            tyro.extras.subcommand_cli_from_dict(dict(what), args=words)
        return 0

    raise SystemExit(exit_code(answer, None))
