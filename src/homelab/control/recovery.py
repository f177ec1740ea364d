"""What becomes of runs whose node is not heard any more: they have crashed, and go on elsewhere where they may.

A node that is silent for 40 s (by the database's clock) is given up: its leases end, and a report of the crash of each
attempt in flight is entered in its place. What `control.lost` finds left to do of a run is assigned anew, to another
node, once: it is taken from the lost node in the same transaction, and Prefect is told afterwards, again and again
until it knows. A run that no other node can take stays the lost node's, whose late result then counts.

Silence counts only while `control` could hear: after it started, was stopped, or had no database, every node gets the
full time again. One task: `serve`.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from homelab.control import leases, lost, nodewords, reports, roster, sent, store
from homelab.control.assigning import Due, assign, requests_of_run
from homelab.control.dispatch import Dispatch
from homelab.control.queueing import Queue
from homelab.control.roster import Roster
from homelab.control.sending import Sending
from homelab.control.state import Shared
from homelab.core.jobs import Flow, RunState
from homelab.core.times import iso
from homelab.db.pool import AWAY, Connection
from homelab.flows import records
from homelab.flows.api import PrefectRefused, PrefectUnavailable

log = structlog.get_logger()

LOOK_S = 2.0
ALONE_S = 10.0
"""Where there is one node, and nothing is promised of it, nothing is to be given up: a look is for what comes."""
GAP_S = 10.0
"""A look this much later than planned means that this machine slept, or the process was stopped."""
GIVEN_UP_S = leases.TTL.total_seconds()


class Recovery:
    """See the module. `watcher`: hears of the crashes as of any other report."""

    def __init__(
        self, shared: Shared, dispatch: Dispatch, queue: Queue, sending: Sending, watcher: reports.Watching
    ) -> None:
        self._shared = shared
        self._dispatch = dispatch
        self._queue = queue
        self._sending = sending
        self._watcher = watcher
        self._hears_since = time.monotonic()
        self._looked = time.time()
        self._pause_s = LOOK_S

    async def serve(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._pause_s)
            try:
                await self.look()
            except AWAY as error:
                self.deaf()
                log.warning("recovery.waits", error=str(error).strip())
            except PrefectUnavailable as error:
                log.warning("recovery.waits", error=str(error))
            except Exception as error:  # the next look tries again
                log.exception("recovery.broken", error=str(error))

    def deaf(self) -> None:
        """Nobody could be heard until now: every node gets the full time from here."""
        self._hears_since = time.monotonic()

    async def look(self) -> None:
        """Give up what is lost, and bring to Prefect what goes on. Raises PrefectUnavailable and what `db.pool.AWAY`
        names; what was not done is done by the next look."""
        now = time.time()
        if abs(now - self._looked) > GAP_S + self._pause_s:
            self.deaf()
        self._looked, self._pause_s = now, LOOK_S
        await self._restart()
        if time.monotonic() - self._hears_since < GIVEN_UP_S:
            return
        async with self._shared.database.connection() as conn:
            ended = await leases.give_up(conn)
            await self._sending.give_up(conn)
            there = await roster.read(conn)
            silent = [node.name for node in there.nodes() if node.state != "asleep" and _is_silent(there, node.name)]
            silent += sorted(await store.nodes_at_work(conn) - set(there.rows))  # removed
            rows = await store.runs_on(conn, silent) if silent else []
            foreign = await store.foreign_runs_on(conn, silent) if silent else []
        self._pause_s = LOOK_S if silent or there.held or len(there.rows) > 1 else ALONE_S
        for row in ended:
            log.warning("lease.expired", work=row["work"], node=row["node"], token=row["token"])
        if ended:
            self._queue.changed.set()
        idle: list[Mapping[str, Any]] = []
        for row in rows:
            attempts, is_promised = await self._attempts(row)
            if row["state"] == "running" or is_promised:
                await self._crash(row, attempts, there)
            else:
                idle.append(row)
        await self._take_back(idle)
        await self._crash_foreign(foreign)
        if rows:
            await self._restart()
            self._shared.tell()

    async def revive(self, conn: Connection, node: str, jobs: Mapping[str, Sequence[str]]) -> None:
        """The node says that it runs these jobs (run -> names): runs that were held for crashed, and went on nowhere
        else, are not."""
        for row in await store.revive(conn, node, jobs) if jobs else ():
            log.info("run.found", run_id=row["id"], node=node)
            await store.add_events(conn, [("run.found", row["flow"], {"run": row["id"], "node": node})])
            try:
                await self._shared.prefect.set_state(row["id"], records.proposal(RunState.RUNNING, f"{node} is back"))
            except (PrefectRefused, PrefectUnavailable) as error:
                log.warning("prefect.refused", run_id=row["id"], error=str(error))

    # -- what had begun -------------------------------------------------------------------------------------------

    async def _attempts(self, row: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], bool]:
        """The attempts of a run, and whether the node has leases for more: those may have begun, unheard."""
        run = str(row["id"])
        async with self._shared.database.connection() as conn:
            told = await store.attempts(conn, run)
            made = lost.progress_of(told, lost.Round.of(row["round"])).attempts
            next_ = [f"{run}/{job}/{made.get(job, 0) + 1}" for job in row["jobs"]]
            promised = await store.promised(conn, run, row["node"], next_)
        return [*told, *promised], bool(promised)

    async def _crash(self, row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], there: Roster) -> None:
        run, node = str(row["id"]), str(row["node"])
        known = there.rows.get(node)
        reason = nodewords.lost(node, known)
        flow = await self._dispatch.flow(row["digest"])
        if flow is None:
            log.error("run.lost", run_id=run, reason="its definition is not kept any more")
            return
        async with self._shared.database.connection() as conn:
            away = await sent.in_flight(conn, run)  # goes on where it is, whoever has the run then
        progress = lost.progress_of(attempts, lost.Round.of(row["round"]), away)
        verdict = lost.judge(flow, progress, only=row["jobs"])
        goes_on = verdict.goes_on and self._has_place(flow, row, progress, verdict, there)
        try:
            await self._shared.prefect.set_state(run, records.proposal(RunState.CRASHED, reason))
        except PrefectRefused:
            log.warning("crash.refused", run_id=run)
        crashed = [
            _crashed(row, job, attempt, reason, started=_started(attempts, job, attempt),
                     is_retried=goes_on and job in verdict.retried)
            for job, attempt in progress.running.items()
        ]  # fmt: skip
        if not goes_on:
            crashed.append(_ended(row, reason))
        async with self._shared.database.connection() as conn:
            entered = await reports.take(conn, crashed, self._watcher)
            body = {"run": run, "reason": reason, "node": node, "goes_on": goes_on}
            await store.add_events(conn, [("run.crashed", row["flow"], body)])
            if goes_on:
                await store.lose_run(conn, run, node)
        if entered.ended:
            self._shared.unsettled = True
            self._shared.changed.set()
        log.warning("run.lost", run_id=run, node=node, goes_on=goes_on, reason=reason)

    def _has_place(
        self, flow: Flow, row: Mapping[str, Any], progress: lost.Progress, verdict: lost.Verdict, there: Roster
    ) -> bool:
        """Whether another node could take what is left of the run."""
        left = [name for name in lost.left_of(row["jobs"], progress) if name not in verdict.crashed]
        requests = requests_of_run(flow, run=str(row["id"]), submitted=0.0, only=left)
        due = Due(run=str(row["id"]), requests=requests, avoid=str(row["node"]))
        return bool(assign([due], there.snapshot(), self._shared.clock().timestamp(), at_work={}).placed)

    async def _crash_foreign(self, runs: Sequence[str]) -> None:
        """Runs of Prefect users: Prefect's own rules say what comes after a crash."""
        if not runs:
            return
        for run in await self._shared.prefect.read_runs(runs):
            if run.state_type in ("PENDING", "RUNNING"):
                await self._shared.prefect.set_state(run.id, records.proposal(RunState.CRASHED, "its node is lost"))
        async with self._shared.database.connection() as conn:
            await store.foreign_lost(conn, runs)

    # -- what had not ---------------------------------------------------------------------------------------------

    async def _take_back(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs that were given to a lost node, and claimed by it, before anything of them began. What it had not
        claimed is assigned anew by itself."""
        if not rows:
            return
        seen = await self._shared.prefect.read_runs([str(row["id"]) for row in rows][:200])
        claimed = {run.id for run in seen if run.state_type == "PENDING"}
        async with self._shared.database.connection() as conn:
            for row in rows:
                if row["id"] in claimed:
                    await store.lose_run(conn, row["id"], row["node"])
                    log.warning("run.lost", run_id=row["id"], node=row["node"], goes_on=True)

    # -- going on -------------------------------------------------------------------------------------------------

    async def _restart(self) -> None:
        """Have Prefect offer again what goes on elsewhere."""
        async with self._shared.database.connection() as conn:
            rows = await store.to_restart(conn)
        if not rows:
            return
        seen = {run.id: run for run in await self._shared.prefect.read_runs([row["id"] for row in rows][:200])}
        for row in rows[:200]:
            run = seen.get(row["id"])
            state: str | None = "scheduled"
            if run is None or run.state_type in ("CANCELLED", "CANCELLING", "COMPLETED"):
                state = None if run is not None else "cancelled"  # somebody decided otherwise
            elif run.state_type != "SCHEDULED":
                again = records.proposal(RunState.RETRYING, f"{row['lost_by']} lost it", at=self._shared.clock())
                await self._shared.prefect.set_state(row["id"], again)
            async with self._shared.database.connection() as conn:
                await store.restarted(conn, row["id"], state=state)
            self._dispatch.begun(row["id"])
        self._shared.arrived.set()


def _is_silent(there: Roster, node: str) -> bool:
    age_s = there.rows[node]["age_s"]
    return age_s is not None and age_s > GIVEN_UP_S


def _crashed(
    row: Mapping[str, Any], job: str, attempt: int, reason: str, *, started: datetime | None, is_retried: bool
) -> dict[str, Any]:
    """The report that the lost node cannot make: this attempt has ended. Its id makes it one, however often."""
    now = iso(datetime.now(UTC))
    return {
        "id": f"lost-{row['id']}-{job}-{attempt}-{row['node']}",
        "kind": "job.finished",
        "run": row["id"],
        "flow": row["flow"],
        "due": iso(row["due"]),
        "job": job,
        "attempt": attempt,
        "started": iso(started),
        "ended": now,
        "state": str(RunState.CRASHED),
        "exit_code": None,
        "signal": None,
        "reason": reason,
        "output_bytes": None,
        "output_lines": None,
        "tail": [],
        "retry_at": now if is_retried else None,
        "node": row["node"],
        "worker": row["worker"],
    }


def _ended(row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    now = iso(datetime.now(UTC))
    return {
        "id": f"lost-{row['id']}-{row['node']}-{now}",
        "kind": "run.finished",
        "run": row["id"],
        "flow": row["flow"],
        "due": iso(row["due"]),
        "state": str(RunState.CRASHED),
        "started": iso(row["started"]),
        "ended": now,
        "reason": reason,
    }


def _started(attempts: Sequence[Mapping[str, Any]], job: str, attempt: int) -> datetime | None:
    return next((row["started"] for row in attempts if row["job"] == job and row["attempt"] == attempt), None)
