"""One worker of a name in a home at a time; and which of them control took last: the next may say that it replaces it.

Whoever holds the lock of a worker's name in a home knows that its predecessor there has ended; control cannot know it
of another machine. A copy of the home elsewhere cannot say so: the note names the machine. Called by `worker.loop`.
"""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, TextIO

import structlog

from homelab.core.errors import RefusedError
from homelab.home.paths import Home

log = structlog.get_logger()


def path_of(home: Home, name: str) -> Path:
    return home.run / f"worker-{name}.json"


def last(home: Home, name: str) -> dict[str, Any] | None:
    """`{pid, started}` of the predecessor; None when nothing is known of one here."""
    try:
        known: dict[str, Any] = json.loads(path_of(home, name).read_text())
        return {"pid": known["pid"], "started": known["started"]} if known["where"] == _where(home) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note(home: Home, name: str, *, pid: int, started: str, kept: int = 0) -> None:
    """Control has taken this one, now; `kept`: attempts that it goes on with."""
    _write(home, name, {"pid": pid, "started": started, "where": _where(home), "up": time.time(), "kept": kept})


def refuse(home: Home, name: str, reason: str) -> None:
    """It was asked to restart, and cannot."""
    known = last(home, name) or {}
    _write(home, name, {**known, "where": _where(home), "up": time.time(), "refused": reason})


def since(home: Home, moment: float) -> dict[str, Any] | None:
    """What a worker of this home said last, if that was after that moment (Unix time): `kept`, or why it `refused`."""
    for path in home.run.glob("worker-*.json"):
        try:
            said: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if float(said.get("up", 0)) > moment:
            return said
    return None


def _write(home: Home, name: str, said: dict[str, Any]) -> None:
    try:
        fresh = path_of(home, name).with_suffix(".new")
        fresh.write_text(json.dumps(said))
        fresh.replace(path_of(home, name))
    except OSError as error:  # a full disk: its successor waits until it counts as silent
        log.warning("worker.not_noted", error=str(error))


def _where(home: Home) -> str:
    return f"{socket.gethostname()}:{home.root}"


def lock(home: Home, name: str) -> TextIO:
    """Held for the life of the process. RefusedError names the process that has it."""
    path = home.run / f"worker-{name}.lock"
    file = path.open("a+")
    for _ in range(50):  # a predecessor that is just ending gets five seconds
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
            continue
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file
    file.seek(0)
    raise RefusedError(
        f"worker '{name}' already runs in {home.root} (pid {file.read().strip() or 'unknown'})",
        hint="Stop that one first, or give this one another name: homelab worker --name NAME",
    )
