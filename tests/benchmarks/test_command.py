"""How the command lines of findings end."""

import subprocess
import sys

from tests import ROOT


def test_a_file_that_is_not_there_is_one_line_and_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.findings.fewer", "collect", tmp_path / "missing.sqlite"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected ")
    assert "missing.sqlite" in done.stderr
    assert done.stderr.count("\n") == 1
