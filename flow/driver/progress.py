"""The progress bar of a run."""

from __future__ import annotations

import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from flow.kernels.compiling import announced

if TYPE_CHECKING:
    from flow.driver.engine import Engine


def bar_class() -> Any:
    """tqdm's bar: a widget in a notebook that has widgets, and a line elsewhere, unasked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no widgets needs no warning
        from tqdm.auto import tqdm
    return tqdm


class Progress:
    """Progress in flow time; without an end in sight, a line that says how it goes."""

    def __init__(self, on: bool, t_start: float, t_end: float | None) -> None:
        self._bar: Any = None
        if not on:
            return
        form = "{l_bar}{bar}| t = {n:.4g}/{total:.4g} [{elapsed}<{remaining}{postfix}]"
        if t_end is None:
            form = "{desc}t = {n:.4g} [{elapsed}{postfix}]"
        self._bar = bar_class()(initial=t_start, total=t_end, bar_format=form, leave=False)

    def show(self, engine: Engine) -> None:
        """Say where the run is after a step."""
        if self._bar is not None:
            self._bar.set_postfix_str(engine.describe(), refresh=False)
            self._bar.update(engine.t - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def compiling_said(on: bool) -> AbstractContextManager[None]:
    """If `on`, one line on standard error where kernels must be compiled, which takes a while."""
    return announced(_say_compiling) if on else nullcontext()


def _say_compiling() -> None:
    print("compiling the kernels, once: about 10 s", file=sys.stderr, flush=True)  # noqa: T201
