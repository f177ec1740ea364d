"""Where work goes that is handed out before it starts: to a node with room, else to one where it may wait for room."""

from homelab.core.placement.choice import Placement, Rejection, choose, put
from homelab.core.placement.feasibility import asks_of, suits
from homelab.core.placement.nodes import Room, Snapshot
from homelab.core.placement.requests import Request


def ahead(request: Request, snapshot: Snapshot, now: float) -> Placement | Rejection:
    """The best node now; when none has room, that of those it suits which is the least over-full with it. A rejection
    when it suits none: its reasons say why. Exclusive groups are not asked: what waits for one may wait anywhere."""
    found = choose(request, snapshot)
    if found is not None:
        return found
    best: tuple[float, str] | None = None
    chosen: Room | None = None
    for room in snapshot.rooms:
        if suits(request, room):
            rank = (_fullness(request, room), room.node.name)
            if best is None or rank < best:
                best, chosen = rank, room
    if chosen is None:
        return Rejection(request=request, snapshot=snapshot, now=now)
    return put(request, chosen, score=0.0)


def _fullness(request: Request, room: Room) -> float:
    """The share of the fullest resource that is asked for, with the request: more than 1 when it must wait."""
    return max((1 - (room.free[n] - value) / room.total[n] for n, value in asks_of(request, room)), default=0.0)
