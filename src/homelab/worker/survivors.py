"""Processes of a job that are still there: found by process group, session and environment, never by a name.

A pid alone proves nothing, since pids are used again. A process is the one we started when its start mark is the one
that the journal has; a process whose leader is gone is ours when it carries the run's id in its environment. Called
by `worker.process` after a command's end and by `worker.journal` after a worker's.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

_RUN_ID = "HOMELAB_RUN_ID"
_KILL_WAIT_S = 2.0


def start_mark(pid: int) -> str:
    """Identifies the process that has this pid now, across reuse of the pid and reboots; "" when there is none.

    Linux: boot id and start in clock ticks since boot, which setting the clock does not change. Elsewhere: start
    time.
    """
    try:
        if sys.platform == "linux":
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            ticks = stat[stat.rindex(b")") + 2 :].split()[19]
            return f"{_boot_id()}:{ticks.decode()}"
        return f"{psutil.Process(pid).create_time():.3f}"
    except (OSError, psutil.Error, ValueError, IndexError):
        return ""


def group_exists(pgid: int) -> bool:
    """Whether any process (a zombie too) is in the group. One system call."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def group_lives(pgid: int) -> bool:
    """Whether a process that is no zombie is in the group. Reads the whole process table when the group exists."""
    return group_exists(pgid) and (_lives(pgid) or bool(left_behind(pgid, {}, since=0.0, session=False)))


def left_behind(
    leader: int, marks: Mapping[str, str], *, since: float, everywhere: bool = False, session: bool = True
) -> tuple[int, ...]:
    """Living processes of the group or session that `leader` began, and with `everywhere` also those that left both but
    have the variables `marks` in their environment. `since`: Unix time before which none of those has begun."""
    found: list[int] = []
    for pid in psutil.pids():
        if pid in (leader, os.getpid()):
            continue
        try:
            related = os.getpgid(pid) == leader or (session and os.getsid(pid) == leader)
        except OSError:
            continue
        if (related or (everywhere and _began_after(pid, since) and _carries(pid, marks))) and _lives(pid):
            found.append(pid)
    return tuple(found)


def end(*, pid: int, mark: str, run_id: str, grace_s: float = 2.0) -> tuple[int, ...]:
    """End what is left of the group of a command that an earlier worker started; the pids that were sent a signal.

    SIGTERM, up to `grace_s`, SIGKILL. Blocks that long at most (and not at all when nothing is left). A process that
    is not provably ours is left alone.
    """
    if pid <= 1 or not group_exists(pid):
        return ()
    ended = _provably_ours(pid, mark, run_id)
    for number in (signal.SIGTERM, signal.SIGCONT):
        for member, member_mark in ended.items():
            _send(member, member_mark, number)
    _wait_gone(ended, grace_s)
    deadline = time.monotonic() + _KILL_WAIT_S
    # Again until there is none: one of them may just have started another.
    while (left := _provably_ours(pid, mark, run_id)) and time.monotonic() < deadline:
        ended |= left
        for member, member_mark in left.items():
            _send(member, member_mark, signal.SIGKILL)
        _wait_gone(left, deadline - time.monotonic())
    return tuple(ended)


def _provably_ours(pgid: int, mark: str, run_id: str) -> dict[int, str]:
    """Members of the group or session, each with its start mark."""
    leader = start_mark(pgid)
    if leader and leader != mark:
        return {}  # the pid belongs to somebody else now
    members: dict[int, str] = {}
    if leader and _lives(pgid):
        members[pgid] = leader
    for pid in left_behind(pgid, {}, since=0.0):
        if (leader or _carries(pid, {_RUN_ID: run_id})) and (found := start_mark(pid)):
            members[pid] = found
    return members


def _send(pid: int, mark: str, number: signal.Signals) -> None:
    if start_mark(pid) == mark:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _wait_gone(members: dict[int, str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not any(start_mark(pid) == mark and _lives(pid) for pid, mark in members.items()):
            return
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _began_after(pid: int, since: float) -> bool:
    try:
        return psutil.Process(pid).create_time() >= since - 2.0
    except psutil.Error:
        return False


def _carries(pid: int, marks: Mapping[str, str]) -> bool:
    try:
        found = psutil.Process(pid).environ()
        return bool(marks) and all(value and found.get(name) == value for name, value in marks.items())
    except (psutil.Error, OSError):
        return False


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
