"""The files that jobs save and need, on this node: handed in to control's store, fetched from it, kept for a while.

What a job saved is first in this home's own folder (`home.objects`) with a mark in `artefacts/pending`; from there it
reaches control however long that is away. On control's own machine, with the store where it is by default, that folder
is the store, and control finds it there. Called by `worker.handing`; `worker.loop` owns the task of `serve`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import structlog

from homelab.core.passing import Artefact
from homelab.home.objects import BLOCK, Objects
from homelab.home.paths import Home
from homelab.worker.control_link import ControlRefused, ControlUnavailable

log = structlog.get_logger()

CACHE_S = 7 * 86400.0
"""How long a node keeps what it saved or fetched, since it was last needed."""
_SLOW_S = 600.0
_AGAIN_S = 60.0
_AT_ONCE = 200


class Link(Protocol):
    """`worker.control_link.ControlLink`."""

    async def call(
        self, method: str, path: str, body: Any = None, *, content: Any = None, timeout_s: float = 15.0
    ) -> Any: ...

    def download(self, path: str) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


class Artefacts:
    """The store's part on this node. `objects`: the folder."""

    def __init__(self, home: Home, link: Link) -> None:
        self.objects = Objects(home.artefacts)
        self._is_node = home.is_node()
        self._pending = home.artefacts / "pending"
        self._link = link
        self._news = asyncio.Event()

    def saved(self, artefacts: Iterable[Artefact]) -> None:
        """These are in `objects` and are to reach control, whatever happens to this process. Blocking."""
        for artefact in artefacts:
            self._pending.mkdir(parents=True, exist_ok=True)
            (self._pending / artefact.sha256).touch()

    def wake(self) -> None:
        """There is something new to hand in."""
        self._news.set()

    async def serve(self) -> None:
        """Hand in until cancelled; in an outage ever more rarely."""
        wait_s = 0.2
        while True:
            self._news.clear()
            try:
                left = await self._hand_in(await asyncio.to_thread(self._waiting))
                wait_s = 0.2
            except ControlUnavailable as error:
                log.warning("artefacts.wait", error=str(error))
                left, wait_s = True, min(wait_s * 2, 10.0)
            except (ControlRefused, OSError) as error:
                log.error("artefacts.not_handed_in", error=str(error))
                left, wait_s = True, _AGAIN_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s if left else None):
                    await self._news.wait()

    def _waiting(self) -> dict[str, int]:
        """By SHA-256 the size of each object that control is not known to have."""
        found: dict[str, int] = {}
        for mark in self._pending.iterdir() if self._pending.exists() else ():
            size = self.objects.size(mark.name)
            if size is None:
                mark.unlink(missing_ok=True)
            else:
                found[mark.name] = size
        return found

    async def _hand_in(self, waiting: Mapping[str, int]) -> bool:
        """Whether some are left for the next time."""
        some = dict(list(waiting.items())[:_AT_ONCE])
        if not some:
            return False
        answer = await self._link.call("POST", "/api/v1/worker/artefacts", {"objects": some}, timeout_s=_SLOW_S)
        missing = set(answer["missing"])
        for sha256, size in some.items():
            if sha256 in missing:
                path = f"/api/v1/worker/artefacts/{sha256}?bytes={size}"
                await self._link.call("PUT", path, content=self._blocks(sha256), timeout_s=_SLOW_S)
            (self._pending / sha256).unlink(missing_ok=True)
        return len(some) < len(waiting)

    async def _blocks(self, sha256: str) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(self.objects.path_of(sha256).open, "rb")
        try:
            while block := await asyncio.to_thread(file.read, BLOCK):
                yield block
        finally:
            file.close()

    async def fetch(self, artefact: Artefact) -> None:
        """Have it in `objects`. ControlUnavailable: control does not answer; ControlRefused: it has it not (404: not
        yet); Damaged; OSError: this disk refuses."""
        if await asyncio.to_thread(self.objects.touch, artefact.sha256):
            return
        incoming = await asyncio.to_thread(self.objects.incoming)
        try:
            async with self._link.download(f"/api/v1/worker/artefacts/{artefact.sha256}") as blocks:
                async for block in blocks:
                    await asyncio.to_thread(incoming.write, block)
        except BaseException:
            incoming.discard()
            raise
        await asyncio.to_thread(incoming.keep, artefact.sha256)

    def prune(self, now: float, keep_s: float = CACHE_S) -> None:
        """Forget what was not needed for long. On control's machine the folder is control's to clean. Blocking."""
        self.objects.sweep()
        if not self._is_node:
            return
        for sha256, used, _ in self.objects.all():
            if now - used > keep_s and not (self._pending / sha256).exists():
                self.objects.remove(sha256)
