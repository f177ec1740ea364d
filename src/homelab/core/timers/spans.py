"""systemd's spans of time (`1h 30min`, `2d`, `90`): text to seconds. Called by `core.timers.systemd`.

Source: systemd.time(7). A month is 30.44 days, a year 365.25 days; a bare number is seconds.
"""

import re

_UNITS: dict[str, float] = {
    **dict.fromkeys(("us", "usec", "μs", "µs"), 1e-6),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604_800.0),
    **dict.fromkeys(("M", "month", "months"), 30.44 * 86_400),
    **dict.fromkeys(("y", "year", "years"), 365.25 * 86_400),
}
_PART = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*([A-Za-zμµ]*)")


def span_s(text: str) -> float | None:
    """Seconds, or None when systemd would refuse the text (also for `infinity`)."""
    total, at, text = 0.0, 0, text.strip()
    while match := _PART.match(text, at):
        if match[2] not in _UNITS:
            return None
        total, at = total + float(match[1]) * _UNITS[match[2]], match.end()
    return total if text and at == len(text) else None
