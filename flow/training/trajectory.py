"""What a training leaves: a trajectory per instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flow.analysis.stationarity import certify, default_tolerance
from flow.forces import (
    FeatureBenefit,
    Force,
    Interference,
    L2Regularization,
    Regularization,
    sum_forces,
)
from flow.results.observables import Observables
from flow.results.provenance import versions
from flow.results.status import Status
from flow.results.trajectory import Trajectory
from flow.training.setup import Network, Optimizer, Training

if TYPE_CHECKING:
    from flow.training.loop import Observed, Record
    from flow.training.network import Weights


@dataclass(frozen=True)
class TrainingTrajectory(Trajectory):
    """A training run of one instance; weights and observables are those of W, or of the decoder.

    Times are learning rate × steps: flow time under gradient descent with a small step, a name
    only under AdamW. Energies, dissipation and certificate are those of the flow of
    :func:`forces_of` at the same W, also where noise, data or network make the loss another.
    """

    encoder: Trajectory | None = None
    """The same for the encoder of an untied network."""
    inner: tuple[TrainingTrajectory, ...] = ()
    """The same for every hidden layer of a stack after the first."""

    @property
    def loss(self) -> np.ndarray:
        """(k,) what is minimized, at the times of the observables.

        Where inputs or noise are drawn it is that of one draw, the next step's. Saved with the
        run as ``stats["loss"]``.
        """
        return np.array(self.stats["loss"])

    @property
    def output_bias(self) -> np.ndarray | None:
        """(s, n) b at the times of the weights; None without. Saved as ``stats["output_bias"]``."""
        bias = self.stats.get("output_bias")
        return None if bias is None else np.array(bias)


def forces_of(network: Network) -> list[Force]:
    """The forces whose flow the network follows under gradient descent with small steps.

    So it does with the full batch, without noise, tied, with one layer, linear inside, ReLU
    outside and without a bias: then −∇loss is their sum. Source: paper, section 2; theory/README,
    section 1.
    """
    forces: list[Force] = [FeatureBenefit(network.c), Interference(network.c)]
    if network.lam > 0.0:
        kind = Regularization if network.penalty == "l1" else L2Regularization
        forces.append(kind(network.lam))
    return forces


class Run(NamedTuple):
    """A finished run of all instances."""

    saved: list[int]
    """Steps at which the weights were kept; the last is where the run ended."""
    weights: list[Weights]
    """Those weights, (instances, …)."""
    recorded: list[int]
    """Steps at which observables were kept."""
    records: Record
    """Those, (records, instances, …)."""
    interrupted: bool


def trajectory(
    training: Training,
    run: Run,
    instance: int,
    *,
    parameters: Mapping[str, Any],
    metadata: Mapping[str, Any],
    seconds: float,
) -> TrainingTrajectory:
    """Pack one instance of a finished run."""
    rate, steps = training.optimizer.rate, run.saved[-1]
    status, message = _status(training.optimizer, run, instance)
    stats: dict[str, Any] = {
        "accepted": steps,
        "rejected": 0,
        "evaluations": steps,
        "t": rate * steps,
        "seconds": seconds,
        "instances": len(run.weights[-1].decoder),
        "loss": run.records.loss[:, instance].tolist(),
    }
    biases = [weights.bias for weights in run.weights if weights.bias is not None]
    if biases:
        stats["output_bias"] = [bias[instance].tolist() for bias in biases]

    forces, times = forces_of(training.network), rate * np.array(run.recorded, float)

    def matrix(name: str, weights: Sequence[np.ndarray], observed: Observed) -> TrainingTrajectory:
        kept = np.stack([W[instance] for W in weights])
        tolerance = default_tolerance(sum_forces(forces), kept.dtype)
        return TrainingTrajectory(
            times=rate * np.array(run.saved, float),
            weights=kept,
            observables=_observables(times, forces, observed, instance),
            status=status,
            message=message,
            certificate=certify(forces, kept[-1], tolerance=tolerance, curvature=False),
            stats=stats,
            parameters={
                "forces": [force.to_dict() for force in forces],
                "stationarity_tol": tolerance,
                "matrix": name,
                **parameters,
            },
            versions={**versions("incidental-flow", "numpy", "jax", "optax")},
            metadata=dict(metadata),
        )

    seen = [(run.records.decoder, run.records.encoder), *run.records.inner]
    kept = zip(*(weights.layers for weights in run.weights), strict=True)
    layers = []
    for number, ((decoder, encoder), layer) in enumerate(zip(seen, kept, strict=True), 1):
        which = f" {number}" * (number > 1)
        decoders = [matrices.decoder for matrices in layer]
        if encoder is None:
            layers.append(matrix(f"W{which}", decoders, decoder))
            continue
        encoders = [matrices.encoder for matrices in layer if matrices.encoder is not None]
        layers.append(
            replace(
                matrix(f"decoder{which}", decoders, decoder),
                encoder=matrix(f"encoder{which}", encoders, encoder),
            )
        )
    first, *inner = layers
    return replace(first, inner=tuple(inner)) if inner else first


def _status(optimizer: Optimizer, run: Run, instance: int) -> tuple[Status, str]:
    """How the instance ended; in steps alone where rate × steps is no time."""
    steps = run.saved[-1]
    last = run.weights[-1]
    bias = [] if last.bias is None else [last.bias]
    if not all(np.isfinite(a[instance]).all() for a in (*last.matrices, *bias)):
        return Status.NON_FINITE, f"infinite or NaN within {steps:,} steps; lower rate"
    count = f"{steps:,} steps"
    if optimizer.method == "adamw":
        reached, interrupted = f"took {count}", f"interrupted after {count}"
    else:
        t = f"{optimizer.rate * steps:g}, {count}"
        reached, interrupted = f"reached t_end = {t}", f"interrupted at t = {t}"
    if run.interrupted:
        return Status.INTERRUPTED, interrupted
    return Status.REACHED_T_END, reached


def _observables(
    times: np.ndarray, forces: Sequence[Force], observed: Observed, instance: int
) -> Observables:
    energies = (observed.benefit, observed.interference, observed.penalty)
    return Observables(
        times=times,
        l1=observed.l1[:, instance],
        l2=observed.l2[:, instance],
        l4=observed.l4[:, instance],
        nonzeros=observed.nonzeros[:, instance].astype(np.int64),
        energy={
            type(force).__name__: energy[:, instance]
            for force, energy in zip(forces, energies, strict=False)
        },
        dissipation=observed.dissipation[:, instance],
    )
