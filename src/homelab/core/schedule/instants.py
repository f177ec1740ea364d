"""A parsed schedule and the instants at which it is due. Pure; see the package for the rules.

Works by local date: a date on which the clock is not changed costs one addition an instant, the others are mapped
minute by minute. Called through `core.schedule`.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from heapq import merge
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from homelab.core.errors import InputError

# A leap day on one given weekday comes every 28 years, across a century without a leap day after 40.
_SEARCH_YEARS = 41
_SMALL_JUMP_MIN = 4
_LARGEST_JUMP_MIN = 179
_LARGEST_REPEAT_MIN = 181


class ScheduleError(InputError):
    """The expression is not one that cron accepts. `column` is 1-based within the text that was given."""

    def __init__(self, message: str, *, column: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.column = column


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A parsed expression in one zone. The sets are bit masks: bit n is minute, hour, day or month n; 0 is Sunday.

    `is_wildcard`: minute or hour begins with `*`. `either_day`: neither day field begins with `*`, so one is enough.
    `warnings`: what is accepted but is surely not meant, in sentences.
    """

    expression: str
    timezone: str
    minutes: int = 0
    hours: int = 0
    days: int = 0
    months: int = 0
    weekdays: int = 0
    is_wildcard: bool = False
    either_day: bool = False
    is_reboot: bool = False
    warnings: tuple[str, ...] = ()

    def fires(self, after: datetime) -> Iterator[datetime]:
        """Instants strictly after `after` (aware), ascending, in UTC, computed as they are asked for.

        Ends when there is none within the next decades (a date that does not exist) or at the end of the calendar.
        ValueError when `after` has no zone.
        """
        if after.tzinfo is None:
            raise ValueError("`after` needs a time zone")
        return _fires(self, after.astimezone(UTC))

    def matches_date(self, day: date) -> bool:
        """Whether the three date fields accept this local date."""
        if not self.months >> day.month & 1:
            return False
        by_date = bool(self.days >> day.day & 1)
        by_weekday = bool(self.weekdays >> (day.isoweekday() % 7) & 1)
        return (by_date or by_weekday) if self.either_day else (by_date and by_weekday)


