"""Hazards of schedules: the rule of the two day fields, clock changes, crowded minutes. Called by `core.hazards`."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from homelab.core.hazards.found import Facts, Hazard, Subject
from homelab.core.schedule import Schedule, check_zone, describe

_ALL_DAYS, _ALL_WEEKDAYS = 0xFFFFFFFE, 0x7F
_CROWD = 6
_FREQUENT_S = 15 * 60
_UNNOTICED = 1
"""A job with more runs on the same day than this does not miss the one that a clock change takes."""


def shortest_gap_s(schedule: Schedule) -> float | None:
    """The shortest time between two instants on days that follow each other; None for `@reboot` and never."""
    times = [h * 60 + m for h in range(24) if schedule.hours >> h & 1 for m in range(60) if schedule.minutes >> m & 1]
    if not times:
        return None
    gaps = [b - a for a, b in pairwise(times)]
    return min([*gaps, 1440 - times[-1] + times[0]]) * 60.0


def odd_times(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """The trap of day and weekday; each minute where once is more likely meant."""
    _ = facts
    yield from _either_day(subject)
    yield from _every_minute(subject)


def _every_minute(subject: Subject) -> Iterator[Hazard]:
    """`* 5 * * *`: sixty runs. A span of hours is taken as meant, a single one or every n-th is not."""
    schedule = subject.schedule
    if schedule.minutes != (1 << 60) - 1:
        return
    hours = [hour for hour in range(24) if schedule.hours >> hour & 1]
    is_scattered = len(hours) < 24 and all(b - a > 1 for a, b in pairwise(hours))
    is_one_day = len(hours) == 24 and (schedule.days.bit_count() == 1 or schedule.weekdays.bit_count() == 1)
    if not (is_scattered or is_one_day):
        return
    count = 60 * len(hours)
    what = (
        f"of the hour{'s' if len(hours) > 1 else ''} {', '.join(map(str, hours[:6]))}"
        if is_scattered
        else "of that day"
    )
    yield Hazard(
        line=subject.job.line,
        code="every-minute",
        message=f"* for the minute means each minute {what}: {count} runs a day",
        hint="Write 0 for the minute, if once an hour is meant.",
    )


def _either_day(subject: Subject) -> Iterator[Hazard]:
    schedule = subject.schedule
    if not schedule.either_day or (schedule.days == _ALL_DAYS and schedule.weekdays == _ALL_WEEKDAYS):
        return
    if schedule.days == _ALL_DAYS or schedule.weekdays == _ALL_WEEKDAYS:
        which = "day of month" if schedule.days == _ALL_DAYS else "weekday"
        what = f"it runs every day: the {which} field allows every day, and either day field is enough"
        hint = f"Write * for the {which}, then only the other field counts."
    else:
        what = f"it runs {describe(schedule)}: with both day fields set, either one is enough"
        hint = (
            "If both are meant to hold: keep the day of month, write * for the weekday, and let the command check it: "
            '[ "$(date +%u)" = 1 ] && ...'
        )
    yield Hazard(line=subject.job.line, code="either-day", message=what, hint=hint)


def crowds_and_clocks(subjects: Sequence[Subject], *, now: datetime) -> Iterator[Hazard]:
    """Clock changes of each job's zone, and the most crowded minute of the crontab."""
    changes: dict[str, list[tuple[datetime, datetime]]] = {}
    for subject in subjects:
        zone = subject.schedule.timezone
        if zone not in changes:
            changes[zone] = clock_changes(check_zone(zone), now)
        if hazard := _clock_change(subject, changes[zone]):
            yield hazard
    yield from _crowd(subjects, now)


# --- clock changes ----------------------------------------------------------------------------------------------------


def clock_changes(zone: ZoneInfo, now: datetime) -> list[tuple[datetime, datetime]]:
    """Clock changes of the year after `now`: local times (naive) right before and right after, as the clock shows them.

    A gap goes up (02:00, 03:00), a repetition goes down (03:00, 02:00).
    """
    found: list[tuple[datetime, datetime]] = []
    start = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for day in range(366):
        low, high = start + timedelta(days=day), start + timedelta(days=day + 1)
        before, behind = low.astimezone(zone).utcoffset(), high.astimezone(zone).utcoffset()
        if before is None or behind is None or before == behind:
            continue
        while high - low > timedelta(minutes=1):
            middle = low + (high - low) // 2
            middle = middle.replace(second=0, microsecond=0)
            if middle in (low, high):
                break
            low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
        plain = high.replace(tzinfo=None)
        found.append((plain + before, plain + behind))
    return found


def _clock_change(subject: Subject, changes: Sequence[tuple[datetime, datetime]]) -> Hazard | None:
    """A job that a change of the clock moves, leaves out or repeats on that day; frequent ones do not notice."""
    schedule = subject.schedule
    runs = schedule.hours.bit_count() * schedule.minutes.bit_count()
    for before, after in changes:
        first, last = min(before, after), max(before, after)
        times = [
            first + timedelta(minutes=n)
            for n in range(int((last - first) / timedelta(minutes=1)))
            if _is_due(schedule, first + timedelta(minutes=n))
        ]
        if not times or runs - len(times) > _UNNOTICED:
            continue
        is_gap = after > before
        span = f"{first:%H:%M}-{last:%H:%M}"
        where = f"{schedule.timezone} on {first:%Y-%m-%d}"
        if is_gap and schedule.is_wildcard:
            what = f"there is no {span} in {where}: its run is left out"
        elif is_gap:
            what = f"there is no {span} in {where}: it runs at {after:%H:%M}, beside what is due then"
        elif schedule.is_wildcard:
            what = f"{span} comes twice in {where}, and it runs both times"
        else:
            continue  # cron runs it once: nothing a person would notice
        hint = f'Choose a time outside {span}, or timezone = "UTC" for the job.'
        return Hazard(line=subject.job.line, code="clock-change", message=what, hint=hint)
    return None


def _is_due(schedule: Schedule, local: datetime) -> bool:
    at_time = schedule.hours >> local.hour & 1 and schedule.minutes >> local.minute & 1
    return bool(at_time) and schedule.matches_date(local.date())


# --- crowds -----------------------------------------------------------------------------------------------------------


def _crowd(subjects: Sequence[Subject], now: datetime) -> Iterator[Hazard]:
    """The minute of the next days at which most jobs start, if they are many; jobs that come often do not count."""
    due: dict[datetime, list[int]] = {}
    end = now + timedelta(days=8)
    for subject in subjects:
        gap_s = shortest_gap_s(subject.schedule)
        if gap_s is None or gap_s <= _FREQUENT_S:
            continue
        for fire in subject.schedule.fires(now):
            if fire > end:
                break
            due.setdefault(fire, []).append(subject.job.line)
    if not due:
        return
    most = max(due, key=lambda fire: (len(due[fire]), -fire.timestamp()))
    lines = due[most]
    if len(lines) < _CROWD:
        return
    zone = ZoneInfo(subjects[0].schedule.timezone)
    yield Hazard(
        line=lines[0],
        code="crowded-minute",
        message=f"{len(lines)} jobs start together at {most.astimezone(zone):%H:%M}: lines {_listed(lines)}",
        hint="Spread them over the hour, or give them a queue with few slots: the lab starts them one after the other.",
    )


def _listed(lines: Sequence[int]) -> str:
    shown = [str(line) for line in lines[:12]]
    return ", ".join(shown) + (f" and {len(lines) - 12} more" if len(lines) > 12 else "")
