"""The senses of one worker: what is read when, and the fields of its heartbeat that tell it.

Cheap files of the kernel are read with each heartbeat; what may block (disks, programs, drivers) in threads, and no
longer waited for than `WAIT_S`. A fault in sensing costs the fields, never the heartbeat.
"""

import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import structlog

from homelab import __version__
from homelab.core.capacity import DISK
from homelab.core.times import iso
from homelab.worker.sensors import (
    apps,
    cores,
    disks,
    gpus,
    labels,
    memory,
    models,
    own,
    power,
    sleep,
    smoothing,
    telling,
    thermal,
)
from homelab.worker.sensors.devices import Gpus
from homelab.worker.sensors.shares import Share
from homelab.worker.sensors.watching import Watch, refresh

log = structlog.get_logger()

WAIT_S: Final = 0.25
"""A disk that answers does so within a millisecond; a heartbeat is held up no longer than this."""
EVERY_S: Final = 10.0
SELDOM_S: Final = 60.0
"""For what changes when somebody installs, plugs or warms something."""
MOST: Final = 64
LONGEST: Final = 180
"""Of disks and applications that are looked for, and of their names: what a heartbeat carries."""


class Sensors:
    """Touched by one event loop. `home`: the folder of the lab's state, whose disk is always watched."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._idle: cores.Idle | None = cores.read_idle()
        self._own: Mapping[int, own.Use] = {}
        self._used: Mapping[str, float] = {}
        self._at = time.monotonic()
        self._clocks = sleep.read()
        self._labels = labels.read()
        self._names: tuple[str, ...] = ()
        self._disks: dict[str, Watch[Share]] = {}
        self._memory = Watch("memory", memory.read, every_s=EVERY_S) if sys.platform == "darwin" else None
        self._gpus = Watch("gpus", gpus.Reader().read, every_s=EVERY_S)
        self._models = Watch("models", models.read, every_s=EVERY_S)
        self._apps = Watch("apps", lambda: apps.read(()), every_s=SELDOM_S)
        self._power = Watch("power", power.read, every_s=SELDOM_S)
        self._thermal = Watch("thermal", thermal.read, every_s=SELDOM_S)
        self.is_asleep = False
        """It is about to sleep; set by whoever hears that."""
        self.round_trip_s = 0.0
        """How long the last heartbeat was answered; half of it is how old `clock` is when control reads it."""
        self.look_at(())

    def look_at(self, paths: Iterable[str]) -> None:
        """The disks to watch: those that the lab names, and that of the home."""
        wanted = dict.fromkeys((self._home, *(p for p in paths if p.startswith(("/", "~/")))))
        kept = [path for path in wanted if len(path) <= LONGEST][:MOST]
        self._disks = {
            path: self._disks.get(path) or Watch(path, lambda path=path: disks.read(path), every_s=EVERY_S)
            for path in kept
        }

    def heed(self, answer: Mapping[str, Any]) -> None:
        """What control would have watched, from its answer to a heartbeat."""
        wanted = cast("Mapping[str, list[str]] | None", answer.get("sense"))
        if wanted is not None:
            self.look_at(wanted.get("disks", ()))
            names = tuple(name for name in wanted.get("apps", ()) if len(name) <= LONGEST)[:MOST]
            if names != self._names:
                self._names = names
                self._apps = Watch("apps", lambda: apps.read(names), every_s=SELDOM_S)

    async def told(self, running: Collection[own.Job] = ()) -> dict[str, Any]:
        """The fields of a heartbeat. `running`: the lab's own jobs, those too that ended since the last one. `clock` is
        last: it is the moment of sending."""
        try:
            fields = await self._fields(running)
        except Exception as error:  # a heartbeat without them still says that the node is alive
            log.error("sensors.broken", exc_info=error)
            fields = {}
        if self.is_asleep:
            fields["asleep"] = True
        return {**fields, "version": __version__, "rtt_s": self.round_trip_s, "clock": iso(datetime.now(UTC))}

    async def _fields(self, running: Collection[own.Job]) -> dict[str, Any]:
        await refresh(self._watches(), within_s=WAIT_S)
        now = time.monotonic()
        took_s, self._at = now - self._at, now
        use = own.read({job.session for job in running if job.ended_cpu_s is None})
        limit = cores.read_limit()
        seen = telling.Seen(
            core_limit=limit,
            cores=self._cores(limit),
            memory=memory.read() if self._memory is None else self._memory.value,
            disks={path: watch.value for path, watch in self._disks.items()},
            gpus=self._gpus.value,
            models=self._models.value,
            apps=self._apps.value,
            power=self._power.value,
            thermal=self._thermal.value,
            labels=self._labels,
        )
        cards = Gpus() if seen.gpus is None else seen.gpus
        on_gpu = {number: device.by_pid for number, device in enumerate(cards.devices)}
        mine = own.own(running, self._own, use, took_s=took_s, on_gpu=on_gpu, is_unified=cards.unified)
        self._own = use
        return {**telling.fields(seen), "used": self._smoothed(telling.in_use(seen, mine), took_s), **self._slept()}

    def _smoothed(self, used: Mapping[str, int], took_s: float) -> dict[str, int]:
        """Files on a disk do not come and go as programs do: they are told as they are."""
        files = {name: value for name, value in used.items() if name.startswith(DISK)}
        busy = {name: value for name, value in used.items() if name not in files}
        self._used = smoothing.smooth(self._used, busy, took_s=took_s)
        return {**files, **smoothing.steps(self._used)}

    def _slept(self) -> dict[str, float]:
        before, self._clocks = self._clocks, sleep.read()
        slept_s = sleep.slept_s(before, self._clocks)
        if slept_s is None:
            return {}
        self.is_asleep = False
        return {"slept_s": round(slept_s, 1)}

    def _watches(self) -> Sequence[Watch[Any]]:
        slow = [self._gpus, self._models, self._apps, self._power, self._thermal]
        return [*self._disks.values(), *([] if self._memory is None else [self._memory]), *slow]

    def _cores(self, limit: int | None) -> Share | None:
        before, self._idle = self._idle, cores.read_idle()
        if limit is None or before is None or self._idle is None:
            return None
        return cores.cores(limit, before, self._idle)
