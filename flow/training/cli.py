"""The command line of training: flags, presets, what is said at the end.

Exit codes are those of :mod:`flow.simulate`: 0 for a run that got where it was sent, 1 for one
that did not, 2 for input that cannot be used, 130 after Ctrl-C, 143 SIGTERM, 129 SIGHUP: what was
reached is then saved.
"""

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from flow.cli.flags import (
    InputError,
    NoiseLaw,
    SavedRun,
    SaveTimes,
    check_output,
    choice,
    exit_code,
    named_flags,
    number,
    parse_flags,
    shows_bar,
    whole,
    wholes,
)
from flow.defaults import DEFAULT_DEGREES, DTYPES, noise_law, split_noise_law
from flow.training.setup import (
    BETWEEN,
    FIGURE_3,
    FIGURE_3_STEPS,
    FIGURE_4,
    FIGURE_4_STEPS,
    HIDDEN,
    MAGNITUDES,
    METHODS,
    OUTPUTS,
    PENALIZED,
    PENALTIES,
    Data,
    Network,
    Noise,
    Optimizer,
    Training,
)

if TYPE_CHECKING:
    from flow.training.trajectory import TrainingTrajectory

PROG = "python -m flow.training"
ABOUT = (
    "Trains the autoencoder y = ReLU(W Wᵀx) itself, step by step, from the same start as "
    "flow.simulate: says where it ended and saves it. --preset figure3 or figure4 sets every flag "
    "as the paper's authors had it; flags that follow win."
)


# Flags -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
@named_flags
class Loss:
    """The network, and what it is charged for: (c/4) Σ|y - x|² + λ penalty."""

    n: Annotated[int, whole(1)] = 64
    """features, the rows of W"""
    m: Annotated[int, whole(1)] = 128
    """neurons, the columns of W"""
    inner: Annotated[tuple[int, ...], wholes(1, hint="(default: no further layers)")] = ()
    """neurons of the hidden layers after the first, which make the network a stack"""
    lam: Annotated[float, number("a number >= 0", remedy="; 0 is no penalty")] = 0.01
    """weight λ of the penalty; with --untied it is twice the authors' l1, as the mean of the two
    matrices' penalties is charged, not their sum"""
    c: Annotated[float, number("a number > 0")] = Network.c
    """four times the weight of the squared error; the paper's loss has 4, its text 1"""
    penalty: Annotated[str, choice(PENALTIES)] = "l1"
    """l1: Σ|W|, l2: half of Σ W²"""
    penalized: Annotated[str, choice(PENALIZED)] = "weights"
    """weights, or the activations they make"""
    untied: bool = False
    """encoder and decoder are different matrices; of their penalties the mean counts"""
    output_bias: bool = False
    """learn a bias of every output, from 0, without a penalty"""
    hidden: Annotated[str, choice(HIDDEN)] = "linear"
    """what the hidden layer does, in a stack the last one"""
    top: Annotated[int, whole(1)] = 1
    """entries of a code that top-k keeps, those that are largest in size"""
    between: Annotated[str, choice(BETWEEN)] = "linear"
    """what the other hidden layers of a stack do, on the way in and on the way back"""
    output: Annotated[str, choice(OUTPUTS)] = "relu"
    """nonlinearity of the output"""
    dtype: Annotated[str, choice(DTYPES)] = "float64"
    """precision of W"""


@dataclass(frozen=True)
@named_flags
class Inputs:
    """What it is trained on; by default the standard basis, all of it at every step."""

    probability: Annotated[
        float | None,
        number(
            "a number > 0 and <= 1",
            high=math.nextafter(1.0, 2.0),
            hint="(default: one feature at a time)",
        ),
    ] = None
    """each feature is on with this probability, independently of the others"""
    exclusive: Annotated[int | None, whole(1, hint="(default: no blocks)")] = None
    """two blocks of n/2 features never occur together: at every input one of them, by the toss of
    a coin, has this many of its features on"""
    overlap: Annotated[float, number("a number >= 0 and <= 1", high=math.nextafter(1.0, 2.0))] = 0.0
    """probability that an input has features of the other block, too"""
    magnitude: Annotated[str, choice(MAGNITUDES)] = "one"
    """size of a feature that is on"""
    batch: Annotated[int | None, whole(1, hint="(default: the standard basis)")] = None
    """inputs drawn per step"""
    rotation: Annotated[int | None, whole(0, hint="(default: standard basis)")] = None
    """seed of random orthogonal inputs"""


@dataclass(frozen=True)
@named_flags
class TrainingNoiseFlags:
    """Noise on the hidden layer."""

    noise: NoiseLaw = "none"
    """its distribution; student-t:5 has 5 degrees of freedom"""
    sigma: Annotated[float, number("a number >= 0")] = 0.1
    """its standard deviation"""
    fresh_noise: bool = False
    """every input of every instance gets its own; otherwise all share one vector per step"""


