"""Addresses as the lab file writes them: where to listen (`HOST`, `HOST:PORT`, `[::1]:PORT`), and names. Pure."""

import re
from typing import Any, Final

from homelab.core.labfile.kinds import TEXT, Kind, UnusableError, matching
from homelab.core.labfile.problems import At, shown

_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>\d{1,5}))?")


def address(text: str) -> tuple[str, int | None] | None:
    """(host, port) of what is written, the port None when it is to be chosen; None when it is no address."""
    found = _ADDRESS.fullmatch(text.strip())
    port = None if found is None or found["port"] is None else int(found["port"])
    if found is None or (port is not None and not 0 < port < 65536):
        return None
    return found["six"] or found["host"], port


def _read(value: Any, at: At) -> str:
    text = TEXT.read(value, at)
    if address(text) is None:
        at.error("value", f"{shown(text)} is no address to listen on", 'Write it like "0.0.0.0:7443" or "127.0.0.1".')
        raise UnusableError
    return text


LISTEN: Final = Kind(
    words="an address, or an address and a port", schema={"type": "string", "minLength": 1}, read=_read
)
HOST: Final = matching(
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"),
    "the name or address of a machine",
    "Write it without a port: mac1.lan, 10.0.0.5, fd7a::1.",
)
