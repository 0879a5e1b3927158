"""One run of the flow, or the same start under several sets of forces, from the command line.

    python -m flow.simulate --n 256 --m 1024 --lam 0.01 --seed 0 --plot run.png
    python -m flow.simulate compare --n 64 --m 256 --plot compare.png

``python flow/simulate.py`` does the same. Exit codes: 0 for a run that got where it was sent, 1
for one that did not, 2 for input that cannot be used, 130 after Ctrl-C.
"""

import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run as a script: Python put this folder on the path, where the packages are one up.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from flow.cli.simulate import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
