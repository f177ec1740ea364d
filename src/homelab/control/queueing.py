"""Who gets a lease now, and who waits: the asks of all workers, decided together, leases entered one by one.

The queue is in memory, keyed by the work (`RUN/JOB/ATTEMPT`); after a restart of `control` it is made of the asks that
workers repeat with each heartbeat. `core.placement.plan_queue` decides; `control.leases.take` checks again and writes.
Whoever waited and got a place is told by a wake command and asks once more. Called by the API and by `control.service`.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import structlog

from homelab.control import leases, roster, store
from homelab.control.dispatch import Dispatch
from homelab.control.leases import Held
from homelab.control.roster import Roster
from homelab.control.state import Shared
from homelab.core.capacity import SLOTS, UNIT
from homelab.core.errors import InputError
from homelab.core.placement import Eviction, Placement, QueuePlan, Reason, Request, Snapshot, plan_queue, staying
from homelab.core.placement import request_of as request_of_job
from homelab.core.placement.reasons import together
from homelab.core.times import iso
from homelab.core.work import Work
from homelab.db.pool import AWAY, Connection
from homelab.flows.api import PrefectRefused, PrefectUnavailable

log = structlog.get_logger()

Json = dict[str, Any]
FORGOTTEN_S = 30.0
"""Three heartbeats without the ask: nobody waits for it any more."""
LOOK_S = 5.0
"""So often what waits is decided anew though nothing was told: programs outside the lab come and go."""
STOPPING_S = 30.0
"""So long work that was asked to stop counts as stopped."""
MOST_ASKS = 1000
MOST_SAID = 10
"""Reasons in one line of the log."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One job that wants to start, as its worker tells. `waited_s`: since when it wants to. `may_move`: nothing of its
    run starts without a lease, so that the run may go elsewhere; it is then due at `start_at`. `may_send`: this attempt
    may be made on another node. `is_running`: it was started without a lease, or its lease was given up, and goes on.
    """

    work: str
    digest: str | None = None
    waited_s: float = 0.0
    evictions: int = 0
    may_move: bool = False
    may_send: bool = False
    start_at: datetime | None = None
    is_running: bool = False

    @cached_property
    def _named(self) -> Work:
        return Work.of(self.work)

    @property
    def run(self) -> str:
        return self._named.run

    @property
    def job(self) -> str:
        return self._named.job


def asks_of(written: Iterable[Mapping[str, Any]]) -> list[Ask]:
    """The asks of a worker's message. InputError for what is none."""
    try:
        found = [
            Ask(
                work=str(Work.of(str(one["work"]))),
                digest=None if one.get("digest") is None else str(one["digest"]),
                waited_s=max(0.0, float(one.get("waited_s", 0.0))),
                evictions=int(one.get("evictions", 0)),
                may_move=bool(one.get("may_move")),
                may_send=bool(one.get("may_send")),
                start_at=None if one.get("start_at") is None else datetime.fromisoformat(str(one["start_at"])),
                is_running=bool(one.get("running")),
            )
            for one in written
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"an ask cannot be read: {error}"[:200]) from error
    if len(found) > MOST_ASKS:
        raise InputError(f"{len(found)} asks at once", hint=f"At most {MOST_ASKS} at once.")
    return found


@dataclass
class Waiting:
    """An ask that has no answer yet but "wait". `whole`: what the job asks for; `request`: that, for the nodes it may
    go to now. `heard`: seconds of a monotonic clock. `is_new`: nothing was decided since it was asked, so that its
    worker still waits for the answer to that."""

    ask: Ask
    node: str
    whole: Request
    request: Request
    is_apart: bool
    heard: float
    refused: Sequence[Reason] = ()
    is_told: bool = False
    is_new: bool = True


