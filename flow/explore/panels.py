"""The panels of the page: figures on column sources that a scene fills.

What moves with time is filled in the browser from the frames, by ``assets/explore.mjs``; these
sources and figures are not synchronized back, so that scrubbing asks nothing of the server.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.core.property.vectorization import Value
from bokeh.models import (
    BasicTicker,
    ColorBar,
    ColumnDataSource,
    CustomAction,
    Div,
    FixedTicker,
    GlyphRenderer,
    HoverTool,
    Label,
    LinearColorMapper,
    PrintfTickFormatter,
    Range1d,
    SaveTool,
    Span,
)
from bokeh.plotting import figure
from matplotlib.colors import to_hex

from flow.explore.curves import ENERGIES
from flow.explore.frames import ZERO, encode
from flow.explore.scene import LANES
from flow.pictures.plots import ENERGY_LINES, SIGNED

HEIGHT = 340
"""Of a figure that is not over time, in pixels."""
IN_TIME = "xwheel_zoom,reset"
"""Tools of a figure over time, in which a drag is the time's."""
SCENE_SOURCES = (
    "frames", "order", "steps", "rates", "moments", "meetings", "spans", "law", "counting",
    "separatrix", "rest", "exact",
)  # fmt: skip
"""What a scene has columns for."""
BEFORE = ("frames", "order", "steps")
"""What is drawn of the future that another one branched off, too."""
DRAWN_SOURCES = ("w", "g", "edges", "nodes", "lit_w", "lit_g", "differences", "path", "here")
"""What the browser fills."""
LIT_SOURCES = ("lit_norms", "lit_times", "lit_path")
"""What it fills of the feature or neuron that is pointed at, beside bars in the images."""
EMPTY: dict[str, dict[str, list[Any]]] = {
    "frames": {k: [] for k in (
        "t", "at", "W", "G", "count", "window", "said_w", "said_g", "said_graph", "said_count")},
    "order": {k: [] for k in ("name", "features", "neurons", "alive", "names")},
    "steps": {k: [] for k in ("t", "l1", "survivors", *ENERGIES)},
    "rates": {k: [] for k in ("left", "right", "deaths", "revivals", "up", "down")},
    "moments": {k: [] for k in ("t", "y", "feature", "neuron", "what")},
    "meetings": {k: [] for k in (
        "began", "until", "parted", "y", "kind", "said", "first", "second", "neuron")},
    "spans": {k: [] for k in ("left", "right", "name")},
    "law": {k: [] for k in ("t", "l1", "survivors")},
    "exact": {k: [] for k in ("t", "l1", "survivors")},
    "counting": {k: [] for k in ("paper", "mean", "low", "high")},
    "separatrix": {k: [] for k in ("u", "v")},
    "rest": {k: [] for k in ("u", "v", "kind")},
    "w": {k: [] for k in ("image", "dw", "dh")},
    "g": {k: [] for k in ("image", "dw", "dh")},
    "edges": {k: [] for k in (
        "x0", "y0", "x1", "y1", "width", "colour", "dash", "feature", "neuron", "w")},
    "nodes": {k: [] for k in ("x", "y", "colour", "name", "align", "dx", "id")},
    "lit_w": {k: [] for k in ("left", "right", "top", "bottom")},
    "lit_g": {k: [] for k in ("left", "right", "top", "bottom")},
    "lit_norms": {k: [] for k in ("t", "l1", "survivors")},
    "lit_times": {k: [] for k in ("left", "right")},
    "lit_path": {k: [] for k in ("u", "v")},
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


FRAME_LINES = ("w", "g", "graph", "count", "w_before", "g_before", "graph_before")
"""Lines of words that change with time: the browser takes them from the frames."""


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
    for name in LIT_SOURCES:
        source = ColumnDataSource(EMPTY[name], name=f"drawn_{name}", syncable=False)
        panels.sources[name] = source
    for name in ("seeds", "shares"):
        panels.sources[name] = ColumnDataSource(EMPTY[name], name=name)
    for source in panels.sources.values():
        source.selected.syncable = False
    _timeline(panels)
    for suffix in ("", "_before"):
        _weights(panels, suffix)
        _overlaps(panels, suffix)
        _graph(panels, suffix)
    _plane(panels)
    _counter(panels)
    _histogram(panels)
    for name in (*FRAME_LINES, "plane", "energies", "events", "norms", "histogram"):
        panels.lines[name] = Div(name=f"said_{name}", syncable=False, sizing_mode="stretch_width")
    for name in ("status", "lit", "progress", "other"):
        synced = name == "progress"
        panels.lines[name] = Div(name=name, syncable=synced, sizing_mode="stretch_width")
    return panels


# Figures -----------------------------------------------------------------------------------------


def _figure(panels: Panels, name: str, **settings: Any) -> figure:
    drawn = figure(
        name=name, height=settings.pop("height", HEIGHT), sizing_mode="stretch_width",
        toolbar_location="above", tools=settings.pop("tools", "pan,box_zoom,wheel_zoom,reset"),
        min_border_right=12, syncable=False, **settings,
    )  # fmt: skip
    drawn.add_tools(
        SaveTool(filename=name, description="save as PNG"),
        CustomAction(name=f"svg {name}", icon=_icon("SVG"), description="save as SVG"),
    )
    drawn.toolbar.logo = None
    drawn.toolbar.autohide = True
    drawn.min_width = 0
    drawn.x_range.syncable = drawn.y_range.syncable = False
    panels.figures[name] = drawn
    return drawn


def _icon(text: str) -> str:
    """A word as the icon of a tool."""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 30"><text x="15" y="20" '
        f'text-anchor="middle" font-family="sans-serif" font-size="13">{text}</text></svg>'
    )
    return f"data:image/svg+xml;base64,{b64encode(drawn.encode()).decode()}"


