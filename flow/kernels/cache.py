"""Where compiled kernels are kept: a speed-up that no run depends on.

Numba keeps compiled code in ``NUMBA_CACHE_DIR``, beside the sources or in the user's cache folder,
and stops where none of them can be written or a file in them is damaged. Here the first gives a
warning, and both compile again.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType
from typing import Any

import numba
from numba.core.caching import FunctionCache, NullCache
from numba.core.dispatcher import Dispatcher

_REMEDY = "set NUMBA_CACHE_DIR to a folder that can be written"


class KernelCache(FunctionCache):
    """Numba's cache of one kernel, whose errors cost a compilation and never a run."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled code for a signature, or None where there is none that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling damaged bytes may raise anything
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code, if the disk takes it."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_unsaved(str(self.cache_path), error.strerror or str(error))


@cache
def _warn_unsaved(folder: str, reason: str) -> None:
    warnings.warn(
        f"expected room for compiled code, got {folder} ({reason}): it will be compiled again in "
        f"the next process; {_REMEDY}",
        RuntimeWarning,
        stacklevel=4,
    )


@contextmanager
def place_for_kernels() -> Iterator[type[KernelCache | NullCache]]:
    """While kernels are defined: the kind of cache that they can have.

    Numba's own wherever it finds a folder that can be written, else none, with a RuntimeWarning.
    """

    def probe() -> None:
        pass

    try:
        numba.njit(cache=True)(probe)
    except RuntimeError:
        pass
    else:
        yield KernelCache
        return
    warnings.warn(
        "expected a folder where compiled code can be kept, got none that can be written: every "
        f"process compiles anew, for up to a minute; {_REMEDY}",
        RuntimeWarning,
        stacklevel=4,
    )
    config: Any = numba.config
    before = config.CACHE_DIR
    with tempfile.TemporaryDirectory() as folder:  # Numba refuses to define kernels without one
        config.CACHE_DIR = folder
        try:
            yield NullCache
        finally:
            config.CACHE_DIR = before  # kernels of others are cached where they would have been


def set_cache(kind: type[KernelCache | NullCache], modules: Iterable[ModuleType]) -> None:
    """Give every kernel of some modules a cache of this kind."""
    for module in modules:
        kernels: list[Any] = [
            kernel
            for kernel in vars(module).values()
            if isinstance(kernel, Dispatcher) and kernel.py_func.__module__ == module.__name__
        ]
        for kernel in kernels:
            kernel._cache = KernelCache(kernel.py_func) if kind is KernelCache else NullCache()
