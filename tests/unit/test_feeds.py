"""What leaves the lab for menu bars, badges and calendars: small, stable, harmless, and right on odd days."""

import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from homelab.console import icons
from homelab.console.assets import address, contents
from homelab.control import badge, calendar, feeds
from homelab.control.glance import glance, summary
from homelab.core import schedule as schedules
from homelab.core.errors import InputError
from homelab.core.jobs import Flow, Job, Need

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
URL = "http://127.0.0.1:4280"


def entry(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "subject": "a", "reason": "It failed.", "job": "a", "run": None, **more}


def now_of(*entries: dict[str, Any], jobs: int = 46) -> dict[str, Any]:
    return {"lab": "home", "jobs": jobs, "attention": list(entries), "running": [{}], "next": []}


def test_a_quiet_lab_is_ok_and_one_that_fails_says_how_much() -> None:
    calm = glance(now_of(), url=URL)
    assert (calm["state"], calm["summary"], calm["next_due"]) == ("ok", "46 jobs, all is well", None)
    bad = glance(now_of(entry("failed", run="r/1"), entry("stuck"), entry("late"), entry("silent")), url=URL)
    assert (bad["state"], bad["summary"]) == ("failing", "2 failing, 1 late, 1 warning")
    assert (bad["failing"], bad["late"], bad["warnings"], bad["running"]) == (2, 1, 1, 1)
    assert [one["url"] for one in bad["attention"][:2]] == [f"{URL}/runs/r%2F1", f"{URL}/jobs/a"]
    assert glance(now_of(entry("silent")), url=URL)["state"] == "warning"


@given(st.lists(st.sampled_from(["service", "failed", "late", "missed", "silent", "lab", "blocked"]), max_size=40))
def test_the_state_is_that_of_the_worst_and_nothing_is_lost_in_the_counts(kinds: list[str]) -> None:
    found = glance(now_of(*(entry(kind) for kind in kinds)), url=URL)
    assert found["failing"] + found["late"] + found["warnings"] == len(kinds)
    assert (found["state"] == "ok") == (not kinds)
    assert (found["state"] == "failing") == bool({"service", "failed"} & set(kinds))
    assert len(found["attention"]) == min(10, len(kinds))


def test_one_of_anything_is_said_as_one() -> None:
    assert summary(jobs=1, failing=0, late=0, other=0) == "1 job, all is well"
    assert summary(jobs=0, failing=0, late=0, other=0) == "no jobs yet"


@given(st.text(max_size=200), st.text(max_size=200), st.sampled_from([*badge.TONES, "none such"]))
def test_a_badge_is_a_small_picture_whatever_it_is_told(label: str, word: str, tone: str) -> None:
    made = badge.badge(label, word, tone)
    root = ET.fromstring(made)
    assert len(made) < 4000
    assert not any(one.tag.endswith("style") or "style" in one.attrib for one in root.iter()), "of it, not in its words"
    assert root.tag.endswith("svg") and 0 < int(root.attrib["width"]) < 1700
    assert len(root.findall(".//{*}text")) == 2 and root.findall(".//{*}script") == []


@pytest.mark.parametrize(
    ("feed", "path"), [("due", "/due.ics"), ("badge", "/badge.svg"), ("badge/a.b", "/badge/a.b.svg")]
)
def test_a_feed_has_its_place(feed: str, path: str) -> None:
    assert feeds.path_of(feed) == path


@pytest.mark.parametrize("feed", ["", "jobs", "badge/", "badge/../x", "badge/a/b", "due.ics", "badge/\n"])
def test_there_is_no_feed_of_anything_else(feed: str) -> None:
    with pytest.raises(InputError):
        feeds.path_of(feed)


def due(expression: str, *jobs: Job, timezone: str = "UTC", name: str = "a", **usual: float) -> calendar.Due:
    flow = Flow(name=name, jobs=jobs or (Job(name=name),), schedule=expression, timezone=timezone)
    return calendar.Due(flow=flow, schedule=schedules.parse(expression, timezone), usual_s=usual)


def test_each_instant_is_an_entry_as_long_as_its_jobs_take_after_each_other() -> None:
    jobs = (Job(name="a"), Job(name="b", needs=(Need(job="a"),)), Job(name="c"))
    one = due("0 2 * * *", *jobs, a=600.0, b=300.0, c=60.0)
    found = calendar.upcoming([one], now=NOW, timezone="UTC", url=URL)
    assert [e.begin for e in found] == [datetime(2026, 3, day, 2, tzinfo=UTC) for day in range(2, 16)]
    assert {e.end - e.begin for e in found if isinstance(e.end, datetime)} == {timedelta(minutes=15)}  # type: ignore[operator]
    assert found[0].title == "a and 2 more jobs"