@dataclass(frozen=True)
@named_flags
class Steps:
    """How it is trained."""

    optimizer: Annotated[str, choice(METHODS)] = "proximal"
    """gd, proximal: gd with exact zeros, sgd: gd on minibatches or with noise, adamw"""
    rate: Annotated[float, number("a number > 0")] = 0.02
    """learning rate: flow time per step, but for adamw"""
    weight_decay: Annotated[float, number("a number >= 0")] = 0.01
    """of adamw"""
    steps: Annotated[int, whole(0)] = 50_000
    """how many"""
    seed: Annotated[int, whole(0)] = 0
    """of the normal start and of the random numbers; further instances take the next ones"""
    instances: Annotated[int, whole(1)] = 1
    """runs at once"""
    scale: Annotated[float, number("a number >= 0")] = 1.0
    """entries start with standard deviation scale/√m"""
    encoder_scale: Annotated[
        float | None,
        number("a number >= 0", hint="(default: as --scale)"),
    ] = None
    """the same of the encoder of an untied network; --scale is the decoder's"""


@dataclass(frozen=True)
@named_flags
class Results:
    """What is written and shown."""

    out: SavedRun = None
    """save the run here; several instances as FILE.seed0.npz …, encoders as FILE.encoder.npz,
    further layers as FILE.layer2.npz …"""
    save_at: SaveTimes = None
    """rate × steps at which W is kept; log:N spaces N evenly in log t"""
    record_every: Annotated[int | None, whole(1, hint="(default: 200 times)")] = None
    """steps between observables"""
    overwrite: bool = False
    """replace files that exist"""
    progress: bool = True
    """show a bar (on a terminal only, unless asked for)"""
    quiet: bool = False
    """print nothing but errors"""


@dataclass(frozen=True)
@named_flags
class TrainOptions:
    """A training."""

    loss: Loss = Loss()
    inputs: Inputs = Inputs()
    noise: TrainingNoiseFlags = TrainingNoiseFlags()
    steps: Steps = Steps()
    results: Results = Results()
    preset: Annotated[str | None, choice(("figure3", "figure4"), hint="(default: none)")] = None
    """the authors' protocol of a figure of the paper, all instances of one point of it"""


def preset_options(training: Training, options: TrainOptions) -> TrainOptions:
    """`options` with the flags that stand for `training`, named as in Network and Data."""
    network, data, noise, optimizer = (
        training.network, training.data, training.noise, training.optimizer,
    )  # fmt: skip
    return replace(
        options,
        loss=replace(options.loss, **vars(network)),
        inputs=Inputs(**vars(data)),
        noise=TrainingNoiseFlags()
        if noise is None
        else TrainingNoiseFlags(
            noise=noise_law(noise.distribution, noise.degrees),
            sigma=noise.sigma,
            fresh_noise=noise.fresh,
        ),
        steps=replace(
            options.steps,
            optimizer=optimizer.method,
            rate=optimizer.rate,
            weight_decay=optimizer.weight_decay,
        ),
    )


PRESETS = {
    "figure3": preset_options(
        FIGURE_3,
        TrainOptions(
            loss=Loss(n=256, m=256, dtype="float32"),
            steps=Steps(steps=FIGURE_3_STEPS, instances=16),
        ),
    ),
    "figure4": preset_options(
        FIGURE_4,
        TrainOptions(
            loss=Loss(n=8, m=16, dtype="float32"),
            steps=Steps(steps=FIGURE_4_STEPS, instances=5),
            results=Results(record_every=5),
        ),
    ),
}


# The command line --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return its exit code."""
    return exit_code(_train, argv)


def _train(argv: list[str]) -> int:
    options = _read(argv)
    training, times, files = training_of(options), _save_times(options), _files(options)
    for path in files:
        check_output("out", path, overwrite=options.results.overwrite)
    runs = _run(options, training, times, argv)
    matrices = [
        matrix
        for run in runs
        for layer in (run, *run.inner)
        for matrix in (layer, layer.encoder)
        if matrix is not None
    ]
    for matrix, path in zip(matrices, files, strict=bool(files)):
        matrix.save(path)
    if not options.results.quiet:
        for line in summary(options, runs):
            print(line)
        if files:
            print(f"{'written':<14}{', '.join(str(path) for path in files)}")
    if any(run.status.name == "INTERRUPTED" for run in runs):
        return 130
    return 0 if all(run.status.finished for run in runs) else 1


