"""Which worker of this home control took last: the next one may say that it replaces it.

Whoever holds the lock of a worker's name in a home knows that its predecessor there has ended; control cannot know it
of another machine. A copy of the home elsewhere cannot say so: the note names the machine. Called by `worker.loop`.
"""

import json
import socket
from pathlib import Path
from typing import Any

import structlog

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


def note(home: Home, name: str, *, pid: int, started: str) -> None:
    """Control has taken this one."""
    try:
        path_of(home, name).write_text(json.dumps({"pid": pid, "started": started, "where": _where(home)}))
    except OSError as error:  # a full disk: its successor waits until it counts as silent
        log.warning("worker.not_noted", error=str(error))


def _where(home: Home) -> str:
    return f"{socket.gethostname()}:{home.root}"
