"""A schedule in plain words, for tables and messages. Called through `core.schedule`."""

from homelab.core.schedule.instants import Schedule, bits

_WEEKDAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTH_NAMES = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)


def describe(schedule: Schedule) -> str:
    """The schedule in plain words, for a table: `at 02:30 every day`, `every 5 minutes`."""
    if schedule.is_reboot:
        return "when the machine starts"
    minutes, hours = bits(schedule.minutes), bits(schedule.hours)
    if not minutes or not hours:
        return "never"
    return f"{_time_words(minutes, hours)}{_day_words(schedule)}"


def _time_words(minutes: tuple[int, ...], hours: tuple[int, ...]) -> str:
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
    days, weekdays, months = bits(schedule.days), bits(schedule.weekdays), bits(schedule.months)
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
    fixed = len(bits(schedule.hours)) < 24
    return words or (" every day" if fixed else "")


def _step(values: tuple[int, ...], size: int) -> int | None:
    """n when the values are every n-th from 0 around the clock."""
    if len(values) < 2 or values[0] != 0:
        return None
    step = values[1]
    return step if size % step == 0 and values == tuple(range(0, size, step)) else None


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _ranged(words: list[str], values: tuple[int, ...]) -> str:
    if not words:
        return "no day"
    if len(values) > 2 and values == tuple(range(values[0], values[-1] + 1)):
        return f"{words[0]} to {words[-1]}"
    return _listed(words)
