"""How the command lines of benchmarks, findings and figures end."""

import subprocess
import sys

import pytest

from tests import ROOT


@pytest.mark.parametrize(
    ("words", "begins", "said"),
    [
        (["benchmarks.findings.fewer", "collect", "no.sqlite"], "expected ", "no.sqlite"),
        (["benchmarks", "kernels"], "unknown benchmark kernels; ", "known: kernel, whole"),
        (["benchmarks.findings.noise", "figure9"], "unknown part figure9; ", "known: figure4"),
        (["paper_figures", "fig99"], "expected names of figures, got 'fig99'", "known: first_run"),
        (["paper_figures.fig1_network", "--out", "LICENSE/x"], "expected ", "LICENSE/x"),
    ],
)
def test_input_that_cannot_be_used_is_one_line_and_no_traceback(words, begins, said):
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {begins}")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
