"""What `control` holds in memory of the applied lab, and what its parts share. Loaded from the database, never guessed.

Changed only under `Shared.applying` (apply, pause, load); read by the scheduler, the reports and the queries.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cached_property

from homelab.control import freshness, ledger, store
from homelab.core import schedule as schedules
from homelab.core.capacity import Capacity
from homelab.core.errors import NotFoundError
from homelab.core.jobs import Flow, effective_schedules
from homelab.core.labfile import Lab
from homelab.core.labfile.fleet import fleet_of
from homelab.core.schedule import Schedule
from homelab.db.pool import Connection, Database
from homelab.flows.api import PrefectApi
from homelab.home.paths import Home

SHADOW = "shadow: cron runs it"
"""The reason of an instant at which cron ran the job, and the lab only noted that it would have."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Scheduled:
    """One flow and how far its instants are decided: up to `cursor`. `check_at`: when to look again. `since`: instants
    before belong to an older schedule, or to nobody."""

    flow: Flow
    deployment: str
    schedule: Schedule | None
    cursor: datetime
    conditions: tuple[freshness.Condition, ...]
    check_at: datetime
    since: datetime

    @cached_property
    def jobs(self) -> tuple[str, ...]:
        return tuple(job.name for job in self.flow.jobs)


@dataclass
class Shared:
    """One lab's `control`. `changed` is set whenever the scheduler should look at once; `news` wakes event readers."""

    home: Home
    database: Database
    prefect: PrefectApi
    lab: Lab | None = None
    flows: dict[str, Scheduled] = field(default_factory=dict[str, Scheduled])
    paused: dict[str, str] = field(default_factory=dict[str, str])
    applying: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    commands: dict[str, asyncio.Queue[dict[str, str]]] = field(default_factory=dict[str, asyncio.Queue[dict[str, str]]])
    clock: Callable[[], datetime] = utc_now
    unsettled: bool = True
    """The ledger may hold something that remains to be done."""
    known_until: datetime | None = None
    """Instants up to then are done, whatever a restored database says."""
    handed_back: frozenset[str] = frozenset()
    """Jobs that cron has again, though the lab as applied still has them (`home.adoptions.hand_back`)."""
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """Problems of `control` itself, by code, that hold now."""

    worker_on: dict[str, str] = field(default_factory=dict[str, str])
    """Node -> its worker, by who asked for work."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Prefect has runs that may start at once."""

    def wake_workers(self, command: dict[str, str], *, node: str | None = None) -> None:
        """Hand a command to the worker of that node, or to every worker that listens; one that is slow keeps its newest
        hundred."""
        only = None if node is None else self.worker_on.get(node, node)
        for worker, queue in self.commands.items():
            if only in (None, worker):
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(command)

    def tell(self) -> None:
        """There is a new event."""
        self.news.set()
        self.news = asyncio.Event()

    def flow_of(self, job: str) -> Scheduled | None:
        return next((s for s in self.flows.values() if job in s.jobs), None)

    def find(self, job: str) -> Scheduled:
        """The flow that has the job. NotFoundError when there is none."""
        scheduled = self.flow_of(job)
        if scheduled is None:
            names = [name for one in self.flows.values() for name in one.jobs]
            near = get_close_matches(job[:100], names, n=3, cutoff=0.5)
            raise NotFoundError(f"there is no job '{job[:80]}'", nearest=near, kind="job")
        return scheduled

    def declared(self, node: str) -> Capacity | None:
        """What the lab file says that the node has; None when it does not name it."""
        lab = self.lab
        if lab is None:
            return None
        fleet = fleet_of((n for n in lab.nodes if n.name == node), concurrency=lab.worker.concurrency)
        return fleet[0].declared if fleet else None

    def skipped(self, flow: Flow) -> tuple[str, ...]:
        """Jobs of the flow that do not run: the paused ones, those that cron still runs, and what needs them."""
        held: set[str] = set()
        for job in flow.jobs:
            if (
                job.paused
                or job.shadow
                or job.name in self.paused
                or any(n.job in held and n.when == "success" for n in job.needs)
            ):
                held.add(job.name)
        return tuple(job.name for job in flow.jobs if job.name in held)

    def cursor(self, since: datetime, decided: datetime | None) -> datetime:
        """Up to when the instants of a flow are decided that counts from `since` and has `decided` as its latest."""
        return max(t for t in (since, decided, self.known_until) if t is not None)

    def _without_handed_back(self, flow: Flow) -> Flow:
        if not any(job.name in self.handed_back for job in flow.jobs):
            return flow
        jobs = tuple(replace(job, shadow=job.shadow or job.name in self.handed_back) for job in flow.jobs)
        return replace(flow, jobs=jobs)

    async def read(self, conn: Connection, lab: Lab | None) -> "Read":
        """The lab as the database has it, for `take` after the commit."""
        paused = {job: row["by"] for job, row in (await store.switches(conn)).items() if row["paused"]}
        decided = await ledger.last_decided(conn)
        wanted = {} if lab is None else {flow.name: flow for flow in lab.flows}
        all_jobs: Mapping[str, tuple[str | None, str]] = (
            {} if lab is None else effective_schedules({job.name: job for job in lab.jobs})
        )
        now = self.clock()
        loaded: dict[str, Scheduled] = {}
        for row in await store.flows(conn):
            flow = wanted.get(row["name"])
            if flow is None or flow.digest != row["digest"]:
                body = await store.definition(conn, row["digest"])
                if body is None:
                    continue
                flow = Flow.from_json(body)
            flow = self._without_handed_back(flow)
            schedule = None if flow.schedule is None else schedules.parse(flow.schedule, flow.timezone, seed=flow.name)
            loaded[flow.name] = Scheduled(
                flow=flow,
                deployment=row["deployment"],
                schedule=schedule,
                cursor=self.cursor(row["since"], decided.get(flow.name)),
                conditions=freshness.conditions(flow, all_jobs, at=now),
                check_at=now,
                since=row["since"],
            )
        return Read(lab=lab, flows=loaded, paused=paused)

    def take(self, read: "Read") -> None:
        """What was read holds from now on."""
        self.lab, self.flows, self.paused = read.lab, read.flows, read.paused
        self.unsettled = True
        self.changed.set()


@dataclass(frozen=True, kw_only=True)
class Read:
    """The lab as the database has it. `paused`: by whom, for each job that a person paused."""

    lab: Lab | None
    flows: dict[str, Scheduled]
    paused: dict[str, str]
