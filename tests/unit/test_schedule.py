# ruff: noqa: DTZ001
"""Schedules: what is accepted, what is refused, and when they are due."""

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.core.schedule import Schedule, ScheduleError, describe, interval_s, parse


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def fires(expression: str, zone: str, after: str, count: int) -> list[str]:
    """Local times with their offset, as `MM-DD HH:MM+ZZZZ`."""
    found = islice(parse(expression, zone).fires(at(after)), count)
    return [fire.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z") for fire in found]


def numbers(mask: int) -> list[int]:
    return [n for n in range(64) if mask >> n & 1]


@pytest.mark.parametrize(
    ("field", "minutes"),
    [
        ("7", [7]),
        ("007", [7]),
        ("1,2,5", [1, 2, 5]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("0-10/5", [0, 5, 10]),
        ("*/20", [0, 20, 40]),
        ("5,10-12,50-59/9", [5, 10, 11, 12, 50, 59]),
        ("50-70/25", [50]),  # what is set is checked, not the end of the range: cronie takes it
    ],
)
def test_a_field_sets_the_values_it_names(field: str, minutes: list[int]) -> None:
    assert numbers(parse(f"{field} * * * *").minutes) == minutes


def test_names_are_taken_in_any_case_in_ranges_and_in_lists() -> None:
    schedule = parse("0 0 * jan-MAR,Dec mon,WED-fri")
    assert numbers(schedule.months) == [1, 2, 3, 12]
    assert numbers(schedule.weekdays) == [1, 3, 4, 5]


def test_seven_is_sunday_and_a_range_may_end_with_it() -> None:
    assert parse("0 0 * * 7").weekdays == parse("0 0 * * 0").weekdays == parse("0 0 * * sun").weekdays
    assert numbers(parse("0 0 * * 5-7").weekdays) == [0, 5, 6]


@pytest.mark.parametrize(
    ("expression", "column", "part"),
    [
        ("", 1, "empty"),
        ("60 * * * *", 1, "bad minute"),
        ("* 24 * * *", 3, "bad hour"),
        ("* * 0 * *", 5, "bad day of month"),
        ("* * * 13 *", 7, "bad month"),
        ("* * * * 8", 9, "bad day of week"),
        ("5/15 * * * *", 2, "range"),
        ("*/0 * * * *", 3, "step of 0"),
        ("1,,2 * * * *", 3, "bad minute"),
        ("1, * * * *", 3, "bad minute"),
        ("1-5x * * * *", 3, "'5x'"),
        ("* * * * monday", 9, "'monday'"),
        ("jan * * * *", 1, "'jan'"),
        ("* * * *", 8, "day of week field is missing"),
        ("* * * * * *", 11, "too many fields"),
        ("0 0 * * * 2027", 11, "too many fields"),
        ("@Daily", 1, "@Daily"),
        ("@every 5m", 1, "@every"),
        ("@daily now", 8, "too many fields"),
        ("30~10 * * * *", 1, "backwards"),
        ("50~70 * * * *", 1, "outside"),
        ("50-70/15 * * * *", 1, "outside"),
        ("*5 * * * *", 2, "unexpected '5'"),
        ("1~5/2 * * * *", 4, "random"),
    ],
)
def test_what_cron_refuses_is_refused_with_the_column(expression: str, column: int, part: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(expression)
    assert caught.value.column == column
    assert part in caught.value.message
    assert caught.value.exit_status == 2


def test_an_unknown_zone_is_refused_by_name() -> None:
    with pytest.raises(ScheduleError, match="Mars/Olympus"):
        parse("* * * * *", "Mars/Olympus")


@pytest.mark.parametrize("expression", ["0 22-2 * * *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * * * 6-0"])
def test_what_can_never_be_due_is_accepted_with_a_warning_and_yields_nothing(expression: str) -> None:
    schedule = parse(expression)
    assert schedule.warnings
    assert list(schedule.fires(at("2026-01-01T00:00Z"))) == []
    assert interval_s(schedule, at("2026-01-01T00:00Z")) is None


def test_both_day_fields_restricted_means_either() -> None:
    assert fires("0 0 13 * 5", "UTC", "2026-02-01T00:00Z", 4) == [
        "02-06 00:00+0000",
        "02-13 00:00+0000",
        "02-20 00:00+0000",
        "02-27 00:00+0000",
    ]


def test_a_day_field_that_begins_with_a_star_means_both() -> None:
    days = [f[:5] for f in fires("0 0 */2 * 1", "UTC", "2026-02-01T00:00Z", 3)]
    assert days == ["02-09", "02-23", "03-09"]
    days = [f[:5] for f in fires("0 0 1-7 * */7", "UTC", "2026-02-01T12:00Z", 2)]
    assert days == ["03-01", "04-05"]  # the first Sunday of the month


def test_reboot_is_never_due_by_the_clock() -> None:
    schedule = parse("@reboot")
    assert schedule.is_reboot
    assert list(schedule.fires(at("2026-01-01T00:00Z"))) == []


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_a_name_is_due_when_its_fields_are(name: str, same: str) -> None:
    start = at("2026-03-01T00:00Z")
    by_name, by_fields = parse(name, "Europe/Berlin"), parse(same, "Europe/Berlin")
    assert list(islice(by_name.fires(start), 30)) == list(islice(by_fields.fires(start), 30))
    assert by_name.expression == name


def test_a_random_time_is_in_its_range_and_the_same_for_the_same_seed() -> None:
    picks = {parse("0~30 2 * * *", seed=f"job-{n}").minutes for n in range(200)}
    assert len(picks) > 15
    assert all(numbers(mask)[0] <= 30 for mask in picks)
    assert parse("~ ~ * * *", seed="a") == parse("~ ~ * * *", seed="a")
    assert numbers(parse("* * * * ~", seed="x").weekdays)


# --- clock changes ----------------------------------------------------------------------------------------------------


def test_a_fixed_time_that_spring_skips_is_due_right_after_the_jump() -> None:
    assert fires("30 2 * * *", "America/New_York", "2026-03-07T12:00Z", 2) == ["03-08 03:00-0400", "03-09 02:30-0400"]


def test_several_skipped_fixed_times_and_one_at_the_jump_are_one_instant() -> None:
    assert fires("0,30 2,3 * * *", "America/New_York", "2026-03-08T05:00Z", 3) == [
        "03-08 03:00-0400",
        "03-08 03:30-0400",
        "03-09 02:00-0400",
    ]


def test_a_wildcard_schedule_does_not_make_up_for_the_gap() -> None:
    assert fires("*/30 * * * *", "America/New_York", "2026-03-08T06:00Z", 2) == ["03-08 01:30-0500", "03-08 03:00-0400"]
    assert fires("15 * * * *", "America/New_York", "2026-03-08T06:00Z", 2) == ["03-08 01:15-0500", "03-08 03:15-0400"]
    assert fires("*/15 2 * * *", "America/New_York", "2026-03-08T06:00Z", 1) == ["03-09 02:00-0400"]


def test_a_fixed_time_in_the_repeated_hour_is_due_once_the_first_time() -> None:
    assert fires("30 1 * * *", "America/New_York", "2026-10-31T12:00Z", 2) == ["11-01 01:30-0400", "11-02 01:30-0500"]


def test_a_wildcard_schedule_runs_in_both_repeated_hours() -> None:
    assert fires("*/30 * * * *", "America/New_York", "2026-11-01T04:40Z", 5) == [
        "11-01 01:00-0400",
        "11-01 01:30-0400",
        "11-01 01:00-0500",
        "11-01 01:30-0500",
        "11-01 02:00-0500",
    ]


def test_a_half_hour_change_behaves_the_same() -> None:
    assert fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00Z", 2) == [
        "10-04 02:30+1100",
        "10-05 02:15+1100",
    ]
    assert fires("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00Z", 2) == [
        "04-05 01:45+1100",
        "04-06 01:45+1030",
    ]
    assert fires("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04T14:20Z", 4) == [
        "04-05 01:30+1100",
        "04-05 01:45+1100",
        "04-05 01:30+1030",
        "04-05 01:45+1030",
    ]


def test_midnight_that_does_not_exist_is_due_when_the_day_begins() -> None:
    assert fires("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00Z", 2) == ["04-24 01:00+0300", "04-25 00:00+0300"]


def test_a_jump_over_three_hours_is_not_made_up_for() -> None:
    assert fires("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00Z", 2) == ["12-29 12:00-1000", "12-31 12:00+1400"]


def test_a_clock_set_back_over_midnight_stays_in_order() -> None:
    found = list(islice(parse("* * * * *", "America/St_Johns").fires(at("2010-11-07T01:30Z")), 240))
    assert all(b - a == timedelta(minutes=1) for a, b in pairwise(found))


ZONES = [
    "UTC",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "America/St_Johns",
]


def run_daemon(schedule: Schedule, start: datetime, minutes: int) -> list[datetime]:
    """What a daemon that wakes every minute would start: the algorithm of cron's main loop, with a virtual clock."""
    zone = ZoneInfo(schedule.timezone)
    epoch = datetime(1970, 1, 1)

    def clock(now: datetime) -> int:
        return int((now.astimezone(zone).replace(tzinfo=None) - epoch).total_seconds() // 60)

    def matches(minute: int) -> bool:
        local = epoch + timedelta(minutes=minute)
        in_time = schedule.minutes >> local.minute & 1 and schedule.hours >> local.hour & 1
        return bool(in_time) and schedule.matches_date(local.date())

    started: list[datetime] = []
    virtual = clock(start)
    for n in range(1, minutes + 1):
        now = start + timedelta(minutes=n)
        running = clock(now)
        behind = running - virtual
        due = False
        if behind == 1 or behind > 180 or behind < -180:
            virtual = running
            due = matches(running)
        elif 0 < behind <= 5:
            due = any(matches(m) for m in range(virtual + 1, running + 1))
            virtual = running
        elif behind > 5:
            missed = range(virtual + 1, running + 1)
            due = matches(running) if schedule.is_wildcard else any(matches(m) for m in missed)
            virtual = running
        else:
            due = schedule.is_wildcard and matches(running)
        if due:
            started.append(now)
    return started


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted).map(lambda p: f"{p[0]}-{p[1]}")
    part = st.one_of(number.map(str), span, st.just("*"), st.integers(1, 30).map(lambda n: f"*/{n}"))
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 7)).map(" ".join)
NIGHTS = st.tuples(_field(0, 59), _field(0, 4), st.just("*"), st.just("*"), st.just("*")).map(" ".join)
CHANGES = [
    "2026-03-07",
    "2026-03-28",
    "2026-04-04",
    "2026-04-23",
    "2026-10-03",
    "2026-10-24",
    "2026-10-31",
    "2010-11-06",
]


