"""What must be free before something starts on this node: a slot of its queue, its exclusive groups, its turn.

State of one event loop, touched by its tasks only; no I/O. Called by `worker.execution`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum

from homelab.core.jobs import Flow, Overlap

DEFAULT_CONCURRENCY = 20


class Slots:
    """A counting limit, first come first served, that may be changed while in use."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def resize(self, limit: int) -> None:
        """A lower limit takes effect as slots come back; nothing running is touched."""
        self.limit = limit
        self._pass_on()

    @asynccontextmanager
    async def slot(self, *, is_taken: bool = False) -> AsyncGenerator[None]:
        """`is_taken`: what wants it runs already, whatever the limit says."""
        if is_taken or (self.used < self.limit and not self._waiting):
            self.used += 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_back()  # the slot came in the same instant as the cancellation
                raise
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        self.used -= 1
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting and self.used < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.used += 1
                turn.set_result(None)


class Turn(Enum):
    """What an overlap policy says of one more run of a flow."""

    GO = "go"
    WAIT = "wait"
    SKIP = "skip"


class Admission:
    """Slots by queue, locks by exclusive group, runs by flow."""

    def __init__(self) -> None:
        self._queues: dict[str, Slots] = {}
        self._limits: Mapping[str, int] = {}
        self._groups: dict[str, asyncio.Lock] = {}
        self._doors: dict[str, asyncio.Lock] = {}
        self._running: dict[str, set[str]] = {}
        self._waiting: dict[str, str] = {}
        self._turn_over: dict[str, asyncio.Event] = {}

    def configure(self, limits: Mapping[str, int]) -> None:
        """Concurrency by queue; a queue that is not named has the default."""
        self._limits = dict(limits)
        for name, slots in self._queues.items():
            slots.resize(self._limit(name))

    def _limit(self, queue: str) -> int:
        return self._limits.get(queue, DEFAULT_CONCURRENCY)

    @property
    def used(self) -> int:
        return sum(slots.used for slots in self._queues.values())

    def door(self, queue: str) -> asyncio.Lock:
        """Runs of one queue begin one after the other, so that hundreds due at once do not delay another queue."""
        return self._doors.setdefault(queue, asyncio.Lock())

    @asynccontextmanager
    async def start(self, queue: str, exclusive: Iterable[str], *, is_running: bool = False) -> AsyncGenerator[None]:
        """Hold the groups, then a slot. Groups are taken in the order of their names, so no two jobs deadlock, and
        before the slot, so that waiting for a group holds up nobody else. `is_running`: it has a slot already."""
        async with AsyncExitStack() as held:
            for name in sorted(set(exclusive)):
                await held.enter_async_context(self._groups.setdefault(name, asyncio.Lock()))
            slots = self._queues.setdefault(queue, Slots(self._limit(queue)))
            await held.enter_async_context(slots.slot(is_taken=is_running))
            yield

    def turn(self, flow: str, policy: Overlap, run: str) -> Turn:
        """Whether `run` may go now, waits for the running one, or is skipped. GO and WAIT take the place."""
        running = self._running.setdefault(flow, set())
        if policy == "allow" or not running:
            running.add(run)
            return Turn.GO
        if policy == "forbid" or flow in self._waiting:
            return Turn.SKIP
        self._waiting[flow] = run
        return Turn.WAIT

    def enter(self, flow: str, run: str) -> None:
        """The run has begun, before anybody asked here."""
        self._running.setdefault(flow, set()).add(run)

    async def wait_turn(self, flow: str, run: str) -> None:
        """After WAIT: returns when the running ones have ended and `run` has taken their place."""
        try:
            while self._running.get(flow):
                await self._turn_over.setdefault(flow, asyncio.Event()).wait()
        finally:
            if self._waiting.get(flow) == run:
                del self._waiting[flow]
        self._running.setdefault(flow, set()).add(run)

    def leave(self, flow: str, run: str) -> None:
        """The run has ended, or gave up its place."""
        running = self._running.get(flow)
        if running is None:
            return
        running.discard(run)
        if not running:
            del self._running[flow]
            if event := self._turn_over.pop(flow, None):
                event.set()

    def running(self, flow: str) -> frozenset[str]:
        return frozenset(self._running.get(flow, ()))


def overlap_of(flow: Flow) -> Overlap:
    """The strictest policy among the flow's jobs: a run of the flow is one thing, and starts or does not as a whole."""
    policies = {job.overlap for job in flow.jobs}
    for policy in ("forbid", "queue"):
        if policy in policies:
            return policy
    return "allow"
