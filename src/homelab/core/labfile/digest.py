"""`[notify] digest`: when the lab tells how it went. Pure; read as a cron expression, "" for never."""

import re
from typing import Any, Final

from homelab.core import schedule as schedules
from homelab.core.labfile.kinds import Kind, UnusableError
from homelab.core.labfile.problems import At, shown

DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
HINT: Final = 'Such as "Mon 08:00", "07:30" for every day, a cron expression, or false for never.'
_WORDS: Final = re.compile(r"(?:([A-Za-z]{3,9})\s+)?([01]?\d|2[0-3]):([0-5]\d)")
_WHOLE: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def expression(text: str) -> str | None:
    """`Mon 08:00` and `07:30` as cron expressions, a cron expression as it is; None for anything else."""
    if found := _WORDS.fullmatch(text.strip()):
        day, hour, minute = found.groups()
        if day is None:
            return f"{int(minute)} {int(hour)} * * *"
        places = [n for n in range(7) if day.lower() in (DAYS[n], _WHOLE[n])]
        return f"{int(minute)} {int(hour)} * * {places[0]}" if places else None
    try:
        made = schedules.parse(text)
    except schedules.ScheduleError:
        return None
    return None if made.is_reboot else text.strip()


def _read(value: Any, at: At) -> str:
    if value is False:
        return ""
    made = expression(value) if isinstance(value, str) else None
    if made is None:
        given = shown(value) if isinstance(value, str) else "this"
        at.error("digest", f"{given} is no time of a digest", HINT)
        raise UnusableError
    return made


DIGEST: Final = Kind(
    words="a day and time, a cron expression, or false",
    schema={"anyOf": [{"type": "string"}, {"const": False}]},
    read=_read,
)
