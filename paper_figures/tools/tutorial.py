"""The tutorial's notebooks, made from their sources: ``python -m paper_figures.tools.tutorial``.

The sources are the Python files of ``paper_figures/tutorial``, cells after ``# %%``; a notebook is
what comes of running one in a fresh kernel. Needs the extra ``docs``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.tables import keep

FOLDER = Path(__file__).parents[1] / "tutorial"
NAMES = (
    "one_feature_alone",
    "two_features_meet",
    "from_one_run_to_the_count",
    "noise_and_cures",
)
"""In the order in which they are read."""


def executed(name: str, *, folder: Path) -> Any:
    """The notebook of a source after it was run in `folder`.

    Raises nbclient's CellExecutionError if a cell fails.
    """
    import jupytext
    import nbclient

    notebook = jupytext.read(FOLDER / f"{name}.py", fmt="py:percent")
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    root = str(FOLDER.parents[1])
    backend = "module://matplotlib_inline.backend_inline"
    client.execute(env={**os.environ, "PYTHONPATH": root, "MPLBACKEND": backend})
    for k, cell in enumerate(notebook.cells):
        cell.id = f"cell-{k}"  # random otherwise, and another file each time
        cell.metadata.clear()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel}
    return notebook


def main() -> None:
    """Run every source and write its notebook."""
    for name in NAMES:
        path = FOLDER / f"{name}.ipynb"
        notebook = executed(name, folder=FOLDER)
        keep(path, notebook, indent=1)
        print(path)


if __name__ == "__main__":
    main()
