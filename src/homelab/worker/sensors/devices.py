"""What the sensors of GPUs say."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from homelab.worker.sensors.shares import Share


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device that work can have memory of. `by_pid`: bytes of each process on it, where the driver tells."""

    share: Share
    name: str = ""
    by_pid: Mapping[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """In the order in which programs number them. `unified`: their memory is a share of main memory."""

    devices: tuple[Device, ...] = ()
    unified: bool = False
