"""What the sensors said as the fields of a heartbeat. Pure. What is unknown is left out; `core.capacity` has the units.

`measured` is what there is; `used` what programs outside the lab use of it. Neither has what running jobs were promised
or loaded models hold: placement counts those by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from homelab.core import capacity
from homelab.worker.sensors.shares import Share

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All that was read at one moment; None: not known. `core_limit`: thousandths of cores that there are; how busy
    they are (`cores`) is known from the second reading on."""

    core_limit: int | None = None
    cores: Share | None = None
    memory: Share | None = None
    disks: Mapping[str, Share | None] = field(default_factory=dict[str, Share | None])


def measured(seen: Seen) -> Json:
    """The capacity that the sensors know, as control keeps one."""
    amounts = {name: one.total for name, one in _shares(seen).items()}
    if seen.core_limit is not None:
        amounts[capacity.CPU] = seen.core_limit
    return {"amounts": amounts}


def in_use(seen: Seen, own: Iterable[tuple[int | None, str, int]] = ()) -> dict[str, int]:
    """Resource -> what others than the lab's work use, at this moment. `own` as `own.own` gives it."""
    used = {name: one.used for name, one in _shares(seen).items()}
    for _, name, amount in own:
        if name in used:
            used[name] = max(0, used[name] - amount)
    return used


def _shares(seen: Seen) -> dict[str, Share]:
    shares = {capacity.CPU: seen.cores, capacity.MEMORY: seen.memory}
    shares |= {capacity.disk(path): one for path, one in seen.disks.items()}
    return {name: one for name, one in shares.items() if one is not None}
