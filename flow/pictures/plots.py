"""Pictures of runs: one run in four panels, several runs side by side, who is where, a film.

Everything drawn is in a :class:`flow.results.trajectory.Trajectory`, its
:class:`flow.results.film.Film` and a
:class:`Law`; nothing is computed here but means and orders. Figures are built on their own Agg
canvas, without pyplot and its global state.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from flow.analysis.states import is_polysemantic, polysemantic_neurons
from flow.pictures.law import Law
from flow.results.files import written_aside
from flow.results.film import Film
from flow.results.trajectory import Trajectory

STYLE = Path(__file__).with_name("style.mplstyle")

# Dark blue, light orange and mid grey keep apart for colour-blind eyes and in grey.
ALONE, SHARED, DYING = "#0b3c7d", "#e69f00", "#9a9a9a"
ENERGY_LINES = {
    "FeatureBenefit": ("feature benefit", "#0b3c7d", "-"),
    "Interference": ("interference", "#d55e00", (0, (4, 1.5))),
    "Regularization": ("regularization", "#a05a00", (0, (1, 1))),
}
FORCES = tuple(ENERGY_LINES)
# Under noise two of them are what they are on average over it.
ENERGY_LINES |= {f"Noisy{name}": ENERGY_LINES[name] for name in ("FeatureBenefit", "Interference")}
SIGNED = LinearSegmentedColormap.from_list("signed", ["#0b1f4b", "#f4f1ec", "#e08214"])
"""Negative dark, zero light, positive in between: three different greys."""

SHOWN_FEATURES = 6
SHOWN_WEIGHTS = 40
PIXELS = 128
FILM_FRAMES = 60
MOST_LINES = 20_000
MOST_NODES, MOST_NUMBERS = 64, 64
"""Features that are all drawn as a graph; nodes on one side that have room for their numbers."""
MOST_DOTS = 4
"""Non-zeros per row or column up to which a wide W is drawn as dots."""
BEFORE_FIRST = 0.08
"""How far to the left of the first time after it time 0 is drawn, as a share of all that is right
of it on a logarithmic axis."""
MOST_POWERS = 6
"""Powers of ten that have room for their labels."""


# Figures -----------------------------------------------------------------------------------------


def single_run(traj: Trajectory, film: Film, law: Law | None) -> Figure:
    """Four panels: weights by their fate, norms with the law, energies, W at the end."""
    with in_style():
        figure = new_figure(9.0, 8.0)
        axes = figure.subplots(2, 2)
        draw_weights(axes[0, 0], film, traj.final)
        draw_norms(axes[0, 1], traj, law)
        draw_energies(axes[1, 0], traj)
        draw_final(axes[1, 1], traj)
        figure.suptitle(_caption(traj), fontsize=12, x=0.01, ha="left")
    return figure


def comparison(
    runs: Mapping[str, Trajectory], films: Mapping[str, Film], laws: Mapping[str, Law | None]
) -> Figure:
    """One row of panels per run: weights, norms, energies, W at the end."""
    with in_style():
        figure = new_figure(14.5, 2.9 * len(runs) + 0.4)
        rows = figure.subplots(len(runs), 4, squeeze=False)
        for k, (name, traj) in enumerate(runs.items()):
            label = "all forces" if name == "all" else name.replace("-", " ")
            draw_weights(rows[k, 0], films[name], traj.final, title=label, legend=k == 0)
            draw_norms(rows[k, 1], traj, laws[name], legend=k == 0)
            draw_energies(rows[k, 2], traj, legend=k == 0)
            draw_final(rows[k, 3], traj)
            if k < len(runs) - 1:
                for axis in rows[k, :3]:
                    axis.set_xlabel("")
        first = next(iter(runs.values()))
        figure.suptitle(_setting(first), fontsize=12, x=0.01, ha="left")
    return figure


def bipartite(traj: Trajectory) -> Figure:
    """Features and neurons at the end, joined where a weight is not zero."""
    with in_style():
        figure = new_figure(7.0, 9.0)
        draw_bipartite(figure.subplots(), traj.final)
        figure.suptitle(_caption(traj), fontsize=12, x=0.01, ha="left")
    return figure


def draw_bipartite(axis: Axes, W: np.ndarray) -> None:
    """W : (n, m) as a graph: features on the left, the neurons in use on the right.

    A shared neuron and its features are light; negative weights are dashed. Nodes have their
    numbers, counted from 0, where there is room. Of more than MOST_NODES features that are each on
    one neuron at the most, those that share are drawn alone, as the others would be parallel lines.
    Of more than MOST_LINES non-zeros the largest are drawn.
    """
    every, alone = W.shape[0], 0
    numbers = np.arange(every)
    if every > MOST_NODES and (np.count_nonzero(W, axis=1) <= 1).all():
        sharing = (W[:, is_polysemantic(W)] != 0.0).any(axis=1)
        if sharing.any():
            alone = int((W.any(axis=1) & ~sharing).sum())
            numbers, W = np.flatnonzero(sharing), W[sharing]
    deaths = every - alone - int(W.any(axis=1).sum())
    rows, columns = winner_order(W)
    columns = columns[: np.count_nonzero(W.any(axis=0))]
    W = W[np.ix_(rows, columns)]
    names = (numbers[rows], columns)
    load = np.count_nonzero(W, axis=0)
    feature, neuron = np.nonzero(W)
    total = feature.size
    if total > MOST_LINES:
        keep = np.argsort(-np.abs(W[feature, neuron]), kind="stable")[:MOST_LINES]
        feature, neuron = feature[keep], neuron[keep]
    heights = _graph_heights(W != 0.0)
    left = np.column_stack([np.zeros(feature.size), heights[0][feature]])
    right = np.column_stack([np.ones(neuron.size), heights[1][neuron]])
    crowded = is_polysemantic(W)
    shared, negative = crowded[neuron], W[feature, neuron] < 0.0
    handles = []
    for colour, on, whose in ((ALONE, ~shared, "one feature"), (SHARED, shared, "shared neuron")):
        for dashes, sign, name in (("-", ~negative, "W > 0"), ((0, (4, 2)), negative, "W < 0")):
            lines = np.stack([left[on & sign], right[on & sign]], axis=1)
            if lines.size:
                axis.add_collection(
                    LineCollection(list(lines), colors=colour, linestyles=dashes, linewidths=1.0)
                )
                handles.append(
                    Line2D([], [], color=colour, ls=dashes, lw=1.5, label=f"{whose}, {name}")
                )
    dead = ~W.any(axis=1)
    axis.scatter(np.zeros(dead.size), heights[0], s=6, c=np.where(dead, DYING, "black"), zorder=3)
    colours = np.where(crowded, SHARED, ALONE)
    axis.scatter(np.ones(load.size), heights[1], s=np.minimum(6 * load, 60), c=colours, zorder=3)
    for x, where, shown, places in ((0, "right", names[0], heights[0]),
                                    (1, "left", names[1], heights[1])):  # fmt: skip
        if len(shown) <= MOST_NUMBERS:
            for number, height in zip(shown, places, strict=True):
                axis.annotate(
                    str(number), (x, height), xytext=(-7 if x == 0 else 7, 0),
                    textcoords="offset points", ha=where, va="center",
                    fontsize=min(11.0, 420.0 / len(shown)),
                )  # fmt: skip
    axis.set(xlim=(-0.09, 1.09), ylim=(1.0, 0.0), yticks=[], xticks=[0, 1])
    axis.set_xticklabels(
        [f"{every} features\n({deaths} dead)", f"{load.size + alone} neurons in use\n"
         f"({crowded.sum()} shared)"]
    )  # fmt: skip
    axis.grid(False)
    axis.spines[["left", "bottom"]].set_visible(False)
    few = f" (largest {MOST_LINES:,} of {total:,})" if total > MOST_LINES else ""
    few = f"\n({alone} that are alone on theirs are left out)" if alone else few
    axis.set_title(f"Which feature is on which neuron{few}")
    if handles:
        axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)


def draw_weights(
    axis: Axes, film: Film, W_end: np.ndarray, *, title: str | None = None, legend: bool = True
) -> None:
    """|W_ik| of a few features over time: kept alone, kept on a shared neuron, lost.

    W_end : (n, m) of all features says which neurons are shared: a film of wide weights has some
    features alone.
    """
    times, W = _time_axis(axis, film.times), np.abs(film.weights)
    final = W[-1]
    shared_neurons = is_polysemantic(W_end)
    lines: dict[str, list[np.ndarray]] = {DYING: [], ALONE: [], SHARED: []}
    features = _shown_features(final, shared_neurons)
    for row in features:
        peak = W[:, row].max(axis=0)
        kept = np.flatnonzero(final[row])
        largest = np.argsort(-peak, kind="stable")[:SHOWN_WEIGHTS]
        for k in np.union1d(kept, largest):
            track = W[:, row, k].astype(np.float64)
            # A weight is drawn down to its first zero, then no more.
            track[1:][(track[1:] == 0.0) & (track[:-1] == 0.0)] = np.nan
            colour = DYING if final[row, k] == 0.0 else (SHARED if shared_neurons[k] else ALONE)
            lines[colour].append(np.column_stack([times, track]))
    few = len(lines[ALONE]) + len(lines[SHARED]) <= 4 * SHOWN_FEATURES
    for colour, width in ((DYING, 0.6), (ALONE, 2.2), (SHARED, 2.2 if few else 0.6)):
        dashes = "dashed" if colour == SHARED and few else "solid"
        axis.add_collection(
            LineCollection(lines[colour], colors=colour, linewidths=width, linestyles=dashes)
        )
    axis.set_ylim(0.0, 1.05 * max(1.0, float(np.nanmax(W, initial=0.0))))
    axis.set_ylabel("size of weight |W|")
    some = f" of {len(features)} of {len(W_end)} features" if len(features) < len(W_end) else ""
    axis.set_title(f"Weights{some}" if title is None else title)
    labels = {ALONE: "kept, alone", SHARED: "kept, neuron shared", DYING: "lost"}
    handles = [
        Line2D([], [], color=colour, lw=1.0 if colour == DYING else 2.2,
               ls="--" if colour == SHARED else "-", label=label)
        for colour, label in labels.items() if lines[colour]
    ]  # fmt: skip
    if handles and legend:
        axis.legend(handles=handles, loc="upper left")


def draw_norms(
    axis: Axes, traj: Trajectory, law: Law | None, *, title: str = "Sparsification",
    legend: bool = True,
) -> None:  # fmt: skip
    """Means over features of non-zeros and ‖W_i‖₁, the law drawn through."""
    seen = traj.observables
    nonzeros, l1 = seen.nonzeros.mean(axis=1), seen.l1.mean(axis=1)
    times = _time_axis(axis, seen.times)
    axis.plot(times, _positive(nonzeros), color=SHARED, lw=3.0, label="non-zeros")
    axis.plot(times, _positive(l1), color=ALONE, lw=3.0, label=r"$\|W_i\|_1$")
    axis.set_yscale("log")
    axis.set_ylim(0.5, 2.0 * traj.final.shape[1])
    if law is not None:
        low, high = axis.get_xlim()
        inside = (law.times >= low) & (law.times <= high)
        for values, label in ((law.survivors, "universal law,\ninterference off"), (law.l1, None)):
            axis.plot(law.times[inside], values[inside], color="black", lw=1.2, ls=(0, (4, 2)),
                      label=label)  # fmt: skip
    axis.set_ylabel("mean per feature")
    axis.set_title(title)
    if legend:
        axis.legend(loc="lower left")


def draw_energies(axis: Axes, traj: Trajectory, *, legend: bool = True) -> None:
    """Energy of every force over time, and their sum."""
    seen = traj.observables
    times = _time_axis(axis, seen.times)
    axis.plot(times, _positive(seen.total_energy), color="0.8", lw=5.0, label="total")
    for name, values in seen.energy.items():
        label, colour, dashes = ENERGY_LINES.get(name, (name, "0.3", "-."))
        axis.plot(times, _positive(values), color=colour, ls=dashes, label=label)
    axis.set_yscale("log")
    top = float(np.max([1e-300, *(v.max() for v in seen.energy.values())], initial=0.0))
    axis.set_ylim(bottom=max(1e-6 * top, axis.get_ylim()[0]))
    axis.set_ylabel("energy")
    axis.set_title("Energy of each force")
    if seen.energy and legend:
        axis.legend(loc="lower left")


def draw_final(axis: Axes, traj: Trajectory, *, title: str = "W at the end") -> None:
    """W as an image: neurons in use only, shared ones first, features by their winner."""
    W = traj.final
    rows, columns = winner_order(W)
    used = int(np.count_nonzero(W.any(axis=0)))
    shown = W[np.ix_(rows, columns[: used or W.shape[1]])]
    if max(shown.shape) > PIXELS and np.count_nonzero(shown) <= MOST_DOTS * max(shown.shape):
        _dots(axis, shown)
    else:
        _image(axis, shown)
    if not used:
        axis.text(0.5, 0.5, "every weight is zero", transform=axis.transAxes, ha="center")
    axis.set_xlabel(f"neurons in use ({used} of {W.shape[1]}), shared first")
    axis.set_ylabel("features, by winner")
    for numbers in (axis.xaxis, axis.yaxis):
        numbers.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axis.set_title(title)


# Orders and images -------------------------------------------------------------------------------


def winner_order(W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orders of the rows and columns of W : (n, m) that put winners on the diagonal.

    Neurons: those with two features or more, those with one, those with none. Features: by the
    place of their largest weight, positive before negative; dead ones last.
    """
    load = np.count_nonzero(W, axis=0)
    columns = np.argsort(np.where(load == 0, 2, np.where(load == 1, 1, 0)), kind="stable")
    place = np.empty(W.shape[1], np.int64)
    place[columns] = np.arange(W.shape[1])
    winner = np.argmax(np.abs(W), axis=1)
    value = W[np.arange(W.shape[0]), winner]
    key = np.where(value == 0.0, W.shape[1], place[winner])
    return np.lexsort((value < 0.0, key)), columns


