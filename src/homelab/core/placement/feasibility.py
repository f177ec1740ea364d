"""Which nodes can take a request: what is asked is free, and nothing forbids it.

Two questions. `suits`: could this node ever take it, with nothing on it (its state, size, labels, models, the nodes it
must be on). `fits`: can it now. `refusals` answers both with all the reasons.
"""

from collections.abc import Iterator

from homelab.core.capacity import APP, DISK, GPU_MEMORY, MEMORY, gpu
from homelab.core.placement.nodes import SENSED, Room
from homelab.core.placement.reasons import OTHERS, Code, Reason
from homelab.core.placement.requests import Request

MOST_HOLDERS = 3


def asks_of(request: Request, room: Room) -> tuple[tuple[str, int], ...]:
    """What the request asks of this node. What its own models hold there already is not asked again."""
    asks = request.unified_asks if room.unified else request.asks
    if not request.models or GPU_MEMORY not in request.amounts:
        return asks
    there = min(request.amounts[GPU_MEMORY], sum(room.loaded(model) for model in request.models))
    if not there:
        return asks
    shared = (GPU_MEMORY, MEMORY) if room.unified else (GPU_MEMORY,)
    return tuple((n, v - there if n in shared else v) for n, v in asks if n not in shared or v > there)


def has_room(request: Request, room: Room) -> bool:
    """Whether all amounts are free. Unknown is not free."""
    free = room.free
    return all(name in free and free[name] >= value for name, value in asks_of(request, room))


def suits(request: Request, room: Room) -> bool:
    """Whether the node could take the request if nothing were on it."""
    total = room.total
    asks = request.unified_asks if room.unified else request.asks
    if any(name not in total or total[name] < value for name, value in asks):
        return False
    return is_open(room) and not any(True for _ in _unsuitable(request, room))


def fits(request: Request, room: Room) -> bool:
    """Whether the node can take the request now. Exclusive groups are the snapshot's, not the node's."""
    return is_open(room) and has_room(request, room) and permits(request, room)


def is_open(room: Room) -> bool:
    node = room.node
    return not node.closed and (node.state == "ready" or (node.state == "asleep" and node.wakeable))


def permits(request: Request, room: Room) -> bool:
    """`fits` for a request whose amounts are known to be free, on a node that is open."""
    if request.is_plain and not room.averse:
        return True
    return not (any(True for _ in _company(request, room)) or any(True for _ in _unsuitable(request, room)))


def _unsuitable(request: Request, room: Room) -> Iterator[Reason]:
    """Why nothing on the node, or off it, will make it take the request."""
    node = room.node
    for name, value in request.labels.items():
        if node.labels.get(name) != value:
            yield Reason(code=Code.LABEL, node=node.name, subject=f"{name}={value}")
    for model in request.models:
        if not room.has_model(model):
            yield Reason(code=Code.MODEL, node=node.name, subject=model)
    if request.node not in ("", node.name):
        yield Reason(code=Code.AFFINITY, node=node.name, subject=f"its run on {request.node}")
    wanted = [a.node for a in request.affinity if a.required and a.node]
    if wanted and node.name not in wanted:
        yield Reason(code=Code.AFFINITY, node=node.name, subject=" or ".join(wanted))
    for one in request.anti_affinity:
        if one.required and one.node == node.name:
            yield Reason(code=Code.ANTI_AFFINITY, node=node.name, subject=f"node {one.node}")


def _company(request: Request, room: Room) -> Iterator[Reason]:
    """Work on the node that must not, or must, be there with the request; both sides may object."""
    node, leases = room.node.name, room.leases
    for work in request.averse:
        if any(work in lease.names for lease in leases.values()):
            yield Reason(code=Code.ANTI_AFFINITY, node=node, subject=work)
    if not room.averse.isdisjoint(request.names):
        objecting = min(one.owner for one in leases.values() if not request.names.isdisjoint(one.averse))
        yield Reason(code=Code.ANTI_AFFINITY, node=node, subject=objecting)
    for one in request.affinity:
        if one.required and one.work and not any(one.work in lease.names for lease in leases.values()):
            yield Reason(code=Code.AFFINITY, node=node, subject=one.work)


def lacks(request: Request, room: Room) -> Iterator[Reason]:
    """Why the node could never take it, by what is known of it: what is not known speaks for it here, and what its
    models hold there."""
    total = room.total
    for name, value in asks_of(request, room):
        has = total.get(name, 0)
        if has < value and not is_unknown(name, room):
            yield Reason(
                code=Code.TOO_SMALL,
                node=room.node.name,
                resource=name,
                asked=value,
                total=has,
                subject=shared(request, room, name),
            )
    yield from _unsuitable(request, room)


def refusals(request: Request, room: Room) -> Iterator[Reason]:
    """All reasons why the node cannot take the request now; none when it can."""
    node = room.node
    if not is_open(room):
        yield Reason(code=Code.NOT_READY, node=node.name, subject=node.closed if node.state == "ready" else node.state)
    for name, value in asks_of(request, room):
        total = room.total.get(name)
        if is_unknown(name, room):
            yield Reason(code=Code.UNKNOWN, node=node.name, resource=name, asked=value)
        elif total is None or total < value:
            yield Reason(
                code=Code.TOO_SMALL,
                node=node.name,
                resource=name,
                asked=value,
                total=total or 0,
                subject=shared(request, room, name),
            )
        elif room.free[name] < value:
            yield Reason(
                code=Code.SHORT,
                node=node.name,
                resource=name,
                asked=value,
                free=room.free[name],
                total=total,
                holders=holders(room, name),
                subject=shared(request, room, name),
            )
    yield from _unsuitable(request, room)
    yield from _company(request, room)


def is_unknown(resource: str, room: Room) -> bool:
    """Whether nobody said how much the node has. Where nothing was measured, applications and disks are known when one
    of them is: a person names them all. A sensor names those that it was asked for, also when there are none."""
    if resource in room.total:
        return False
    kind = resource.partition(":")[0] + ":"
    if kind in (APP, DISK):
        return room.node.measured is not None or not any(name.startswith(kind) for name in room.total)
    return resource in SENSED


def shared(request: Request, room: Room, resource: str) -> str:
    """Says that what is asked of memory includes GPU memory, where it does."""
    is_shared = room.unified and resource == MEMORY and request.amounts.get(GPU_MEMORY, 0) > 0
    return "with its GPU memory" if is_shared else ""


def holders(room: Room, resource: str) -> tuple[tuple[str, int], ...]:
    """Who holds a resource of a node, the largest first: owners of leases, loaded models, programs of others."""
    held: dict[str, int] = {}

    def note(name: str, value: int) -> None:
        if value > 0:
            held[name] = held.get(name, 0) + value

    is_shared = room.unified and resource == MEMORY
    for lease in room.leases.values():
        note(lease.owner, lease.amounts.get(resource, 0) + (lease.amounts.get(GPU_MEMORY, 0) if is_shared else 0))
    if is_shared or resource == GPU_MEMORY:
        for model in room.node.models:
            note(model.name, model.gpu_memory)
    if resource == GPU_MEMORY:
        note(OTHERS, sum(room.node.foreign.get(gpu(n), 0) for n in range(len(room.devices or ()))))
    else:
        note(OTHERS, room.node.foreign.get(resource, 0))
    return tuple(sorted(held.items(), key=lambda one: (-one[1], one[0])))[:MOST_HOLDERS]
