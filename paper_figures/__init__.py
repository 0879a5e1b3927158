"""The paper's figures, and the ones it should have had: ``python -m paper_figures``.

Every figure is a module with `compute` (numbers), `plot` (a picture of those numbers and nothing
else) and `main`; its docstring's first paragraph is what the gallery says about it.
"""

FIGURES = (
    "fig2_sparsification",
    "fig6_relative_variance",
    "universal_law",
)
"""Names of the figures, which are those of their modules, in the order of the gallery."""