def pooled(W: np.ndarray, pixels: int = PIXELS) -> np.ndarray:
    """W reduced to at most pixels × pixels; each pixel shows its largest weight in size."""
    high, low = W, W
    for axis, size in enumerate(W.shape):
        if size > pixels:
            cuts = np.linspace(0, size, pixels, endpoint=False).astype(np.int64)
            high = np.maximum.reduceat(high, cuts, axis=axis)
            low = np.minimum.reduceat(low, cuts, axis=axis)
    return np.where(high >= -low, high, low)


def _image(axis: Axes, W: np.ndarray, limit: float | None = None) -> Any:
    """W as an image whose colours end at ±`limit`: 1, or the largest weight where all are small."""
    n, m = W.shape
    largest = float(np.abs(W).max(initial=0.0))
    limit = limit or (1.0 if largest == 0.0 or largest > 0.5 else largest)
    axis.grid(False)
    image = axis.imshow(
        pooled(W), cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest",
        extent=(0.5, m + 0.5, n + 0.5, 0.5),
    )  # fmt: skip
    _colour_bar(axis, image, limit)
    return image


def _dots(axis: Axes, W: np.ndarray) -> None:
    """A wide W of few non-zeros, a dot each: pixels that stand for several would hide some."""
    n, m = W.shape
    feature, neuron = np.nonzero(W)
    axis.grid(False)
    axis.set_facecolor(SIGNED(0.5))
    dots = axis.scatter(neuron + 1, feature + 1, c=W[feature, neuron], cmap=SIGNED, vmin=-1, vmax=1,
                        s=5.0, lw=0)  # fmt: skip
    axis.set(xlim=(0.5, m + 0.5), ylim=(n + 0.5, 0.5))
    _colour_bar(axis, dots, 1.0)


