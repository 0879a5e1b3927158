"""Worker processes: one thread each, replaced when they die, gone when the driver is."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flow.sweep import workers
from flow.sweep.workers import WorkerLost, Workers
from tests import ROOT


def test_workers_are_pinned_to_one_thread_and_start_no_second_main(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_kept=1")
    with Workers(2) as pool:
        found = [pool.submit(os.getenv, "NUMBA_NUM_THREADS").result() for _ in range(4)]
        assert found == ["1"] * 4
        flags = pool.submit(os.getenv, "XLA_FLAGS").result().split()
        assert {"--xla_kept=1", "intra_op_parallelism_threads=1"} <= set(flags)
        assert pool.submit(eval, "__import__('numba').get_num_threads()").result() == 1
        name = pool.submit(eval, "__import__('sys').modules['__main__'].__dict__.get('__file__')")
        assert name.result() is None


def test_what_a_worker_raises_or_prints_does_no_harm(capfd, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # as users have it
    with Workers(1) as pool:
        failed = pool.submit(int, "x")
        with pytest.raises(RuntimeError, match="ValueError: invalid literal"):
            failed.result()
        assert pool.submit(print, "spoken").result() is None
        assert pool.submit(os.write, 1, b"written\n").result() == 8
        assert pool.submit(pow, 2, 5).result() == 32
    out, err = capfd.readouterr()
    assert out == ""
    assert "spoken" in err


def test_a_worker_that_dies_fails_its_own_call_and_is_replaced():
    with Workers(1) as pool:
        lost = pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL)
        with pytest.raises(WorkerLost, match="killed by SIGKILL"):
            lost.result()
        with pytest.raises(WorkerLost, match="exit code 7"):
            pool.submit(os._exit, 7).result()
        for status, code in ((3, 3), (None, 0), ("a sentence", 1)):
            with pytest.raises(WorkerLost, match=f"ended with exit code {code}$"):
                pool.submit(sys.exit, status).result()
        idle = pool.submit(os.getpid).result()
        os.kill(idle, signal.SIGKILL)
        time.sleep(0.1)
        assert pool.submit(os.getpid).result() != idle


def test_a_worker_that_is_killed_while_it_starts_is_started_again(monkeypatch):
    spawn, killed = workers._spawn, []

    def spawn_and_kill(threads):
        process = spawn(threads)
        if len(killed) < 4:
            killed.append(process.pid)
            process.kill()
        return process

    monkeypatch.setattr(workers, "_spawn", spawn_and_kill)
    with Workers(1) as pool:
        assert pool.submit(pow, 2, 5).result() == 32
    assert len(killed) == 4


def test_workers_that_never_start_are_given_up_with_a_sentence(monkeypatch):
    monkeypatch.setattr(workers, "_START", "raise SystemExit(3)")
    with Workers(1) as pool:
        with pytest.raises(WorkerLost, match=r"in a row that did not.*exit code 3"):
            pool.submit(pow, 2, 5).result()
        with pytest.raises(concurrent.futures.BrokenExecutor, match="expected worker processes"):
            pool.submit(pow, 2, 5)


def test_workers_exit_when_the_driver_is_killed():
    code = (
        "import time; from flow.sweep.workers import Workers\n"
        "pool = Workers(2)\n"
        "[f.result() for f in [pool.submit(time.sleep, 0) for _ in range(4)]]\n"
        "busy = [pool.submit(time.sleep, 1000) for _ in range(2)]\n"
        "print(*pool.processes, flush=True); time.sleep(1000)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    assert len(pids) == 2
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    driver.kill()
    driver.wait()
    driver.stdout.close()
    deadline = time.monotonic() + 5.0
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid):
    """Whether a process runs; a zombie that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
