"""The command line of sweeps: what it prints, what it refuses, how it is interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flow import sweep
from flow.cli.flags import InputError
from flow.sweep import load
from tests import ROOT
from tests.sweep import command


def test_the_command_line_runs_reports_and_exports(done, tmp_path):
    (tmp_path / "grid.toml").write_text("n = 6\nm = [6, 12]\nlam = 0.05\nseeds = 3\n")
    first = command("grid.toml", "--workers", 2, "--report", "--export", "csv", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "grid.csv").read_text() == done.to_csv()
    assert "6 of 6 runs finished" in first.stderr
    assert "Traceback" not in first.stderr
    later = command("grid.sqlite", "--report", cwd=tmp_path)
    assert later.returncode == 0
    rows = [line for line in later.stdout.splitlines() if line.startswith("| ")]
    assert rows == [line for line in first.stdout.splitlines() if line.startswith("| ")]
    (row,) = (line for line in rows if line.startswith("| 6 "))
    assert "| 3 " in row  # runs
    assert "| 1.36 " in row  # the slot law at n = m = 6 is 30/22
    full = command("grid.sqlite", "--report", "--full", cwd=tmp_path).stdout.splitlines()
    counts, *_ = (line for line in full if line.startswith("| 6 "))
    assert "| 1.36 " in counts
    assert "| 1.5 " in counts  # n²/4m


CONFIGS = {
    "bad.toml": "n = = 3",
    "unknown.toml": "n = 3\nm = 3\nlamda = 1",
    "empty.toml": "",
    "good.toml": "n = 3\nm = 3\nlam = 1",
}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "expected CONFIG.toml or FILE.sqlite first, got nothing"),
        (["missing.toml"], "expected a config that can be read, got missing.toml (No such file"),
        (["missing.sqlite", "--report"], "expected the file of a sweep, or a config that ends"),
        (["bad.toml"], "expected TOML, such as lam = 0.1 and forces"),
        (["unknown.toml"], "in unknown.toml: expected names of parameters as keys, got 'lamda'"),
        (["empty.toml"], "in empty.toml: expected n, got neither"),
        (["good.toml", "--worker", "2"], "did you mean --workers?"),
        (["good.toml", "--workers", "0"], "--workers: expected a whole number >= 1, got '0'"),
        (["good.toml", "--retries", "-1"], "--retries: expected a whole number >= 0, got '-1'"),
        (["good.toml", "--workers", "1", "--scheduler", "tcp://x:1"], "got both"),
        (["good.toml", "--export", "x.txt"], "--export: expected csv or a file name"),
        (
            ["good.toml", "--export", "no/such/x.csv"],
            "--export: expected a folder that exists",
        ),
        (["good.toml", "--out", "no/such/x.sqlite"], "make the folder first"),
        (["good.toml", "--scheduler", "nonsense"], "expected the address of a Dask scheduler"),
    ],
)
def test_input_that_cannot_be_used_gives_one_line(words, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in CONFIGS.items():
        Path(name).write_text(text)
    assert sweep.main(words) == 2
    out, err = capsys.readouterr()
    assert complaint in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""


def test_a_report_that_nobody_reads_to_its_end_ends_quietly(done):
    words = [sys.executable, "-m", "flow.sweep", str(done.path), "--report"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        reader.stdout.close()
        assert reader.stderr.read() == ""
        assert reader.wait() == 0


@pytest.mark.parametrize(
    ("number", "to"), [(signal.SIGINT, "group"), (signal.SIGTERM, "group"), (signal.SIGTERM, "one")]
)
def test_a_signal_stops_with_a_sentence_and_the_same_command_goes_on(tmp_path, number, to):
    (tmp_path / "g.toml").write_text("n = 24\nm = 48\nlam = 0.01\nseeds = 200\n")
    driver = subprocess.Popen(
        [sys.executable, "-m", "flow.sweep", "g.toml", "--workers", "2", "--progress"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    file = tmp_path / "g.sqlite"
    deadline = time.monotonic() + 60.0
    while not (file.exists() and any(row["finished"] for row in rows_or_none(file))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if to == "group":  # as a terminal and a scheduler send it
        os.killpg(driver.pid, number)
    else:
        driver.send_signal(number)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 128 + number, err
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert "/200" in err  # the bar counts
    found = load(file)
    done = len(found.finished)
    assert f"interrupted: {done} finished runs" in err
    assert set(found.counts()) == {"STATIONARY", "PENDING"}
    assert [path.name for path in tmp_path.glob("*.sqlite*")] == ["g.sqlite"]


def rows_or_none(file):
    try:
        return load(file).rows
    except InputError:
        return []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("flow.sweep.cli", {"numpy", "numba", "scipy", "xarray", "distributed"}),
        ("flow.sweep.workers", {"numpy", "tyro"}),
    ],
)
def test_help_comes_without_the_numerics_and_a_worker_without_the_flags(module, absent):
    code = f"import sys, {module}; assert not {absent} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
