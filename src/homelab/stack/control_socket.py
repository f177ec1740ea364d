"""How commands talk to a running supervisor: one JSON object each way, over a socket that only its owner can open."""

import asyncio
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from homelab.core.errors import NotFoundError
from homelab.home.paths import Home

_PATH_MAX = 100
Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def path_of(home: Home) -> Path:
    """The socket of this home. A long path moves it to a private folder of its own: sockets take about 100 bytes."""
    path = home.supervisor_socket
    if len(str(path).encode()) <= _PATH_MAX:
        return path
    name = hashlib.sha256(str(home.root).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"homelab-{os.geteuid()}-{name}.d" / "supervisor.sock"


async def serve(home: Home, answer: Answer) -> asyncio.Server:
    """Listen; `answer` is called for each request. Only one supervisor of a home gets here: it holds the lock."""
    path = path_of(home)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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
