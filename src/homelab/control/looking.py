"""What people look at beyond the contract's lists: the lab now, one run in full, differences, days, the lab file.

One object of `Control` (`Control.looking`), so that the API and the console ask the same. Reads only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from homelab.control import applying, calendar, history, preview, questions, runs, runview, store, versions
from homelab.control import now as present
from homelab.control.fleet import Fleet, Standing
from homelab.control.plan import plan as plan_of
from homelab.control.state import Shared, utc_now
from homelab.core import labfile
from homelab.core.errors import HomelabError, InputError
from homelab.core.jobs import FAILURES, RunState
from homelab.core.labfile import AccessSettings
from homelab.core.labfile.model import ServiceSettings
from homelab.home import labfiles

Json = dict[str, Any]
DAYS = 60
"""As far back as runs are kept."""
DAYS_FRESH_S = 30.0


class Looking:
    """See the module. `problems`: of the lab, with machines that stand so."""

    def __init__(
        self,
        shared: Shared,
        fleet: Fleet,
        *,
        problems: Callable[[Standing], Awaitable[list[Json]]],
    ) -> None:
        self._shared = shared
        self._fleet = fleet
        self._problems = problems
        self._days: dict[str | None, tuple[float, list[Json]]] = {}

    @property
    def lab_name(self) -> str:
        return self._shared.lab.name if self._shared.lab else ""

    @property
    def timezone(self) -> str:
        """The lab's zone, UTC while no lab is applied."""
        return self._shared.lab.timezone if self._shared.lab else "UTC"

    @property
    def access(self) -> AccessSettings:
        """The names that the applied lab may be opened by, and the roles of logins that the mesh may vouch for."""
        return self._shared.lab.access if self._shared.lab else AccessSettings()

    @property
    def node_port(self) -> ServiceSettings:
        """What the applied lab says of the port for nodes (`nodes`, `node_names`)."""
        return self._shared.lab.services["control"] if self._shared.lab else ServiceSettings()

    def news(self) -> asyncio.Event:
        """Set at the next thing that happens; ask again for the one after it."""
        return self._shared.news

    def jobs(self) -> list[str]:
        """The names of all jobs, in the order of the lab file."""
        return [job.name for scheduled in self._shared.flows.values() for job in scheduled.flow.jobs]

    async def states(self, only: Collection[str] | None = None) -> dict[str, str]:
        """The state of each job (or of those named), as in `now.states`."""
        flows = self._shared.flows.values()
        pairs = [(j.name, s.flow.name) for s in flows for j in s.flow.jobs if only is None or j.name in only]
        async with self._shared.database.connection() as conn:
            newest = await history.newest(conn, pairs)
        found = present.states(self._shared, newest)
        return {name: found[name] for name, _ in pairs}

    async def now(self) -> Json:
        there = await self._fleet.standing()
        return await present.now(self._shared, there, await self._problems(there), utc_now())

    async def services(self) -> list[Json]:
        return await present.services(self._shared.home)

    async def run(self, run: str) -> Json:
        """One run, by its id or the only beginning of one. A job that waits for room has `waits`: why, machine by
        machine. NotFoundError when there is none."""
        body = await runview.view(self._shared, await runs.find(self._shared, run))
        waiting = {one["job"]: one for one in await self._fleet.queue() if one["run"] == body["run"]["id"]}
        for job in body["run"]["jobs"]:
            is_waiting = job["job"] in waiting and not RunState(job["state"]).is_final
            job["waits"] = questions.waits(waiting[job["job"]])[1:] if is_waiting else []
            job["reason"] = "; ".join(job["waits"]) or job["reason"]
        return body

    async def preview_job(self, job: str, action: str) -> Json:
        """What `run`, `pause` or `resume` of a job would do (`preview.Preview`). InputError for another act."""
        flow = self._shared.find(job).flow
        (row,) = await questions.jobs(self._shared, utc_now(), only=job)
        match action:
            case "run":
                found = preview.run(row, [j.name for j in flow.jobs])
            case "pause":
                edges = questions.graph(self._shared)["edges"]
                found = preview.pause(row, [e["to"] for e in edges if e["from"] == job])
            case "resume":
                found = preview.resume(row)
            case _:
                raise InputError(f"no act '{action[:40]}' of a job", hint="Acts: run, pause, resume")
        return asdict(found)

    async def preview_run(self, run: str, action: str) -> Json:
        """What `retry`, `cancel` or `restore` of a run would do."""
        row = await runs.find(self._shared, run)
        body = (await runview.view(self._shared, row))["run"]
        match action:
            case "retry":
                found = preview.retry(body)
            case "cancel":
                found = preview.cancel(body, utc_now())
            case "restore":
                found = preview.restore(body)
            case _:
                raise InputError(f"no act '{action[:40]}' of a run", hint="Acts: retry, cancel, restore")
        return asdict(found)

    async def versions(self) -> list[Json]:
        """The lab files that were applied, the newest first."""
        async with self._shared.database.connection() as conn:
            return await versions.listing(conn)

    async def difference(self, run: str, job: str, other: str | None = None) -> Json:
        row = await runs.find(self._shared, run)
        if other is not None:
            other = str((await runs.find(self._shared, other))["id"])
        return await runview.difference(self._shared, row, job, other)

    async def days(self, job: str | None = None) -> list[Json]:
        """(day, runs, failures) of the last `DAYS` days in the lab's zone, those without runs left out. At most
        `DAYS_FRESH_S` old: a day has tens of thousands of runs, and one more is not seen."""
        clock = asyncio.get_running_loop().time()
        if (known := self._days.get(job)) is not None and clock - known[0] < DAYS_FRESH_S:
            return known[1]
        async with self._shared.database.connection() as conn:
            rows = await history.days(conn, job=job, since=utc_now() - timedelta(days=DAYS), timezone=self.timezone)
        found = [{"day": r["day"].isoformat(), "runs": r["runs"], "failures": r["failures"]} for r in rows]
        if len(self._days) > 500:
            self._days.clear()
        self._days[job] = (clock, found)
        return found

    async def due(self, now: datetime, *, url: str) -> list[calendar.Entry]:
        """What is due in the next days, and what failed in the last week, for a calendar. `url`: of the console."""
        shared = self._shared
        flows = [
            s for s in shared.flows.values() if s.schedule is not None and len(shared.skipped(s.flow)) < len(s.jobs)
        ]
        wanted = [history.Wanted(state=state, since=now - timedelta(days=7), limit=200) for state in FAILURES]
        async with shared.database.connection() as conn:
            results = await history.results(conn, [job for s in flows for job in s.jobs])
            failed = [row for one in wanted for row in await history.job_runs(conn, one)]
        usual = {job: took for job, rows in results.items() if (took := present.usual_s(rows)) is not None}
        due = [calendar.Due(flow=s.flow, schedule=s.schedule, usual_s=usual) for s in flows if s.schedule]
        ahead = await asyncio.to_thread(calendar.upcoming, due, now=now, timezone=self.timezone, url=url)
        failed.sort(key=lambda row: row["at"], reverse=True)
        return [*ahead, *calendar.failures(failed, timezone=self.timezone, url=url)]

    async def events_kept(self) -> tuple[int, int]:
        """The numbers of the oldest event that is kept and of the newest; (1, 0) without any."""
        async with self._shared.database.connection() as conn:
            return await store.events_kept(conn)

    async def lab_file(self) -> Json:
        """The lab file as applied and as it lies on disk now, with its problems and what applying it would change.

        `disk` is None, with `error`, when it cannot be read from here.
        """
        async with self._shared.database.connection() as conn:
            row = await store.applied_lab(conn)
        if row is None:
            return {"path": None, "applied": None, "files": {}, "disk": None, "problems": [], "plan": None, "error": ""}
        body: Json = {
            "path": row["path"],
            "folder": row["folder"],
            "applied": row["applied"],
            "files": row["files"],
            "disk": None,
            "problems": [],
            "plan": None,
            "error": "",
        }
        path = Path(row["folder"]) / Path(row["path"]).name
        try:
            files = labfiles.read(path)
        except HomelabError as error:
            return {**body, "error": str(error)}
        return {**body, "disk": files, "main": next(iter(files)), **self._judged(files, row["folder"])}

    def _judged(self, files: Mapping[str, str], folder: str) -> Json:
        main = next(iter(files))
        lab, problems = labfile.parse(files, main=main)
        plan = None if lab is None else plan_of(self._shared.lab, applying.placed(lab, folder)).to_json()
        return {"problems": [p.to_json() for p in problems], "plan": plan}
