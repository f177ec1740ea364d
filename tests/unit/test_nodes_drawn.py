"""The machines as drawn on the server: segments of a bar, colours of owners, lanes of the timeline. Pure."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.console import nodes as screen
from homelab.console.nodes import bars, timeline
from homelab.core import capacity
from homelab.core.capacity import GPU_MEMORY, MEMORY, SLOTS

NOW = datetime(2026, 5, 1, 12, 0, 20, tzinfo=UTC)
GIB = 1 << 30
HOSTILE = '<script>"&\x1b[2J\u202e'


def resource(total: float, *held: tuple[str, str, float], name: str = MEMORY) -> dict[str, Any]:
    parts = [{"owner": owner, "kind": kind, "amount": amount} for owner, kind, amount in held]
    return {"resource": name, "device": None, "total": total, "free": total - sum(h[2] for h in held), "held": parts}


def lease(owner: str, began: float, ended: float | None, how: str = "done", **more: Any) -> dict[str, Any]:
    """Minutes ago."""
    at = [None if m is None else (NOW - timedelta(minutes=m)).isoformat() for m in (began, ended)]
    base = {"work": f"r/{owner}/{began}", "owner": owner, "run": "r", "job": owner, "node": "mac4"}
    return {**base, "taken": at[0], "ended": at[1], "how": how if ended is not None else "", **more}


def svg(markup: object) -> ElementTree.Element:
    return ElementTree.fromstring(str(markup).replace("&#39;", "'"))


# -- bars -------------------------------------------------------------------------------------------------------------


def test_a_bar_says_in_one_sentence_what_it_shows() -> None:
    drawn = svg(bars.bar(resource(64 * GIB, ("train", "lease", 8 * GIB), ("m", "model", GIB)), {"train": "hue-3"}))
    assert drawn.get("aria-label") == "memory: 55 GiB free of 64 GiB; train: 8 GiB, m: 1 GiB"
    assert [r.get("class") for r in drawn.findall("rect")] == ["share-ground", "hue-3", "hue-0 model"]


def test_a_hostile_name_is_text() -> None:
    markup = str(bars.bar(resource(10 * GIB, (HOSTILE, "lease", GIB)), {}))
    assert "<script" not in markup and "\x1b" not in markup and "\u202e" not in markup
    svg(markup)


@given(
    st.floats(min_value=0, max_value=1e12),
    st.lists(st.floats(min_value=0, max_value=1e12), max_size=20),
)
def test_segments_never_leave_their_bar_nor_cover_each_other(total: float, amounts: list[float]) -> None:
    held = [(f"o{n}", "lease", amount) for n, amount in enumerate(amounts)]
    found = bars.segments(resource(total, *held), {})
    end = 0.0
    for one in found:
        assert one.left >= end - 1e-6 and one.wide > 0
        end = one.left + one.wide
    assert end <= 100.0001


@given(st.sets(st.text(min_size=1, max_size=8), max_size=bars.HUES))
def test_those_that_hold_something_now_have_colours_of_their_own_while_there_are_any(names: set[str]) -> None:
    found = bars.hues([names], ["somebody else"])
    assert len({found[name] for name in names}) == len(names)
    assert found == bars.hues([{name} for name in names] + [names], ["somebody else"])


@given(st.lists(st.sets(st.sampled_from([f"o{n}" for n in range(40)]), max_size=3), max_size=12))
def test_in_a_lab_of_many_owners_those_of_one_machine_still_have_colours_of_their_own(machines: list[set[str]]) -> None:
    found = bars.hues(machines)
    near = {owner: set().union(*(m for m in machines if owner in m)) for m in machines for owner in m}
    for owner, others in near.items():
        if len(others) <= bars.HUES:
            assert found[owner] not in {found[other] for other in others - {owner}}


@given(
    st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=4),
    st.floats(min_value=0, max_value=1e6),
    st.integers(min_value=1, max_value=40),
)
def test_cells_never_are_more_than_the_bar_has(amounts: list[float], total: float, wide: int) -> None:
    found = capacity.cells(amounts, total, wide)
    assert len(found) == len(amounts)
    assert all(n >= 0 for n in found) and sum(found) <= wide


def test_what_tells_most_is_said_first() -> None:
    assert capacity.telling({SLOTS: 1000, MEMORY: 2 * GIB, GPU_MEMORY: GIB}) == "1 GiB GPU memory, 2 GiB memory"
    assert bars.held({"cpu": 2, "memory_bytes": GIB, "slots": 1.0}) == "1 GiB memory, 2 cores, 1 slot"


# -- the timeline -----------------------------------------------------------------------------------------------------


def over(hours: float = 6) -> timeline.Window:
    return timeline.window(NOW, hours)


def test_what_overlaps_is_in_lanes_and_what_follows_shares_one() -> None:
    found = timeline.blocks([lease("a", 300, 200), lease("b", 250, 150), lease("c", 190, 100)], over())
    made = timeline.lanes(found)
    assert [[b.owner for b in lane] for lane in made.lanes] == [["a", "c"], ["b"]]
    assert made.left_out == 0


def test_a_job_of_every_minute_is_one_block_and_says_how_often_it_ran() -> None:
    found = timeline.blocks([lease("tick", n, n - 0.05) for n in range(60, 0, -1)], over())
    (block,) = found
    assert block.count == 60
    assert timeline.said(block) == "tick, 60 times, 11:00 to 11:59 UTC, 59m 03s, done"


def test_what_was_given_up_stays_a_block_of_its_own() -> None:
    found = timeline.blocks([lease("tick", 10, 9.9), lease("tick", 9, 8.9, "expired"), lease("tick", 8, 7.9)], over())
    assert [b.how for b in found if b.how == "expired"] == ["expired"]
    assert "given up: its node was not heard of" in " ".join(timeline.said(b) for b in found)


def test_what_ended_before_the_window_is_left_out_and_what_began_before_is_cut() -> None:
    (block,) = timeline.blocks([lease("old", 800, 700), lease("long", 800, 100)], over())
    assert (block.owner, block.left) == ("long", 0.0)


def test_what_goes_on_reaches_the_end() -> None:
    (block,) = timeline.blocks([lease("now", 30, None)], over())
    assert (block.is_open, block.right) == (True, 1.0)
    assert timeline.said(block).endswith("goes on")


def test_the_lanes_of_one_machine_are_bounded_and_the_rest_is_told() -> None:
    many = [lease(f"job-{n}", 100, 10) for n in range(30)]
    made = timeline.lanes(timeline.blocks(many, over()))
    assert (len(made.lanes), made.left_out) == (timeline.LANES, 22)
    drawn = svg(timeline.row("mac4", many, over(), {}))
    assert drawn.get("aria-label") == "mac4: 30 stretches of work, 22 of them not drawn"


def test_each_block_leads_to_its_run_until_there_are_too_many() -> None:
    few = str(timeline.row("mac4", [lease("a/b", 30, 10)], over(), {}))
    assert 'href="/runs/r?job=a%2Fb"' in few
    many = str(timeline.row("mac4", [lease(f"j{n}", 300 - 4 * n, 298 - 4 * n) for n in range(60)], over(), {}))
    assert "<a " not in many and 'role="img"' in many


def test_hours_are_where_they_are() -> None:
    assert [text for _, text in timeline.ticks(over())] == ["07:00", "08:00", "09:00", "10:00", "11:00"]
    places = [at for at, _ in timeline.ticks(over())]
    assert all(abs((b - a) - 1 / 6) < 1e-9 for a, b in pairwise(places))


minutes = st.floats(min_value=0, max_value=500)


@given(st.lists(st.tuples(st.sampled_from("abcd"), minutes, minutes), max_size=40))
def test_no_block_covers_another_in_its_lane(stretches: list[tuple[str, float, float]]) -> None:
    leases = [lease(o, max(a, b), min(a, b), work=f"{n}") for n, (o, a, b) in enumerate(stretches)]
    found = timeline.blocks(leases, over())
    for lane in timeline.lanes(found, most=100).lanes:
        for before, after in pairwise(lane):
            assert before.right <= after.left
    shown = [s for s in stretches if min(s[1], s[2]) < 359]
    assert sum(block.count for block in found) >= len(shown)


def test_a_hostile_owner_is_text_in_the_timeline_too() -> None:
    markup = str(timeline.row(HOSTILE, [lease(HOSTILE, 300, 10)], over(), {}))
    assert "<script" not in markup and not re.search("[\x00-\x08\x1b\u202e]", markup)
    svg(markup)


# -- what the page says -----------------------------------------------------------------------------------------------


def test_a_lab_too_busy_for_all_hours_shows_those_that_it_can_show_whole() -> None:
    few = [lease("a", 100, 90)]
    assert screen.hours_of(few, NOW) == screen.HOURS
    many = [lease("a", 30 + n / 100, 20) for n in range(screen.NEWEST)]
    assert 0.8 < screen.hours_of(many, NOW) < 0.9


def test_the_heading_counts_what_is_not_as_it_should_be() -> None:
    nodes = [{"state": "ready", "holds": 2}, {"state": "unreachable", "holds": 1}, {"state": "asleep", "holds": 0}]
    said = "3 machines · 1 asleep · 1 unreachable · 3 pieces of work · 1 waits for room"
    assert screen.headline(nodes, ["one"]) == said
    assert screen.headline(nodes[:1], []) == "1 machine · 2 pieces of work"
    assert screen.headline([{"state": "stopped", "holds": 0}], []) == "1 machine · 1 stopped · 0 pieces of work"


@pytest.mark.parametrize(("state", "well"), [("ready", True), ("asleep", True), ("stopped", True), ("drained", False)])
def test_a_machine_that_sleeps_or_was_stopped_is_no_failure(state: str, well: bool) -> None:
    assert screen.is_well({"state": state, "problems": []}) is well
    assert not screen.is_well({"state": state, "problems": [{"code": "node-clock"}]})


def test_of_what_waits_the_first_machines_are_told_and_the_others_counted() -> None:
    reasons = [{"node": f"n{n}", "code": "short", "reason": f"n{n}: too full; also, no label"} for n in range(100)]
    found = screen.told_reasons(reasons)
    assert found["told"][0] == {"node": "n0", "first": "too full", "rest": "also, no label"}
    assert (len(found["told"]), found["more"]) == (screen.REASONS, 100 - screen.REASONS)
