"""A run that fails is a row that says so, and the other runs are done."""

import concurrent.futures
import time

import pytest

from flow.sweep import execute, run
from flow.sweep.report import report


def test_a_run_that_fails_is_a_row_tried_as_often_as_asked_and_in_no_mean(here, tmp_path):
    grid = {"n": 6, "m": 6, "lam": 0.05, "seeds": 2, "grid": [{}, {"max_steps": 3}]}
    file = tmp_path / "a.sqlite"
    for retries, attempts in ((0, 1), (0, 1), (2, 3), (1, 3)):
        found = run(grid, file, executor=here, retries=retries)
        failed = [row for row in found.rows if row["max_steps"] == 3]
        assert [row["attempts"] for row in failed] == [attempts] * 2
        assert [row["status"] for row in failed] == ["STEP_LIMIT"] * 2
        assert not any(row["finished"] for row in failed)
        assert all("after max_steps = 3" in row["message"] for row in failed)
    assert found.counts() == {"STATIONARY": 2, "STEP_LIMIT": 2}
    [short] = (line for line in report(found) if line.startswith("| 3 "))
    assert "| 0 of 2 " in short
    assert "± " not in short
    lines = list(report(found, full=True))
    counts, occupancy, winners_, course = (line for line in lines if line.startswith("| 3 "))
    assert "| 0 of 2 |" in counts
    assert "± " not in counts + occupancy + winners_ + course
    assert "2 failed:" in lines


def test_a_run_that_cannot_fit_is_refused_with_the_figure_and_the_others_are_done(here, tmp_path):
    grid = {"n": 6, "lam": 0.05, "m": [6, 10**12]}
    for executor in (None, here):
        file = tmp_path / f"{executor is None}.sqlite"
        began = time.perf_counter()
        found = run(grid, file, workers=None if executor else 1, executor=executor)
        assert time.perf_counter() - began < 10.0
        big = next(row for row in found.rows if row["m"] == 10**12)
        assert big["status"] == "REFUSED"
        assert "needs" in big["message"]
        assert "GiB are available" in big["message"]
        assert (big["attempts"], big["finished"]) == (0, 0)
        assert found.counts() == {"STATIONARY": 1, "REFUSED": 1}


def raise_memory_error(*arguments, **keywords):
    raise MemoryError("Unable to allocate 3 TiB")


def raise_value_error(*arguments, **keywords):
    raise ValueError("two\nlines")


@pytest.mark.parametrize(
    ("broken", "status", "message"),
    [
        (raise_memory_error, "OUT_OF_MEMORY", "Unable to allocate 3 TiB"),
        (raise_value_error, "ERROR", "ValueError: two lines"),
    ],
)
def test_an_error_inside_a_run_is_its_status(monkeypatch, tmp_path, broken, status, message):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(execute, "integrate", broken)
        found = run({"n": 4, "m": 4, "lam": 0.1}, tmp_path / "a.sqlite", executor=pool, retries=1)
    assert [(r["status"], r["message"], r["attempts"]) for r in found.rows] == [
        (status, message, 2)
    ]


def test_weights_that_overflow_end_as_a_failed_row(here, tmp_path):
    found = run(
        {"n": 4, "m": 4, "lam": 0.1, "scale": 1e200, "rtol": 0.5},
        tmp_path / "a.sqlite",
        executor=here,
    )
    (row,) = found.rows
    assert row["status"] == "NON_FINITE"
    assert not row["finished"]
    assert list(report(found))
    assert found.to_xarray().sizes["run"] == 1
