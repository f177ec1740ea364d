"""Where the machine's power comes from, and how full its battery is. A machine that says nothing has no entry."""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from homelab.worker.sensors import files

SUPPLIES: Final = "/sys/class/power_supply"
_FIELDS: Final = ("type", "scope", "online", "capacity", "status")


def linux(supplies: Iterable[Mapping[str, str]]) -> dict[str, Any] | None:
    """`{source: ac | battery, level}`. Batteries of mice and the like (scope Device) are not the machine's.

    `level`: from 0 to 1, of the fullest battery; left out when none tells.
    """
    own = [one for one in supplies if one.get("scope") != "Device"]
    batteries = [one for one in own if one.get("type") == "Battery"]
    mains = [one["online"] for one in own if one.get("type") in ("Mains", "USB") and one.get("online") in ("0", "1")]
    levels = [int(one["capacity"]) for one in batteries if one.get("capacity", "").isdigit()]
    if "1" in mains:
        source = "ac"
    elif any(one.get("status") == "Discharging" for one in batteries) or (mains and batteries):
        source = "battery"
    elif batteries and all(one.get("status") in ("Charging", "Full", "Not charging") for one in batteries):
        source = "ac"
    else:
        return None
    return {"source": source, **({"level": min(100, max(levels)) / 100} if levels else {})}


def macos(pmset: str) -> dict[str, Any] | None:
    """What `pmset -g batt` prints."""
    drawn = re.search(r"drawing from '(AC|Battery|UPS) Power'", pmset)
    if drawn is None:
        return None
    level = re.search(r"(\d{1,3})%;", pmset)
    source = "ac" if drawn[1] == "AC" else "battery"
    return {"source": source, **({"level": min(100, int(level[1])) / 100} if level else {})}


def read() -> dict[str, Any] | None:
    if sys.platform == "darwin":
        pmset = files.printed(("pmset", "-g", "batt"))
        return None if pmset is None else macos(pmset)
    try:
        folders = sorted(Path(SUPPLIES).iterdir())
    except OSError:
        return None
    return linux([{n: t.strip() for n in _FIELDS if (t := files.text(f / n)) is not None} for f in folders])
