"""Processes of services: started to outlive their supervisor, found again by pid and start time, never by name.

`run/services.json` is the memory: which process is which service. Called by the supervisor, and by `homelab down` when
there is none.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil

from homelab.home.paths import Home
from homelab.stack.plan import Service

LOG_MOST_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True)
class Child:
    """A process by its identity: a pid is used again, a pid with its start time is not. `popen` when it is our own.

    `started`: Unix time as the system tells it, which changes when the clock is set. `mark`: the same so that it does
    not (`mark_of`); empty where it was not written down, then `started` decides.
    """

    pid: int
    started: float
    popen: "subprocess.Popen[bytes] | None" = None
    mark: str = ""

    def exit_status(self) -> int | None:
        """None while it runs; else its status, or -1 for one that was adopted and is gone."""
        if self.popen is not None:
            return self.popen.poll()
        return None if self.is_alive() else self._collected()

    def _collected(self) -> int:
        """The status, where it is a child of this process from before that executed itself anew."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG) if mark_of(self.pid) == self.mark else (0, 0)
        except ChildProcessError:
            return -1
        return os.waitstatus_to_exitcode(status) if pid else -1

    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same = self.mark == mark_of(self.pid) if self.mark else abs(process.create_time() - self.started) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def send(self, number: int) -> None:
        if self.exit_status() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL to it and to what it started in its own session."""
        if self.exit_status() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def memory_bytes(self) -> int | None:
        """Its share of memory, with that of its children; shared pages count once where the system tells."""
        try:
            process = psutil.Process(self.pid)
            return sum(_memory(p) for p in (process, *process.children(recursive=True)))
        except psutil.Error:
            return None


def mark_of(pid: int) -> str:
    """Tells the process that has this pid from all that had it before; "" when there is none.

    Linux: the boot and the clock ticks from it to the start: a machine whose clock is set after boot counts start times
    anew. Elsewhere the start time is written down once and stays.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        with suppress(psutil.Error):
            return f"{psutil.Process(pid).create_time():.3f}"
        return ""
    return f"{boot}:{stat.rpartition(b')')[2].split()[19].decode()}"  # field 22; the name before `)` may hold anything


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    except psutil.Error:
        with suppress(psutil.Error):
            return int(process.memory_info().rss)
        return 0


def start(service: Service, log: Path) -> Child:
    """Start it in a session of its own, writing to `log` itself. OSError when that is not possible."""
    rotate(log)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        start_as = cast("dict[str, Any]", dict(service.owner))
        popen = cast(
            "subprocess.Popen[bytes]",
            subprocess.Popen(
                service.argv,
                env=dict(service.environment),
                cwd=service.cwd,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                **start_as,
            ),
        )
    finally:
        os.close(descriptor)
    try:
        started = psutil.Process(popen.pid).create_time()
    except psutil.Error:
        started = time.time()
    return Child(popen.pid, started, popen, mark_of(popen.pid))


def rotate(log: Path, *, most_bytes: int = LOG_MOST_BYTES) -> None:
    """Copy a log that has grown too large to `.1` and empty it: its writer holds it open and appends."""
    try:
        if log.stat().st_size <= most_bytes:
            return
        with log.open("rb") as source:
            source.seek(-most_bytes, os.SEEK_END)
            log.with_name(f"{log.name}.1").write_bytes(source.read())
        os.truncate(log, 0)
    except OSError:
        # A full disk: emptying still helps, the copy does not matter.
        with suppress(OSError):
            if log.stat().st_size > most_bytes:
                os.truncate(log, 0)


def last_line(log: Path) -> str:
    """The last line of a log that says something, without control characters; "" when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return "".join(c for c in said[-1] if c.isprintable())[:300] if said else ""


def remember(home: Home, children: Mapping[str, Child]) -> None:
    """Write down which process is which service. A full disk costs adoption after a crash, nothing else."""
    path = home.run / "services.json"
    body = {name: {"pid": c.pid, "started": c.started, "mark": c.mark} for name, c in children.items()}
    with suppress(OSError):
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(body))
        fresh.replace(path)


def survivors(home: Home) -> dict[str, Child]:
    """The services of this home that run, by what was written down; those that are gone are left out."""
    try:
        body = cast("dict[str, dict[str, Any]]", json.loads((home.run / "services.json").read_text()))
    except (OSError, ValueError):
        return {}
    found = {
        name: Child(int(entry["pid"]), float(entry["started"]), mark=str(entry.get("mark", "")))
        for name, entry in body.items()
    }
    return {name: child for name, child in found.items() if child.is_alive()}
