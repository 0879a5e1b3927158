"""The paper's figures, and the ones it should have had: ``python -m paper_figures``.

Every figure is a module with `compute` (numbers) and `plot` (a picture of those numbers and nothing
else), and a command of its own, ``python -m paper_figures.NAME``; the first paragraph of its
docstring is what the gallery says about it.
"""

FIGURES = (
    "first_run",
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
    "collapse",
    "count_map",
    "winners",
    "winning",
    "tilt",
    "flips",
    "deeper",
    "told_apart",
    "work_precision",
    "learning_rate",
    "glossary",
)
"""Names of the figures, which are those of their modules, in the order of the gallery."""
