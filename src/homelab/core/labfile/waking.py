"""How a sleeping machine is woken: a MAC address, and the message that its network card listens for. Pure.

The message is six bytes 0xFF and sixteen times the address, in one UDP datagram to a broadcast address, port 9 (AMD,
"Magic Packet Technology", 1995).
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Final

from homelab.core.labfile.kinds import TEXT, Kind, UnusableError
from homelab.core.labfile.problems import At, shown

PORT: Final = 9
_WAKE: Final = re.compile(
    r"([0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\2[0-9A-Fa-f]{2}){4})(?:@([0-9.]+)(?::([0-9]{1,5}))?)?", re.ASCII
)
_HINT: Final = 'Write it like "aa:bb:cc:dd:ee:ff" or "aa:bb:cc:dd:ee:ff@192.168.1.255".'


@dataclass(frozen=True, kw_only=True)
class Wake:
    """`mac`: six bytes. `host`: an IPv4 address; "": every network of the machine that sends."""

    mac: bytes
    host: str = ""
    port: int = PORT

    @property
    def packet(self) -> bytes:
        """102 bytes."""
        return b"\xff" * 6 + self.mac * 16


def wake_of(text: str) -> Wake | None:
    """None when it is not an address that can be woken."""
    found = _WAKE.fullmatch(text)
    if found is None:
        return None
    host, port = found[3] or "", int(found[4] or PORT)
    if not 0 < port < 65536 or (host and not _is_address(host)):
        return None
    return Wake(mac=bytes.fromhex(re.sub("[:-]", "", found[1])), host=host, port=port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _read(value: Any, at: At) -> str:
    text = TEXT.read(value, at)
    if wake_of(text) is None:
        at.error("value", f"{shown(text)} is not the MAC address of a network card", _HINT)
        raise UnusableError
    return text


WAKE: Final = Kind(words="a MAC address", schema={"type": "string", "pattern": f"^{_WAKE.pattern}$"}, read=_read)
