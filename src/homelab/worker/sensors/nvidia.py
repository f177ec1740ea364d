"""The one door to NVIDIA's management library (NVML), which is imported only where a driver of NVIDIA is loaded.

A card that is split (MIG) is as many devices as it has parts. A driver that does not answer makes all devices unknown;
a single card that fell off the bus keeps its number and has nothing to give.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from homelab.worker.sensors.devices import Device
from homelab.worker.sensors.shares import Share, share

TRACES: Final = ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg")
"""What a loaded driver leaves behind: on Linux, and in the Linux of Windows."""
_LOST: Final = Device(share=Share(total=0, free=0), name="lost")


class Session:
    """The library, begun and kept. `library`: what speaks like `pynvml`; None: that, where there is a driver."""

    def __init__(self, library: Any = None) -> None:
        self._library = library
        self._is_begun = False
        self.is_there = library is not None
        """Whether there was a driver when it was last looked for."""

    def devices(self) -> tuple[Device, ...] | None:
        """None when the driver does not answer; the next time it is asked to begin anew."""
        if self._library is None and not any(Path(trace).exists() for trace in TRACES):
            return None
        library = self._library = self._library or importlib.import_module("pynvml")
        try:
            if not self._is_begun:
                self.is_there = True
                library.nvmlInit()
                self._is_begun = True
            return tuple(
                device
                for number in range(library.nvmlDeviceGetCount())
                for device in self._of_card(library.nvmlDeviceGetHandleByIndex(number))
            )
        except library.NVMLError as error:
            self.is_there = not isinstance(error, library.NVMLError_LibraryNotFound)
            self._end()
            return None

    def _end(self) -> None:
        if self._is_begun:
            self._is_begun = False
            try:
                self._library.nvmlShutdown()
            except self._library.NVMLError:
                return  # it is gone already

    def _of_card(self, handle: Any) -> Iterator[Device]:
        library = self._library
        try:
            if self._is_split(handle):
                for number in range(library.nvmlDeviceGetMaxMigDeviceCount(handle)):
                    try:
                        part = library.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
                    except library.NVMLError_NotFound:
                        continue
                    yield self._device(part)
            else:
                yield self._device(handle)
        except library.NVMLError_GpuIsLost:
            yield _LOST

    def _is_split(self, handle: Any) -> bool:
        try:
            return bool(self._library.nvmlDeviceGetMigMode(handle)[0] == self._library.NVML_DEVICE_MIG_ENABLE)
        except self._library.NVMLError_NotSupported:
            return False

    def _device(self, handle: Any) -> Device:
        held = self._library.nvmlDeviceGetMemoryInfo(handle)
        name: object = self._library.nvmlDeviceGetName(handle)
        return Device(
            share=share(int(held.total), int(held.free)),
            name=name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name),
            by_pid=self._by_pid(handle),
        )

    def _by_pid(self, handle: Any) -> dict[int, int]:
        """Not every driver tells it of every card; then no process is known to use it."""
        library, found = self._library, dict[int, int]()
        for ask in (library.nvmlDeviceGetComputeRunningProcesses, library.nvmlDeviceGetGraphicsRunningProcesses):
            try:
                for process in ask(handle):
                    if process.usedGpuMemory is not None:
                        # A process that computes and draws is in both lists, with the same amount.
                        found[int(process.pid)] = max(found.get(int(process.pid), 0), int(process.usedGpuMemory))
            except library.NVMLError_GpuIsLost:
                raise
            except library.NVMLError:
                continue
        return found
