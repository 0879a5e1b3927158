"""The file of a sweep: one driver and many readers, whole after a kill, read by later versions."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.cli.flags import InputError
from flow.sweep import Run, SweepError, load, run
from flow.sweep.report import report
from flow.sweep.results import EXPORTED
from flow.sweep.runs import Outcome
from flow.sweep.store import Store, file_system
from tests.sweep import GRID, command


def test_the_second_driver_of_a_file_is_refused_and_readers_are_not(here, tmp_path):
    file = tmp_path / "a.sqlite"
    store = Store(file)
    store.add([Run(n=4, m=4, lam=0.1)], "")
    with pytest.raises(SweepError, match="only driver"):
        run(GRID, file, executor=here)
    assert command("GRID.toml", "--out", file, cwd=tmp_path).returncode == 2  # no such config
    (tmp_path / "g.toml").write_text("n = 4\nm = 4\nlam = 0.1")
    second = command("g.toml", "--out", file, cwd=tmp_path)
    assert second.returncode == 1
    assert "only driver" in second.stderr
    assert [row["status"] for row in load(file).rows] == ["PENDING"]
    store.close()
    assert run(GRID, file, executor=here).counts() == {"STATIONARY": 6, "PENDING": 1}


def test_a_sweep_at_rest_is_one_file(done):
    assert [path.name for path in done.path.parent.iterdir()] == [done.path.name]


def test_a_write_that_a_kill_cut_short_is_taken_back_before_reading(here, tmp_path):
    file = run(GRID, tmp_path / "a.sqlite", executor=here).path
    before = load(file).rows
    writer = sqlite3.connect(file, isolation_level=None)
    assert writer.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    writer.execute("PRAGMA cache_size=1")  # pages go to the file before the commit
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE runs SET message = hex(zeroblob(3000)), polysemantic = -1")
    half = tmp_path / "half.sqlite"
    for end in ("", "-journal"):
        half.with_name(half.name + end).write_bytes(file.with_name(file.name + end).read_bytes())
    writer.execute("ROLLBACK")
    writer.close()
    assert half.read_bytes() != file.read_bytes()
    assert load(half).rows == before
    assert not half.with_name("half.sqlite-journal").exists()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_network_file_systems_get_a_rollback_journal(tmp_path, kind):
    mounts = f"/dev/x / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n"
    store = Store(tmp_path / "a.sqlite", mounts=mounts)
    assert store.journal == "delete"
    store.close()
    store = Store(tmp_path / "a.sqlite", mounts="/dev/x / ext4 rw 0 0\n")
    assert store.journal == "wal"
    store.close()


def test_the_innermost_and_last_mount_counts():
    mounts = "a / ext4 rw\nb /data nfs rw\nc /data/my\\040disk xfs rw\nd /data nfs4 rw\n"
    for path, kind in (("/x", "ext4"), ("/data/x", "nfs4"), ("/data/my disk/x", "xfs")):
        assert file_system(Path(path), mounts) == kind


def test_other_files_are_not_taken_for_sweeps(tmp_path):
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, but long enough to be taken for something\n" * 20)
    before = other.read_bytes(), text.read_bytes()
    for path in (other, text):
        with pytest.raises(InputError, match="expected"):
            run(GRID, path, workers=1)
        with pytest.raises(InputError, match="expected"):
            load(path)
    assert (other.read_bytes(), text.read_bytes()) == before


def test_a_file_of_an_older_version_is_read_and_gets_the_columns_it_lacks(here, tmp_path):
    file = tmp_path / "a.sqlite"
    before = run({**GRID, "seeds": 1}, file, executor=here)
    missing = ("sigma", "collapse_time")
    db = sqlite3.connect(file)
    for name in missing:
        db.execute(f"ALTER TABLE runs DROP COLUMN {name}")
    db.commit()
    db.close()
    older = load(file)
    assert all(row["collapse_time"] is None for row in older.rows)
    assert list(report(older))
    assert run(GRID, file, executor=here).counts() == {"STATIONARY": 6}
    kept = [name for name in EXPORTED if name not in missing]
    after = {row["hash"]: row for row in load(file).rows}
    for row in before.rows:
        assert [after[row["hash"]][name] for name in kept] == [row[name] for name in kept]
    with sqlite3.connect(file) as db:
        db.execute("ALTER TABLE runs ADD COLUMN tomorrow")
    db.close()
    with pytest.raises(InputError, match=r"this version of flow\.sweep or an older one.*tomorrow"):
        load(file)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["STATIONARY", "LOST", "REFUSED"]), min_size=1, max_size=4))
def test_outcomes_written_are_outcomes_read(tmp_path_factory, statuses):
    file = tmp_path_factory.mktemp("store") / "a.sqlite"
    runs = [Run(n=4, m=4, lam=0.1, seed=seed) for seed in range(len(statuses))]
    outcomes = [
        Outcome(hash=r.hash(), status=s, message="why", finished=s == "STATIONARY", software="{}")
        for r, s in zip(runs, statuses, strict=True)
    ]
    store = Store(file)
    store.add(runs, "text")
    store.write(outcomes)
    states = store.states()
    store.close()
    for r, s in zip(runs, statuses, strict=True):
        assert states[r.hash()] == (s, s == "STATIONARY", int(s != "REFUSED"))
    assert sorted(row["status"] for row in load(file).rows) == sorted(statuses)


def test_whole_numbers_up_to_the_limit_of_the_file_come_back_as_they_were(tmp_path):
    file = tmp_path / "a.sqlite"
    store = Store(file)
    store.add([Run(n=4, m=4, lam=0.1, seed=2**63 - 1, max_steps=2**63 - 1)], "")
    store.close()
    (row,) = load(file).rows
    assert row["seed"] == row["max_steps"] == 2**63 - 1


def test_a_message_with_bytes_that_are_no_text_is_kept_with_escapes(tmp_path):
    file, run_ = tmp_path / "a\udcff.sqlite", Run(n=4, m=4, lam=0.1)
    store = Store(file)
    store.add([run_], "")
    store.write([Outcome(hash=run_.hash(), status="ERROR", message="no file 'a\udcff'")])
    store.close()
    assert [row["message"] for row in load(file).rows] == ["no file 'a\\udcff'"]
