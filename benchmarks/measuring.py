"""CPU and memory of process trees, and the rows of the table."""

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Row:
    """One line of RESULTS.md. `holds` is None where there is no target."""

    what: str
    measured: str
    target: str = ""
    holds: bool | None = None


def child_cpu_s(command: Sequence[str], *, environment: dict[str, str] | None = None, runs: int = 7) -> float:
    """Median CPU seconds (user and system) of a whole command, after one warm-up."""
    seconds: list[float] = []
    for _ in range(runs + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment or dict(os.environ), stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds[1:])


def peak_memory_bytes(command: Sequence[str]) -> int:
    """The largest resident set of a command, as the system counts it when the process ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise subprocess.CalledProcessError(status, command)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Tree:
    """The processes below some roots. CPU of children that have ended is counted through their parents."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in roots]

    def with_root(self, pid: int) -> "Tree":
        """This tree and one more."""
        return Tree([*(root.pid for root in self._roots), pid])

    def processes(self) -> list[psutil.Process]:
        found: dict[int, psutil.Process] = {}
        for root in self._roots:
            try:
                below = root.children(recursive=True)
            except psutil.NoSuchProcess:
                continue
            for process in (root, *below):
                found[process.pid] = process
        return list(found.values())

    def cpu_s(self) -> float:
        """Seconds used so far, reaped children included."""
        total = 0.0
        for process in self.processes():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory_bytes(self) -> int:
        """Proportional set size where the system tells it, so that shared pages count once; else resident size."""
        total = 0
        for process in self.processes():
            try:
                full = process.memory_full_info()
                total += getattr(full, "pss", full.rss)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return total


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measured_cpu_s(tree: Tree, action: Callable[[], None]) -> float:
    before = tree.cpu_s()
    action()
    return tree.cpu_s() - before
