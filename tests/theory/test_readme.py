"""theory/README.md: what is cited is there, what it links to exists, what it names is code."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "theory" / "README.md"
TEXT = README.read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (\d)\. ", TEXT, flags=re.MULTILINE)
MODULES = [path.stem for path in (ROOT / "theory").glob("[a-z]*.py")]


def anchors(path):
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def test_sections_are_numbered_from_one_to_eight():
    assert "".join(SECTIONS) == "12345678"


def test_every_section_that_is_cited_exists():
    cited = re.compile(r"theory/README,\s+sections?\s+((?:\d(?:\s*\([^)]*\))?(?:,|\s|and|to)*)+)")
    found = 0
    for folder in ("flow", "theory", "paper_figures", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for numbers in cited.findall(path.read_text(encoding="utf-8")):
                sections = re.findall(r"\d", re.sub(r"\(.*?\)", "", numbers))
                assert set(sections) <= set(SECTIONS), (path, numbers)
                found += len(sections)
    assert found > 100


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)\s]+)\)", TEXT)
    assert len(links) > 30
    for link in links:
        if link.startswith("https:"):
            continue
        name, _, anchor = link.partition("#")
        target = (README.parent / name).resolve() if name else README
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_functions_that_are_named_exist():
    theory = {n for module in MODULES for n in vars(import_module(f"theory.{module}"))}
    named = set(re.findall(r"`([a-z]\w*_\w+)`", TEXT[TEXT.index("## 1. ") :]))
    assert len(named) > 30
    assert named <= theory, named - theory


def test_every_module_has_its_line_in_the_package():
    listed = re.findall(r"^    (\w+) +\S", import_module("theory").__doc__ or "", re.MULTILINE)
    assert sorted(listed) == sorted(MODULES)
