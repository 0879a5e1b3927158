"""Sweeps on executors that are not ours: Dask over the loopback interface, pools, submitit."""

import concurrent.futures
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager, suppress

import pytest

from flow import sweep
from flow.cli.flags import InputError
from flow.sweep import Run, SweepError, engine, launch, load, run
from flow.sweep.calls import execute_batch
from flow.sweep.runs import Outcome
from tests import ROOT
from tests.sweep import identical

GRID = {"n": 16, "m": [16, 32], "lam": 0.02, "seeds": 30}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with concurrent.futures.ThreadPoolExecutor(1) as here:
        return run(GRID, tmp_path_factory.mktemp("undisturbed") / "a.sqlite", executor=here)


@pytest.fixture(autouse=True)
def garbage_stays_here():
    """What Dask leaves open is collected in the test that used it, not in a later one."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def when_some_are_finished(file, number, action):
    """A thread that does `action` once `file` has `number` finished rows."""

    def wait():
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            with suppress(InputError):
                if len(load(file).finished) >= number:
                    break
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@contextmanager
def process(*words):
    """`python -m words` in the background, on one thread."""
    one = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    started = subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **one},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextmanager
def cluster(folder, workers):
    """A Dask scheduler and worker processes; its address, and the workers."""
    about = folder / "scheduler.json"
    with ExitStack() as stack:
        flags = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", about)
        stack.enter_context(process("distributed.cli.dask_scheduler", *flags))
        deadline = time.monotonic() + 60.0
        while not (about.exists() and about.read_text().endswith("}")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = json.loads(about.read_text())["address"]
        flags = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--local-directory", folder)
        yield (
            address,
            [
                stack.enter_context(process("distributed.cli.dask_worker", address, *flags))
                for _ in range(workers)
            ],
        )


def test_dask_with_a_worker_killed_midway_gives_the_same_bits(undisturbed, tmp_path):
    pytest.importorskip("distributed")
    file = tmp_path / "a.sqlite"
    with cluster(tmp_path, 2) as (address, workers):
        done = []

        def kill_one():
            workers[0].send_signal(signal.SIGKILL)
            done.append(len(load(file).finished))

        killer = when_some_are_finished(file, len(undisturbed.rows) // 4, kill_one)
        found = run(GRID, file, scheduler=address)
        killer.join()
        assert 0 < done[0] < len(found.rows)
        assert workers[0].wait() == -signal.SIGKILL
        assert found.counts() == {"STATIONARY": len(undisturbed.rows)}
        assert found.to_csv() == undisturbed.to_csv()
        assert identical(found, undisturbed)
        # With nothing missing the scheduler is not even asked.
        assert run(GRID, file, scheduler="tcp://127.0.0.1:1").to_csv() == found.to_csv()


def test_without_a_scheduler_there_the_command_says_so(monkeypatch, tmp_path, capsys):
    pytest.importorskip("distributed")
    monkeypatch.setattr(launch, "CONNECT_SECONDS", 0.3)
    (tmp_path / "g.toml").write_text("n = 4\nm = 4\nlam = 0.1\n")
    assert sweep.main([str(tmp_path / "g.toml"), "--scheduler", "tcp://127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --scheduler: expected the address of a Dask scheduler")
    assert err.count("\n") == 1


@pytest.mark.long
def test_a_process_pool_of_the_standard_library_gives_the_same_bits(undisturbed, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        found = run(GRID, tmp_path / "a.sqlite", executor=pool, batch_seconds=0.2)
    assert identical(found, undisturbed)


class Slowly:
    """An executor of the plainest kind: futures that can only be asked, as submitit's jobs."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def submit(self, function, /, *arguments, **keywords):
        if function is execute_batch:
            self.calls.append(arguments[0])
        return Job(lambda: self.answer(function, *arguments, **keywords))


