"""How commands talk to a running supervisor: one JSON object each way, over a socket that only its owner can open."""

import asyncio
import hashlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from homelab.core.errors import NotFoundError, RefusedError
from homelab.home.paths import Home

_PATH_MAX = 100
Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def path_of(home: Home) -> Path:
    """The socket of this home. A long path moves it to a private folder of its own: sockets take about 100 bytes.

    Not below TMPDIR: that differs between a terminal, a service manager and `sudo`, and all of them ask the same lab.
    """
    path = home.supervisor_socket
    if len(str(path).encode()) <= _PATH_MAX:
        return path
    name = hashlib.sha256(str(home.root).encode()).hexdigest()[:16]
    return Path("/tmp") / f"homelab-{os.geteuid()}-{name}.d" / "supervisor.sock"  # noqa: S108 - checked by `serve`


async def serve(home: Home, answer: Answer) -> asyncio.Server:
    """Listen; `answer` is called for each request. Only one supervisor of a home gets here: it holds the lock.

    RefusedError when somebody else made the private folder of a long path before us.
    """
    path = path_of(home)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path != home.supervisor_socket:
        _check_private(path.parent)
    path.unlink(missing_ok=True)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, asyncio.IncompleteReadError):
            request = cast("dict[str, Any]", json.loads(await reader.readline()))
            writer.write(json.dumps(await answer(request)).encode() + b"\n")
            await writer.drain()
        writer.close()

    mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(handle, path)
    finally:
        os.umask(mask)


def _check_private(folder: Path) -> None:
    """Anybody may make a folder in /tmp, a link too; whoever owns it could answer in our name."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise RefusedError(
            "the folder for the supervisor's socket is not ours alone",
            where=str(folder),
            hint="Remove it, or set HOMELAB_HOME to a shorter path.",
        )


def ask(home: Home, request: dict[str, Any], *, timeout_s: float = 10.0) -> dict[str, Any]:
    """The supervisor's answer. NotFoundError when none runs in this home."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout_s)
        try:
            line.connect(str(path_of(home)))
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("rb") as answer:
                text = answer.readline()
        except OSError as error:
            raise NotFoundError(f"no lab is running in {home.root}", hint="Start it with: homelab up") from error
    if not text:
        raise NotFoundError(f"the supervisor of {home.root} has just ended", hint="See: homelab status")
    return cast("dict[str, Any]", json.loads(text))
