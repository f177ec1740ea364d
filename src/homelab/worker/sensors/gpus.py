"""GPUs and their memory: NVIDIA's through its driver (`nvidia`), Apple's as a share of main memory (`apple`).

Cards of others are not measured: where there is one, GPU memory is unknown, and may be declared.
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from homelab.worker.sensors import apple, files, nvidia
from homelab.worker.sensors.devices import Gpus

PCI: Final = "/sys/bus/pci/devices"
LOOK_S: Final = 60.0
_DISPLAY: Final = ("0x0300", "0x0302", "0x0380")
"""PCI classes: VGA, 3D and other display controllers."""
_WITH_MEMORY: Final = ("0x10de", "0x1002", "0x8086")
"""NVIDIA, AMD, Intel. Display controllers of others (virtual ones, those of servers) have no memory to compute in."""


def without_driver(cards: Iterable[tuple[str, str]] | None) -> Gpus | None:
    """What is known where no driver of NVIDIA answers: no GPU, if no card (vendor, class) could be one; else nothing:
    a card whose driver is gone still has its memory. `cards`: None where the machine does not list its cards."""
    if cards is None:
        return None
    could_be = any(vendor in _WITH_MEMORY and kind.startswith(_DISPLAY) for vendor, kind in cards)
    return None if could_be else Gpus()


def read_cards(root: str = PCI) -> list[tuple[str, str]] | None:
    """(vendor, class) of each PCI device; None where they cannot be listed."""
    try:
        found = sorted(Path(root).iterdir())
    except OSError:
        return None
    return [((files.text(f / "vendor") or "").strip(), (files.text(f / "class") or "").strip()) for f in found]


class Reader:
    """Reads GPUs again and again: the driver is asked to begin once, cards are listed once a minute."""

    def __init__(self) -> None:
        self._nvml: nvidia.Session | None = None
        self._cards: tuple[float, Gpus | None] | None = None

    def read(self) -> Gpus | None:
        """Blocking: a driver that wakes its card takes seconds."""
        if sys.platform == "darwin":
            return apple.read()
        self._nvml = self._nvml or nvidia.Session()
        devices = self._nvml.devices()
        if devices is not None:
            return Gpus(devices=devices)
        if self._nvml.is_there:
            return None
        now = time.monotonic()
        if self._cards is None or now - self._cards[0] > LOOK_S:
            self._cards = (now, without_driver(read_cards()))
        return self._cards[1]
