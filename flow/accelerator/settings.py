"""JAX's settings inside this project, whatever the user's are outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def own_settings(*, double: bool = True) -> Iterator[None]:
    """For a block, and never for the process: float64 or not, products in the precision of their
    operands, and NumPy's rules of broadcasting.

    Left to themselves, accelerators multiply float32 with ten bits (TF32) or fewer. A user who has
    JAX raise on implicit broadcasting or promotion means code of their own.
    """
    with (
        jax.enable_x64(double),
        jax.default_matmul_precision("highest"),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield
