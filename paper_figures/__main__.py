"""``python -m paper_figures [FIGURE …] [--fast] [--pdf] [--out DIR]``."""

from benchmarks.command import command_line
from paper_figures.tools.gallery import figures

if __name__ == "__main__":
    command_line(figures)
