"""How many cores this process may really use."""

from __future__ import annotations

import os
from pathlib import Path

from mien.store.launch import processes_here


def cpu_count(root: str | Path = "/") -> int:
    """Cores that the machine, the CPU affinity and the control groups (v1 and v2) leave to this process, at least 1.

    Processes that torchrun started on one machine share its cores evenly.

    ``os.cpu_count`` tells what the machine has; in a container with a quota of two cores, a runtime that starts 64
    threads is slower than one that starts two.

    Args:
        root: where ``proc`` and ``sys`` lie; tests give another one.

    Example:
        >>> 1 <= cpu_count() <= (os.cpu_count() or 1)
        True
    """
    # Only Linux has affinities and control groups.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _cgroup_folders(Path(root)) if (quota := _quota(folder)) is not None]
    return max(1, min([cores, *(int(quota) for quota in quotas)]) // processes_here())


def _cgroup_folders(root: Path) -> list[Path]:
    """This process's control group and all its ancestors: the tightest of them counts."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = ["sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/cpu"] if controllers else ["sys/fs/cgroup"]
        parts = [part for part in group.split("/") if part not in ("", "..")]
        folders += [root.joinpath(name, *parts[:depth]) for name in names for depth in range(len(parts), -1, -1)]
    return folders


def _quota(folder: Path) -> float | None:
    """Cores per second of wall clock that a control group grants, None where it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return float(limit) / float(period) if limit != "max" and float(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
