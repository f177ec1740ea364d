"""When a node will have room: its leases given back in the order in which they are expected to end."""

from dataclasses import dataclass

from homelab.core.placement.feasibility import fits, suits
from homelab.core.placement.nodes import Lease, Room
from homelab.core.placement.requests import Request


@dataclass(frozen=True, kw_only=True)
class Release:
    """`at`: when the request fits, None when that depends on work whose end nobody knows. `room`: what the node then
    holds, `ended`: how many leases must end before."""

    at: float | None
    room: Room
    ended: int


def when_free(request: Request, room: Room, now: float) -> Release | None:
    """The earliest moment at which the node takes the request; None when it never does, or lacks the company it wants.

    Work that is over its expected end may end at any moment: it counts as ending `now`. Work without one counts as
    the last, the oldest first.
    """
    if not suits(request, room):
        return None
    if fits(request, room):
        return Release(at=now, room=room, ended=0)
    at: float | None = now
    for ended, lease in enumerate(sorted(room.leases.values(), key=_end), 1):
        room = room.without(lease)
        at = None if lease.expected_end is None else max(now, lease.expected_end)
        if fits(request, room):
            return Release(at=at, room=room, ended=ended)
    return None


def _end(lease: Lease) -> tuple[bool, float, float, str]:
    return (lease.expected_end is None, lease.expected_end or 0.0, lease.started, lease.id)
