"""A saved run, told and drawn.

    python -m flow.show run.npz
    python -m flow.show run.npz --plot run.png --animate run.gif --bipartite who.png

``python flow/show.py`` does the same. Exit codes: 0, or 2 for input that cannot be used.
"""

import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run as a script: Python put this folder on the path, where the packages are one up.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from flow.cli.show import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
