"""``python -m flow.explore``."""

import sys

from flow.explore.cli import main

if __name__ == "__main__":
    sys.exit(main())
