"""Kernels, and the processes that they are tried in."""

import os
import subprocess
import sys
import textwrap

from tests import ROOT

_OF_THREADS = ("OMP_", "GOMP_", "NUMBA_NUM", "NUMBA_THREADING", "OPENBLAS_NUM")


def fresh(program, root=ROOT, **environment):
    """What a Python program says on standard output and error in a process of its own.

    `root` is its checkout; of settings for threads it has those of `environment` alone.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THREADS)}
    done = subprocess.run(
        [sys.executable, "-W", "always::RuntimeWarning", "-c", textwrap.dedent(program)],
        env={**kept, "PYTHONPATH": str(root), **environment},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
