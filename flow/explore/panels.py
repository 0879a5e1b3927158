"""The panels of the page: figures on column sources that a scene fills.

What moves with time is filled in the browser from the frames, by ``assets/explore.mjs``; these
sources and figures are not synchronized back, so that scrubbing asks nothing of the server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bokeh.core.property.vectorization import Value
from bokeh.models import (
    ColumnDataSource,
    Div,
    GlyphRenderer,
    HoverTool,
    LinearColorMapper,
    Range1d,
    Span,
)
from bokeh.plotting import figure
from matplotlib.colors import to_hex

from flow.explore.curves import ENERGIES
from flow.explore.frames import ZERO
from flow.pictures.plots import ENERGY_LINES, SIGNED

HEIGHT = 300
IN_TIME = "xwheel_zoom,reset,save"
"""Tools of a figure over time, in which a drag is the time's."""
SCENE_SOURCES = (
    "frames", "order", "steps", "rates", "meetings", "spans", "law", "counting", "separatrix",
    "rest", "exact",
)  # fmt: skip
"""What a scene has columns for."""
BEFORE = ("frames", "order", "steps")
"""What is drawn of the future that another one branched off, too."""
DRAWN_SOURCES = ("w", "g", "edges", "nodes", "lit_w", "lit_g", "differences", "path", "here")
"""What the browser fills."""
EMPTY: dict[str, dict[str, list[Any]]] = {
    "frames": {k: [] for k in (
        "t", "at", "W", "G", "count", "window", "said_w", "said_g", "said_graph", "said_count")},
    "order": {k: [] for k in ("name", "features", "neurons", "alive", "names")},
    "steps": {k: [] for k in ("t", "l1", "survivors", *ENERGIES)},
    "rates": {k: [] for k in ("left", "right", "deaths", "revivals", "up", "down")},
    "meetings": {k: [] for k in (
        "began", "ended", "y", "kind", "parted", "who", "first", "second", "neuron")},
    "spans": {k: [] for k in ("left", "right", "name")},
    "law": {k: [] for k in ("t", "l1", "survivors")},
    "exact": {k: [] for k in ("t", "l1", "survivors")},
    "counting": {k: [] for k in ("paper", "mean", "low", "high")},
    "separatrix": {k: [] for k in ("u", "v")},
    "rest": {k: [] for k in ("u", "v", "kind")},
    "w": {k: [] for k in ("image", "dw", "dh")},
    "g": {k: [] for k in ("image", "dw", "dh")},
    "edges": {k: [] for k in ("x0", "y0", "x1", "y1", "width", "colour", "dash", "who", "w")},
    "nodes": {k: [] for k in ("x", "y", "colour", "name", "align", "dx")},
    "lit_w": {k: [] for k in ("left", "right", "top", "bottom")},
    "lit_g": {k: [] for k in ("left", "right", "top", "bottom")},
    "differences": {k: [] for k in ("x", "y")},
    "path": {k: [] for k in ("u", "v")},
    "here": {k: [] for k in ("u", "v")},
    "seeds": {k: [] for k in ("count", "runs")},
    "shares": {k: [] for k in ("count", "expected")},
}  # fmt: skip

BLUE, ORANGE, RED, GREY = "#0b3c7d", "#d07a00", "#b5430a", "#707070"
_NOTHING = "#ffffff"


def palette() -> list[str]:
    """Colours of the 256 codes: an exact zero is white, the smallest weight already is not."""
    colours = []
    for code in range(256):
        q = code - ZERO
        depth = 0.12 + 0.88 * min(abs(q), 127) / 127
        colours.append(_NOTHING if q == 0 else to_hex(SIGNED(0.5 + 0.5 * depth * (q > 0 or -1))))
    return colours


@dataclass
class Panels:
    """Every source, figure and line of words of a page, by name.

    A scene comes in two messages, not in one for every source and line: each message costs the
    browser as much as drawing a panel. The browser then fills the sources itself.
    """

    sketched: ColumnDataSource = field(default_factory=lambda: _carrier("sketched"))
    """What is drawn first: names of sources, and the columns of each."""
    followed: ColumnDataSource = field(default_factory=lambda: _carrier("followed"))
    """What follows it."""
    sources: dict[str, ColumnDataSource] = field(default_factory=dict)
    figures: dict[str, figure] = field(default_factory=dict)
    lines: dict[str, Div] = field(default_factory=dict)
    cursors: list[Span] = field(default_factory=list)


