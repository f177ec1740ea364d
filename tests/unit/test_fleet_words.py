"""A machine in words and bars: why it is in its state, what is wrong with it, who holds what of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.cli import bars
from homelab.control import nodewords
from homelab.control.fleet import one_story
from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, SLOTS, UNIT, Capacity, said
from homelab.core.placement import Lease, Model, Node, Room, usage

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GIB = 1 << 30


def a_node(**facts: Any) -> dict[str, Any]:
    base = {"name": "mac4", "state": "ready", "heard": NOW, "wanted": "ready", "wanted_by": "", "wanted_since": None}
    return {**base, "skew_s": None, "version": "", "told_sleep": False, "wakeable": False, **facts}


def codes(node: dict[str, Any], version: str = "1.4.0") -> list[str]:
    return [p["code"] for p in nodewords.trouble(node, version=version, now=NOW)]


def test_a_node_that_is_ready_needs_no_words() -> None:
    assert nodewords.why(a_node(), held=3) == []
    assert codes(a_node()) == []


def test_a_node_that_was_never_there_is_no_problem_but_says_so() -> None:
    never = a_node(state="unreachable", heard=None)
    assert codes(never) == []
    assert nodewords.why(never, held=0) == ["It has never been heard of: no worker has joined as mac4."]


def test_a_silent_node_says_since_when_and_what_becomes_of_its_work() -> None:
    silent = a_node(state="unreachable", heard=NOW - timedelta(minutes=5))
    assert codes(silent) == ["node-unreachable"]
    (problem,) = nodewords.trouble(silent, version="1.0.0", now=NOW)
    assert (problem["severity"], problem["message"]) == ("error", "node mac4 has not been heard of for 5 min")
    first, second = nodewords.why(silent, held=1)
    assert "since 2026-05-01T11:55:00Z" in first
    assert second == "1 piece of work on it is given up soon, and run elsewhere where that is allowed."


def test_a_machine_that_sleeps_says_how_that_is_known_and_what_becomes_of_work() -> None:
    assert nodewords.why(a_node(state="asleep", told_sleep=True, wakeable=True), held=0) == [
        "It said that it goes to sleep.", "What only it can do wakes it.",
    ]  # fmt: skip
    assert nodewords.why(a_node(state="asleep"), held=0) == [
        "It is not heard, and the lab file says that it sleeps then.",
        "What only it can do waits: the lab file gives no address to wake it by.",
    ]


@pytest.mark.parametrize(("hours", "told"), [(0, []), (23.9, []), (24.1, ["node-stopped"])])
def test_a_daemon_that_was_stopped_on_purpose_is_a_problem_when_it_was_forgotten(hours: float, told: list[str]) -> None:
    stopped = a_node(state="stopped", heard=NOW - timedelta(hours=hours), version="9.0.0")
    assert codes(stopped) == told
    said = f"Its daemon was stopped at {(NOW - timedelta(hours=hours)).isoformat().replace('+00:00', 'Z')}:"
    (first,) = nodewords.why(stopped, held=0)
    assert first == f"{said} nothing goes to it until it is started again."
    assert nodewords.why(stopped, held=2) == [
        first, "2 pieces of work on it may still end, or are given up soon, as where a node is lost.",
    ]  # fmt: skip
    assert all(p["severity"] == "warning" for p in nodewords.trouble(stopped, version="9.0.0", now=NOW))


def test_what_was_lost_with_a_node_says_how_that_was_lost() -> None:
    row = {"farewell": "", "age_s": 41.4}
    assert nodewords.lost("mac4", row) == "node mac4 is silent for 41 s"
    assert nodewords.lost("mac4", {**row, "farewell": "17 2026-01-01"}) == "the daemon of node mac4 was stopped"
    assert nodewords.lost("mac4", None) == "node mac4 was removed"


@pytest.mark.parametrize(("hours", "told"), [(1, []), (23.9, []), (24.1, ["node-drained"])])
def test_a_drained_node_is_a_problem_when_it_was_forgotten(hours: float, told: list[str]) -> None:
    drained = a_node(state="drained", wanted="drained", wanted_by="dana", wanted_since=NOW - timedelta(hours=hours))
    assert codes(drained) == told
    assert nodewords.why(drained, held=0)[0].startswith("It was drained by dana at 2026-")


@pytest.mark.parametrize(("skew_s", "told"), [(None, []), (4.9, []), (-5.0, []), (-5.1, ["node-clock"])])
def test_a_clock_is_told_beyond_five_seconds(skew_s: float | None, told: list[str]) -> None:
    assert codes(a_node(skew_s=skew_s)) == told


@pytest.mark.parametrize(
    ("one", "other", "fits"),
    [("1.4.0", "1.4.9", True), ("1.4.0", "1.5.0", True), ("1.4.0", "1.6.0", False), ("1.4.0", "2.4.0", False),
     ("built at home", "1.4.0", True), ("1.4.0rc1", "1.5.0", True)],
)  # fmt: skip
def test_releases_next_to_each_other_work_together(one: str, other: str, fits: bool) -> None:
    assert codes(a_node(version=one), version=other) == ([] if fits else ["node-version"])


def test_on_unified_memory_a_model_is_in_the_bar_of_the_memory_too() -> None:
    has = Capacity(amounts={MEMORY: 64 * GIB, CPU: 8 * UNIT}, gpus=(48 * GIB,), unified=True)
    node = Node(
        name="mac4", measured=has, declared=has, foreign={MEMORY: GIB}, models=(Model(name="m", gpu_memory=GIB),)
    )
    held = Lease(id="a", node="mac4", owner="train", amounts={GPU_MEMORY: 4 * GIB, MEMORY: GIB}, device=0)
    found = {one.resource: one for one in usage(Room(node).holding(held))}
    assert [(h.owner, h.kind, h.amount // GIB) for h in found[MEMORY].held] == [
        ("train", "lease", 5), ("m", "model", 1), ("other programs", "others", 1),
    ]  # fmt: skip
    assert [(h.owner, h.amount // GIB) for h in found[GPU_MEMORY].held] == [("train", 4), ("m", 1)]
    assert found[MEMORY].free == 57 * GIB
    assert found[GPU_MEMORY].free == 43 * GIB


def test_each_of_several_devices_has_its_own_bar() -> None:
    node = Node(name="box", declared=Capacity(gpus=(8 * GIB, 24 * GIB)))
    held = Lease(id="a", node="box", owner="train", amounts={GPU_MEMORY: 4 * GIB}, device=1)
    assert [(u.device, u.total // GIB, u.free // GIB, len(u.held)) for u in usage(Room(node).holding(held))] == [
        (0, 8, 8, 0), (1, 24, 20, 1),
    ]  # fmt: skip


def test_leases_of_one_owner_are_one_part_and_the_whole_is_what_is_taken() -> None:
    room = Room(Node(name="n", declared=Capacity(amounts={SLOTS: 4 * UNIT})))
    for number in range(3):
        room = room.holding(Lease(id=str(number), node="n", owner="tiny", amounts={SLOTS: UNIT}))
    (slots,) = usage(room)
    assert [(h.owner, h.amount) for h in slots.held] == [("tiny", 3 * UNIT)]
    assert slots.total - slots.free == slots.sum("lease", "model", "others")


amount = st.floats(min_value=0, max_value=1e13, allow_nan=False)


@given(amount, amount, amount, st.integers(min_value=1, max_value=60))
def test_a_bar_is_as_wide_as_it_was_asked_for_whatever_it_shows(
    lab: float, others: float, total: float, wide: int
) -> None:
    held, other, free = bars.filled(lab, others, total, wide=wide)
    assert len(held + other + free) == wide
    assert set(held) <= {"█"} and set(other) <= {"▒"} and set(free) <= {"░"}
    if total > 0 and lab > 0:
        assert held, "what is there at all is seen"
    if wide > 2 and total > 0 and 0 < lab + others < total * (1 - 1.5 / wide):  # three things need three cells
        assert free, "what is free is seen"


@pytest.mark.parametrize(
    ("resource", "value", "text"),
    [(SLOTS, UNIT, "1 slot"), (CPU, UNIT // 2, "0.5 cores"), (MEMORY, GIB, "1 GiB memory"),
     ("app:photoshop", UNIT, "1 photoshop")],
)  # fmt: skip
def test_an_amount_is_said_with_its_noun(resource: str, value: int, text: str) -> None:
    assert said(resource, value) == text


def test_what_kept_its_lease_to_the_end_is_told_by_how_it_ended() -> None:
    leased = [{"work": f"r/{how}/1", "how": how, "taken": n} for n, how in enumerate(("done", "expired", ""))]
    ran = [{"work": "r/done/1", "how": "crashed", "taken": 0}, {"work": "r/expired/1", "how": "crashed", "taken": 1}]
    assert [row["how"] for row in one_story(leased, ran)] == ["", "expired", "crashed"]
