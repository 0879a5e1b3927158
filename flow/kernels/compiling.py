"""How kernels are compiled, and where the code is kept: a speed-up that no run depends on.

Numba keeps compiled code in ``NUMBA_CACHE_DIR``, beside the sources or in the user's cache folder,
and stops where none of them can be written or a file in them is damaged. Here the first gives a
warning, and both compile again.
"""

from __future__ import annotations

import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numba
from numba.core import event
from numba.core.caching import FunctionCache

_REMEDY = "set NUMBA_CACHE_DIR to a folder that can be written"


def kernel(
    function: Callable[..., Any] | None = None, *, called_from_c: bool = False, **options: Any
) -> Any:
    """Compile a function as a kernel when it is first called; Numba's options besides.

    Division by zero gives infinities, and the code is kept where it can be. Wrappers take a good
    part of the time to compile: one whose name begins with an underscore can be called from kernels
    alone, and none but `called_from_c` has one for C.
    """
    if function is None:
        return partial(kernel, called_from_c=called_from_c, **options)
    kept = _can_be_kept()
    options["no_cfunc_wrapper"] = not called_from_c
    options["no_cpython_wrapper"] = function.__name__.startswith("_")
    compiled: Any = numba.njit(cache=kept, error_model="numpy", **options)(function)
    if kept:
        compiled._cache = KernelCache(compiled.py_func)
    return compiled


@cache
def _can_be_kept() -> bool:
    """Whether Numba finds a folder for compiled code; a RuntimeWarning where it does not."""

    def probe() -> None:
        pass

    try:
        numba.njit(cache=True)(probe)
    except RuntimeError:
        warnings.warn(
            "expected a folder where compiled code can be kept, got none that can be written: "
            f"every process compiles anew, for up to a minute; {_REMEDY}",
            RuntimeWarning,
            stacklevel=4,
        )
        return False
    return True


@cache
def loops_digest() -> str:
    """Of the source of the loops, which is part of the kernels that call them."""
    return hashlib.sha256(Path(__file__).with_name("loops.py").read_bytes()).hexdigest()


class KernelCache(FunctionCache):
    """Numba's cache of one kernel, whose errors cost a compilation and never a run.

    Numba compiles anew where the kernel's own file has changed; here also where the loops have.
    """

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), loops_digest())

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


# How long it takes -------------------------------------------------------------------------------


class _Compilations(threading.local, event.Listener):
    """Times what this thread compiles; what is compiled on the way to a kernel is part of it."""

    depth = 0
    began = 0.0
    seconds = 0.0
    say: Callable[[], None] | None = None

    def on_start(self, event: Any) -> None:  # noqa: ARG002
        self.depth += 1
        if self.depth == 1:
            self.began = time.perf_counter()
            if self.say is not None:
                say, self.say = self.say, None
                say()

    def on_end(self, event: Any) -> None:  # noqa: ARG002
        self.depth -= 1
        if self.depth == 0:
            self.seconds += time.perf_counter() - self.began


_compilations = _Compilations()
event.register("numba:compile", _compilations)


def compile_seconds() -> float:
    """Seconds for which this thread has compiled so far."""
    return _compilations.seconds


def work_clock() -> float:
    """Wall-clock time in seconds that stands still while this thread compiles."""
    return time.perf_counter() - compile_seconds()


@contextmanager
def announced(say: Callable[[], None]) -> Iterator[None]:
    """Call `say` once, before the first compilation of this thread inside, if there is one."""
    before, _compilations.say = _compilations.say, say
    try:
        yield
    finally:
        _compilations.say = before
