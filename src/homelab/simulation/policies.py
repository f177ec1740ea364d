"""Who decides in a simulation: placement as the lab does it, and the ordinary ways it is compared with.

A policy owns its snapshot. At each moment it is told what arrived and what ended, and says what starts. Whatever it
is, a node never holds more than it has: all policies ask the same `fits`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from homelab.core.placement import Eviction, Lease, Node, Request, Room, Snapshot, fits, plan_queue
from homelab.core.placement.choice import choose, put


@dataclass(frozen=True, kw_only=True)
class Step:
    """`started` and `evicted`: leases; what is evicted waits again by itself."""

    started: Sequence[Lease]
    evicted: Sequence[Eviction] = ()


class Policy(Protocol):
    name: str

    def step(self, arrived: Sequence[Request], ended: Sequence[Lease], now: float) -> Step: ...


class ByPlacement:
    """The lab's own: `core.placement.plan_queue`."""

    name = "placement"

    def __init__(self, fleet: Sequence[Node], *, preempt: bool = False) -> None:
        self.snapshot = Snapshot.of(fleet)
        self.preempt = preempt
        self.waiting: list[Request] = []

    def step(self, arrived: Sequence[Request], ended: Sequence[Lease], now: float) -> Step:
        for lease in ended:
            self.snapshot = self.snapshot.without(lease)
        if not arrived and not self.waiting:
            return Step(started=())
        plan = plan_queue([*self.waiting, *arrived], self.snapshot, now, preempt=self.preempt)
        self.snapshot, self.waiting = plan.snapshot, list(plan.waiting)
        started = [plan.snapshot.room(p.node).leases[p.request.id] for p in plan.starts]
        return Step(started=started, evicted=plan.evictions)


class FirstCome:
    """One queue for all nodes, strictly in order of arrival: what does not fit holds up all behind it."""

    name = "first-come"

    def __init__(self, fleet: Sequence[Node]) -> None:
        self.snapshot = Snapshot.of(fleet)
        self.waiting: deque[Request] = deque()

    def step(self, arrived: Sequence[Request], ended: Sequence[Lease], now: float) -> Step:
        for lease in ended:
            self.snapshot = self.snapshot.without(lease)
        self.waiting.extend(arrived)
        started: list[Lease] = []
        while self.waiting and (placement := choose(self.waiting[0], self.snapshot)):
            self.waiting.popleft()
            started.append(lease := placement.lease(now=now))
            self.snapshot = self.snapshot.holding(lease)
        return Step(started=started)


class Dispatch:
    """A node is chosen when work arrives, and keeps it: each node has its own queue, in order of arrival."""

    name = "dispatch"

    def __init__(self, fleet: Sequence[Node], suitable: "Suitable") -> None:
        self.snapshot = Snapshot.of(fleet)
        self.queues: dict[str, deque[Request]] = {room.node.name: deque() for room in self.snapshot.rooms}
        self.suitable = suitable

    def pick(self, request: Request, rooms: Sequence[Room]) -> str:
        """One of the rooms, none of which is too small."""
        raise NotImplementedError

    def step(self, arrived: Sequence[Request], ended: Sequence[Lease], now: float) -> Step:
        touched = {lease.node for lease in ended}
        for lease in ended:
            self.snapshot = self.snapshot.without(lease)
            if lease.exclusive:
                touched = set(self.queues)
        for request in arrived:
            node = self.pick(request, [self.snapshot.room(name) for name in self.suitable.nodes(request)])
            self.queues[node].append(request)
            touched.add(node)
        return Step(started=[lease for node in sorted(touched) for lease in self._start(node, now)])

    def _start(self, node: str, now: float) -> list[Lease]:
        queue, started = self.queues[node], list[Lease]()
        while queue and fits(queue[0], room := self.snapshot.room(node)):
            if any(group in self.snapshot.groups for group in queue[0].exclusive):
                break
            lease = put(queue.popleft(), room, score=0.0).lease(now=now)
            self.snapshot = self.snapshot.holding(lease)
            started.append(lease)
        return started


class RoundRobin(Dispatch):
    """Each node in its turn, as far as it is large enough."""

    name = "round-robin"

    def __init__(self, fleet: Sequence[Node], suitable: "Suitable") -> None:
        super().__init__(fleet, suitable)
        self.order = list(self.queues)
        self.next = 0

    def pick(self, request: Request, rooms: Sequence[Room]) -> str:
        names = {room.node.name for room in rooms}
        for step in range(len(self.order)):
            name = self.order[(self.next + step) % len(self.order)]
            if name in names:
                self.next = (self.next + step + 1) % len(self.order)
                return name
        raise ValueError("no node is large enough")


class LeastLoaded(Dispatch):
    """The node whose running and waiting work asks for the smallest share of it, in the resource it is shortest of."""

    name = "least-loaded"

    def __init__(self, fleet: Sequence[Node], suitable: "Suitable") -> None:
        super().__init__(fleet, suitable)
        self.waiting: dict[str, dict[str, int]] = {name: {} for name in self.queues}

    def pick(self, request: Request, rooms: Sequence[Room]) -> str:
        name = min(rooms, key=lambda room: (self._load(request, room), room.node.name)).node.name
        queued = self.waiting[name]
        for resource, value in request.asks:
            queued[resource] = queued.get(resource, 0) + value
        return name

    def _load(self, request: Request, room: Room) -> float:
        queued = self.waiting[room.node.name]
        return max(
            ((room.total[n] - room.free[n] + queued.get(n, 0) + v) / room.total[n] for n, v in request.asks),
            default=0.0,
        )

    def _start(self, node: str, now: float) -> list[Lease]:
        started = super()._start(node, now)
        for lease in started:
            for resource, value in lease.amounts.items():
                self.waiting[node][resource] -= value
        return started


class Suitable:
    """Which nodes could ever take a request, remembered by what it asks."""

    def __init__(self, fleet: Sequence[Node]) -> None:
        from homelab.core.placement.feasibility import suits

        self._suits = suits
        self._rooms = Snapshot.of(fleet).rooms
        self._known: dict[object, tuple[str, ...]] = {}

    def nodes(self, request: Request) -> tuple[str, ...]:
        """Names of nodes, in their order; none when the request can be placed nowhere."""
        key = (request.shape, request.asks)
        if key not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[key] = tuple(r.node.name for r in self._rooms if self._suits(request, r))
        return self._known[key]
