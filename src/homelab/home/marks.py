"""Two notes beside the database: how far the scheduler was, and which start of this machine the lab has seen.

They say what the database cannot say of itself: that it is older than what happened (restored from a backup), and that
the machine was started anew. Called by `control`.
"""

import json
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from homelab.home.paths import Home

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """When the scheduler was last at work, and how many times it had entered something by then."""

    alive: datetime
    sequence: int


@dataclass(frozen=True, kw_only=True)
class Boot:
    """A start of this machine: `instant` stands for it, `seen` is when the lab was first at work after it."""

    instant: datetime
    seen: datetime


def read_mark(home: Home) -> Mark | None:
    """None for a new home. A mark of an older version counts nothing."""
    try:
        body = _read(home.root / "scheduler.json")
        return Mark(alive=datetime.fromisoformat(body["alive"]), sequence=int(body.get("sequence", 0)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_mark(home: Home, mark: Mark) -> None:
    """OSError when the folder cannot be written."""
    _write(home.root / "scheduler.json", {"alive": mark.alive.isoformat(), "sequence": mark.sequence})


def boot(home: Home, now: datetime) -> Boot:
    """The start of this machine: the same however often it is asked for, though the system's figure of the time moves
    with the clock. OSError when the folder cannot be written."""
    path = home.root / "boot.json"
    started = datetime.fromtimestamp(round(psutil.boot_time() / 10) * 10, tz=now.tzinfo)
    identity = _identity() or started.isoformat()
    try:
        known = _read(path)
        if known["boot"] == identity:
            instant = datetime.fromisoformat(known["time"])
            return Boot(instant=instant, seen=datetime.fromisoformat(known.get("seen", known["time"])))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _write(path, {"boot": identity, "time": started.isoformat(), "seen": now.isoformat()})
    return Boot(instant=started, seen=now)


def _identity() -> str:
    """What the system calls this boot; empty where it has no name for it."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        pass
    try:  # macOS
        found = subprocess.run(
            ["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _write(path: Path, body: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(body))
    fresh.replace(path)
