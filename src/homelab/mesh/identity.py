"""Who the mesh says that a request is from, when it came through `tailscale serve` on this machine.

`tailscale serve` puts the sender's login in a header. A header proves nothing by itself, so three things must hold:

1. The connection is this machine's own, and the process at its other end belongs to root or to the user that the lab
   runs as. Both can read the lab's tokens anyway, so nobody gains by pretending.
2. The request names one address of the mesh, as `tailscale serve` does.
3. The daemon, asked through its own socket, says that this address is of a person with that very login.

Reads only. Called by `control.api`. What a login may is the lab file's.
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx

SOCKETS = (Path("/var/run/tailscale/tailscaled.sock"), Path("/run/tailscale/tailscaled.sock"))
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
PATIENCE_S = 2.0
_MESH = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))

Place = tuple[str, int]
"""(address, port)"""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a request says of itself."""

    login: str
    address: str


def claim(headers: Mapping[str, str]) -> Claim | None:
    """The login and the one address of the mesh that the headers name; None when they do not."""
    login, address = headers.get("tailscale-user-login", ""), headers.get("x-forwarded-for", "").strip()
    if not login or len(login) > 200 or not (login.isascii() and login.isprintable()):
        return None
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return Claim(login=login, address=address) if any(found in net for net in _MESH) else None


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def owner(table: str, peer: Place, mine: Place) -> int | None:
    """The user id of whoever holds the other end, from the text of /proc/net/tcp or tcp6 (proc(5)); None when it is not
    in there."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and _place(fields[1]) == peer and _place(fields[2]) == mine and fields[7].isdecimal():
            return int(fields[7])
    return None


def _place(text: str) -> Place | None:
    """`0100007F:1F90` as an address and a port. Words are in the order of this machine, which is little-endian."""
    raw, _, port = text.partition(":")
    try:
        words = bytes.fromhex(raw)
        packed = b"".join(words[n : n + 4][::-1] for n in range(0, len(words), 4))
        found = ipaddress.ip_address(packed)
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return str(mapped or found), int(port, 16)
    except ValueError:
        return None


def is_trusted_peer(peer: Place, mine: Place) -> bool:
    """Point 1 of the module. False where the machine does not tell (no /proc)."""
    if not is_loopback(peer[0]):
        return False
    for table in TABLES:
        try:
            found = owner(table.read_text(), peer, mine)
        except OSError:
            continue
        if found is not None:
            return found in (0, os.geteuid())
    return False


def login_of(answer: object) -> str | None:
    """The login in an answer of the daemon's `whois`; None for a device that is no person's (tags)."""
    if not isinstance(answer, dict):
        return None
    found = cast("dict[str, Any]", answer)
    node, profile = found.get("Node"), found.get("UserProfile")
    if not isinstance(node, dict) or not isinstance(profile, dict) or cast("dict[str, Any]", node).get("Tags"):
        return None
    login = cast("dict[str, Any]", profile).get("LoginName")
    return login if isinstance(login, str) and login and login != "tagged-devices" else None


async def whois(address: str, *, sockets: tuple[Path, ...] = SOCKETS) -> str | None:
    """The login that the daemon of this machine knows for an address of the mesh; None when it does not say."""
    place = next((path for path in sockets if path.exists()), None)
    if place is None:
        return None
    transport = httpx.AsyncHTTPTransport(uds=str(place))
    try:
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE_S, trust_env=False) as http:
            url = "http://local-tailscaled.sock/localapi/v0/whois"
            got = await http.get(url, params={"addr": address})
            return login_of(json.loads(got.content)) if got.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None


async def vouched(headers: Mapping[str, str], *, peer: Place, mine: Place) -> Claim | None:
    """Who the mesh vouches for; None for everybody else, whatever their headers say."""
    found = claim(headers)
    if found is None or not is_trusted_peer(peer, mine):
        return None
    return found if await whois(found.address, sockets=SOCKETS) == found.login else None