def _read(argv: Sequence[str]) -> TrainOptions:
    """Flags on top of their preset; InputError for those that do not go together."""
    preset = parse_flags(TrainOptions, argv, TrainOptions(), PROG, ABOUT).preset
    options = parse_flags(
        TrainOptions, argv, PRESETS.get(preset or "", TrainOptions()), PROG, ABOUT
    )
    _check_idle(options, argv)
    if options.results.quiet and "--progress" in argv:
        raise InputError("expected --quiet or --progress, got both; leave one of them out")
    return options


def _check_idle(options: TrainOptions, argv: Sequence[str]) -> None:
    """InputError for a flag that was given and would do nothing."""
    given = {word.split("=")[0] for word in argv}
    noise, optimizer = options.noise.noise, options.steps.optimizer
    for flag in ("--sigma", "--fresh-noise"):
        if flag in given and noise == "none":
            raise InputError(f"{flag}: expected --noise with it, got none; add --noise normal")
    if "--weight-decay" in given and optimizer != "adamw":
        raise InputError(
            f"--weight-decay: expected --optimizer adamw with it, got {optimizer}; "
            "--penalty l2 is for any"
        )
    if "--top" in given and options.loss.hidden != "top-k":
        raise InputError(
            f"--top: expected --hidden top-k with it, got {options.loss.hidden}; leave one out"
        )
    if "--between" in given and not options.loss.inner:
        raise InputError(
            "--between: expected --inner with it, got one hidden layer, which is not between "
            "others; add --inner"
        )
    if "--encoder-scale" in given and not options.loss.untied:
        raise InputError(
            "--encoder-scale: expected --untied with it, got a tied network, which has one "
            "matrix; add --untied or give --scale"
        )


def _run(
    options: TrainOptions, training: Training, times: list[float] | None, argv: Sequence[str]
) -> list["TrainingTrajectory"]:
    """Draw the starts and train; InputError for what cannot be trained."""
    import numpy as np

    from flow.initial import gaussian_init
    from flow.training.trainer import train

    loss, how, results = options.loss, options.steps, options.results
    encoder_scale = how.scale if how.encoder_scale is None else how.encoder_scale
    seeds = range(how.seed, how.seed + how.instances)

    widths = (loss.n, loss.m, *loss.inner)

    def draw(layer: int, offset: int, scale: float) -> np.ndarray:
        n, m = widths[layer : layer + 2]
        offset += layer * LAYER_SEED
        drawn = [
            gaussian_init(n, m, seed=seed + offset, scale=scale, dtype=loss.dtype) for seed in seeds
        ]
        return np.stack(drawn)

    decoder, *inner = (draw(layer, 0, how.scale) for layer in range(len(widths) - 1))
    encoders = [
        draw(layer, ENCODER_SEED, encoder_scale) for layer in range(len(widths) - 1) if loss.untied
    ]

    about = {"scale": how.scale, "command": shlex.join([*PROG.split(), *argv])}
    if loss.untied:
        about["encoder_scale"] = encoder_scale
    try:
        return train(
            training,
            decoder,
            steps=how.steps,
            encoder0=encoders[0] if loss.untied else None,
            inner0=inner,
            inner_encoder0=encoders[1:],
            streams=seeds,
            save_at=times,
            record_every=results.record_every,
            progress=shows_bar(results.progress, results.quiet, "--progress" in argv),
            metadata=[{"seed": seed, **about} for seed in seeds],
        )
    except (ValueError, ImportError) as error:
        raise InputError(in_flags(error)) from error
    except MemoryError as error:
        raise InputError(
            f"expected a run that fits in memory, got one that does not ({error}); lower --n or --m"
        ) from error


FLAGS = {
    "Noise.distribution": "noise",
    "Noise.fresh": "fresh-noise",
    "Optimizer.method": "optimizer",
}
"""Settings whose flag is not called as they are."""


def in_flags(error: Exception) -> str:
    """What `error` says, with the flag in the place of every setting that it names."""

    def flag(found: re.Match[str]) -> str:
        return "--" + FLAGS.get(found[0], found[1].replace("_", "-"))

    return re.sub(r"\b(?:Network|Data|Noise|Optimizer)\.(\w+)", flag, str(error))


ENCODER_SEED = 1_000_000
"""The encoder of an untied network starts from --seed plus this."""
LAYER_SEED = 2_000_000
"""Every hidden layer of a stack starts from that of the one before it plus this."""


def training_of(options: TrainOptions) -> Training:
    """The settings that the flags stand for; InputError where they do not go together."""
    loss, inputs, noise, steps = options.loss, options.inputs, options.noise, options.steps
    law, degrees = ("", None) if noise.noise == "none" else split_noise_law(noise.noise)
    try:
        return Training(
            network=Network(**{field.name: getattr(loss, field.name) for field in fields(Network)}),
            data=Data(**vars(inputs)),
            noise=None
            if not law
            else Noise(
                distribution=law,
                sigma=noise.sigma,
                degrees=DEFAULT_DEGREES if degrees is None else degrees,
                fresh=noise.fresh_noise,
            ),
            optimizer=Optimizer(
                method=steps.optimizer, rate=steps.rate, weight_decay=steps.weight_decay
            ),
        )
    except ValueError as error:
        raise InputError(in_flags(error)) from error