def test_what_runs_all_day_is_folded_into_one_entry_over_all_days() -> None:
    frequent = [due("* * * * *", name="beat"), due("*/15 * * * *", name="sync")]
    found = calendar.upcoming([*frequent, due("0 2 * * *", name="dump")], now=NOW, timezone="UTC", url=URL)
    assert found[0].title == "2 frequent jobs"
    assert (found[0].begin, found[0].end) == (date(2026, 3, 1), date(2026, 3, 15))
    assert "beat: every minute" in found[0].about and "sync: every 15 minutes" in found[0].about
    assert {e.title for e in found[1:]} == {"dump"}


EXPRESSIONS = [
    "* * * * *",
    "0 2 * * *",
    "30 2 * * 0",
    "0 */6 * * *",
    "15 8 1 * *",
    "0 9-17 * * 1-5",
    "5 5 29 2 *",
    "@hourly",
]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(EXPRESSIONS), max_size=12),
    st.integers(0, 2 * 365 * 86400).map(lambda s: NOW + timedelta(seconds=s)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
def test_a_calendar_is_bounded_and_holds_every_instant_that_is_not_folded(
    expressions: list[str], now: datetime, timezone: str
) -> None:
    flows = [due(e, timezone=timezone, name=f"j{n}") for n, e in enumerate(expressions)]
    found = calendar.upcoming(flows, now=now, timezone=timezone, url=URL)
    assert len(found) <= calendar.MOST + 1
    folded = found[0].about if found and found[0].key == "folded" else ""
    for one in flows:
        times = list(takewhile(lambda t: t <= now + timedelta(days=14), one.schedule.fires(now)))[:200]
        own = [e.begin for e in found if e.title == one.flow.name]
        if f"{one.flow.name}:" in folded:
            assert own == [] and len(times) > 14
        else:
            assert own == times


@pytest.mark.parametrize(
    ("now", "local"),
    [
        (datetime(2026, 3, 7, 12, tzinfo=UTC), ["02:30", "03:00", "02:30"]),  # 8 March 2026: 02:00 becomes 03:00
        (datetime(2026, 10, 31, 12, tzinfo=UTC), ["02:30", "02:30", "02:30"]),
    ],
)
def test_on_days_when_clocks_change_an_entry_is_where_the_job_is(now: datetime, local: list[str]) -> None:
    one = due("30 2 * * *", timezone="America/New_York")
    found = calendar.upcoming([one], now=now - timedelta(days=1), timezone="America/New_York", url=URL, days=3)
    written = Calendar.from_ical(calendar.ics(found, name="x", now=now))
    times = [event.decoded("dtstart") for event in written.walk("VEVENT")]
    assert [f"{t.astimezone(ZoneInfo('America/New_York')):%H:%M}" for t in times] == local


def test_failures_of_a_job_are_one_entry_a_day_that_leads_to_the_run() -> None:
    rows = [
        {"id": f"r{n}", "job": "a", "state": "timed_out", "reason": "too long", "started": NOW - timedelta(hours=n),
         "ended": NOW - timedelta(hours=n) + timedelta(minutes=1)}
        for n in range(20)
    ]  # fmt: skip
    found = calendar.failures(rows, timezone="UTC", url=URL)
    assert [(e.title, e.url) for e in found] == [
        ("✗ a timed out", f"{URL}/runs/r0"),
        ("✗ a timed out", f"{URL}/runs/r13"),
    ]


@settings(deadline=None, max_examples=60)
@given(st.text(min_size=1, max_size=80), st.text(max_size=300))
def test_a_calendar_can_be_read_back_whatever_it_says(title: str, about: str) -> None:
    entries = [
        calendar.Entry(key="1", title=title, begin=NOW, end=NOW + timedelta(hours=1), about=about, url=URL),
        calendar.Entry(key="2", title="day", begin=date(2026, 3, 1), end=date(2026, 3, 2)),
    ]
    made = calendar.ics(entries, name="lab: due", now=NOW)
    assert made == calendar.ics(entries, name="lab: due", now=NOW + timedelta(minutes=20))
    read = Calendar.from_ical(made)
    events = list(read.walk("VEVENT"))
    assert len(events) == 2 and len({str(e["uid"]) for e in events}) == 2
    assert events[0].decoded("dtstart") == NOW and events[1].decoded("dtstart") == date(2026, 3, 1)
    assert all(len(line) <= 75 for line in made.split(b"\r\n"))


def test_the_manifest_names_icons_that_are_there() -> None:
    import json
    import struct

    made = json.loads(contents("app.webmanifest"))
    assert {i["src"] for i in made["icons"]} == {address(n) for n in ("icon.svg", "icon-192.png", "icon-512.png")}
    for size in icons.SIZES:
        head = contents(f"icon-{size}.png")
        assert head.startswith(b"\x89PNG") and struct.unpack(">II", head[16:24]) == (size, size)


def test_the_icons_are_what_the_code_draws() -> None:
    size = min(icons.SIZES)
    assert contents(f"icon-{size}.png") == icons.drawn(size), "run: python -m homelab.console.icons"
