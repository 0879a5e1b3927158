"""Links of the pages lead somewhere, and README stays short."""

from __future__ import annotations

import re

import pytest

from tests import ROOT
from tests.theory.test_readme import anchors

PAGES = [
    "README.md", "CONTRIBUTING.md", "flow/README.md", "benchmarks/README.md",
    "benchmarks/findings/README.md", "paper_figures/README.md", "paper_figures/count_map.md",
    "paper_figures/tutorial/README.md",
]  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https:"):
            continue
        name, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_first_page_is_read_in_five_minutes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split("\n\n")[1].split()) <= 95
