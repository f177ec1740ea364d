"""Asking a service whether it works. Each answer comes within a few seconds; no answer is a no."""

import asyncio
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from homelab.core.errors import HomelabError
from homelab.stack.plan import Probe

TIMEOUT_S = 5.0


async def ask(probe: Probe, query: Callable[[], None] | None) -> str:
    """ "" when it works, else why not. `query` is how the database is asked."""
    return await asyncio.to_thread(_ask, probe, query)


def _ask(probe: Probe, query: Callable[[], None] | None) -> str:
    try:
        match probe.kind:
            case "alive":
                return ""
            case "postgres":
                if query is not None:
                    query()
            case "http":
                _get(probe)
            case "tcp":
                parts = urlsplit(f"//{probe.target}")
                socket.create_connection((parts.hostname or "", parts.port or 0), TIMEOUT_S).close()
            case "exec":
                subprocess.run(
                    probe.command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=True
                )
    except (OSError, subprocess.SubprocessError, HomelabError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def _get(probe: Probe) -> None:
    if urlsplit(probe.target).scheme not in ("http", "https"):
        raise HomelabError(f"'{probe.target}' is not an address that can be asked")
    request = urllib.request.Request(probe.target, headers=dict(probe.headers))  # noqa: S310 - checked above
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()
        raise HomelabError(f"answers {error.code}") from None
