"""The digest: when it is told, what it says; a week as one message that a person reads in ten seconds."""

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.control.digest import due_between, span_before
from homelab.core import labfile
from homelab.core import schedule as schedules
from homelab.core.labfile.digest import expression
from homelab.notify import weekly
from homelab.notify.weekly import Disk, JobWeek, Week

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
WEEKLY = schedules.parse("0 8 * * 1")
LAB = '[lab]\nname = "home"\n[jobs.a]\nrun = "true"\n[notify]\nurls = ["log://x"]\n'


def week(**more: object) -> Week:
    given_: dict[str, object] = {
        "lab": "home", "begin": MONDAY - timedelta(days=7), "end": MONDAY, "timezone": "Europe/Berlin", "jobs": 46,
        **more,
    }  # fmt: skip
    return Week(**given_)  # type: ignore[arg-type]


def test_it_says_what_a_person_asks_first() -> None:
    ran = (
        JobWeek(job="heartbeat", runs=3000, failures=0, usual_s=0.1, longest_s=0.4),
        JobWeek(job="dump-db", runs=7, failures=1, usual_s=240.0, longest_s=600.0, is_failing=True),
        JobWeek(job="upload-db", runs=6, failures=0, usual_s=120.0, longest_s=130.0),
        JobWeek(job="photos", runs=399, failures=1, usual_s=31.0, longest_s=33.0),
        JobWeek(job="short", runs=0, failures=0, usual_s=3.0, longest_s=3.0),
    )
    disk = Disk(free_bytes=41_200_000_000, total_bytes=100_000_000_000, free_before=44_300_000_000)
    made = weekly.compose(
        week(
            ran=ran,
            before=(3000, 5),
            silent=("report",),
            idle=("never",),
            paused=("old",),
            missed=3,
            disk=disk,
            link="http://lab/runs",
        )
    )
    assert made.title == "homelab: home: 46 jobs, 3,412 runs, 2 failures"
    assert made.level == "warning"
    assert made.body.splitlines() == [
        "Mon 23 Feb to Mon 2 Mar: 46 jobs, 3,412 runs, 2 failures (5 failures in the time before).",
        "",
        "Failed:",
        "  dump-db: 1 of 7 runs",
        "  photos: 1 of 399 runs",
        "Slowest:",
        "  dump-db: 4 min, 10 min at most",
        "  upload-db: 2 min",
        "  photos: 31 s",
        "Still failing: dump-db.",
        "Silent: report (printed much less than they always do).",
        "Did not run: never (though they were due).",
        "Missed: 3 runs did not happen.",
        "Paused: old.",
        "Disk: 41.2 GB of 100.0 GB free, 3.1 GB less than 7 days ago: full in about 13 weeks.",
        "",
        "All of it: http://lab/runs",
    ]


def test_a_week_without_anything_is_short_and_good_news() -> None:
    made = weekly.compose(week(jobs=1, ran=(JobWeek(job="a", runs=1, failures=0, usual_s=0.1),)))
    assert made.title == "homelab: home: 1 job, 1 run, no failures"
    assert made.body == "Mon 23 Feb to Mon 2 Mar: 1 job, 1 run, no failures."
    assert made.level == "success"
    today = weekly.compose(week(jobs=1, begin=MONDAY - timedelta(hours=2)))
    assert today.body == "Mon 2 Mar: 1 job, no runs, no failures."


JOBS = st.builds(
    JobWeek,
    job=st.text(min_size=1, max_size=30),
    runs=st.integers(0, 10**6),
    failures=st.integers(0, 10**6),
    usual_s=st.none() | st.floats(0, 1e7),
    longest_s=st.none() | st.floats(0, 1e7),
    is_failing=st.booleans(),
)


@given(st.lists(JOBS, max_size=40), st.lists(st.text(max_size=20), max_size=40))
def test_it_stays_short_and_harmless_whatever_the_week_was(ran: list[JobWeek], names: list[str]) -> None:
    made = weekly.compose(week(ran=tuple(ran), silent=tuple(names), idle=tuple(names), paused=tuple(names)))
    assert len(made.body.splitlines()) <= 26 and len(made.title) <= 200
    assert {unicodedata.category(c) for c in made.body if c != "\n"} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()


