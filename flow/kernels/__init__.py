"""Numba: arrays in, arrays out, no objects.

Kernels that call one another stand in one file: Numba's cache does not see changes of functions in
another one. All are defined here, once it is settled where compiled code can be kept.
"""

from flow.kernels.cache import place_for_kernels, set_cache

with place_for_kernels() as kind:
    from flow.kernels import events, exact, interference, rows

    set_cache(kind, (events, exact, interference, rows))
