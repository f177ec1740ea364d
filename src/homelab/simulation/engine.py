"""Virtual time: arrivals and ends in order, a policy asked at each moment, everything measured."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from homelab.core.errors import InputError
from homelab.core.placement import Lease, Node, Request
from homelab.simulation.measure import Use, Waits
from homelab.simulation.policies import Policy, Suitable
from homelab.simulation.workload import Item


@dataclass
class Outcome:
    """What happened under one policy. `rejected`: no node could ever take it, or what it comes after was rejected;
    `never_started`: it waited to the end for company, or a group, that never came. `end_s`: the last end."""

    policy: str
    waits: Waits
    use: Use
    items: int = 0
    completed: int = 0
    rejected: int = 0
    never_started: int = 0
    preemptions: int = 0
    end_s: float = 0.0


@dataclass
class _Running:
    lease: Lease
    ends: float


@dataclass
class _Simulation:
    policy: Policy
    suitable: Suitable
    outcome: Outcome
    tell: Callable[[int, float], None]
    now: float = 0.0
    requests: dict[str, Request] = field(default_factory=dict[str, Request])
    lengths: dict[str, float] = field(default_factory=dict[str, float])
    waited: dict[str, float] = field(default_factory=dict[str, float])
    queued: dict[str, float] = field(default_factory=dict[str, float])
    running: dict[str, _Running] = field(default_factory=dict[str, _Running])
    ends: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    ended: set[str] = field(default_factory=set[str])
    refused: set[str] = field(default_factory=set[str])
    blocked: dict[str, tuple[Item, set[str]]] = field(default_factory=dict[str, tuple[Item, set[str]]])
    followers: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def run(self, items: Iterable[Item]) -> Outcome:
        stream = iter(items)
        upcoming = next(stream, None)
        while upcoming is not None or self.ends:
            moments = ([] if upcoming is None else [upcoming.arrival]) + [at for at, _ in self.ends[:1]]
            self.now = min(moments)
            ready: list[Request] = []
            released = self._end(ready)
            while upcoming is not None and upcoming.arrival <= self.now:
                self._arrive(upcoming, ready)
                upcoming = next(stream, None)
            self._act(ready, released)
            self.tell(self.outcome.items, self.now)
        self.outcome.never_started = len(self.queued) + len(self.blocked)
        self.outcome.end_s = self.now
        self.outcome.use.finish(self.now)
        return self.outcome

    def _arrive(self, item: Item, ready: list[Request]) -> None:
        self.outcome.items += 1
        name = item.request.id
        if name in self.lengths or name in self.blocked or name in self.ended or name in self.refused:
            raise InputError(f"'{name}' is the id of two items", hint="Give each line an id of its own, or none.")
        if any(name in self.refused for name in item.after):
            self._refuse(item.request.id)
            return
        missing = {name for name in item.after if name not in self.ended}
        for name in missing:
            if name not in self.lengths and name not in self.blocked:
                raise InputError(
                    f"'{item.request.id}' comes after '{name}', which no line above it has",
                    hint="Put what others come after above them.",
                )
            self.followers.setdefault(name, []).append(item.request.id)
        if missing:
            self.blocked[item.request.id] = (item, missing)
        else:
            self._ready(item, ready)

    def _ready(self, item: Item, ready: list[Request]) -> None:
        request = item.request if item.arrival >= self.now else replace(item.request, submitted=self.now)
        if not self.suitable.nodes(request):
            self._refuse(request.id)
            return
        self.requests[request.id] = request
        self.lengths[request.id] = item.duration_s
        self.queued[request.id] = self.now
        ready.append(request)

    def _refuse(self, name: str) -> None:
        self.outcome.rejected += 1
        self.refused.add(name)
        for follower in self.followers.pop(name, ()):
            if self.blocked.pop(follower, None):
                self._refuse(follower)

    def _end(self, ready: list[Request]) -> list[Lease]:
        released: list[Lease] = []
        while self.ends and self.ends[0][0] <= self.now:
            at, name = heapq.heappop(self.ends)
            one = self.running.get(name)
            if one is None or one.ends != at:
                continue  # it was stopped and started anew
            del self.running[name]
            released.append(one.lease)
            self.outcome.use.release(one.lease, self.now)
            self.outcome.completed += 1
            self.outcome.waits.add(self.requests.pop(name).priority, self.waited.pop(name))
            del self.lengths[name]
            self.ended.add(name)
            for follower in self.followers.pop(name, ()):
                if follower in self.blocked:
                    item, missing = self.blocked[follower]
                    missing.discard(name)
                    if not missing:
                        del self.blocked[follower]
                        self._ready(item, ready)
        return released

    def _act(self, ready: Sequence[Request], released: Sequence[Lease]) -> None:
        step = self.policy.step(ready, released, self.now)
        again: list[Request] = []
        for eviction in step.evicted:
            name = eviction.lease.id
            self.outcome.preemptions += 1
            self.outcome.use.release(self.running.pop(name).lease, self.now)
            self.queued[name] = self.now
            self.requests[name] = replace(self.requests[name], evictions=eviction.lease.evictions + 1)
            again.append(self.requests[name])
        for lease in step.started:
            self.waited[lease.id] = self.waited.get(lease.id, 0.0) + self.now - self.queued.pop(lease.id)
            ends = self.now + self.lengths[lease.id]
            self.running[lease.id] = _Running(lease, ends)
            heapq.heappush(self.ends, (ends, lease.id))
            self.outcome.use.hold(lease, self.now)
        if again:
            self._act(again, ())


def simulate(
    items: Iterable[Item], fleet: Sequence[Node], policy: Policy, *, tell: Callable[[int, float], None] | None = None
) -> Outcome:
    """Run the workload to its end. `tell(items so far, virtual seconds)` is called at each moment, for progress.

    Items arrive in order. InputError when one comes after something that was not there before it.
    """
    outcome = Outcome(policy=policy.name, waits=Waits(), use=Use(fleet))
    return _Simulation(policy, Suitable(fleet), outcome, tell or _silent).run(items)


def _silent(items: int, now: float) -> None:
    pass
