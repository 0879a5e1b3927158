"""``python -m theory [CLAIM] [--markdown]``: the ledger of claims, whole or one of them.

Without a name it prints the table. With the name of a claim it prints all that is said of it and
runs its command, which shows what theory predicts beside what the simulator does. ``--markdown``
prints the table of theory/README. Exit codes: that of the command, or 2 for a name that is none and
for a command that needs a checkout of the repository where there is none.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from theory.ledger import WIDTH, Claim, find, markdown, plain, whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m theory", description="The ledger of claims.")
    parser.add_argument("claim", nargs="?", help="show this one and run its command")
    parser.add_argument("--markdown", action="store_true", help="print the table of theory/README")
    flags = parser.parse_args(argv)
    if flags.markdown:
        print(markdown())
        return 0
    if flags.claim is None:
        print(plain())
        return 0
    try:
        claim = find(flags.claim)
    except LookupError as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 2
    print(whole(claim), "-" * WIDTH, sep="\n", flush=True)
    return _run(claim)


def _run(claim: Claim) -> int:
    """Run the claim's command, its output as it comes, and say how long it took."""
    first, *rest = shlex.split(claim.command)
    package = rest[1].partition(".")[0]
    if importlib.util.find_spec(package) is None:
        home = "a checkout of the repository, run from its root" if claim.checkout else package
        print(f"error: {claim.command} needs {home}, which is not here", file=sys.stderr)
        return 2
    begin = time.perf_counter()
    code = subprocess.run([sys.executable, *rest], check=False).returncode
    ended = f"; {first} ended with {code}" if code else ""
    print(f"{time.perf_counter() - begin:.1f} s{ended}")
    return code


if __name__ == "__main__":
    sys.exit(main())
