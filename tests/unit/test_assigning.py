"""Which node a run goes to: all that are due on one snapshot, each counting for those after it."""

from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.placing import GIB, node, patient, some_nodes, some_requests

from homelab.control.assigning import Due, assign, requests_of_run
from homelab.core.capacity import MEMORY, SLOTS, UNIT
from homelab.core.jobs import Affinity, Job, Need, flows_of
from homelab.core.placement import Snapshot
from homelab.core.placement.feasibility import fits, suits
from homelab.core.placement.nodes import Node

NOW = datetime(2026, 5, 1, tzinfo=UTC).timestamp()


def plain(run: str, **more: object) -> Due:
    job = Job(name=run, run="true", **more)  # type: ignore[arg-type]
    (flow,) = flows_of([job])
    return Due(run=run, requests=requests_of_run(flow, run=run, submitted=NOW))


def homes(dues: list[Due], *nodes: Node, at_work: dict[str, str] | None = None) -> dict[str, str]:
    made = assign(dues, Snapshot.of(nodes), NOW, at_work=at_work or {})
    assert not made.placed.keys() & made.waiting.keys()
    return {run: place.node for run, place in made.placed.items()}


def test_runs_that_ask_for_slots_alone_are_spread() -> None:
    found = homes([plain(f"r{n}") for n in range(6)], node("a", slots=20), node("b", slots=20), node("c", slots=20))
    assert sorted(found.values()) == ["a", "a", "b", "b", "c", "c"]


def test_what_finds_no_room_waits_on_the_least_crowded_node_that_suits_it() -> None:
    dues = [plain(f"r{n}", requires={"memory": "4GiB"}) for n in range(6)]
    found = homes(dues, node("a", slots=20, memory=8), node("b", slots=20, memory=2))
    assert set(found.values()) == {"a"}


def test_what_no_node_can_ever_take_waits_with_the_reason_of_each() -> None:
    made = assign(
        [plain("r", requires={"memory": "64GiB"})], Snapshot.of([node("a", slots=1, memory=8)]), NOW, at_work={}
    )
    assert [r.code for r in made.waiting["r"].reasons["a"]] == ["too-small"]


def test_a_run_asks_for_a_node_for_all_its_jobs_then_for_its_first_ones_then_for_the_first_of_them() -> None:
    jobs = [
        Job(name="one", run="-", requires={"memory": "2GiB", "cpu": 1}, exclusive=("disk",)),
        Job(name="two", run="-", requires={"memory": "1GiB", "labels": {"gpu": "yes"}}, priority=5),
        Job(name="three", run="-", needs=(Need(job="one"), Need(job="two")), requires={"memory": "64GiB"}, priority=9),
    ]
    (flow,) = flows_of(jobs)
    whole, both, least = requests_of_run(flow, run="r", submitted=NOW)
    assert whole.amounts == {SLOTS: UNIT, MEMORY: 64 * GIB, "cpu": UNIT}
    assert both.amounts == least.amounts == {SLOTS: UNIT, MEMORY: 2 * GIB, "cpu": UNIT}
    assert [(r.labels, r.priority, r.exclusive) for r in (whole, both)] == [({"gpu": "yes"}, 5, ())] * 2
    assert least.labels == {}
    (only,) = requests_of_run(flow, run="r", submitted=NOW, only=["three"])
    assert only.amounts[MEMORY] == 64 * GIB


def test_jobs_of_a_run_that_must_be_on_different_nodes_contradict_each_other() -> None:
    nodes = (node("a", slots=9), node("b", slots=9))
    for later in ({"affinity": (Affinity(node="a", required=True),)}, {"requires": {"labels": {"zone": "y"}}}):
        jobs = [
            Job(name="one", run="-", affinity=(Affinity(node="b", required=True),), requires={"labels": {"zone": "x"}}),
            Job(name="two", run="-", needs=(Need(job="one"),), **later),  # type: ignore[arg-type]
        ]
        (flow,) = flows_of(jobs)
        (first,) = requests_of_run(flow, run="r", submitted=NOW)
        assert (first.name, first.labels) == ("one", {"zone": "x"})
        zoned = Node(name="b", labels={"zone": "x"}, declared=nodes[1].declared)
        assert homes([Due(run="r", requests=(first,))], nodes[0], zoned) == {"r": "b"}


