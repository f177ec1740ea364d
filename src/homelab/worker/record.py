"""What Prefect is told of one run, in order, retried until it is taken: its states, its task runs, its final state.

The runner never waits for this: commands start on their instant whatever the server's load, and the record follows. All
requests of a worker share `Gate`s, so that a burst of runs cannot pile up more requests than the server can answer.
Called by `worker.execution`; knows Prefect only through `flows.api`.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, TypeVar

import structlog

from homelab.flows.api import PrefectApi, PrefectRefused, PrefectUnavailable, StateProposal, Verdict
from homelab.worker.starts import Starts

log = structlog.get_logger()

_RETRY_MAX_S = 10.0
_REMEMBERED = 200

T = TypeVar("T")


class Gate:
    """At most `width` requests of one kind at a time, and how many outages there were. They give way to `starts`."""

    def __init__(self, width: int, *, starts: Starts | None = None) -> None:
        self._slots = asyncio.Semaphore(width)
        self._starts = starts
        self.outages = 0

    async def until_taken(self, action: Callable[[], Awaitable[T]], *, what: str) -> T:
        """Run `action` until the server takes it. PrefectRefused passes through: the answer would not change."""
        wait_s = 0.25
        while True:
            if self._starts is not None:
                await self._starts.settled()
            try:
                async with self._slots:
                    return await action()
            except PrefectUnavailable as error:
                self.outages += 1
                if wait_s > 1.0:
                    log.warning("prefect.unavailable", what=what, error=str(error), retry_in_s=wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _RETRY_MAX_S)


@dataclass(frozen=True)
class _Events:
    events: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class _State:
    proposal: StateProposal
    on_verdict: Callable[[Verdict], None] | None
    final: bool
    force: bool


class Record:
    """The outbox of one run. `serve` delivers in order and ends after the final state has been taken."""

    def __init__(
        self, api: PrefectApi, gate: Gate, run_id: str, *, confirmed: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """`confirmed`: returns when it is known that the run is still this node's."""
        self._confirmed = confirmed
        self._api = api
        self._gate = gate
        self._run_id = run_id
        self._waiting: deque[_Events | _State] = deque()
        self._news = asyncio.Event()
        self._outages = gate.outages
        self._sent: list[dict[str, Any]] = []

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    @property
    def is_shown(self) -> bool:
        """Whether Prefect has the last state that was put here."""
        return not any(isinstance(item, _State) for item in self._waiting)

    def untold(self) -> list[dict[str, Any]]:
        """Events that Prefect may not have yet; a repetition changes nothing."""
        return [event for item in self._waiting if isinstance(item, _Events) for event in item.events]

    def _put(self, item: "_Events | _State") -> None:
        self._waiting.append(item)
        self._news.set()

    def events(self, events: Sequence[dict[str, Any]]) -> None:
        """Task-run state changes; those waiting together go in one request."""
        self._put(_Events(events))

    def state(
        self,
        proposal: StateProposal,
        *,
        on_verdict: Callable[[Verdict], None] | None = None,
        final: bool = False,
        force: bool = False,
    ) -> None:
        """A state of the run. `on_verdict` hears what the server made of it; after a `final` one `serve` ends.
        `force`: whatever the state before it was (a run that is resumed comes from a final one)."""
        self._put(_State(proposal, on_verdict, final, force))

    async def serve(self) -> None:
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            item = self._waiting[0]  # it stays until it is delivered: see `untold`
            if isinstance(item, _Events):
                batch = list(takewhile(lambda one: isinstance(one, _Events), self._waiting))
                events = [event for one in batch if isinstance(one, _Events) for event in one.events]
                await self._deliver(lambda events=events: self._api.send_events(events), "events")
                self._sent = [*self._sent, *events][-_REMEMBERED:]
                for _ in batch:
                    self._waiting.popleft()
                continue
            verdict = await self._deliver(lambda item=item: self._propose(item), "state")
            self._waiting.popleft()
            if verdict is not None and item.on_verdict is not None:
                item.on_verdict(verdict)
            if item.final:
                if self._gate.outages != self._outages and self._sent:
                    # A killed server forgets what it took and had not written; a repetition changes nothing.
                    await self._deliver(lambda: self._api.send_events(self._sent), "events again")
                return

    async def _propose(self, item: _State) -> Verdict:
        if item.force:
            return await self._api.set_state(self._run_id, item.proposal, force=True)
        verdict = await self._api.propose(self._run_id, item.proposal)
        if item.final and not verdict.accepted and verdict.state_type not in ("COMPLETED", "FAILED", "CANCELLED"):
            # The command has ended; no rule of the server can change that, nor that it was held for crashed.
            await self._api.set_state(self._run_id, item.proposal, force=True)
        return verdict

    async def _deliver(self, action: Callable[[], Awaitable[T]], what: str) -> T | None:
        if self._confirmed is not None:
            await self._confirmed()
        try:
            return await self._gate.until_taken(action, what=what)
        except PrefectRefused as error:
            # Deleted by hand in Prefect, for instance: our journal and control still have the run.
            log.warning("prefect.refused", run_id=self._run_id, what=what, error=str(error))
            return None
