"""Whether the machine slept: of two clocks that run alike, one stands still while it sleeps.

Linux: CLOCK_BOOTTIME goes on, CLOCK_MONOTONIC does not. macOS: CLOCK_MONOTONIC goes on, CLOCK_UPTIME_RAW does not.
"""

import sys
import time
from typing import Final

SHORTEST_S: Final = 5.0


def slept_s(before: tuple[float, float], after: tuple[float, float]) -> float | None:
    """Seconds asleep between two readings of (the clock that goes on, the one that stands still); None when none."""
    asleep = (after[0] - before[0]) - (after[1] - before[1])
    return asleep if asleep >= SHORTEST_S else None


def read() -> tuple[float, float]:
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_UPTIME_RAW)
    return time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC)
