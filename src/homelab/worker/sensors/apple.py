"""Apple's GPU: it has no memory of its own, but may hold a share of the machine's.

The share is `iogpu.wired_limit_mb` where somebody set it. Else it is what Metal recommends as the largest working set:
two thirds of the memory up to 36 GiB, three quarters above, as it is known of machines; the system does not tell it
without a program of its own.
"""

from typing import Final

from homelab.worker.sensors import files, memory
from homelab.worker.sensors.devices import Device, Gpus
from homelab.worker.sensors.shares import Share

_NAMES: Final = ("hw.memsize", "hw.optional.arm64", "iogpu.wired_limit_mb")
SMALL: Final = 36 << 30
MIB: Final = 1 << 20


def gpus(sysctl: str) -> Gpus | None:
    """None on a machine of Intel, whose cards are not measured."""
    known = memory.settings(sysctl)
    total = known.get("hw.memsize")
    if total is None or known.get("hw.optional.arm64") != 1:
        return None
    limit = known.get("iogpu.wired_limit_mb", 0) * MIB
    if limit:
        held, how = min(limit, total), "as iogpu.wired_limit_mb says"
    else:
        held, how = (total * 2 // 3 if total <= SMALL else total * 3 // 4), "the usual share of memory"
    return Gpus(devices=(Device(share=Share(total=held, free=held), name=f"Apple, {how}"),), unified=True)


def read() -> Gpus | None:
    # It fails when one of the names is not known, and prints the others.
    sysctl = files.printed(("sysctl", *_NAMES), any_status=True)
    return None if sysctl is None else gpus(sysctl)
