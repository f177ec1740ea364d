"""`Control`: the applied lab and what can be done with it. Everything that the API, and through it people, can ask.

It wires the parts: `apply`, `scheduler`, `reports`, `answers`; the alerts are `notify`'s. One object a lab;
`serve_loops` runs what goes on by itself. Errors are those of `core.errors`.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

import structlog

from homelab import __version__
from homelab.control import (
    applying,
    heartbeats,
    history,
    leases,
    ledger,
    nodes,
    parameters,
    preview,
    questions,
    reports,
    roster,
    store,
    versions,
)
from homelab.control.artefacts import Artefacts
from homelab.control.digest import Digest
from homelab.control.dispatch import Dispatch
from homelab.control.fleet import Fleet
from homelab.control.impossible import Impossibles
from homelab.control.looking import Looking
from homelab.control.noderuns import NodeRuns
from homelab.control.plan import plan as plan_of
from homelab.control.queueing import Queue
from homelab.control.recovery import Recovery
from homelab.control.scheduler import LOOK_S, Scheduler
from homelab.control.sending import Sending
from homelab.control.state import SHADOW, Scheduled, Shared, utc_now
from homelab.control.waking import Waking
from homelab.core import dag, labfile
from homelab.core.errors import InputError, NotFoundError, RefusedError
from homelab.core.jobs import RunState
from homelab.db.migrate import migrate
from homelab.db.pool import AWAY, UNFIT, Connection, Database
from homelab.flows import records
from homelab.flows.api import PrefectApi, PrefectUnavailable
from homelab.home import adoptions
from homelab.home.marks import read_mark
from homelab.home.paths import Home
from homelab.home.secrets import database_password
from homelab.notify.watcher import Watcher

log = structlog.get_logger()

Json = dict[str, Any]
WAKE_S = 25.0
RUN_PREFIX = re.compile(r"[0-9a-f-]{4,35}")


class Control:
    """See the module. Made by `open`."""

    def __init__(self, shared: Shared, watcher: Watcher, *, own_url: str = "") -> None:
        self._shared = shared
        self._watcher = watcher
        self.digest = Digest(shared, watcher, link=f"{own_url}/runs" if own_url else "")
        self._scheduler = Scheduler(shared)
        self._clocks = heartbeats.Clocks()
        self._reader = roster.Reader(shared)
        self._wanted = heartbeats.Wanted()
        self._impossibles = Impossibles(shared)
        self.waking = Waking(shared)
        self.dispatch = Dispatch(shared, self._reader, self.waking)
        self.waiting = Queue(shared, self.dispatch)
        self.sending = Sending(shared, self.waiting, watcher)
        self._recovery = Recovery(shared, self.dispatch, self.waiting, self.sending, watcher)
        self.fleet = Fleet(shared, waiting=self.queue)
        self.artefacts = Artefacts(shared)
        self.looking = Looking(shared, problems=self.problems, run_row=self._run_row, find=self._find, queue=self.queue)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        home: Home,
        database_url: str,
        prefect: PrefectApi,
        *,
        own_url: str = "",
        clock: Callable[[], datetime] = utc_now,
    ) -> AsyncGenerator["Control"]:
        """Connect, migrate, load what was applied. Raises what `db.pool.AWAY` names while the database is away."""
        async with Database(database_url, password=database_password(home, database_url)) as database:
            await migrate(database)
            shared = Shared(home=home, database=database, prefect=prefect, clock=clock)
            control = cls(shared, Watcher(control_url=own_url, up_since=shared.clock()), own_url=own_url)
            await control._load()
            yield control

    @property
    def database(self) -> Database:
        return self._shared.database

    @property
    def node_runs(self) -> NodeRuns:
        """Whose a run is."""
        return NodeRuns(self._shared.database)

    def note(self, code: str, text: str) -> None:
        """A problem that holds from now on, or no more ("")."""
        self._shared.notes.pop(code, None)
        if text:
            self._shared.notes[code] = text

    async def _load(self) -> None:
        async with self._shared.database.connection() as conn:
            row = await store.applied_lab(conn)
            placed = None
            if row is not None:
                lab, problems = labfile.parse(row["files"], main=row["path"])
                if lab is None:  # written by another version, which took it: its flows still run
                    log.error("lab.unreadable", problems=len(problems))
                placed = None if lab is None else applying.placed(lab, row["folder"])
                if lab is not None:
                    await nodes.declare(conn, lab)
            self._shared.known_until = await self._restored_until(conn)
            self._shared.handed_back = adoptions.handed_back(self._shared.home)
            read = await self._shared.read(conn, placed)
            for scheduled in read.flows.values():
                if self._shared.handed_back.intersection(scheduled.jobs):  # while nobody was here to hear it
                    gone = SHADOW if scheduled.flow.is_shadow else ""
                    await self._scheduler.recall(conn, scheduled, now=self._shared.clock(), gone=gone)
        self._shared.take(read)
        if self._shared.lab is not None:
            self._watcher.configure(self._shared.lab)

    async def _restored_until(self, conn: Any) -> datetime | None:
        """The mark beside the database, when it counts more than the one inside: the database was restored from a
        backup, and what lies between was decided already."""
        outside, inside = read_mark(self._shared.home), await ledger.last_mark(conn)
        if outside is None or inside is None or outside.sequence <= inside.sequence:
            return None
        self._shared.notes["database-restored"] = (
            f"the database ends at {inside.alive:%Y-%m-%d %H:%M} UTC but the lab went on until"
            f" {outside.alive:%Y-%m-%d %H:%M}: the instants in between are taken as done"
        )
        log.warning("database.restored", inside=str(inside.alive), outside=str(outside.alive))
        return min(outside.alive + timedelta(seconds=LOOK_S), self._shared.clock())

    async def serve_loops(self) -> None:
        """Scheduling, watching, delivering, pruning, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scheduler.serve(), name="scheduler")
            group.create_task(self.dispatch.serve(), name="dispatch")
            group.create_task(self.waiting.serve(), name="queue")
            group.create_task(self._recovery.serve(), name="recovery")
            group.create_task(self._watch(), name="watch")
            group.create_task(self._watcher.deliver_loop(self._shared.database), name="deliver")
            group.create_task(self._prune(), name="prune")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(10)
            await self._check_home()
            try:
                async with self._shared.database.connection() as conn:
                    before = await store.last_event(conn)
                    await self._watcher.tick(conn, self._shared.clock())
                    told = await store.last_event(conn) != before
                async with self._shared.database.connection() as conn:
                    told |= await self.digest.tick(conn, self._shared.clock())
                    told |= self._impossibles.has_changed(await nodes.rows(conn))
                if told:
                    self._shared.tell()
                self._shared.notes.pop("watch-broken", None)
            except (*AWAY, PrefectUnavailable) as error:
                log.warning("watch.waits", error=str(error).strip())
            except Exception as error:  # a fault of ours in watching must not end what schedules
                log.exception("watch.broken")
                self._shared.notes["watch-broken"] = f"late, stuck and silent jobs are not noticed: {error}"

    async def _check_home(self) -> None:
        self._shared.notes.pop("output-lost", None)
        if trouble := await asyncio.to_thread(self._shared.home.trouble):
            self._shared.notes["output-lost"] = f"{trouble}: jobs run, but what they print is lost"

    async def _prune(self) -> None:
        while True:
            try:
                async with self._shared.database.connection() as conn:
                    await store.prune(conn)
                    await leases.prune(conn)
                await self.artefacts.prune()
            except AWAY as error:
                log.warning("prune.waits", error=str(error).strip())
            await asyncio.sleep(3600)

    # -- the lab --------------------------------------------------------------------------------------------------

    async def lab(self) -> Json:
        """The name of the lab, its nodes as its workers tell, and what is wrong."""
        async with self._shared.database.connection() as conn:
            workers, asleep = await store.workers(conn), nodes.asleep(await nodes.rows(conn))
        name = None if self._shared.lab is None else self._shared.lab.name
        shadow = [job.name for s in self._shared.flows.values() for job in s.flow.jobs if job.shadow]
        return {
            "lab": name,
            "nodes": questions.nodes(workers, asleep),
            "problems": await self.problems(),
            "shadow": shadow,
        }

    async def plan(self, files: Mapping[str, str], main: str, folder: str = "") -> Json:
        """What `apply` would change. InputError with all problems when the file is bad."""
        return plan_of(self._shared.lab, applying.parsed(files, main, folder)).to_json()

    async def apply(
        self,
        files: Mapping[str, str],
        main: str,
        folder: str = "",
        *,
        by: str,
        since: datetime | None = None,
        deadline: datetime | None = None,
    ) -> Json:
        """Make the lab what these files say; what was changed. Nothing is touched when a file is bad. One at a time.
        With `since`, jobs that come in were cron's until then (`applying.Takeover`)."""
        lab = applying.parsed(files, main, folder)
        async with self._shared.applying:
            plan = plan_of(self._shared.lab, lab)
            self._shared.handed_back = frozenset()
            takeover = None if since is None else applying.Takeover(since=since, deadline=deadline)
            await applying.carry_out(self._shared, self._scheduler, lab, files, main, folder, by=by, takeover=takeover)
        adoptions.forget_handed_back(self._shared.home)
        self._watcher.configure(lab)
        self._shared.changed.set()
        return plan.to_json()

    async def undo_plan(self) -> Json:
        """What taking the last apply back would do: `plan`, back to `version`; `refused`: why it cannot be done."""
        async with self._shared.database.connection() as conn:
            now, before = await versions.to_go_back(conn)
        plan = await self.plan(before["files"], before["path"], before["folder"])
        refused = preview.undo_refused(plan, is_takeover=now["is_takeover"])
        return {"of": versions.shown(now), "version": versions.shown(before), "plan": plan, "refused": refused}

    async def undo_apply(self, version: int, *, by: str) -> Json:
        """Apply what was applied before, which must still be that `version`. What was changed."""
        async with self._shared.database.connection() as conn:
            _, before = await versions.to_go_back(conn)
        if before["id"] != version:
            raise RefusedError("something else was applied meanwhile", hint="Look again at what would change.")
        if refused := (await self.undo_plan())["refused"]:
            raise RefusedError(refused, hint="Give the jobs back to cron with: homelab cron release")
        return await self.apply(before["files"], before["path"], before["folder"], by=by)

    async def pause(self, job: str, by: str) -> Json:
        """Start no more runs of this job (or of what needs it) until `resume`. What runs goes on."""
        return await self._switch(job, paused=True, by=by)

    async def resume(self, job: str, by: str) -> Json:
        return await self._switch(job, paused=False, by=by)

    async def _switch(self, job: str, *, paused: bool, by: str) -> Json:
        scheduled = self._find(job)
        async with self._shared.applying:
            if paused == (job in self._shared.paused):
                return {"job": job, "paused": paused}
            async with self._shared.database.connection() as conn:
                await store.switch(conn, job, paused=paused, by=by)
                await store.add_events(conn, [("job.paused" if paused else "job.resumed", job, {"by": by})])
                await self._scheduler.recall(conn, scheduled, now=self._shared.clock())
            if paused:
                self._shared.paused[job] = by
            else:
                self._shared.paused.pop(job, None)
            await self._scheduler.settle_now(self._shared.clock())
        self._shared.tell()
        return {"job": job, "paused": paused}

    def _find(self, job: str) -> Scheduled:
        scheduled = self._shared.flow_of(job)
        if scheduled is None:
            near = get_close_matches(job[:100], self.looking.jobs(), n=3, cutoff=0.5)
            raise NotFoundError(f"there is no job '{job[:80]}'", nearest=near, kind="job")
        return scheduled

    # -- runs -----------------------------------------------------------------------------------------------------

    async def run_job(self, name: str, *, params: Mapping[str, str], only: bool = False, by: str) -> Json:
        """Start a job now, with what it needs before it and what needs it after it; `only`: nothing else."""
        scheduled = self._find(name)
        parameters.check(params)
        jobs = [name] if only else dag.around(scheduled.flow, name)
        given: Json = {"definition": scheduled.flow.digest, "params": dict(params)}
        if len(jobs) < len(scheduled.flow.jobs):
            given["only"] = jobs
        now = self._shared.clock()
        run = await self._shared.prefect.create_run(
            scheduled.deployment, name=f"{name} by hand", due=now, idempotency_key=None, parameters=given
        )
        async with self._shared.database.connection() as conn:
            new = store.NewRun(id=run, flow=scheduled.flow, due=None, trigger="manual", jobs=jobs, by=by, params=params)
            await store.add_run(conn, new)
            await store.add_events(conn, [("run.created", name, {"run": run, "by": by})])
        self._shared.tell()
        self._shared.arrived.set()
        return {"run": {"id": run, "job": name, "flow": scheduled.flow.name, "jobs": jobs, "state": "scheduled"}}

    async def retry(self, run: str, *, failed: bool, by: str, job: str | None = None) -> Json:
        """Run it again, as the same run: all of it, or (`failed`) only what did not succeed, or that and `job` with all
        that comes after it. NotFoundError when the run has no such job."""
        row = await self._run_row(run)
        run = str(row["id"])
        if row["state"] in ("scheduled", "pending", "running"):
            raise RefusedError(f"run {run} has not ended", hint=f"Cancel it first: homelab run cancel {run}")
        if await self._shared.prefect.read_run(run) is None:
            raise RefusedError(
                f"run {run} was never started ({row['state']})", hint=f"Start the job: homelab job run {row['flow']}"
            )
        if job is not None:
            names = [one["job"] for one in (await questions.run(self._shared, row))["run"]["jobs"]]
            if job not in names:
                near = get_close_matches(job, names, n=2)
                raise NotFoundError(f"run {run[:8]} has no job '{job[:60]}'", nearest=near, kind="job")
        name = "AwaitingRetry" if failed and job is None else records.rerun_name(job)
        state = records.StateProposal(
            type="SCHEDULED", name=name, message=f"by {by}", scheduled_time=self._shared.clock()
        )
        await self._shared.prefect.set_state(run, state)
        async with self._shared.database.connection() as conn:
            await self.dispatch.reopen(conn, row, name)
            await store.add_events(
                conn, [("run.retried", row["flow"], {"run": run, "by": by, "failed": failed, "job": job})]
            )
        self._shared.tell()
        self._shared.arrived.set()
        return {"run": {"id": run, "flow": row["flow"], "state": "scheduled"}}

    async def cancel(self, run: str, by: str) -> Json:
        """End a run: what runs is told to stop, the rest does not start. RefusedError when it has ended."""
        row = await self._run_row(run)
        run = str(row["id"])
        if row["state"] not in ("scheduled", "pending", "running"):
            raise RefusedError(f"run {run} has ended already ({row['state']})")
        reason = f"cancelled by {by}"
        seen = await self._shared.prefect.read_run(run)
        if row["state"] == "scheduled" and (seen is None or seen.state_type == "SCHEDULED"):
            if seen is not None:
                await self._shared.prefect.propose(run, records.proposal(RunState.CANCELLED, reason))
            async with self._shared.database.connection() as conn:
                await store.end_run(conn, run, "cancelled", reason)
        else:
            cancelling = records.StateProposal(type="CANCELLING", name="Cancelling", message=reason)
            await self._shared.prefect.set_state(run, cancelling)
        self._shared.wake_workers({"kind": "cancel", "run": run, "reason": reason}, node=row["node"])
        async with self._shared.database.connection() as conn:
            await store.add_events(conn, [("run.cancelled", row["flow"], {"run": run, "by": by})])
        self._shared.tell()
        return {"run": {"id": run, "flow": row["flow"], "state": "cancelled"}}

    async def restore(self, run: str, by: str) -> Json:
        """Take the cancelling of a run back whose instant is still to come: it starts then. RefusedError otherwise."""
        row = await self._run_row(run)
        run = str(row["id"])
        if not preview.is_restorable(row, self._shared.clock()) or await self._shared.prefect.read_run(run) is None:
            raise RefusedError(
                f"run {run} was not cancelled ahead of its instant", hint=f"Run it again: homelab run retry {run}"
            )
        state = records.StateProposal(
            type="SCHEDULED", name="Scheduled", message=f"restored by {by}", scheduled_time=row["due"]
        )
        await self._shared.prefect.set_state(run, state)
        async with self._shared.database.connection() as conn:
            await store.reopen_run(conn, run, {})
            await store.add_events(conn, [("run.restored", row["flow"], {"run": run, "by": by})])
        self._shared.tell()
        return {"run": {"id": run, "flow": row["flow"], "state": "scheduled"}}

    async def _run_row(self, run: str) -> Json:
        """The run of that id, or of the only id that begins so."""
        async with self._shared.database.connection() as conn:
            row = await store.run_row(conn, run)
            alike = [] if row is not None or not RUN_PREFIX.fullmatch(run) else await store.runs_beginning(conn, run)
            if len(alike) == 1:
                row = await store.run_row(conn, alike[0])
        if len(alike) > 1:
            raise InputError(f"'{run}' is the beginning of several runs", hint="Such as " + ", ".join(alike))
        if row is None:
            async with self._shared.database.connection() as conn:
                near = await history.runs_like(conn, run)
            hint = "" if near else "Runs are kept for 60 days. See: homelab run ls"
            raise NotFoundError(f"there is no run '{run[:80]}'", hint=hint, nearest=near, kind="run")
        return row

    # -- workers --------------------------------------------------------------------------------------------------

    async def take_reports(self, taken: list[Json]) -> Json:
        """Enter what a worker reports; each report once."""
        try:
            async with self._shared.database.connection() as conn:
                entered = await reports.take(conn, taken, self._watcher)
        except (KeyError, TypeError, ValueError, *UNFIT) as error:
            raise InputError(f"a report cannot be entered: {error}".strip()[:300]) from error
        for report in taken:
            if str(report["kind"]).startswith("run."):
                self.dispatch.begun(str(report["run"]))
        self._shared.tell()
        if entered.is_room:
            self.waiting.changed.set()
        ended = entered.ended
        if any(name in ended or any(c.job in ended for c in s.conditions) for name, s in self._shared.flows.items()):
            self._shared.unsettled = True
            self._shared.changed.set()
        return {"taken": len(taken)}

    async def heartbeat(self, body: Json, *, node: str | None = None) -> Json:
        """A worker is alive; the answer holds what it should know. `node`: the one whose token came with it, None on
        this machine. RefusedError: another of its name is alive."""
        came = time.monotonic()
        try:
            async with self._shared.database.connection() as conn:
                joined = None if node is not None else await store.joined_node(conn, body["node"])
                other = None if joined else await store.beat(conn, body)
                told = {} if joined or other is not None else await self._hear(conn, body, came)
        except (KeyError, TypeError, ValueError, *UNFIT) as error:
            raise InputError(f"the heartbeat cannot be entered: {error}".strip()[:300]) from error
        if joined:
            raise RefusedError(
                f"there is a node '{joined}' on another machine",
                hint="Give this worker another name: homelab worker --name",
            )
        if other is not None:
            raise RefusedError(
                f"worker '{body['worker']}' is already at work (pid {other['pid']} on {other['node']})",
                hint="Give this one another name, or stop that one.",
            )
        queues = {} if self._shared.lab is None else dict(self._shared.lab.queues)
        if self._reader.is_news(str(body["node"])):
            self._shared.arrived.set()
        return {"ok": True, "queues": queues, "version": __version__, **told}

    async def _hear(self, conn: Connection, body: Json, came: float) -> Json:
        """What the node tells of itself; what it should know of that. `came`: when, on the monotonic clock."""
        declared = self._shared.declared(str(body["node"]))
        told = heartbeats.read(body, declared)
        now = await nodes.clock(conn)
        skew_s = heartbeats.skew_s(told, database=now, since_s=time.monotonic() - came)
        if skew_s is not None:
            skew_s = self._clocks.heard(told.beat.name, skew_s)
        epoch = await nodes.beat(conn, replace(told.beat, skew_s=skew_s))
        if not told.beat.asleep:
            self.waking.heard(told.beat.name)
        if told.slept_s:
            await store.add_events(conn, [("node.slept", told.beat.name, {"seconds": told.slept_s})])
            self._shared.tell()
        tokens = [int(token) for token in body.get("leases", ())]
        kept = await leases.renew(conn, told.beat.name, epoch, tokens) if tokens else set[int]()
        lost = [token for token in tokens if token not in kept]
        gone = await store.gone(conn, told.beat.name, runs) if (runs := _runs_of(body)) else []
        await self._recovery.revive(conn, told.beat.name, _jobs_of(body))
        sense = self._wanted.to_sense(self._shared.flows, declared)
        return {"epoch": epoch, "lost": lost, "gone": gone, "sense": sense}

    async def wake(self, worker: str) -> list[dict[str, str]]:
        """The commands for a worker, as soon as there are some; after 25 s, none."""
        queue = self._shared.commands.setdefault(worker, asyncio.Queue(100))
        try:
            async with asyncio.timeout(WAKE_S):
                commands = [await queue.get()]
        except TimeoutError:
            return []
        while not queue.empty():
            commands.append(queue.get_nowait())
        return commands

    async def queue(self) -> list[Json]:
        """What waits for a node, or for room on one, and why each node does not take it: first the runs that no node
        can take. `{work, run, job, since, priority, node, reasons: [{node, code, reason}]}` each."""
        return self.dispatch.queue() + self.waiting.listing()

    async def definition(self, digest: str) -> str:
        async with self._shared.database.connection() as conn:
            body = await store.definition(conn, digest)
        if body is None:
            raise NotFoundError(f"there is no definition {digest}")
        return body

    # -- questions ------------------------------------------------------------------------------------------------

    async def jobs(self) -> list[Json]:
        return await questions.jobs(self._shared, self._shared.clock())

    async def job(self, name: str) -> Json:
        return await questions.job(self._shared, self._find(name), name, self._shared.clock())

    async def why(self, job: str) -> Json:
        scheduled = self._find(job)
        async with self._shared.database.connection() as conn:
            never = self._impossibles.now(await nodes.rows(conn)).get(job, ())
        impossible = [one.message for one in never]
        waiting = [one for one in await self.fleet.queue() if one["job"] == job]
        now = self._shared.clock()
        found = await questions.why(self._shared, scheduled, job, now, impossible=impossible, waiting=waiting)
        if not impossible and not waiting:
            found["reasons"] += await self.fleet.where(job)
        return found

    async def graph(self) -> Json:
        return questions.graph(self._shared)

    async def runs(
        self,
        *,
        job: str | None = None,
        state: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
    ) -> list[Json]:
        return await questions.runs(self._shared, job=job, state=state, since=since, until=until, limit=limit)

    async def run(self, id: str) -> Json:  # noqa: A002 - the name is the contract's
        return await questions.run(self._shared, await self._run_row(id))

    async def events(self, after: int | None) -> AsyncGenerator[Json]:
        """Events in the order of their numbers, from `after` on (None: from now). Never ends by itself."""
        async with self._shared.database.connection() as conn:
            last = await store.last_event(conn) if after is None else after
        while True:
            news = self._shared.news
            async with self._shared.database.connection() as conn:
                found = await store.events_after(conn, last)
            settled = questions.settled(last, found, now=utc_now())
            for row in found[:settled]:
                last = row["id"]
                yield questions.shown_event(row)
            with contextlib.suppress(TimeoutError):
                if not found:
                    async with asyncio.timeout(10):
                        await news.wait()
                elif settled < len(found):
                    await asyncio.sleep(0.1)

    async def problems(self) -> list[Json]:
        async with self._shared.database.connection() as conn:
            told = await self._watcher.problems(conn, self._shared.clock())
            workers, fleet = await store.workers(conn), await nodes.rows(conn)
        of_nodes = await self.fleet.problems()
        gone = {one["node"] for one in of_nodes if one["code"] == "node-unreachable"}
        silent = {worker["name"] for worker in workers if worker["node"] in gone}  # its machine says it already
        found = questions.problems(self._shared, workers, nodes.asleep(fleet))
        kept = [one for one in found if one["code"] != "worker-silent" or one["subject"] not in silent]
        return kept + of_nodes + self._impossibles.problems(fleet) + self.waking.problems() + told

    async def notifications(self, *, limit: int = 100) -> list[Json]:
        async with self._shared.database.connection() as conn:
            return await self._watcher.listing(conn, limit=limit)

    async def test_notification(self, *, by: str) -> list[Json]:
        del by  # the API keeps the audit
        async with self._shared.database.connection() as conn:
            return await self._watcher.test(conn, self._shared.clock())


def _runs_of(body: Json) -> list[str]:
    """The runs that a heartbeat names: those at work, and those that an earlier worker left."""
    return [*(str(one["run"]) for one in body.get("running", ())), *map(str, body.get("runs", ()))]


def _jobs_of(body: Json) -> dict[str, list[str]]:
    """Run -> the jobs of it that a heartbeat says run."""
    return {str(one["run"]): [str(job) for job in one["jobs"]] for one in body.get("running", ()) if one.get("jobs")}
