"""`Control`: the applied lab and what can be done with it. Everything that the API, and through it people, can ask.

It wires the parts, each of which has its own file; the alerts are `notify`'s. One object a lab; `serve_loops` runs what
goes on by itself. Errors are those of `core.errors`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import structlog

from homelab.control import applying, leases, ledger, nodes, preview, questions, runs, store, versions
from homelab.control.artefacts import Artefacts
from homelab.control.digest import Digest
from homelab.control.dispatch import Dispatch
from homelab.control.fleet import Fleet, Standing
from homelab.control.impossible import Impossibles
from homelab.control.looking import Looking
from homelab.control.noderuns import NodeRuns
from homelab.control.plan import plan as plan_of
from homelab.control.queueing import Queue
from homelab.control.recovery import Recovery
from homelab.control.roster import Reader
from homelab.control.scheduler import LOOK_S, Scheduler
from homelab.control.sending import Sending
from homelab.control.state import SHADOW, Shared, utc_now
from homelab.control.waking import Waking
from homelab.control.workers import Workers
from homelab.core import labfile
from homelab.core.errors import RefusedError
from homelab.db.migrate import migrate
from homelab.db.pool import AWAY, Database
from homelab.flows.api import PrefectApi, PrefectUnavailable
from homelab.home import adoptions
from homelab.home.marks import read_mark
from homelab.home.paths import Home
from homelab.home.secrets import database_password
from homelab.notify.watcher import Watcher

log = structlog.get_logger()

Json = dict[str, Any]


class Control:
    """See the module. Made by `open`."""

    def __init__(self, shared: Shared, watcher: Watcher, *, own_url: str = "") -> None:
        self._shared = shared
        self._watcher = watcher
        self.digest = Digest(shared, watcher, link=f"{own_url}/runs" if own_url else "")
        self._scheduler = Scheduler(shared)
        self._impossibles = Impossibles(shared)
        self.waking = Waking(shared)
        reader = Reader(shared)
        self.dispatch = Dispatch(shared, reader, self.waking)
        self.waiting = Queue(shared, self.dispatch)
        self.sending = Sending(shared, self.waiting, watcher)
        self._recovery = Recovery(shared, self.dispatch, self.waiting, self.sending, watcher)
        self.workers = Workers(
            shared, watcher, reader=reader, dispatch=self.dispatch, waiting=self.waiting, recovery=self._recovery,
            waking=self.waking,
        )  # fmt: skip
        self.fleet = Fleet(shared, waiting=self.queue)
        self.artefacts = Artefacts(shared)
        self.looking = Looking(shared, self.fleet, problems=self._problems)

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

    def part(self) -> None:
        """It takes no questions any more: those that wait for commands are answered, so that its end waits for none."""
        self._shared.wake_workers({"kind": "poll"})

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
        there = await self.fleet.standing()
        return {
            "lab": None if self._shared.lab is None else self._shared.lab.name,
            "nodes": questions.nodes(there),
            "problems": await self._problems(there),
            "shadow": [job.name for s in self._shared.flows.values() for job in s.flow.jobs if job.shadow],
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
        scheduled = self._shared.find(job)
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

    # -- runs -----------------------------------------------------------------------------------------------------

    async def run_job(self, name: str, *, params: Mapping[str, str], only: bool = False, by: str) -> Json:
        """Start a job now, with what it needs before it and what needs it after it; `only`: nothing else."""
        return await runs.start(self._shared, self._shared.find(name), name, params=params, only=only, by=by)

    async def retry(self, run: str, *, failed: bool, by: str, job: str | None = None) -> Json:
        """Run it again, as the same run: all of it, or (`failed`) only what did not succeed, or that and `job` with all
        that comes after it. NotFoundError when the run has no such job."""
        row = await runs.find(self._shared, run)
        return await runs.retry(self._shared, self.dispatch, row, failed=failed, by=by, job=job)

    async def cancel(self, run: str, by: str) -> Json:
        """End a run: what runs is told to stop, the rest does not start. RefusedError when it has ended."""
        return await runs.cancel(self._shared, await runs.find(self._shared, run), by=by)

    async def restore(self, run: str, by: str) -> Json:
        """Take the cancelling of a run back whose instant is still to come: it starts then. RefusedError otherwise."""
        return await runs.restore(self._shared, await runs.find(self._shared, run), by=by)

    async def queue(self) -> list[Json]:
        """What waits for a node, or for room on one, and why each node does not take it: first the runs that no node
        can take. `{work, run, job, since, priority, node, reasons: [{node, code, reason}]}` each."""
        return self.dispatch.queue() + self.waiting.listing()

    # -- questions ------------------------------------------------------------------------------------------------

    async def jobs(self) -> list[Json]:
        return await questions.jobs(self._shared, self._shared.clock())

    async def job(self, name: str) -> Json:
        return await questions.job(self._shared, self._shared.find(name), name, self._shared.clock())

    async def why(self, job: str) -> Json:
        scheduled = self._shared.find(job)
        there = await self.fleet.standing()
        impossible = [one.message for one in self._impossibles.now(there.rows.values()).get(job, ())]
        waiting = [one for one in await self.fleet.queue() if one["job"] == job]
        now = self._shared.clock()
        found = await questions.why(
            self._shared, scheduled, job, now, is_alive=there.is_alive, impossible=impossible, waiting=waiting
        )
        if not impossible and not waiting:
            found["reasons"] += self.fleet.where(job, there)
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
        return await questions.run(self._shared, await runs.find(self._shared, id))

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
        return await self._problems(await self.fleet.standing())

    async def _problems(self, there: Standing) -> list[Json]:
        async with self._shared.database.connection() as conn:
            told = await self._watcher.problems(conn, self._shared.clock())
        return [
            *questions.problems(self._shared, there),
            *self.fleet.problems(there),
            *self._impossibles.problems(there.rows.values()),
            *self.waking.problems(),
            *told,
        ]

    async def notifications(self, *, limit: int = 100) -> list[Json]:
        async with self._shared.database.connection() as conn:
            return await self._watcher.listing(conn, limit=limit)

    async def test_notification(self, *, by: str) -> list[Json]:
        del by  # the API keeps the audit
        async with self._shared.database.connection() as conn:
            return await self._watcher.test(conn, self._shared.clock())
