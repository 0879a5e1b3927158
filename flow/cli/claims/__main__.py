"""``python -m flow.cli.claims [NAME …]``: a claim's numbers beside each other."""

from __future__ import annotations

import difflib
import inspect
import sys

from flow.cli.claims import collisions, counting, network, noise, sparsification
from flow.cli.claims.comparison import Demonstration, table
from flow.cli.flags import InputError, exit_code

SHOWN: dict[str, Demonstration] = {
    name.replace("_", "-"): function
    for module in (sparsification, network, collisions, counting, noise)
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and function.__module__ == module.__name__
    and function.__annotations__.get("return") == "Sequence[Comparison]"
}
"""Every claim that a short simulation shows, by the name of its function."""


def main(argv: list[str] | None = None) -> int:
    """Print the tables of the claims that `argv` names; 1 if one of them does not agree."""
    return exit_code(_show, argv)


def _show(names: list[str]) -> int:
    if not names or names[0].startswith("-"):
        print(__doc__, "\nNames:", ", ".join(SHOWN), sep="\n")
        return 0 if names in (["--help"], ["-h"], []) else 2
    for name in names:
        if name not in SHOWN:
            near = difflib.get_close_matches(name, SHOWN, n=3) or SHOWN
            raise InputError(f"expected a name, got {name!r}; known: {', '.join(near)}")
    agreed = True
    for name in names:
        rows = SHOWN[name]()
        print(inspect.cleandoc(SHOWN[name].__doc__ or ""), table(rows), sep="\n")
        for row in rows:
            if not row.agrees:
                agreed = False
                print(f"does not agree: {row.quantity} (allowed: ± {row.within:g})")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
