"""Main memory: what there is and what can be had without swapping, on Linux and on macOS.

Linux says it by itself (`MemAvailable`), and control groups may allow less. On macOS "free" says nothing: the system
fills memory with files it can drop, and compresses what it cannot. There, what is used is what Activity Monitor calls
"Memory Used" (anonymous pages that are not purgeable, wired and compressed ones), and the kernel's own level of
pressure has the last word.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from homelab.worker.sensors import cgroups, files
from homelab.worker.sensors.shares import Share, share

CRITICAL: Final = 4
"""kern.memorystatus_vm_pressure_level: 1 normal, 2 warning, 4 critical."""
_NAMES: Final = ("hw.memsize", "kern.memorystatus_level", "kern.memorystatus_vm_pressure_level")


def linux(meminfo: str, bounds: Iterable[cgroups.Bound] = ()) -> Share | None:
    """/proc/meminfo and the groups that limit memory. None when the kernel does not say what is available."""
    found = {name: value for name, _, value in (line.partition(":") for line in meminfo.splitlines())}
    try:
        total, free = (int(found[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        return None
    for bound in bounds:
        total, free = min(total, bound.limit), min(free, bound.free)
    return share(total, free)


def settings(sysctl: str) -> Mapping[str, int]:
    """`NAME: NUMBER` lines of sysctl(8)."""
    found: dict[str, int] = {}
    for line in sysctl.splitlines():
        name, _, value = line.partition(":")
        if value.strip().isdigit():
            found[name.strip()] = int(value)
    return found


def pages(vm_stat: str) -> Mapping[str, int]:
    """The lines of vm_stat(1) in bytes, by their names: "Pages wired down", "File-backed pages"."""
    size = re.search(r"page size of (\d+) bytes", vm_stat)
    if size is None:
        return {}
    counted = re.findall(r'^"?([A-Z][^:"\n]*)"?:\s+(\d+)\.?$', vm_stat, re.MULTILINE)
    return {name: int(count) * int(size[1]) for name, count in counted}


def macos(sysctl: str, vm_stat: str) -> Share | None:
    """None when a part of what is used cannot be read. Under critical pressure nothing is free."""
    known, held = settings(sysctl), pages(vm_stat)
    try:
        total = known["hw.memsize"]
        purgeable = held.get("Pages purgeable", 0)
        used = held["Anonymous pages"] - purgeable + held["Pages wired down"] + held["Pages occupied by compressor"]
    except KeyError:
        return None
    free = total - used
    level = known.get("kern.memorystatus_level")
    if level is not None:  # in percent: what the kernel itself goes by when it ends programs
        free = min(free, total * min(level, 100) // 100)
    if known.get("kern.memorystatus_vm_pressure_level", 1) >= CRITICAL:
        free = 0
    return share(total, free)


def read() -> Share | None:
    """On macOS two short programs: call it in a thread."""
    if sys.platform == "darwin":
        sysctl, vm_stat = files.printed(("sysctl", *_NAMES), any_status=True), files.printed(("vm_stat",))
        return None if sysctl is None or vm_stat is None else macos(sysctl, vm_stat)
    meminfo = files.text("/proc/meminfo")
    if meminfo is None:
        return None
    membership = files.text("/proc/self/cgroup") or ""
    return linux(meminfo, cgroups.read_memory(cgroups.folders(membership, "memory")))
