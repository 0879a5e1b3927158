"""Many runs of the flow: on cores or on a cluster, killed at any moment, in one SQLite file.

    python -m flow.sweep map.toml --workers 8 --report
    python -m flow.sweep map.sqlite --export csv

A config says which runs there are; its sweep does those that are missing and writes each down as it
ends. Who does what, from the command line down:

- :mod:`~flow.sweep.cli`: flags, what is said at the end;
- :mod:`~flow.sweep.launch`: :func:`run`, which runs are missing and where they are done;
- :mod:`~flow.sweep.engine`: hands them out, takes in outcomes, has each written down;
- :mod:`~flow.sweep.report`: means and the laws beside them;
- :mod:`~flow.sweep.results`: :func:`load`, what a file says so far;
- :mod:`~flow.sweep.workers`, :mod:`~flow.sweep.calls`: processes, and what is asked of them;
- :mod:`~flow.sweep.measure`: one run, done and measured;
- :mod:`~flow.sweep.store`: the SQLite file;
- :mod:`~flow.sweep.config`: which runs a config stands for;
- :mod:`~flow.sweep.runs`, :mod:`~flow.sweep.forces`: a run, its outcome and its forces, as data.

Public names are imported when they are first asked for, so that workers start at once.
"""

from typing import TYPE_CHECKING

from flow.lazy import exports

if TYPE_CHECKING:
    from flow.flags import InputError
    from flow.sweep.cli import main
    from flow.sweep.launch import run
    from flow.sweep.results import Sweep, load
    from flow.sweep.runs import Run
    from flow.sweep.store import SweepError

__all__ = ["InputError", "Run", "Sweep", "SweepError", "load", "main", "run"]

__getattr__, __dir__ = exports(
    __name__,
    {
        "InputError": "..flags",
        "Run": ".runs",
        "Sweep": ".results",
        "SweepError": ".store",
        "load": ".results",
        "main": ".cli",
        "run": ".launch",
    },
)
