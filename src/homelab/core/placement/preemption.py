"""Stopping work for other work: only what says that it may be restarted, and only for what is more important.

It ends: work is stopped only for a strictly higher priority, as the lab file gives it and with ageing too, so that two
pieces of work never stop each other in turn; and only `MOST_EVICTIONS` times, so that it gets done.
"""

from dataclasses import dataclass
from typing import Final

from homelab.core.placement.feasibility import fits, suits
from homelab.core.placement.nodes import Lease, Room, Snapshot
from homelab.core.placement.requests import Request

MOST_EVICTIONS: Final = 3


@dataclass(frozen=True, kw_only=True)
class Eviction:
    """Stop this lease; its work waits again, with its old turn and one eviction more. `by`: the request it is for."""

    lease: Lease
    by: str


def may_evict(request: Request, lease: Lease, now: float) -> bool:
    """Whether the lease may be stopped for the request. What began at this very moment is never stopped."""
    return (
        lease.restartable
        and lease.priority < request.priority
        and lease.turn > request.turn
        and lease.evictions < MOST_EVICTIONS
        and lease.started < now
    )


def evict_for(request: Request, snapshot: Snapshot, now: float, *, besides: str = "") -> list[Eviction]:
    """The leases of one node to stop so that the request fits there; none when no node gives it that way.

    Never on the node `besides`. The node where the least important work goes, then where the least time is lost, then
    the first by name.
    """
    if any(group in snapshot.groups for group in request.exclusive):
        return []
    best: tuple[int, float, str] | None = None
    chosen: list[Lease] = []
    for room in snapshot.rooms:
        victims = [] if room.node.name == besides else _victims(request, room, now)
        if not victims:
            continue
        lost_s = sum(now - lease.started for lease in victims)
        rank = (max(lease.priority for lease in victims), lost_s, room.node.name)
        if best is None or rank < best:
            best, chosen = rank, victims
    return [Eviction(lease=lease, by=request.id) for lease in chosen]


def _victims(request: Request, room: Room, now: float) -> list[Lease]:
    """The least important leases that make room, without those that turn out not to be in the way."""
    candidates = sorted(
        (lease for lease in room.leases.values() if may_evict(request, lease, now)),
        key=lambda one: (one.priority, -one.turn[0], one.turn[1]),
    )
    if not candidates or not suits(request, room):
        return []
    stopped: list[Lease] = []
    for lease in candidates:
        room = room.without(lease)
        stopped.append(lease)
        if fits(request, room):
            break
    else:
        return []
    for lease in reversed(stopped[:-1]):
        if fits(request, back := room.holding(lease)):
            room = back
            stopped.remove(lease)
    return stopped