def _carrier(name: str) -> ColumnDataSource:
    return ColumnDataSource({"name": [], "columns": []}, name=name)


def make_panels() -> Panels:
    """All panels, empty."""
    panels = Panels()
    for name in SCENE_SOURCES:
        synced = name == "exact"  # it comes alone
        panels.sources[name] = ColumnDataSource(EMPTY[name], name=name, syncable=synced)
    for name in BEFORE:
        source = ColumnDataSource(EMPTY[name], name=f"{name}_before", syncable=False)
        panels.sources[f"{name}_before"] = source
    for name in DRAWN_SOURCES:
        for suffix in ("", "_before"):
            source = ColumnDataSource(EMPTY[name], name=f"drawn_{name}{suffix}", syncable=False)
            panels.sources[name + suffix] = source
    for name in ("seeds", "shares"):
        panels.sources[name] = ColumnDataSource(EMPTY[name], name=name)
    _timeline(panels)
    for suffix in ("", "_before"):
        _weights(panels, suffix)
        _overlaps(panels, suffix)
        _graph(panels, suffix)
    _plane(panels)
    _counter(panels)
    _histogram(panels)
    for name in ("w", "g", "graph", "count", "plane", "w_before", "energies", "events", "norms"):
        panels.lines[name] = Div(name=f"said_{name}", syncable=False, sizing_mode="stretch_width")
    for name in ("status", "lit", "progress"):
        synced = name == "progress"
        panels.lines[name] = Div(name=name, syncable=synced, sizing_mode="stretch_width")
    return panels


# Figures -----------------------------------------------------------------------------------------


def _figure(panels: Panels, name: str, **settings: Any) -> figure:
    drawn = figure(
        name=name, height=settings.pop("height", HEIGHT), sizing_mode="stretch_width",
        toolbar_location=settings.pop("toolbar_location", "right"),
        tools=settings.pop("tools", "pan,box_zoom,wheel_zoom,reset,save"),
        min_border_right=12, syncable=False, **settings,
    )  # fmt: skip
    drawn.toolbar.logo = None
    drawn.toolbar.autohide = True
    drawn.min_width = 0
    drawn.x_range.syncable = drawn.y_range.syncable = False
    panels.figures[name] = drawn
    return drawn


def _in_time(panels: Panels, name: str, **settings: Any) -> figure:
    """A figure over log t, with the cursor that the time moves."""
    if "energies" in panels.figures:
        settings["x_range"] = panels.figures["energies"].x_range
    drawn = _figure(panels, name, x_axis_type="log", x_axis_label="flow time t", **settings)
    # On the overlay: curves are not painted anew where only the time moves.
    cursor = Span(
        dimension="height", line_color="black", line_width=1.5, level="overlay", syncable=False
    )
    drawn.add_layout(cursor)
    panels.cursors.append(cursor)
    return drawn


