"""What the sensors said as the fields of a heartbeat. Pure. What is unknown is left out; `core.capacity` has the units.

`measured` is what there is; `used` what programs outside the lab use of it. Neither has what running jobs were promised
or loaded models hold: placement counts those by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from homelab.core import capacity
from homelab.core.placement import Model
from homelab.worker.sensors.devices import Gpus
from homelab.worker.sensors.models import Models, on_devices
from homelab.worker.sensors.shares import Share

Json = dict[str, Any]
Own = Iterable[tuple[int | None, str, int]]
"""(device, resource, amount) that running jobs use of what was promised to them."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All that was read at one moment; None: not known. `core_limit`: thousandths of cores that there are; how busy
    they are (`cores`) is known from the second reading on."""

    core_limit: int | None = None
    cores: Share | None = None
    memory: Share | None = None
    disks: Mapping[str, Share | None] = field(default_factory=dict[str, Share | None])
    gpus: Gpus | None = None
    models: Models | None = None
    apps: Mapping[str, int] | None = None
    power: Mapping[str, Any] | None = None
    thermal: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def fields(seen: Seen) -> Json:
    """All but `used`, which is smoothed first."""
    told: Json = {"measured": measured(seen), "labels": dict(seen.labels)}
    if seen.models is not None:
        told["models"] = [{"name": m.name, "gpu_memory": m.gpu_memory, "device": m.device} for m in models(seen)]
    if seen.gpus is not None:
        told["devices"] = [device.name[:100] or "GPU" for device in seen.gpus.devices]
    optional = {"apps": seen.apps, "power": seen.power, "thermal": seen.thermal}
    return {**told, **{name: dict(value) for name, value in optional.items() if value is not None}}


def measured(seen: Seen) -> Json:
    """The capacity that the sensors know, as control keeps one."""
    amounts = {name: one.total for name, one in _shares(seen).items()}
    if seen.core_limit is not None:
        amounts[capacity.CPU] = seen.core_limit
    found: Json = {"amounts": amounts}
    if seen.gpus is not None:
        found |= {"gpus": [d.share.total for d in seen.gpus.devices], "unified": seen.gpus.unified}
    if seen.models is not None:
        found["models"] = list(seen.models.names)
    return found


def models(seen: Seen) -> tuple[Model, ...]:
    """The loaded models, each with its device."""
    devices = () if seen.gpus is None else seen.gpus.devices
    return on_devices(() if seen.models is None else seen.models.loaded, [d.share.used for d in devices])


def in_use(seen: Seen, own: Own = ()) -> dict[str, int]:
    """Resource -> what others than the lab's work use, at this moment."""
    used = {name: one.used for name, one in _shares(seen).items()}
    is_unified = seen.gpus is not None and seen.gpus.unified
    if seen.gpus is not None and not is_unified:
        used |= {capacity.gpu(number): device.share.used for number, device in enumerate(seen.gpus.devices)}
    for model in models(seen):
        _take_off(used, capacity.MEMORY if is_unified else capacity.gpu(model.device), model.gpu_memory)
    for device, name, amount in own:
        _take_off(used, name if device is None else capacity.gpu(device), amount)
    return used


def _take_off(used: dict[str, int], name: str, amount: int) -> None:
    if name in used:
        used[name] = max(0, used[name] - amount)


def _shares(seen: Seen) -> dict[str, Share]:
    shares = {capacity.CPU: seen.cores, capacity.MEMORY: seen.memory}
    shares |= {capacity.disk(path): one for path, one in seen.disks.items()}
    return {name: one for name, one in shares.items() if one is not None}
