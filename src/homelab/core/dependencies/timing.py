"""How long before a job the other one usually runs. Pure: counted from a fixed Monday, so the answer never changes.

Called by `core.dependencies.edges`.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise

from homelab.core.schedule import Schedule, ScheduleError, parse

_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)  # in no zone a day of a clock change
_WINDOWS = (timedelta(hours=2), timedelta(days=2), timedelta(days=8), timedelta(days=62), timedelta(days=400))
_MOST = 3000


@lru_cache(maxsize=4096)
def _schedule(expression: str, timezone: str) -> Schedule | None:
    try:
        return parse(expression, timezone)
    except ScheduleError:
        return None


@lru_cache(maxsize=8192)
def gap_s(upstream: str, downstream: str, up_zone: str, down_zone: str) -> float | None:
    """Seconds from the upstream's last start to the downstream's start, the shortest in a week or so of starts.

    None when one of the two never starts by the clock.
    """
    before, after = _schedule(upstream, up_zone), _schedule(downstream, down_zone)
    if before is None or after is None:
        return None
    gaps: list[float] = []
    for start in islice(after.fires(_MONDAY), 7):
        last = _last_before(before, start)
        if last is not None:
            gaps.append((start - last).total_seconds())
    return min(gaps) if gaps else None


def _last_before(schedule: Schedule, moment: datetime) -> datetime | None:
    """The last start at or before a moment."""
    for window in _WINDOWS:
        last: datetime | None = None
        for fire in islice(schedule.fires(moment - window - timedelta(seconds=1)), _MOST):
            if fire > moment:
                break
            last = fire
        if last is not None:
            return last
    return None


@lru_cache(maxsize=4096)
def period_s(expression: str, timezone: str) -> float | None:
    """The shortest time between two starts, of the first few; None when there are not two."""
    schedule = _schedule(expression, timezone)
    if schedule is None:
        return None
    fires = list(islice(schedule.fires(_MONDAY), 30))
    return min(((b - a).total_seconds() for a, b in pairwise(fires)), default=None)