def test_a_run_goes_where_its_later_jobs_can_run_too() -> None:
    jobs = [
        Job(name="one", run="-"),
        Job(name="two", run="-", needs=(Need(job="one"),), requires={"memory": "8GiB"}),
    ]
    (flow,) = flows_of(jobs)
    due = Due(run="r", requests=requests_of_run(flow, run="r", submitted=NOW))
    assert homes([due], node("a", slots=9, memory=4), node("b", slots=1, memory=16)) == {"r": "b"}
    assert homes([due], node("a", slots=9, memory=4), node("b", slots=1, memory=4)) == {"r": "a"}


def test_first_jobs_that_no_node_could_take_together_follow_the_first_of_them() -> None:
    jobs = [
        Job(name="one", run="-", affinity=(Affinity(node="a", required=True),)),
        Job(name="two", run="-", requires={"labels": {"gpu": "yes"}}),
        Job(name="three", run="-", needs=(Need(job="one"), Need(job="two"))),
    ]
    (flow,) = flows_of(jobs)
    due = Due(run="r", requests=requests_of_run(flow, run="r", submitted=NOW))
    assert homes([due], node("a", slots=1), node("b", slots=1)) == {"r": "a"}


def test_runs_of_a_flow_that_must_not_overlap_go_where_the_earlier_one_is() -> None:
    dues = [Due(run=f"r{n}", requests=plain(f"r{n}").requests, group="backup") for n in range(3)]
    nodes = (node("a", slots=9), node("b", slots=9))
    assert set(homes(dues, *nodes, at_work={"backup": "b"}).values()) == {"b"}
    assert len(set(homes(dues, *nodes).values())) == 1


def test_a_run_keeps_its_node_while_that_is_ready_and_goes_where_its_journal_is() -> None:
    nodes = (node("a", slots=9), node("b", slots=9))
    kept, back = plain("kept"), plain("back")
    kept = Due(run="kept", requests=kept.requests, node="b")
    back = Due(run="back", requests=back.requests, before="b")
    assert homes([kept], *nodes) == {"kept": "b"}
    assert homes([back], *nodes) == {"back": "b"}
    drained = Node(name="b", state="drained", declared=nodes[1].declared)
    assert homes([kept, back], nodes[0], drained) == {"kept": "a", "back": "a"}
    lost = Due(run="lost", requests=kept.requests, before="b", avoid="b")
    assert homes([lost], *nodes) == {"lost": "a"}
    assert homes([lost], nodes[1]) == {}


@given(st.integers(0, 10_000))
@patient
def test_every_run_gets_a_node_that_suits_it_or_none_does_and_equal_input_gives_equal_output(seed: int) -> None:
    chance = Random(seed)
    nodes = some_nodes(seed)
    dues = [
        Due(
            run=request.id,
            requests=(request,),
            node=chance.choice(["", "", *(n.name for n in nodes)]),
            group=chance.choice(["", "g"]),
            avoid=chance.choice(["", "", nodes[0].name]),
        )
        for request in some_requests(seed, most=12)
    ]
    snapshot = Snapshot.of(nodes)
    made = assign(dues, snapshot, NOW, at_work={})
    assert made.placed.keys() | made.waiting.keys() == {d.run for d in dues}
    for due in dues:
        if due.run in made.placed:
            name = made.placed[due.run].node
            room = snapshot.room(name)
            assert suits(due.requests[0], room) or fits(due.requests[0], room)  # a model there holds what it asks
            assert name != due.avoid
        elif not due.group:
            assert not any(suits(due.requests[0], r) for r in snapshot.rooms if r.node.name != due.avoid)
    grouped = {made.placed[d.run].node for d in dues if d.group and d.run in made.placed}
    assert len(grouped) <= 1
    again = assign(list(reversed(dues)), Snapshot.of(reversed(nodes)), NOW, at_work={})
    assert {r: p.node for r, p in again.placed.items()} == {r: p.node for r, p in made.placed.items()}
