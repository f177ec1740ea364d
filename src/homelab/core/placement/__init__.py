"""Where work goes: nodes, leases and requests in; placements, rejections with reasons, and plans of a queue out.

The one model of capacity, for jobs, agents, models and renders. Pure: `now` is an argument, in seconds of any one
clock; what is decided here is advice until the lease is written, where it is checked again.
"""

from homelab.core.placement.ahead import ahead
from homelab.core.placement.choice import Placement, Rejection, place
from homelab.core.placement.feasibility import fits, lacks
from homelab.core.placement.nodes import Lease, Model, Node, Room, Snapshot, State
from homelab.core.placement.preemption import Eviction
from homelab.core.placement.queue import QueuePlan, Reservation, plan_queue
from homelab.core.placement.reasons import Code, Reason, render
from homelab.core.placement.requests import AGEING_S, Request, request_of
from homelab.core.placement.staying import staying
from homelab.core.placement.usage import Holding, Usage, holders, usage

__all__ = [
    "AGEING_S",
    "Code",
    "Eviction",
    "Holding",
    "Lease",
    "Model",
    "Node",
    "Placement",
    "QueuePlan",
    "Reason",
    "Rejection",
    "Request",
    "Reservation",
    "Room",
    "Snapshot",
    "State",
    "Usage",
    "ahead",
    "fits",
    "holders",
    "lacks",
    "place",
    "plan_queue",
    "render",
    "request_of",
    "staying",
    "usage",
]
