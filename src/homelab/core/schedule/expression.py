"""From the text of an expression to a `Schedule`: what cronie accepts, and a message with a column for the rest.

Called through `core.schedule`, and by the crontab reader.
"""

from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256

from homelab.core.schedule.instants import Schedule, ScheduleError, check_zone, dates

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_BLANKS = " \t"
_SEPARATORS = " \t,\n"
_ALNUM = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


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
    if not warnings and next(dates(schedule, date(2000, 1, 1)), None) is None:
        warnings.append("this date does not exist, so it is never due")
    if not warnings:
        return schedule, at
    return _with_warnings(schedule, tuple(warnings)), at


def _with_warnings(schedule: Schedule, warnings: tuple[str, ...]) -> Schedule:
    return replace(schedule, warnings=warnings)


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
        schedule = replace(plain, expression="@" + name)
    else:
        known = "@reboot, @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"
        hint = f"Cron knows {known}."
        if name.lower() in (*_NICKNAMES, "reboot"):
            hint = f"Cron wants it in lower case: @{name.lower()}."
        raise ScheduleError(f"unknown name '@{_shown(name)}'", column=start + 1, hint=hint)
    return schedule, _skip_blanks(text, end)


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
        warnings.append(
            f"the step in the {field.name} field '{_shown(word)}' is larger than its range: only {low} is due"
        )
    mask = 0
    for value in range(low, min(high, field.high) + 1, step):
        mask |= 1 << value
    return mask
