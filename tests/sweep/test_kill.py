"""A sweep that is killed at any moment, driver or workers, loses nothing and is never wrong."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from flow.sweep import load, run
from flow.sweep.store import open_to_read
from tests import ROOT
from tests.sweep import RESULTS

CONFIG = "n = 16\nm = [16, 32]\nlam = 0.02\nseeds = 20\n"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The config, and the sweep as it comes out of one worker that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "g.toml").write_text(CONFIG)
    with ThreadPoolExecutor(1) as here:
        return run(folder / "g.toml", folder / "g.sqlite", executor=here)


def start(folder):
    with (folder / "g.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flow.sweep", "g.toml", "--workers", "2", "--retries", "1000",
             "--export", "csv"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=log,
        )  # fmt: skip


def workers_of(driver):
    try:
        children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
        threads = Path(f"/proc/{driver.pid}/task").iterdir()
        for thread in threads:
            children += (thread / "children").read_text().split()
    except OSError:
        return []
    return sorted({int(pid) for pid in children})


def check(file, expected):
    """The file opens, is sound, and every row in it is pending, lost, or right; how many are."""
    if not file.exists():
        return 0
    found = load(file)
    db = open_to_read(file)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    for row in found.rows:
        wanted = expected[row["hash"]]
        if row["status"] in ("PENDING", "LOST"):
            assert not row["finished"]
            assert row["t"] is None
        else:
            for name in RESULTS:
                assert row[name] == wanted[name], name
    return len(found.finished)


def kill_many(kills, folder, undisturbed, *, seed, longest):
    """Kill `kills` times, at most `longest` seconds apart, then let it finish; finished rows at
    each kill. A sweep starts in about a second."""
    rng = np.random.default_rng(seed)
    (folder / "g.toml").write_text(CONFIG)
    file, table = folder / "g.sqlite", folder / "g.csv"
    expected = {row["hash"]: row for row in undisturbed.rows}
    driver, orphans, progress = start(folder), set(), []
    try:
        while len(progress) < kills:
            time.sleep(rng.uniform(0.0, longest))
            if driver.poll() is not None:  # it was done before: on with a new one
                assert driver.returncode == 0, (folder / "g.log").read_text()[-2000:]
                assert table.read_text() == undisturbed.to_csv()
                file.unlink()
                driver = start(folder)
                continue
            workers = workers_of(driver)
            orphans |= set(workers)
            victim = driver.pid
            if workers and rng.random() < 0.5:
                victim = workers[rng.integers(len(workers))]
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:  # a worker that ended by itself in the meantime
                continue
            if victim == driver.pid:
                driver.wait()
            progress.append(check(file, expected))
            if victim == driver.pid:
                driver = start(folder)
        assert driver.wait(timeout=60) == 0, (folder / "g.log").read_text()[-2000:]
    finally:
        driver.kill()
        driver.wait()
    assert check(file, expected) == len(expected)
    assert table.read_text() == undisturbed.to_csv()
    assert {path.name for path in folder.iterdir()} == {"g.toml", "g.sqlite", "g.csv", "g.log"}
    deadline = time.monotonic() + 5.0
    while any(Path(f"/proc/{pid}").exists() for pid in orphans):
        assert time.monotonic() < deadline, "workers outlive their drivers"
        time.sleep(0.01)
    return progress


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the workers in /proc")
def test_twenty_kills_leave_every_row_right(undisturbed, tmp_path):
    kill_many(20, tmp_path, undisturbed, seed=0, longest=0.9)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the workers in /proc")
def test_two_hundred_kills_leave_every_row_right(undisturbed, tmp_path):
    progress = kill_many(200, tmp_path, undisturbed, seed=1, longest=2.0)
    # They did not all come before the first row, nor after the last.
    assert sum(0 < finished < len(undisturbed.rows) for finished in progress) >= 50
