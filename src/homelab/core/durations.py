"""Spans of time and amounts of data as people write them: `30m`, `1h30m`, `26h`, `90`; `10MiB`, `500MB`; and as they
say them: `3 h 5 min`, `12.4 kB`.

Pure text arithmetic. Called by `core.labfile` for settings, by `cli` for options, and by whoever composes a sentence.
A bare number is seconds, or bytes.
"""

import math
import re
from typing import Final

from homelab.core.errors import InputError

_SECONDS: Final = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_BYTES: Final = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000 ** (n + 1) for n, prefix in enumerate(("K", "M", "G", "T"))},
    "kB": 1000,
    **{f"{prefix}iB": 1024 ** (n + 1) for n, prefix in enumerate(("K", "M", "G", "T"))},
}
_PART: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(ms|[wdhms])\s*", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_SIZE: Final = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{0,3})", re.ASCII)

LONGEST_S: Final = 3660 * 86_400.0
"""Ten years: beyond it a span is a mistake, and dates computed from it could overflow."""
LARGEST_BYTES: Final = 1 << 60

DURATION_HINT: Final = 'Write it like "30s", "15m", "1h30m", "26h" or "2d"; a bare number is seconds.'
SIZE_HINT: Final = 'Write it like "512KiB", "10MiB", "2GiB" or "500MB"; a bare number is bytes.'


class DurationError(InputError):
    """The text is not a span of time that can be used."""


class SizeError(InputError):
    """The text is not an amount of data that can be used."""


def duration_s(value: str | float) -> float:
    """Seconds. Units `w d h m s ms`, each at most once and from large to small, as in `1h30m`; 0 is allowed.

    DurationError for anything else, for negative or infinite numbers, and beyond ten years.
    """
    seconds = _seconds_of_text(value.strip()) if isinstance(value, str) else float(max(-1.0, min(value, 1e18)))
    if not math.isfinite(seconds) or seconds < 0:
        raise DurationError("a duration cannot be negative or endless", hint=DURATION_HINT)
    if seconds > LONGEST_S:
        raise DurationError("a duration cannot be longer than ten years", hint=DURATION_HINT)
    return seconds


def _seconds_of_text(text: str) -> float:
    if len(text) <= 30 and _NUMBER.fullmatch(text):
        return float(text)
    units = list(_SECONDS)
    total, at, last = 0.0, 0, -1
    while match := _PART.match(text, at):
        rank = units.index(match[2])
        if rank <= last:
            raise DurationError("the units of a duration go from large to small, each once", hint=DURATION_HINT)
        total, at, last = total + float(match[1]) * _SECONDS[match[2]], match.end(), rank
    if last < 0 or at < len(text):
        raise DurationError("this is not a duration", hint=DURATION_HINT)
    return total


def size_bytes(value: str | float) -> int:
    """Bytes. `KiB MiB GiB TiB` count in 1024s, `kB MB GB TB` in 1000s. SizeError for anything else."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip()) if len(value) <= 60 else None
        if match is None or match[2] not in _BYTES:
            raise SizeError("this is not a size", hint=SIZE_HINT)
        amount = float(match[1]) * _BYTES[match[2]]
    else:
        amount = float(max(-1.0, min(value, 1e30)))
    if not math.isfinite(amount) or amount < 0 or amount > LARGEST_BYTES:
        raise SizeError("a size cannot be negative, or more than 1 EiB", hint=SIZE_HINT)
    return int(amount)


def duration_text(seconds: float) -> str:
    """The shortest text that `duration_s` reads back as the same number of milliseconds: 5400 -> `1h30m`."""
    left = round(seconds * 1000)
    parts: list[str] = []
    for unit, size in _SECONDS.items():
        if unit == "w":
            continue
        count, left = divmod(left, round(size * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def size_text(amount: int) -> str:
    """The largest binary unit that divides `amount` evenly: 10485760 -> `10MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if amount and amount % _BYTES[unit] == 0:
            return f"{amount // _BYTES[unit]}{unit}"
    return f"{amount}B"


def span(seconds: float) -> str:
    """`42 s`, `7 min`, `3 h 5 min`, `2 d 4 h`: rounded the way a person would say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    hours = minutes // 60
    return f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")


def size(amount: float) -> str:
    """`512 B`, `12.4 kB`, `3.1 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount:.0f} B"
