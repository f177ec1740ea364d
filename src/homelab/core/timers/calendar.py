"""systemd's calendar expressions (`Mon..Fri *-*-* 02:00 Europe/Berlin`): what is accepted, and on which days it holds.

Follows systemd.time(7) and what systemd 252 accepts; `systemd-analyze calendar` is the judge in the tests. Zone names
are not checked here. Called by `core.timers.systemd`; `core.timers.cronlines` turns the result into cron expressions.
"""

import re
from calendar import monthrange
from dataclasses import dataclass, replace

_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_ALL_WEEKDAYS = 0x7F
_SHORTHANDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    **dict.fromkeys(("yearly", "annually", "anually"), "*-01-01 00:00:00"),
    **dict.fromkeys(("biannually", "bi-annually", "semiannually", "semi-annually"), "*-01,07-01 00:00:00"),
}
_PART = re.compile(r"(\d{1,9})(?:\.\.(\d{1,9}))?(?:/(\d{1,9}))?", re.ASCII)
_SECOND = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:\.\.(\d{1,9}(?:\.\d{1,6})?))?(?:/(\d{1,9}(?:\.\d{1,6})?))?", re.ASCII)
_ZONE = re.compile(r"UTC|[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
_LONGEST = 500


class CalendarError(Exception):
    """The text is no calendar expression that systemd accepts. The message says what is wrong, without a full stop."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Values from `start` on: to `stop` (None: open, if there is a step; else the one value), `step` apart."""

    start: int
    stop: int | None = None
    step: int = 0

    def values(self, last: int) -> range:
        """The values of it, none above `last`."""
        if not self.step:
            return range(self.start, min(self.start, last) + 1)
        return range(self.start, min(last, last if self.stop is None else self.stop) + 1, self.step)


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """A parsed expression. Bit n of `weekdays` is the day of the week n, 0 is Sunday; of the others the value n.

    `years`: None for every year. `is_from_end`: `days` count from the end of the month, 1 is its last day.
    `is_on_the_minute`: second 0 and no other. `timezone`: empty means the machine's.
    """

    weekdays: int = _ALL_WEEKDAYS
    years: tuple[Part, ...] | None = None
    months: int = 0
    days: tuple[Part, ...] = ()
    is_from_end: bool = False
    hours: int = 0
    minutes: int = 0
    is_on_the_minute: bool = True
    timezone: str = ""

    def day_mask(self, length: int) -> int:
        """The days of a month of that many days; bit n is day n. The weekday is not looked at."""
        if not self.is_from_end:
            return _mask(self.days, length)
        mask = 0
        for part in self.days:
            # A step walks on towards the end of the month; a range names both its ends from there.
            first = length + 1 - (part.start if part.stop is None else part.stop)
            last = length if part.stop is None else length + 1 - part.start
            for day in Part(start=first, stop=last if part.step else None, step=part.step).values(length):
                mask |= 1 << day
        return mask


def parse_calendar(text: str) -> Calendar:
    """The meaning of an expression; CalendarError when systemd would refuse it."""
    if len(text) > _LONGEST:
        raise CalendarError("it is too long")
    words = text.split()
    if not words:
        raise CalendarError("it is empty")
    timezone = ""
    if len(words) > 1 and _is_zone(words[-1]):
        timezone = words.pop()
    if len(words) == 1 and words[0].lower() in _SHORTHANDS:
        words = _SHORTHANDS[words[0].lower()].split()
    if words[0].startswith("@"):
        raise CalendarError("a time given as seconds since 1970 comes once, and is long gone or far away")
    weekdays = _ALL_WEEKDAYS
    if words[0][0].isalpha():
        weekdays = _weekdays(words.pop(0))
    if not words:
        return _with_time(_dated("*-*-*", weekdays, timezone), "00:00:00")
    if len(words) > 2:
        raise CalendarError(f"'{words[2][:40]}' is too much: weekdays, a date, a time and a zone is all there can be")
    date, time = words if len(words) == 2 else (words[0], "00:00:00")
    if len(words) == 1 and ":" in words[0]:
        date, time = "*-*-*", words[0]
    return _with_time(_dated(date, weekdays, timezone), time)


def _is_zone(word: str) -> bool:
    is_weekday = word[:3].lower() in {day[:3] for day in _WEEKDAYS} and "/" not in word
    return _ZONE.fullmatch(word) is not None and word.lower() not in _SHORTHANDS and not is_weekday


def _weekdays(text: str) -> int:
    """`Mon`, `Mon..Fri`, `Mon-Fri`, `Mon,Wed..Fri`; a comma may trail. Ranges go from Monday to Sunday."""
    mask = 0
    for item in text.removesuffix(",").split(","):
        first, *more = re.split(r"\.\.|-", item)
        low = _weekday(first)
        high = _weekday(more[0]) if more else low
        if len(more) > 1 or low > high:
            raise CalendarError(f"'{item[:40]}' is no range of weekdays: they go from Monday to Sunday")
        for day in range(low, high + 1):
            mask |= 1 << day % 7
    return mask


def _weekday(text: str) -> int:
    """1 is Monday, 7 is Sunday."""
    for number, name in enumerate(_WEEKDAYS):
        if text.lower() in (name, name[:3]):
            return number or 7
    raise CalendarError(f"'{text[:40]}' is no day of the week")


def _dated(text: str, weekdays: int, timezone: str) -> Calendar:
    is_from_end = "~" in text
    pieces = re.split(r"[-~]", text)
    if text.count("~") > 1 or (is_from_end and text.rindex("~") < text.rfind("-")) or len(pieces) not in (2, 3):
        raise CalendarError(f"'{text[:40]}' is no date: write year-month-day, or year-month~day from the end")
    year, month, day = pieces if len(pieces) == 3 else ("*", *pieces)
    years = None if year == "*" else _parts(year, "year", 0, 2199)
    if years is not None:
        years = tuple(replace(p, start=_full_year(p.start), stop=p.stop and _full_year(p.stop)) for p in years)
        if any(not 1970 <= part.start <= 2199 for part in years):
            raise CalendarError(f"the year '{year[:40]}' is outside 1970 to 2199")
    days = (Part(start=1, step=1),) if day == "*" else _parts(day, "day", 1, 31, is_from_end=is_from_end)
    return Calendar(
        weekdays=weekdays,
        years=years,
        months=_field(month, "month", 1, 12),
        days=days,
        is_from_end=is_from_end and day != "*",
        timezone=timezone,
    )


def _full_year(year: int) -> int:
    return year + (2000 if year < 70 else 1900 if year < 100 else 0)


def _with_time(calendar: Calendar, text: str) -> Calendar:
    pieces = text.split(":")
    if len(pieces) not in (2, 3):
        raise CalendarError(f"'{text[:40]}' is no time: write hours:minutes or hours:minutes:seconds")
    return replace(
        calendar,
        hours=_field(pieces[0], "hour", 0, 23),
        minutes=_field(pieces[1], "minute", 0, 59),
        is_on_the_minute=len(pieces) == 2 or _is_zero(pieces[2]),
    )


def _is_zero(text: str) -> bool:
    """Whether the seconds are 0 and nothing else; CalendarError when they are no seconds."""
    if text == "*":
        return False
    found: list[tuple[float, float | None, float]] = []
    for item in text.split(","):
        match = _SECOND.fullmatch(item)
        if match is None:
            raise CalendarError(f"'{item[:40]}' is no value of the second")
        start, stop, step = (None if number is None else float(number) for number in match.groups())
        if start is None or max(start, stop or 0, step or 0) >= 60 or step == 0 or (stop is not None and stop <= start):
            raise CalendarError(f"'{item[:40]}' is no value of the second")
        found.append((start, stop or None, step or 0))
    return all(start == 0 and not stop and not step for start, stop, step in found)


def _field(text: str, name: str, low: int, high: int) -> int:
    if text == "*":
        return sum(1 << value for value in range(low, high + 1))
    return _mask(_parts(text, name, low, high), high)


def _mask(parts: tuple[Part, ...], last: int) -> int:
    mask = 0
    for part in parts:
        for value in part.values(last):
            mask |= 1 << value
    return mask


def _parts(text: str, name: str, low: int, high: int, *, is_from_end: bool = False) -> tuple[Part, ...]:
    return tuple(_part(item, name, low, high - 3 if is_from_end else high, is_from_end) for item in text.split(","))


def _part(text: str, name: str, low: int, high: int, is_from_end: bool) -> Part:
    match = _PART.fullmatch(text)
    if match is None:
        hint = ": '*' stands alone, a step is written as 0/5 or 1/2" if "*" in text else ""
        raise CalendarError(f"'{text[:40]}' is no value of the {name}{hint}")
    start, stop = int(match[1]), int(match[2]) if match[2] else None
    step = int(match[3]) if match[3] else None
    if not low <= start <= high or (stop is not None and not low <= stop <= high):
        raise CalendarError(f"the {name} '{text[:40]}' is outside {low} to {high}")
    if step == 0:
        raise CalendarError(f"a step of 0 in the {name} '{text[:40]}'")
    if stop is not None:
        if stop < start:
            raise CalendarError(f"the range of the {name} '{text[:40]}' is backwards")
        # systemd moves the end to the last value that a step hits.
        last = start + (stop - start) // (step or 1) * (step or 1)
        return Part(start=start, stop=last, step=step or 1) if last > start else Part(start=start)
    if step is None:
        return Part(start=start)
    if (start - step < low) if is_from_end else (start + step > high):
        raise CalendarError(f"the step of the {name} '{text[:40]}' leads out of its range")
    return Part(start=start, step=step)


MONTH_LENGTHS = {month: monthrange(2023, month)[1] for month in range(1, 13)}
"""Days of each month, 1 to 12, in a year without a leap day."""
