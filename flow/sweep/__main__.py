"""``python -m flow.sweep``, and ``python flow/sweep``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    if not __package__:
        # Run as a script: Python put this folder on the path, where the packages are two up.
        sys.path[0] = str(Path(__file__).resolve().parents[2])
    from flow.sweep.cli import main

    sys.exit(main())
