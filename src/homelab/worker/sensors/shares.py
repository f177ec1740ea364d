"""How much there is of one thing and how much of it is free: what the sensors of cores, memory, GPUs and disks say."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Share:
    """In the smallest unit of the resource (`core.capacity`): bytes, or thousandths. `free` is from 0 to `total`."""

    total: int
    free: int

    @property
    def used(self) -> int:
        return self.total - self.free


def share(total: int, free: int) -> Share:
    """A share whose `free` lies in its bounds: what two readings at two moments say need not agree."""
    total = max(0, total)
    return Share(total=total, free=min(max(0, free), total))