@settings(max_examples=60, deadline=None)
@given(st.one_of(EXPRESSIONS, NIGHTS), st.sampled_from(ZONES), st.sampled_from(CHANGES))
def test_a_schedule_is_due_exactly_when_the_daemon_would_start_it(expression: str, zone: str, day: str) -> None:
    schedule = parse(expression, zone)
    start = at(day + "T09:00Z")
    end = start + timedelta(minutes=2000)
    ours = []
    for fire in schedule.fires(start):
        if fire > end:
            break
        ours.append(fire)
    assert ours == run_daemon(schedule, start, 2000)


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, st.sampled_from(ZONES), st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1)))
def test_instants_ascend_and_lie_behind_the_start(expression: str, zone: str, start: datetime) -> None:
    after = start.replace(tzinfo=UTC)
    found = list(islice(parse(expression, zone).fires(after), 200))
    assert all(fire > after and fire.tzinfo is UTC for fire in found)
    assert all(a < b for a, b in pairwise(found))


def test_a_start_without_a_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="time zone"):
        parse("* * * * *").fires(datetime(2026, 1, 1))


def test_a_year_of_minutes_is_quick_and_so_is_a_leap_day() -> None:
    before = time.process_time()
    assert (
        sum(1 for _ in islice(parse("* * * * *", "America/New_York").fires(at("2026-01-01T00:00Z")), 525_600))
        == 525_600
    )
    assert [f.year for f in islice(parse("0 0 29 2 *").fires(at("2096-03-01T00:00Z")), 2)] == [2104, 2108]
    assert list(parse("0 0 31 2 *").fires(at("2026-01-01T00:00Z"))) == []
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("*/5 * * * *", 1 / 12),
        ("0 9-17 * * 1-5", 64),
        ("30 2 * * *", 24),
        ("0 0 1 * *", 31 * 24),
        ("@yearly", 366 * 24),
    ],
)
def test_the_interval_is_the_longest_usual_gap(expression: str, hours: float) -> None:
    assert interval_s(parse(expression), at("2026-01-01T00:00Z")) == hours * 3600


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("30 2 * * *", "at 02:30 every day"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0 9 * * 1-5", "at 09:00 on Monday to Friday"),
        ("@reboot", "when the machine starts"),
        ("15 * * * *", "every hour at :15"),
        ("0 0 1 1 *", "at 00:00 on day 1 of the month in January"),
    ],
)
def test_a_schedule_can_be_said_in_words(expression: str, words: str) -> None:
    assert describe(parse(expression)) == words
