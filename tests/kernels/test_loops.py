"""Tasks are run once each, phase after phase, by however many threads there are."""

import math

import numba
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from flow.kernels.compiling import kernel
from flow.kernels.loops import run_tasks
from flow.kernels.threads import compute_with, parallel


@kernel(forceinline=True)
def _note(i, phase, done, seen):
    """Note that a task has run, and how many of the phase before it had by then.

    It takes a while, so that another thread has the time to come.
    """
    work = 0.0
    for k in range(300):
        work += math.sin(i + k)
    if work > 1e3:
        return
    done[phase, i] += 1
    if phase > 0:
        seen[phase, i] = done[phase - 1].sum()


@parallel
def note_three(loop, a, b, c, done, seen):
    run_tasks(loop, _note, (a, b, c), (done, seen))


@given(
    counts=st.tuples(*[st.integers(0, 200)] * 3),
    threads=st.integers(1, numba.config.NUMBA_NUM_THREADS),
)
@example(counts=(0, 0, 0), threads=1)
@example(counts=(1, 200, 1), threads=numba.config.NUMBA_NUM_THREADS)
def test_every_task_runs_once_and_after_the_whole_phase_before_it(counts, threads):
    for _ in range(20):  # a thread that does not wait is caught in one of twenty
        done, seen = np.zeros((3, 200), np.int64), np.zeros((3, 200), np.int64)
        with compute_with(threads):
            note_three(*counts, done, seen)
        for phase, count in enumerate(counts):
            np.testing.assert_array_equal(done[phase], np.arange(200) < count)
            if phase > 0:
                assert (seen[phase, :count] == counts[phase - 1]).all()
