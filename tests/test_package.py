"""What is installed: the version, the commands, the files."""

import subprocess
import sys
import tomllib
import zipfile

import pytest

import flow
from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_that_of_the_project_and_every_command_says_it():
    assert flow.__version__ == PROJECT["version"]
    said = subprocess.run(
        [sys.executable, "-m", "flow.simulate", "--version"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == f"incidental-flow {PROJECT['version']}\n"


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_every_command_is_a_function_that_is_there(name):
    module, function = PROJECT["scripts"][name].split(":")
    code = f"import sys; from {module} import {function}; sys.exit({function}())"
    said = subprocess.run(
        [sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    assert "usage" in said.stdout.lower()


@pytest.mark.long
def test_the_wheel_holds_every_source_the_data_and_the_commands(tmp_path):
    pytest.importorskip("hatchling")
    build = ["-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", tmp_path]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        commands = archive.read(entry).decode()
    for package in ("flow", "theory"):
        paths = [path for end in ("py", "pyi") for path in (ROOT / package).rglob(f"*.{end}")]
        assert {path.relative_to(ROOT).as_posix() for path in paths} <= names
    assert not any("__pycache__" in name for name in names)
    assert {"flow/py.typed", "flow/pictures/style.mplstyle"} <= names
    assert all(f"{name} = {place}" in commands for name, place in PROJECT["scripts"].items())
