"""What running jobs use of this machine, by session: each job's command is the first of a session of its own.

Only what was promised to a job is taken off the use of the machine: what it takes beyond is nobody's lease, so it
counts as what others use.
"""

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, UNIT, Amounts


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of this worker: its session (the pid of its command), and what placement counts for it. `ended_cpu_s`: it
    has ended since the last look and used so much in all; None while it runs."""

    session: int
    promised: Amounts
    ended_cpu_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Use:
    """What the processes of one session use. `cpu_s`: so far, over all of them."""

    cpu_s: float = 0.0
    memory: int = 0
    pids: frozenset[int] = field(default_factory=frozenset[int])


def own(
    jobs: Iterable[Job],
    before: Mapping[int, Use],
    after: Mapping[int, Use],
    *,
    took_s: float,
    on_gpu: Mapping[int, Mapping[int, int]] | None = None,
    is_unified: bool = False,
) -> list[tuple[int | None, str, int]]:
    """(device, resource, amount) that jobs use of what was promised to them. Of those that have ended meanwhile the
    cores that they had until then: short jobs would be other programs' else. `on_gpu`: device -> pid -> bytes.
    `is_unified`: what is promised of the GPU is held in memory.

    What cannot be read of a job is not taken off, so that it counts as used by others: less is placed, never more.
    """
    found: list[tuple[int | None, str, int]] = []
    for job in jobs:
        use = after.get(job.session) if job.ended_cpu_s is None else Use(cpu_s=job.ended_cpu_s)
        if use is None:
            continue
        began = before.get(job.session, Use()).cpu_s
        rate = round(UNIT * max(0.0, use.cpu_s - began) / took_s) if took_s > 0 else 0
        found.append((None, CPU, min(rate, job.promised.get(CPU, 0))))
        left = job.promised.get(GPU_MEMORY, 0)
        most = job.promised.get(MEMORY, 0) + (left if is_unified else 0)
        found.append((None, MEMORY, min(use.memory, most)))
        for device, by_pid in sorted((on_gpu or {}).items()):
            there = min(left, sum(size for pid, size in by_pid.items() if pid in use.pids))
            left -= there
            found.append((device, GPU_MEMORY, there))
    return [one for one in found if one[2] > 0]


def read(sessions: Collection[int]) -> dict[int, Use]:
    """A system call a process of the machine, and a few files of those that are in a session asked for."""
    members: dict[int, list[int]] = {session: [] for session in sessions}
    if members:
        for pid in psutil.pids():
            try:
                session = os.getsid(pid)
            except OSError:
                continue
            if session in members:
                members[session].append(pid)
    return {session: _use(pids) for session, pids in members.items() if pids}


def _use(pids: Iterable[int]) -> Use:
    cpu_s, memory, seen = 0.0, 0, set[int]()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, held = process.cpu_times(), process.memory_info()
        except (psutil.Error, OSError):
            continue
        seen.add(pid)
        cpu_s += times.user + times.system
        if sys.platform != "darwin":  # of children that have ended
            cpu_s += times.children_user + times.children_system
        memory += held.rss - getattr(held, "shared", 0)
    return Use(cpu_s=cpu_s, memory=memory, pids=frozenset(seen))
