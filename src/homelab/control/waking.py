"""Waking a node that sleeps, by the address that the lab file gives: how often is decided here, the message is
`core.labfile.waking`'s. Called by whoever has work that only a sleeping node can take, and by people.

A message may be lost, and a machine takes a minute to wake: it is asked again, but not for ever.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import psutil
import structlog

from homelab.control import nodes, store
from homelab.control.state import Shared
from homelab.core.errors import RefusedError
from homelab.core.labfile.waking import Wake, wake_of
from homelab.db.pool import Connection

log = structlog.get_logger()

Json = dict[str, Any]
MOST_TRIES: Final = 5
BETWEEN_S: Final = 20.0
"""A machine that wakes needs some seconds until its worker is heard; asking more often helps nobody."""
AFRESH_S: Final = 1800.0
"""After so long a node that did not wake may be asked again: it may have been unplugged for a while."""
EVERYWHERE: Final = "255.255.255.255"


@dataclass(frozen=True, kw_only=True)
class Tries:
    """How often a node was asked to wake, and when last (seconds of one clock)."""

    count: int = 0
    last: float = float("-inf")

    @property
    def is_over(self) -> bool:
        return self.count >= MOST_TRIES


Step = Literal["send", "wait", "give_up"]


def step(tries: Tries, now: float) -> Step:
    """Whether the node is asked now."""
    since_s = now - tries.last
    if since_s >= AFRESH_S:
        return "send"
    if tries.is_over:
        return "give_up" if since_s >= BETWEEN_S else "wait"
    return "send" if since_s >= BETWEEN_S else "wait"


def after(tries: Tries, now: float) -> Tries:
    """The tries with one more, at `now`."""
    return Tries(count=1 if now - tries.last >= AFRESH_S else tries.count + 1, last=now)


class Waking:
    """One lab's sleepers. In memory: after a restart of control a node may be asked again."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._tries: dict[str, Tries] = {}

    def heard(self, node: str) -> None:
        """It is there: what was tried before is over."""
        self._tries.pop(node, None)

    async def wake(self, node: str, *, by: str = "") -> Json:
        """Ask the node to wake, if it is time for that: `{node, sent, tries, message}`. `by`: a person, who is never
        told to wait. NotFoundError: no such node; RefusedError: it cannot be woken, or the message cannot be sent."""
        async with self._shared.database.connection() as conn:
            row = await self._row(conn, node)
            if not nodes.is_away(row):
                return {"node": node, "sent": False, "tries": 0, "message": f"{node} is awake"}
            wake = wake_of(row["wake"])
            if wake is None:
                raise RefusedError(
                    f"node '{node}' cannot be woken: the lab file gives no address for it",
                    hint=f'Add to [nodes.{node}]: wake = "aa:bb:cc:dd:ee:ff", the address of its network card.',
                )
            now = self._shared.clock().timestamp()
            tries = Tries() if by else self._tries.get(node, Tries())
            match step(tries, now):
                case "wait":
                    return self._said(node, tries, f"{node} was asked to wake {now - tries.last:.0f} s ago")
                case "give_up":
                    return self._said(node, tries, f"{node} was asked {tries.count} times and did not wake")
                case "send":
                    send(wake)
            self._tries[node] = tries = after(tries, now)
            await store.add_events(conn, [("node.waking", node, {"by": by or "control", "tries": tries.count})])
        log.info("node.waking", node=node, tries=tries.count)
        self._shared.tell()
        return {**self._said(node, tries, f"{node} was asked to wake"), "sent": True}

    def problems(self) -> list[Json]:
        """The nodes that did not wake."""
        now = self._shared.clock().timestamp()
        return [
            {
                "code": "not-awake",
                "severity": "warning",
                "subject": node,
                "message": f"node {node} was asked to wake {tries.count} times and is not heard",
                "hint": f"Is Wake-on-LAN on there, and the address right? Try again with: homelab node wake {node}",
            }
            for node, tries in self._tries.items()
            if step(tries, now) == "give_up"
        ]

    def _said(self, node: str, tries: Tries, message: str) -> Json:
        return {"node": node, "sent": False, "tries": tries.count, "message": message}

    async def _row(self, conn: Connection, node: str) -> store.Row:
        known = {row["name"]: row for row in await nodes.rows(conn)}
        if node not in known:
            raise nodes.unknown(node, known)
        return known[node]


def send(wake: Wake) -> None:
    """One message to each place. RefusedError when none of them could be sent to."""
    failed: OSError | None = None
    targets = [wake.host] if wake.host else broadcasts()
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for host in targets:
            try:
                udp.sendto(wake.packet, (host, wake.port))
                sent += 1
            except OSError as error:  # a network that is down; the others may do
                failed = error
    if failed is not None and not sent:
        raise RefusedError(f"the message that wakes it cannot be sent: {failed.strerror}", hint="Is the network up?")


def broadcasts() -> list[str]:
    """The broadcast address of each network of this machine, and that of the one it is on by default."""
    try:
        found = psutil.net_if_addrs()
    except (OSError, psutil.Error):
        found = {}
    return list(dict.fromkeys([*_broadcasts(a for one in found.values() for a in one), EVERYWHERE]))


def _broadcasts(addresses: Iterable[Any]) -> list[str]:
    return [a.broadcast for a in addresses if a.family == socket.AF_INET and a.broadcast]
