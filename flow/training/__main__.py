"""``python -m flow.training``."""

import sys

from flow.training.cli import main

if __name__ == "__main__":
    sys.exit(main())
