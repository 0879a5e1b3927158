"""``python -m paper_figures [FIGURE …] [--fast] [--pdf] [--out DIR]``."""

import sys

import tyro

from flow.cli.flags import InputError
from paper_figures.tools.gallery import command_line

if __name__ == "__main__":
    try:
        tyro.cli(command_line, prog="python -m paper_figures")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
