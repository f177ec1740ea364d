"""When something is due, and handing it to Prefect ahead of time: one decision for each instant of a flow, made once.

The ledger (`instant`) is the memory; a cursor for each flow is its copy. Runs are created ahead, so that neither the
server's load nor a short outage delays a start; the idempotency key makes a repeated creation the same run. Instants
that passed while nobody scheduled are decided by the missed-run policy. Owns one task, `serve`.
"""

import asyncio
import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import psutil
import structlog

from homelab.control import freshness, store
from homelab.control.state import SHADOW, Scheduled, Shared, utc_now
from homelab.core import missed
from homelab.core.jobs import Flow
from homelab.db.pool import AWAY, Connection
from homelab.flows.api import PrefectRefused, PrefectUnavailable
from homelab.flows.records import iso

log = structlog.get_logger()

HORIZON = timedelta(minutes=3)
"""Everything due within it exists in Prefect, and at least the next run of every flow."""
LATE = timedelta(seconds=60)
"""An instant that is later than this when it is decided was missed; up to it, the run merely starts late."""
RESTORED_GAP = timedelta(minutes=10)
MARK_EVERY = timedelta(minutes=1)
LOOK_S = 20.0
MOST_AT_ONCE = 2000
SHOWN_MISSED = 20
"""So many missed instants of a flow are shown as runs of their own; the ledger has all of them."""


