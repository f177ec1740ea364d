"""Cores that this process may use, and how many of them were idle: affinity, quotas, and the idle time of all cores.

Idle time is that of the whole machine; what may be used of it is no more than the limit.
"""

import os
import time
from dataclasses import dataclass

import psutil

from homelab.core.capacity import UNIT
from homelab.worker.sensors import cgroups, files
from homelab.worker.sensors.shares import Share, share

SHORTEST_S = 0.5
"""Over less time the counters, hundredths of a second, say too little."""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """`idle_s`: seconds that all cores together were idle since the machine started; `at`: on the monotonic clock."""

    idle_s: float
    at: float


def limit(machine: int, *, affinity: int | None, quota: float | None) -> int:
    """Thousandths of cores that may be used: the fewest of what the machine has, the affinity and the quotas allow."""
    most = machine if affinity is None else min(machine, affinity)
    return round(UNIT * (most if quota is None else min(most, quota)))


def cores(limit_: int, before: Idle, after: Idle) -> Share | None:
    """What was free between two readings; None when they are too close, or the counter ran backwards."""
    took_s, idle_s = after.at - before.at, after.idle_s - before.idle_s
    if took_s < SHORTEST_S or idle_s < 0:
        return None
    return share(limit_, round(UNIT * idle_s / took_s))


def read_idle() -> Idle | None:
    try:
        times = psutil.cpu_times()
    except (OSError, psutil.Error, RuntimeError):
        return None
    return Idle(idle_s=times.idle + getattr(times, "iowait", 0.0), at=time.monotonic())


def read_limit() -> int | None:
    """Now, since quotas and affinities may be changed while a process runs."""
    machine = os.cpu_count()
    if machine is None:
        return None
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    membership = files.text("/proc/self/cgroup")
    quota = None if membership is None else cgroups.read_cores(cgroups.folders(membership, "cpu"))
    return limit(machine, affinity=affinity, quota=quota)
