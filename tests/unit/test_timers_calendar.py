"""systemd's calendar expressions: the same are accepted as by systemd itself, and cron is due at the same instants.

`systemd_calendar.jsonl` was recorded from `systemd-analyze calendar --iterations=4` of systemd 252, base time below.
"""

import json
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.schedule import parse
from homelab.core.timers.calendar import CalendarError, parse_calendar
from homelab.core.timers.cronlines import NotCron, field, of_calendar, of_interval
from homelab.core.timers.spans import span_s

RECORDED = [json.loads(line) for line in (Path(__file__).parent / "systemd_calendar.jsonl").read_text().splitlines()]
BASE = datetime(2026, 11, 24, 10, 7, 30, tzinfo=UTC)


def crons(text: str) -> tuple[str, ...]:
    return of_calendar(parse_calendar(text))


def is_accepted(text: str) -> bool:
    try:
        parse_calendar(text)
    except CalendarError:
        return False
    return True


def test_what_systemd_accepts_is_accepted_and_nothing_else() -> None:
    assert len(RECORDED) > 150
    assert [case["calendar"] for case in RECORDED if is_accepted(case["calendar"]) != case["accepted"]] == []


def test_every_conversion_is_due_when_systemd_says_so() -> None:
    compared = 0
    for case in RECORDED:
        if not case["accepted"]:
            continue
        try:
            lines = crons(case["calendar"])
        except NotCron:
            continue
        zone = parse_calendar(case["calendar"]).timezone or "UTC"
        fires = merge(*(parse(line, zone).fires(BASE) for line in lines))
        assert [f"{fire:%Y-%m-%d %H:%M:%S}" for fire in islice(fires, 4)] == case["elapses"], case["calendar"]
        compared += 1
    assert compared > 80


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("daily", ["0 0 * * *"]),
        ("weekly", ["0 0 * * 1"]),
        ("quarterly", ["0 0 1 */3 *"]),
        ("*:0/15", ["*/15 * * * *"]),
        ("*:5/10", ["5-55/10 * * * *"]),
        ("Mon..Fri 09:00", ["0 9 * * 1-5"]),
        ("Sat,Sun 10:30", ["30 10 * * 0,6"]),
        ("*-*-* 00/12:00", ["0 0,12 * * *"]),
        ("*-*-01,15 04:00 Europe/Berlin", ["0 4 1,15 * *"]),
        ("Mon *-*-1/2 06:00", ["0 6 */2 * 1"]),
        ("*-04..06~1", ["0 0 30 4,6 *", "0 0 31 5 *"]),
    ],
)
def test_a_calendar_becomes_the_lines_a_person_would_write(text: str, lines: list[str]) -> None:
    assert list(crons(text)) == lines


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2027-01-01", "years"),
        ("*:*:30", "seconds"),
        ("12:00:00.5", "seconds"),
        ("*-*~1", "end of the month"),
        ("Mon *-*-1..7", "either one"),
        ("Fri *-*-13", "either one"),
    ],
)
def test_what_cron_cannot_say_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(NotCron, match=why):
        crons(text)


def test_the_first_monday_comes_with_fields_that_the_lab_would_read_right() -> None:
    with pytest.raises(NotCron) as refused:
        crons("Mon *-*-1..7 18:00")
    assert "'*/31,2-7 * 1'" in refused.value.hint
    due = list(islice(parse("0 18 */31,2-7 * 1").fires(BASE), 12))
    assert all(fire.isoweekday() == 1 and fire.day <= 7 for fire in due)


