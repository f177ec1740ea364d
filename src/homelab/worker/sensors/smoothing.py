"""Use that jumps up and down as one that placement can rely on: quick to rise, slow to fall. Pure.

A node that looks free for the ten seconds in which a browser loads a page would be given work it has no room for.
"""

import math
from collections.abc import Mapping
from typing import Final

from homelab.core.capacity import CPU

RISE_S: Final = {CPU: 15.0}
"""How soon a rise is believed, in which two thirds of it are seen: cores can be shared for a while. Anything else at
once, because memory cannot."""
FALL_S: Final = 60.0
STEP: Final = {CPU: 50}
"""Amounts are told in these steps, so that a heartbeat that says the same is the same."""
STEP_BYTES: Final = 16 << 20


def smooth(before: Mapping[str, float], seen: Mapping[str, int], *, took_s: float) -> dict[str, float]:
    """What is used of each resource, after what was said before and what is seen now. What is not seen now is not
    known now. Each value lies between the one before and the one seen."""
    return {name: _one(before.get(name), value, RISE_S.get(name, 0.0), took_s) for name, value in seen.items()}


def _one(before: float | None, seen: int, rise_s: float, took_s: float) -> float:
    if before is None:
        return float(seen)
    within_s = rise_s if seen > before else FALL_S
    if within_s <= 0 or took_s <= 0:
        return float(seen) if within_s <= 0 else before
    return seen + (before - seen) * math.exp(-took_s / within_s)


def steps(used: Mapping[str, float]) -> dict[str, int]:
    """Whole amounts, rounded up to steps: what is told as free is there."""
    found: dict[str, int] = {}
    for name, value in used.items():
        step = STEP.get(name, STEP_BYTES)
        found[name] = math.ceil(value / step) * step
    return found
