"""Runs on whatever device JAX has: one, many at once, or one over several devices.

A :class:`Batch` computes one round at a time for all its members: :meth:`Batch.try_steps` steps
every member by its own length, with
:class:`flow.accelerator.solver.ProximalChebyshevSolver` under ``vmap``, and :meth:`Batch.accept`
takes over the proposals that the driver accepted. Members end on their own.

Neurons that are zero in every row are dropped once every member has made :data:`CHUNK` accepted
steps since that was last done. What is kept then depends on W alone, and so does everything that
follows: a run goes on bitwise the same from any W, t and step that end a chunk. Widths come in
buckets, so that few programs are compiled. Over a mesh every device keeps the neurons that it got
at the start; G = W Wᵀ is the all-reduced sum of their products, and nothing else of size n² or
n·m moves.

Matrix products have the precision of their operands (no TF32). How much memory JAX takes in
advance is left to its environment variables.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from flow.accelerator.rows import Array, row_sum, scalar_dtype
from flow.accelerator.settings import own_settings
from flow.accelerator.solver import (
    FlowTerm,
    ProximalChebyshevSolver,
    RowInterpolation,
    Sample,
    row_norm,
)
from flow.forces import ForceSum
from flow.integrators.layout import Layout
from flow.integrators.schemes import MeanDrift, Proposal
from flow.kernels.interference import Coupling
from flow.kernels.rows import RowSums

CHUNK = 16
"""Accepted steps between two compactions."""
MIN_BUCKET = 64
"""The narrowest width that arrays are padded to."""


def bucket(width: int) -> int:
    """The padded width that holds so many neurons: 64, 128, 256, …"""
    return MIN_BUCKET * 2 ** max(0, math.ceil(math.log2(width / MIN_BUCKET)))


# On the device -----------------------------------------------------------------------------------


class _Report(NamedTuple):
    """What the driver reads after a step: small."""

    error: Array
    coupling: Coupling
    sums: RowSums
    stiffness: Array
    evaluations: Array


_MEMBERS = "members"
"""The axis of a batch, where there is more than one in it."""


def _each_member(one: Callable[..., Any], *arguments: Any) -> Any:
    """`one` of every member and of :data:`_MEMBERS`. A lone member is not vectorised, and there is
    no axis: in loops that end by a condition, vectorised code keeps what it had of everything
    beside what it makes."""
    if jax.tree.leaves(arguments)[0].shape[0] > 1:
        return jax.vmap(partial(one, _MEMBERS), axis_name=_MEMBERS)(*arguments)
    lone = one(None, *jax.tree.map(lambda a: a[0], arguments))
    return jax.tree.map(lambda a: a[None], lone)


def _row_sums(term: FlowTerm, W: Array, sample: Sample) -> RowSums:
    """See :func:`flow.kernels.rows.sum_rows`."""
    speed = jnp.abs(term.velocity(W, sample))
    square = W * W
    sums = RowSums(
        l1=row_sum(jnp.abs(W)),
        squared_norm=row_sum(square),
        l4=row_sum(square * square),
        nonzeros=row_sum(W != 0.0),
        violation=jnp.max(speed, axis=-1),
        dissipation=row_sum(speed * speed),
    )
    return RowSums(*(part.astype(scalar_dtype()) for part in sums))


def _replicated(tree: Any, mesh: Any) -> Any:
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


@partial(jax.jit, static_argnames="mesh")
def _sample(term: FlowTerm, W: Array, mesh: Any) -> tuple[Sample, _Report]:
    def one(_: str | None, term: FlowTerm, W: Array) -> tuple[Sample, _Report]:
        sample = term.sample(jnp.zeros((), scalar_dtype()), W, None)
        return sample, _Report(
            jnp.zeros((), scalar_dtype()),
            sample.coupling,
            _row_sums(term, W, sample),
            sample.stiffness,
            sample.evaluations,
        )

    sample, report = _each_member(one, term, W)
    return sample, _replicated(report, mesh)


@partial(jax.jit, static_argnames=("keep", "mesh"))
def _step(
    term: FlowTerm, W: Array, sample: Sample, h: Array, rtol: Array, keep: bool, mesh: Any
) -> tuple[Array, Sample, _Report, MeanDrift | None]:
    def one(
        members: str | None, term: FlowTerm, W: Array, sample: Sample, h: Array, rtol: Array
    ) -> tuple[Array, Sample, _Report, MeanDrift | None]:
        solver = ProximalChebyshevSolver(rtol=rtol, bounds_steps=False, members=members)
        W1, error, dense, end, _ = solver.step(term, jnp.zeros_like(h), h, W, None, sample, False)
        sums = _row_sums(term, W1, end)
        report = _Report(row_norm(error), end.coupling, sums, end.stiffness, end.evaluations)
        return W1, end, report, MeanDrift(dense["P"], dense["rho"]) if keep else None

    W1, end, report, mean = _each_member(one, term, W, sample, h, rtol)
    return W1, end, _replicated(report, mesh), mean


@jax.jit
def _inside(
    equation: Array, W: Array, C: Array, rho: Array, mean: MeanDrift, h: Array, theta: Array
) -> Array:
    """W : (n, width) of one member at the share theta of its step."""
    step = RowInterpolation(
        t0=jnp.zeros_like(h), t1=h, y0=W, C0=C, P=mean.drift, rho0=rho, rho=mean.radial,
        equation=equation,
    )  # fmt: skip
    return step.evaluate(theta * h)


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


@jax.jit
def _take_member(W: Array, slot: int) -> Array:
    """(1, n, width); one program for all slots."""
    return jax.lax.dynamic_slice_in_dim(W, slot, 1, axis=0)


@partial(jax.jit, static_argnames=("size", "mesh"))
def _block(W: Array, slot: int, start: int, size: int, mesh: Any) -> Array:
    return _replicated(jax.lax.dynamic_slice_in_dim(W[slot], start, size, axis=1), mesh)


# On the host -------------------------------------------------------------------------------------


class _Stored:
    """W or C of one member as it was after one call; NumPy makes an array of it on demand.

    It keeps the arrays of all members alive.
    """

    def __init__(self, values: Array, slot: int, mesh: Any) -> None:
        self.values, self.slot, self.mesh = values, slot, mesh

    def rows(self) -> np.ndarray:
        """(n, width)."""
        with own_settings():
            if self.values.is_fully_addressable:
                lone = self.values.shape[0] == 1
                return np.asarray(self.values if lone else _take_member(self.values, self.slot))[0]
            # Block by block: no device need hold all of W.
            width = self.values.shape[2]
            size = width // self.mesh.size
            blocks = [
                _block(self.values, self.slot, start, size, self.mesh)
                for start in range(0, width, size)
            ]
            return np.concatenate([np.asarray(b.addressable_data(0)) for b in blocks], axis=1)

    def alone(self) -> _Stored:
        """The same values, in an array that has nothing else in it."""
        with own_settings():
            return _Stored(_take_member(self.values, self.slot), 0, self.mesh)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.rows().ravel(), dtype)


@dataclass(frozen=True)
class DeviceState:
    """Where a member is: W and C are on the device until they are read."""

    layout: Layout
    """Neuron −1 is padding."""
    W: _Stored
    C: _Stored
    coupling: Coupling
    sums: RowSums
    stiffness: float
    since: int
    """Accepted steps since neurons were last dropped."""

    def alone(self) -> DeviceState:
        """The same state, which no longer keeps the arrays of the other members alive."""
        return replace(self, W=self.W.alone(), C=self.C.alone())

    def dense(self, m: int) -> np.ndarray:
        """W : (n, m) with every neuron in its place."""
        return self.scatter(self.W.rows(), m)

    def scatter(self, rows: np.ndarray, m: int) -> np.ndarray:
        """The (n, m) array of rows : (n, width) in this layout."""
        neurons = self.layout.neurons
        full = np.zeros((rows.shape[0], m), rows.dtype)
        full[:, neurons[neurons >= 0]] = rows[:, neurons >= 0]
        return full


@dataclass
class _Member:
    """What a batch knows of one of its runs."""

    m: int
    neurons: np.ndarray
    """(width,) which neuron each column is; −1 for padding."""
    evaluations: int = 0
    since: int = 0
    """Accepted steps since the last compaction."""
    trial: tuple[float, float] = (1.0, 1.0)
    """Step and tolerance that were tried last."""


class Batch:
    """Runs that are computed together, one round at a time.

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
        slots: Sequence[ForceSum],
        n: int,
        m: int | Sequence[int],
        dtype: np.dtype,
        *,
        mesh: Any = None,
    ) -> None:
        if mesh is not None and len(mesh.axis_names) != 1:
            raise ValueError(
                f"expected a mesh with one axis, for the neurons, got {mesh.axis_names}; "
                f"make it with jax.make_mesh((devices,), ('neurons',))"
            )
        if mesh is not None:
            # What moves is for the compiler to find, whichever way the mesh was made.
            mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names)
        sizes = [m] * len(slots) if isinstance(m, int) else list(m)
        self._members = [_Member(size, np.zeros(0, np.int64)) for size in sizes]
        self._n, self._dtype, self._mesh = n, dtype, mesh
        self._devices = 1 if mesh is None else mesh.size
        widest = max(sizes)
        self._share = -(-widest // self._devices)
        if min(sizes) < widest:
            self._share = bucket(self._share)
        self._slots = slots
        self._preserves_dead_neurons = all(s.preserves_dead_neurons for s in slots)
        self._interferes = any(s.interferes for s in slots)
        self._leaks = any(s.leak_strength != 0.0 for s in slots)
        self._in_slot: list[int] = []
        """Which member each slot of the arrays belongs to."""
        self._W: Array = None
        """(slots, n, width) where the members are."""
        self._samples: Any = None
        """The field there."""
        self._report: Any = None
        """What was read of it."""
        self._proposed: Any = None
        """W, samples and report after the steps that were tried last."""

    def evaluations(self, b: int) -> int:
        """Evaluations of the field that member b took so far."""
        return self._members[b].evaluations

    def single(self, b: int) -> Batch:
        """Member b with the same arrays, to be gone on with on its own.

        Of a batch of one this has the same future to the last bit; in a larger one neurons are
        dropped at times that depend on the others.
        """
        member, slot = copy.copy(self._members[b]), self._slot(b)
        twin = Batch([self._slots[b]], self._n, member.m, self._dtype, mesh=self._mesh)
        twin._members, twin._share = [member], self._share
        twin._assign_slots([0])
        with own_settings():
            twin._W, twin._samples = jax.tree.map(
                lambda a: a[slot : slot + 1], (self._W, self._samples)
            )
        twin._report = jax.tree.map(lambda a: a[slot : slot + 1], self._report)
        return twin

    def load(self, b: int, arrays: Mapping[str, np.ndarray]) -> DeviceState:
        """Member b of a batch of one as :meth:`BatchMember.dump` left it, bit for bit."""
        member = self._members[b]
        member.neurons = arrays["neurons"]
        member.since, member.evaluations = int(arrays["since"]), int(arrays["evaluations"])
        self._assign_slots([b])
        coupling = Coupling(*(arrays[name][None] for name in Coupling._fields))
        sums = RowSums(*(arrays[f"sums_{name}"][None] for name in RowSums._fields))
        with own_settings():
            count = jnp.zeros(1, jnp.result_type(int))
            self._W = self._on_device(arrays["W"][None])
            self._samples = Sample(
                self._on_device(arrays["C"][None]), jax.tree.map(jnp.asarray, coupling),
                jnp.asarray(arrays["stiffness"][None]), count,
            )  # fmt: skip
        self._report = _Report(
            np.zeros(1), coupling, sums, arrays["stiffness"][None], np.zeros(1, int)
        )
        return self._state(b)

    # One round ---------------------------------------------------------------

    def init(self, starts: Mapping[int, np.ndarray]) -> dict[int, DeviceState]:
        """The states of some members at W : (n, m), each in a layout that depends on W alone.

        Once all members are there, those that are given anew keep the columns that they have.
        """
        with own_settings():
            if self._W is None or set(starts) >= set(self._in_slot):
                self._build(starts)
            else:
                self._insert(starts)
            return {b: self._state(b) for b in starts}

    def try_steps(
        self, trials: Mapping[int, tuple[float, float]], *, keep: bool
    ) -> dict[int, Proposal]:
        """What the scheme proposes for each member of `trials` after its step, to its tolerance.

        With `keep`, each proposal has what :meth:`inside` needs.
        """
        for b, trial in trials.items():
            self._members[b].trial = trial
        with own_settings():
            h, rtol = np.array([self._members[b].trial for b in self._in_slot]).T
            W, samples, report, mean = _step(
                self._term, self._W, self._samples, h, rtol, keep, self._mesh
            )
            report = jax.device_get(report)
            if mean is not None:
                radial = jax.device_get(mean.radial)
        self._proposed = (W, samples, report)
        proposals = {}
        for b in trials:
            slot = self._slot(b)
            self._members[b].evaluations += int(report.evaluations[slot])
            proposals[b] = Proposal(
                _Stored(W, slot, self._mesh),  # type: ignore[arg-type]  # read on demand
                _Stored(samples.C, slot, self._mesh),  # type: ignore[arg-type]
                Coupling(*(part[slot] for part in report.coupling)),
                None,
                float(report.error[slot]),
                None
                if mean is None
                else MeanDrift(_Stored(mean.drift, slot, self._mesh), radial[slot]),
            )
        return proposals

    def inside(
        self, b: int, state: DeviceState, proposal: Proposal, h: float, theta: float, rtol: float
    ) -> np.ndarray:
        """W : (n, m) of member b at the share 0 < theta < 1 of a step that was tried with
        `keep`."""
        assert proposal.mean is not None
        total = self._slots[b]
        law = (total.growth_constant, total.growth_quadratic, total.l1, 0.05 * rtol)
        drift, radial = proposal.mean
        with own_settings():
            W = _inside(
                np.array(law), state.W.values[state.W.slot], state.C.values[state.C.slot],
                state.coupling.radial, MeanDrift(drift.values[drift.slot], radial),
                np.float64(h), np.float64(theta),
            )  # fmt: skip
            return state.scatter(_Stored(W[None], 0, self._mesh).rows(), self._members[b].m)

    def accept(self, accepted: Collection[int], running: Collection[int]) -> dict[int, DeviceState]:
        """The states of the `running` members, of which those `accepted` take over their proposal.

        Others stay where they are, in the arrays as they are now: older ones are let go.
        """
        with own_settings():
            self._take_over(accepted)
            if all(self._members[b].since >= CHUNK for b in running):
                self._compact(list(running))
            return {b: self._state(b) for b in running}

    # Layouts -----------------------------------------------------------------

    def _layout(self, live: Sequence[np.ndarray]) -> tuple[int, list[np.ndarray]]:
        """Columns per device and the neurons of each member, from the neurons that are in use."""
        blocks = []
        for b, neurons in zip(self._in_slot, live, strict=True):
            share = -(-self._members[b].m // self._devices)
            ends = np.searchsorted(neurons, share * np.arange(1, self._devices))
            blocks.append(np.split(neurons, ends))
        needed = max(1, *(part.size for parts in blocks for part in parts))
        width = min(bucket(needed), self._share)
        placed = []
        for parts in blocks:
            columns = np.full((self._devices, width), -1, np.int64)
            for row, part in zip(columns, parts, strict=True):
                row[: part.size] = part
            placed.append(columns.ravel())
        return width, placed

    def _used(self, b: int, W: np.ndarray) -> np.ndarray:
        if not self._preserves_dead_neurons:
            return np.arange(self._members[b].m)
        return np.flatnonzero((W != 0.0).any(axis=0))

    def _packed(self, b: int, W: np.ndarray) -> np.ndarray:
        neurons = self._members[b].neurons
        return np.where(neurons >= 0, W[:, neurons], np.zeros((), self._dtype))

    def _on_device(self, packed: np.ndarray) -> Array:
        if self._mesh is None:
            return jnp.asarray(packed)
        spread = NamedSharding(self._mesh, PartitionSpec(None, None, self._mesh.axis_names[0]))
        return jax.make_array_from_callback(packed.shape, spread, lambda index: packed[index])

    def _assign_slots(self, in_slot: list[int]) -> None:
        """Which members the arrays hold, and their forces."""
        self._in_slot = in_slot
        chosen = [self._slots[b] for b in in_slot]

        def strengths(name: str) -> np.ndarray:
            return np.array([getattr(s, name) for s in chosen])

        self._term = FlowTerm(
            growth_constant=strengths("growth_constant"),
            growth_quadratic=strengths("growth_quadratic"),
            l1=strengths("l1"),
            pair_strength=strengths("pair_strength"),
            leak_strength=strengths("leak_strength"),
            drifts=chosen[0].drifts,
            interferes=self._interferes,
            leaks=self._leaks,
        )

    def _build(self, starts: Mapping[int, np.ndarray]) -> None:
        """Arrays for these members and no others."""
        self._assign_slots(list(starts))
        _, placed = self._layout([self._used(b, W) for b, W in starts.items()])
        for b, neurons in zip(starts, placed, strict=True):
            self._members[b].neurons = neurons
        self._W = self._on_device(np.stack([self._packed(b, W) for b, W in starts.items()]))
        self._sample(list(starts))

    def _insert(self, starts: Mapping[int, np.ndarray]) -> None:
        """New weights for some members, in the columns that they have."""
        packed = np.zeros(self._W.shape, self._dtype)
        fresh = np.zeros(len(self._in_slot), bool)
        for b, W in starts.items():
            packed[self._slot(b)] = self._packed(b, W)
            fresh[self._slot(b)] = True
        before, report = self._samples, self._report
        self._W = _select(fresh, self._on_device(packed), self._W)
        self._sample(list(starts))
        self._samples = _select(fresh, self._samples, before)
        self._report = _select_on_host(fresh, self._report, report)

    def _compact(self, running: list[int]) -> None:
        """Drop the neurons that are dead in each member, and members that have ended."""
        size = min(4 ** math.ceil(math.log(len(running), 4)), len(self._in_slot))
        if size < len(running):
            size = len(self._in_slot)
        in_slot = (running + [running[0]] * size)[:size]
        live = np.asarray(_live(self._W, self._mesh))
        old = [self._slot(b) for b in in_slot]
        used = []
        for b, slot in zip(in_slot, old, strict=True):
            neurons = self._members[b].neurons
            kept = (neurons >= 0) & (live[slot] if self._preserves_dead_neurons else True)
            used.append(neurons[kept])
        self._assign_slots(in_slot)
        _, placed = self._layout(used)
        columns = []
        for b, neurons in zip(in_slot, placed, strict=True):
            before = self._members[b].neurons
            position = np.zeros(self._members[b].m, np.int64)
            position[before[before >= 0]] = np.flatnonzero(before >= 0) % (
                before.size // self._devices
            )
            columns.append(np.where(neurons >= 0, position[neurons], -1))
        for b, neurons in zip(in_slot, placed, strict=True):
            self._members[b].neurons = neurons
        self._W = _compact(self._W, np.array(old), np.stack(columns), self._mesh)
        self._sample(running)

    # Computing ---------------------------------------------------------------

    def _slot(self, b: int) -> int:
        return self._in_slot.index(b)

    def _sample(self, fresh: Collection[int]) -> None:
        """The field where the members are; it counts for those that are `fresh` in their layout."""
        self._samples, report = _sample(self._term, self._W, self._mesh)
        self._report = jax.device_get(report)
        self._proposed = None
        for b in fresh:
            self._members[b].since = 0
            self._members[b].evaluations += int(self._report.evaluations[self._slot(b)])

    def _take_over(self, accepted: Collection[int]) -> None:
        chosen = np.array([b in accepted for b in self._in_slot])
        proposed, self._proposed = self._proposed, None
        if chosen.all():
            self._W, self._samples, self._report = proposed
        elif chosen.any():
            W, samples, report = proposed
            self._W, self._samples = _select(chosen, (W, samples), (self._W, self._samples))
            self._report = _select_on_host(chosen, report, self._report)
        for b in accepted:
            self._members[b].since += 1

    def _state(self, b: int) -> DeviceState:
        slot, neurons = self._slot(b), self._members[b].neurons
        start = np.arange(self._n + 1, dtype=np.int64) * neurons.size
        return DeviceState(
            Layout(start, neurons, None, None),
            _Stored(self._W, slot, self._mesh),
            _Stored(self._samples.C, slot, self._mesh),
            Coupling(*(part[slot] for part in self._report.coupling)),
            RowSums(*(part[slot] for part in self._report.sums)),
            float(self._report.stiffness[slot]),
            self._members[b].since,
        )


def _select_on_host(chosen: np.ndarray, new: Any, old: Any) -> Any:
    def one(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(chosen.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(one, new, old)


@dataclass(frozen=True)
class BatchMember:
    """A member of a batch, as :class:`flow.integrators.backend.Backend` has a run."""

    batch: Batch
    b: int = 0

    @property
    def evaluations(self) -> int:
        return self.batch.evaluations(self.b)

    def init(self, W: np.ndarray) -> DeviceState:
        return self.batch.init({self.b: W})[self.b]

    def try_step(self, state: DeviceState, h: float, rtol: float, *, keep: bool) -> Proposal:
        return self.batch.try_steps({self.b: (h, rtol)}, keep=keep)[self.b]

    def inside(
        self, state: DeviceState, proposal: Proposal, h: float, theta: float, rtol: float
    ) -> np.ndarray:
        return self.batch.inside(self.b, state, proposal, h, theta, rtol)

    def accept(self, state: DeviceState, proposal: Proposal) -> DeviceState:
        return self.batch.accept([self.b], [self.b])[self.b]

    def row_sums(self, state: DeviceState) -> RowSums:
        return state.sums

    def dump(self, state: DeviceState) -> dict[str, np.ndarray]:
        return {
            "W": state.W.rows(),
            "C": state.C.rows(),
            "stiffness": np.array(state.stiffness),
            **{name: np.asarray(part) for name, part in state.coupling._asdict().items()},
            **{f"sums_{name}": np.asarray(part) for name, part in state.sums._asdict().items()},
            "neurons": state.layout.neurons,
            "since": np.array(state.since),
            "evaluations": np.array(self.evaluations),
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> DeviceState:
        return self.batch.load(self.b, arrays)

    def copy(self) -> BatchMember:
        return BatchMember(self.batch.single(self.b))
