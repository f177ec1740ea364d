"""What is there: nodes, the leases on them, and a snapshot of all of them at one moment.

A snapshot is a value. It sums the leases of each node once; placing or ending something gives a new snapshot in which
one node was counted anew. No clock, no I/O; whoever decides on a snapshot has it checked again where the lease is
written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from homelab.core.capacity import APP, CPU, GPU_MEMORY, MEMORY, SLOTS, Amounts, Capacity, gpu, smallest

State = Literal["ready", "unreachable", "draining", "drained", "asleep", "stopped"]
CLOCK_SKEW_S: Final = 5.0
"""A clock that is off by more is told: deadlines and logs of that node cannot be trusted."""
SENSED: Final = frozenset({CPU, MEMORY, GPU_MEMORY, SLOTS})
"""What every machine has some of, or none: unknown when nobody said. What a lab counts by itself, it has not."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model on a node. `gpu_memory`: bytes that it holds on `device` while it is loaded; 0 when it is not."""

    name: str
    gpu_memory: int = 0
    device: int = 0


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine. `declared` by a person, `measured` by itself; where both know, the smaller counts.

    `foreign`: what programs outside the lab use, as measured; leases and loaded models are not in it. Of GPU memory it
    names the device (`capacity.gpu`).
    `closed`: why nothing goes to it though it is there, `it is ...`; "": nothing speaks against it.
    `wakeable`: when asleep, it can be woken. `data`: names of pieces it has. `clock_skew_s`: None when unknown.
    """

    name: str
    state: State = "ready"
    declared: Capacity = field(default_factory=Capacity)
    measured: Capacity | None = None
    roles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    models: tuple[Model, ...] = ()
    foreign: Amounts = field(default_factory=dict[str, int])
    data: frozenset[str] = frozenset()
    wakeable: bool = False
    closed: str = ""
    clock_skew_s: float | None = None

    @property
    def capacity(self) -> Capacity:
        return self.declared if self.measured is None else smallest(self.declared, self.measured)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Amounts that one piece of work holds on `node`; of `gpu_memory`, on `device`. `owner` is how people know it.

    Times are seconds of one clock. `expected_end`: None when nobody knows. `turn`: that of its request.
    """

    id: str
    node: str
    owner: str
    amounts: Amounts
    device: int | None = None
    names: frozenset[str] = frozenset()
    averse: tuple[str, ...] = ()
    exclusive: tuple[str, ...] = ()
    priority: int = 0
    turn: tuple[float, str] = (0.0, "")
    started: float = 0.0
    expected_end: float | None = None
    restartable: bool = False
    evictions: int = 0


