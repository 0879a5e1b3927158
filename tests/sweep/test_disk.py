"""A sweep whose disk is full or cannot be written says so, and its file is whole."""

import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from flow.cli.flags import InputError
from flow.sweep import load, run
from flow.sweep.results import EXPORTED
from tests.sweep import command

GRID = {"n": 8, "m": [8, 16], "lam": 0.05, "seeds": 12}
CONFIG = "n = 8\nm = [8, 16]\nlam = 0.05\nseeds = 12\n"
ROOM = 96 * 1024
"""Bytes: the empty grid fits, the results do not."""


def mount(folder, flags):
    done = subprocess.run(["mount", "-o", flags, "-t", "tmpfs", "tmpfs", folder], check=False)
    if done.returncode != 0:
        pytest.skip("a small file system needs the right to mount one")


@contextmanager
def mounted(folder, flags):
    folder.mkdir()
    mount(folder, flags)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


LIMITED = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM}, {ROOM}))
sys.argv[0] = "flow.sweep"
runpy.run_module("flow.sweep", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with ThreadPoolExecutor(1) as here:
        return run(GRID, tmp_path_factory.mktemp("undisturbed") / "a.sqlite", executor=here)


def check_stopped(done, file, undisturbed):
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: expected a disk with room for")
    assert "give the same command again" in last
    assert "Traceback" not in done.stderr
    found = load(file)
    expected = {row["hash"]: row for row in undisturbed.rows}
    assert len(found.rows) == len(expected)
    assert 0 < len(found.finished) < len(expected)
    for row in found.finished:
        assert all(row[name] == expected[row["hash"]][name] for name in EXPORTED)
    db = sqlite3.connect(file)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


@pytest.mark.long
def test_a_full_disk_stops_the_sweep_and_leaves_the_file_whole(undisturbed, tmp_path):
    with mounted(tmp_path / "small", f"size={2 * ROOM}") as folder:
        (folder / "g.toml").write_text(CONFIG)
        stopped = command("g.toml", "--workers", 2, cwd=folder)
        check_stopped(stopped, folder / "g.sqlite", undisturbed)
        subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
        assert command("g.toml", "--workers", 2, cwd=folder).returncode == 0
        assert load(folder / "g.sqlite").to_csv() == undisturbed.to_csv()


def test_a_limit_on_file_sizes_is_a_full_disk(undisturbed, tmp_path):
    (tmp_path / "g.toml").write_text(CONFIG)
    stopped = command("g.toml", "--workers", 1, cwd=tmp_path, start=("-c", LIMITED))
    check_stopped(stopped, tmp_path / "g.sqlite", undisturbed)
    assert command("g.toml", "--workers", 2, cwd=tmp_path).returncode == 0
    assert load(tmp_path / "g.sqlite").to_csv() == undisturbed.to_csv()


def test_a_folder_that_cannot_be_written_is_refused_and_can_be_read(undisturbed, tmp_path):
    with mounted(tmp_path / "fixed", "size=8m") as folder:
        (folder / "g.toml").write_text(CONFIG)
        (folder / "a.sqlite").write_bytes(undisturbed.path.read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        refused = command("g.toml", cwd=folder)
        assert refused.returncode == 2
        assert refused.stderr.startswith("error: expected a file and a folder that can be written")
        assert refused.stderr.count("\n") == 1
        assert not (folder / "g.sqlite").exists()
        with pytest.raises(InputError, match="can be written"):
            run(GRID, folder / "a.sqlite", workers=1)
        assert load(folder / "a.sqlite").to_csv() == undisturbed.to_csv()


def test_no_room_for_weights_leaves_the_row_pending(tmp_path):
    with mounted(tmp_path / "small", "size=16k") as folder:
        grid = "n = 64\nm = 256\nlam = 0.01\nt_end = 1.0\n"
        (tmp_path / "g.toml").write_text(grid)
        stopped = command("g.toml", "--workers", 1, "--weights", folder, cwd=tmp_path)
        assert stopped.returncode == 1
        assert "expected a folder for weights that can be written and has room" in stopped.stderr
        assert load(tmp_path / "g.sqlite").counts() == {"PENDING": 1}
        assert not list(folder.iterdir())
