"""The unattended measurement of an accelerator: what becomes of its parts, and a rehearsal."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.device import __main__ as command
from benchmarks.device import parts
from benchmarks.device.runner import Part, Status, met, run_parts, table
from flow import integrate
from tests import ROOT

# What becomes of parts ----------------------------------------------------------------------------

ROW = {"case": "a", "measured": 1.0, "unit": "s", "goal": 2.0}
SAYS = f"import sys, time, os; print({json.dumps(ROW)!r}, flush=True); "


def part(code, limit=60.0, name="some"):
    return Part(name, (sys.executable, "-c", SAYS + code), limit)


def run(*chosen, limit=60.0):
    kept = []
    outcomes = run_parts(
        chosen, limit, lambda now: kept.append([(o.status, len(o.rows)) for o in now])
    )
    return outcomes, kept


def test_a_part_that_fails_has_a_name_keeps_its_rows_and_does_not_stop_the_next():
    codes = ("raise SystemExit(5)", "os.abort()", "os.kill(os.getpid(), 9)", "")
    outcomes, kept = run(*(part(code) for code in codes))
    assert [o.status for o in outcomes] == [Status.FAILED] * 3 + [Status.DONE]
    assert [o.rows for o in outcomes] == [[ROW]] * 4
    for outcome, said in zip(outcomes, ("exit code 5", "SIGABRT", "for want of memory", ""),
                             strict=True):  # fmt: skip
        assert said in outcome.message
    # Kept when the row came and when the part ended.
    assert [now[-1][1] for now in kept] == [1] * 8
    assert kept[0] == [(Status.NOT_STARTED, 1)]


def test_a_part_out_of_time_is_killed_with_what_it_has_started_and_its_rows_are_kept(tmp_path):
    file = tmp_path / "pid"
    child = (
        "import subprocess; p = subprocess.Popen(['sleep', '600']); "
        f"open({str(file)!r}, 'w').write(str(p.pid)); "
    )
    began = time.monotonic()
    (late, next_one), _ = run(part(child + "time.sleep(600)", limit=2.0), part(""))
    assert time.monotonic() - began < 60.0
    assert late.status is Status.TIMED_OUT
    assert late.rows == [ROW]
    assert next_one.status is Status.DONE
    assert not running(int(file.read_text()))


def running(pid):
    """Whether a process goes on; one that has ended and waits to be collected does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_parts_for_which_no_time_is_left_are_not_started():
    (first, second), _ = run(part("time.sleep(600)"), part(""), limit=2.0)
    assert first.status is Status.TIMED_OUT
    assert first.limit == pytest.approx(2.0, abs=0.1)
    assert second.status is Status.NOT_STARTED
    assert second.rows == []
    assert "of 2 s for all parts nothing was left" in second.message


def test_what_a_library_prints_is_no_row_and_is_passed_on(capfd):
    (outcome,), _ = run(part("print('hello'); print('[1]')"))
    assert outcome.rows == [ROW]
    assert "hello\n[1]" in capfd.readouterr().err


def test_a_goal_is_an_upper_bound_that_nan_does_not_meet():
    assert met({"measured": 2.0, "goal": 2.0}) is True
    assert met({"measured": np.nextafter(2.0, 3.0), "goal": 2.0}) is False
    assert met({"measured": float("nan"), "goal": 2.0}) is False
    assert met({"measured": 2.0}) is None


def test_the_table_has_goals_beside_what_was_measured_and_says_how_parts_ended():
    outcomes, _ = run(part(""), part("raise SystemExit(1)", name="other"))
    lines = table([o.to_dict() for o in outcomes]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2][:8] == ["some", "a", "1", "", "", "s", "≤ 2", "yes"]
    assert cells[4][:2] == ["other", "**failed**: exit code 1; standard error says why"]


# The command --------------------------------------------------------------------------------------


def main(monkeypatch, tmp_path, codes, *arguments):
    """The command with parts that run these codes; its exit code and what it kept."""
    out = tmp_path / "device.json"
    monkeypatch.setattr(command, "PARTS", dict.fromkeys(codes, 60.0))
    monkeypatch.setattr(command, "_part", lambda name, scale: part(codes[name], name=name))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    code = command.main(["--out", str(out), *arguments])
    return code, json.loads(out.read_text()) if out.exists() else None


MISSED = f"print({json.dumps({**ROW, 'goal': 0.5})!r})"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({"one": "", "two": ""}, 0),
        ({"one": MISSED, "two": ""}, 1),
        ({"one": "raise SystemExit(7)", "two": MISSED}, 3),
    ],
)
def test_the_exit_code_says_whether_parts_were_done_and_goals_met(
    monkeypatch, tmp_path, capsys, codes, expected
):
    code, kept = main(monkeypatch, tmp_path, codes)
    assert code == expected
    assert [p["name"] for p in kept["parts"]] == ["one", "two"]
    assert capsys.readouterr().out.strip() in (tmp_path / "device.md").read_text()


def test_parts_are_chosen_by_name_and_a_name_that_is_none_is_refused(monkeypatch, tmp_path):
    _, kept = main(monkeypatch, tmp_path, {"one": "", "two": ""}, "--parts", "two")
    assert [p["name"] for p in kept["parts"]] == ["two"]
    with pytest.raises(SystemExit) as ended:
        main(monkeypatch, tmp_path, {"one": ""}, "--parts", "three")
    assert ended.value.code == 2


def test_a_kill_at_any_moment_leaves_a_whole_file_with_the_rows_so_far(tmp_path):
    """The command itself is killed, or asked to end, while a part goes on."""
    code = (
        f"SAYS = {SAYS!r}"
        + """
import sys
from benchmarks.device import __main__ as command
from benchmarks.device.runner import Part
child = "from benchmarks.device.parts import end_with_reader; end_with_reader(1); time.sleep(600)"
command._part = lambda name, scale: Part(name, (sys.executable, "-c", SAYS + child), 60.0)
raise SystemExit(command.main(["--out", sys.argv[1]]))
"""
    )
    for number, expected in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)):
        out = tmp_path / f"{number.name}.json"
        process = subprocess.Popen(
            [sys.executable, "-c", code, out], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        while not out.exists():
            assert process.poll() is None
            time.sleep(0.01)
        children = started_by(process.pid)
        process.send_signal(number)
        assert process.wait(60) == expected
        kept = json.loads(out.read_text())["parts"]
        assert [(p["status"], p["rows"]) for p in kept] == [("not started", [ROW])]
        assert len(children) == 1
        ends = time.monotonic() + 60.0  # a part that has lost its command ends by itself
        while number is signal.SIGKILL and running(children[0]) and time.monotonic() < ends:
            time.sleep(0.05)
        assert not running(children[0])


def started_by(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


# What it needs ------------------------------------------------------------------------------------

ALONE = """
import sys
for name in ("tyro", "bokeh", "matplotlib", "pytest", "hypothesis", "xarray", "pandas", "dask",
             "paper_figures"):
    sys.modules[name] = None
import benchmarks.device.__main__
assert "jax" not in sys.modules, "the command must leave the device to its parts"
sys.argv = ["parts", "device", "rehearsal", "60"]
from benchmarks.device import parts
parts.main()
"""


def test_jax_diffrax_and_what_the_flow_itself_needs_are_enough():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    about, *rows = map(json.loads, done.stdout.splitlines())
    assert about["device"]["platform"] == "cpu"
    assert [row["unit"] for row in rows] == ["µs", "µs", "GiB/s", "GiB/s"]


@pytest.mark.parametrize("limit", ["-1", "0", "nan", "soon"])
def test_a_limit_that_is_no_time_is_refused_before_anything_is_written(
    limit, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        command.main(["--limit", limit])
    assert ended.value.code == 2
    assert "--limit" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_full_sizes_are_refused_where_there_is_no_accelerator():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.device.parts", "large", "full", "60"], cwd=ROOT,
        capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "expected an accelerator, got the CPU" in done.stderr


# Rehearsal ----------------------------------------------------------------------------------------

SMALL = parts.SCALES["rehearsal"]


def rows(name):
    found = list(parts.PARTS[name](SMALL, 100.0))
    for row in found:
        assert {"case", "measured", "unit"} <= set(row)
        json.dumps(row)
    return found


def assert_goals_met(found):
    assert [row for row in found if met(row) is False] == []
    assert any(met(row) for row in found)


def test_the_command_has_every_part_that_there_is():
    assert list(command.PARTS) == list(parts.PARTS)
    assert all(scale.evaluations for scale in parts.SCALES.values())


def test_one_evaluation_is_measured_beside_the_peak_and_its_error():
    found = rows("evaluation")
    assert_goals_met(found)
    shares = [row["share of peak"] for row in found if "share of peak" in row]
    assert len(shares) == 2 * len(SMALL.evaluations)
    assert all(0.0 < share < np.inf for share in shares)
    errors = [row["error"] for row in found if "share of peak" in row]
    assert max(errors[::2]) < 1e-6  # float32
    assert max(errors[1::2]) < 1e-15


def test_a_product_in_less_than_its_precision_misses_its_goal(monkeypatch):
    """As TF32 would: ten bits of the significand."""

    def rounded(A):
        import jax

        bits = jax.lax.reduce_precision(A, exponent_bits=8, mantissa_bits=10)
        return bits @ bits

    monkeypatch.setattr(parts, "full_precision_product", rounded)
    found = parts.evaluation(SMALL, 100.0)
    assert met(next(found)) is False


def on_numba(forces, W0, **settings):
    return integrate(forces, W0, **{**settings, "backend": "numba", "progress": False})


@pytest.fixture
def numba_for_the_device(monkeypatch):
    """Rows of whole runs without compiling for JAX, which takes a minute."""
    monkeypatch.setattr(parts, "integrate", on_numba)
    monkeypatch.setattr(
        parts, "integrate_ensemble",
        lambda forces, W0s, **settings: [on_numba(forces, W0, **settings) for W0 in W0s],
    )  # fmt: skip


def test_figure_3_is_counted_run_by_run_and_made_twice_where_there_is_time(numba_for_the_device):
    found = rows("figure3")
    assert_goals_met(found)
    assert [row["case"].rpartition(", ")[2] for row in found] == [
        "first call", "first call", "compiled", "compiled",
    ]  # fmt: skip
    assert all(len(row["polysemantic"]) == 4 for row in found[::2])
    assert len(list(parts.figure3(SMALL, 1e-9))) == 2


def test_runs_that_do_not_finish_miss_their_goals(numba_for_the_device):
    whole, unfinished = parts.figure3(SMALL, 0.0)
    assert met(whole) is False
    assert met(unfinished) is False
    (run,) = parts.large(SMALL, 0.0)
    assert met(run) is False
    assert "max_seconds" in run["case"]


def test_counts_are_compared_with_those_that_are_shipped_run_by_run(monkeypatch):
    full = parts.SCALES["full"]
    _, sizes, seeds, _ = full.figure3
    kept = json.loads(parts.FIGURE3.read_text())
    column = kept["columns"].index("polysemantic")
    cases = [(m, seed) for m in sizes for seed in range(seeds)]
    known = {tuple(row[:2]): row[column] for row in kept["rows"]}
    counts = iter([known[case] + 2 * (k % 2) for k, case in enumerate(cases)])
    monkeypatch.setattr(parts, "polysemantic_neurons", lambda W: next(counts))

    class Run:
        final = None

    said = parts._counts(full, cases, [Run] * len(cases))
    assert said["error"] == pytest.approx(1.0)
    assert "± 0.12" in said["error_is"]


def test_the_large_run_says_how_far_it_came_and_how_exactly(numba_for_the_device):
    (row,) = rows("large")
    assert met(row) is True
    assert row["error"] <= 1e-5
    assert row["evaluations"] > row["accepted"] > 0


@pytest.mark.long
def test_the_whole_command_is_rehearsed(tmp_path):
    out = tmp_path / "device.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.device", "--rehearse", "--out", out], cwd=ROOT,
        capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}, timeout=570,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    kept = json.loads(out.read_text())
    assert kept["scale"] == "rehearsal"
    assert kept["device"]["platform"] == "cpu"
    assert [p["status"] for p in kept["parts"]] == ["done"] * len(parts.PARTS)
    assert_goals_met([row for p in kept["parts"] for row in p["rows"]])
