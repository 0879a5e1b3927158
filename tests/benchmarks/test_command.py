"""How the command lines of benchmarks, findings and figures end."""

import subprocess
import sys

import pytest

from tests import ROOT


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["benchmarks.findings.fewer", "collect", "missing.sqlite"], "missing.sqlite"),
        (["benchmarks", "kernels"], "known: kernel, whole"),
        (["benchmarks.findings.noise", "figure9"], "known: figure4"),
        (["paper_figures", "fig99"], "known: first_run"),
        (["paper_figures.fig1_network", "--fast", "--out", "pyproject.toml/x"], "pyproject.toml/x"),
    ],
)
def test_input_that_cannot_be_used_is_one_line_and_no_traceback(words, said):
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
