"""The network itself, trained step by step: an independent witness for the flow.

    python -m flow.training --n 64 --m 128 --optimizer proximal --rate 0.02 --steps 20000

The gradient is that of the loss, by JAX, never that of :mod:`flow.forces`. From the command line
down:

- :mod:`~flow.training.cli`: flags, presets, what is said at the end;
- :mod:`~flow.training.trainer`: :func:`train`, its checks, its bar;
- :mod:`~flow.training.trajectory`: what a run leaves;
- :mod:`~flow.training.loop`: steps and instances, compiled, with what is observed on the way;
- :mod:`~flow.training.inputs`, :mod:`~flow.training.optimizers`: what a step sees, how it moves;
- :mod:`~flow.training.network`: the loss;
- :mod:`~flow.training.setup`: what is trained, on what and how, as plain data.

Public names are imported when they are first asked for: help and complaints need not wait for them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