def _colour_bar(axis: Axes, colours: Any, limit: float) -> None:
    ticks = [-limit, 0.0, limit]
    bar = axis.figure.colorbar(colours, ax=axis, ticks=ticks, pad=0.02, fraction=0.06)
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in ticks])
    bar.outline.set_visible(False)


def _graph_heights(on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights in (0, 1) of features and neurons, on : (n, m).

    Features on shared neurons get at least half of the room. A neuron is level with its
    features, unless some feature is on several neurons: then neurons are spaced evenly.
    """
    load = np.count_nonzero(on, axis=0)
    sharing = on[:, is_polysemantic(on)].any(axis=1)
    room = np.where(sharing, max(1.0, float(np.sum(~sharing)) / max(1, int(sharing.sum()))), 1.0)
    features = (np.cumsum(room) - 0.5 * room) / room.sum()
    if (np.count_nonzero(on, axis=1) <= 1).all():
        return features, features @ on / load
    return features, (np.arange(load.size) + 0.5) / load.size


def _shown_features(final: np.ndarray, shared_neurons: np.ndarray) -> np.ndarray:
    """A few features, up to a third of them on shared neurons."""
    sharing = np.flatnonzero((final[:, shared_neurons] != 0.0).any(axis=1))
    others = np.setdiff1d(np.arange(final.shape[0]), sharing)
    some = sharing[: SHOWN_FEATURES // 3]
    return np.concatenate([others[: SHOWN_FEATURES - some.size], some])


def _positive(values: np.ndarray) -> np.ndarray:
    """Values with a gap where a logarithmic axis cannot show them."""
    return np.where(values > 0.0, values, np.nan)


def _time_axis(axis: Axes, times: np.ndarray) -> np.ndarray:
    """Make the axis of times, and return where on it each of them is.

    It is logarithmic where the run spans a decade or more. Time 0 is then at its left end, which
    is labelled 0, a little before the first time after it.
    """
    positive = times[times > 0.0]
    axis.set_xlabel("flow time t")
    if not positive.size or positive[-1] < 10.0 * positive[0]:
        if times[-1] > times[0]:
            axis.set_xlim(times[0], times[-1])
        return times
    first, last = float(positive[0]), float(positive[-1])
    left = first * (first / last) ** BEFORE_FIRST if positive.size < times.size else first
    axis.set_xscale("log")
    axis.set_xlim(left, last)
    if left < first:
        powers = np.arange(math.ceil(math.log10(first)), math.floor(math.log10(last)) + 1)
        step = -(-powers.size // MOST_POWERS)
        shown = powers[powers % step == 0]
        axis.set_xticks([left, *10.0**shown], ["0", *(f"$10^{{{power}}}$" for power in shown)])
    return np.maximum(times, left)


def _setting(traj: Trajectory) -> str:
    about, known = traj.parameters, traj.metadata
    parts = [f"n = {about['n']}, m = {about['m']}"]
    symbols = {"Regularization": ("λ", "lam"), "FeatureBenefit": ("c", "strength")}
    for force in about["forces"]:
        name = force["name"].removeprefix("Noisy")
        if name in symbols:
            symbol, key = symbols[name]
            parts.append(f"{symbol} = {force[key]:g}")
    noises = [
        f"{f['distribution']} noise, σ = {f['sigma']:g}" for f in about["forces"] if "sigma" in f
    ]
    parts += noises[:1]
    if "seed" in known:
        parts.append(f"seed {known['seed']}")
    elif "init" in known:
        parts.append(f"from {Path(known['init']).name}")
    return ", ".join(parts)


def _caption(traj: Trajectory) -> str:
    on = {force["name"].removeprefix("Noisy") for force in traj.parameters["forces"]}
    off = [ENERGY_LINES[name][0] for name in FORCES if name not in on]
    switched = f"; off: {', '.join(off)}" if off else ""
    return f"{_setting(traj)}{switched}\n{traj.message}"


# Files -------------------------------------------------------------------------------------------


class RunFigure(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with in_style():
            self.savefig(file, format="png", dpi=90)
        return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches, on a canvas of its own."""
    figure = RunFigure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def in_style() -> Iterator[None]:
    """The style of this package, whatever the user's is."""
    with style.context(["default", STYLE]):
        yield


def write_figure(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the name, aside first and then renamed into place."""
    kind = path.suffix[1:].lower()
    with in_style(), written_aside(path) as file:
        figure.savefig(file, format=kind)


def write_animation(traj: Trajectory, film: Film, path: Path) -> None:
    """W as an image, in the order of its end, and the energies, through the run.

    The number of polysemantic neurons is told where all features are in the film.
    A ``.gif``, or ``.mp4`` where ffmpeg is installed; written aside first, then renamed.
    """
    with in_style():
        figure = new_figure(9.0, 4.2)
        left, right = figure.subplots(1, 2)
        final = film.weights[-1]
        rows, columns = winner_order(final)
        frames = film.weights[:, rows][:, :, columns]
        image = _image(left, frames[0], 1.0)
        left.set_xlabel("neurons, shared first")
        left.set_ylabel("features, by winner")
        draw_energies(right, traj)
        marker = right.axvline(right.get_xlim()[0], color="black", lw=1.2)
        chosen = np.unique(
            np.linspace(0, len(frames) - 1, min(FILM_FRAMES, len(frames))).round().astype(np.int64)
        )

        title = left.set_title("W")
        whole = film.rows.size == traj.final.shape[0]

        def show(k: int) -> None:
            image.set_data(pooled(frames[k]))
            marker.set_xdata([max(film.times[k], right.get_xlim()[0])] * 2)
            told = f"W at t = {film.times[k]:.3g}"
            if whole:
                told += f", {polysemantic_neurons(film.weights[k])} polysemantic neurons"
            title.set_text(told)

        with written_aside(path) as file:
            if path.suffix.lower() == ".mp4":
                _write_mp4(figure, show, chosen, file)
            else:
                _write_gif(figure, show, (image, marker, title), chosen, file)


def _write_gif(
    figure: Figure,
    show: Callable[[int], None],
    moving: Sequence[Artist],
    chosen: np.ndarray,
    file: BinaryIO,
) -> None:
    canvas: Any = FigureCanvasAgg(figure)
    figure.set_dpi(100)
    canvas.draw()
    # What stays is laid out and drawn once; that takes far longer than what moves.
    figure.set_layout_engine("none")
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    images = []
    for k in chosen:
        show(int(k))
        canvas.restore_region(still)
        for artist in moving:
            figure.draw_artist(artist)
        pixels = np.array(canvas.buffer_rgba())
        images.append(Image.fromarray(pixels).convert("RGB"))
    durations = [100] * (len(images) - 1) + [2000]
    images[0].save(file, format="GIF", save_all=True, append_images=images[1:],
                   duration=durations, loop=0)  # fmt: skip


def _write_mp4(
    figure: Figure, show: Callable[[int], None], chosen: np.ndarray, file: BinaryIO
) -> None:
    from matplotlib.animation import FFMpegWriter

    writer = FFMpegWriter(fps=10, extra_args=["-f", "mp4", "-pix_fmt", "yuv420p"])
    with writer.saving(figure, file.name, dpi=120):
        for k in chosen:
            show(int(k))
            writer.grab_frame()
