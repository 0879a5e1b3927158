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
- :mod:`~flow.sweep.execute`: one run, executed and measured;
- :mod:`~flow.sweep.store`: the SQLite file;
- :mod:`~flow.sweep.config`: which runs a config stands for;
- :mod:`~flow.sweep.runs`, :mod:`~flow.sweep.forces`: a run, its outcome and its forces, as data.

Public names are imported when they are first asked for, so that workers start at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
