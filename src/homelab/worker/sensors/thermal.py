"""How warm the machine is: whether it has begun to slow itself down. A machine that says nothing has no entry."""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from homelab.worker.sensors import files

ZONES: Final = "/sys/class/thermal"
MARGIN: Final = 5_000
"""Thousandths of a degree below a critical trip point that count as critical: there the kernel switches off."""
_TRIPS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Zone:
    """Thousandths of a degree. `trips`: kind ("passive", "hot", "critical") -> the lowest temperature of that kind."""

    temperature: int
    trips: Mapping[str, int] = field(default_factory=dict[str, int])


def linux(zones: Iterable[Zone]) -> dict[str, Any] | None:
    """`{state: nominal | hot | critical, celsius}`: of the worst zone, and of the warmest."""
    found = [z for z in zones if -50_000 < z.temperature < 200_000]
    if not found:
        return None
    states = {_state(zone) for zone in found}
    state = next(s for s in ("critical", "hot", "nominal") if s in states)
    return {"state": state, "celsius": round(max(z.temperature for z in found) / 1000, 1)}


def _state(zone: Zone) -> str:
    if "critical" in zone.trips and zone.temperature >= zone.trips["critical"] - MARGIN:
        return "critical"
    slowing = [zone.trips[kind] for kind in ("passive", "hot") if kind in zone.trips]
    return "hot" if slowing and zone.temperature >= min(slowing) else "nominal"


def macos(pmset: str) -> dict[str, Any] | None:
    """What `pmset -g therm` prints: how much of the processor the system allows, or that there was nothing."""
    limits = [int(value) for value in re.findall(r"(?:CPU_Scheduler_Limit|CPU_Speed_Limit)\s*=\s*(\d+)", pmset)]
    if not limits:
        return {"state": "nominal"} if "No thermal warning level has been recorded" in pmset else None
    least = min(limits)
    return {"state": "nominal" if least >= 100 else "hot" if least >= 50 else "critical"}


def read() -> dict[str, Any] | None:
    if sys.platform == "darwin":
        pmset = files.printed(("pmset", "-g", "therm"))
        return None if pmset is None else macos(pmset)
    try:
        folders = sorted(Path(ZONES).glob("thermal_zone*"))
    except OSError:
        return None
    return linux([zone for folder in folders if (zone := _zone(folder)) is not None])


def _zone(folder: Path) -> Zone | None:
    temperature = files.number(folder / "temp")
    if temperature is None:
        return None
    trips: dict[str, int] = {}
    for number in range(_TRIPS):
        kind = (files.text(folder / f"trip_point_{number}_type") or "").strip()
        at = files.number(folder / f"trip_point_{number}_temp")
        if not kind:
            break
        if at is not None and at > 0:
            trips[kind] = min(at, trips.get(kind, at))
    return Zone(temperature=temperature, trips=trips)
