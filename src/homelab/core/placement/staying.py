"""Where a job may go whose run is at work on a node already: there, or, in two cases, anywhere."""

from dataclasses import replace

from homelab.core.jobs import Affinity
from homelab.core.placement.feasibility import lacks
from homelab.core.placement.nodes import Snapshot
from homelab.core.placement.requests import Request


def staying(request: Request, node: str, snapshot: Snapshot, *, apart: bool) -> Request:
    """The request as it is decided about: for the node of its run (`node`) alone, where the files are that other jobs
    of the run left there.

    It is for any node when the job may run `apart`, with a preference for that one; and when that one could never take
    it, by what is known of it.
    """
    if apart:
        return replace(request, affinity=(*request.affinity, Affinity(node=node)))
    there = next((room for room in snapshot.rooms if room.node.name == node), None)
    can_never = there is not None and any(True for _ in lacks(request, there))
    return request if can_never else replace(request, node=node)
