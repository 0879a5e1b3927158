"""The page: panels and controls, the browser's part of them, and where each stands."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.events import ButtonClick, MouseLeave, MouseMove, Pan, Tap
from bokeh.models import ColumnDataSource, CustomAction, CustomJS, Model
from jinja2 import Template

from flow.explore.controls import KINDS, TOUR, Controls, make_controls
from flow.explore.links import from_link, link
from flow.explore.panels import FRAME_LINES, Panels, make_panels
from flow.explore.scene import Scene

ASSETS = Path(__file__).with_name("assets")
TITLE = "incidental flow"
IN_BROWSER = ("time", "play", "order_by", "which", "text_kind", "text", "feature", "neuron",
              "kind", "value")  # fmt: skip
"""Controls that the browser reads or sets by itself."""


@dataclass
class Page:
    """A page that is not shown anywhere yet."""

    panels: Panels
    controls: Controls
    downloaded: ColumnDataSource
    texts: ColumnDataSource
    """Ways to write the state: name and text, the link first."""
    branching: ColumnDataSource
    """A branch that is asked for: t, kind, value, feature, neuron."""
    script: CustomJS = field(default_factory=CustomJS)
    """The browser's part, to be run when the document is ready, too."""

    def roots(self, *, live: bool) -> list[Model]:
        """What stands on the page, each with a name that the template knows.

        live : with the controls that need a server.
        """
        panels, widgets = self.panels, self.controls.widgets
        if live:
            return [*panels.figures.values(), *panels.lines.values(), *widgets.values()]
        drawn = [model for models in (panels.figures, panels.lines)
                 for name, model in models.items() if name != COUNTED]  # fmt: skip
        return [*drawn, *(widgets[name] for name in (*PLAYER, *KEPT))]

    def place(self, document: Document, *, live: bool) -> None:
        """Put it into a document."""
        with document.models.freeze():
            for root in self.roots(live=live):
                document.add_root(root)
        document.title = TITLE
        document.template = Template((ASSETS / "page.html").read_text(encoding="utf-8"))
        document.template_variables.update(
            live=live,
            tour=[(said, link(from_link(text))) for said, text in TOUR],
            style=(ASSETS / "page.css").read_text(encoding="utf-8"),
        )
        document.js_on_event("document_ready", self.script)

    def show(self, scene: Scene, before: Scene | None, texts: Mapping[str, str]) -> None:
        """Draw a scene, and beside it the future that it branched off."""
        panels = self.panels
        panels.clear("exact")
        panels.fill(scene.columns)
        for name in ("frames", "order", "steps"):
            if before is None:
                panels.clear(f"{name}_before")
        if before is not None:
            panels.fill(before.columns, "_before")
        for name, text in scene.words.items():
            panels.lines[name].text = text
        panels.lines["norms"].text = NORMS
        panels.lines["histogram"].text = SEEDS
        other = "" if before is None else f"Beside it, thin in the curves: {before.about['link']}"
        panels.lines["other"].text = html.escape(other)
        self.texts.data = {"name": list(texts), "text": list(texts.values())}


COUNTED = "histogram"
"""Panel that a server fills."""
PLAYER = ("play", "back", "forth", "time", "order_by", "which", "feature", "neuron")
KEPT = ("text_kind", "copy", "text")
"""Controls that need no server; the latter where there is a text that makes the run again."""
NORMS = (
    "‖W_i‖₁ and the number of non-zeros m' of a feature, means over features. While interference "
    "is weak they follow the closed form without it; the universal law has no constant fitted."
)

SEEDS = (
    "How many runs ended with how many polysemantic neurons: one run for each of the seeds that "
    "follow this one, and what the slot law expects of as many."
)


def make_page() -> Page:
    """A page with its browser's part wired."""
    panels, controls = make_panels(), make_controls()
    download = ColumnDataSource({"bytes": [], "name": []}, name="download")
    texts = ColumnDataSource({"name": [], "text": []}, name="texts")
    branching = ColumnDataSource(
        {"t": [], "kind": [], "value": [], "feature": [], "neuron": []}, name="branching"
    )
    page = Page(panels, controls, download, texts, branching)
    page.script = _wire(page)
    return page


@cache
def _script() -> str:
    return (ASSETS / "explore.mjs").read_text(encoding="utf-8")


def _wire(page: Page) -> CustomJS:
    """One callback for every cause: see assets/explore.mjs."""
    panels, widgets = page.panels, page.controls.widgets
    args: dict[str, Any] = dict(panels.sources)
    args |= {f"figure_{name}": drawn for name, drawn in panels.figures.items()}
    args |= {f"said_{name}": panels.lines[name] for name in (*FRAME_LINES, "plane")}
    args |= {"lit": panels.lines["lit"], "numbers": KINDS}
    args |= {name: widgets[name] for name in IN_BROWSER}
    args |= {
        "cursors": panels.cursors, "download": page.downloaded, "texts": page.texts,
        "branching": page.branching,
    }  # fmt: skip
    # What refers to this refers to every model: only the document and the frames do.
    script = CustomJS(args=args, code=_script(), module=True)
    act = CustomJS(code="window.explore?.(cb_obj)")
    panels.sources["frames"].js_on_change("data", script)
    for name in ("frames_before", "order", "order_before"):
        panels.sources[name].js_on_change("data", act)
    for source in (page.downloaded, page.texts):
        source.js_on_change("data", act)
    for name in ("time", "order_by", "text_kind", "kind", "feature", "neuron"):
        widgets[name].js_on_change("value", act)
    for name in ("play", "which"):
        widgets[name].js_on_change("active", act)
    for name in ("back", "forth", "copy", "branch"):
        widgets[name].js_on_event(ButtonClick, act)
    for name in ("w", "w_before", "g", "g_before", "graph", "graph_before", "events"):
        for event in (MouseMove, MouseLeave, Tap):
            panels.figures[name].js_on_event(event, act)
    for name in ("energies", "norms", "counter"):
        panels.figures[name].js_on_event(Tap, act)
    for name in ("energies", "events", "norms", "counter"):
        panels.figures[name].js_on_event(Pan, act)
    for drawn in panels.figures.values():
        for tool in drawn.tools:
            if isinstance(tool, CustomAction):
                tool.callback = act
    return script
