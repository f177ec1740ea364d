"""From sets of minutes, hours, days to cron expressions that mean exactly the same, or the reason why there is none.

Nothing is approximated: what cron cannot say raises `NotCron`. Called by the readers of `core.timers`.
"""

from itertools import pairwise

from homelab.core.timers.calendar import MONTH_LENGTHS, Calendar

_FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
_FEBRUARY = 2
_MOST_LINES = 4
_DAY_S = 86_400


class NotCron(Exception):  # noqa: N818
    """Cron has no expression for it. `message` says why, `hint` what to do instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def full(name: str) -> int:
    """All values of a field."""
    low, high = _FIELDS[name]
    return sum(1 << value for value in range(low, high + 1))


def field(mask: int, name: str) -> str:
    """A field of a cron expression for a set of values (bit n is the value n), as a person would write it.

    Two values are listed, never `*/12`: a leading `*` makes cron follow the wall clock through clock changes.
    """
    low, high = _FIELDS[name]
    if mask == full(name):
        return "*"
    values = [value for value in range(low, high + 1) if mask >> value & 1]
    if step := _even_step(values, most=3):
        if values[0] == low and values[-1] + step > high:
            return f"*/{step}"
        return f"{values[0]}-{values[-1]}/{step}"
    return ",".join(_runs(values))


def of_calendar(calendar: Calendar) -> tuple[str, ...]:
    """Cron expressions that together are due exactly when the calendar expression is; NotCron when there are none."""
    if calendar.years is not None:
        raise NotCron("cron has no years", "Add the job by hand, and remove it when its year is over.")
    if not calendar.is_on_the_minute:
        raise NotCron(
            "cron has no seconds: the finest it knows is a minute",
            "Start the program each minute and let it wait, or keep the timer.",
        )
    time = f"{field(calendar.minutes, 'minute')} {field(calendar.hours, 'hour')}"
    if not calendar.is_from_end:
        return (f"{time} {_days(calendar.day_mask(31), calendar.months, calendar.weekdays)}",)
    if calendar.months >> _FEBRUARY & 1:
        hint = "Run it on the days that can be the one, and let the command check: "
        check = "[ \"$(date -d 'tomorrow' +%d)\" = 01 ] && ... on days 28-31 is the last day of the month."
        raise NotCron(
            "cron cannot count from the end of the month, and February's end is not the same each year",
            hint + check,
        )
    by_days: dict[int, int] = {}
    for month, length in MONTH_LENGTHS.items():
        if calendar.months >> month & 1:
            days = calendar.day_mask(length)
            by_days[days] = by_days.get(days, 0) | 1 << month
    return tuple(f"{time} {_days(days, months, calendar.weekdays)}" for days, months in by_days.items())


def of_interval(seconds: float) -> tuple[str, ...]:
    """Cron expressions for something that comes every so many seconds; NotCron when cron's clock has no such rhythm."""
    if seconds == 7 * _DAY_S:
        return ("0 0 * * 0",)
    minutes = round(seconds / 60)
    if minutes < 1 or minutes * 60 != seconds:
        raise NotCron("cron has no seconds: the finest it knows is a minute")
    if 1440 % minutes:
        raise NotCron(
            "cron counts by the clock, and a day does not divide evenly into such intervals",
            "Choose an interval that does, such as 30min, 1h, 6h, 1d or 1w.",
        )
    by_minutes: dict[int, int] = {}
    for hour in range(24):
        due = sum(1 << minute for minute in range(60) if not (hour * 60 + minute) % minutes)
        if due:
            by_minutes[due] = by_minutes.get(due, 0) | 1 << hour
    if len(by_minutes) > _MOST_LINES:
        raise NotCron(
            f"cron would need {len(by_minutes)} lines for it", "Choose an interval that divides an hour or a day."
        )
    return tuple(f"{field(due, 'minute')} {field(hours, 'hour')} * * *" for due, hours in by_minutes.items())


def of_either_day(minutes: int, hours: int, days: int | None, months: int, weekdays: int | None) -> str:
    """Like a crontab's line: with both `days` and `weekdays` given, either is enough; None: not restricted."""
    day = "*" if days is None else _plain(days, "day")
    weekday = "*" if weekdays is None else _plain(weekdays, "weekday")
    return f"{field(minutes, 'minute')} {field(hours, 'hour')} {day} {field(months, 'month')} {weekday}"


def _days(days: int, months: int, weekdays: int) -> str:
    """The three date fields where day AND weekday must match. Cron says that only when one of them begins with `*`."""
    day, weekday, month = field(days, "day"), field(weekdays, "weekday"), field(months, "month")
    if "*" in (day[0], weekday[0]):
        return f"{day} {month} {weekday}"
    star_day, star_weekday = _starred(days, "day"), _starred(weekdays, "weekday")
    hint = "Run it on all those days of the month, and let the command check the weekday with `date +%u`."
    if star_day or star_weekday:
        date = f"{star_day or day} {month} {weekday if star_day else star_weekday}"
        hint = f"The lab reads day fields '{date}' as both; write the job by hand if you want that, or: {hint}"
    raise NotCron(f"on days {day} that are also weekday {weekday}: cron takes either one for enough", hint)


def _starred(mask: int, name: str) -> str:
    """The set written with a leading `*`: a step that only hits the lowest value, and the rest. Empty: impossible."""
    low, high = _FIELDS[name]
    if not mask >> low & 1:
        return ""
    rest = mask & ~(1 << low)
    return f"*/{high - low + 1}" + (f",{_plain(rest, name)}" if rest else "")


def _plain(mask: int, name: str) -> str:
    """The set without any `*`."""
    low, high = _FIELDS[name]
    values = [value for value in range(low, high + 1) if mask >> value & 1]
    if step := _even_step(values, most=3):
        return f"{values[0]}-{values[-1]}/{step}"
    return ",".join(_runs(values))


def _even_step(values: list[int], *, most: int) -> int:
    """n when there are at least `most` values, each n (2 or more) behind the one before; else 0."""
    steps = {b - a for a, b in pairwise(values)}
    return steps.pop() if len(values) >= most and len(steps) == 1 and min(steps) > 1 else 0


def _runs(values: list[int]) -> list[str]:
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][-1] == value - 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return [
        text for run in runs for text in ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(value) for value in run])
    ]
