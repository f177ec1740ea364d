"""What is due as a calendar: an entry an instant, what runs all day long folded into one, failures of the last days.

Decisions are pure; `ics` writes them by the library `icalendar`, loaded when a calendar is first asked for. Instants
are in UTC, which every calendar shows in its own zone: right on days when clocks change. Called by the API.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import islice, takewhile
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from homelab.core import schedule as schedules
from homelab.core.jobs import Flow
from homelab.notify.message import harmless

DAYS = 14
A_DAY = 4
"""A flow that is due more often than this on average is no appointment: it is folded."""
MOST = 1000
"""Entries of single instants; beyond it the most frequent flows are folded, too."""
SHORTEST = timedelta(minutes=5)
"""Below this a calendar draws nothing that can be read."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """`begin` and `end` are aware instants, or days (the end is the first day after it)."""

    key: str
    title: str
    begin: datetime | date
    end: datetime | date
    about: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Due:
    """A flow that the lab runs by itself. `usual_s`: how long each of its jobs takes; those not known are left out."""

    flow: Flow
    schedule: schedules.Schedule
    usual_s: Mapping[str, float]


def upcoming(due: Iterable[Due], *, now: datetime, timezone: str, url: str, days: int = DAYS) -> list[Entry]:
    """The entries of the days to come, the earliest first; the folded ones are one entry over all of these days."""
    until = now + timedelta(days=days)
    singles: list[tuple[Due, list[datetime]]] = []
    folded: list[Due] = []
    for one in due:
        if one.schedule.is_reboot:
            continue
        times = list(islice(takewhile(lambda t: t <= until, one.schedule.fires(now)), A_DAY * days + 1))
        if len(times) > A_DAY * days:
            folded.append(one)
        elif times:
            singles.append((one, times))
    singles.sort(key=lambda pair: len(pair[1]))
    while sum(len(times) for _, times in singles) > MOST:
        folded.append(singles.pop()[0])
    entries = [_entry(one, time, url) for one, times in singles for time in times]
    entries.sort(key=lambda entry: (str(entry.begin), entry.key))
    return [*_folded(folded, now=now, timezone=timezone, url=url, days=days), *entries]


def takes_s(flow: Flow, usual_s: Mapping[str, float]) -> float:
    """How long a run of the flow takes as a rule: its longest way through what needs what."""
    done: dict[str, float] = {}
    for job in flow.jobs:  # a flow's jobs come after what they need
        before = max((done.get(need.job, 0.0) for need in job.needs), default=0.0)
        done[job.name] = before + usual_s.get(job.name, 0.0)
    return max(done.values(), default=0.0)


def _entry(one: Due, time: datetime, url: str) -> Entry:
    length = max(SHORTEST, timedelta(seconds=takes_s(one.flow, one.usual_s)))
    return Entry(
        key=f"due:{one.flow.name}:{time.isoformat()}",
        title=_title(one.flow),
        begin=time,
        end=time + length,
        about=_about(one),
        url=f"{url}/jobs/{quote(one.flow.jobs[0].name, safe='')}",
    )


def _title(flow: Flow) -> str:
    more = len(flow.jobs) - 1
    return harmless(flow.name) + (f" and {more} more job{'s' if more > 1 else ''}" if more else "")


def _about(one: Due) -> str:
    words = f"{schedules.describe(one.schedule)} ({one.flow.timezone})"
    return "\n".join([words, *(f"- {harmless(job.name)}" for job in one.flow.jobs[:40])])


def _folded(due: Sequence[Due], *, now: datetime, timezone: str, url: str, days: int) -> list[Entry]:
    if not due:
        return []
    today = now.astimezone(ZoneInfo(timezone)).date()
    jobs = sum(len(one.flow.jobs) for one in due)
    lines = [f"{_title(one.flow)}: {schedules.describe(one.schedule)}" for one in due]
    return [
        Entry(
            key="folded",
            title=f"{jobs} frequent job{'s' if jobs > 1 else ''}",
            begin=today,
            end=today + timedelta(days=days),
            about="\n".join(lines),
            url=f"{url}/jobs",
        )
    ]


def failures(rows: Iterable[Mapping[str, Any]], *, timezone: str, url: str) -> list[Entry]:
    """What failed, at most one entry a job and day (the newest). `rows`: job runs, the newest first."""
    found: dict[tuple[str, date], Entry] = {}
    for row in rows:
        ended: datetime | None = row["ended"]
        if ended is None:
            continue
        begin: datetime = row["started"] or ended
        found.setdefault(
            (row["job"], ended.astimezone(ZoneInfo(timezone)).date()),
            Entry(
                key=f"failed:{row['job']}:{row['id']}",
                title=f"✗ {harmless(row['job'])} {str(row['state']).replace('_', ' ')}",
                begin=begin,
                end=max(ended, begin + SHORTEST),
                about=harmless(str(row["reason"] or "")),
                url=f"{url}/runs/{quote(str(row['id']), safe='')}",
            ),
        )
    return list(found.values())


def ics(entries: Iterable[Entry], *, name: str, now: datetime) -> bytes:
    """The calendar, RFC 5545. Its stamp is the full hour: for so long an unchanged calendar is the same bytes."""
    from icalendar import Calendar, Event

    stamp = now.replace(minute=0, second=0, microsecond=0)
    made: Any = Calendar()
    made.add("prodid", "-//homelab//due//EN")
    made.add("version", "2.0")
    made.add("method", "PUBLISH")
    made.add("x-wr-calname", harmless(name))
    made.add("refresh-interval", timedelta(hours=1), parameters={"value": "DURATION"})
    made.add("x-published-ttl", "PT1H")
    for entry in entries:
        event: Any = Event()
        event.add("uid", f"{sha256(f'{name}:{entry.key}'.encode()).hexdigest()[:32]}@homelab")
        event.add("dtstamp", stamp)
        event.add("summary", entry.title)
        event.add("dtstart", entry.begin)
        event.add("dtend", entry.end)
        event.add("transp", "TRANSPARENT")
        if entry.about:
            event.add("description", entry.about)
        if entry.url:
            event.add("url", entry.url)
        made.add_component(event)
    return made.to_ical()