class Queue:
    """See the module. `plan`: the newest decision about all that wait; None when nothing does."""

    def __init__(self, shared: Shared, dispatch: Dispatch) -> None:
        self._shared = shared
        self._dispatch = dispatch
        self._lock = asyncio.Lock()
        self._waiting: dict[str, Waiting] = {}
        self._given: dict[str, tuple[str, int]] = {}
        self._moved: dict[str, str] = {}
        self._stopping: dict[str, float] = {}
        self._answered = asyncio.Event()
        self._deciding: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()
        self.plan: QueuePlan | None = None

    # -- what workers ask -----------------------------------------------------------------------------------------

    async def ask(self, node: str, asks: Sequence[Ask], gives: Sequence[str]) -> list[Json]:
        """An answer to each: `held` with its `token`, `sent` with `token` and `node` (a lease there is for this
        attempt), `elsewhere` with the `node` that has the run, or `wait` with the `reasons`. `gives`: work of this node
        that does not need its lease any more."""
        async with self._shared.database.connection() as conn:
            held = await leases.of_work(conn, [one.work for one in asks])
            others = await store.runs_of_others(conn, [one.run for one in asks], node)
            given = await leases.give_back(conn, node, gives) if gives else 0
        for work in gives:
            self._waiting.pop(work, None)
        answers: dict[str, Json] = {}
        for one in asks:
            if one.run in others:
                self._moved.pop(one.work, None)
                answers[one.work] = {"answer": "elsewhere", "node": others[one.run]}
            elif one.work in held and (one.may_send or held[one.work][1] == node):
                token, where = held[one.work]
                answers[one.work] = _got(where, token, asker=node)
                self._given.pop(one.work, None)
            else:
                await self._enter(one, node)
        if given:
            self.changed.set()
        await self._decide_about([one.work for one in asks if one.work not in answers])
        return [{"work": one.work, **(answers.get(one.work) or self._answer(one.work, node))} for one in asks]

    def forget(self, node: str, runs: Collection[str]) -> None:
        """The node begins nothing of these runs: what it asked for them is not asked any more."""
        for work in [w for w, one in self._waiting.items() if one.node == node and one.ask.run in runs]:
            self._waiting.pop(work)

    async def _enter(self, one: Ask, node: str) -> None:
        known = self._waiting.get(one.work)
        if known is not None and known.node == node and _is_same(known.ask, one):
            known.heard, known.is_new = time.monotonic(), True
            return
        self._given.pop(one.work, None)
        self._moved.pop(one.work, None)
        whole, is_apart = await self._request(one)
        request = whole if one.may_move else replace(whole, node=node)
        self._waiting[one.work] = Waiting(
            ask=one, node=node, whole=whole, request=request, is_apart=is_apart, heard=time.monotonic()
        )

    async def _request(self, one: Ask) -> tuple[Request, bool]:
        """What the job asks for; a run that is not the lab's own, a slot. Whether it may run apart from its run."""
        since = self._shared.clock().timestamp() - one.waited_s
        flow = await self._dispatch.flow(one.digest)
        job = None if flow is None else next((j for j in flow.jobs if j.name == one.job), None)
        if job is None:
            return Request(id=one.work, name=one.job, amounts={SLOTS: UNIT}, submitted=since), False
        return replace(request_of_job(job, identity=one.work, submitted=since), evictions=one.evictions), job.apart

    def _answer(self, work: str, node: str) -> Json:
        if (given := self._given.pop(work, None)) is not None:
            return _got(*given, asker=node)
        if (to := self._moved.pop(work, None)) is not None:
            return {"answer": "elsewhere", "node": to}
        waiting = self._waiting.get(work)
        return {"answer": "wait", "reasons": [] if waiting is None else self._reasons(waiting)}

    def _reasons(self, waiting: Waiting) -> list[Json]:
        """Node -> why it does not start there: `{node, code, reason}` each."""
        found = {} if self.plan is None else self.plan.reasons(waiting.request)
        for reason in waiting.refused:
            found[reason.node] = (reason,)
        return [
            {"node": name, "code": reasons[0].code.value, "reason": together(reasons)}
            for name, reasons in sorted(found.items())
            if reasons
        ]

    def listing(self) -> list[Json]:
        """What waits for room, the first in turn first: as `Dispatch.queue`, with the node whose worker waits."""
        return [
            {
                "work": one.ask.work,
                "run": one.ask.run,
                "job": one.ask.job,
                "since": iso(datetime.fromtimestamp(one.request.submitted, UTC)),
                "priority": one.request.priority,
                "node": one.node,
                "reasons": self._reasons(one),
            }
            for one in sorted(self._waiting.values(), key=lambda w: w.request.turn)
            if not one.ask.is_running
        ]

    # -- deciding -------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Decide anew whenever something ended, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S if self._waiting else None):
                    await self.changed.wait()
            except TimeoutError:
                pass
            self.changed.clear()
            try:
                await self._decide()
            except (*AWAY, PrefectUnavailable) as error:
                log.warning("queue.waits", error=str(error).strip())
                await asyncio.sleep(1)
            except Exception as error:  # workers ask again by themselves
                log.exception("queue.broken", error=str(error))
                await asyncio.sleep(1)

    async def _decide_about(self, asked: Sequence[str]) -> None:
        """Until there is a decision about all of these, one for all that ask meanwhile; not longer, whatever the same
        decision gives to others. Raises as that does."""
        awaited: asyncio.Task[None] | None = None
        while any(work in self._waiting and self._waiting[work].is_new for work in asked):
            if awaited is not None and awaited.done() and (error := awaited.exception()) is not None:
                raise error
            if self._deciding is None or self._deciding.done():
                self._deciding = asyncio.create_task(self._decide(), name="decide")
                self._deciding.add_done_callback(lambda _: self._has_answers())
            awaited = self._deciding
            await self._answered.wait()

    def _has_answers(self) -> None:
        """Who waits for a decision looks whether it has come."""
        self._answered.set()
        self._answered = asyncio.Event()

    async def _decide(self) -> None:
        """Give what can be given, and tell the workers that do not wait for the answer to an ask."""
        async with self._lock:
            self._forget_silent()
            if not self._waiting:
                self.plan = None
                return
            told: set[str] = set()
            async with self._shared.database.connection() as conn:  # one for all: each waits behind all heartbeats
                there = await roster.read(conn)
                await conn.commit()
                for waiting in [w for w in self._waiting.values() if w.ask.is_running]:
                    told |= await self._take(conn, waiting, waiting.node)
                now = self._shared.clock().timestamp()
                snapshot = self._snapshot(there)
                asked = [self._asked(w, snapshot) for w in self._waiting.values() if not w.ask.is_running]
                decided = list(self._waiting.values())
                self.plan = plan_queue(asked, snapshot, now, preempt=True)
                starts = [(start, self._waiting[start.request.id]) for start in self.plan.starts]
                for start, waiting in starts:
                    if not (start.wake or _moves(start, waiting)):
                        told |= await self._take(conn, waiting, start.node)
            for start, waiting in starts:
                if start.wake or _moves(start, waiting):
                    told |= await self._start(start, waiting)
            for eviction in self.plan.evictions:
                self._stop(eviction)
            self._note(self.plan)
            for waiting in decided:
                waiting.is_new = False
        for node in told:
            self._shared.wake_workers({"kind": "lease"}, node=node)

    def _asked(self, waiting: Waiting, snapshot: Snapshot) -> Request:
        if waiting.ask.may_send and not waiting.ask.may_move:
            waiting.request = staying(waiting.whole, waiting.node, snapshot, apart=waiting.is_apart)
        return waiting.request

    def _snapshot(self, there: Roster) -> Snapshot:
        """All that is held, less what was asked to stop."""
        since = time.monotonic() - STOPPING_S
        held = {lease.id for lease in there.held}
        self._stopping = {work: at for work, at in self._stopping.items() if work in held and at > since}
        return Snapshot.of(there.nodes(), [lease for lease in there.held if lease.id not in self._stopping])

    async def _start(self, start: Placement, waiting: Waiting) -> set[str]:
        """What others have a part in: a machine that is to wake, Prefect."""
        if start.wake:
            await self._dispatch.wake(start.node)
        if _moves(start, waiting):
            return await self._move(waiting, start)
        async with self._shared.database.connection() as conn:
            return await self._take(conn, waiting, start.node)

    async def _take(self, conn: Connection, waiting: Waiting, node: str) -> set[str]:
        """Promise it room on that node, its run's own or another: whose worker hears so. Committed afterwards."""
        got = await leases.take(conn, replace(waiting.request, node=node), node)
        if self._waiting.get(waiting.ask.work) is not waiting:  # given back meanwhile, or asked for otherwise
            await conn.rollback()
            return set()
        await conn.commit()
        if not isinstance(got, Held):
            waiting.refused = got.reasons
            return set()
        self._waiting.pop(waiting.ask.work, None)
        self._given[waiting.ask.work] = (node, got.token)
        self._has_answers()
        self._dispatch.begun(waiting.ask.run)
        log.info("placed", run_id=waiting.ask.run, job=waiting.ask.job, node=node, token=got.token)
        return _to_tell(waiting)

    async def _move(self, waiting: Waiting, start: Placement) -> set[str]:
        """The run of which nothing has started goes to the node that has room for it, which is kept for it there."""
        work = waiting.ask.work
        async with self._shared.database.connection() as conn:
            got = await leases.take(conn, replace(waiting.request, node=start.node), start.node)
        if not isinstance(got, Held):
            waiting.refused = got.reasons
            return set()
        try:
            await self._dispatch.move(waiting.ask.run, start, at=waiting.ask.start_at)
        except (PrefectRefused, PrefectUnavailable, *AWAY) as error:
            log.warning("move.failed", run_id=waiting.ask.run, error=str(error))
            async with self._shared.database.connection() as conn:
                await leases.end(conn, got.token, "released")
            return set()
        self._waiting.pop(work, None)
        self._moved[work] = start.node
        self._has_answers()
        return _to_tell(waiting)

    def _stop(self, eviction: Eviction) -> None:
        lease = eviction.lease
        self._stopping[lease.id] = time.monotonic()
        by = self._waiting[eviction.by].request.name if eviction.by in self._waiting else eviction.by
        log.info("evicted", work=lease.id, node=lease.node, by=by)
        command = {"kind": "evict", "work": lease.id, "reason": f"stopped for {by}, which is more important"}
        self._shared.wake_workers(command, node=lease.node)

    def _note(self, plan: QueuePlan) -> None:
        """Say once of each why it waits."""
        for request in plan.waiting:
            waiting = self._waiting.get(request.id)
            if waiting is not None and not waiting.is_told:
                waiting.is_told = True
                why = [one["reason"] for one in self._reasons(waiting)][:MOST_SAID]
                log.info("waits", run_id=waiting.ask.run, job=waiting.ask.job, node=waiting.node, reasons=why)

    def _forget_silent(self) -> None:
        since = time.monotonic() - FORGOTTEN_S
        self._waiting = {work: one for work, one in self._waiting.items() if one.heard > since}
        if len(self._given) > MOST_ASKS:
            self._given.clear()  # the lease itself is in the database
        if len(self._moved) > MOST_ASKS:
            self._moved.clear()


def _is_same(known: Ask, one: Ask) -> bool:
    """Whether what is asked again may get what was asked before."""
    return (known.is_running, known.may_move) == (one.is_running, one.may_move)


def _moves(start: Placement, waiting: Waiting) -> bool:
    """Whether its run goes to another node with it."""
    return start.node != waiting.node and waiting.ask.may_move


def _to_tell(waiting: Waiting) -> set[str]:
    """The node whose worker does not know that there is an answer now."""
    return set() if waiting.is_new else {waiting.node}


def _got(node: str, token: int, *, asker: str) -> Json:
    """The answer to who has a lease: for itself, or on another node."""
    if node == asker:
        return {"answer": "held", "token": token}
    return {"answer": "sent", "token": token, "node": node}