def check_zone(timezone: str) -> ZoneInfo:
    """The zone of that name; ScheduleError (column 1) when the zone data does not have it."""
    try:
        return _zone(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(
            f"unknown time zone {timezone[:60]!r}", column=1, hint="Use a name such as Europe/Berlin or UTC."
        ) from error


@lru_cache(maxsize=64)
def _zone(timezone: str) -> ZoneInfo:
    return ZoneInfo(timezone)


@lru_cache(maxsize=4096)
def bits(mask: int) -> tuple[int, ...]:
    """The numbers of the bits that are set, ascending."""
    return tuple(n for n in range(mask.bit_length()) if mask >> n & 1)


def dates(schedule: Schedule, first: date) -> Iterator[date]:
    """Local dates from `first` on that match, ascending; ends when decades pass without one."""
    months = bits(schedule.months)
    if not months or not schedule.minutes or not schedule.hours:
        return
    year = first.year
    last_found = year
    while year <= min(9998, last_found + _SEARCH_YEARS):
        for month in months:
            if (year, month) < (first.year, first.month):
                continue
            for day in _days_of_month(schedule, year, month):
                if day >= first:
                    last_found = year
                    yield day
        year += 1


def _days_of_month(schedule: Schedule, year: int, month: int) -> Iterator[date]:
    day = date(year, month, 1)
    weekday = day.isoweekday() % 7
    length = ((date(year + month // 12, month % 12 + 1, 1)) - day).days
    for number in range(1, length + 1):
        by_date = schedule.days >> number & 1
        by_weekday = schedule.weekdays >> weekday & 1
        if (by_date | by_weekday) if schedule.either_day else (by_date & by_weekday):
            yield date(year, month, number)
        weekday = (weekday + 1) % 7


@lru_cache(maxsize=1024)
def _times(hours: int, minutes: int) -> tuple[timedelta, ...]:
    """The times of day of these bits, ascending."""
    return tuple(timedelta(hours=h, minutes=m) for h in bits(hours) for m in bits(minutes))


def _fires(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    if schedule.is_reboot:
        return
    zone = _zone(schedule.timezone)
    times = _times(schedule.hours, schedule.minutes)
    # Two days earlier: a zone is up to a day away from UTC, and a jump can move a time over midnight.
    first = max(date(1, 1, 3), after.date()) - timedelta(days=2)
    waiting: list[datetime] = []  # instants of a day with a clock change that may come after those of the next day
    last: datetime = after
    for day in dates(schedule, first):
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001
        plain = _plain_offset(zone, midnight)
        if plain is not None and not waiting:
            base = (midnight - plain).replace(tzinfo=UTC)
            for time in times[bisect_right(times, last - base) :]:
                yield base + time
            last = max(last, base + times[-1])
            continue
        instants = _instants_of_changed_day(schedule, zone, midnight, times)
        if waiting:
            instants = list(merge(waiting, instants))
        # The next date cannot begin before this, so everything before it is final.
        final = _earliest(zone, midnight + timedelta(days=1))
        waiting = []
        for instant in instants:
            if instant >= final:
                waiting.append(instant)
            elif instant > last:
                last = instant
                yield instant
    for instant in waiting:
        if instant > last:
            last = instant
            yield instant


def _offset(zone: ZoneInfo, local: datetime, fold: int = 0) -> timedelta:
    return local.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0)


@lru_cache(maxsize=8192)
def _plain_offset(zone: ZoneInfo, midnight: datetime) -> timedelta | None:
    """The offset of a local day on which the clock is not changed; None on any other. Kept for the days of some years
    in a few zones: every schedule of a lab asks for the same ones."""
    offset = _offset(zone, midnight)
    tomorrow = midnight + timedelta(days=1)
    same = offset == _offset(zone, midnight, 1) == _offset(zone, tomorrow) == _offset(zone, tomorrow, 1)
    return offset if same else None


def _earliest(zone: ZoneInfo, local: datetime) -> datetime:
    offsets = (_offset(zone, local), _offset(zone, local, 1))
    # In a gap the date begins at the jump, which lies between the two readings.
    return (local - max(offsets)).replace(tzinfo=UTC)


def _instants_of_changed_day(
    schedule: Schedule, zone: ZoneInfo, midnight: datetime, times: Sequence[timedelta]
) -> list[datetime]:
    """Ascending instants of one local date on which the clock is changed."""
    found: set[datetime] = set()
    for time in times:
        local = midnight + time
        before, behind = _offset(zone, local), _offset(zone, local, 1)
        first = (local - before).replace(tzinfo=UTC)
        if before == behind:
            found.add(first)
        elif before > behind:  # set back: this local time comes twice
            found.add(first)
            if schedule.is_wildcard or before - behind > timedelta(minutes=_LARGEST_REPEAT_MIN):
                found.add((local - behind).replace(tzinfo=UTC))
        else:  # skipped
            jump_min = (behind - before) / timedelta(minutes=1)
            caught_up = jump_min <= _SMALL_JUMP_MIN if schedule.is_wildcard else jump_min <= _LARGEST_JUMP_MIN
            if caught_up:
                found.add(_jump(zone, (local - behind).replace(tzinfo=UTC), first, behind))
    return sorted(found)


def _jump(zone: ZoneInfo, before: datetime, behind: datetime, offset: timedelta) -> datetime:
    """The instant between the two at which the zone changes to `offset`."""
    while behind - before > timedelta(seconds=1):
        middle = before + (behind - before) // 2
        middle = middle.replace(microsecond=0)
        if middle in (before, behind):
            break
        if middle.astimezone(zone).utcoffset() == offset:
            behind = middle
        else:
            before = middle
    return behind


def interval_s(schedule: Schedule, at: datetime) -> float | None:
    """The longest usual time between two instants, in seconds, as seen from `at`; None when there are not two.

    Counted on the wall clock, so a clock change does not lengthen it. `0 9-17 * * 1-5` gives the weekend, 64 hours.
    """
    if schedule.is_reboot:
        return None
    times = [h * 3600 + m * 60 for h in bits(schedule.hours) for m in bits(schedule.minutes)]
    first = max(at.date(), date(1, 1, 3))
    longest = max((b - a for a, b in itertools.pairwise(times)), default=0)
    previous: date | None = None
    for count, day in enumerate(dates(schedule, first)):
        if previous is not None:
            longest = max(longest, (day - previous).days * 86400 + times[0] - times[-1])
        if count >= 2 and day.year > first.year + 4:
            break
        previous = day
    return float(longest) if longest and previous is not None else None
