"""``python -m paper_figures [FIGURE …] [--fast] [--pdf] [--out DIR]``."""

import tyro

from paper_figures.making import command_line

if __name__ == "__main__":
    tyro.cli(command_line)