def _timeline(panels: Panels) -> None:
    sources = panels.sources
    energies = _in_time(
        panels, "energies", y_axis_type="log", y_axis_label="energy", height=240,
        x_range=Range1d(0.01, 1.0, reset_start=0.01, reset_end=1.0), tools=IN_TIME,
    )  # fmt: skip
    for name in ENERGIES:
        label, colour, _ = ENERGY_LINES.get(name, ("weight decay", GREY, "-"))
        dash = {"FeatureBenefit": "solid", "Interference": "dashed"}.get(name, "dotted")
        energies.line(
            "t", name, source=sources["steps"], color=colour, line_dash=dash, line_width=2,
            legend_label=label,
        )  # fmt: skip
        energies.line(
            "t", name, source=sources["steps_before"], color=colour, line_dash=dash, line_width=1,
            alpha=0.45,
        )  # fmt: skip
    _legend(energies, "bottom_left")
    events = _in_time(
        panels, "events", height=200, y_axis_label="log₁₀(1 + weights)",
        tools=IN_TIME,
    )  # fmt: skip
    bars = {"source": sources["rates"], "left": "left", "right": "right", "line_color": None}
    events.quad(top="up", bottom=0, color=GREY, alpha=0.6, **bars)
    events.quad(top=0, bottom="down", color=BLUE, alpha=0.6, **bars)
    events.quad(
        left="left", right="right", top=4, bottom=-2, source=sources["spans"], color=ORANGE,
        alpha=0.15,
    )  # fmt: skip
    events.text(
        "left", 3.4, text="name", source=sources["spans"], text_font_size="11px", text_color=RED,
    )  # fmt: skip
    marks = events.segment(
        "began", "y", "ended", "y", source=sources["meetings"], line_width=2.5,
        color=_by_kind(ORANGE, RED),
    )  # fmt: skip
    events.scatter(
        "began",
        "y",
        source=sources["meetings"],
        size=4,
        color=_by_kind(ORANGE, RED),
        marker="circle",
    )
    events.add_tools(HoverTool(renderers=[marks], tooltips="@kind: features @who"))
    norms = _in_time(
        panels, "norms", y_axis_type="log", height=240, y_axis_label="mean of a feature"
    )
    for name, label, colour in (("l1", "‖W_i‖₁", BLUE), ("survivors", "m'", ORANGE)):
        norms.line(
            "t", name, source=sources["steps"], color=colour, line_width=2.5, legend_label=label
        )
        norms.line(
            "t", name, source=sources["steps_before"], color=colour, line_width=1, alpha=0.45
        )
        norms.line(
            "t", name, source=sources["law"], color="black", line_dash="dotted", line_width=1.5,
            legend_label="universal law",
        )  # fmt: skip
        norms.line(
            "t", name, source=sources["exact"], color=GREY, line_dash="dashed", line_width=2,
            legend_label="interference off, exact",
        )  # fmt: skip
    _legend(norms, "bottom_left")


def _by_kind(benign: str, malign: str) -> dict[str, Any]:
    from bokeh.transform import factor_cmap

    return factor_cmap("kind", [benign, malign], ["benign", "malign"])


def _legend(drawn: figure, where: str) -> None:
    legend = drawn.legend
    # A legend is built anew whenever the data of what it names change, so it names twins, whose
    # data do not; where it names the values of a column, it needs them.
    for item in legend.items:
        if isinstance(item.label, Value):
            item.renderers = [_twin(drawn, named) for named in item.renderers]
    legend.location, legend.background_fill_alpha = where, 0.6
    legend.label_text_font_size, legend.spacing, legend.padding = "11px", 0, 3
    legend.glyph_height = 12
    legend.label_height = 12


def _twin(drawn: figure, renderer: GlyphRenderer) -> GlyphRenderer:
    """The same in a figure with one row, which is nowhere."""
    nowhere = {name: [float("nan")] for name in renderer.data_source.column_names}
    return drawn.add_glyph(ColumnDataSource(nowhere, syncable=False), renderer.glyph.clone())


def _image(panels: Panels, name: str, suffix: str, x: str, y: str) -> figure:
    drawn = _figure(
        panels, name + suffix, x_axis_label=x, y_axis_label=y, match_aspect=False,
        x_range=Range1d(0, 1, syncable=False), y_range=Range1d(1, 0, syncable=False),
        tools="box_zoom,wheel_zoom,pan,reset,save,tap",
    )  # fmt: skip
    mapper = LinearColorMapper(palette=palette(), low=-0.5, high=255.5)
    drawn.image(
        "image", x=0, y=0, dw="dw", dh="dh", source=panels.sources[name + suffix],
        color_mapper=mapper,
    )  # fmt: skip
    drawn.grid.visible = False
    lit = panels.sources[f"lit_{name}{suffix}"]
    drawn.quad(
        "left", "right", "top", "bottom", source=lit, fill_color=RED, fill_alpha=0.18,
        line_color=RED, line_alpha=0.6,
    )  # fmt: skip
    return drawn


def _weights(panels: Panels, suffix: str) -> None:
    drawn = _image(panels, "w", suffix, "neuron", "feature")
    drawn.scatter(
        "x", "y", source=panels.sources[f"differences{suffix}"], marker="square", size=7,
        fill_color=None, line_color=RED, line_width=1.2,
    )  # fmt: skip


