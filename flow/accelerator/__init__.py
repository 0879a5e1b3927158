"""The same step in JAX, as an ordinary diffrax solver, of one run or of many.

Of flow only this package and :mod:`flow.training` import jax.
"""
