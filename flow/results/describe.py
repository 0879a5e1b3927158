"""What results say of themselves in a session: a few lines, never a wall of digits."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flow.results.events import Events
    from flow.results.observables import Observables
    from flow.results.trajectory import Trajectory


def describe_run(run: Trajectory) -> str:
    """A run in at most a dozen lines."""
    about, W, o = run.parameters, run.final, run.observables
    n, m = W.shape
    lines = [f"<{type(run).__name__}: {n} features × {m} neurons, {W.dtype}>"]
    strengths = ", ".join(_force(force) for force in about.get("forces", [])) or "none"
    lines.append(f"  forces    {strengths}")
    lines.append(f"  status    {run.status.name}: {run.message}")
    ends = f"t = {run.times[0]:.4g} … {run.times[-1]:.4g}"
    lines.append(f"  weights   {_count(run.times.size, 'time')} kept, {ends}")
    lines.append(f"  observed  {_count(o.times.size, 'step')}: l1, l2, l4, nonzeros, energy")
    if run.events.weights_logged or run.events.overlaps_logged:
        lines.append(f"  events    {_events(run.events)}")
    if run.film is not None:
        lines.append(f"  film      {_count(run.film.times.size, 'frame')}")
    if np.isfinite(W).all():
        lines.append(
            f"  at end    {_count(run.polysemantic, 'polysemantic neuron')}, "
            f"{np.count_nonzero(W, axis=1).mean():.4g} non-zeros per feature"
        )
    return "\n".join(lines)


def describe_observables(o: Observables) -> str:
    """What was measured, and over what times."""
    n = o.l1.shape[1] if o.l1.ndim == 2 else 0
    span = f"t = {o.times[0]:.4g} … {o.times[-1]:.4g}" if o.times.size else "no times"
    return (
        f"<Observables of {n} features at {_count(o.times.size, 'step')}, {span}: "
        f"l1, l2, l4, nonzeros, dissipation, energy of {', '.join(o.energy) or 'no force'}>"
    )


def describe_events(events: Events) -> str:
    """How much was logged."""
    return f"<Events: {_events(events)}>"


def as_html(text: str, picture: str = "") -> str:
    """Lines as they stand, beside a picture."""
    return (
        f'<div style="display:flex;gap:1em;flex-wrap:wrap"><pre>{html.escape(text)}</pre>'
        f"{picture}</div>"
    )


def _events(events: Events) -> str:
    if not (events.weights_logged or events.overlaps_logged):
        return "none logged"
    parts = []
    if events.weights_logged:
        parts.append(_count(events.extinctions.time.size, "extinction"))
        parts.append(_count(events.revivals.time.size, "revival"))
    if events.overlaps_logged:
        parts.append(_count(events.overlaps.time.size, "change") + " of sign of overlaps")
    return ", ".join(parts)


def _force(force: dict[str, Any]) -> str:
    values: Sequence[str] = [
        value if isinstance(value, str) else f"{value:g}"
        for key, value in force.items()
        if key != "name"
    ]
    return f"{force['name']}({', '.join(values)})"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
