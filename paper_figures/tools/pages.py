"""The API pages, from the docstrings: ``python -m paper_figures.tools.pages``, then open
api/index.html.

pdoc reads the modules, mathematics included; the guide in front of them is the pages of this
repository (README, manual, theory, findings, figures) and the notebooks of the tutorial, as they
are. Nothing is copied by hand. Needs the extra ``docs``.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import warnings
from pathlib import Path

from benchmarks.command import command_line
from flow.results.files import write_text
from paper_figures.tools import tutorial

ROOT = Path(__file__).parents[2]
GUIDE = (
    "README.md", "flow/README.md", "theory/README.md", "theory/GLOSSARY.md",
    "benchmarks/README.md", "benchmarks/results.md", "benchmarks/findings/README.md",
    "benchmarks/findings/deeper.md", "paper_figures/README.md",
    "paper_figures/tutorial/README.md",
    "paper_figures/count_map.md", "paper_figures/count_map_table.md", "CONTRIBUTING.md",
    "CHANGELOG.md",
)  # fmt: skip
"""Pages of the guide, in order; those that are there."""


def modules() -> list[str]:
    """What pdoc is asked for: packages bring modules with them unless they hide them from ``*``."""
    from pdoc.extract import walk_specs

    asked: list[str] = []
    found: set[str] = set()
    for package in ("flow", "theory"):
        for name in [package, *_below(package)]:
            if name not in found:
                asked.append(name)
                found |= set(walk_specs([name]))
    return asked


def _below(package: str) -> list[str]:
    path = importlib.import_module(package).__path__
    names = [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
    return [name for name in names if not name.rpartition(".")[2].startswith("_")]


def build(out: Path) -> list[Path]:
    """Write the pages to a folder; returns them. What pdoc warns of is an error."""
    import pdoc
    from pdoc.render_helpers import to_html

    pdoc.render.configure(docformat="numpy", math=True)
    out.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Some modules import names for annotations alone; pdoc then shows them as they are written.
        warnings.filterwarnings("ignore", "Error parsing type annotation")
        pdoc.pdoc(*modules(), output_directory=out)
    (out / "index.html").replace(out / "modules.html")
    names = [name for name in GUIDE if (ROOT / name).exists()]
    pictures = [path for kind in ("png", "gif") for path in ROOT.glob(f"*/*.{kind}")]
    for path in pictures:
        target = out / path.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    links = "".join(f'<li><a href="{page_of(name)}">{name}</a></li>' for name in names)
    sources = {name: f"paper_figures/tutorial/{name}.ipynb" for name in tutorial.NAMES}
    notebooks = "".join(
        f'<li><a href="{page_of(source)}">{name.replace("_", " ")}</a></li>'
        for name, source in sources.items()
    )
    aside = (
        f"<nav><p><a href='index.html'>incidental-flow</a></p><ul>{links}</ul><p>tutorial</p>"
        f"<ul>{notebooks}</ul><p><a href='modules.html'>modules</a></p></nav>"
    )
    written = []
    for name in names:
        text = (ROOT / name).read_text(encoding="utf-8")
        written.append(_write(out, name, str(to_html(text)), aside))
    for source in sources.values():
        written.append(_write(out, source, _notebook(ROOT / source), aside))
    return [*written, *out.glob("*.html")]


def page_of(name: str) -> str:
    """The file that a page or notebook of this repository becomes."""
    if name == "README.md":
        return "index.html"
    return re.sub(r"\.(md|ipynb)$", "", name).replace("/", "-") + ".html"


def _write(out: Path, name: str, body: str, aside: str) -> Path:
    """One page: links to other pages lead to their HTML, pictures to their copies."""
    folder = Path(name).parent

    def there(match: re.Match[str]) -> str:
        kind, link = match[1], match[2]
        if link.startswith(("http", "#", "data:")):
            return match[0]
        path, _, anchor = link.partition("#")
        target = (ROOT / folder / path).resolve().relative_to(ROOT).as_posix()
        if target.endswith((".md", ".ipynb")):
            target = page_of(target)
        return f'{kind}="{target}{"#" + anchor if anchor else ""}"'

    body = re.sub(r'(href|src)="([^"]+)"', there, body)
    path = out / page_of(name)
    write_text(path, _HTML.format(title=name, aside=aside, body=body))
    return path


def _notebook(path: Path) -> str:
    """Cells and outputs of a notebook as HTML."""
    import html
    import json

    from pdoc.render_helpers import to_html

    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(str(to_html(source)))
            continue
        parts.append(f"<pre><code>{html.escape(source)}</code></pre>")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                image = "".join(data["image/png"]).strip()
                parts.append(f'<p><img alt="output" src="data:image/png;base64,{image}"></p>')
            elif "text" in output:
                parts.append(f"<pre>{html.escape(''.join(output['text']))}</pre>")
    return "".join(parts)


_HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>body{{max-width:60rem;margin:auto;padding:1rem;font:16px/1.5 sans-serif}}
img{{max-width:100%}}pre{{background:#f4f4f4;padding:.6rem;overflow:auto}}
table{{border-collapse:collapse;display:block;overflow:auto}}
td,th{{border:1px solid #ccc;padding:.2rem .5rem}}</style>
<script src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-svg.js" async></script>
<script>window.MathJax={{tex:{{inlineMath:[["$","$"]]}}}}</script>
{aside}<main>{body}</main></html>
"""


def main(out: Path = ROOT / "api") -> None:
    """Write the API pages.

    Args:
        out: folder to write to.
    """
    build(out)
    print(out / "index.html")


if __name__ == "__main__":
    command_line(main)
