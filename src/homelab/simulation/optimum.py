"""The least that things must wait, whoever decides: exact for small workloads, a bound for large ones.

*Exact*: branch and bound over all orders and nodes, by someone who knows every arrival beforehand. For a regular
measure such as the sum of waits an optimal schedule is among those made by putting items, in some order, each at its
earliest start on some node (active schedules; Sprecher, Kolisch and Drexl, EJOR 80, 1995).

*Fluid*: for one resource, the whole fleet is one machine that may split and interrupt work. There, serving what has the
least work left to give for its wait first minimises the sum of mean busy times, and that of any real schedule is not
less (Goemans, Queyranne, Schulz, Skutella and Wang, SIAM J. Discrete Math. 15, 2002). The best of the resources counts.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from homelab.core.placement import Node, Room
from homelab.simulation.policies import Suitable
from homelab.simulation.workload import Item

MOST_EXACT: Final = 8
"""Items for which all orders are searched."""
_STEPS: Final = 20_000
"""Partial schedules looked at, a few seconds; a search that is not over by then gives way to the bound."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """`kind`: "exact", "fluid" (no policy can do better than this, perhaps none as well), or "none" with the reason
    why. `mean_wait_s` is over all items that some node suits."""

    kind: Literal["exact", "fluid", "none"]
    mean_wait_s: float = 0.0
    why: str = ""


def optimum(items: Iterable[Item], fleet: Sequence[Node]) -> Optimum:
    """Exact for at most `MOST_EXACT` simple items, else the fluid bound. Reads the items once, in order."""
    suitable = Suitable(fleet)
    machines = _Fluid(fleet)
    first: list[Item] = []
    count = 0
    for item in items:
        if item.after:
            return Optimum(kind="none", why="work comes after other work, so when it is ready depends on the policy")
        if not suitable.nodes(item.request):
            continue
        count += 1
        if count <= MOST_EXACT:
            first.append(item)
        machines.add(item)
    if not count:
        return Optimum(kind="none", why="nothing could be placed")
    if count <= MOST_EXACT and all(_is_simple(one) for one in first) and all(_is_single(node) for node in fleet):
        exact = _Search(first, fleet, suitable).run()
        if exact is not None:
            return Optimum(kind="exact", mean_wait_s=exact / count)
    return Optimum(kind="fluid", mean_wait_s=machines.wait_s() / count)


def bound(items: Iterable[Item], fleet: Sequence[Node]) -> float:
    """The fluid bound of the mean wait, in seconds, over the items that some node suits; 0 for none."""
    suitable, machines = Suitable(fleet), _Fluid(fleet)
    placeable = [item for item in items if suitable.nodes(item.request)]
    for item in placeable:
        machines.add(item)
    return machines.wait_s() / max(1, len(placeable))


def _is_simple(item: Item) -> bool:
    """Whether amounts and suitable nodes say all about where it may go."""
    request = item.request
    return not (request.exclusive or request.averse or request.company or request.models)


def _is_single(node: Node) -> bool:
    return len(node.capacity.gpus or ()) <= 1


class _Fluid:
    """The bound, resource by resource, in one pass over the items."""

    def __init__(self, fleet: Sequence[Node]) -> None:
        totals: dict[str, int] = {}
        for node in fleet:
            room = Room(node)
            for name, value in room.total.items():
                totals[name] = totals.get(name, 0) + (sum(node.capacity.gpus or ()) if name == "gpu_memory" else value)
        self._machines = {name: _Machine(total) for name, total in totals.items() if total > 0}

    def add(self, item: Item) -> None:
        for name, value in item.request.asks:
            self._machines[name].add(item.arrival, value, item.duration_s)

    def wait_s(self) -> float:
        return max((machine.wait_s() for machine in self._machines.values()), default=0.0)


@dataclass
class _Machine:
    """One resource of the fleet as one machine that serves, at each moment, the item with the least whole work."""

    total: int
    now: float = 0.0
    waits: float = 0.0
    queue: list[tuple[float, float, float, float]] = field(default_factory=list[tuple[float, float, float, float]])
    """(whole work, arrival, work left, length) of what is not served to its end, the least work first."""

    def add(self, arrival: float, amount: int, length: float) -> None:
        self._serve(arrival)
        work = amount * length / self.total
        if work > 0:
            # A start is the mean busy time less half the length, in any real schedule.
            self.waits -= arrival + length / 2
            heapq.heappush(self.queue, (work, arrival, work, length))

    def _serve(self, until: float) -> None:
        while self.queue and self.now < until:
            work, arrival, left, length = self.queue[0]
            span = min(left, until - self.now)
            self.waits += (self.now + span / 2) * span / work
            self.now += span
            if span >= left:
                heapq.heappop(self.queue)
            else:
                heapq.heapreplace(self.queue, (work, arrival, left - span, length))
        self.now = max(self.now, until)

    def wait_s(self) -> float:
        """The sum of waits that this resource alone forces; never below nothing."""
        self._serve(float("inf"))
        return max(0.0, self.waits)


@dataclass(frozen=True)
class _Held:
    start: float
    end: float
    asks: tuple[tuple[str, int], ...]


class _Search:
    def __init__(self, items: Sequence[Item], fleet: Sequence[Node], suitable: Suitable) -> None:
        self.items = sorted(items, key=lambda one: (one.arrival, one.duration_s))
        self.rooms = [Room(node) for node in fleet]
        self.allowed = [[r for r in self.rooms if r.node.name in suitable.nodes(i.request)] for i in self.items]
        self.held: dict[str, list[_Held]] = {room.node.name: [] for room in self.rooms}
        self.best = float("inf")
        self.steps = 0

    def run(self) -> float | None:
        """The least sum of waits; None when the search would take too long."""
        self._branch(frozenset(range(len(self.items))), 0.0)
        return None if self.steps >= _STEPS else self.best

    def _branch(self, left: frozenset[int], wait_s: float) -> None:
        self.steps += 1
        if not left:
            self.best = min(self.best, wait_s)
            return
        if self.steps >= _STEPS:
            return
        starts = sorted(
            (self._earliest(self.items[n], room) - self.items[n].arrival, n, at)
            for n in left
            for at, room in enumerate(self.allowed[n])
        )
        for extra, n, at in starts:
            if wait_s + extra >= self.best:
                return
            item, room = self.items[n], self.allowed[n][at]
            start = item.arrival + extra
            held = self.held[room.node.name]
            held.append(_Held(start, start + item.duration_s, _asks(item, room)))
            self._branch(left - {n}, wait_s + extra)
            held.pop()

    def _earliest(self, item: Item, room: Room) -> float:
        held = self.held[room.node.name]
        for at in sorted({item.arrival, *(one.end for one in held if one.end > item.arrival)}):
            if self._fits(item, room, held, at):
                return at
        raise ValueError("an item that suits a node fits there when all else has ended")

    def _fits(self, item: Item, room: Room, held: Sequence[_Held], start: float) -> bool:
        end = start + item.duration_s
        over = [one for one in held if one.start < end and one.end > start]
        for moment in {start, *(one.start for one in over if one.start > start)}:
            there = [one for one in over if one.start <= moment < one.end]
            for name, value in _asks(item, room):
                if value + sum(dict(one.asks).get(name, 0) for one in there) > room.free[name]:
                    return False
        return True


def _asks(item: Item, room: Room) -> tuple[tuple[str, int], ...]:
    return item.request.unified_asks if room.unified else item.request.asks
