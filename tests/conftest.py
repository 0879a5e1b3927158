"""Hypothesis profiles for the whole suite, and manners among its processes.

The suite draws the same examples every time; ``--hypothesis-profile explore`` draws new ones.
"""

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite",
    deadline=None,
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", settings.get_profile("suite"), derandomize=False)
settings.load_profile("suite")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes share the cores: a thread that has nothing to do must not wait by spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Started in the background, a suite ignores Ctrl-C and the end of its terminal, and so would the
# commands it interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
