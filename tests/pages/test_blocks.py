"""What the pages show is what happens: their code blocks run, and print what stands below them.

`console` blocks are commands after `$ ` with their output, `sh` blocks commands alone, `python`
blocks code, with what it prints in a `text` block right below. Blocks of one page run in order, in
one folder and one namespace. A page leaves a block out by ``<!--- skip: next -->``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from tests import ROOT

PAGES = {
    "README.md": (),
    "flow/README.md": (pytest.mark.long,),
}
VARYING = (
    (r"\b\d[\d,.]* s\b", "… s"),  # seconds
    (r"residual [\d.e+-]+", "residual …"),  # rounding, which processors do differently
    (r"[\d.]+ GiB of memory available", "… GiB of memory available"),
    (r"(?m)^(no-regularization +)\S+", r"\1…"),  # rest is approached slowly: its time is rounding
    (r"(?m)^compiling the kernels.*\n", ""),
)


def told(text):
    """Words and numbers that are the same on every machine."""
    for pattern, instead in VARYING:
        text = re.sub(pattern, instead, text)
    return [line.split() for line in text.strip().splitlines()]


def run(command, folder):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, text=True,
        capture_output=True,
    )  # fmt: skip


def console(example):
    """Each command prints what stands between it and the next."""
    for part in re.split(r"(?m)^\$ ", example.parsed)[1:]:
        command, _, expected = part.partition("\n")
        said = run(command, example.namespace["folder"])
        assert "Traceback" not in said.stderr, said.stderr
        printed = said.stderr if said.returncode == 2 else said.stdout
        assert told(printed) == told(expected), f"{command}\n{printed}"


def shell(example):
    said = run(example.parsed, example.namespace["folder"])
    assert said.returncode == 0, said.stderr


def python(example):
    """Runs, and prints what the block of text right below says."""
    printed = io.StringIO()
    names = example.namespace["python"]
    with contextlib.chdir(example.namespace["folder"]), contextlib.redirect_stdout(printed):
        exec(compile(example.parsed, f"{example.path}:{example.line}", "exec"), names)
    below = example.document.text[example.region.end :]
    text = re.match(r"\s*```text\n(.*?)```", below, flags=re.DOTALL)
    assert told(printed.getvalue()) == told(text[1] if text else "")


PARSERS = (
    CodeBlockParser("console", console),
    CodeBlockParser("sh", shell),
    CodeBlockParser("python", python),
    SkipParser(),
)


def blocks(path):
    document = Sybil(PARSERS).parse(path)
    return list(document.examples())


@pytest.mark.parametrize("page", [pytest.param(name, marks=marks) for name, marks in PAGES.items()])
def test_blocks_of_a_page_run_and_print_what_stands_below_them(page, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    namespace = {"__name__": "page"}
    for example in blocks(ROOT / page):
        example.namespace.update(folder=tmp_path, python=namespace)
        example.evaluate()


def test_a_page_that_promises_something_else_is_found_out(tmp_path):
    page = tmp_path / "page.md"
    for right, text in (
        (True, "```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n"),
        (False, "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n"),
        (False, "```python\nprint(1 + 1)\n```\n"),
        (True, "```console\n$ echo took 0.3 s\ntook 4 s\n```\n"),
        (False, "```console\n$ echo a\nb\n```\n"),
        (False, "```sh\nfalse\n```\n"),
        (True, "<!--- skip: next -->\n```sh\nfalse\n```\n"),
    ):
        page.write_text(text)
        for example in blocks(page):
            example.namespace.update(folder=tmp_path, python={})
            if right:
                example.evaluate()
            else:
                with pytest.raises(AssertionError):
                    example.evaluate()


def test_the_set_up_commands_are_left_out_here_and_run_by_the_build():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"<!--- skip: next -->\n```sh\n(.*)\n```", text)
    assert ["flow/simulate.py" in commands[0], "pytest" in commands[1]] == [True, True]
    build = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (found,) = re.findall(r"^test_command=\$\((.*)\)$", build, re.MULTILINE)
    taken = subprocess.run(["bash", "-c", found], cwd=ROOT, capture_output=True, text=True)
    assert taken.stdout.rstrip("\n") == commands[1]