def _overlaps(panels: Panels, suffix: str) -> None:
    _image(panels, "g", suffix, "feature", "feature")


def _graph(panels: Panels, suffix: str) -> None:
    sources = panels.sources
    drawn = _figure(
        panels, f"graph{suffix}", x_range=Range1d(-0.25, 1.25), y_range=Range1d(1.03, -0.03),
        tools="ywheel_zoom,ypan,reset,save,tap",
    )  # fmt: skip
    drawn.axis.visible = False
    drawn.grid.visible = False
    edges = drawn.segment(
        "x0", "y0", "x1", "y1", source=sources[f"edges{suffix}"], line_width="width",
        color="colour", line_dash="dash",
    )  # fmt: skip
    drawn.scatter("x", "y", source=sources[f"nodes{suffix}"], size=4, color="colour")
    drawn.text(
        "x", "y", text="name", source=sources[f"nodes{suffix}"], text_align="align",
        text_baseline="middle", x_offset="dx", text_font_size="10px", text_color="colour",
    )  # fmt: skip
    drawn.add_tools(HoverTool(renderers=[_only(edges)], tooltips="@who: @w{0.000}"))


def _only(renderer: Any) -> GlyphRenderer:
    assert isinstance(renderer, GlyphRenderer)
    return renderer


def _plane(panels: Panels) -> None:
    sources = panels.sources
    drawn = _figure(
        panels, "plane", x_range=Range1d(-1.15, 1.15), y_range=Range1d(-1.15, 1.15),
        x_axis_label="first weight", y_axis_label="second weight",
    )  # fmt: skip
    drawn.line("u", "v", source=sources["separatrix"], color=GREY, line_dash="dashed")
    colour = {"attractor": BLUE, "saddle": ORANGE, "repeller": RED}
    from bokeh.transform import factor_cmap, factor_mark

    kinds = list(colour)
    rest = drawn.scatter(
        "u", "v", source=sources["rest"], size=9,
        color=factor_cmap("kind", list(colour.values()), kinds),
        marker=factor_mark("kind", ["circle", "x", "triangle"], kinds),
    )  # fmt: skip
    drawn.add_tools(HoverTool(renderers=[_only(rest)], tooltips="@kind at (@u{0.000}, @v{0.000})"))
    for suffix, alpha in (("", 1.0), ("_before", 0.4)):
        drawn.line("u", "v", source=sources[f"path{suffix}"], color="black", alpha=alpha)
        drawn.scatter(
            "u", "v", source=sources[f"here{suffix}"], size=11, color="black", alpha=alpha,
            marker="diamond",
        )  # fmt: skip


def _counter(panels: Panels) -> None:
    sources = panels.sources
    drawn = _in_time(panels, "counter", height=240, y_axis_label="neurons", y_axis_type="linear")
    drawn.y_range = Range1d(0, 16, syncable=False)
    counted = {"x": "at", "line_width": 2}
    drawn.step(
        y="count", source=sources["frames"], color=BLUE, mode="after", legend_label="exact zeros",
        **counted,
    )  # fmt: skip
    drawn.step(
        y="window", source=sources["frames"], color=ORANGE, mode="after", line_dash="dashed",
        legend_label="0.8 ≤ |W| ≤ 1.2", **counted,
    )  # fmt: skip
    drawn.hspan("paper", source=sources["counting"], color="black", line_dash="dotted",
                legend_label="n²/4m")  # fmt: skip
    drawn.hspan("mean", source=sources["counting"], color=GREY, legend_label="slot law, 95 %")
    drawn.hstrip("low", "high", source=sources["counting"], color=GREY, alpha=0.15, line_color=None)
    _legend(drawn, "top_right")


def _histogram(panels: Panels) -> None:
    sources = panels.sources
    drawn = _figure(
        panels, "histogram", x_axis_label="polysemantic neurons at the end", y_axis_label="seeds",
        height=240,
    )  # fmt: skip
    drawn.vbar("count", 0.8, "runs", source=sources["seeds"], color=BLUE, alpha=0.7)
    drawn.line("count", "expected", source=sources["shares"], color=GREY, legend_label="slot law")
    drawn.scatter("count", "expected", source=sources["shares"], color=GREY, size=4)
    _legend(drawn, "top_right")
    drawn.y_range.start = 0