class Scheduler:
    """Decides instants. `started` is the moment from which this process has been watching."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._alive = home_mark(shared)
        self._marked: datetime | None = None
        self._has_begun = False

    async def serve(self) -> None:
        """Decide until cancelled. While database or Prefect are away it waits; nothing is decided in that time."""
        pause_s = 0.0
        while True:
            if pause_s:
                self._shared.changed.clear()
                try:
                    async with asyncio.timeout(pause_s):
                        await self._shared.changed.wait()
                except TimeoutError:
                    pass
            try:
                pause_s = await self.tick(utc_now())
                self._shared.notes.pop("scheduler-waits", None)
            except (*AWAY, PrefectUnavailable) as error:
                self._shared.notes["scheduler-waits"] = f"no runs are created: {error}".strip().splitlines()[0]
                log.warning("scheduler.waits", error=str(error).strip())
                pause_s = 3.0
            except PrefectRefused as error:
                # The deployment was deleted in Prefect, for instance: make it anew before the next look.
                log.error("scheduler.refused", error=str(error))
                await self._redeploy()
                pause_s = 3.0

    async def tick(self, now: datetime) -> float:
        """Decide what can be decided at `now`; how many seconds until the next look is needed."""
        async with self._shared.applying:
            if not self._has_begun:
                await self._hand_back(now)
                self._has_begun = True
            for scheduled in list(self._shared.flows.values()):
                if scheduled.schedule is not None and scheduled.check_at <= now:
                    await self._advance(scheduled, now)
            await self._write_mark(now)
            soonest = min((s.check_at for s in self._shared.flows.values() if s.schedule is not None), default=None)
        if soonest is None:
            return LOOK_S
        return min(LOOK_S, max(0.02, (soonest - utc_now()).total_seconds()))

    async def _advance(self, scheduled: Scheduled, now: datetime) -> None:
        schedule = scheduled.schedule
        if schedule is None or schedule.is_reboot:
            await self._reboot(scheduled, now)
            return
        ahead = not scheduled.conditions and not scheduled.flow.is_shadow
        passed: list[datetime] = []
        due: list[datetime] = []
        following: datetime | None = None
        for instant in islice(schedule.fires(scheduled.cursor), MOST_AT_ONCE):
            if instant <= now - LATE:
                passed.append(instant)
            elif instant <= now or (ahead and (instant <= now + HORIZON or not due)):
                due.append(instant)
            else:
                following = instant
                break
        if passed and scheduled.flow.is_shadow:
            scheduled.cursor = passed[-1]  # nobody noted what cron did then
        elif passed:
            await self._missed(scheduled, passed, self._why_missed(passed[0]), later=any(i <= now for i in due))
        for instant in due:
            if scheduled.flow.is_shadow:
                await self._note_shadow(scheduled, instant)
            elif scheduled.conditions:
                await self.evaluate(scheduled, instant, now)
            else:
                await self.create(scheduled, instant, trigger="schedule")
            scheduled.cursor = instant
        if len(passed) + len(due) >= MOST_AT_ONCE:
            scheduled.check_at = now
        elif following is None:
            scheduled.check_at = now + timedelta(days=1)
        elif ahead:
            scheduled.check_at = max(now, min(following - HORIZON, due[-1] if due else scheduled.cursor))
        else:
            scheduled.check_at = following

    async def create(
        self, scheduled: Scheduled, due: datetime, *, trigger: str, by: str = "control", blocked: bool = False
    ) -> str | None:
        """Hand the run of `due` to Prefect and enter it in the ledger; its id, or None when a pause holds all of it."""
        flow = scheduled.flow
        skip = self._shared.skipped(flow)
        async with self._shared.database.connection() as conn:
            if len(skip) == len(flow.jobs):
                reason = _why_idle(flow)
                await store.decide(conn, flow.name, due, "skipped", run=None, reason=reason)
                return None
            late = trigger != "schedule"
            parameters: dict[str, object] = {"definition": flow.digest, "params": {}, "due": iso(due)}
            if skip:
                parameters["skip"] = list(skip)
            if late:
                parameters["catch_up"] = True
            run = await self._shared.prefect.create_run(
                scheduled.deployment,
                name=f"{flow.name} {due:%Y-%m-%d %H:%M}",
                due=due,
                idempotency_key=f"{flow.name}@{iso(due)}" + ("@late" if late else ""),
                parameters=parameters,
            )
            jobs = [name for name in scheduled.jobs if name not in skip]
            new = store.NewRun(id=run, flow=flow, due=due, trigger=trigger, jobs=jobs, by=by)
            if blocked or late:
                await store.redecide(conn, flow.name, due, "created", run=run, reason=trigger)
            else:
                await store.decide(conn, flow.name, due, "created", run=run)
            await store.add_run(conn, new)
        if due <= utc_now():
            self._shared.wake_workers({"kind": "poll"})
        return run

    async def _missed(self, scheduled: Scheduled, instants: Sequence[datetime], why: str, *, later: bool) -> None:
        """Apply the flow's policy to instants that passed; the cursor moves past them. `later`: one that is hardly late
        runs anyway, and is then the latest."""
        flow = scheduled.flow
        decisions = missed.decide(missed.policy_of(flow), instants, why=why, later=later)
        log.info("instants.missed", flow=flow.name, passed=len(instants), made_up=sum(d.run for d in decisions))
        shown = {d.due for d in [d for d in decisions if not d.run][-SHOWN_MISSED:]}
        for decision in decisions:
            if decision.run:
                await self.create(scheduled, decision.due, trigger="catch-up")
            else:
                async with self._shared.database.connection() as conn:
                    await self.note_missed(conn, scheduled, decision.due, decision.reason, show=decision.due in shown)
            scheduled.cursor = max(scheduled.cursor, decision.due)

    async def note_missed(
        self, conn: Connection, scheduled: Scheduled, due: datetime, reason: str, *, show: bool = True
    ) -> None:
        """Enter a missed instant, with a run that shows it."""
        flow = scheduled.flow
        run = str(uuid.uuid5(uuid.NAMESPACE_URL, f"homelab:missed:{flow.name}@{iso(due)}")) if show else None
        if await store.decide(conn, flow.name, due, "missed", run=run, reason=reason) and run is not None:
            await store.add_run(
                conn,
                store.NewRun(
                    id=run, flow=flow, due=due, trigger="schedule", jobs=scheduled.jobs, state="missed", reason=reason
                ),
            )
            await store.add_events(conn, [("run.missed", flow.name, {"run": run, "due": iso(due), "reason": reason})])

    async def _note_shadow(self, scheduled: Scheduled, due: datetime) -> None:
        """Enter an instant at which cron runs the job, with a run that shows it."""
        flow = scheduled.flow
        run = str(uuid.uuid5(uuid.NAMESPACE_URL, f"homelab:shadow:{flow.name}@{iso(due)}"))
        async with self._shared.database.connection() as conn:
            if await store.decide(conn, flow.name, due, "skipped", run=run, reason=SHADOW):
                new = store.NewRun(
                    id=run, flow=flow, due=due, trigger="schedule", jobs=scheduled.jobs, state="skipped", reason=SHADOW
                )
                await store.add_run(conn, new)
        self._shared.tell()

    async def cron_has_booted(self, scheduled: Scheduled, now: datetime) -> None:
        """`@reboot` of a job that was cron's until now: cron ran it when this machine started."""
        async with self._shared.database.connection() as conn:
            reason = "cron ran it at this start of the machine"
            await store.decide(conn, scheduled.flow.name, self._boot(now), "skipped", run=None, reason=reason)

    async def late_found(self, flow: str, due: datetime, reason: str) -> None:
        """A worker found the run of `due` long overdue and gave it up: the policy decides for this instant."""
        scheduled = self._shared.flows.get(flow)
        if scheduled is None or (self._shared.known_until is not None and due <= self._shared.known_until):
            return
        later = (
            scheduled.cursor > due
            and scheduled.schedule is not None
            and any(instant <= utc_now() for instant in islice(scheduled.schedule.fires(due), 1))
        )
        policy = missed.policy_of(scheduled.flow)
        if policy == "all" or (policy == "latest" and not later):
            await self.create(scheduled, due, trigger="catch-up")

    # -- freshness ------------------------------------------------------------------------------------------------

    async def evaluate(self, scheduled: Scheduled, due: datetime, now: datetime) -> None:
        """Create the run of `due` if what it needs from other schedules is fresh; else it is blocked, and says why."""
        flow = scheduled.flow
        reason = await self._unmet(scheduled, now)
        if not reason:
            await self.create(scheduled, due, trigger="schedule")
            return
        run = str(uuid.uuid5(uuid.NAMESPACE_URL, f"homelab:blocked:{flow.name}@{iso(due)}"))
        async with self._shared.database.connection() as conn:
            if await store.decide(conn, flow.name, due, "blocked", run=run, reason=reason):
                new = store.NewRun(
                    id=run, flow=flow, due=due, trigger="schedule", jobs=scheduled.jobs, state="blocked", reason=reason
                )
                await store.add_run(conn, new)
                await store.add_events(
                    conn, [("run.blocked", flow.name, {"run": run, "due": iso(due), "reason": reason})]
                )
        self._shared.tell()

    async def release(self, job: str, now: datetime) -> None:
        """`job` has ended: of each flow that was blocked on it, the newest instant is released, once."""
        for scheduled in list(self._shared.flows.values()):
            if not any(c.job == job for c in scheduled.conditions):
                continue
            async with self._shared.database.connection() as conn:
                waiting = await store.blocked(conn, scheduled.flow.name)
            if not waiting or await self._unmet(scheduled, now):
                continue
            for row in waiting[1:]:
                async with self._shared.database.connection() as conn:
                    reason = "a later one stands for it"
                    await store.redecide(conn, scheduled.flow.name, row["due"], "superseded", run=None, reason=reason)
            await self.create(scheduled, waiting[0]["due"], trigger="release", blocked=True)

    async def _unmet(self, scheduled: Scheduled, now: datetime) -> str:
        async with self._shared.database.connection() as conn:
            last = await store.last_ends(conn, [c.job for c in scheduled.conditions])
        return freshness.unmet(scheduled.conditions, last, now=now)

    # -- once per boot --------------------------------------------------------------------------------------------

    async def _reboot(self, scheduled: Scheduled, now: datetime) -> None:
        """`@reboot`: the moment this machine started is its one instant, decided once."""
        boot = self._boot(now)
        if scheduled.cursor < boot or not await self._decided(scheduled.flow.name, boot):
            if scheduled.flow.is_shadow:
                await self._note_shadow(scheduled, boot)
            else:
                await self.create(scheduled, boot, trigger="catch-up")
            scheduled.cursor = max(scheduled.cursor, boot)
        scheduled.check_at = now + timedelta(days=3650)

    def _boot(self, now: datetime) -> datetime:
        return _boot_instant(self._shared, datetime.fromtimestamp(round(psutil.boot_time() / 10) * 10, tz=now.tzinfo))

    async def _decided(self, flow: str, due: datetime) -> bool:
        async with self._shared.database.connection() as conn:
            return await store.is_decided(conn, flow, due)

    # -- housekeeping ---------------------------------------------------------------------------------------------

    async def reschedule(self, scheduled: Scheduled, *, now: datetime, gone: bool = False) -> None:
        """Take back the runs created ahead that nobody has claimed, and decide their instants again. `gone`: the flow
        is no more, so those that are claimed and wait for their instant are withdrawn, too."""
        async with self._shared.database.connection() as conn:
            future = await store.future_runs(conn, scheduled.flow.name)
        if future:
            seen = {run.id: run for run in await self._shared.prefect.read_runs([r["id"] for r in future])}
            free = [r["id"] for r in future if r["id"] not in seen or seen[r["id"]].state_type == "SCHEDULED"]
            await self._shared.prefect.delete_runs(free)
            async with self._shared.database.connection() as conn:
                await store.forget_runs(conn, scheduled.flow.name, free)
            kept = [r["due"] for r in future if r["id"] not in free]
            if gone:
                await self._withdraw([r["id"] for r in future if r["id"] not in free])
            scheduled.cursor = max([now, *kept])
        scheduled.check_at = now
        self._shared.changed.set()

    async def _hand_back(self, now: datetime) -> None:
        """Take back the runs created ahead of jobs that were given back to cron while nobody was here."""
        for scheduled in list(self._shared.flows.values()):
            if self._shared.handed_back.intersection(scheduled.jobs):
                await self.reschedule(scheduled, now=now, gone=scheduled.flow.is_shadow)

    async def _withdraw(self, runs: Sequence[str]) -> None:
        for run in runs:
            reason = "its job was removed"
            self._shared.wake_workers({"kind": "withdraw", "run": run, "reason": reason})
            async with self._shared.database.connection() as conn:
                await store.end_run(conn, run, "cancelled", reason)

    async def _redeploy(self) -> None:
        for position, scheduled in enumerate(list(self._shared.flows.values())):
            try:
                scheduled.deployment = await self._shared.prefect.put_deployment(scheduled.flow, pool="homelab")
                async with self._shared.database.connection() as conn:
                    await store.save_flow(conn, scheduled.flow, deployment=scheduled.deployment, position=position)
            except (PrefectUnavailable, PrefectRefused, *AWAY) as error:
                log.warning("redeploy.failed", flow=scheduled.flow.name, error=str(error))

    def _why_missed(self, first: datetime) -> str:
        if self._alive is not None and self._alive <= first:
            return f"the lab was not running from {self._alive:%Y-%m-%d %H:%M} UTC on"
        return "nobody was there to start it"

    async def _write_mark(self, now: datetime) -> None:
        """That this process is at work, in the database and beside it: how long nobody was, and whether the database
        is older than what happened, is known by it."""
        self._alive = now
        if self._marked is not None and timedelta() <= now - self._marked < MARK_EVERY:
            return
        async with self._shared.database.connection() as conn:
            await store.mark_alive(conn, now)
        path = _mark_path(self._shared)
        try:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps({"alive": iso(now)}))
            fresh.replace(path)
            self._shared.notes.pop("state-folder", None)
        except OSError as error:
            self._shared.notes["state-folder"] = f"{path}: {error.strerror}"
        self._marked = now


def _why_idle(flow: Flow) -> str:
    if any(job.paused for job in flow.jobs):
        return "paused in the lab file"
    return "needs a job that cron runs (shadow)" if any(job.shadow for job in flow.jobs) else "paused"


def _mark_path(shared: Shared) -> Path:
    return shared.home.root / "scheduler.json"


def home_mark(shared: Shared) -> datetime | None:
    """When an earlier `control` of this home was last at work; None for a new home."""
    try:
        return datetime.fromisoformat(json.loads(_mark_path(shared).read_text())["alive"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _boot_instant(shared: Shared, boot: datetime) -> datetime:
    """The start of this machine, the same however often it is asked for: the system's figure moves with the clock."""
    path = shared.home.root / "boot.json"
    try:
        identity = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        identity = iso(boot)
    try:
        known = json.loads(path.read_text())
        if known["boot"] == identity:
            return datetime.fromisoformat(known["time"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    path.write_text(json.dumps({"boot": identity, "time": iso(boot)}))
    return boot