def values(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    one = st.one_of(
        number.map(str),
        st.tuples(number, number).map(lambda pair: f"{min(pair)}..{max(pair)}"),
        st.tuples(st.integers(low, (low + high) // 2), st.integers(1, (high - low) // 2)).map(
            lambda p: f"{p[0]}/{p[1]}"
        ),
    )
    return st.one_of(st.just("*"), st.lists(one, min_size=1, max_size=3).map(",".join))


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
CALENDARS = st.tuples(
    st.one_of(st.just(""), st.lists(st.sampled_from(DAYS), min_size=1, max_size=3).map(lambda d: ",".join(d) + " ")),
    values(1, 12),
    st.sampled_from("---~"),
    values(1, 28),
    values(0, 23),
    values(0, 59),
)


def chosen(text: str, low: int, high: int) -> set[int]:
    """The values of one component, straight from systemd.time(7): the judge."""
    found: set[int] = set()
    for item in text.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("..")
        if item == "*":
            return set(range(low, high + 1))
        found |= set(range(int(first), (int(last or (high if step else first))) + 1, int(step or 1)))
    return found


def is_due(parts: tuple[str, ...], when: datetime) -> bool:
    weekdays, month, separator, day, hour, minute = parts
    length = ((when.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)).day
    days = chosen(day, 1, length)
    if separator == "~" and day != "*":
        days = set()
        for item in day.split(","):
            span, _, step = item.partition("/")
            first, _, last = span.partition("..")
            if step and not last:  # a step walks on towards the end of the month
                days |= {length + 1 - n for n in range(int(first), 0, -int(step))}
            else:
                days |= {length + 1 - n for n in chosen(item, 1, 28)}
    return (
        (not weekdays or DAYS[when.weekday()] in weekdays)
        and when.month in chosen(month, 1, 12)
        and when.day in days
        and when.hour in chosen(hour, 0, 23)
        and when.minute in chosen(minute, 0, 59)
    )


@given(CALENDARS, st.integers(0, 365 * 24 * 60))
def test_a_conversion_is_due_in_a_minute_exactly_when_the_calendar_is(parts: tuple[str, ...], offset: int) -> None:
    weekdays, month, separator, day, hour, minute = parts
    try:
        lines = crons(f"{weekdays}*-{month}{separator}{day} {hour}:{minute}")
    except (NotCron, CalendarError):
        return
    when = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(minutes=offset)
    before = when - timedelta(minutes=1)
    due: set[datetime | None] = {next(parse(line).fires(before), None) for line in lines}
    assert (when in due) == is_due(parts, when)


@given(st.text(max_size=40) | st.text("MonTueFri*-~:./,0123456789 UTC", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        calendar = parse_calendar(text)
    except CalendarError as error:
        assert str(error)
        return
    try:
        lines: tuple[str, ...] = of_calendar(calendar)
    except NotCron as error:
        assert error.message
        return
    assert all(parse(line).expression == line for line in lines)


@given(st.sets(st.integers(0, 59), min_size=1))
def test_a_field_reads_back_as_the_set_it_was_made_of(minutes: set[int]) -> None:
    text = field(sum(1 << minute for minute in minutes), "minute")
    assert parse(f"{text} * * * *").minutes == sum(1 << minute for minute in minutes)


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [
        (60, ["* * * * *"]),
        (300, ["*/5 * * * *"]),
        (3600, ["0 * * * *"]),
        (6 * 3600, ["0 */6 * * *"]),
        (90 * 60, ["0 */3 * * *", "30 1-22/3 * * *"]),
        (86_400, ["0 0 * * *"]),
        (604_800, ["0 0 * * 0"]),
    ],
)
def test_an_interval_that_the_clock_has_becomes_lines(seconds: int, lines: list[str]) -> None:
    assert list(of_interval(seconds)) == lines
    due = list(islice(merge(*(parse(line).fires(BASE) for line in lines)), 50))
    assert {(b - a).total_seconds() for a, b in pairwise(due)} == {float(seconds)}


@pytest.mark.parametrize("seconds", [30, 90, 7 * 60, 36 * 3600, 2 * 86_400, 30 * 86_400, 32 * 60])
def test_an_interval_that_the_clock_does_not_have_is_refused(seconds: int) -> None:
    with pytest.raises(NotCron):
        of_interval(seconds)


def test_spans_of_time_are_those_of_systemd() -> None:
    spans: dict[str, Any] = {"90": 90, "15min": 900, "1h 30min": 5400, "1d12h": 129_600, "2weeks": 1_209_600, "5 s": 5}
    assert {text: span_s(text) for text in spans} == spans
    assert [span_s(text) for text in ("", "infinity", "5 parsecs", "min", "1h-")] == [None] * 5
