"""Runs of the driver on whatever device JAX has: one, many at once, or one over several devices.

A :class:`Batch` answers the requests of the driver's loops (:mod:`flow.integrators.requests`) for
all its members together: one call steps every member by its own length, with
:class:`flow.accelerator.solver.ProximalChebyshevSolver` under ``vmap``. Members end on their own.

Neurons that are zero in every row are dropped once every member has made :data:`CHUNK` accepted
steps since that was last done. What is kept then depends on W alone, and so does everything that
follows: a run goes on bitwise the same from any W, t and step that end a chunk. Widths come from a
ladder, so that few programs are compiled. Over a mesh every device keeps the neurons that it got
at the start; G = W Wᵀ is the all-reduced sum of their products, and nothing else of size n² or
n·m moves.

Matrix products have the precision of their operands (no TF32). How much memory JAX takes in
advance is left to its environment variables.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from flow.accelerator.rows import Array, row_sum, scalar_dtype
from flow.accelerator.solver import FlowTerm, ProximalChebyshevSolver, Sample, row_norm
from flow.forces import Slots
from flow.integrators.field import Layout, State
from flow.integrators.requests import Attempt, Place, Renew, Request
from flow.integrators.schemes import Proposal

CHUNK = 16
"""Accepted steps between two compactions."""
NARROWEST = 64
"""The lowest rung of the ladder of widths."""


def rung(width: int) -> int:
    """The lowest rung that holds so many neurons: 64, 128, 256, …"""
    return NARROWEST * 2 ** max(0, math.ceil(math.log2(width / NARROWEST)))


# On the device -----------------------------------------------------------------------------------


class _Report(NamedTuple):
    """What the driver reads after a step: small."""

    error: Array
    overlaps: Array
    sums: Array
    evaluations: Array


def _row_sums(term: FlowTerm, W: Array, sample: Sample) -> Array:
    """(n, 6): see :func:`flow.kernels.rows.sum_rows`."""
    speed = jnp.abs(term.velocity(W, sample))
    square = W * W
    columns = [
        row_sum(jnp.abs(W)),
        row_sum(square),
        row_sum(square * square),
        row_sum(W != 0.0),
        jnp.max(speed, axis=-1),
        row_sum(speed * speed),
    ]
    return jnp.stack([column.astype(scalar_dtype()) for column in columns], axis=-1)


def _replicated(tree: Any, mesh: Any) -> Any:
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


@partial(jax.jit, static_argnames="mesh")
def _sample(term: FlowTerm, W: Array, mesh: Any) -> tuple[Sample, _Report]:
    def one(term: FlowTerm, W: Array) -> tuple[Sample, _Report]:
        sample = term.sample(jnp.zeros((), scalar_dtype()), W, None)
        return sample, _Report(
            jnp.zeros((), scalar_dtype()),
            sample.overlaps,
            _row_sums(term, W, sample),
            sample.evaluations,
        )

    sample, report = jax.vmap(one)(term, W)
    return sample, _replicated(report, mesh)


@partial(jax.jit, static_argnames="mesh")
def _step(
    term: FlowTerm, W: Array, sample: Sample, h: Array, rtol: Array, mesh: Any
) -> tuple[Array, Sample, _Report]:
    def one(
        term: FlowTerm, W: Array, sample: Sample, h: Array, rtol: Array
    ) -> tuple[Array, Sample, _Report]:
        solver = ProximalChebyshevSolver(rtol=rtol, bounds_steps=False)
        W1, error, _, end, _ = solver.step(term, jnp.zeros_like(h), h, W, None, sample, False)
        report = _Report(row_norm(error), end.overlaps, _row_sums(term, W1, end), end.evaluations)
        return W1, end, report

    W1, end, report = jax.vmap(one)(term, W, sample, h, rtol)
    return W1, end, _replicated(report, mesh)


@jax.jit
def _select(chosen: Array, new: Any, old: Any) -> Any:
    def one(a: Array, b: Array) -> Array:
        return jnp.where(chosen.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(one, new, old)


@partial(jax.jit, static_argnames="mesh")
def _live(W: Array, mesh: Any) -> Array:
    return _replicated(jnp.any(W != 0.0, axis=1), mesh)


def _take_columns(W: Array, columns: Array) -> Array:
    taken = jnp.take_along_axis(W, jnp.maximum(columns, 0)[:, None, :], axis=2)
    return jnp.where((columns >= 0)[:, None, :], taken, 0.0)


@partial(jax.jit, static_argnames="mesh")
def _compact(W: Array, slots: Array, columns: Array, mesh: Any) -> Array:
    """Of the members `slots` the columns `columns`, counted within the device; −1 is padding."""
    W = W[slots]
    if mesh is None:
        return _take_columns(W, columns)
    spread = PartitionSpec(None, None, mesh.axis_names[0])
    return jax.shard_map(
        _take_columns,
        mesh=mesh,
        in_specs=(spread, PartitionSpec(None, mesh.axis_names[0])),
        out_specs=spread,
    )(W, columns)


@partial(jax.jit, static_argnames=("size", "mesh"))
def _block(W: Array, slot: int, start: int, size: int, mesh: Any) -> Array:
    return _replicated(jax.lax.dynamic_slice_in_dim(W[slot], start, size, axis=1), mesh)


# On the host -------------------------------------------------------------------------------------


class _Stored:
    """W or C of one member as it was after one call; NumPy makes an array of it on demand."""

    def __init__(self, values: Array, slot: int, mesh: Any) -> None:
        self.values, self.slot, self.mesh = values, slot, mesh

    def rows(self) -> np.ndarray:
        """(n, width)."""
        if self.values.is_fully_addressable:
            return np.asarray(self.values[self.slot])
        # Block by block: no device need hold all of W.
        width = self.values.shape[2]
        size = width // self.mesh.size
        blocks = [
            _block(self.values, self.slot, start, size, self.mesh)
            for start in range(0, width, size)
        ]
        return np.concatenate([np.asarray(b.addressable_data(0)) for b in blocks], axis=1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.rows().ravel(), dtype)


@dataclass
class DeviceState(State):
    """Where a member is: W and C are on the device."""

    sums: np.ndarray
    """(n, 6): see :func:`flow.kernels.rows.sum_rows`."""

    def dense(self, m: int) -> np.ndarray:
        """W : (n, m) with every neuron in its place."""
        rows, neurons = self.W.rows(), self.layout.neurons  # type: ignore[attr-defined]
        full = np.zeros((rows.shape[0], m), rows.dtype)
        full[:, neurons[neurons >= 0]] = rows[:, neurons >= 0]
        return full


class Member:
    """One run of a batch, as the driver's loop sees it."""

    def __init__(self, m: int) -> None:
        self.m = m
        self.evaluations = 0
        self.neurons = np.zeros(0, np.int64)
        """(width,) which neuron each column is; −1 for padding."""
        self.accepted = False
        """Whether the last proposal was."""
        self.since = 0
        """Accepted steps since the last compaction."""
        self.attempt = (1.0, 1.0)
        """Step and tolerance that were tried last."""
        self.proposed_sums = np.zeros(0)

    def settle(self, state: DeviceState, outside: Any) -> bool:
        state.sums = self.proposed_sums
        self.accepted = True
        self.since += 1
        return self.since >= CHUNK

    def row_sums(self, state: DeviceState) -> np.ndarray:
        return state.sums


