"""What is told of runs gives way, for a moment, to the commands that start.

Many jobs are due in the same second. Telling Prefect and `control` of the first of them sets to work two servers and a
database, on the same cores on which the others are to start. So what is told waits until nothing has started for
`QUIET_S`, and no longer than `MOST_S`. State of one event loop. Called by `worker.execution`; `worker.record` and
`worker.control_link` wait.
"""

import asyncio

QUIET_S = 0.05
MOST_S = 0.5


class Starts:
    """The starts of one worker."""

    def __init__(self) -> None:
        self._settled = asyncio.Event()
        self._settled.set()
        self._first = self._last = 0.0

    def began(self) -> None:
        """A run is about to begin, or a command was started: more of them may follow at once."""
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        if self._settled.is_set():
            self._settled.clear()
            self._first = self._last
            loop.call_at(self._last + QUIET_S, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        until = min(self._last + QUIET_S, self._first + MOST_S)
        if loop.time() < until:
            loop.call_at(until, self._look)
        else:
            self._settled.set()

    async def settled(self) -> None:
        """Returns when nothing more seems to follow."""
        await self._settled.wait()