def _save_times(options: TrainOptions) -> list[float] | None:
    """--save-at as learning rate × steps."""
    words = options.results.save_at
    if words is None:
        return None
    rate, steps = options.steps.rate, options.steps.steps
    if words[0].startswith("log:"):
        count = int(words[0][4:])
        ends = {max(1, round(steps ** (k / count))) for k in range(1, count + 1)}
        return [0.0, *(rate * end for end in sorted(ends) if end <= steps)]
    times = [float(word) for word in words]
    if round(times[-1] / rate) > steps:
        raise InputError(
            f"--save-at: expected times up to --rate × --steps = {rate * steps:g}, got "
            f"{times[-1]:g}"
        )
    return times


def _files(options: TrainOptions) -> list[Path]:
    """Names of the files to write, by instance, then layer, each decoder before its encoder."""
    out, how = options.results.out, options.steps
    if out is None:
        return []
    names = []
    for seed in range(how.seed, how.seed + how.instances):
        stem = out.stem if how.instances == 1 else f"{out.stem}.seed{seed}"
        for layer in range(1, 2 + len(options.loss.inner)):
            name = f"{stem}.layer{layer}" if layer > 1 else stem
            names += [name, f"{name}.encoder"] if options.loss.untied else [name]
    return [out.with_name(f"{name}{out.suffix}") for name in names]


def summary(options: TrainOptions, runs: Sequence["TrainingTrajectory"]) -> Iterator[str]:
    """Lines about finished runs: one for each, and one for their means if there are several."""
    import numpy as np

    loss, how, first = options.loss, options.steps, runs[0]
    yield (
        f"{'objective':<14}({loss.c:g}/4) Σ|y - x|² + {loss.lam:g} {loss.penalty} of "
        f"{loss.penalized}, hidden {loss.hidden}, output {loss.output}"
        f"{', with a bias' * loss.output_bias}{', untied' * loss.untied}"
    )
    encoder = "" if how.encoder_scale is None else f", of the encoder {how.encoder_scale:g}"
    yield (
        f"{'start':<14}n = {loss.n} features, m = {', '.join(map(str, (loss.m, *loss.inner)))} "
        f"neurons, seed {how.seed}, "
        f"scale {how.scale:g}{encoder}"
    )
    yield (
        f"{'work':<14}{how.optimizer}, rate {how.rate:g}, {first.stats['accepted']:,} steps of "
        f"{len(runs)} instance{'s' * (len(runs) > 1)}, {first.stats['seconds']:.2f} s, {loss.dtype}"
    )
    ends = []
    for seed, run in enumerate(runs, how.seed):
        name = f"{f'seed {seed}':<14}"
        if not np.isfinite(run.final).all():
            yield f"{name}{run.message} ({run.status.value})"
            continue
        ends.append(_end(run))
        shown = _shown({key: f"{value:.4g}" for key, value in ends[-1].items()})
        yield f"{name}{run.message}, {shown}, largest |dW/dt| {run.certificate.residual:.1e}"
    if len(ends) > 1:
        means = {key: _mean([end[key] for end in ends]) for key in ends[0]}
        yield f"{'mean':<14}{_shown(means)} (± 95 % interval, {len(ends)} instances)"


def _end(run: "TrainingTrajectory") -> dict[str, float]:
    """The numbers that are said of the end of a run, and its first loss."""
    import numpy as np

    from flow.analysis.states import AUTHORS_WINDOW, polysemantic_neurons

    W = run.final
    return {
        "first loss": float(run.loss[0]),
        "last loss": float(run.loss[-1]),
        "non-zeros": float(np.count_nonzero(W, axis=1).mean()),
        "l1": float(np.abs(W).sum(axis=1).mean()),
        "l4": float((W**4).sum(axis=1).mean()),
        "polysemantic": polysemantic_neurons(W),
        "in the window": polysemantic_neurons(W, window=AUTHORS_WINDOW),
    }


def _mean(values: Sequence[float]) -> str:
    from flow.analysis.statistics import mean_and_interval

    mean, half = mean_and_interval(values)
    return f"{mean:.4g} ± {half:.2g}"


def _shown(end: dict[str, str]) -> str:
    return (
        f"loss {end['first loss']} → {end['last loss']}, {end['non-zeros']} non-zeros per feature, "
        f"|W_i|₁ {end['l1']}, |W_i|₄⁴ {end['l4']}, polysemantic {end['polysemantic']} "
        f"({end['in the window']} in 0.8…1.2)"
    )
