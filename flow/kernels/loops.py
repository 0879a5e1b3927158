"""Loops over tasks that do not depend on each other: in one thread, or shared out among several.

Numba takes in the body of a ``prange`` loop at each of the five layers around it, and compiles it
as often. Here the loop in threads is a kernel of its own, compiled once for all, that knows the
body by its address; and a kernel is given the address of the loop, so that the same compiled code
runs with one thread and with many.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import int64, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from flow.kernels.compiling import kernel

_intrinsic: Any = intrinsic
_WORD = ir.IntType(64)
_BODY = ir.FunctionType(ir.VoidType(), [_WORD] * 4)
"""Phase, number of the first task, of the one after the last, address of the arguments."""
_LOOP = ir.FunctionType(ir.VoidType(), [_WORD] * 5)
"""Address of the body, of the numbers of tasks, number of phases, address of the arguments, number
of threads."""


@_intrinsic
def run_tasks(_typing: Any, loop: Any, task: Any, count: Any, arguments: Any) -> Any:
    """Call task(i, *arguments) for 0 ≤ i < count, in the threads of `loop`.

    loop : what :func:`plain_loop` or :func:`threaded_loop` returns. task : a kernel that returns
    nothing. arguments : a tuple.

    For a tuple of counts task(i, phase, *arguments), phase after phase: no task begins before all
    of the phase before it have ended.
    """
    phased = isinstance(count, types.BaseTuple)
    phases = len(count) if phased else 1
    counts = types.UniTuple(int64, phases) if phased else int64
    numbers = (int64, int64) if phased else (int64,)
    compiled = task.dispatcher.get_compile_result(types.void(*numbers, *arguments))

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        loop, _, counts, packed = values
        address, threads = cgutils.unpack_tuple(builder, loop)
        context.add_linking_libs([compiled.library])
        body = _body(context, builder.module, compiled.fndesc, arguments, phased)
        lent = _lent(context, builder, arguments, packed)
        words = [
            builder.ptrtoint(body, _WORD),
            builder.ptrtoint(cgutils.alloca_once_value(builder, counts), _WORD),
            _WORD(phases),
            builder.ptrtoint(cgutils.alloca_once_value(builder, lent), _WORD),
            threads,
        ]
        builder.call(builder.inttoptr(address, _LOOP.as_pointer()), words)
        return context.get_dummy_value()

    return types.void(loop, task, counts, arguments), generate


def _lent(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """A value whose arrays are not counted by who uses them: threads would fight for the counts."""
    if isinstance(kind, types.BaseTuple):
        of: Any = kind
        items = zip(of, cgutils.unpack_tuple(builder, value), strict=True)
        lent = [_lent(context, builder, item_kind, item) for item_kind, item in items]
        return context.make_tuple(builder, kind, lent)
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()
    return value


def _body(context: Any, module: Any, task: Any, arguments: Any, phased: bool) -> Any:
    """A function of `module` that calls the task for a range of numbers."""
    body = ir.Function(module, _BODY, module.get_unique_name(f"tasks.{task.mangled_name}"))
    body.linkage = "internal"
    builder = ir.IRBuilder(body.append_basic_block())
    phase, begin, end, data = body.args
    address = builder.inttoptr(data, context.get_value_type(arguments).as_pointer())
    unpacked = cgutils.unpack_tuple(builder, builder.load(address))
    callee = context.declare_function(module, task)
    with cgutils.for_range_slice(builder, begin, end, _WORD(1)) as (i, _):
        numbers = [i, phase] if phased else [i]
        context.call_conv.call_function(
            builder, callee, task.restype, task.argtypes, [*numbers, *unpacked]
        )
    builder.ret_void()
    return body


@_intrinsic
def _call_body(_typing: Any, _body: Any, _phase: Any, _begin: Any, _end: Any, _data: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        body, *arguments = values
        builder.call(builder.inttoptr(body, _BODY.as_pointer()), arguments)
        return context.get_dummy_value()

    return types.void(int64, int64, int64, int64, int64), generate


@_intrinsic
def _word_at(_typing: Any, _address: Any, _index: Any) -> Any:
    """A word in memory."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], _WORD.as_pointer())
        return builder.load(builder.gep(pointer, [values[1]]))

    return int64(int64, int64), generate


@_intrinsic
def _fetch_add(_typing: Any, counters: Any, _index: Any, _amount: Any) -> Any:
    """Add to a counter that threads share; returns what it was."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        data = context.make_array(counters)(context, builder, values[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [values[1]]), values[2], "seq_cst")

    return int64(counters, int64, int64), generate


@_intrinsic
def _current(_typing: Any, counters: Any, _index: Any) -> Any:
    """What a counter that threads share is."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        data = context.make_array(counters)(context, builder, values[0]).data
        return builder.load_atomic(builder.gep(data, [values[1]]), "seq_cst", 8)

    return int64(counters, int64), generate


@_intrinsic
def _let_others_run(_typing: Any) -> Any:
    """Offer this thread's core to whoever waits for one."""

    def generate(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        give_way = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, give_way, name), [])
        return context.get_dummy_value()

    return types.void(), generate


@kernel(called_from_c=True)
def _in_one_thread(body, counts, phases, data, threads):  # noqa: ARG001
    for phase in range(phases):
        _call_body(body, phase, 0, _word_at(counts, phase), data)


_LINE = 8
"""Words from one counter to the next, so that each has a line of the cache to itself."""
_PATIENCE = 400
"""Looks at a counter before a waiting thread offers its core to others."""


@kernel(called_from_c=True, parallel=True)
def _in_threads(body, counts, phases, data, threads):
    """Every thread takes tasks as long as there are any, half its share of what is left at a time.

    It waits only for tasks that another thread is at, never for one that has not begun to run: that
    one comes late where a neighbour has its core, and finds nothing left to do.
    """
    taken = np.zeros(phases * _LINE, np.int64)
    done = np.zeros(phases * _LINE, np.int64)
    for _ in prange(threads):
        for phase in range(phases):
            at = phase * _LINE
            count = _word_at(counts, phase)
            while True:
                piece = max(1, (count - _current(taken, at)) // (2 * threads))
                begin = _fetch_add(taken, at, piece)
                if begin >= count:
                    break
                end = min(begin + piece, count)
                _call_body(body, phase, begin, end, data)
                _fetch_add(done, at, end - begin)
            looks = 0
            while _current(done, at) < count:
                looks += 1
                if looks > _PATIENCE:
                    _let_others_run()


@cache
def _address(loop: Any) -> int:
    compiled = loop.get_compile_result(types.void(int64, int64, int64, int64, int64))
    name = compiled.fndesc.llvm_cfunc_wrapper_name
    return int(compiled.library.get_pointer_to_function(name))


def plain_loop() -> tuple[int, int]:
    """The loop that runs all tasks in the thread that calls it."""
    return _address(_in_one_thread), 1


def threaded_loop(threads: int) -> tuple[int, int]:
    """The loop that shares them out among so many threads of Numba."""
    return _address(_in_threads), threads
