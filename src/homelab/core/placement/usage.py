"""Who holds what of a node, resource by resource: what a bar of its capacity shows. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from homelab.core.capacity import APP, CPU, DISK, GPU_MEMORY, MEMORY, SLOTS, number, to_json
from homelab.core.placement.nodes import Room
from homelab.core.placement.reasons import OTHERS

Kind = Literal["lease", "model", "others"]
KINDS: tuple[Kind, ...] = ("lease", "model", "others")
_FIRST = {CPU: 0, MEMORY: 1, GPU_MEMORY: 2, SLOTS: 3}


@dataclass(frozen=True, kw_only=True)
class Holding:
    """`amount` in the smallest unit. `owner`: of a lease, a model's name, or `OTHERS` for what is not the lab's."""

    owner: str
    kind: Kind
    amount: int


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One resource of one node; of GPU memory one device, `device` is None where there is only one.

    `free`: what placement may still give, negative when more is held than there is. `held`: leases first, then models,
    then other programs; within a kind the largest first.
    """

    resource: str
    device: int | None
    total: int
    free: int
    held: tuple[Holding, ...]

    def sum(self, *kinds: Kind) -> int:
        return sum(one.amount for one in self.held if one.kind in kinds)

    def to_json(self) -> dict[str, Any]:
        """Amounts as numbers of units or bytes."""
        return {
            "resource": self.resource,
            "device": self.device,
            "total": number(self.resource, self.total),
            "free": number(self.resource, self.free),
            "held": [{"owner": h.owner, "kind": h.kind, "amount": number(self.resource, h.amount)} for h in self.held],
        }


def sums(resources: Iterable[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Of usages as JSON, all of one resource: what the lab holds, what other programs hold, how much there is."""
    lab = others = total = 0.0
    for one in resources:
        total += one["total"]
        for part in one["held"]:
            if part["kind"] == "others":
                others += part["amount"]
            else:
                lab += part["amount"]
    return lab, others, total


def usage(room: Room) -> tuple[Usage, ...]:
    """Everything that is known of the node: cores, memory, GPU memory, slots, then the others by name."""
    found: list[Usage] = []
    for name in sorted(room.total, key=_order):
        if name != GPU_MEMORY:
            found.append(
                Usage(resource=name, device=None, total=room.total[name], free=room.free[name], held=_held(room, name))
            )
            continue
        sizes = room.node.capacity.gpus or ()
        for at, free in enumerate(room.devices or ()):
            most = min(free, room.free[MEMORY]) if room.unified else free
            device = at if len(sizes) > 1 else None
            held = _held(room, name, device=at)
            found.append(Usage(resource=name, device=device, total=sizes[at], free=most, held=held))
    return tuple(found)


def holders(found: Iterable[Usage]) -> list[dict[str, Any]]:
    """Who holds anything, and what of each resource: the owners of leases by name, models, other programs last."""
    sums: dict[tuple[Kind, str], dict[str, int]] = {}
    for one in found:
        for held in one.held:
            amounts = sums.setdefault((held.kind, held.owner), {})
            amounts[one.resource] = amounts.get(one.resource, 0) + held.amount
    return [
        {"owner": owner, "kind": kind, "amounts": to_json(sums[kind, owner])}
        for kind, owner in sorted(sums, key=lambda key: (KINDS.index(key[0]), key[1]))
    ]


def _order(resource: str) -> tuple[int, str]:
    later = 5 if resource.startswith(DISK) else 4 if resource.startswith(APP) else 6
    return (_FIRST.get(resource, later), resource)


def _held(room: Room, resource: str, *, device: int = 0) -> tuple[Holding, ...]:
    sums: dict[tuple[Kind, str], int] = {}
    for kind, owner, amount in _parts(room, resource, device):
        if amount > 0:
            sums[kind, owner] = sums.get((kind, owner), 0) + amount
    made = [Holding(owner=owner, kind=kind, amount=amount) for (kind, owner), amount in sums.items()]
    return tuple(sorted(made, key=lambda one: (KINDS.index(one.kind), -one.amount, one.owner)))


def _parts(room: Room, resource: str, device: int) -> Iterator[tuple[Kind, str, int]]:
    is_gpu = resource == GPU_MEMORY
    is_shared = room.unified and resource == MEMORY
    for lease in room.leases.values():
        if not is_gpu or (lease.device or 0) == device:
            yield "lease", lease.owner, lease.amounts.get(resource, 0)
        if is_shared:
            yield "lease", lease.owner, lease.amounts.get(GPU_MEMORY, 0)
    if is_gpu or is_shared:
        for model in room.node.models:
            if is_shared or model.device == device:
                yield "model", model.name, model.gpu_memory
    if not is_gpu or device == 0:  # nobody says on which device other programs are: placement counts the first
        yield "others", OTHERS, room.node.foreign.get(resource, 0)