class Batch:
    """Runs that are computed together.

    Parameters
    ----------
    slots : the forces of every member, added up. General drifts must be the same ones.
    n : features of every member.
    m : neurons, of all members or of each.
    dtype : float32 or float64.
    mesh : a ``jax.sharding.Mesh`` with one axis, over whose devices neurons are spread.

    Raises ValueError for a mesh with more axes than one.
    """

    def __init__(
        self,
        slots: Sequence[Slots],
        n: int,
        m: int | Sequence[int],
        dtype: np.dtype,
        *,
        mesh: Any = None,
    ) -> None:
        if mesh is not None and len(mesh.axis_names) != 1:
            raise ValueError(
                f"mesh must have one axis, for the neurons, got {mesh.axis_names}; "
                f"make it with jax.make_mesh((devices,), ('neurons',))"
            )
        if mesh is not None:
            # What moves is for the compiler to find, whichever way the mesh was made.
            mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names)
        sizes = [m] * len(slots) if isinstance(m, int) else list(m)
        self.members = [Member(size) for size in sizes]
        self._n, self._dtype, self._mesh = n, dtype, mesh
        self._devices = 1 if mesh is None else mesh.size
        widest = max(sizes)
        self._share = -(-widest // self._devices)
        if min(sizes) < widest:
            self._share = rung(self._share)
        self._slots = slots
        self._keeps_zeros = all(s.keeps_zeros for s in slots)
        self._interferes = any(s.overlap != 0.0 for s in slots)
        self._in_slot: list[int] = []
        """Which member each slot of the arrays belongs to."""
        self._W: Array = None
        """(slots, n, width) where the members are."""
        self._samples: Any = None
        """The field there."""
        self._proposed: Any = None
        """W and samples after the step that was tried last."""

    def run(self, loops: Sequence[Generator[Request, Any, Any]]) -> list[Any]:
        """Run the driver's loop of every member to its end; what they return, in order."""
        with jax.enable_x64(True):
            self._results: dict[int, Any] = {}
            self._requests: dict[int, Request] = {}
            for b, loop in enumerate(loops):
                self._send(b, loop, None)
            while self._requests:
                try:
                    answers = self._serve()
                except KeyboardInterrupt as interrupt:
                    for b in list(self._requests):
                        self._send(b, loops[b], interrupt)
                else:
                    for b, answer in answers.items():
                        self._send(b, loops[b], answer)
        return [self._results[b] for b in range(len(loops))]

    def _send(self, b: int, loop: Generator[Request, Any, Any], answer: Any) -> None:
        try:
            if isinstance(answer, KeyboardInterrupt):
                self._requests[b] = loop.throw(answer)
            else:
                self._requests[b] = loop.send(answer)
        except StopIteration as end:
            self._requests.pop(b, None)
            self._results[b] = end.value

    def _serve(self) -> dict[int, Any]:
        """Answers to some of the requests: whatever has to be done before the others can be."""
        places = {b: r.W for b, r in self._requests.items() if isinstance(r, Place)}
        if places:
            if len(places) == len(self._requests):
                self._build(places)
            else:
                self._adopt()
                self._insert(places)
            return {b: self._state(b) for b in places}
        self._adopt()
        renewals = [b for b, r in self._requests.items() if isinstance(r, Renew)]
        if renewals:
            if all(self.members[b].since >= CHUNK for b in self._requests):
                self._compact()
            return {b: self._requests[b].state for b in renewals}  # type: ignore[union-attr]
        return self._attempt()

    # Layouts

    def _layout(self, live: Sequence[np.ndarray]) -> tuple[int, list[np.ndarray]]:
        """Columns per device and the neurons of each member, from the neurons that are in use."""
        blocks = []
        for b, neurons in zip(self._in_slot, live, strict=True):
            share = -(-self.members[b].m // self._devices)
            ends = np.searchsorted(neurons, share * np.arange(1, self._devices))
            blocks.append(np.split(neurons, ends))
        needed = max(1, *(part.size for parts in blocks for part in parts))
        width = min(rung(needed), self._share)
        placed = []
        for parts in blocks:
            columns = np.full((self._devices, width), -1, np.int64)
            for row, part in zip(columns, parts, strict=True):
                row[: part.size] = part
            placed.append(columns.ravel())
        return width, placed

    def _used(self, b: int, W: np.ndarray) -> np.ndarray:
        if not self._keeps_zeros:
            return np.arange(self.members[b].m)
        return np.flatnonzero((W != 0.0).any(axis=0))

    def _pack(self, b: int, W: np.ndarray) -> np.ndarray:
        neurons = self.members[b].neurons
        return np.where(neurons >= 0, W[:, neurons], np.zeros((), self._dtype))

    def _put(self, packed: np.ndarray) -> Array:
        if self._mesh is None:
            return jnp.asarray(packed)
        spread = NamedSharding(self._mesh, PartitionSpec(None, None, self._mesh.axis_names[0]))
        return jax.make_array_from_callback(packed.shape, spread, lambda index: packed[index])

    def _take_slots(self, in_slot: list[int]) -> None:
        self._in_slot = in_slot
        chosen = [self._slots[b] for b in in_slot]

        def strengths(name: str) -> np.ndarray:
            return np.array([getattr(s, name) for s in chosen])

        self._term = FlowTerm(
            growth_constant=strengths("growth_constant"),
            growth_quadratic=strengths("growth_quadratic"),
            l1=strengths("l1"),
            overlap=strengths("overlap"),
            drifts=chosen[0].drifts,
            interferes=self._interferes,
        )

    def _build(self, places: dict[int, np.ndarray]) -> None:
        """Arrays for these members and no others."""
        self._take_slots(list(places))
        _, placed = self._layout([self._used(b, W) for b, W in places.items()])
        for b, neurons in zip(places, placed, strict=True):
            self.members[b].neurons = neurons
        self._W = self._put(np.stack([self._pack(b, W) for b, W in places.items()]))
        self._sample_all()

    def _insert(self, places: dict[int, np.ndarray]) -> None:
        """New weights for some members, in the columns that they have."""
        packed = np.zeros(self._W.shape, self._dtype)
        fresh = np.zeros(len(self._in_slot), bool)
        for b, W in places.items():
            packed[self._slot(b)] = self._pack(b, W)
            fresh[self._slot(b)] = True
        others = [self.members[b] for b in set(self._requests) - set(places)]
        counts = [(member.since, member.evaluations) for member in others]
        before = self._samples
        self._W = _select(fresh, self._put(packed), self._W)
        self._sample_all()
        self._samples = _select(fresh, self._samples, before)
        for member, count in zip(others, counts, strict=True):
            member.since, member.evaluations = count

    def _compact(self) -> None:
        """Drop the neurons that are dead in each member, and members that have ended."""
        running = list(self._requests)
        size = min(4 ** math.ceil(math.log(len(running), 4)), len(self._in_slot))
        if size < len(running):
            size = len(self._in_slot)
        in_slot = (running + [running[0]] * size)[:size]
        live = np.asarray(_live(self._W, self._mesh))
        old = [self._slot(b) for b in in_slot]
        used = []
        for b, slot in zip(in_slot, old, strict=True):
            neurons = self.members[b].neurons
            kept = (neurons >= 0) & (live[slot] if self._keeps_zeros else True)
            used.append(neurons[kept])
        self._take_slots(in_slot)
        _, placed = self._layout(used)
        columns = []
        for b, neurons in zip(in_slot, placed, strict=True):
            before = self.members[b].neurons
            position = np.zeros(self.members[b].m, np.int64)
            position[before[before >= 0]] = np.flatnonzero(before >= 0) % (
                before.size // self._devices
            )
            columns.append(np.where(neurons >= 0, position[neurons], -1))
        for b, neurons in zip(in_slot, placed, strict=True):
            self.members[b].neurons = neurons
        self._W = _compact(self._W, np.array(old), np.stack(columns), self._mesh)
        self._sample_all()
        for b, request in self._requests.items():
            self._refresh(b, request.state)  # type: ignore[union-attr]

    # Computing

    def _slot(self, b: int) -> int:
        return self._in_slot.index(b)

    def _sample_all(self) -> None:
        self._samples, report = _sample(self._term, self._W, self._mesh)
        self._report = jax.device_get(report)
        self._proposed = None
        for b in self._requests:
            self.members[b].since = 0
            self.members[b].accepted = False
            self.members[b].evaluations += int(self._report.evaluations[self._slot(b)])

    def _adopt(self) -> None:
        """Members whose proposal was accepted are there now."""
        if self._proposed is None:
            return
        accepted = np.array([self.members[b].accepted for b in self._in_slot])
        if accepted.all():
            self._W, self._samples = self._proposed
        elif accepted.any():
            self._W, self._samples = _select(accepted, self._proposed, (self._W, self._samples))
        self._proposed = None
        for b in self._in_slot:
            self.members[b].accepted = False
        for b, request in self._requests.items():
            if not isinstance(request, Place):
                self._hold(b, request.state)

    def _hold(self, b: int, state: DeviceState) -> None:
        """Point a state to the arrays as they are: older ones are not needed any more."""
        slot = self._slot(b)
        state.W = _Stored(self._W, slot, self._mesh)  # type: ignore[assignment]
        state.C = _Stored(self._samples.C, slot, self._mesh)  # type: ignore[assignment]

    def _refresh(self, b: int, state: DeviceState) -> None:
        """The state of a member after all were sampled anew."""
        slot, neurons = self._slot(b), self.members[b].neurons
        start = np.arange(self._n + 1, dtype=np.int64) * neurons.size
        state.layout = Layout(start, neurons, None, None)
        state.overlaps = self._report.overlaps[slot]
        state.sums = self._report.sums[slot]
        self._hold(b, state)

    def _state(self, b: int) -> DeviceState:
        nothing = np.zeros(0)
        state = DeviceState(
            Layout(nothing, nothing, None, None), nothing, nothing, nothing, 0.0, nothing
        )
        self._refresh(b, state)
        return state

    def _attempt(self) -> dict[int, Proposal]:
        for b, request in self._requests.items():
            assert isinstance(request, Attempt)
            self.members[b].attempt = (request.step, request.rtol)
        h, rtol = np.array([self.members[b].attempt for b in self._in_slot]).T
        W, samples, report = _step(self._term, self._W, self._samples, h, rtol, self._mesh)
        report = jax.device_get(report)
        self._proposed = (W, samples)
        proposals = {}
        for b in self._requests:
            slot, member = self._slot(b), self.members[b]
            member.proposed_sums = report.sums[slot]
            member.evaluations += int(report.evaluations[slot])
            proposals[b] = Proposal(
                _Stored(W, slot, self._mesh),  # type: ignore[arg-type]
                _Stored(samples.C, slot, self._mesh),  # type: ignore[arg-type]
                report.overlaps[slot],
                None,
                float(report.error[slot]),
            )
        return proposals
