"""Reading a slow thing now and then, in a thread, so that one that hangs holds up nobody and its reading grows old.

Threads are daemons: one that waits for a dead disk does not keep the process from ending. At most one a thing.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

STALE = 3.0
"""A reading older than so many of its intervals is unknown."""


class Watch(Generic[T]):
    """One thing that is read every `every_s`. Touched by one event loop; `read` runs elsewhere and may block."""

    def __init__(
        self,
        name: str,
        read: Callable[[], T | None],
        *,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._clock = clock
        self._read = read
        self._every_s = every_s
        self._began = float("-inf")
        self._ended = float("-inf")
        self._value: T | None = None
        self._done: asyncio.Event | None = None

    @property
    def is_reading(self) -> bool:
        return self._done is not None

    def begin(self) -> asyncio.Event | None:
        """Start a reading when it is time for one; what is set when it has ended. None: nothing was started."""
        now = self._clock()
        if self.is_reading or now - self._began < self._every_s * 0.9:
            return None
        self._began = now
        self._done = done = asyncio.Event()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, args=(loop,), name=f"sensor {self.name}", daemon=True).start()
        return done

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            value = self._read()
        except Exception:  # a sensor with a fault knows nothing; it must not end what it serves
            value = None
        try:
            loop.call_soon_threadsafe(self._take, value)
        except RuntimeError:  # the loop has ended meanwhile
            return

    def _take(self, value: T | None) -> None:
        self._value, self._ended = value, self._clock()
        done, self._done = self._done, None
        if done is not None:
            done.set()

    @property
    def value(self) -> T | None:
        """What was read last; None when that could not be read, or is old because reading hangs."""
        if self._clock() - self._ended > self._every_s * STALE:
            return None
        return self._value


async def refresh(watches: Iterable[Watch[Any]], *, within_s: float) -> None:
    """Begin what is due and wait for that, no longer than `within_s`. What already hangs is not waited for."""
    begun = [done for watch in watches if (done := watch.begin()) is not None]
    try:
        async with asyncio.timeout(within_s):
            for done in begun:
                await done.wait()
    except TimeoutError:
        pass