@pytest.mark.parametrize(
    ("free", "before", "days", "said"),
    [
        (50e9, None, 7, "50.0 GB of 100.0 GB free"),
        (50e9, 50.01e9, 7, "50.0 GB of 100.0 GB free, as 7 days ago"),
        (50e9, 40e9, 7, "50.0 GB of 100.0 GB free, 10.0 GB more than 7 days ago"),
        (7e9, 14e9, 7, "7.0 GB of 100.0 GB free, 7.0 GB less than 7 days ago: full in about 7 days"),
        (1e9, 3e9, 1, "1.0 GB of 100.0 GB free, 2.0 GB less than 1 day ago: full in about 1 day"),
        (50e9, 50.1e9, 7, "50.0 GB of 100.0 GB free, 100.0 MB less than 7 days ago"),
    ],
)
def test_the_disk_is_told_with_its_trend(free: float, before: float | None, days: int, said: str) -> None:
    found = Disk(
        free_bytes=int(free), total_bytes=10**11, free_before=None if before is None else int(before), days=days
    )
    assert weekly.disk(found) == said


# When


@pytest.mark.parametrize(
    ("written", "cron"),
    [
        ("Mon 08:00", "0 8 * * 1"),
        ("sunday 7:05", "5 7 * * 0"),
        ("18:30", "30 18 * * *"),
        ("0 9 1 * *", "0 9 1 * *"),
        ("@weekly", "@weekly"),
        ("Funday 08:00", None),
        ("Mon 25:00", None),
        ("@reboot", None),
        ("", None),
        ("often", None),
    ],
)
def test_a_time_is_written_as_people_say_it_or_as_cron_does(written: str, cron: str | None) -> None:
    assert expression(written) == cron


@pytest.mark.parametrize(
    ("line", "cron"), [("", "0 8 * * 1"), ("digest = false", ""), ('digest = "Fri 17:00"', "0 17 * * 5")]
)
def test_the_lab_file_says_when_and_monday_is_the_default(line: str, cron: str) -> None:
    lab, problems = labfile.parse({"lab.toml": LAB + line}, main="lab.toml")
    assert problems == [] and lab is not None
    assert lab.notify.digest == cron


@pytest.mark.parametrize("line", ['digest = "whenever"', "digest = true", "digest = 8"])
def test_a_time_that_is_none_is_a_problem_of_its_line(line: str) -> None:
    lab, problems = labfile.parse({"lab.toml": LAB + line}, main="lab.toml")
    assert lab is None
    assert [(p.line, p.code) for p in problems] == [(7, "digest")]
    assert "Mon 08:00" in problems[0].hint


def test_only_the_latest_of_several_instants_that_passed_is_told() -> None:
    assert due_between(WEEKLY, MONDAY - timedelta(days=20), MONDAY + timedelta(days=1)) == MONDAY
    assert due_between(WEEKLY, MONDAY, MONDAY + timedelta(days=6)) is None
    assert due_between(WEEKLY, MONDAY - timedelta(seconds=1), MONDAY) == MONDAY
    assert due_between(WEEKLY, MONDAY - timedelta(days=4000), MONDAY) == MONDAY


def test_a_digest_tells_of_the_time_since_the_one_before_even_when_clocks_change_in_it() -> None:
    assert span_before(WEEKLY, MONDAY) == MONDAY - timedelta(days=7)
    spring = schedules.parse("0 8 * * 1", "Europe/Berlin")
    end = datetime(2026, 3, 30, 6, tzinfo=UTC)  # clocks went forward on the 29th
    assert end - span_before(spring, end) == timedelta(days=7) - timedelta(hours=1)
    assert span_before(schedules.parse("0 8 1 1 *"), MONDAY) == MONDAY - timedelta(days=7)


@given(st.integers(0, 60 * 86400), st.integers(0, 60 * 86400))
def test_an_instant_is_told_once_however_the_looks_fall(first: int, second: int) -> None:
    start = MONDAY - timedelta(days=1)
    a, b = (start + timedelta(seconds=n) for n in sorted((first, second)))
    told, given_ = start, 0
    for now in (a, b, b):
        if due := due_between(WEEKLY, told, now):
            told, given_ = due, given_ + 1
    assert given_ <= 2 and due_between(WEEKLY, told, b) is None