class Room:
    """One node with its leases, counted: a value, never changed after it was made.

    `total` and `free` have what is known; of GPU memory, the most that one device has (`devices`: free bytes of each).
    `free` may be negative when a node has less than it once had. `averse`: names that some lease here must not meet.
    """

    __slots__ = ("averse", "devices", "free", "is_plain", "leases", "node", "scarce", "total", "unified")

    def __init__(self, node: Node) -> None:
        has = node.capacity
        self.node = node
        self.leases: Mapping[str, Lease] = {}
        self.averse: frozenset[str] = frozenset()
        self.total: dict[str, int] = dict(has.amounts)
        self.unified = has.unified and MEMORY in self.total and has.gpus is not None
        free = {name: value - node.foreign.get(name, 0) for name, value in self.total.items()}
        devices = None if has.gpus is None else list(has.gpus)
        if has.gpus is not None and devices is not None:
            self.total[GPU_MEMORY] = max(has.gpus, default=0)
            for number in range(len(devices)):
                devices[number] -= node.foreign.get(gpu(number), 0)
            for model in node.models:
                if model.device < len(devices):
                    devices[model.device] -= model.gpu_memory
                if self.unified:
                    free[MEMORY] -= model.gpu_memory
        self.devices: tuple[int, ...] | None = None if devices is None else tuple(devices)
        self.free = self._with_gpu(free)
        self.scarce = tuple(sorted(n for n, v in self.total.items() if v > 0 and _is_scarce(n)))
        self.is_plain = _is_plain(self)

    def _with_gpu(self, free: dict[str, int]) -> dict[str, int]:
        if self.devices is not None:
            most = max(self.devices, default=0)
            free[GPU_MEMORY] = min(most, free[MEMORY]) if self.unified else most
        return free

    def holding(self, lease: Lease) -> "Room":
        """This room with one more lease."""
        return self._changed({**self.leases, lease.id: lease}, lease, -1)

    def without(self, lease: Lease) -> "Room":
        """This room when that lease has ended."""
        return self._changed({k: v for k, v in self.leases.items() if k != lease.id}, lease, +1)

    def _changed(self, leases: Mapping[str, Lease], lease: Lease, sign: int) -> "Room":
        made = Room.__new__(Room)
        made.node, made.total, made.unified = self.node, self.total, self.unified
        made.scarce = self.scarce
        made.leases = leases
        made.averse = self.averse
        if lease.averse:
            # Names to stay away from make the node one that is looked at closely.
            made.averse = frozenset(name for one in leases.values() for name in one.averse)
        made.devices = self.devices
        free = dict(self.free)
        for name, value in lease.amounts.items():
            if name != GPU_MEMORY:
                if name in free:
                    free[name] += sign * value
            elif self.devices is not None:
                at = lease.device or 0
                made.devices = tuple(d + sign * value if n == at else d for n, d in enumerate(self.devices))
                if self.unified:
                    free[MEMORY] += sign * value
        made.free = made._with_gpu(free)
        made.is_plain = _is_plain(made)
        return made

    def device_for(self, bytes_: int, other: "Room | None" = None) -> int | None:
        """The device with the least room that still gives `bytes_`, here and in `other`; None when there is none."""
        fitting = [
            (free, at)
            for at, free in enumerate(self.devices or ())
            if free >= bytes_ and (other is None or (other.devices or ())[at] >= bytes_)
        ]
        return min(fitting)[1] if fitting else None

    def loaded(self, model: str) -> int:
        """GPU memory that a model holds here; 0 when it is not loaded."""
        return next((m.gpu_memory for m in self.node.models if m.name == model), 0)

    def has_model(self, model: str) -> bool:
        return model in self.node.capacity.models or any(m.name == model for m in self.node.models)


def _is_plain(room: Room) -> bool:
    """Whether amounts alone decide about plain work."""
    return room.node.state == "ready" and not (room.node.closed or room.averse) and not has_wrong_clock(room.node)


def _is_scarce(resource: str) -> bool:
    """Whether only some nodes have it, so that it is kept for work that asks for it."""
    return resource == GPU_MEMORY or resource.startswith(APP)


def has_wrong_clock(node: Node) -> bool:
    return node.clock_skew_s is not None and abs(node.clock_skew_s) > CLOCK_SKEW_S


class Snapshot:
    """All nodes, in the order of their names, and which exclusive groups are taken, by whom."""

    __slots__ = ("_index", "groups", "rooms")

    def __init__(self, rooms: tuple[Room, ...], index: Mapping[str, int], groups: Mapping[str, str]) -> None:
        self.rooms = rooms
        self.groups = groups
        self._index = index

    @classmethod
    def of(cls, nodes: Iterable[Node], leases: Iterable[Lease] = ()) -> "Snapshot":
        """Count everything. A lease on a node that is not given holds its exclusive groups, and no capacity."""
        rooms = {node.name: Room(node) for node in sorted(nodes, key=lambda n: n.name)}
        groups: dict[str, str] = {}
        for lease in sorted(leases, key=lambda one: one.id):
            groups |= dict.fromkeys(lease.exclusive, lease.owner)
            if lease.node in rooms:
                rooms[lease.node] = rooms[lease.node].holding(lease)
        return cls(tuple(rooms.values()), {name: n for n, name in enumerate(rooms)}, groups)

    def __contains__(self, node: str) -> bool:
        return node in self._index

    def room(self, node: str) -> Room:
        """KeyError when there is no such node."""
        return self.rooms[self._index[node]]

    def holding(self, lease: Lease) -> "Snapshot":
        """The snapshot with one more lease."""
        groups = {**self.groups, **dict.fromkeys(lease.exclusive, lease.owner)} if lease.exclusive else self.groups
        return self._with(self.room(lease.node).holding(lease), groups)

    def without(self, lease: Lease) -> "Snapshot":
        """The snapshot when that lease has ended."""
        groups = self.groups
        if lease.exclusive:
            groups = {name: owner for name, owner in groups.items() if name not in lease.exclusive}
        return self._with(self.room(lease.node).without(lease), groups)

    def _with(self, room: Room, groups: Mapping[str, str]) -> "Snapshot":
        rooms = list(self.rooms)
        rooms[self._index[room.node.name]] = room
        return Snapshot(tuple(rooms), self._index, groups)
