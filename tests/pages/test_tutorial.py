"""The notebooks of the tutorial run, and say and show what is kept of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from paper_figures.tools import pages, tutorial
from tests import ROOT


def kept(name):
    return json.loads((tutorial.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def printed(cells):
    """What the cells printed, however many pieces the kernel sent it in."""
    text = [
        "".join("".join(out["text"]) for out in cell.get("outputs", []) if "text" in out)
        for cell in cells
    ]
    return re.sub(r"[\d.]+ s,|residual [\d.e+-]+|t ≈ \d+", "…", "\n".join(text))


@pytest.mark.parametrize("name", tutorial.NAMES)
def test_a_notebook_is_that_of_its_source_with_pictures(name):
    jupytext = pytest.importorskip("jupytext")
    source = jupytext.read(tutorial.FOLDER / f"{name}.py", fmt="py:percent")
    cells = kept(name)["cells"]
    assert ["".join(cell["source"]) for cell in cells] == [cell.source for cell in source.cells]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert not any(output.get("name") == "stderr" for output in outputs)
    words = sum(len("".join(cell["source"]).split()) for cell in cells)
    assert words < 15 * 100  # a quarter of an hour at a hundred words a minute


@pytest.mark.long
@pytest.mark.parametrize("name", tutorial.NAMES)
def test_a_notebook_says_again_what_it_says(name, tmp_path):
    pytest.importorskip("jupytext")
    again = tutorial.executed(name, folder=tmp_path)
    assert printed(again.cells) == printed(kept(name)["cells"])


@pytest.mark.long
def test_api_pages_are_built_without_a_warning_and_every_link_among_them_leads_somewhere(tmp_path):
    pytest.importorskip("pdoc")
    command = [sys.executable, "-m", "paper_figures.tools.pages", "--out", str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "modules.html", "flow.html", "flow/driver/integration.html"} <= written
    for name in pages.GUIDE:
        if (ROOT / name).exists():
            assert pages.page_of(name) in written
    for page in tmp_path.glob("*.html"):
        if page.name in ("flow.html", "theory.html", "modules.html"):
            continue  # pdoc's own
        for link in re.findall(r'(?:href|src)="([^"#:]+)[#"]', page.read_text(encoding="utf-8")):
            assert (tmp_path / link).exists() or (ROOT / link).exists(), (page.name, link)