class Job:
    def __init__(self, call):
        self.call, self.asked = call, 0

    def done(self):
        self.asked += 1
        return self.asked > 2

    def result(self):
        assert self.asked > 2
        return self.call()

    def cancel(self):
        pass


def test_an_executor_needs_no_callbacks(undisturbed, tmp_path):
    executor = Slowly(lambda function, *given, **options: function(*given, **options))
    some = [Run(n=16, m=16, lam=0.02, seed=seed) for seed in range(3)]
    found = run(some, tmp_path / "a.sqlite", executor=executor, in_flight=2)
    wanted = {row["hash"]: row["weights_sha256"] for row in undisturbed.rows}
    assert [row["weights_sha256"] for row in found.rows] == [wanted[r["hash"]] for r in found.rows]


@pytest.mark.parametrize(("seconds", "size"), [(0.25, 1), (2**-3, 1), (2**-4, 2), (2**-6, 8)])
def test_work_is_batched_once_its_cost_is_known(monkeypatch, tmp_path, seconds, size):
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.001)

    def pretend(function, batch, **options):
        return function is execute_batch and [
            Outcome(hash=r.hash(), status="STATIONARY", message="", finished=True, seconds=seconds)
            for r in batch
        ]

    executor = Slowly(pretend)
    runs = [Run(n=16, m=16, lam=0.02, seed=seed) for seed in range(42)]
    run(runs, tmp_path / "a.sqlite", executor=executor, batch_seconds=2**-3, in_flight=2)
    sizes = [len(call) for call in executor.calls]
    # What is not known yet goes alone; the last call takes what is left.
    assert sizes[:2] == [1, 1]
    assert set(sizes[2:-1]) <= {size}
    assert sum(sizes) == 42


class Refusing:
    def submit(self, function, /, *arguments, **keywords):
        if function is execute_batch:
            raise RuntimeError("no more\nplease")
        future = concurrent.futures.Future()
        future.set_result(None)
        return future


class Foreign:
    def submit(self, function, /, *arguments, **keywords):
        future = concurrent.futures.Future()
        future.set_exception(ModuleNotFoundError("No module named 'flow'"))
        return future


def test_an_executor_that_fails_stops_the_sweep_with_a_sentence(tmp_path):
    for executor, complaint in (
        (Refusing(), "expected an executor that takes work, got RuntimeError: no more"),
        (Foreign(), "expected an executor whose workers can run the flow, got ModuleNotFoundError"),
    ):
        with pytest.raises(SweepError, match=complaint):
            run(GRID, tmp_path / "a.sqlite", executor=executor)
        assert load(tmp_path / "a.sqlite").counts() == {"PENDING": 60}


@pytest.mark.long
def test_a_pool_broken_by_a_killed_process_leaves_rows_that_say_so(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    file = tmp_path / "a.sqlite"
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pid = pool.submit(os.getpid).result()
        killer = when_some_are_finished(file, 1, lambda: os.kill(pid, signal.SIGKILL))
        with pytest.raises(SweepError, match="give the same command again"):
            run({**GRID, "seeds": 5000}, file, executor=pool, in_flight=4)
        killer.join()
    lost = [row for row in load(file).rows if row["status"] == "LOST"]
    assert lost
    assert all("BrokenProcessPool" in row["message"] for row in lost)


def test_only_one_place_to_run_can_be_named(tmp_path):
    with pytest.raises(InputError, match="one of workers, scheduler and executor"):
        run(GRID, tmp_path / "a.sqlite", workers=1, scheduler="tcp://127.0.0.1:1")
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_submitit_with_its_local_executor_gives_the_same_bits(undisturbed, tmp_path):
    submitit = pytest.importorskip("submitit")
    executor = submitit.AutoExecutor(folder=tmp_path / "log", cluster="local")
    executor.update_parameters(timeout_min=5, cpus_per_task=1)
    found = run(GRID, tmp_path / "a.sqlite", executor=executor, batch_seconds=10.0, in_flight=2)
    assert identical(found, undisturbed)
