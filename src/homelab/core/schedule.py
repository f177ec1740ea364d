"""When a cron expression is due, exactly as cronie decides it: parse an expression, list its instants.

Pure: the time comes in as an argument, the zone data is the only thing consulted. It never reads a clock, never rounds
a schedule, and never hangs: an expression that can never be due yields nothing. The crontab reader uses `scan`; the lab
file, `control` and the command line use `parse`.

Rules and where they come from:

* fields, names, steps, `~`, and what is refused: cronie 1.7.2, crontab(5) and its parser's behaviour;
* the day rule: both day fields restricted means either may match; as soon as one begins with `*`, both must;
* clock changes: a schedule whose minute or hour field begins with `*` follows the wall clock; any other is a fixed
  time: skipped by a jump of up to three hours it is due right after the jump, and it is not due again when the clock
  is set back. Fixed times that one jump skips together are one instant here (cron starts them seconds apart).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from heapq import merge
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from homelab.core.errors import InputError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_BLANKS = " \t"
_SEPARATORS = " \t,\n"
_ALNUM = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

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
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field(name="minute", low=0, high=59),
    _Field(name="hour", low=0, high=23),
    _Field(name="day of month", low=1, high=31),
    _Field(name="month", low=1, high=12, names=_MONTHS),
    _Field(name="day of week", low=0, high=7, names=_WEEKDAYS),
)

_NICKNAMES = {
    "yearly": "0 0 1 1 *",
    "annually": "0 0 1 1 *",
    "monthly": "0 0 1 * *",
    "weekly": "0 0 * * 0",
    "daily": "0 0 * * *",
    "midnight": "0 0 * * *",
    "hourly": "0 * * * *",
}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A parsed expression in one zone. The sets are bit masks: bit n is minute, hour, day, month n; weekday 0 is Sunday.

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


def parse(expression: str, timezone: str = "UTC", *, seed: str = "") -> Schedule:
    """The schedule of an expression: five fields, or an `@` name.

    `seed` fixes what `~` picks (give the job's name): the same seed always picks the same value, where cron picks anew
    each time it loads the file. ScheduleError (with `column`) when cron would refuse it, or the zone is not known.
    """
    start = len(expression) - len(expression.lstrip(_BLANKS))
    schedule, end = scan(expression, start, timezone=timezone, seed=seed)
    rest = expression[end:].strip()
    if rest:
        raise ScheduleError(
            f"too many fields: nothing may follow the {'name' if schedule.expression[0] == '@' else 'five fields'}, "
            f"found '{_shown(rest)}'",
            column=end + 1,
            hint="Cron has no seconds and no year: minute, hour, day of month, month, day of week.",
        )
    return schedule


def scan(text: str, start: int = 0, *, timezone: str = "UTC", seed: str = "") -> tuple[Schedule, int]:
    """Read an expression at `start` (its first character) and stop behind the blanks after it.

    Returns the schedule and the position of what follows; the crontab reader finds the user or command there.
    """
    check_zone(timezone)
    if start >= len(text):
        raise ScheduleError("the schedule is empty", column=start + 1, hint="For example: 30 2 * * *, or @daily.")
    if text[start] == "@":
        return _scan_nickname(text, start, timezone)
    masks: list[int] = []
    stars: list[bool] = []
    warnings: list[str] = []
    words: list[str] = []
    at = start
    for field in _FIELDS:
        if at >= len(text) or text[at] == "\n":
            raise ScheduleError(
                f"the {field.name} field is missing: {len(words)} of five fields",
                column=at + 1,
                hint="Five fields: minute, hour, day of month, month, day of week.",
            )
        stars.append(text[at] == "*")
        mask, end = _scan_list(text, at, field, seed, warnings)
        masks.append(mask)
        words.append(text[at:end])
        at = _skip_blanks(text, end)
    minutes, hours, days, months, weekdays = masks
    if weekdays >> 7 & 1:
        weekdays |= 1
    schedule = Schedule(
        expression=" ".join(words),
        timezone=timezone,
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=weekdays & 0x7F,
        is_wildcard=stars[0] or stars[1],
        either_day=not (stars[2] or stars[4]),
    )
    if not warnings and next(_dates(schedule, date(2000, 1, 1)), None) is None:
        warnings.append("this date does not exist, so it is never due")
    if not warnings:
        return schedule, at
    return _with_warnings(schedule, tuple(warnings)), at


def _with_warnings(schedule: Schedule, warnings: tuple[str, ...]) -> Schedule:
    from dataclasses import replace

    return replace(schedule, warnings=warnings)


def check_zone(timezone: str) -> ZoneInfo:
    """The zone of that name; ScheduleError (column 1) when the zone data does not have it."""
    try:
        return _zone(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(
            f"unknown time zone '{_shown(timezone)}'", column=1, hint="Use a name such as Europe/Berlin or UTC."
        ) from error


@lru_cache(maxsize=64)
def _zone(timezone: str) -> ZoneInfo:
    return ZoneInfo(timezone)


def _shown(text: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= 40 else clean[:37] + "..."


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _scan_nickname(text: str, start: int, timezone: str) -> tuple[Schedule, int]:
    end = start + 1
    while end < len(text) and text[end] not in " \t\n":
        end += 1
    name = text[start + 1 : end]
    if name == "reboot":
        schedule = Schedule(expression="@reboot", timezone=timezone, is_reboot=True)
    elif name in _NICKNAMES:
        plain, _ = scan(_NICKNAMES[name], timezone=timezone)
        from dataclasses import replace

        schedule = replace(plain, expression="@" + name)
    else:
        known = "@reboot, @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"
        hint = f"Cron knows {known}."
        if name.lower() in (*_NICKNAMES, "reboot"):
            hint = f"Cron wants it in lower case: @{name.lower()}."
        raise ScheduleError(f"unknown name '@{_shown(name)}'", column=start + 1, hint=hint)
    return schedule, _skip_blanks(text, end)


# --- fields -----------------------------------------------------------------------------------------------------------


def _scan_list(text: str, at: int, field: _Field, seed: str, warnings: list[str]) -> tuple[int, int]:
    """One field: ranges between commas. Returns its bit mask and the position behind it."""
    mask = 0
    while True:
        part, at = _scan_range(text, at, field, seed, warnings)
        mask |= part
        if at >= len(text) or text[at] != ",":
            return mask, at
        at += 1


def _scan_range(text: str, at: int, field: _Field, seed: str, warnings: list[str]) -> tuple[int, int]:
    start = at
    step = 1
    if _at(text, at) == "*":
        low, high, at = field.low, field.high, at + 1
        if _at(text, at) == "/":
            step, at = _scan_step(text, at + 1, field)
    elif _at(text, at) == "~":
        low, high, at = _scan_random(text, start, at, field.low, field, seed)
    else:
        low, at = _scan_number(text, at, field)
        if _at(text, at) == "-":
            high, at = _scan_number(text, at + 1, field)
            if _at(text, at) == "/":
                step, at = _scan_step(text, at + 1, field)
        elif _at(text, at) == "~":
            low, high, at = _scan_random(text, start, at, low, field, seed)
        else:
            high = low
            if _at(text, at) == "/":
                raise _refused(
                    field,
                    "a step needs a range or * before it",
                    column=at + 1,
                    hint=f"Write {low}-{field.high}{_word(text, at)} for every so many from {low} on.",
                )
    if _at(text, at) not in _SEPARATORS:
        raise _refused(field, f"unexpected '{_shown(_at(text, at))}'", column=at + 1)
    return _mask(low, high, step, field, start, text[start:at], warnings), at


def _at(text: str, at: int) -> str:
    """The character there; the end of the text counts as the end of a line."""
    return text[at] if at < len(text) else "\n"


def _word(text: str, at: int) -> str:
    end = at
    while _at(text, end) not in _SEPARATORS:
        end += 1
    return text[at:end]


def _refused(field: _Field, what: str, *, column: int, hint: str = "") -> ScheduleError:
    return ScheduleError(f"bad {field.name}: {what}", column=column, hint=hint)


def _scan_number(text: str, at: int, field: _Field) -> tuple[int, int]:
    end = at
    while _at(text, end) in _ALNUM:
        end += 1
    word = text[at:end]
    if not word:
        found = _at(text, at)
        what = "it ends where a value should follow" if found in _SEPARATORS else f"unexpected '{_shown(found)}'"
        raise _refused(field, what, column=at + 1)
    if word.isdigit():
        return _as_c_int(word), end
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.low, end
    hint = ""
    if field.names and len(word) > 3 and word[:3].lower() in field.names:
        hint = f"Cron knows only the first three letters: {word[:3].lower()}."
    elif field.names:
        hint = f"Numbers {field.low}-{field.high}, or names: {', '.join(field.names)}."
    raise _refused(field, f"'{_shown(word)}' is no value of it", column=at + 1, hint=hint)


def _as_c_int(digits: str) -> int:
    """What C's strtol, stored in an int, makes of it: cron accepts some absurd numbers because of that."""
    value = min(int(digits[-40:]) if len(digits) <= 40 else 2**63 - 1, 2**63 - 1)
    return (value + 2**31) % 2**32 - 2**31


def _scan_step(text: str, at: int, field: _Field) -> tuple[int, int]:
    step, end = _scan_number(text, at, _Field(name=field.name, low=0, high=0))
    if step == 0:
        raise _refused(field, "a step of 0", column=at + 1)
    return step, end


def _scan_random(text: str, start: int, at: int, low: int, field: _Field, seed: str) -> tuple[int, int, int]:
    """`LOW~HIGH`, each side optional: one value of it, always the same for the same seed and field."""
    if _at(text, at + 1) in _SEPARATORS:
        high, end = field.high, at + 1
    else:
        high, end = _scan_number(text, at + 1, field)
        if _at(text, end) not in _SEPARATORS:
            raise _refused(field, "nothing may follow a random range", column=end + 1)
    if low > high:
        raise _refused(field, f"the random range {text[start:end]} is backwards", column=start + 1)
    if low < field.low or high > field.high:
        raise _refused(field, f"{text[start:end]} is outside {field.low}-{field.high}", column=start + 1)
    digest = sha256(f"{seed}\0{field.name}\0{text[start:end]}".encode(errors="surrogateescape")).digest()
    picked = low + int.from_bytes(digest[:8], "big") % (high - low + 1)
    return picked, picked, end


def _mask(low: int, high: int, step: int, field: _Field, start: int, word: str, warnings: list[str]) -> int:
    if low > high:
        hint = ""
        if field.names is _WEEKDAYS and high == 0:
            hint = "; newer versions of cronie read it as up to Sunday: write 7 for Sunday at the end"
        warnings.append(f"the {field.name} range '{_shown(word)}' is backwards, so it never matches{hint}")
        return 0
    if low < field.low or high > field.high or step < 0:
        # Cron checks what it sets: with a step, the end of the range itself may be out of bounds.
        last = low + (high - low) // step * step if step > 0 else -1
        if low < field.low or last > field.high or step < 0:
            raise _refused(field, f"'{_shown(word)}' is outside {field.low}-{field.high}", column=start + 1)
    if step > 1 and step > high - low:
        warnings.append(f"the step in the {field.name} field '{_shown(word)}' is larger than its range: only {low} is due")
    mask = 0
    for value in range(low, min(high, field.high) + 1, step):
        mask |= 1 << value
    return mask


# --- instants ---------------------------------------------------------------------------------------------------------


def _bits(mask: int) -> list[int]:
    return [n for n in range(mask.bit_length()) if mask >> n & 1]


def _dates(schedule: Schedule, first: date) -> Iterator[date]:
    """Local dates from `first` on that match, ascending; ends when decades pass without one."""
    months = _bits(schedule.months)
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


def _fires(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    if schedule.is_reboot:
        return
    zone = _zone(schedule.timezone)
    times = [timedelta(hours=h, minutes=m) for h in _bits(schedule.hours) for m in _bits(schedule.minutes)]
    # Two days earlier: a zone is up to a day away from UTC, and a jump can move a time over midnight.
    first = max(date(1, 1, 3), after.date()) - timedelta(days=2)
    waiting: list[datetime] = []  # instants of a day with a clock change that may come after those of the next day
    last: datetime = after
    for day in _dates(schedule, first):
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001
        plain = _plain_offset(zone, midnight)
        if plain is not None and not waiting:
            base = (midnight - plain).replace(tzinfo=UTC)
            if base > last:
                for time in times:
                    yield base + time
                last = base + times[-1]
                continue
            instants = [base + time for time in times]
        else:
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


def _plain_offset(zone: ZoneInfo, midnight: datetime) -> timedelta | None:
    """The offset of a local day on which the clock is not changed; None on any other."""
    offset = _offset(zone, midnight)
    tomorrow = midnight + timedelta(days=1)
    same = offset == _offset(zone, midnight, 1) == _offset(zone, tomorrow) == _offset(zone, tomorrow, 1)
    return offset if same else None


def _earliest(zone: ZoneInfo, local: datetime) -> datetime:
    offsets = (_offset(zone, local), _offset(zone, local, 1))
    # In a gap the date begins at the jump, which lies between the two readings.
    return (local - max(offsets)).replace(tzinfo=UTC)


def _instants_of_changed_day(
    schedule: Schedule, zone: ZoneInfo, midnight: datetime, times: list[timedelta]
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


# --- for people and for freshness -------------------------------------------------------------------------------------


def interval_s(schedule: Schedule, at: datetime) -> float | None:
    """The longest usual time between two instants, in seconds, as seen from `at`; None when there are not two.

    Counted on the wall clock, so a clock change does not lengthen it. `0 9-17 * * 1-5` gives the weekend, 64 hours.
    """
    if schedule.is_reboot:
        return None
    times = [h * 3600 + m * 60 for h in _bits(schedule.hours) for m in _bits(schedule.minutes)]
    first = max(at.date(), date(1, 1, 3))
    longest = max((b - a for a, b in zip(times, times[1:], strict=False)), default=0)
    previous: date | None = None
    for count, day in enumerate(_dates(schedule, first)):
        if previous is not None:
            longest = max(longest, (day - previous).days * 86400 + times[0] - times[-1])
        if count >= 2 and day.year > first.year + 4:
            break
        previous = day
    return float(longest) if longest else None


_WEEKDAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTH_NAMES = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)


def describe(schedule: Schedule) -> str:
    """The schedule in plain words, for a table: `at 02:30 every day`, `every 5 minutes`."""
    if schedule.is_reboot:
        return "when the machine starts"
    minutes, hours = _bits(schedule.minutes), _bits(schedule.hours)
    if not minutes or not hours:
        return "never"
    return f"{_time_words(minutes, hours)}{_day_words(schedule)}"


def _time_words(minutes: list[int], hours: list[int]) -> str:
    every = _step(minutes, 60)
    if len(hours) == 24:
        if every:
            return "every minute" if every == 1 else f"every {every} minutes"
        if len(minutes) == 1:
            return f"every hour at :{minutes[0]:02}"
        return "every hour at " + _listed([f":{m:02}" for m in minutes])
    if len(minutes) == 1 and _step(hours, 24) and len(hours) > 2:
        return f"every {_step(hours, 24)} hours at :{minutes[0]:02}"
    if len(minutes) * len(hours) <= 4:
        return "at " + _listed([f"{h:02}:{m:02}" for h in hours for m in minutes])
    span = _ranged([f"{h:02}" for h in hours], hours)
    if every:
        return f"{'every minute' if every == 1 else f'every {every} minutes'} of hours {span}"
    return f"at {_listed([f':{m:02}' for m in minutes])} of hours {span}"


def _day_words(schedule: Schedule) -> str:
    days, weekdays, months = _bits(schedule.days), _bits(schedule.weekdays), _bits(schedule.months)
    by_date = "" if len(days) == 31 else "day " + _ranged([str(d) for d in days], days) + " of the month"
    by_week = "" if len(weekdays) == 7 else _ranged([_WEEKDAY_NAMES[d] for d in weekdays], weekdays)
    if by_date and by_week:
        words = f" on {by_date} {'or' if schedule.either_day else 'if it is'} {by_week}"
    elif by_date or by_week:
        words = f" on {by_date or by_week}" if not (schedule.either_day and (not by_date or not by_week)) else ""
    else:
        words = ""
    if len(months) != 12:
        words += " in " + _ranged([_MONTH_NAMES[m - 1] for m in months], months)
    fixed = len(_bits(schedule.hours)) < 24
    return words or (" every day" if fixed else "")


def _step(values: list[int], size: int) -> int | None:
    """n when the values are every n-th from 0 around the clock."""
    if len(values) < 2 or values[0] != 0:
        return None
    step = values[1]
    return step if size % step == 0 and values == list(range(0, size, step)) else None


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _ranged(words: list[str], values: list[int]) -> str:
    if not words:
        return "no day"
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f"{words[0]} to {words[-1]}"
    return _listed(words)