def _in_time(panels: Panels, name: str, **settings: Any) -> figure:
    """A figure over log t, with the cursor that the time moves and the times of what is lit."""
    if "energies" in panels.figures:
        settings["x_range"] = panels.figures["energies"].x_range
    drawn = _figure(panels, name, x_axis_type="log", x_axis_label="flow time t", **settings)
    # On the overlay: curves are not painted anew where only the time moves.
    cursor = Span(
        dimension="height", line_color="black", line_width=1.5, level="overlay", syncable=False
    )
    drawn.add_layout(cursor)
    panels.cursors.append(cursor)
    drawn.vstrip(
        "left", "right", source=panels.sources["lit_times"], fill_color=RED, fill_alpha=0.1,
        line_color=RED, line_alpha=0.5,
    )  # fmt: skip
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
    _events(panels)
    _norms(panels)


def _events(panels: Panels) -> None:
    """Bars of deaths and revivals; below them, in lanes, marks of single ones and of collisions."""
    sources = panels.sources
    events = _in_time(
        panels, "events", height=320, y_axis_label="log₁₀(1 + weights)",
        y_range=Range1d(-4, 4, syncable=False), tools=IN_TIME,
    )  # fmt: skip
    events.extra_y_ranges = {"lanes": Range1d(0, 100, syncable=False)}
    events.yaxis.syncable = False
    events.grid.visible = False
    bars = {"source": sources["rates"], "left": "left", "right": "right", "line_color": None}
    events.quad(top="up", bottom=0, color=GREY, alpha=0.6, **bars)
    events.quad(top=0, bottom="down", color=BLUE, alpha=0.6, **bars)
    events.vstrip("left", "right", source=sources["spans"], color=ORANGE, alpha=0.15)
    lanes: dict[str, Any] = {"y_range_name": "lanes", "nonselection_alpha": 0.15}
    events.text(
        "left", 95, text="name", source=sources["spans"], text_font_size="11px", text_color=RED,
        x_offset=3, text_baseline="middle", **lanes,
    )  # fmt: skip
    single = events.scatter(
        "t", "y", source=sources["moments"], marker="dash", angle=np.pi / 2, size=11, color="black",
        alpha=0.35, **lanes,
    )  # fmt: skip
    met: dict[str, Any] = {"source": sources["meetings"], "color": _by_kind(BLUE, RED), **lanes}
    together = events.segment("began", "y", "until", "y", line_width=2, **met)
    events.scatter("began", "y", marker="circle", size=4, **met)
    events.scatter("parted", "y", marker="x", size=7, line_width=1.5, **met)
    for name, y in LANES.items():
        events.add_layout(
            Label(
                x=3, y=y, x_units="screen", y_range_name="lanes", text=name, text_font_size="11px",
                text_baseline="middle" if name in ("deaths", "revivals") else "bottom",
                text_color={"benign": BLUE, "malign": RED}.get(name, GREY),
            )
        )  # fmt: skip
    said = "feature @feature @what neuron @neuron, t = @t{0.00}"
    events.add_tools(
        HoverTool(renderers=[_only(single)], tooltips=said),
        HoverTool(renderers=[_only(together)], tooltips="@said"),
    )


def _norms(panels: Panels) -> None:
    sources = panels.sources
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
        norms.line("t", name, source=sources["lit_norms"], color=RED, line_width=1.5)
    # Below two decades a logarithmic axis would write every digit, one over another.
    norms.yaxis.ticker = FixedTicker(ticks=[x * 10.0**k for k in range(-4, 5) for x in (1, 3)])
    norms.yaxis.formatter = PrintfTickFormatter(format="%g")
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


SHOWN_WEIGHTS = (-1.0, -0.1, 0.0, 0.1, 1.0)
"""Weights on the scale of colours."""


