"""JAX's settings inside this project, whatever the user's are outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def own_settings(*, double: bool = True) -> Iterator[None]:
    """For a block, and never for the process: float64 or not, and NumPy's rules of broadcasting.

    A user who has JAX raise on implicit broadcasting or promotion means code of their own.
    """
    with (
        jax.enable_x64(double),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield
