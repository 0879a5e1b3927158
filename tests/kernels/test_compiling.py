"""Compiled kernels are kept where they can be; no run depends on it."""

import shutil

import numpy as np
import pytest

from tests import ROOT
from tests.kernels import fresh

COMPILE = """
from flow.kernels.exact import tied_rest
print(tied_rest(0.9, 1, (1.0, 1.0, 0.1)))
"""
RUN = """
import numpy as np, flow
F = [flow.FeatureBenefit(), flow.Interference(), flow.Regularization(0.05)]
print(flow.integrate(F, flow.gaussian_init(4, 6, seed=0)).status.name)
"""
REST = 2.0 / np.sqrt(3.0) * np.cos(np.arccos(-0.15 * np.sqrt(3.0)) / 3.0)


def without_a_cache(tmp_path):
    """A checkout and an environment in which nothing can be written, whoever the user is."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "flow", root / "flow", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("flow", "flow/kernels"):
        (root / folder / "__pycache__").touch()  # a file where a folder should be
    file = tmp_path / "file"
    file.touch()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(file / "below"))
    return root, temporary, {**nowhere, "TMPDIR": str(temporary)}


def test_without_a_place_to_keep_them_kernels_compile_with_one_warning(tmp_path):
    root, temporary, nowhere = without_a_cache(tmp_path)
    said, warned = fresh(COMPILE, root, **nowhere)
    assert float(said) == pytest.approx(REST, rel=1e-14)
    assert warned.count("RuntimeWarning") == 1
    assert "set NUMBA_CACHE_DIR to a folder that can be written" in warned
    assert list(temporary.iterdir()) == []


@pytest.mark.long
def test_without_a_place_to_keep_its_kernels_a_run_is_what_it_is(tmp_path):
    root, _, nowhere = without_a_cache(tmp_path)
    said, warned = fresh(RUN, root, **nowhere)
    assert said == "STATIONARY\n"
    assert warned.count("RuntimeWarning") == 1


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with compiled code."""
    folder = tmp_path_factory.mktemp("kept")
    fresh(COMPILE, ROOT, NUMBA_CACHE_DIR=str(folder))
    return folder


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"\x00garbage" * 40],
    ids=["empty", "truncated", "garbage"],
)
def test_damaged_files_of_the_cache_are_compiled_again(kept, tmp_path, ending, damage):
    shutil.copytree(kept, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob(f"exact.tied_rest-*.{ending}")
    good = file.read_bytes()
    file.write_bytes(damage(good))
    said, warned = fresh(COMPILE, ROOT, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert float(said) == pytest.approx(REST, rel=1e-14)
    assert "Warning" not in warned
    assert len(file.read_bytes()) == len(good)  # and mended


def test_a_cache_that_stops_taking_files_is_one_warning(tmp_path):
    # From the import on, a file stands where the folder of the cache was.
    code = COMPILE.replace(
        "print", "import shutil; shutil.rmtree(place); open(place, 'w').close()\nprint"
    )
    code = f"place = {str(tmp_path / 'cache')!r}\n{code}"
    code += "from flow.kernels.exact import tied_left\ntied_left(1.0, 0.1, 0.0)\n"
    said, warned = fresh(code, ROOT, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert float(said) == pytest.approx(REST, rel=1e-14)
    assert warned.count("RuntimeWarning") == 1
    assert "will be compiled again" in warned


TIMED = """
import time
from flow.kernels.compiling import announced, compile_seconds, work_clock
from flow.kernels.exact import tied_rate, tied_rest

said = []
earlier, whole, before = compile_seconds(), time.perf_counter(), work_clock()
with announced(lambda: said.append("compiling")):
    tied_rest(0.9, 1, (1.0, 1.0, 0.1))
    took, first = compile_seconds() - earlier, len(said)
    tied_rate(0.1, 0.9, 1, (1.0, 1.0, 0.1))
    assert len(said) == first
    tied_rest(0.8, 1, (1.0, 1.0, 0.1))
worked, whole = work_clock() - before, time.perf_counter() - whole
assert worked <= whole - took + 1e-9
print(len(said), took > 0.0)
"""


def test_compiling_is_said_once_and_is_no_work(tmp_path):
    """In the process that compiles; the next one loads what was compiled and says nothing."""
    assert fresh(TIMED, ROOT, NUMBA_CACHE_DIR=str(tmp_path))[0] == "1 True\n"
    assert fresh(TIMED, ROOT, NUMBA_CACHE_DIR=str(tmp_path))[0] == "0 False\n"


def test_kernels_are_compiled_again_where_the_loops_that_they_call_have_changed(tmp_path):
    """Code that calls them in the way of an older version would bring the process down."""
    root, kept = tmp_path / "checkout", {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    shutil.copytree(ROOT / "flow", root / "flow", ignore=shutil.ignore_patterns("__pycache__"))
    assert [fresh(TIMED, root, **kept)[0] for _ in range(2)] == ["1 True\n", "0 False\n"]
    with (root / "flow" / "kernels" / "loops.py").open("a") as loops:
        loops.write("# another version\n")
    assert fresh(TIMED, root, **kept)[0] == "1 True\n"


@pytest.mark.long
def test_the_first_command_says_that_it_compiles_and_the_next_does_not(tmp_path):
    command = "from flow.cli.simulate import main; main(['--n', '4', '--m', '6', '--t-end', '1'])"
    first, second = (fresh(command, ROOT, NUMBA_CACHE_DIR=str(tmp_path))[1] for _ in range(2))
    assert first.count("compiling the kernels, once") == 1
    assert second == ""