def _image(panels: Panels, name: str, suffix: str, x: str, y: str) -> figure:
    drawn = _figure(
        panels, name + suffix, x_axis_label=x, y_axis_label=y, match_aspect=False,
        x_range=Range1d(0, 1, syncable=False), y_range=Range1d(1, 0, syncable=False),
        tools="box_zoom,wheel_zoom,pan,reset,tap",
    )  # fmt: skip
    mapper = LinearColorMapper(palette=palette(), low=-0.5, high=255.5)
    drawn.image(
        "image", x=0, y=0, dw="dw", dh="dh", source=panels.sources[name + suffix],
        color_mapper=mapper,
    )  # fmt: skip
    drawn.grid.visible = False
    drawn.axis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    if name == "w":
        drawn.add_layout(_scale(mapper), "right")
    lit = panels.sources[f"lit_{name}{suffix}"]
    drawn.quad(
        "left", "right", "top", "bottom", source=lit, fill_color=RED, fill_alpha=0.18,
        line_color=RED, line_alpha=0.6,
    )  # fmt: skip
    return drawn


def _scale(mapper: LinearColorMapper) -> ColorBar:
    """The scale of colours, with weights written beside it."""
    codes = encode(np.array(SHOWN_WEIGHTS)).tolist()
    return ColorBar(
        color_mapper=mapper, width=9, padding=2, bar_line_color=GREY,
        ticker=FixedTicker(ticks=codes),
        major_label_overrides={
            code: f"{weight:g}" for code, weight in zip(codes, SHOWN_WEIGHTS, strict=True)
        },
    )  # fmt: skip


def _weights(panels: Panels, suffix: str) -> None:
    drawn = _image(panels, "w", suffix, "neurons, in this order", "features, in this order")
    drawn.scatter(
        "x", "y", source=panels.sources[f"differences{suffix}"], marker="square", size=7,
        fill_color=None, line_color=RED, line_width=1.2,
    )  # fmt: skip


def _overlaps(panels: Panels, suffix: str) -> None:
    _image(panels, "g", suffix, "features, in this order", "features, in this order")


def _graph(panels: Panels, suffix: str) -> None:
    sources = panels.sources
    drawn = _figure(
        panels, f"graph{suffix}", x_range=Range1d(-0.25, 1.25), y_range=Range1d(1.03, -0.03),
        tools="ywheel_zoom,ypan,reset,tap",
    )  # fmt: skip
    drawn.axis.visible = False
    drawn.grid.visible = False
    edges = drawn.segment(
        "x0", "y0", "x1", "y1", source=sources[f"edges{suffix}"], line_width="width",
        color="colour", line_dash="dash",
    )  # fmt: skip
    nodes: dict[str, Any] = {"source": sources[f"nodes{suffix}"], "nonselection_alpha": 0.4}
    drawn.scatter("x", "y", size=4, color="colour", **nodes)
    drawn.text(
        "x", "y", text="name", text_align="align", text_baseline="middle", x_offset="dx",
        text_font_size="10px", text_color="colour", **nodes,
    )  # fmt: skip
    said = "feature @feature on neuron @neuron: @w{0.000}"
    drawn.add_tools(HoverTool(renderers=[_only(edges)], tooltips=said))


def _only(renderer: Any) -> GlyphRenderer:
    assert isinstance(renderer, GlyphRenderer)
    return renderer


def _plane(panels: Panels) -> None:
    sources = panels.sources
    drawn = _figure(
        panels, "plane", x_range=Range1d(-1.15, 1.15), y_range=Range1d(-1.15, 1.15),
        x_axis_label="first weight", y_axis_label="second weight",
    )  # fmt: skip
    drawn.line(
        "u", "v", source=sources["separatrix"], color=GREY, line_dash="dashed",
        legend_label="separatrix",
    )  # fmt: skip
    colour = {"attractor": BLUE, "saddle": ORANGE, "repeller": RED}
    from bokeh.transform import factor_cmap, factor_mark

    kinds = list(colour)
    rest = drawn.scatter(
        "u", "v", source=sources["rest"], size=10, line_width=2,
        color=factor_cmap("kind", list(colour.values()), kinds),
        marker=factor_mark("kind", ["circle", "x", "triangle"], kinds), legend_field="kind",
    )  # fmt: skip
    drawn.add_tools(HoverTool(renderers=[_only(rest)], tooltips="@kind at (@u{0.000}, @v{0.000})"))
    for suffix, alpha in (("", 1.0), ("_before", 0.4)):
        drawn.line("u", "v", source=sources[f"path{suffix}"], color="black", alpha=alpha)
        drawn.scatter(
            "u", "v", source=sources[f"here{suffix}"], size=11, color="black", alpha=alpha,
            marker="diamond",
        )  # fmt: skip
    drawn.line("u", "v", source=sources["lit_path"], color=RED, line_width=1.5)
    _legend(drawn, "center")
    drawn.legend.orientation = "horizontal"
    drawn.add_layout(drawn.legend[0], "below")


def _counter(panels: Panels) -> None:
    sources = panels.sources
    drawn = _in_time(panels, "counter", height=320, y_axis_label="neurons", y_axis_type="linear")
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
    drawn.visible = False
