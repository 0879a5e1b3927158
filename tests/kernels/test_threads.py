"""Threads: bits and settings stay, whatever runs beside, in whatever process."""

import importlib
import os
import pkgutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import flow.integrators.closed_form
import flow.kernels
from flow import (
    FeatureBenefit,
    Interference,
    NoisyFeatureBenefit,
    NoisyInterference,
    Regularization,
    gaussian_init,
    integrate,
)
from flow.integrators.schemes import ProximalChebyshev, ProximalEuler
from flow.kernels import cores
from flow.kernels.loops import plain_loop
from flow.kernels.threads import (
    ParallelKernel,
    available_threads,
    checked_threads,
    compute_with,
)
from tests.kernels import fresh
from tests.spring import Spring
from tests.strategies import log_uniform

FORCES = [FeatureBenefit(), Interference(), Regularization(0.02)]
NOISY = [NoisyFeatureBenefit(0.2, "bipolar"), NoisyInterference(0.2, "bipolar")]
several = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")


def kernels() -> dict[str, ParallelKernel]:
    """Every parallel kernel of the package."""
    found = {}
    for module in pkgutil.iter_modules(flow.kernels.__path__, "flow.kernels."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, ParallelKernel):
                found[value.__name__] = value
    return found


def noting(compiled, name, given):
    """The compiled kernel, which then notes with which of the loops it is called."""

    def call(loop, *arguments):
        given["plain" if loop == plain_loop() else "threaded"].add(name)
        compiled(loop, *arguments)

    return call


# Bits --------------------------------------------------------------------------------------------


@several
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(130, 131), (13, 1301), (65, 400), (130, 520)]),
    lam=log_uniform(3e-3, 0.1),
    t_end=log_uniform(0.3, 60.0),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_one_thread_and_several_give_the_same_bits(seed, size, lam, t_end, dtype):
    """Dense and sparse layouts, extinctions and revivals among them."""
    W0 = gaussian_init(*size, seed=seed, dtype=dtype)
    forces = [FeatureBenefit(), Interference(), Regularization(lam)]
    one, two = (
        integrate(forces, W0, t_end=t_end, events=True, threads=threads) for threads in (1, 2)
    )
    assert one.final.tobytes() == two.final.tobytes()
    assert one.observables.times.tobytes() == two.observables.times.tobytes()
    assert one.observables.total_energy.tobytes() == two.observables.total_energy.tobytes()
    for before, after in ((one.events.extinctions, two.events.extinctions),
                          (one.events.revivals, two.events.revivals)):  # fmt: skip
        assert before.time.tobytes() == after.time.tobytes()


@several
def test_every_parallel_kernel_is_among_those_that_were_compared(monkeypatch):
    """Each has been given both loops when runs of every kind have been made both ways."""
    given = {"plain": set(), "threaded": set()}
    for name, kernel in kernels().items():
        monkeypatch.setattr(kernel, "compiled", noting(kernel.compiled, name, given))
    monkeypatch.setattr(flow.integrators.closed_form, "MANY_WEIGHTS", 0)
    monkeypatch.setattr(flow.integrators.closed_form, "MANY_ROWS", 0)
    monkeypatch.setattr(flow.integrators.closed_form.kernels, "BLOCK", 64)
    W0 = gaussian_init(33, 600, seed=1)
    off = [FeatureBenefit(), Regularization(0.02)]
    finals = []
    for threads in (1, 2):
        runs = [
            integrate(FORCES, W0, events=True, threads=threads),
            integrate([*FORCES, Spring((0.0,) * 600)], W0, t_end=0.1, threads=threads),
            integrate(FORCES, W0, t_end=0.1, scheme=ProximalEuler(), fixed_step=0.05,
                      threads=threads),
            integrate(off, W0, events=True, threads=threads),
            integrate(NOISY, gaussian_init(33, 600, seed=1), t_end=0.02, threads=threads),
            integrate(FORCES, gaussian_init(128, 512, seed=1), t_end=0.1, threads=threads),
        ]  # fmt: skip
        finals.append(b"".join(run.final.tobytes() for run in runs))
    assert finals[0] == finals[1]
    assert given["plain"] == set(kernels()), "not run with one thread"
    assert given["threaded"] == set(kernels()), "not run with several"


# Settings of the process -------------------------------------------------------------------------


@several
def test_runs_in_threads_are_right_and_leave_numba_and_blas_as_they_were():
    starts = [gaussian_init(130, 140, seed=seed) for seed in range(6)]

    def run(W0):
        return integrate(FORCES, W0, t_end=5.0).final.tobytes(), numba.get_num_threads()

    before = threadpool_info(), numba.get_num_threads()
    alone = [run(W0) for W0 in starts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, starts)) == alone
    assert (threadpool_info(), numba.get_num_threads()) == before


