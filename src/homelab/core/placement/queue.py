"""Who starts now, who waits: a queue with priorities that age, one reservation, and small work around it.

In order of their turns (`Request.turn`), each request starts if a node takes it. The first that some node could take,
but none has room for, gets a *reservation*: the node where it fits soonest. What comes after it may start when that
does not delay the reservation: on another node, or on this one if it ends before, or if both fit beside each other at
that time. Work of unknown length never counts as ending before. So nothing starves, and no room stays empty for
something that it cannot serve.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf

from homelab.core.capacity import GPU_MEMORY
from homelab.core.placement.choice import Placement, choose, explain, fill_score, net_amounts, put
from homelab.core.placement.feasibility import fits
from homelab.core.placement.nodes import Room, Snapshot
from homelab.core.placement.preemption import Eviction, evict_for
from homelab.core.placement.reasons import Code, Reason
from homelab.core.placement.release import Release, when_free
from homelab.core.placement.requests import Request, Shape


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """`node` is kept for `request`, which starts there `at` the latest, if work ends when it is expected to.

    `at`: None when that depends on work whose end nobody knows. `room`: the node as it will be then, with the request
    and with what was let in beside it.
    """

    request: Request
    node: str
    at: float | None
    room: Room


@dataclass(frozen=True, kw_only=True)
class QueuePlan:
    """What to do now. `evictions` come first: each stops a lease to make room for one of `starts`.

    `waiting` in order of turns. `snapshot`: what it will look like when all of it is done.
    """

    starts: tuple[Placement, ...]
    waiting: tuple[Request, ...]
    evictions: tuple[Eviction, ...]
    reservation: Reservation | None
    snapshot: Snapshot
    now: float

    def reasons(self, request: Request) -> dict[str, tuple[Reason, ...]]:
        """Node -> why a waiting request does not start there, in the order of names; at least one reason each."""
        return {room.node.name: self._reasons(request, room) for room in self.snapshot.rooms}

    def _reasons(self, request: Request, room: Room) -> tuple[Reason, ...]:
        found = explain(request, room, self.snapshot, self.now)
        if found or self.reservation is None:
            return found
        held = self.reservation
        wait_s = None if held.at is None else held.at - self.now
        subject = held.request.name or held.request.id
        return (Reason(code=Code.RESERVED, node=room.node.name, subject=subject, wait_s=wait_s),)


def plan_queue(requests: Iterable[Request], snapshot: Snapshot, now: float, *, preempt: bool = False) -> QueuePlan:
    """Decide about all requests that wait. With `preempt`, restartable work of lower priority may be stopped."""
    return _Planner(snapshot, now, preempt=preempt).plan(sorted(requests, key=lambda r: r.turn))


class _Planner:
    def __init__(self, snapshot: Snapshot, now: float, *, preempt: bool) -> None:
        self.snapshot, self.now, self.preempt = snapshot, now, preempt
        self.starts: list[Placement] = []
        self.evictions: list[Eviction] = []
        self.has_opened = False
        self.reservation: Reservation | None = None
        self.refused = Refused()

    def plan(self, requests: Iterable[Request]) -> QueuePlan:
        waiting = self._pass(requests)
        while self.has_opened:
            # What started is the company that others need, or what was stopped left room: once more, as a new plan.
            self.has_opened, self.reservation, self.refused = False, None, Refused()
            waiting = self._pass(waiting)
        return QueuePlan(
            starts=tuple(self.starts),
            waiting=tuple(waiting),
            evictions=tuple(self.evictions),
            reservation=self.reservation,
            snapshot=self.snapshot,
            now=self.now,
        )

    def _pass(self, requests: Iterable[Request]) -> list[Request]:
        waiting: list[Request] = []
        is_company_wanted = False
        for request in requests:
            placement = self._try(request)
            if placement is None:
                waiting.append(request)
                is_company_wanted = is_company_wanted or request.company
                continue
            self.starts.append(placement)
            self.snapshot = self.snapshot.holding(placement.lease(now=self.now))
            self.has_opened = self.has_opened or is_company_wanted
        return waiting

    def _try(self, request: Request) -> Placement | None:
        length = 0.0 if self.reservation is None else inf if request.expected_s is None else request.expected_s
        if self.refused.covers(request, length):
            return None
        placement = (
            choose(request, self.snapshot) if self.reservation is None else self._beside(self.reservation, request)
        )
        if placement is None and self.preempt:
            placement = self._evict(request)
        if placement is None:
            self.refused.add(request, length)
            if self.reservation is None:
                self.reservation = reserve(request, self.snapshot, self.now)
        return placement

    def _beside(self, held: Reservation, request: Request) -> Placement | None:
        """A place that does not delay the reservation."""
        ends_before = (
            held.at is not None and request.expected_s is not None and self.now + request.expected_s <= held.at
        )
        if ends_before:
            return choose(request, self.snapshot)
        if not set(request.exclusive).isdisjoint(held.request.exclusive):
            return None
        elsewhere = choose(request, self.snapshot, besides=held.node)
        if elsewhere is not None or any(group in self.snapshot.groups for group in request.exclusive):
            return elsewhere
        room = self.snapshot.room(held.node)
        if not (fits(request, room) and fits(request, held.room)):
            return None
        both = put(request, room, score=fill_score(request, room), other=held.room)
        if both.device is None and GPU_MEMORY in net_amounts(request, room):
            return None
        self.reservation = replace(held, room=held.room.holding(both.lease(now=self.now)))
        return both

    def _evict(self, request: Request) -> Placement | None:
        besides = "" if self.reservation is None else self.reservation.node
        found = evict_for(request, self.snapshot, self.now, besides=besides)
        if not found:
            return None
        self.has_opened = True
        for eviction in found:
            self.snapshot = self.snapshot.without(eviction.lease)
        self.evictions += found
        return choose(request, self.snapshot, besides=besides)


def reserve(request: Request, snapshot: Snapshot, now: float) -> Reservation | None:
    """The node where the request fits soonest; None when no node could ever take it, or its exclusive group is taken.

    Among nodes of which nobody knows when: the one where the fewest leases must end.
    """
    if any(group in snapshot.groups for group in request.exclusive):
        return None
    best: tuple[float, int, str] | None = None
    soonest: Release | None = None
    for room in snapshot.rooms:
        release = when_free(request, room, now)
        if release is None:
            continue
        rank = (inf if release.at is None else release.at, release.ended, room.node.name)
        if best is None or rank < best:
            best, soonest = rank, release
    if soonest is None:
        return None
    head = put(request, soonest.room, score=0.0).lease(now=now)
    return Reservation(request=request, node=head.node, at=soonest.at, room=soonest.room.holding(head))


class Refused:
    """What found no room. Room only shrinks while a plan is made: what asks at least as much, of the same kind and for
    as long, need not be tried."""

    def __init__(self) -> None:
        self._least: dict[Shape, list[tuple[float, tuple[int, ...]]]] = {}

    def covers(self, request: Request, length: float) -> bool:
        for least_length, least in self._least.get(request.shape, ()):
            if length >= least_length and _is_at_least(request.sizes, least):
                return True
        return False

    def add(self, request: Request, length: float) -> None:
        known = self._least.setdefault(request.shape, [])
        known[:] = [one for one in known if one[0] < length or not _is_at_least(one[1], request.sizes)]
        known.append((length, request.sizes))


def _is_at_least(sizes: tuple[int, ...], least: tuple[int, ...]) -> bool:
    for one, other in zip(sizes, least, strict=True):  # noqa: SIM110 - asked for every request of a queue
        if one < other:
            return False
    return True
