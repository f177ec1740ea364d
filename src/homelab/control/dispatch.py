"""Which worker gets which run: asks Prefect once for all of them, and gives each due run to a node.

Nothing is claimed here: the worker of the node proposes Pending, and Prefect decides. Where a run goes is decided by
`control.assigning` on what `control.roster` has read; it is kept in `run.node` before anybody hears of it, except where
one machine works alone. Workers ask (`due`); those whose run must start soon are woken.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import structlog

from homelab.control import lost, roster, sent, store
from homelab.control.assigning import Due, assign, requests_of_run, slot
from homelab.control.passed import passed_of
from homelab.control.roster import Roster
from homelab.control.state import Shared
from homelab.control.waking import Waking
from homelab.core import dag
from homelab.core.errors import NotFoundError, RefusedError
from homelab.core.jobs import Flow, RunState
from homelab.core.placement import Lease, Placement, Rejection, Request, render
from homelab.core.placement.reasons import together
from homelab.core.times import iso
from homelab.db.pool import AWAY, Connection
from homelab.flows import records
from homelab.flows.api import DUE_RUNS, POOL, DueRun, PrefectRefused, PrefectUnavailable
from homelab.flows.records import StateProposal
from homelab.worker.admission import overlap_of

log = structlog.get_logger()

Json = dict[str, Any]
AHEAD = timedelta(seconds=25)
"""More than two polls of a worker, so that a run is claimed before its instant even when one poll fails."""
FRESH_S = 1.0
"""So long an answer of Prefect serves all workers that ask."""
SOON = timedelta(seconds=12)
"""What is due later is found by the worker's next poll; of what is due sooner its worker is told."""
FORGOTTEN_S = 600.0
"""A run that was assigned so long ago and of which nobody has said anything counts for nothing any more."""
MOST_PAGES = 10
MOST_SAID = 10
"""Reasons in one line of the log."""
KEPT_FLOWS = 500
UNBEGUN = ("scheduled", "pending")
"""States of a run of which nothing was told."""


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """A run that has a node and has not begun there. `lease`: what it will hold, as placement counts it."""

    node: str
    lease: Lease
    since: float


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A run that no node can take. `since`: seconds since the epoch."""

    run: str
    flow: str
    request: Request
    rejection: Rejection
    since: float


@dataclass
class Found:
    """What Prefect last said, and when (seconds of a monotonic clock). `more`: it has others, which it tells when some
    of these have been claimed."""

    runs: list[DueRun] = field(default_factory=list[DueRun])
    cancelling: list[str] = field(default_factory=list[str])
    more: bool = False
    at: float = -FRESH_S


class Dispatch:
    """See the module."""

    def __init__(self, shared: Shared, reader: roster.Reader, waking: Waking) -> None:
        self._shared = shared
        self._waking = waking
        self._reader = reader
        self._lock = asyncio.Lock()
        self._found = Found()
        self._old_at = 0.0
        """What was found before then is known to be old."""
        self._ahead: dict[str, Ahead] = {}
        self._flows: dict[str, Flow] = {}
        self._left: dict[str, tuple[str, datetime]] = {}
        self.waiting: dict[str, Waiting] = {}

    async def due(self, worker: str, node: str) -> Json:
        """`runs` that this node is to claim, `cancelling` those of its runs that Prefect is asked to cancel, `alone`:
        whether it is the only node, `more`: whether to ask again at once, when these are claimed. Raises
        PrefectUnavailable, and what `db.pool.AWAY` names."""
        self._shared.worker_on[node] = worker
        there = await self._reader.read()
        await self._look(asker=node)
        mine = [run for run in self._found.runs if run.id in self._ahead and self._ahead[run.id].node == node]
        alone = there.is_alone(node)
        cancelling = self._found.cancelling if alone else await self._cancelling(node, there)
        runs = [run.to_json() for run in mine]
        return {"runs": runs, "cancelling": cancelling, "alone": alone, "more": self._found.more}

    async def serve(self) -> None:
        """Hand out at once what may start at once, until cancelled."""
        while True:
            await self._shared.arrived.wait()
            self._shared.arrived.clear()
            self.forget()
            try:
                await self._offer_left()
                there = await self._reader.read()
                if any(there.is_alone(node) for node in self._shared.worker_on):
                    self._shared.wake_workers({"kind": "poll"})
                else:
                    await self._look(asker="")
            except (*AWAY, PrefectUnavailable) as error:
                log.warning("dispatch.waits", error=str(error).strip())
            except Exception as error:  # workers ask by themselves, a little later
                log.exception("dispatch.broken", error=str(error))

    def begun(self, run: str) -> None:
        """The run is at work: from now on its leases count, not what was expected of it."""
        self._ahead.pop(run, None)
        self._found.runs = [one for one in self._found.runs if one.id != run]

    def leave(self, node: str, runs: Mapping[str, datetime]) -> None:
        """That node stops, and begins nothing of these runs, which it had claimed for these instants. `serve` has
        Prefect offer them again; those that Prefect cannot be told of now are found when the node is given up."""
        self._left |= {run: (node, at) for run, at in runs.items()}
        self.forget()
        self._shared.arrived.set()

    async def _offer_left(self) -> None:
        left, self._left = self._left, {}
        if not left:
            return
        async with self._shared.database.connection() as conn:
            known = await store.assigned(conn, list(left))
        theirs = [run for run, row in known.items() if row["node"] == left[run][0] and row["state"] in UNBEGUN]
        found = await self._shared.prefect.read_runs(theirs[:200]) if theirs else []
        for seen in found:
            if seen.state_type != "PENDING":  # cancelled meanwhile
                continue
            node, at = left[seen.id]
            why = f"the daemon of node {node} was stopped"
            again = StateProposal(type="SCHEDULED", name="Scheduled", message=why, scheduled_time=at)
            with contextlib.suppress(PrefectRefused):  # deleted meanwhile
                await self._shared.prefect.set_state(seen.id, again)
                log.info("run.left", run_id=seen.id, node=node)
        self._old_at = time.monotonic()

    async def move(self, run: str, place: Placement, *, at: datetime | None) -> None:
        """Nothing of this claimed run has started: another node is to claim it, for `at` (now). Raises PrefectRefused,
        PrefectUnavailable and what `db.pool.AWAY` names."""
        why = f"{place.node} has room for it"
        scheduled = StateProposal(
            type="SCHEDULED", name="Scheduled", message=why, scheduled_time=at or self._shared.clock()
        )
        await self._shared.prefect.set_state(run, scheduled)
        async with self._shared.database.connection() as conn:
            await store.assign(conn, {run: place.node})
        self._ahead.pop(run, None)
        log.info("placed", run_id=run, node=place.node, reasons=[render(reason) for reason in place.reasons])
        self._old_at = time.monotonic()
        self._shared.wake_workers({"kind": "poll"}, node=place.node)

    def forget(self) -> None:
        """What Prefect and the database said a moment ago is old: the next that asks makes them be asked anew."""
        self._old_at = time.monotonic()
        self._reader.forget()

    def queue(self) -> list[Json]:
        """Runs that no node can take, the first in turn first: `{work, run, job, since, priority, node, reasons}`, with
        a reason for each node."""
        return [
            {
                "work": one.request.id,
                "run": one.run,
                "job": one.request.name,
                "since": iso(datetime.fromtimestamp(one.since, UTC)),
                "priority": one.request.priority,
                "node": None,
                "reasons": [{k: r[k] for k in ("node", "code", "reason")} for r in one.rejection.to_json()],
            }
            for one in sorted(self.waiting.values(), key=lambda w: w.request.turn)
        ]

    # -- taking up again ------------------------------------------------------------------------------------------

    async def reopen(self, conn: Connection, row: Mapping[str, Any], state_name: str) -> None:
        """A run (a whole row) is to be done again as the state of that name says: its retries begin anew."""
        attempts = await store.attempts(conn, row["id"])
        flow = await self.flow(row["digest"])
        base: dict[str, int] = {}
        for one in attempts:
            base[one["job"]] = max(one["attempt"], base.get(one["job"], 0))
        redo: Sequence[str] = ()
        if state_name == records.RERUN:
            redo = row["jobs"]
        elif flow is not None and (first := records.rerun_from(state_name)) is not None:
            redo = dag.onward(flow, first)
        await store.reopen_run(conn, row["id"], lost.Round(base=base, redo=frozenset(redo)).to_json())
        for node in await sent.stop_old(conn, row["id"]):
            self._shared.wake_workers({"kind": "poll"}, node=node)

    async def progress(self, run: str) -> Json:
        """How far a run is, for the node that takes it up: `kept` (job -> final state), `attempts`, `base`, what was
        `sent` to other nodes and has not ended, and what each of the kept jobs `passed` on. NotFoundError: there is no
        such run."""
        async with self._shared.database.connection() as conn:
            row = await store.run_row(conn, run)
            if row is None:
                raise NotFoundError(f"there is no run '{run[:80]}'")
            found = await _progress(conn, row)
            handed = await passed_of(conn, run)
        passed = {job: one.to_json() for job, one in handed.items() if job in found.kept}
        return {**found.to_json(), "passed": passed}

    # -- looking --------------------------------------------------------------------------------------------------

    async def _look(self, *, asker: str) -> None:
        async with self._lock:
            at = time.monotonic()
            if self._found.at > self._old_at and at - self._found.at < FRESH_S:
                return
            runs, is_cut = await self._due_runs(self._shared.clock() + AHEAD)
            cancelling = await self._shared.prefect.cancelling_runs(POOL)
            sleepers = await self._hand_out(runs, asker)
            more = is_cut and any(run.id in self._ahead for run in runs)
            self._found = Found(runs=runs, cancelling=cancelling, more=more, at=at)
        for node in sleepers:
            await self.wake(node)

    async def wake(self, node: str) -> None:
        """Ask a sleeping node to wake: it has been given something."""
        try:
            await self._waking.wake(node)
        except (RefusedError, NotFoundError) as error:
            log.warning("wake.failed", node=node, error=error.message)

    async def _due_runs(self, before: datetime) -> tuple[list[DueRun], bool]:
        """What is due, and whether there may be more. Of one instant Prefect tells no more than a page: the rest when
        those are claimed, what is due after it at once."""
        runs: dict[str, DueRun] = {}
        after: datetime | None = None
        is_cut = False
        for _ in range(MOST_PAGES):
            page = await self._shared.prefect.due_runs(POOL, before=before, after=after)
            runs |= {run.id: run for run in page}
            if len(page) < DUE_RUNS:
                return list(runs.values()), is_cut
            is_one_instant = page[0].due == page[-1].due
            is_cut |= is_one_instant
            after = page[-1].due + timedelta(microseconds=1 if is_one_instant else 0)
        return list(runs.values()), True

    async def _cancelling(self, node: str, there: Roster) -> list[str]:
        """Those that run on this node, and those that run nowhere: of these somebody has to say so."""
        if not self._found.cancelling:
            return []
        async with self._shared.database.connection() as conn:
            known = await store.assigned(conn, self._found.cancelling)
        of = {run: known[run]["node"] if run in known else "" for run in self._found.cancelling}
        return [run for run, where in of.items() if where == node or not there.is_there(where)]

    # -- giving each a node ---------------------------------------------------------------------------------------

    async def _hand_out(self, runs: Sequence[DueRun], asker: str) -> set[str]:
        """The nodes that sleep and were given something."""
        there = await self._reader.read()
        alone = next((name for name in there.rows if there.is_alone(name)), None)
        names = {run.id for run in runs}
        requests = {run.id: await self._requests(run) for run in runs}
        groups = {run.id: group for run in runs if (group := await self._group(run))}
        known: Mapping[str, store.Row] = {}
        at_work: dict[str, str] = {}
        if alone is None:
            async with self._shared.database.connection() as conn:
                known = await store.assigned(conn, list(names)) if names else {}
                await self._reopen_ended(conn, runs, known)
                at_work = await store.at_work(conn, list(set(groups.values()))) if groups else {}
        self._forget_old()
        expected = [one.lease for run, one in self._ahead.items() if run not in names]
        dues = [_due(run, requests[run.id], groups.get(run.id, ""), self._ahead, known) for run in runs]
        now = self._shared.clock().timestamp()
        made = assign(dues, there.snapshot(expected), now, at_work=at_work)
        fresh = {
            run: place.node
            for run, place in made.placed.items()
            if run not in self._ahead or self._ahead[run].node != place.node
        }
        if alone is None and fresh:
            async with self._shared.database.connection() as conn:
                await store.assign(conn, fresh)
        self._note(runs, made.placed, made.waiting, fresh, now)
        self._tell(runs, fresh, asker)
        return {place.node for place in made.placed.values() if place.wake}

    async def _reopen_ended(self, conn: Connection, runs: Sequence[DueRun], known: Mapping[str, store.Row]) -> None:
        """Runs that had ended and that somebody had Prefect do again: its own button."""
        for run in runs:
            row = known.get(run.id)
            if row is not None and records.is_retry(run.state_name) and RunState(row["state"]).is_final:
                whole = await store.run_row(conn, run.id)
                if whole is not None:
                    await self.reopen(conn, whole, run.state_name)

    def _note(
        self,
        runs: Sequence[DueRun],
        placed: Mapping[str, Placement],
        waiting: Mapping[str, Rejection],
        fresh: Mapping[str, str],
        now: float,
    ) -> None:
        since = {run: one.since for run, one in self.waiting.items()}
        self.waiting = {}
        for run in runs:
            if run.id in placed:
                place = placed[run.id]
                self._ahead[run.id] = Ahead(node=place.node, lease=place.lease(now=now), since=time.monotonic())
                if run.id in fresh:
                    why = [render(reason) for reason in place.reasons]
                    log.info("placed", run_id=run.id, run=run.name, node=place.node, reasons=why)
                continue
            self._ahead.pop(run.id, None)
            rejection = waiting[run.id]
            self.waiting[run.id] = Waiting(
                run=run.id,
                flow=run.name.rsplit(" ", 2)[0],
                request=rejection.request,
                rejection=rejection,
                since=since.get(run.id, max(now, run.due.timestamp())),
            )
            if run.id not in since:
                why = [together(reasons) for reasons in rejection.reasons.values()][:MOST_SAID]
                log.info("waits", run_id=run.id, run=run.name, reasons=why)

    def _tell(self, runs: Sequence[DueRun], fresh: Mapping[str, str], asker: str) -> None:
        soon = self._shared.clock() + SOON
        for node in {fresh[run.id] for run in runs if run.id in fresh and run.due <= soon} - {asker}:
            self._shared.wake_workers({"kind": "poll"}, node=node)

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._ahead = {run: one for run, one in self._ahead.items() if now - one.since < FORGOTTEN_S}

    # -- what a run is --------------------------------------------------------------------------------------------

    async def _requests(self, run: DueRun) -> tuple[Request, ...]:
        """What the run asks for, or what is left of one that is done again. One that is not the lab's own asks for a
        slot."""
        flow = await self.flow(run.parameters.get("definition"))
        since = run.due.timestamp()
        if flow is None:
            return (slot(run.id, name=run.name, submitted=since),)
        only = cast("list[str] | None", run.parameters.get("only"))
        if records.is_retry(run.state_name):
            async with self._shared.database.connection() as conn:
                row = await store.run_row(conn, run.id)
                found = None if row is None else await _progress(conn, row)
            only = only if row is None or found is None else lost.left_of(row["jobs"], found)
        return requests_of_run(flow, run=run.id, submitted=since, only=only, skip=run.parameters.get("skip") or ())

    async def _group(self, run: DueRun) -> str:
        flow = await self.flow(run.parameters.get("definition"))
        return flow.name if flow is not None and overlap_of(flow) != "allow" else ""

    async def flow(self, digest: object) -> Flow | None:
        """The definition of that digest; None when it is not known (any more)."""
        key = str(digest)
        if digest is None or key in self._flows:
            return self._flows.get(key)
        async with self._shared.database.connection() as conn:
            body = await store.definition(conn, key)
        if body is None:
            return None
        if len(self._flows) >= KEPT_FLOWS:
            self._flows.clear()
        self._flows[key] = Flow.from_json(body)
        return self._flows[key]


async def _progress(conn: Connection, row: Mapping[str, Any]) -> lost.Progress:
    attempts, away = await store.attempts(conn, row["id"]), await sent.in_flight(conn, row["id"])
    return lost.progress_of(attempts, lost.Round.of(row["round"]), away)


def _due(
    run: DueRun,
    requests: tuple[Request, ...],
    group: str,
    ahead: Mapping[str, Ahead],
    known: Mapping[str, store.Row],
) -> Due:
    """A run as `assigning` knows it: what is in memory counts before what was written."""
    row = known.get(run.id)
    node = ahead[run.id].node if run.id in ahead else str(row["node"]) if row and row["assigned"] else ""
    before = str(row["node"]) if row and not row["assigned"] else ""
    return Due(run=run.id, requests=requests, node=node, before=before, group=group)
