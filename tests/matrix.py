"""The suite on every Python that is here, and with the oldest packages that pyproject.toml allows.

    python tests/matrix.py                         3.11, 3.12 and 3.13, those that are on the PATH
    python tests/matrix.py --python 3.12
    python tests/matrix.py --oldest                the lower bounds, on the oldest Python
    python tests/matrix.py -- tests/kernels -x     what pytest is given instead of -n 2

Each environment is made afresh in a temporary folder; nothing is written beside the sources. Needs
the standard library alone. Exit code 1 if any environment fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
SHOWN = ("numpy", "numba", "scipy", "jax", "diffrax", "matplotlib", "hypothesis", "pytest")
"""Packages whose versions are said."""


def requirements(extra: str | None = None) -> list[str]:
    """What the project asks for, with everything that an extra takes in from others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = list(project["dependencies"])
    waiting = [] if extra is None else [extra]
    while waiting:
        for wanted in project["optional-dependencies"][waiting.pop()]:
            own = re.fullmatch(rf"{project['name']}\[(.*)\]", wanted)
            if own:
                waiting += own[1].split(",")
            else:
                found.append(wanted)
    return found


def oldest(wanted: list[str]) -> list[str]:
    """The lower bounds, as the versions to install."""
    return [re.sub(r">=([\d.]+)", r"==\1", requirement) for requirement in wanted]


def suite(python: str, *, pins: list[str], arguments: list[str]) -> bool:
    """Make an environment, run the suite in it, say how it went; whether all passed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", f"{folder}/env"], check=True)
        inside = f"{folder}/env/bin/python"
        install = [inside, "-m", "pip", "install", "-q", f"{ROOT}[test]", *pins]
        if subprocess.run(install, check=False).returncode:
            print(f"{python:<12}could not be installed", flush=True)
            return False
        environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": f"{folder}/kernels",
            "HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/examples",
            "PATH": f"{folder}/env/bin{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            [inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        listed = subprocess.run(
            [inside, "-m", "pip", "list", "--format=json"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    if done.returncode:
        print(done.stdout)
    versions = {entry["name"].lower(): entry["version"] for entry in json.loads(listed.stdout)}
    shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN if name in versions)
    last = done.stdout.strip().splitlines()[-1].strip("= ") if done.stdout.strip() else "nothing"
    kind = f"{python} oldest" if pins else python
    print(f"{kind:<18}{last}; {time.monotonic() - began:.0f} s with {shown}", flush=True)
    return done.returncode == 0


def works(python: str) -> bool:
    """Whether it is on the PATH, and more than a shim of something that is not installed."""
    found = shutil.which(python)
    return found is not None and not subprocess.run([found, "-c", ""], check=False).returncode


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only this one")
    parser.add_argument("--oldest", action="store_true", help="the lower bounds of pyproject.toml")
    parser.add_argument("pytest", nargs="*", default=["-n", "2"], help="arguments for pytest")
    options = parser.parse_args()
    pins = oldest(requirements("test")) if options.oldest else []
    wanted = options.python or (PYTHONS[:1] if options.oldest else PYTHONS)
    passed = True
    for version in wanted:
        python = f"python{version}"
        if not works(python):
            print(f"{python:<18}not here", flush=True)
            continue
        passed &= suite(python, pins=pins, arguments=options.pytest)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
