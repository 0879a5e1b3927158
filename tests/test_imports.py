"""The rooms stay where they are: import contracts, lazy extras, names."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import flow
import flow.sweep
import flow.training
import theory
from flow.results.provenance import sources
from tests import ROOT

PACKAGES = [flow, flow.sweep, flow.training]
"""With public names."""


def modules(package):
    """Names of the modules of a package, and of those inside it."""
    return [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]


def test_imports_run_one_way():
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    result = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_no_module_bears_the_name_of_a_public_function(package):
    modules = {info.name for info in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package.__all__)


def public_names():
    yield from ((package, name) for package in PACKAGES for name in package.__all__)
    for info in pkgutil.iter_modules(theory.__path__):
        module = importlib.import_module(f"theory.{info.name}")
        yield from ((module, name) for name in getattr(module, "__all__", []))


def test_every_public_name_is_there_and_documented():
    for module, name in public_names():
        assert getattr(module, name).__doc__ or not callable(getattr(module, name)), name


WITHOUT = """
import sys
for name in ("jax", "diffrax", "optax", "xarray", "dask"):
    sys.modules[name] = None
import pkgutil, importlib, numpy as np, flow
run = flow.integrate([flow.FeatureBenefit(), flow.Regularization(0.1)], np.eye(2), t_end=1.0)
for call, extra in (
    (lambda: flow.integrate([], np.eye(2), backend="diffrax"), "incidental-flow[accelerator]"),
    (run.to_xarray, "incidental-flow[data]"),
):
    try:
        call()
    except ImportError as error:
        assert extra in str(error), error
    else:
        raise AssertionError(extra)
"""


def test_without_the_extras_all_but_them_works_and_they_say_what_to_install():
    subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, check=True)


def test_jax_is_not_imported_unless_asked_for():
    code = "import sys, flow, flow.driver.integration; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("package", [flow, theory], ids=lambda p: p.__name__)
def test_every_module_can_be_imported_and_has_a_docstring(package):
    for name in modules(package):
        assert importlib.import_module(name).__doc__, name


@pytest.mark.parametrize("package", [flow, theory], ids=lambda p: p.__name__)
def test_what_tells_versions_of_the_code_apart_reads_every_module(package):
    folder = Path(package.__file__).parents[1]
    read = [".".join(path.relative_to(folder).with_suffix("").parts) for path in sources(package)]
    assert {name.removesuffix(".__init__") for name in read} == {
        package.__name__,
        *modules(package),
    }
