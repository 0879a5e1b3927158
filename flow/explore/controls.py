"""The controls of the page, and the state that they stand for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bokeh.models import (
    Button,
    CheckboxButtonGroup,
    CustomJS,
    CustomJSTickFormatter,
    Model,
    NumericInput,
    RadioButtonGroup,
    Select,
    Slider,
    TextAreaInput,
    Toggle,
)

from flow.defaults import NOISE_LAWS
from flow.explore.links import from_link
from flow.explore.state import FORCES, Assign, Change, Duplicate, Flip, State, Strength, Switch
from theory.equilibrium import critical_lambda

LEAST_LAM, MOST_LAM = 1e-5, 1.0
"""Ends of the slider of λ, whose left end is λ = 0."""
RTOLS = (0.05, 0.02, 0.005, 1e-3, 1e-4, 1e-5)
LAWS = ("none", *(law if law != "student-t" else "student-t:5" for law in NOISE_LAWS))

PRESETS = {
    "default": "?n=64&m=128&lam=0.01",
    "the plateau": "?n=64&m=64&lam=0.004",
    "a malign pair": "?n=2&m=1&seed=228&lam=0.05",
    "figure 1's network": "?n=5&m=7&seed=4&lam=0.02",
    "noise: a stuck encoding": (
        "?n=8&m=16&c=4&noise=bipolar&sigma=0.15&off=regularization&t_end=400"
    ),
    "interference off": "?n=64&m=128&lam=0.01&off=interference",
    "λ beyond critical": "?n=64&m=128&lam=0.4",
}
"""Names of states, and their links."""

TOUR = (
    ("Feature benefit alone: encodings grow to length 1 and stay spread over all neurons.",
     "?n=64&m=128&lam=0.01&off=interference&off=regularization&t_end=100"),
    ("With ℓ1 the rich get richer: each feature ends on one neuron, whoever else is there.",
     "?n=64&m=128&lam=0.01&off=interference"),
    ("Interference: two features with one sign on one neuron push each other; one must leave.",
     "?n=2&m=1&seed=228&lam=0.05"),
    ("With opposite signs nobody is pushed: a benign collision, and a polysemantic neuron.",
     "?n=2&m=1&seed=0&lam=0.05"),
    ("How many are there? About n²/4m; the slot law says how they are spread. Press “20 more "
     "seeds”.", "?n=64&m=128&lam=0.01"),
    ("Noise in the hidden layer makes encodings sparse without ℓ1, and may leave one stuck.",
     "?n=8&m=16&c=4&noise=bipolar&sigma=0.15&off=regularization&t_end=400"),
    ("A cure: a copy of the shared neuron, with noise of opposite sign for its two features.",
     "?n=64&m=128&lam=0.01&duplicate=16,0.01,1,opposed@565"),
    ("λ → 0: fewer collisions than n²/4m are left, for losers keep away from owned neurons.",
     "?n=64&m=64&lam=0.0005"),
)  # fmt: skip
"""Eight stops through the argument: what is seen, and the link that shows it."""

STRENGTH_KINDS = {
    "λ =": "lam", "c =": "c", "c of interference =": "c_interference", "decay μ =": "mu",
}  # fmt: skip
"""Strengths that can be changed on the way."""
KINDS = {
    "switch feature-benefit": "", "switch interference": "", "switch regularization": "",
    **dict.fromkeys(STRENGTH_KINDS, "value"),
    "flip the weight": "", "kill the weight": "", "set the weight to": "value",
    "duplicate the neuron": "noise", "duplicate it, opposed": "noise",
}  # fmt: skip
"""What can be changed on the way, and what the number beside it is; empty: it needs none."""
NOISE_SEED = 1
"""Of a copied neuron."""

BRANCHED_OFF = ("", "the one it branched off")
"""What is shown beside a future where no other is chosen."""

_POWER = "return tick <= -5 ? '0' : (10 ** tick).toPrecision(3)"
"""What a slider of an exponent shows."""


def _power() -> CustomJSTickFormatter:
    return CustomJSTickFormatter(code=_POWER)


def exponent(lam: float) -> float:
    """Where λ is on its slider."""
    return math.log10(min(max(lam, LEAST_LAM), MOST_LAM))


def strength(at: float) -> float:
    """λ from where its slider is, to three digits; 0 at its left end."""
    return 0.0 if at <= math.log10(LEAST_LAM) else float(f"{10.0**at:.3g}")


@dataclass
class Controls:
    """Every control, by name."""

    widgets: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.widgets[name]

    def show(self, state: State) -> None:
        """Set all controls to what a state says before its run begins."""
        w = self.widgets
        for name in ("n", "m", "seed", "scale", "c", "mu", "sigma", "noise", "t_end"):
            if name == "noise" and state.noise not in w["noise"].options:
                w["noise"].options = [*w["noise"].options, state.noise]
            w[name].value = getattr(state, name)
        w["c_interference"].value = state.c_interference
        if f"{state.rtol:g}" not in w["rtol"].options:
            w["rtol"].options = [*w["rtol"].options, f"{state.rtol:g}"]
        w["rtol"].value = f"{state.rtol:g}"
        w["forces"].active = [k for k, force in enumerate(FORCES) if force not in state.off]
        w["lam"].value = exponent(state.lam)
        w["coupling"].value = w["lam"].value + shift(state)
        w["lam"].title = _lam_title(state)
        for name, beyond in (("lam", 0.0), ("coupling", shift(state))):
            w[name].stylesheets = _critical_mark(w[name], state, beyond)

    def state(self, before: State, moved: str) -> State:
        """The state after the control `moved` was moved; ValueError for one that cannot be.

        What is changed on the way is let go: it belonged to another run.
        """
        w = self.widgets
        value: Any
        if moved == "lam":
            value = strength(w["lam"].value)
        elif moved == "coupling":
            moved, value = "lam", strength(w["coupling"].value - shift(before))
        elif moved == "forces":
            on = w["forces"].active
            moved, value = "off", tuple(f for k, f in enumerate(FORCES) if k not in on)
        elif moved == "rtol":
            value = float(w["rtol"].value)
        else:
            value = w[moved].value
            if value is None and moved not in ("t_end", "c_interference"):
                raise ValueError(f"expected a number for {moved}, got none")
        changed: dict[str, Any] = {moved: value, "changes": ()}
        return replace(before, **changed)

    def inputs(self) -> Iterator[tuple[str, Model, str]]:
        """Name, widget and property of every control that changes the start."""
        for name in ("n", "m", "seed", "scale", "c", "c_interference", "mu", "sigma", "t_end"):
            yield name, self.widgets[name], "value"
        for name in ("noise", "rtol"):
            yield name, self.widgets[name], "value"
        yield "forces", self.widgets["forces"], "active"
        for name in ("lam", "coupling"):
            yield name, self.widgets[name], "value_throttled"


def shift(state: State) -> float:
    """log₁₀ of √m/c: how far the two sliders of λ are apart."""
    return math.log10(math.sqrt(state.m) / (state.c or 1.0))


def _lam_title(state: State) -> str:
    if state.c == 0.0:
        return "λ"
    critical = float(critical_lambda(c=state.c))
    beyond = " — beyond it" if state.lam > critical else ""
    return f"λ (critical 2c/3√3 = {critical:.3g}{beyond})"


def _critical_mark(slider: Slider, state: State, shifted: float) -> list[str]:
    """The style of a slider of λ on which the critical λ is marked, and what is beyond it tinted.

    shifted : log₁₀ of what the slider shows over λ.
    """
    if state.c == 0.0:
        return []
    critical = math.log10(float(critical_lambda(c=state.c))) + shifted
    at = 100.0 * (critical - slider.start) / (slider.end - slider.start)
    if not 0.0 <= at <= 100.0:
        return []
    return [
        f".noUi-base {{ background: linear-gradient(to right, transparent {at:.2f}%, "
        f"rgba(181, 67, 10, 0.35) {at:.2f}%); }}"
        f".noUi-base::after {{ content: ''; position: absolute; left: {at:.2f}%; top: -5px; "
        f"bottom: -5px; border-left: 2px solid #b5430a; pointer-events: none; }}"
    ]


def change_of(
    kind: str, value: float | None, feature: int | None, neuron: int | None, now: State
) -> Change:
    """The change that the controls of a branch stand for; ValueError where one is missing."""
    if kind.startswith("switch "):
        force = kind.removeprefix("switch ")
        return Switch(force, force in now.off)
    if KINDS[kind] and value is None:
        raise ValueError(f"expected a number for “{kind}”, got none")
    number = float(value or 0.0)
    if kind in STRENGTH_KINDS:
        return Strength(STRENGTH_KINDS[kind], number)
    if neuron is None:
        raise ValueError("expected a neuron, got none; click one in W, or type its number")
    if kind.startswith("duplicate"):
        return Duplicate(neuron, number, NOISE_SEED, kind.endswith("opposed"))
    if feature is None:
        raise ValueError("expected a feature, got none; click a weight in W, or type its number")
    if kind == "flip the weight":
        return Flip(feature, neuron)
    return Assign(feature, neuron, 0.0 if kind == "kill the weight" else number)


def make_controls() -> Controls:
    """All controls."""
    wide: dict[str, Any] = {"sizing_mode": "stretch_width", "min_width": 0}
    half: dict[str, Any] = {"width": 82}
    third: dict[str, Any] = {"width": 60}
    log: dict[str, Any] = {"step": 0.01, "value": -2.0, **wide}
    w: dict[str, Any] = {
        "preset": Select(title="preset", options=["", *PRESETS], value="", **wide),
        "n": NumericInput(title="features n", low=1, value=64, **third),
        "m": NumericInput(title="neurons m", low=1, value=128, **third),
        "seed": NumericInput(title="seed", low=0, value=0, **third),
        "next": Button(label="next", **third),
        "lam": Slider(title="λ", start=-5, end=0, format=_power(), **log),
        "coupling": Slider(title="λ√m/c", start=-5, end=2, format=_power(), **log),
        "forces": CheckboxButtonGroup(
            labels=["benefit", "interference", "ℓ1"], active=[0, 1, 2], **wide
        ),
        "scale": NumericInput(title="scale", mode="float", low=0, value=1.0, **half),
        "c": NumericInput(title="c", mode="float", low=0, value=1.0, **half),
        "c_interference": NumericInput(
            title="c of interf.", mode="float", low=0, value=None, placeholder="c", **half
        ),
        "mu": NumericInput(title="decay μ", mode="float", low=0, value=0.0, **half),
        "noise": Select(title="noise", options=list(LAWS), value="none", width=110),
        "sigma": NumericInput(title="σ", mode="float", low=0, value=0.1, **half),
        "rtol": Select(title="rtol", options=[f"{x:g}" for x in RTOLS], value="0.005", **half),
        "t_end": NumericInput(
            title="until t", mode="float", low=0, value=None, placeholder="rest", **half
        ),
        "more": Button(label="20 more seeds", width=140),
        "kind": Select(
            title="change", options=list(KINDS), value="switch interference", width=170
        ),
        "value": NumericInput(title="value", mode="float", value=0.02, disabled=True, **half),
        "feature": NumericInput(title="feature", low=0, value=None, placeholder="none", **third),
        "neuron": NumericInput(title="neuron", low=0, value=None, placeholder="none", **third),
        "branch": Button(label="branch here", button_type="primary", width=140),
        "tree": RadioButtonGroup(labels=["start"], active=0, orientation="vertical", **wide),
        "beside": Select(title="beside it", options=[BRANCHED_OFF], value="", **wide),
        "text_kind": Select(
            title="copy as", options=["link", "TOML", "command", "commands", "Python"],
            value="link", width=130,
        ),
        "text": TextAreaInput(rows=7, max_length=100_000, **wide),
        "copy": Button(label="copy", width=90),
        "file": Button(label="download .npz", width=130),
        "play": Toggle(label="▶ play", width=100),
        "back": Button(label="‹ step", width=70),
        "forth": Button(label="step ›", width=70),
        "time": Slider(title="t", start=0, end=1, value=1, step=1, show_value=False, **wide),
        "order_by": Select(
            title="order", options=["winner", "start", "as is"], value="winner", width=110
        ),
        "which": RadioButtonGroup(labels=["live neurons", "all"], active=0),
    }  # fmt: skip
    for name, widget in w.items():
        widget.name = name
    for name in ("time", "play", "order_by", "which", "text_kind", "text", "feature", "neuron",
                 "kind", "value"):  # fmt: skip
        w[name].syncable = False
    _link_sliders(w["lam"], w["coupling"], w["m"], w["c"])
    return Controls(w)


def _link_sliders(lam: Slider, coupling: Slider, m: NumericInput, c: NumericInput) -> None:
    """Moving λ moves λ√m/c, and the other way round, in the browser."""
    code = "other.value = cb_obj.value {} Math.log10(Math.sqrt(m.value) / (c.value || 1))"
    for slider, other, sign in ((lam, coupling, "+"), (coupling, lam, "-")):
        args = {"other": other, "m": m, "c": c}
        guard = "if (Math.abs(other.value - (cb_obj.value {0} Math.log10(Math.sqrt(m.value) / "
        guard += "(c.value || 1)))) > 0.006) "
        slider.js_on_change("value", CustomJS(args=args, code=(guard + code).replace("{}", sign)
                                              .replace("{0}", sign)))  # fmt: skip


def preset(name: str) -> State:
    """The state of a preset."""
    return from_link(PRESETS[name])
