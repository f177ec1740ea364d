"""Where one request goes: the rules that always hold, and the words of the reasons."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.placing import GIB, node, nodes, one_request, patient, request, requests

from homelab.core.capacity import APP, GPU_MEMORY, MEMORY, SLOTS, UNIT
from homelab.core.jobs import Affinity, Job
from homelab.core.placement import (
    Code,
    Lease,
    Model,
    Node,
    Placement,
    Reason,
    Rejection,
    Request,
    Room,
    Snapshot,
    fits,
    place,
    render,
    request_of,
)
from homelab.core.usual import Expected


def filled(fleet: list[Node], asked: list[Request]) -> Snapshot:
    """What is there after each request was placed where it could be."""
    snapshot = Snapshot.of(fleet)
    for one in asked:
        found = place(one, snapshot, 0.0)
        if isinstance(found, Placement):
            snapshot = snapshot.holding(found.lease(now=0.0))
    return snapshot


def overcommitted(room: Room) -> list[str]:
    """What is held beyond what is there, counted from the leases alone."""
    has, leases = room.node.capacity, room.leases.values()
    over = [
        name
        for name, total in has.amounts.items()
        if leases and sum(lease.amounts.get(name, 0) for lease in leases) > total
    ]
    for at, size in enumerate(has.gpus or ()):
        held = sum(lease.amounts.get(GPU_MEMORY, 0) for lease in leases if lease.device == at)
        if held and held + sum(m.gpu_memory for m in room.node.models if m.device == at) > size:
            over.append(f"gpu {at}")
    if has.unified and has.gpus and MEMORY in has.amounts:
        both = sum(lease.amounts.get(MEMORY, 0) + lease.amounts.get(GPU_MEMORY, 0) for lease in leases)
        if leases and both > has.amounts[MEMORY]:
            over.append("unified memory")
    return over


@patient
@given(nodes, requests(most=24))
def test_capacity_is_never_exceeded(fleet: list[Node], asked: list[Request]) -> None:
    snapshot = filled(fleet, asked)
    for room in snapshot.rooms:
        assert overcommitted(room) == []
        for lease in room.leases.values():
            for name in lease.amounts:
                assert name in room.total  # nothing was given of what nobody knows


@patient
@given(nodes, requests(most=16), one_request, st.randoms())
def test_equal_input_gives_equal_output_in_whatever_order(
    fleet: list[Node], held: list[Request], asked: Request, chance: object
) -> None:
    snapshot = filled(fleet, held)
    leases = [lease for room in snapshot.rooms for lease in room.leases.values()]
    mixed_nodes, mixed_leases = list(fleet), list(leases)
    chance.shuffle(mixed_nodes)  # pyright: ignore[reportAttributeAccessIssue]
    chance.shuffle(mixed_leases)  # pyright: ignore[reportAttributeAccessIssue]
    turned = dataclasses.replace(asked, amounts=dict(reversed(asked.amounts.items())))
    first = place(asked, Snapshot.of(fleet, leases), 5.0)
    second = place(turned, Snapshot.of(mixed_nodes, mixed_leases), 5.0)
    assert first.to_json() == second.to_json()


@patient
@given(nodes, requests(most=16), one_request)
def test_a_request_is_rejected_only_where_each_node_has_a_reason(
    fleet: list[Node], held: list[Request], asked: Request
) -> None:
    snapshot = filled(fleet, held)
    found = place(asked, snapshot, 0.0)
    free = any(fits(asked, room) for room in snapshot.rooms) and not set(asked.exclusive) & snapshot.groups.keys()
    assert isinstance(found, Placement) == free
    if isinstance(found, Rejection):
        assert list(found.reasons) == sorted(n.name for n in fleet)
        for name, reasons in found.reasons.items():
            assert reasons and all(render(r).startswith(f"{name}: ") for r in reasons)
    else:
        assert fits(asked, found.room)
        assert found.score == pytest.approx(sum(r.score for r in found.reasons))


@patient
@given(nodes, requests(most=16), one_request)
def test_one_more_node_never_makes_a_request_unplaceable(
    fleet: list[Node], held: list[Request], asked: Request
) -> None:
    snapshot = filled(fleet[1:], held)
    leases = [lease for room in snapshot.rooms for lease in room.leases.values()]
    if isinstance(place(asked, snapshot, 0.0), Placement):
        assert isinstance(place(asked, Snapshot.of(fleet, leases), 0.0), Placement)


@patient
@given(nodes, requests(most=16))
def test_a_snapshot_kept_up_is_the_snapshot_counted_anew(fleet: list[Node], held: list[Request]) -> None:
    snapshot = filled(fleet, held)
    leases = [lease for room in snapshot.rooms for lease in room.leases.values()]
    for lease in leases[::2]:
        snapshot = snapshot.without(lease)
    anew = Snapshot.of(fleet, leases[1::2])
    assert [(r.free, r.devices, r.averse, r.leases) for r in snapshot.rooms] == [
        (r.free, r.devices, r.averse, r.leases) for r in anew.rooms
    ]
    assert snapshot.groups == anew.groups


def test_the_reason_says_what_is_free_what_is_asked_and_who_holds_it() -> None:
    mac4 = dataclasses.replace(
        node("mac4", gpus=(50,), memory=64), models=(Model(name="llama3:70b", gpu_memory=40 * GIB),)
    )
    lease = Lease(id="1", node="mac4", owner="render", amounts={GPU_MEMORY: 858993459}, device=0)
    found = place(request(gpu=12), Snapshot.of([mac4], [lease]), 0.0)
    assert isinstance(found, Rejection)
    assert [render(r) for r in found.reasons["mac4"]] == [
        "mac4: 9.2 GiB GPU memory free of 12 GiB asked; llama3:70b holds 40 GiB; render holds 819.1 MiB"
    ]


def test_what_is_unknown_is_neither_nothing_nor_enough() -> None:
    found = place(request(gpu=1), Snapshot.of([node("a", gpus=None, memory=8), node("b", gpus=(), memory=8)]), 0.0)
    assert isinstance(found, Rejection)
    assert [r.code for reasons in found.reasons.values() for r in reasons] == [Code.UNKNOWN, Code.TOO_SMALL]
    assert render(found.reasons["a"][0]) == "a: how much GPU memory it has is not known; 1 GiB is asked"
    assert render(found.reasons["b"][0]) == "b: it has no GPU memory"
    unknown = Reason(code=Code.UNKNOWN, node="a", resource=APP + "photoshop", asked=UNIT)
    assert render(unknown) == "a: whether it has photoshop is not known"


def test_gpu_memory_comes_from_one_device() -> None:
    two = Snapshot.of([node("a", gpus=(24, 24), memory=8)])
    assert isinstance(place(request(gpu=30), two, 0.0), Rejection)
    first = place(request("1", gpu=20), two, 0.0)
    assert isinstance(first, Placement)
    second = place(request("2", gpu=20), two.holding(first.lease(now=0.0)), 0.0)
    assert isinstance(second, Placement)
    assert {first.device, second.device} == {0, 1}


def test_on_a_machine_with_unified_memory_the_gpu_takes_from_the_memory() -> None:
    mac = Snapshot.of([node("mac", gpus=(48,), unified=True, memory=64)])
    assert isinstance(place(request(gpu=40, memory=30), mac, 0.0), Rejection)
    held = place(request("1", gpu=40, memory=8), mac, 0.0)
    assert isinstance(held, Placement)
    found = place(request("2", memory=20), mac.holding(held.lease(now=0.0)), 0.0)
    assert isinstance(found, Rejection)
    assert render(found.reasons["mac"][0]) == "mac: 16 GiB memory free of 20 GiB asked; 1 holds 48 GiB"


def test_what_a_loaded_model_holds_is_not_asked_again() -> None:
    mac = dataclasses.replace(node("mac", gpus=(48,), memory=64), models=(Model(name="qwen", gpu_memory=40 * GIB),))
    asked = dataclasses.replace(request(gpu=40), models=("qwen",))
    found = place(asked, Snapshot.of([mac]), 0.0)
    assert isinstance(found, Placement)
    assert found.lease(now=0.0).amounts == {}
    assert isinstance(place(request(gpu=40), Snapshot.of([mac]), 0.0), Rejection)


def test_the_smaller_of_declared_and_measured_counts() -> None:
    declared = node("a", memory=64)
    measured = dataclasses.replace(declared, measured=node("a", gpus=None, memory=32).declared)
    found = place(request(memory=40), Snapshot.of([measured]), 0.0)
    assert isinstance(found, Rejection)
    assert render(found.reasons["a"][0]) == "a: it has 32 GiB memory; 40 GiB is asked"


def test_work_that_needs_no_gpu_leaves_the_gpu_to_others() -> None:
    fleet = Snapshot.of([node("gpu", gpus=(24,), memory=64), node("plain", memory=16)])
    first = place(request(memory=8), fleet, 0.0)
    assert isinstance(first, Placement) and first.node == "plain"
    second = place(request(memory=20), fleet, 0.0)
    assert isinstance(second, Placement) and second.node == "gpu"
    assert "gpu: its GPU memory is kept free for work that asks for it" in [render(r) for r in second.reasons]


def test_a_sleeping_node_is_woken_only_when_no_other_can() -> None:
    asleep = dataclasses.replace(node("a", memory=64), state="asleep", wakeable=True)
    awake = node("b", memory=8)
    near, far = (
        place(request(memory=4), Snapshot.of([asleep, awake]), 0.0),
        place(request(memory=20), Snapshot.of([asleep, awake]), 0.0),
    )
    assert isinstance(near, Placement) and near.node == "b"
    assert isinstance(far, Placement) and far.node == "a" and far.wake
    deaf = dataclasses.replace(asleep, wakeable=False)
    refused = place(request(memory=20), Snapshot.of([deaf]), 0.0)
    assert isinstance(refused, Rejection) and render(refused.reasons["a"][0]) == "a: it is asleep"


@pytest.mark.parametrize("state", ["unreachable", "draining", "drained"])
def test_a_node_that_takes_no_work_is_told_so(state: str) -> None:
    found = place(request(cpu=1), Snapshot.of([dataclasses.replace(node("a", cpu=4), state=state)]), 0.0)
    assert isinstance(found, Rejection) and render(found.reasons["a"][0]) == f"a: it is {state}"


def test_a_node_whose_daemon_was_stopped_takes_no_work_and_is_not_woken() -> None:
    stopped = dataclasses.replace(node("a", cpu=4), state="stopped", wakeable=True)
    found = place(request(cpu=1), Snapshot.of([stopped]), 0.0)
    assert isinstance(found, Rejection) and render(found.reasons["a"][0]) == "a: its daemon was stopped"
    assert found.to_json()[0]["code"] == "not-ready"
    elsewhere = place(request(cpu=1), Snapshot.of([stopped, node("b", cpu=1)]), 0.0)
    assert isinstance(elsewhere, Placement) and elsewhere.node == "b"


def test_both_sides_may_object_to_company() -> None:
    fleet = Snapshot.of([node("a", cpu=4), node("b", cpu=1)])
    averse = dataclasses.replace(
        request("1", cpu=1), strategy="spread", anti_affinity=(Affinity(work="noisy", required=True),)
    )
    quiet = place(averse, fleet, 0.0)
    assert isinstance(quiet, Placement) and quiet.node == "a"
    snapshot = fleet.holding(quiet.lease(now=0.0))
    noisy = place(dataclasses.replace(request("2", cpu=1), name="noisy"), snapshot, 0.0)
    assert isinstance(noisy, Placement) and noisy.node == "b"
    refused = place(dataclasses.replace(request("3", cpu=2), name="noisy"), snapshot, 0.0)
    assert isinstance(refused, Rejection)
    assert render(refused.reasons["a"][0]) == "a: it must not be with 1"


def test_preferences_decide_between_nodes_that_fit() -> None:
    fleet = Snapshot.of(
        [node("a", cpu=4), dataclasses.replace(node("b", cpu=4), data=frozenset({"x"})), node("c", cpu=4)]
    )
    near = place(dataclasses.replace(request(cpu=1), affinity=(Affinity(node="c"),)), fleet, 0.0)
    data = place(dataclasses.replace(request(cpu=1), data={"x": 75, "y": 25}), fleet, 0.0)
    far = place(dataclasses.replace(request(cpu=1), anti_affinity=(Affinity(node="a"), Affinity(node="b"))), fleet, 0.0)
    assert [p.node for p in (near, data, far) if isinstance(p, Placement)] == ["c", "b", "c"]
    assert isinstance(data, Placement) and "b: 75% of the data is there" in [render(r) for r in data.reasons]


def test_only_one_of_an_exclusive_group_runs_in_the_lab() -> None:
    fleet = Snapshot.of([node("a", cpu=4), node("b", cpu=4)])
    first = place(dataclasses.replace(request("1", cpu=1), name="import", exclusive=("db",)), fleet, 0.0)
    assert isinstance(first, Placement)
    second = place(
        dataclasses.replace(request("2", cpu=1), exclusive=("db",)), fleet.holding(first.lease(now=0.0)), 0.0
    )
    assert isinstance(second, Rejection)
    assert render(second.reasons["b"][0]) == "b: import holds the group db, and only one of the group runs at a time"


def test_a_rejection_says_when_the_node_is_free_again() -> None:
    lease = Lease(id="1", node="a", owner="dump", amounts={SLOTS: UNIT}, expected_end=90.0)
    found = place(request(slots=1), Snapshot.of([node("a", slots=1)], [lease]), 30.0)
    assert isinstance(found, Rejection)
    assert render(found.reasons["a"][0]) == "a: 0 slots free of 1 asked; dump holds 1; free again in about 1m"


def test_pack_fills_a_node_and_spread_the_emptiest() -> None:
    held = Lease(id="1", node="b", owner="x", amounts={"cpu": UNIT})
    fleet = Snapshot.of([node("a", cpu=4), node("b", cpu=4)], [held])
    packed = place(dataclasses.replace(request(cpu=1), strategy="pack"), fleet, 0.0)
    spread = place(dataclasses.replace(request(cpu=1), strategy="spread"), fleet, 0.0)
    assert isinstance(packed, Placement) and packed.node == "b"
    assert isinstance(spread, Placement) and spread.node == "a"


def test_a_job_asks_for_what_it_requires_and_one_slot() -> None:
    job = Job(
        name="train", requires={"memory": "2GiB", "gpu_memory": "12GiB", "apps": ["photoshop"], "labels": {"zone": 1}},
        priority=3, expect=Expected(duration_s=60.0), exclusive=("b", "a"),
    )  # fmt: skip
    asked = request_of(job, identity="1", submitted=5.0)
    assert asked.asks == (("app:photoshop", UNIT), ("gpu_memory", 12 * GIB), ("memory", 2 * GIB), ("slots", UNIT))
    assert (asked.labels, asked.exclusive, asked.priority) == ({"zone": "1"}, ("a", "b"), 3)
