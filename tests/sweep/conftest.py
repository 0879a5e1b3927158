"""Fixtures of the tests of sweeps."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from flow.sweep import run
from tests.sweep import GRID


@pytest.fixture(scope="session")
def here():
    """An executor in this process, where no other is the point."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """The small grid, done by one worker."""
    return run(GRID, tmp_path_factory.mktemp("sweep") / "done.sqlite", workers=1)
