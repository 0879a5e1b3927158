"""How much memory a run takes, and how much there is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def run_bytes(
    n: int,
    m: int,
    *,
    itemsize: int,
    interference: bool,
    census: bool,
    saved: int = 2,
    film: int = 0,
) -> int:
    """Bytes that a run with W : (n, m) takes at its most, an upper estimate.

    Measured peaks are 0.5 to 0.7 of it (n = 256, m = 8192, both precisions; n = m = 1024): 9 to 14
    copies of W, G = W Wᵀ among them, and 114 bytes for every death or revival that is logged, of
    which there is one a weight where m ≫ n and up to two where rows crowd. That is for a run of
    which the start and the end are kept; every further one of the `saved` W is there twice at the
    end, alone and in the array of all, and `film` bytes are what pictures add.
    """
    weights = n * m
    size = (16 + 2 * max(0, saved - 2)) * weights * itemsize + film
    if interference:
        size += 6 * 8 * n * n
    if census:
        size += 256 * weights
    return size


def available_bytes() -> int:
    """Bytes this process could still get: what the system has free, within its control group."""
    found = [2**63]
    with suppress(OSError, ValueError, AttributeError):  # not this kind of system
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(s.split()[1]) * 1024 for s in lines if s.startswith("MemAvailable")]
    found += [limit - used for limit, used in _group_limits()]
    return max(0, min(found))


def _group_limits() -> list[tuple[int, int]]:
    """Limit and use, in bytes, of every control group that this process is in."""
    found = []
    for folder, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        for inside in {"", *_groups()}:
            place = Path(folder + inside)
            try:
                pair = int((place / limit).read_text()), int((place / used).read_text())
            except (OSError, ValueError):
                continue  # no such group, or no limit
            found.append(pair)
    return found


def _groups() -> list[str]:
    """Paths of the control groups of this process and of all that they lie in."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    paths = [Path(line.split(":", 2)[2]) for line in lines if line.count(":") >= 2]
    return [str(p) for path in paths for p in (path, *path.parents) if str(p) != "/"]
