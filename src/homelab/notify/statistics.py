"""What is usual for a job, from its last runs: robust summaries that a few odd runs do not bend.

Pure. `rules` asks it whether a run was unusually slow, seems stuck, or printed much less than it always did. Every test
is built to stay quiet when in doubt: it wants enough past runs, a difference that a person would notice, and a value
beyond everything seen so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

ENOUGH = 8
"""Past runs needed before anything is called unusual."""
KEPT = 50
"""Past runs looked at, the newest ones."""

_SIGMA = 1.4826  # the standard deviation of a normal distribution, in median absolute deviations


@dataclass(frozen=True, kw_only=True)
class Past:
    """The last successful runs of a job (at most `KEPT`, any order): seconds each took, bytes each printed."""

    durations_s: tuple[float, ...] = ()
    output_bytes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """`spread` is a robust standard deviation (median absolute deviation, scaled)."""

    count: int
    middle: float
    spread: float
    largest: float
    smallest: float


def summary(values: Sequence[float]) -> Summary | None:
    """None when there are fewer than `ENOUGH` values."""
    if len(values) < ENOUGH:
        return None
    middle = median(values)
    spread = _SIGMA * median(abs(value - middle) for value in values)
    return Summary(count=len(values), middle=middle, spread=spread, largest=max(values), smallest=min(values))


def slow_limit_s(durations_s: Sequence[float]) -> float | None:
    """Seconds above which a finished run was unusually slow; None when too little is known.

    Six robust deviations above the median, at least 10 s and half the median more than it, and a quarter more than the
    slowest run so far: a job that is slow every Sunday is not unusual on a Sunday.
    """
    usual = summary(durations_s)
    if usual is None:
        return None
    beyond = max(6 * usual.spread, 10.0, 0.5 * usual.middle)
    return max(usual.middle + beyond, 1.25 * usual.largest)


def stuck_limit_s(durations_s: Sequence[float]) -> float | None:
    """Seconds above which a run that is still going seems stuck; None when too little is known.

    Three times the longest run so far, ten robust deviations above the median, and a minute more than either.
    """
    usual = summary(durations_s)
    if usual is None:
        return None
    return max(3 * usual.largest, usual.middle + 10 * usual.spread) + 60.0


def silence(output_bytes: Sequence[int], now_bytes: int) -> bool:
    """Whether a run that printed `now_bytes` broke a habit of printing.

    True when all past runs (at least `ENOUGH`) printed something and this one nothing, or less than a tenth of what the
    quietest of them printed where that was at least 1000 bytes.
    """
    usual = summary(output_bytes)
    if usual is None or usual.smallest <= 0:
        return False
    return now_bytes == 0 or (usual.smallest >= 1000 and now_bytes * 10 < usual.smallest)
