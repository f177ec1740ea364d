"""Who starts and who waits: the rules of the queue, on fleets that live through many arrivals and ends."""

import dataclasses
import heapq
from dataclasses import dataclass, field
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.placing import free_nodes, node, nodes, one_request, patient, request, requests

from homelab.core.capacity import SLOTS, UNIT
from homelab.core.placement import (
    AGEING_S,
    Code,
    Lease,
    Node,
    QueuePlan,
    Request,
    Snapshot,
    fits,
    plan_queue,
    render,
)
from homelab.core.placement.feasibility import suits
from homelab.core.placement.preemption import MOST_EVICTIONS

LONGEST_S = 50.0


@dataclass
class Life:
    """A fleet from the first arrival to the last end; a plan at each change, each plan checked by `look`."""

    fleet: list[Node]
    arrivals: list[Request]
    preempt: bool = False
    plans: list[QueuePlan] = field(default_factory=list)
    started: dict[str, float] = field(default_factory=dict)
    evicted: dict[str, int] = field(default_factory=dict)
    left: list[Request] = field(default_factory=list)

    def run(self) -> "Life":
        lengths = {r.id: r.expected_s or int(r.id[1:]) * 17 % LONGEST_S + 1.0 for r in self.arrivals}
        events = [(r.submitted, 1, r.id) for r in self.arrivals]
        by_id = {r.id: r for r in self.arrivals}
        heapq.heapify(events)
        snapshot, waiting, running = Snapshot.of(self.fleet), [], {}
        while events:
            now = events[0][0]
            while events and events[0][0] == now:
                _, kind, name = heapq.heappop(events)
                if kind == 1:
                    waiting.append(by_id[name])
                elif running.get(name, (None, None))[1] == now:
                    snapshot = snapshot.without(running.pop(name)[0])
            plan = plan_queue(waiting, snapshot, now, preempt=self.preempt)
            self.plans.append(plan)
            snapshot, waiting = plan.snapshot, list(plan.waiting)
            for eviction in plan.evictions:
                lease = running.pop(eviction.lease.id)[0]
                self.evicted[lease.id] = lease.evictions + 1
                by_id[lease.id] = dataclasses.replace(by_id[lease.id], evictions=lease.evictions + 1)
                waiting.append(by_id[lease.id])
            if plan.evictions:
                heapq.heappush(events, (now + 1, 2, ""))
            for placement in plan.starts:
                name = placement.request.id
                self.started[name] = now
                running[name] = (snapshot.room(placement.node).leases[name], now + lengths[name])
                heapq.heappush(events, (now + lengths[name], 0, name))
        self.left = waiting
        return self


@patient
@given(nodes, requests(most=20), st.booleans())
def test_nothing_waits_that_a_node_could_take_unless_room_is_reserved(
    fleet: list[Node], asked: list[Request], preempt: bool
) -> None:
    for plan in Life(fleet, asked, preempt).run().plans:
        for one in plan.waiting:
            reasons = plan.reasons(one)
            assert len(reasons) == len(fleet) and all(reasons.values())
            is_held = any(group in plan.snapshot.groups for group in one.exclusive)
            for room in plan.snapshot.rooms:
                if not is_held and fits(one, room):
                    assert plan.reservation is not None and plan.reservation.request.turn < one.turn
                    is_promised = not set(one.exclusive).isdisjoint(plan.reservation.request.exclusive)
                    assert is_promised or room.leases, "a node idles that could take it"
                    assert reasons[room.node.name][0].code is Code.RESERVED


