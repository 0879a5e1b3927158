"""Loops over tasks that do not depend on each other: in one thread, or shared out among several.

Numba takes in the body of a ``prange`` loop at each of the five layers around it, and compiles it
as often. Here the loop in threads is a kernel of its own, compiled once for all, that knows the
body by its address; and a kernel is given the address of the loop, so that the same compiled code
runs with one thread and with many.

What :func:`run_tasks` makes is part of the kernels that call it, and Numba's cache does not see
changes of it: after one, delete the compiled files (``*.nbi``, ``*.nbc``).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba import int64, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from flow.kernels.compiling import kernel

_intrinsic: Any = intrinsic
_WORD = ir.IntType(64)
_BODY = ir.FunctionType(ir.VoidType(), [_WORD] * 3)
"""Number of the first task, of the one after the last, address of the arguments."""
_LOOP = ir.FunctionType(ir.VoidType(), [_WORD] * 4)
"""Address of the body, number of tasks, address of the arguments, number of threads."""


@_intrinsic
def run_tasks(_typing: Any, loop: Any, task: Any, _count: Any, arguments: Any) -> Any:
    """Call task(i, *arguments) for 0 ≤ i < count, in the threads of `loop`.

    loop : what :func:`plain_loop` or :func:`threaded_loop` returns. task : a kernel that returns
    nothing. arguments : a tuple.
    """
    compiled = task.dispatcher.get_compile_result(types.void(int64, *arguments))

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        loop, _, count, packed = values
        address, threads = cgutils.unpack_tuple(builder, loop)
        context.add_linking_libs([compiled.library])
        body = builder.ptrtoint(_body(context, builder.module, compiled.fndesc, arguments), _WORD)
        data = builder.ptrtoint(cgutils.alloca_once_value(builder, packed), _WORD)
        builder.call(builder.inttoptr(address, _LOOP.as_pointer()), [body, count, data, threads])
        return context.get_dummy_value()

    return types.void(loop, task, int64, arguments), generate


def _body(context: Any, module: Any, task: Any, arguments: Any) -> Any:
    """A function of `module` that calls the task for a range of numbers."""
    body = ir.Function(module, _BODY, module.get_unique_name(f"tasks.{task.mangled_name}"))
    body.linkage = "internal"
    builder = ir.IRBuilder(body.append_basic_block())
    begin, end, data = body.args
    address = builder.inttoptr(data, context.get_value_type(arguments).as_pointer())
    unpacked = cgutils.unpack_tuple(builder, builder.load(address))
    callee = context.declare_function(module, task)
    with cgutils.for_range_slice(builder, begin, end, _WORD(1)) as (i, _):
        context.call_conv.call_function(
            builder, callee, task.restype, task.argtypes, [i, *unpacked]
        )
    builder.ret_void()
    return body


@_intrinsic
def _call_body(_typing: Any, _body: Any, _begin: Any, _end: Any, _data: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        body, *arguments = values
        builder.call(builder.inttoptr(body, _BODY.as_pointer()), arguments)
        return context.get_dummy_value()

    return types.void(int64, int64, int64, int64), generate


@kernel(called_from_c=True)
def _in_one_thread(body, count, data, threads):  # noqa: ARG001
    _call_body(body, 0, count, data)


@kernel(called_from_c=True, parallel=True)
def _in_threads(body, count, data, threads):
    """Every thread takes an equal share of the tasks, in one piece."""
    for thread in prange(threads):
        share = int64(thread)
        _call_body(body, share * count // threads, (share + 1) * count // threads, data)


@cache
def _address(loop: Any) -> int:
    compiled = loop.get_compile_result(types.void(int64, int64, int64, int64))
    name = compiled.fndesc.llvm_cfunc_wrapper_name
    return int(compiled.library.get_pointer_to_function(name))


def plain_loop() -> tuple[int, int]:
    """The loop that runs all tasks in the thread that calls it."""
    return _address(_in_one_thread), 1


def threaded_loop(threads: int) -> tuple[int, int]:
    """The loop that shares them out among so many threads of Numba."""
    return _address(_in_threads), threads
