"""A page in one file: frames inlined, scrubbing and pointing alive, no server and no network."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.resources import INLINE

from flow.explore.page import make_page
from flow.explore.scene import Scene, exact, of_run, scene
from flow.explore.session import texts
from flow.explore.state import State
from flow.results.files import write_text
from flow.results.trajectory import Trajectory


def page_of(state: State) -> str:
    """The page of a state as HTML."""
    made = scene(state)
    before = None if state.parent is None else scene(state.parent)
    made.columns["exact"] = exact(state, made.about["first"])
    return _html(made, before, texts(state))


def page_of_run(run: Trajectory) -> str:
    """The page of a finished run as HTML."""
    return _html(of_run(run), None, {})


def save(state: State, path: Path) -> None:
    """Write the page of a state."""
    write_text(path, page_of(state))


@dataclass(frozen=True)
class Shown:
    """A page that shows itself in a notebook."""

    page: str
    """HTML."""
    height: int = 900
    """Pixels."""

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.page)}" width="100%" height="{self.height}" '
            f'style="border:0" title="the flow"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<page of {len(self.page) / 2**20:.1f} MiB, shown in a notebook>"


def shown(run: Trajectory) -> Shown:
    """See :meth:`flow.Trajectory.explore`."""
    return Shown(page_of_run(run))


def _html(made: Scene, before: Scene | None, ways: dict[str, str]) -> str:
    document, page = Document(), make_page()
    page.place(document, live=False)
    page.show(made, before, ways)
    return file_html(
        document, INLINE, template=document.template,
        template_variables=document.template_variables,
    )  # fmt: skip