def blas_threads() -> set[int]:
    """How many threads the libraries of BLAS have now."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


class BlasSeen(ProximalChebyshev):
    """Notes the number of BLAS threads at every step."""

    def propose(self, field, state, h, rtol):
        seen.append(blas_threads())
        return super().propose(field, state, h, rtol)


seen: list = []


def test_blas_has_one_thread_inside_whatever_thread_runs_and_whoever_set_it_before():
    def run():
        integrate(FORCES, gaussian_init(4, 4, seed=0), t_end=1.0, scheme=BlasSeen())

    def overlapping():
        """The first in is not the last out."""
        first, second = threading.Event(), threading.Event()

        def early():
            with compute_with(1):
                first.set()
                second.wait(60)

        def late():
            first.wait(60)
            with compute_with(1):
                second.set()
                helper.join()
                run()

        helper = threading.Thread(target=early)
        helper.start()
        late()

    seen.clear()
    for limits in (None, 2):
        with threadpool_limits(limits=limits, user_api="blas"), ThreadPoolExecutor(1) as pool:
            before = blas_threads()
            for job in (run, overlapping):
                job()
                assert blas_threads() == before
                pool.submit(job).result()
                assert blas_threads() == before
    assert seen
    assert all(threads == {1} for threads in seen)


@several
@pytest.mark.parametrize("layer", ["omp", "workqueue", "default"])
def test_runs_in_threads_are_right_on_every_threading_layer(layer):
    said, _ = fresh(
        """
        from concurrent.futures import ThreadPoolExecutor
        from threadpoolctl import threadpool_info, threadpool_limits
        from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate

        def job(seed):
            forces = [FeatureBenefit(), Interference(), Regularization(0.02)]
            return integrate(forces, gaussian_init(130, 140, seed=seed), t_end=2.0).final.tobytes()

        def blas():
            return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

        job(0)
        before = blas()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(job, range(8)))
        assert found == [job(seed) for seed in range(8)]
        assert blas() == before
        print("right")
        """,
        NUMBA_THREADING_LAYER=layer,
    )
    assert said == "right\n"


def test_one_thread_and_small_runs_start_no_threads():
    said, _ = fresh(
        """
        import numba
        from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate

        forces = [FeatureBenefit(), Interference(), Regularization(0.02)]
        integrate(forces, gaussian_init(130, 140, seed=0), t_end=2.0, threads=1)
        integrate(forces, gaussian_init(16, 32, seed=0))
        integrate([FeatureBenefit(), Regularization(0.02)], gaussian_init(16, 32, seed=0))
        try:
            print(numba.threading_layer())
        except ValueError:
            print("none")
        """
    )
    assert said == "none\n"


@several
@pytest.mark.parametrize(
    ("environment", "within"),
    [({}, "None"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "None")],
)
def test_the_setting_of_idle_threads_is_gone_again_and_the_users_own_stays(environment, within):
    said, _ = fresh(
        """
        import os, numba
        from flow import FeatureBenefit, Interference, gaussian_init, integrate

        integrate([FeatureBenefit(), Interference()], gaussian_init(130, 140, seed=0), t_end=0.1)
        print(os.environ.get("GOMP_SPINCOUNT"), bool(numba.threading_layer()))
        """,
        **environment,
    )
    assert said == f"{within} True\n"


# Other processes ---------------------------------------------------------------------------------


@several
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("size", [(16, 32), (130, 140)])
def test_processes_forked_after_a_run_compute_the_same(size):
    """The threads of GNU OpenMP do not live on in a child: there it computes without them."""
    said, _ = fresh(
        f"""
        import multiprocessing
        from flow import FeatureBenefit, Interference, Regularization, gaussian_init, integrate

        def job(seed):
            forces = [FeatureBenefit(), Interference(), Regularization(0.02)]
            return integrate(forces, gaussian_init(*{size}, seed=seed), t_end=2.0).final.tobytes()

        own = [job(seed) for seed in range(4)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(job, range(4)).get(120) == own
        print("right")
        """
    )
    assert said == "right\n"


def test_a_worker_of_a_pool_has_one_thread_unless_told_otherwise():
    program = """
        import multiprocessing
        from flow.kernels.threads import available_threads

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.apply(available_threads))
        """
    assert fresh(program)[0] == "1\n"
    told = min(2, numba.config.NUMBA_NUM_THREADS)
    assert fresh(program, NUMBA_NUM_THREADS=str(told))[0] == f"{told}\n"


@pytest.mark.parametrize(("said", "threads"), [("1", 1), ("1,4", 1), ("4096", None), ("x", None)])
def test_omp_num_threads_is_a_bound(monkeypatch, said, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    with compute_with(1):
        found = available_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert found == (available_threads() if threads is None else threads)


@pytest.mark.parametrize(
    ("threads", "error"), [(0, ValueError), (-1, ValueError), (10**6, ValueError),
                           (1.0, TypeError), (True, TypeError), ("2", TypeError)],
)  # fmt: skip
def test_a_number_of_threads_that_cannot_be_is_refused(threads, error):
    with pytest.raises(error, match=r"expected threads .*got"):
        checked_threads(threads)
    with pytest.raises(error, match=r"expected threads .*got"):
        integrate(FORCES, gaussian_init(2, 3, seed=0), threads=threads)


# Quotas ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "own", "quota"),
    [
        ({}, "0::/", np.inf),
        ({"cpu.max": "max 100000"}, "0::/", np.inf),
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, "0::/a/b", 2.0),
        ({"a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"}, "0::/a/b", 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/",
         np.inf),
        ({"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"},
         "9:memory:/x\n4:cpu,cpuacct:/a", 0.5),
        ({"cpu.max": "garbage"}, "0::/", np.inf),
    ],
)  # fmt: skip
def test_the_quota_is_the_least_of_the_control_groups_above(tmp_path, files, own, quota):
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    assert cores._quota(tmp_path / "cgroup", tmp_path / "own") == quota


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cores._quota(tmp_path, tmp_path / "missing") == np.inf


def test_affinity_bounds_the_threads():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs affinity")
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(own)})
    try:
        assert available_threads() == 1
    finally:
        os.sched_setaffinity(0, own)
