"""One run of the flow, or the same start under several sets of forces, from the command line.

    python -m flow.simulate --n 256 --m 1024 --lam 0.01 --seed 0 --plot run.png
    python -m flow.simulate compare --n 64 --m 256 --plot compare.png

``python flow/simulate.py`` does the same. Exit codes:

=====  ===============================================================================
0      the run got where it was sent: to rest, on a saddle too, or to --t-end
1      it did not: a limit, no step short enough, infinite numbers; a saddle with --strict
2      input that cannot be used: one line on stderr, "error: expected …, got …; remedy", and
       no file is written
130    Ctrl-C; 143 SIGTERM, 129 SIGHUP: the step that is being made is finished (a second
       signal does not wait for it), and with --out what was reached is saved
=====  ===============================================================================

Of several runs (compare) the worst counts. After exit code 1, 129, 130 or 143, and after a kill
with --checkpoint, ``--init FILE`` goes on from what was saved, bit for bit as if nothing had
happened.
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
