"""How many cores this process may use, of those that the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores() -> int:
    """Cores that affinity allows and the quota of the control groups grants, at least one.

    A share of a core does not count: two threads that wait for each other on one and a half cores
    are slower than one.
    """
    cores, quota = _affinity(), _quota()
    return max(1, math.floor(min(cores, quota)))


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Cores' worth of time that the control groups of this process grant; inf without a limit."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top = root
        elif "cpu" in controllers.split(","):
            top = root / "cpu"
        else:
            continue
        group = top / path.lstrip("/")
        while True:
            quota = min(quota, _quota_of(group))
            if group == top or top not in group.parents:
                break
            group = group.parent
    return quota


def _quota_of(group: Path) -> float:
    try:
        if (unified := group / "cpu.max").exists():
            granted, period = unified.read_text().split()
        else:
            granted = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        share = float(granted) / float(period)
    except (OSError, ValueError):  # no limit ("max"), or none that can be read
        return math.inf
    return share if share > 0.0 else math.inf
