"""All that is drawn of a state, as columns: made where the run is made, drawn anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flow.explore import curves, marks, words
from flow.explore.compute import Outcome, Watch, alone, outcome
from flow.explore.curves import Columns
from flow.explore.frames import FrameRecorder, Frames
from flow.explore.links import link
from flow.explore.state import State
from flow.pictures.plots import winner_order
from flow.results.trajectory import Trajectory

LANES = {"deaths": 4, "revivals": 10, "malign": 16, "benign": 32}
"""Where marks stand below the bars, in hundredths of the height; a kind of collision has lanes
above each other."""
LANES_OF_A_KIND = 12
MOST_MEETINGS = 400
"""Collisions that are marked: the first ones."""
SKETCHED = {
    "frames": ("t", "W", "said_w", "said_count"),
    "order": ("name", "features", "neurons", "alive", "names"),
}
"""Columns that are drawn first: W and the counts."""


@dataclass(frozen=True)
class Scene:
    """One run, ready to be drawn."""

    columns: dict[str, Columns]
    """Columns of every source of the page, by its name."""
    words: dict[str, str]
    """What is said of the run as a whole: status, energies, events."""
    about: dict[str, Any] = field(default_factory=dict)
    """n, m, first and last flow time drawn, link."""

    @property
    def whole(self) -> bool:
        """Whether it is more than a sketch."""
        return bool(self.about)

    def joined(self, more: Scene) -> Scene:
        """Put together with what was made later of the same run."""
        columns = dict(self.columns)
        for name, added in more.columns.items():
            columns[name] = {**columns.get(name, {}), **added}
        return Scene(columns, {**self.words, **more.words}, {**self.about, **more.about})


def scene(state: State, watch: Watch | None = None) -> Scene:
    """Run a state and make its scene."""
    return of_outcome(outcome(state, watch))


def of_outcome(made: Outcome) -> Scene:
    """The scene of a run that was made."""
    return sketch(made).joined(rest(made))


def parts(state: State, watch: Watch | None = None) -> Iterator[Scene]:
    """Run a state and make its scene in parts: W and the counts, the rest, interference off."""
    made = outcome(state, watch)
    yield sketch(made)
    after = rest(made)
    yield after
    yield Scene({"exact": exact(state, after.about["first"], watch)}, {})


def sketch(made: Outcome) -> Scene:
    """W and the counts: what is drawn while the rest of the scene is made."""
    frames = made.frames
    columns = {
        "frames": {
            "t": frames.times,
            "W": frames.W,
            "said_w": words.weights_lines(frames),
            "said_count": words.counter_lines(frames),
        },
        "order": order_columns(frames),
    }
    return Scene(columns, {"status": words.status_line(made.state, made.run)})


def rest(made: Outcome) -> Scene:
    """What a sketch has not."""
    frames, state = made.frames, made.state
    first, last = drawn_span(frames.times)
    steps = curves.steps(made.parts, first)
    met = marks.meetings(frames)
    columns = {
        "frames": frame_columns(frames, first, state),
        "steps": steps,
        "rates": rate_columns(marks.rates(made.parts, first, last)),
        "moments": moment_columns(marks.moments(made.parts), first),
        "meetings": meeting_columns(met, first, last),
        "spans": span_columns(steps),
        "law": curves.law(made.parts[0], first, last),
        "counting": curves.counting(state),
        **curves.plane(state),
    }
    said = {
        "energies": words.energies_line(state),
        "events": words.events_line(met),
    }
    n, m = made.run.final.shape
    about = {"n": n, "m": m, "first": first, "last": last, "link": link(state)}
    return Scene(columns, said, about)


def of_run(run: Trajectory) -> Scene:
    """The scene of any finished run: along its film if it has one, else its kept weights."""
    times, weights = run.times, run.weights
    if run.film is not None and run.film.rows.size == run.final.shape[0]:
        times, weights = run.film.times, run.film.weights
    recorder = FrameRecorder.of_size(*run.final.shape)
    for t, W in zip(times.tolist(), weights, strict=True):
        recorder.add(t, W, landmark=t == times[-1])
    return of_outcome(Outcome(state_of(run), (run,), recorder.frames()))


def state_of(run: Trajectory) -> State:
    """The state that is nearest to a run: its sizes and its forces."""
    about = run.parameters
    values: dict[str, Any] = {"n": about["n"], "m": about["m"], "rtol": about["rtol"]}
    names = {force["name"].removeprefix("Noisy"): force for force in about["forces"]}
    off = []
    for name, flag, target, source in (
        ("FeatureBenefit", "feature-benefit", "c", "strength"),
        ("Interference", "interference", "c_interference", "strength"),
        ("Regularization", "regularization", "lam", "lam"),
    ):
        if name in names:
            values[target] = names[name][source]
        else:
            off.append(flag)
    noisy = [force for force in about["forces"] if "distribution" in force]
    if noisy:
        values |= {"noise": noisy[0]["distribution"], "sigma": noisy[0]["sigma"]}
    if "L2Regularization" in names:
        values["mu"] = names["L2Regularization"]["mu"]
    values |= {key: run.metadata[key] for key in ("seed", "scale") if key in run.metadata}
    return State(**values, off=tuple(off))


def exact(state: State, first: float, watch: Watch | None = None) -> Columns:
    """The same start with interference off, in closed form: its norms; no rows where there is
    none."""
    run = alone(state, watch)
    return {"t": [], "l1": [], "survivors": []} if run is None else curves.norms(run, first)


# Columns -----------------------------------------------------------------------------------------


def drawn_span(times: np.ndarray) -> tuple[float, float]:
    """First and last flow time on a logarithmic axis: t = 0 is drawn at the first."""
    later = times[times > 0.0]
    if not later.size:
        return 0.01, 1.0
    first = max(0.5 * float(later[0]), 1e-4 * float(later[-1]) if later[0] < 1e-6 else 0.0)
    return first, float(later[-1])


def frame_columns(frames: Frames, first: float, state: State) -> Columns:
    """One row for each frame."""
    return {
        "at": np.maximum(frames.times, first),
        "G": frames.G,
        "count": frames.count,
        "window": frames.window,
        "said_g": words.overlaps_lines(frames),
        "said_graph": words.graph_lines(frames, state),
    }


def order_columns(frames: Frames) -> Columns:
    """Orders of features and of the neurons that are shown: one row for each."""
    start, end = frames.weights[0][:, frames.neurons], frames.weights[-1][:, frames.neurons]
    alive = end.any(axis=0)
    found = {
        "winner": winner_order(end),
        "start": winner_order(np.where(_largest(start), start, 0.0)),
        "as is": (np.arange(end.shape[0]), np.arange(end.shape[1])),
    }
    return {
        "name": list(found),
        "features": [rows.tolist() for rows, _ in found.values()],
        "neurons": [columns.tolist() for _, columns in found.values()],
        "alive": [columns[alive[columns]].tolist() for _, columns in found.values()],
        "names": [frames.neurons.tolist()] * len(found),
    }


def _largest(W: np.ndarray) -> np.ndarray:
    """Where the largest weight of each row of W : (n, m) is."""
    return np.abs(W) >= np.abs(W).max(axis=1, keepdims=True)


def rate_columns(found: marks.Rates) -> Columns:
    """Bars: deaths up, revivals down, by their logarithm."""
    return {
        "left": found.edges[:-1],
        "right": found.edges[1:],
        "deaths": found.deaths,
        "revivals": found.revivals,
        "up": np.log10(1.0 + found.deaths),
        "down": -np.log10(1.0 + found.revivals),
    }


def moment_columns(found: marks.Moments, first: float) -> Columns:
    """A mark for each death and revival, in lanes of their own."""
    return {
        "t": np.maximum(found.time, first),
        "y": np.where(found.died, LANES["deaths"], LANES["revivals"]),
        "feature": found.feature.astype(np.int32),
        "neuron": found.neuron.astype(np.int32),
        "what": ["leaves" if died else "returns to" for died in found.died],
    }


def meeting_columns(met: list[marks.Meeting], first: float, last: float) -> Columns:
    """A bar from the beginning of each collision to its end, if it has one; benign above malign."""
    lanes = {True: 0, False: 0}
    rows = []
    for meeting in met[:MOST_MEETINGS]:
        kind, parted = "benign" if meeting.benign else "malign", bool(np.isfinite(meeting.ended))
        lane = lanes[meeting.benign] % LANES_OF_A_KIND
        lanes[meeting.benign] += 1
        said = f"{kind}: features {meeting.first} and {meeting.second} on neuron {meeting.neuron}, "
        said += f"met at t ≈ {meeting.began:.3g}, "
        said += f"parted at t ≈ {meeting.ended:.3g}" if parted else "still there"
        rows.append(
            (
                max(meeting.began, first), min(meeting.ended, last),
                meeting.ended if parted else np.nan, LANES[kind] + lane, kind, said,
                meeting.first, meeting.second, meeting.neuron,
            )
        )  # fmt: skip
    names = ("began", "until", "parted", "y", "kind", "said", "first", "second", "neuron")
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


def span_columns(steps: Columns) -> Columns:
    """Plateau and collapse."""
    found = marks.spans(steps["t"], steps["survivors"])
    return {
        "left": [span.began for span in found],
        "right": [span.ended for span in found],
        "name": [span.name for span in found],
    }
