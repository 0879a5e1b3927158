"""The paper's figures, and the ones it should have had: ``python -m paper_figures``.

Every figure is a module with `compute` (numbers), `plot` (a picture of those numbers and nothing
else) and `main`; its docstring's first paragraph is what the gallery says about it.
"""

FIGURES = (
    "animation",
    "fig1_network",
    "fig2_sparsification",
    "fig3_counts",
    "fig4_noise",
    "fig5_strength",
    "fig6_relative_variance",
    "fig7_stuck",
    "universal_law",
    "malign_collision",
    "plateau",
    "count_map",
    "winners",
    "work_precision",
    "learning_rate",
)
"""Names of the figures, which are those of their modules, in the order of the gallery."""
