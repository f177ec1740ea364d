"""Where a job may go whose run is at work on a node already: there, or, in two cases, anywhere."""

from dataclasses import replace

from homelab.core.jobs import Affinity
from homelab.core.placement.feasibility import lacks, suits
from homelab.core.placement.nodes import Snapshot
from homelab.core.placement.requests import Request


def staying(request: Request, node: str, snapshot: Snapshot, *, apart: bool) -> Request:
    """The request as it is decided about: for the node of its run (`node`) alone, where the files are that other jobs
    of the run left there.

    It is for any node when the job may run `apart`, with a preference for that; and when that node could never take it
    (by what is known of it) and another could.
    """
    if apart:
        return replace(request, affinity=(*request.affinity, Affinity(node=node)))
    pinned = replace(request, node=node)
    there = next((room for room in snapshot.rooms if room.node.name == node), None)
    if there is None or not any(True for _ in lacks(request, there)):
        return pinned
    return request if any(suits(request, room) for room in snapshot.rooms) else pinned