@patient
@given(nodes, requests(most=16), st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_the_queue(
    fleet: list[Node], asked: list[Request], chance: object
) -> None:
    snapshot, given_ = Snapshot.of(fleet), asked
    mixed = list(given_)
    chance.shuffle(mixed)  # pyright: ignore[reportAttributeAccessIssue]
    one, two = plan_queue(given_, snapshot, 100.0), plan_queue(mixed, snapshot, 100.0)
    assert [(p.request.id, p.node, p.device) for p in one.starts] == [
        (p.request.id, p.node, p.device) for p in two.starts
    ]
    assert [r.id for r in one.waiting] == [r.id for r in two.waiting]


@patient
@given(free_nodes, requests(plain=True, known=True, most=24))
def test_what_is_let_in_never_delays_the_reservation(fleet: list[Node], asked: list[Request]) -> None:
    life = Life(fleet, asked).run()
    promised: dict[str, float] = {}
    for plan in life.plans:
        if plan.reservation is None or plan.reservation.at is None:
            continue
        head = plan.reservation.request
        assert plan.reservation.at <= promised.get(head.id, inf), "the promise was moved back"
        overtaken = any(r.submitted > plan.now and r.turn < head.turn for r in life.arrivals)
        if not overtaken:
            promised[head.id] = plan.reservation.at
            assert life.started[head.id] <= plan.reservation.at


@patient
@given(free_nodes, requests(plain=True, most=24))
def test_whatever_some_node_suits_starts_within_the_bound(fleet: list[Node], asked: list[Request]) -> None:
    """All that comes before it in turn may run first, one after the other at worst, each after a wait as long as work
    lasts at most: then it starts. Whatever came in later or is more important, by no more than ageing allows."""
    life = Life(fleet, asked).run()
    rooms = Snapshot.of(fleet).rooms
    for one in life.arrivals:
        if not any(suits(one, room) for room in rooms):
            assert one in life.left
            continue
        ahead = sum(other.turn < one.turn for other in life.arrivals)
        last = max((o.submitted for o in life.arrivals if o.turn < one.turn), default=one.submitted)
        assert life.started[one.id] <= max(last, one.submitted) + (ahead + 1) * LONGEST_S


@patient
@given(one_request, one_request)
def test_what_came_long_before_goes_first_whatever_its_priority(one: Request, other: Request) -> None:
    early = dataclasses.replace(one, submitted=0.0)
    late = dataclasses.replace(other, submitted=(other.priority - one.priority) * AGEING_S + 1.0)
    assert early.turn < late.turn
    assert early.effective_priority(1000.0) > late.effective_priority(1000.0) - 1e-9


@patient
@given(nodes, requests(most=20))
def test_only_restartable_work_of_lower_priority_is_stopped_and_it_ends(
    fleet: list[Node], asked: list[Request]
) -> None:
    life = Life(fleet, asked, preempt=True).run()
    by_id = {r.id: r for r in life.arrivals}
    for plan in life.plans:
        for eviction in plan.evictions:
            victim, winner = by_id[eviction.lease.id], by_id[eviction.by]
            assert victim.restartable and victim.priority < winner.priority and winner.turn < victim.turn
            assert winner.id in {p.request.id for p in plan.starts}
    assert all(count <= MOST_EVICTIONS for count in life.evicted.values())


def test_small_work_is_let_in_around_a_large_reservation() -> None:
    fleet = [node("a", cpu=4)]
    long = Lease(id="long", node="a", owner="long", amounts={"cpu": 3 * UNIT}, expected_end=100.0)
    large = dataclasses.replace(request("large", cpu=4), expected_s=10.0)
    short = dataclasses.replace(request("short", cpu=1), submitted=1.0, expected_s=90.0)
    plan = plan_queue([large, short], Snapshot.of(fleet, [long]), 10.0)
    assert [p.request.id for p in plan.starts] == ["short"]
    assert plan.reservation is not None and (plan.reservation.node, plan.reservation.at) == ("a", 100.0)
    late = plan_queue([large, dataclasses.replace(short, expected_s=91.0)], Snapshot.of(fleet, [long]), 10.0)
    assert late.starts == ()
    unknown = plan_queue([large, dataclasses.replace(short, expected_s=None)], Snapshot.of(fleet, [long]), 10.0)
    assert unknown.starts == ()
    reason = unknown.reasons(unknown.waiting[1])["a"][0]
    assert render(reason) == "a: what it needs is kept for large, which came first; free again in about 1m30s"


def test_work_of_unknown_length_is_let_in_beside_what_is_reserved() -> None:
    fleet = [node("a", cpu=8)]
    long = Lease(id="long", node="a", owner="long", amounts={"cpu": 6 * UNIT}, expected_end=100.0)
    large, small = request("large", cpu=5), dataclasses.replace(request("small", cpu=2), submitted=1.0)
    plan = plan_queue([large, small], Snapshot.of(fleet, [long]), 10.0)
    assert [p.request.id for p in plan.starts] == ["small"]
    third = dataclasses.replace(request("third", cpu=2), submitted=2.0)
    assert [p.request.id for p in plan_queue([large, third, small], Snapshot.of(fleet, [long]), 10.0).starts] == [
        "small"
    ]


def test_a_member_of_the_heads_exclusive_group_is_not_let_in() -> None:
    fleet = [node("a", cpu=4), node("b", cpu=1)]
    long = Lease(id="long", node="a", owner="long", amounts={"cpu": 3 * UNIT}, expected_end=100.0)
    large = dataclasses.replace(request("large", cpu=4), exclusive=("db",))
    small = dataclasses.replace(request("small", cpu=1), exclusive=("db",), submitted=1.0)
    assert plan_queue([large, small], Snapshot.of(fleet, [long]), 10.0).starts == ()


def test_what_no_node_can_ever_take_holds_up_nobody() -> None:
    plan = plan_queue([request("giant", cpu=64), request("small", cpu=1)], Snapshot.of([node("a", cpu=4)]), 0.0)
    assert [p.request.id for p in plan.starts] == ["small"] and plan.reservation is None
    assert render(plan.reasons(plan.waiting[0])["a"][0]) == "a: it has 4 cores; 64 is asked"


def test_important_work_stops_the_least_important_that_may_be_restarted() -> None:
    def lease(identity: str, priority: int, *, restartable: bool = True, cpu: int = 1) -> Lease:
        return Lease(
            id=identity, node="a", owner=identity, amounts={"cpu": cpu * UNIT}, priority=priority,
            turn=(-priority * AGEING_S, identity), restartable=restartable,
        )  # fmt: skip

    held = [lease("low", -1), lease("lower", -2), lease("fixed", -9, restartable=False), lease("same", 5)]
    urgent = dataclasses.replace(request("urgent", cpu=1), priority=5)
    fleet = Snapshot.of([node("a", cpu=4)], held)
    plan = plan_queue([urgent], fleet, 60.0, preempt=True)
    assert [(e.lease.id, e.by) for e in plan.evictions] == [("lower", "urgent")]
    assert [p.request.id for p in plan.starts] == ["urgent"]
    assert plan_queue([urgent], fleet, 60.0).evictions == ()


def test_work_that_must_be_with_other_work_starts_in_the_same_plan() -> None:
    from homelab.core.jobs import Affinity

    follower = dataclasses.replace(request("1", cpu=1), affinity=(Affinity(work="leader", required=True),))
    leader = dataclasses.replace(request("2", cpu=1), name="leader")
    plan = plan_queue([follower, leader], Snapshot.of([node("a", cpu=4), node("b", cpu=4)]), 0.0)
    assert [(p.request.id, p.node) for p in plan.starts] == [("2", "a"), ("1", "a")]


def test_slots_of_a_node_are_given_in_order_of_turns() -> None:
    asked = [dataclasses.replace(request(f"{n}", slots=1), submitted=float(9 - n)) for n in range(10)]
    plan = plan_queue(asked, Snapshot.of([node("a", slots=3)]), 60.0)
    assert [p.request.id for p in plan.starts] == ["9", "8", "7"]
    assert plan.snapshot.room("a").free[SLOTS] == 0
