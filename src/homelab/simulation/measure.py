"""What a simulation measures: how long things waited, how full nodes were. Sums and arrays, so that a month fits."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from homelab.core.capacity import GPU_MEMORY, MEMORY
from homelab.core.placement import Lease, Node, Room

BUCKETS: Final = 120


class Waits:
    """Seconds that each piece of work waited, by priority."""

    def __init__(self) -> None:
        self._by_priority: dict[int, array[float]] = {}

    def add(self, priority: int, seconds: float) -> None:
        self._by_priority.setdefault(priority, array("d")).append(seconds)

    def summary(self) -> dict[str, float]:
        return _summary([value for values in self._by_priority.values() for value in values])

    def by_priority(self) -> dict[str, dict[str, float]]:
        """The most important first."""
        return {str(p): _summary(list(self._by_priority[p])) for p in sorted(self._by_priority, reverse=True)}


def _summary(values: list[float]) -> dict[str, float]:
    """`count`, `mean_s`, `p50_s`, `p95_s`, `p99_s`, `max_s`: nearest-rank percentiles; zeros for nothing."""
    values.sort()
    count = len(values)
    if not count:
        return {"count": 0, "mean_s": 0.0, "p50_s": 0.0, "p95_s": 0.0, "p99_s": 0.0, "max_s": 0.0}
    at = {f"p{p}_s": values[max(0, -(-count * p // 100) - 1)] for p in (50, 95, 99)}
    return {"count": count, "mean_s": sum(values) / count, **at, "max_s": values[-1]}


@dataclass
class Level:
    """How much of one resource of one node is held: now, summed over time, and in buckets of `width_s` seconds."""

    total: int
    held: int = 0
    area: float = 0.0
    since: float = 0.0
    width_s: float = 1.0
    buckets: list[float] = field(default_factory=list[float])

    def change(self, by: int, now: float) -> None:
        self.advance(now)
        self.held += by

    def advance(self, now: float) -> None:
        if now > self.since:
            self.area += self.held * (now - self.since)
            self._fill(self.since, now)
            self.since = now

    def _fill(self, start: float, end: float) -> None:
        while end > BUCKETS * self.width_s:
            self.width_s *= 2
            self.buckets = [sum(self.buckets[n : n + 2]) for n in range(0, len(self.buckets), 2)]
        first, last = int(start / self.width_s), min(BUCKETS - 1, int(end / self.width_s))
        self.buckets.extend([0.0] * (last + 1 - len(self.buckets)))
        for n in range(first, last + 1):
            inside = min(end, (n + 1) * self.width_s) - max(start, n * self.width_s)
            self.buckets[n] += self.held * max(0.0, inside)

    def share(self, end: float) -> float:
        """The mean share that was held until `end`."""
        return self.area / (self.total * end) if end > 0 else 0.0

    def series(self, end: float) -> list[float]:
        """The mean share in each bucket, in order of time; the last one counts only as far as `end`."""
        found: list[float] = []
        for n, area in enumerate(self.buckets):
            span = min(end, (n + 1) * self.width_s) - n * self.width_s
            found.append(min(1.0, area / (self.total * span)) if span > 0 else 0.0)
        return found


class Use:
    """Levels of every known resource of every node."""

    def __init__(self, fleet: Iterable[Node]) -> None:
        rooms = [Room(node) for node in sorted(fleet, key=lambda n: n.name)]
        self.unified = {room.node.name for room in rooms if room.unified}
        self.levels: dict[str, dict[str, Level]] = {room.node.name: _levels(room) for room in rooms}

    def hold(self, lease: Lease, now: float) -> None:
        self._change(lease, now, +1)

    def release(self, lease: Lease, now: float) -> None:
        self._change(lease, now, -1)

    def _change(self, lease: Lease, now: float, sign: int) -> None:
        levels = self.levels[lease.node]
        for name, value in lease.amounts.items():
            if name in levels:
                levels[name].change(sign * value, now)
            if name == GPU_MEMORY and lease.node in self.unified:
                levels[MEMORY].change(sign * value, now)

    def finish(self, end: float) -> None:
        for levels in self.levels.values():
            for level in levels.values():
                level.advance(end)

    def summary(self, end: float) -> dict[str, Any]:
        """Shares from 0 to 1: `nodes` by node and resource, `resources` of the whole fleet."""
        nodes = {
            node: {name: round(level.share(end), 4) for name, level in levels.items()}
            for node, levels in self.levels.items()
        }
        names = sorted({name for levels in self.levels.values() for name in levels})
        return {"resources": {name: round(self._share(name, end), 4) for name in names}, "nodes": nodes}

    def _share(self, name: str, end: float) -> float:
        levels = [levels[name] for levels in self.levels.values() if name in levels]
        total = sum(level.total for level in levels)
        return sum(level.area for level in levels) / (total * end) if total and end > 0 else 0.0

    def series(self, end: float) -> Mapping[str, Mapping[str, list[float]]]:
        """Node -> resource -> shares over time."""
        return {
            node: {name: level.series(end) for name, level in levels.items()} for node, levels in self.levels.items()
        }


def _levels(room: Room) -> dict[str, Level]:
    totals = dict(room.total)
    if room.devices:
        totals[GPU_MEMORY] = sum(room.node.capacity.gpus or ())
    return {name: Level(total=total) for name, total in sorted(totals.items()) if total > 0}
