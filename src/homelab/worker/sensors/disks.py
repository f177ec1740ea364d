"""Room on a disk, by the path that the lab names. A path that is not there has no room; one that cannot be looked at is
unknown. A disk on the network may hang for ever: each path is read in a thread of its own."""

import os

from homelab.worker.sensors.shares import Share, share


def disk(*, block: int, blocks: int, available: int) -> Share:
    """`available`: blocks for ordinary users; what the system keeps for itself is in use."""
    return share(block * blocks, block * available)


def read(path: str) -> Share | None:
    """Blocking, as long as the disk does. `~/` is the home folder of the worker's user."""
    try:
        found = os.statvfs(os.path.expanduser(path) if path.startswith("~/") else path)  # noqa: PTH111
    except (FileNotFoundError, NotADirectoryError):
        return Share(total=0, free=0)
    except (OSError, ValueError):
        return None
    return disk(block=found.f_frsize, blocks=found.f_blocks, available=found.f_bavail)
