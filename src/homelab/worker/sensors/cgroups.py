"""The control groups of Linux that this process is in, and the limits they set: version 2, version 1 and both at once.

A limit holds for everything below the group that has it, so all groups up to the root are asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from homelab.worker.sensors import files

ROOT: Final = "/sys/fs/cgroup"
_NO_LIMIT: Final = 1 << 60
"""Version 1 says "no limit" by a number near 2^63."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a memory group allows and holds, in bytes. `reclaimable`: cached files, which the kernel gives back."""

    limit: int
    current: int
    reclaimable: int

    @property
    def free(self) -> int:
        return self.limit - max(0, self.current - self.reclaimable)


def folders(membership: str, controller: str, root: str = ROOT) -> list[str]:
    """Folders of the groups that count for `controller`, the innermost first. `membership`: /proc/self/cgroup.

    In a container the path may be that of the host, which is not there: then the root is the container's own group.
    """
    paths: dict[str, str] = {}
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(","):
            paths[name] = path
    if controller in paths:
        base, path = f"{root}/{controller}", paths[controller]
    elif "" in paths:
        base, path = root, paths[""]
    else:
        return []
    inner = [str(p) for p in (PurePosixPath(path), *PurePosixPath(path).parents)]
    return [base + (p if p != "/" else "") for p in inner if ".." not in p]


def cores_of(quota_us: str, period_us: str) -> float | None:
    """How many cores a quota is; None when there is none (`max`, -1) or it makes no sense."""
    try:
        quota, period = int(quota_us), int(period_us)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def statistics(text: str) -> Mapping[str, int]:
    """`NAME NUMBER` lines, as in memory.stat."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[name] = int(value)
    return found


def read_cores(groups: Iterable[str]) -> float | None:
    """The smallest quota of these groups, in cores; None without any."""
    found: list[float] = []
    for group in groups:
        quota, _, period = (files.text(f"{group}/cpu.max") or "").partition(" ")
        if not quota:
            quota = files.text(f"{group}/cpu.cfs_quota_us") or ""
            period = files.text(f"{group}/cpu.cfs_period_us") or ""
        cores = cores_of(quota.strip(), period.strip())
        if cores is not None:
            found.append(cores)
    return min(found, default=None)


def read_memory(groups: Sequence[str]) -> list[Bound]:
    """The groups that limit memory, with what they hold. One whose use cannot be read is left out."""
    found: list[Bound] = []
    for group in groups:
        limit = files.number(f"{group}/memory.max")
        if limit is not None:
            current, cached = files.number(f"{group}/memory.current"), "inactive_file"
        else:
            limit = files.number(f"{group}/memory.limit_in_bytes")
            current, cached = files.number(f"{group}/memory.usage_in_bytes"), "total_inactive_file"
        if limit is None or limit >= _NO_LIMIT or current is None:
            continue
        held = statistics(files.text(f"{group}/memory.stat") or "")
        found.append(Bound(limit=limit, current=current, reclaimable=held.get(cached, 0)))
    return found
