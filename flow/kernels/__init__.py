"""Numba: arrays in, arrays out, no objects.

Kernels that call one another stand in one file: Numba's cache does not see changes of functions in
another one.
"""
