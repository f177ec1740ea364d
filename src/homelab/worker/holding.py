"""Whether what this worker has is still its own: known by the heartbeats that `control` answers.

A node that is silent for 40 s is given up, and what may be tried again goes on elsewhere. So a worker that was not
heard for nearly as long, because it stood still or is cut off, first hears what is gone before it tells anything; and
on another machine than control's it stops, just before, what would be begun a second time. Called by `worker.loop`.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping

import structlog

from homelab.worker.execution import Execution
from homelab.worker.journal import Journal
from homelab.worker.leasing import Leasing

log = structlog.get_logger()

CERTAIN_S = 25.0
"""A heartbeat that was answered so lately says that what this worker has is its own: control gives up later."""
APART_S = 35.0
"""After so long without an answer, and before control gives this node up, what would go on elsewhere stops here."""


class Holding:
    """`active`: the executions of the worker, by run; None while one is being claimed. `left`: runs that are not at
    work here and have an open journal, by an earlier worker, or because they were stopped out of reach."""

    def __init__(self, leasing: Leasing, active: Mapping[str, Execution | None], *, is_remote: bool) -> None:
        self._leasing = leasing
        self._active = active
        self._is_remote = is_remote
        self._heard_at = float("-inf")
        self._heard = asyncio.Event()
        self.wanted = asyncio.Event()
        """Somebody waits for a heartbeat to be answered."""
        self.left: dict[str, Journal] = {}

    def names(self) -> list[str]:
        """All runs that this worker has, for its heartbeat."""
        return [*self._active, *self.left]

    async def confirmed(self) -> None:
        """Wait until control was heard lately, where another node might have been given what this one has."""
        while not self._leasing.is_alone and time.monotonic() - self._heard_at > CERTAIN_S:
            self._heard.clear()
            self.wanted.set()
            await self._heard.wait()

    def heard(self, sent: float, gone: Iterable[str]) -> set[str]:
        """The heartbeat of that moment (monotonic) was answered: these runs are another node's now. Runs that were
        stopped out of reach, and may go on."""
        self._heard_at = sent
        for run_id in gone:
            self._lose(run_id)
        self._heard.set()
        self.wanted.clear()
        return {run_id for run_id in self.left if run_id not in self._active}

    def _lose(self, run_id: str) -> None:
        journal = self.left.pop(run_id, None)
        execution = self._active.get(run_id)
        if execution is None and journal is None:
            return
        log.warning("run.lost", run_id=run_id)
        if execution is not None:
            execution.lose("another node")
        elif journal is not None:
            asyncio.get_running_loop().run_in_executor(None, _drop, journal)

    def unheard(self) -> bool:
        """A heartbeat was not answered. Where control is out of reach for too long, what it would have tried again
        elsewhere stops; the rest goes on, and its result is told later. Whether it is for so long."""
        if not self._is_remote or time.monotonic() - self._heard_at < APART_S:
            return False
        for run_id, execution in self._active.items():
            if execution is not None and execution.is_retried and run_id not in self.left:
                log.warning("run.stopped", run_id=run_id, reason="control is out of reach")
                execution.stop("control was out of reach, and it may be tried again on another node")
                self.left[run_id] = execution.journal
        return True


def _drop(journal: Journal) -> None:
    """A run that an earlier worker left and another node has: end what is left of it here, and forget it. Blocks."""
    journal.end_survivors()
    journal.hand_on("another node")
