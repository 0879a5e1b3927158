"""The page: panels and controls, the browser's part of them, and where each stands."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import ButtonClick, MouseLeave, MouseMove, Pan, Tap
from bokeh.models import ColumnDataSource, CustomAction, CustomJS, Model
from jinja2 import Template

from flow.explore.controls import KINDS, TOUR, Controls, make_controls
from flow.explore.links import from_link, link
from flow.explore.panels import BEFORE, EMPTY, FRAME_LINES, Panels, make_panels
from flow.explore.scene import SKETCHED, Scene

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
        self.sketch(scene)
        self.follow(scene, before, texts)

    def sketch(self, scene: Scene) -> None:
        """Draw W and the counts of a scene, of which the rest may be to come."""
        columns = {
            source: {name: scene.columns[source][name] for name in names}
            for source, names in SKETCHED.items()
        }
        self.panels.sketched.data = _carried({**columns, "words": scene.words})

    def follow(self, scene: Scene, before: Scene | None, texts: Mapping[str, str]) -> None:
        """Draw the rest of a scene that was sketched, and beside it `before`."""
        other = "" if before is None else f"Beside it, thin in the curves: {before.about['link']}"
        self.panels.followed.data = _carried(
            {
                **{name: columns for name, columns in scene.columns.items() if name != "order"},
                "frames": {
                    name: column for name, column in scene.columns["frames"].items()
                    if name not in SKETCHED["frames"]
                },
                **{
                    f"{name}_before": EMPTY[name] if before is None else before.columns[name]
                    for name in BEFORE
                },
                "texts": {"name": list(texts), "text": list(texts.values())},
                "words": {**scene.words, "other": html.escape(other)},
            }
        )  # fmt: skip


def _carried(columns: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows of a carrier. Arrays of numbers go as lists, in the message itself: an array is two more
    messages, which is worth it for codes alone."""
    return {
        "name": list(columns),
        "columns": [
            {
                name: value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
                for name, value in one.items()
            }
            for one in columns.values()
        ],
    }


COUNTED = "histogram"
"""Panel that a server fills."""
PLAYER = ("play", "back", "forth", "time", "order_by", "which", "feature", "neuron")
KEPT = ("text_kind", "copy", "text")
"""Controls that need no server; the latter where there is a text that makes the run again."""
WORDS = ("status", "energies", "events", "other")
"""Lines of words of a run as a whole."""
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
    panels.lines["norms"].text, panels.lines["histogram"].text = NORMS, SEEDS
    download = ColumnDataSource({"bytes": [], "name": []}, name="download")
    texts = ColumnDataSource({"name": [], "text": []}, name="texts", syncable=False)
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
    args |= {f"words_{name}": panels.lines[name] for name in WORDS}
    args |= {"lit": panels.lines["lit"], "numbers": KINDS}
    args |= {name: widgets[name] for name in IN_BROWSER}
    args |= {
        "cursors": panels.cursors, "download": page.downloaded, "texts": page.texts,
        "branching": page.branching, "sketched": panels.sketched, "followed": panels.followed,
    }  # fmt: skip
    script = CustomJS(args=args, code=_script(), module=True)
    # A document has what its roots refer to: by this every model, drawn or not.
    panels.sources["frames"].tags = [script]
    act = CustomJS(code="window.explore?.(cb_obj)")
    page.downloaded.js_on_change("data", act)
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
