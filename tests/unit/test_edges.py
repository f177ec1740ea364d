"""What an accepted "B needs A" becomes, decided by the instants of both schedules."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.core.edges import Edge, Settlement, Timing, relation, settle, window_s
from homelab.core.schedule import parse

AT = datetime(2026, 11, 24, tzinfo=UTC)
ZONE = "America/New_York"


def timing(schedule: str, timezone: str = ZONE) -> Timing:
    return Timing(schedule=schedule, timezone=timezone)


@pytest.mark.parametrize(
    ("up", "down", "kind", "lag_s"),
    [
        ("0 2 * * *", "0 02 * * *", "same", 0),
        ("@daily", "0 0 * * *", "same", 0),
        ("* * * * *", "0-59 * * * *", "same", 0),
        ("0 2 * * *", "30 2 * * *", "waits", 1800),  # also on the day both are due at the jump
        ("0 23 * * *", "10 0 * * *", "waits", 4200),
        ("0 2 1 * *", "30 2 1 * *", "waits", 1800),
        ("0 2 * * 0", "0 3 * * 0", "waits", 3600),
        ("*/5 * * * *", "2-59/5 * * * *", "waits", 120),
        ("*/5 * * * *", "4-59/5 * * * *", "differs", 0),  # nearer to the next one than to the one it follows
        ("0 2 * * *", "0 9 * * *", "differs", 0),  # too long to be waiting
        ("30 2 * * *", "0 2 * * *", "differs", 0),
        ("0 2 * * *", "30 2 * * 1-5", "differs", 0),
        ("0 2 * * 1-5", "30 2 * * *", "differs", 0),
        ("0 * * * *", "30 3 * * *", "differs", 0),
        ("0 2 1 * *", "0 3 * * 1", "differs", 0),
        ("@reboot", "@reboot", "same", 0),
        ("@reboot", "0 2 * * *", "apart", 0),
        ("0 2 * * *", "0 2 30 2 *", "apart", 0),
    ],
)
def test_schedules_are_compared_by_their_instants(up: str, down: str, kind: str, lag_s: float) -> None:
    found = relation(timing(up), timing(down), at=AT)
    assert (found.kind, found.lag_s) == (kind, lag_s)


def test_one_instant_in_two_zones_is_the_same_only_when_it_stays_so() -> None:
    assert relation(timing("0 2 * * *", "UTC"), timing("0 2 * * *", "Etc/UTC"), at=AT).kind == "same"
    assert relation(timing("0 7 * * *", "UTC"), timing("30 2 * * *"), at=AT).kind == "differs"  # 30 or 90 minutes
    assert relation(timing("0 2 * * *", "Europe/Oslo"), timing("0 2 * * *", "Europe/Rome"), at=AT).kind == "same"


@pytest.mark.parametrize(
    ("up", "down", "within"),
    [
        ("0 * * * *", "30 3 * * *", 3600),  # the run at 03:00, not the one at 02:00
        ("0 * * * *", "0 3 * * *", 76 * 60),  # both at once: the run before
        ("0 2 * * *", "30 2 * * 1-5", 12 * 3600),  # today's, not yesterday's
        ("0 2 * * 0", "0 3 * * *", 187 * 3600),
        ("* * * * *", "0 3 * * *", 12 * 60),
    ],
)
def test_a_window_takes_the_last_run_and_not_the_one_before_it(up: str, down: str, within: float) -> None:
    assert window_s(timing(up), timing(down), at=AT) == within


TIMES = ["0 2 * * *", "30 2 * * *", "0 3 * * *", "0 02 * * *", "0 * * * *", "20 * * * *", "0 2 * * 1-5", "30 2 * * 1-5"]
TIMES += ["0 9 * * *", "@reboot", "0 2 1 * *", "0 0 30 2 *", "15 23 * * *", "5 0 * * *"]


@st.composite
def labs(draw: st.DrawFn) -> tuple[dict[str, Timing], list[Edge]]:
    count = draw(st.integers(2, 6))
    zones = st.sampled_from(["UTC", "UTC", ZONE])
    timings = {f"j{n}": timing(draw(st.sampled_from(TIMES)), draw(zones)) for n in range(count)}
    names = st.sampled_from(sorted(timings))
    edges = [
        Edge(up=draw(names), down=draw(names), rank=draw(st.integers(1, 3))) for _ in range(draw(st.integers(1, 9)))
    ]
    return timings, edges


def anchor(name: str, settled: Settlement, timings: dict[str, Timing]) -> Timing:
    placement = settled.placements.get(name)
    if placement is None:
        return timings[name]
    if placement.joins:
        return anchor(placement.joins[0].up, settled, timings)
    return placement.respelled or timings[name]


def taken(settled: Settlement) -> list[Edge]:
    return [edge for p in settled.placements.values() for edge in (*p.joins, *(edge for edge, _ in p.fresh))]


@settings(max_examples=25, deadline=None)
@given(labs())
def test_no_circle_is_made_and_nothing_is_lost(lab: tuple[dict[str, Timing], list[Edge]]) -> None:
    timings, edges = lab
    settled = settle(timings, edges, at=AT)
    below = {name: {e.down for e in taken(settled) if e.up == name} for name in timings}
    left = dict(below)
    while ends := [name for name, downs in left.items() if not downs & left.keys()]:
        for name in ends:
            del left[name]
    assert not left
    assert {(e.up, e.down) for e in edges} == {
        (e.up, e.down) for e in (*taken(settled), *(edge for edge, _ in settled.refused))
    }


@settings(max_examples=25, deadline=None)
@given(labs(), st.randoms(use_true_random=False))
def test_the_order_of_edges_does_not_matter(lab: tuple[dict[str, Timing], list[Edge]], random: object) -> None:
    timings, edges = lab
    shuffled = list(edges)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert settle(timings, edges, at=AT) == settle(dict(reversed(timings.items())), shuffled, at=AT)


def fires(schedule: Timing, days: int = 21) -> list[datetime]:
    start = datetime(2026, 3, 1, tzinfo=UTC)  # a clock is changed within
    made = parse(schedule.schedule, schedule.timezone).fires(start)
    return list(itertools.takewhile(lambda fire: fire < start + timedelta(days=days), made))


@settings(max_examples=25, deadline=None)
@given(labs())
def test_no_instant_is_added_or_taken_away(lab: tuple[dict[str, Timing], list[Edge]]) -> None:
    timings, edges = lab
    settled = settle(timings, edges, at=AT)
    for name, placement in settled.placements.items():
        before, after = fires(timings[name]), fires(anchor(name, settled, timings))
        if placement.joins:
            assert abs(len(before) - len(after)) <= 1  # the stretch may cut one off at either end
            assert all(edge.up != name for edge in placement.joins)
        else:
            assert before == after  # its own time, at most in other words


@settings(max_examples=25, deadline=None)
@given(labs())
def test_what_joins_a_flow_has_one_schedule_to_join(lab: tuple[dict[str, Timing], list[Edge]]) -> None:
    timings, edges = lab
    settled = settle(timings, edges, at=AT)
    for placement in settled.placements.values():
        assert not (placement.joins and placement.fresh)
        spelled = {(a.schedule, a.timezone) for a in (anchor(edge.up, settled, timings) for edge in placement.joins)}
        assert len(spelled) <= 1


def placed(timings: dict[str, str], *pairs: tuple[str, str]) -> Settlement:
    return settle({n: timing(s) for n, s in timings.items()}, [Edge(up=u, down=d) for u, d in pairs], at=AT)


def joined(settled: Settlement, name: str) -> list[str]:
    return [edge.up for edge in settled.placements[name].joins]


def test_a_staggered_diamond_becomes_one_flow() -> None:
    times = {"a": "0 2 * * *", "b": "30 2 * * *", "c": "30 2 * * *", "d": "0 3 * * *"}
    settled = placed(times, ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))
    assert [joined(settled, name) for name in "bcd"] == [["a"], ["a"], ["b", "c"]]


def test_what_needs_two_flows_keeps_its_time() -> None:
    settled = placed({"a": "0 1 * * *", "b": "0 2 * * *", "c": "30 2 * * *"}, ("a", "c"), ("b", "c"))
    assert joined(settled, "c") == []
    assert [(edge.up, within) for edge, within in settled.placements["c"].fresh] == [("a", 46800), ("b", 43200)]


def test_two_spellings_of_one_time_become_one_flow_with_one_spelling() -> None:
    settled = placed({"a": "0 02 * * *", "b": "0 2 * * *", "c": "30 2 * * *"}, ("a", "c"), ("b", "c"))
    assert joined(settled, "c") == ["a", "b"]
    assert settled.placements["a"].respelled == Timing(schedule="0 2 * * *", timezone=ZONE, seed="a")


def test_a_condition_does_not_hold_back_what_does_not_need_it() -> None:
    times = {"hourly": "0 * * * *", "a": "15 2 * * *", "b": "15 2 * * *", "c": "30 2 * * *"}
    settled = placed(times, ("hourly", "a"), ("a", "c"), ("b", "c"))
    assert joined(settled, "c") == []  # else b would wait for hourly, too


def test_of_a_circle_the_least_sure_edge_is_left_out() -> None:
    times = {name: timing("0 2 * * *") for name in "abc"}
    edges = [Edge(up="c", down="a", rank=3), Edge(up="a", down="b", rank=1), Edge(up="b", down="c", rank=2)]
    ((edge, why),) = settle(times, edges, at=AT).refused
    assert (edge.up, edge.down, why) == ("c", "a", "it would close a circle: a -> b -> c -> a")


def test_what_holds_already_counts_for_circles() -> None:
    times = {name: timing("0 2 * * *") for name in "ab"}
    others = [("b", "by-hand"), ("by-hand", "a")]
    assert settle(times, [Edge(up="a", down="b")], at=AT, others=others).refused
