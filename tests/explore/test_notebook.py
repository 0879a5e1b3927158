"""run.explore() in a notebook: the whole page with the run in it, which asks for nothing."""

from __future__ import annotations

import html
import json
import os
import re
from html.parser import HTMLParser
from textwrap import dedent

import nbclient
import nbformat
import numpy as np
import pytest
from bokeh.document import Document

from flow import FeatureBenefit, Interference, Regularization, Trajectory, gaussian_init, integrate
from flow.explore.frames import ZERO
from tests import ROOT

RUN = """
from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate
forces = [FeatureBenefit(), Interference(), Regularization(0.03)]
run = integrate(forces, gaussian_init(16, 24, seed=3), film=True)
run.save("run.npz")
"""


class Asks(HTMLParser):
    """What a page would load, and the frames within it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.frames: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        found = dict(attrs)
        self.asked += [found[name] for name in ("src", "data") if name in found]
        self.asked += [found["href"] for _ in range(tag == "link")]
        self.frames += [found["srcdoc"] for _ in range(tag == "iframe")]


def asks(page: str) -> Asks:
    parser = Asks()
    parser.feed(page)
    return parser


def last_frame(page: str) -> np.ndarray:
    """Codes of W : (n, m) at the end, out of the page."""
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    (document,) = json.loads(html.unescape(found[1])).values()
    first = Document.from_json(document).get_model_by_name("sketched").data
    return first["columns"][first["name"].index("frames")]["W"][-1]


def check(shown: str, run: Trajectory) -> None:
    (page,) = asks(shown).frames
    assert asks(page).asked == []
    np.testing.assert_array_equal(np.sign(last_frame(page).astype(int) - ZERO), np.sign(run.final))


def test_the_page_of_a_run_has_its_signs_and_asks_for_nothing():
    forces = [FeatureBenefit(), Interference(), Regularization(0.03)]
    run = integrate(forces, gaussian_init(16, 24, seed=3), film=True)
    check(run.explore()._repr_html_(), run)


@pytest.mark.long
def test_a_notebook_shows_the_page_of_a_run(tmp_path):
    cells = [nbformat.v4.new_code_cell(dedent(cell).strip()) for cell in (RUN, "run.explore()")]
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(cells=cells),
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    (shown,) = cells[1].outputs
    assert shown.data["text/plain"].startswith("<page of ")
    check(shown.data["text/html"], Trajectory.load(tmp_path / "run.npz"))
