"""BLAS products on slices of arrays, for use inside Numba kernels.

``numpy.dot`` inside Numba wants whole contiguous arrays and has no symmetric product. These call
SciPy's BLAS directly, on row-major arrays whose rows may be slices of longer ones. The routines are
handed to the kernels as arguments, so that compiled kernels can be cached on disk.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import get_cython_function_address

_TRANSPOSED, _PLAIN, _UPPER = ord("T"), ord("N"), ord("U")


class Blas(NamedTuple):
    """The routines for one precision; a kernel takes it as an argument."""

    syrk: Any
    gemm: Any


def _routine(name: str, arguments: int) -> Any:
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)
    return prototype(get_cython_function_address("scipy.linalg.cython_blas", name))


BLAS = {
    np.dtype(np.float64): Blas(_routine("dsyrk", 10), _routine("dgemm", 13)),
    np.dtype(np.float32): Blas(_routine("ssyrk", 10), _routine("sgemm", 13)),
}
"""The routines by dtype."""


@njit(cache=True, error_model="numpy")
def gram_lower(blas, A, out):
    """Lower triangle of out = A Aᵀ, A : (n, k) with unit column stride; the rest is untouched."""
    flags = np.array([_UPPER, _TRANSPOSED], np.uint8)  # row-major lower is column-major upper
    sizes = np.array(
        [A.shape[0], A.shape[1], A.strides[0] // A.itemsize, out.strides[0] // out.itemsize],
        np.int32,
    )
    factors = np.array([1.0, 0.0]).astype(A.dtype)
    blas.syrk(
        flags[0:].ctypes, flags[1:].ctypes, sizes[0:].ctypes, sizes[1:].ctypes,
        factors[0:].ctypes, A.ctypes, sizes[2:].ctypes,
        factors[1:].ctypes, out.ctypes, sizes[3:].ctypes,
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def multiply(blas, alpha, A, B, beta, out):
    """out ← α A B + β out; every array with unit column stride. At β = 0 out is not read."""
    flags = np.array([_PLAIN], np.uint8)
    sizes = np.array(
        [
            out.shape[1], out.shape[0], A.shape[1],
            B.strides[0] // B.itemsize, A.strides[0] // A.itemsize, out.strides[0] // out.itemsize,
        ],
        np.int32,
    )  # fmt: skip
    factors = np.array([alpha, beta]).astype(A.dtype)
    blas.gemm(
        flags.ctypes, flags.ctypes, sizes[0:].ctypes, sizes[1:].ctypes, sizes[2:].ctypes,
        factors[0:].ctypes, B.ctypes, sizes[3:].ctypes, A.ctypes, sizes[4:].ctypes,
        factors[1:].ctypes, out.ctypes, sizes[5:].ctypes,
    )  # fmt: skip
