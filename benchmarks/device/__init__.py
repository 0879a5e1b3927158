"""An accelerator, measured unattended: correct first, then how fast, beside its goals.

:mod:`~benchmarks.device.parts` measures, each part in a process of its own;
:mod:`~benchmarks.device.runner` starts them, ends those that take too long, and keeps what they
said; :mod:`~benchmarks.device.__main__` is the command. The command never starts JAX itself, which
would take most of the memory of the device. JAX, diffrax and what ``flow`` itself needs are enough.
"""
