"""When something is due, and handing it to Prefect ahead of time: one decision for each instant of a flow, made once.

The ledger (`control.ledger`) is the memory; a cursor for each flow is its copy. A decision is entered before it is
carried out, and what is not carried out yet is taken up again at every look: whatever is killed or away in between, no
instant is lost and none is done twice. Runs are created ahead, so that neither the server's load nor a short outage
delays a start. Instants that passed while nobody scheduled are decided by the missed-run policy. One task: `serve`.
"""

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import structlog

from homelab.control import freshness, ledger, store
from homelab.control.ledger import Entry
from homelab.control.state import SHADOW, Scheduled, Shared
from homelab.core import missed
from homelab.core.jobs import Flow
from homelab.core.times import iso
from homelab.db.pool import AWAY, Connection
from homelab.flows.api import PrefectRefused, PrefectUnavailable
from homelab.home import marks

log = structlog.get_logger()

HORIZON = timedelta(minutes=3)
"""Everything due within it exists in Prefect, and at least the next run of every flow."""
LATE = timedelta(seconds=60)
"""An instant that is later than this when it is decided was missed; up to it, the run merely starts late."""
LOOK_S = 5.0
"""At least so often the scheduler notes that it is at work: how exactly an outage or an old backup is known."""
RETRY_S = 3.0
CHECK_OVERDUE = timedelta(minutes=1)
STARTING = timedelta(seconds=2)
"""A run that is due so soon is not taken back any more: its worker may have begun."""
BOOT_GRACE = timedelta(seconds=60)
"""An `@reboot` job that is added later than this after the lab's first look was not there when the machine started."""
MOST_AT_ONCE = 2000
SHOWN_MISSED = 20
"""So many missed instants of a flow are shown as runs of their own; the ledger has all of them."""
_NAMESPACE = uuid.NAMESPACE_URL


class Scheduler:
    """Decides instants. Callers of `tick`, `recall` and `settle_now` hold `Shared.applying`; `serve` does so itself."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        before = marks.read_mark(shared.home)
        self._alive = None if before is None else before.alive
        self._mark = before
        self._entered = True
        self._boot: marks.Boot | None = None
        self._overdue_at: datetime | None = None

    async def serve(self) -> None:
        """Decide until cancelled. While database or Prefect are away it waits; nothing is decided in that time."""
        while True:
            self._shared.changed.clear()
            try:
                async with self._shared.applying:
                    pause_s = await self.tick(self._shared.clock())
                self._shared.notes.pop("scheduler-waits", None)
            except (*AWAY, PrefectUnavailable) as error:
                self._shared.unsettled = True
                self._shared.notes["scheduler-waits"] = f"no runs are created: {error}".strip().splitlines()[0]
                log.warning("scheduler.waits", error=str(error).strip())
                pause_s = RETRY_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._shared.changed.wait()
            except TimeoutError:
                pass

    async def tick(self, now: datetime) -> float:
        """Do what remains to be done, then decide what can be decided at `now`; seconds until the next look."""
        self._note_boot(now)
        await self._check_overdue(now)
        await self._settle(now)
        for scheduled in list(self._shared.flows.values()):
            if scheduled.schedule is not None and scheduled.check_at <= now:
                await self._guarded(scheduled, now)
        await self._settle(now)
        await self._note_alive(now)
        soonest = min((s.check_at for s in self._shared.flows.values() if s.schedule is not None), default=None)
        if self._shared.unsettled:  # something was refused, or came in meanwhile
            return RETRY_S
        if soonest is None:
            return LOOK_S
        return min(LOOK_S, max(0.02, (soonest - self._shared.clock()).total_seconds()))

    # -- deciding -------------------------------------------------------------------------------------------------

    async def _guarded(self, scheduled: Scheduled, now: datetime) -> None:
        """One flow that cannot be decided, by a fault of ours, stops no other."""
        code = f"flow-{scheduled.flow.name}"
        try:
            await self._advance(scheduled, now)
            self._shared.notes.pop(code, None)
        except (*AWAY, PrefectUnavailable):
            raise
        except Exception as error:
            log.exception("flow.undecided", flow=scheduled.flow.name)
            self._shared.notes[code] = f"{scheduled.flow.name} is not scheduled: {error}"
            scheduled.check_at = now + timedelta(minutes=1)

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
        if due:
            await self._due(scheduled, due, now)
        if len(passed) + len(due) >= MOST_AT_ONCE:
            scheduled.check_at = now
        elif following is None:
            scheduled.check_at = now + timedelta(days=1)
        elif ahead:
            scheduled.check_at = max(now, min(following - HORIZON, due[-1] if due else scheduled.cursor))
        else:
            scheduled.check_at = following

    async def _due(self, scheduled: Scheduled, instants: Sequence[datetime], now: datetime) -> None:
        """Instants whose time has come, or nearly: their runs are wanted, unless a pause or a stale need says no."""
        flow = scheduled.flow
        skip = self._shared.skipped(flow)
        async with self._shared.database.connection() as conn:
            if flow.is_shadow:
                entries = [self._shown(scheduled, due, "skipped", SHADOW) for due in instants]
            elif len(skip) == len(flow.jobs):
                entries = [Entry(due=due, decision="skipped", reason=_paused(flow)) for due in instants]
            elif unmet := await self._unmet(conn, scheduled, now):
                entries = [self._shown(scheduled, due, "blocked", unmet) for due in instants]
            else:
                entries = [Entry(due=due, decision="wanted") for due in instants]
            await self._enter(conn, scheduled, entries)
        scheduled.cursor = instants[-1]

    async def _missed(self, scheduled: Scheduled, instants: Sequence[datetime], why: str, *, later: bool) -> None:
        """Apply the policies to instants that passed; the cursor moves past them. `later`: one that is hardly late
        runs anyway, and is then the latest."""
        entries = self._judged(scheduled, instants, why, later=later)
        async with self._shared.database.connection() as conn:
            await self._enter(conn, scheduled, entries)
        scheduled.cursor = max(scheduled.cursor, instants[-1])

    def _judged(self, scheduled: Scheduled, instants: Sequence[datetime], why: str, *, later: bool) -> list[Entry]:
        """What the missed-run policies make of instants that passed."""
        decisions = missed.decide(scheduled.flow, instants, why=why, later=later)
        log.info(
            "instants.missed",
            flow=scheduled.flow.name,
            passed=len(instants),
            made_up=sum(bool(d.jobs) for d in decisions),
        )
        shown = {d.due for d in [d for d in decisions if not d.jobs][-SHOWN_MISSED:]}
        entries: list[Entry] = []
        for decision in decisions:
            if decision.jobs:
                entries.append(Entry(due=decision.due, decision="wanted", trigger="catch-up", jobs=decision.jobs))
            elif decision.due in shown:
                entries.append(self._shown(scheduled, decision.due, "missed", decision.reason))
            else:
                entries.append(Entry(due=decision.due, decision="missed", reason=decision.reason))
        return entries

    def _shown(self, scheduled: Scheduled, due: datetime, decision: str, reason: str) -> Entry:
        """An instant whose run will not happen, or not yet, with a run of its own that shows it."""
        run = str(uuid.uuid5(_NAMESPACE, f"homelab:{decision}:{scheduled.flow.name}@{iso(due)}"))
        return Entry(due=due, decision=decision, run=run, reason=reason)

    async def _enter(self, conn: Connection, scheduled: Scheduled, entries: Sequence[Entry]) -> None:
        """Into the ledger, with the runs and events that show what will not happen."""
        fresh = await ledger.enter(conn, scheduled.flow.name, entries)
        await self._show(conn, scheduled, [e for e in entries if e.due in fresh])
        self._entered = True
        if any(e.decision == "wanted" for e in entries):
            self._shared.unsettled = True

    async def _show(self, conn: Connection, scheduled: Scheduled, entries: Iterable[Entry]) -> None:
        flow = scheduled.flow
        for entry in entries:
            if entry.run is not None and entry.decision in ("missed", "blocked", "skipped"):
                shown = store.NewRun(
                    id=entry.run, flow=flow, due=entry.due, trigger="schedule", jobs=scheduled.jobs,
                    state=entry.decision, reason=entry.reason,
                )  # fmt: skip
                await store.add_run(conn, shown)
                body = {"run": entry.run, "due": iso(entry.due), "reason": entry.reason}
                await store.add_events(conn, [(f"run.{entry.decision}", flow.name, body)])
                self._shared.tell()

    async def _unmet(self, conn: Connection, scheduled: Scheduled, now: datetime) -> str:
        if not scheduled.conditions:
            return ""
        last = await store.last_ends(conn, [c.job for c in scheduled.conditions])
        return freshness.unmet(scheduled.conditions, last, now=now)

    async def _reboot(self, scheduled: Scheduled, now: datetime) -> None:
        """`@reboot`: the moment this machine started is its one instant, decided once. As in cron, a job that was not
        there at the start waits for the next one."""
        if self._boot is None:
            scheduled.check_at = now + timedelta(minutes=1)
            return
        known = self._shared.known_until
        was_there = scheduled.since <= self._boot.seen + BOOT_GRACE
        if was_there and not (known is not None and self._boot.instant <= known):
            async with self._shared.database.connection() as conn:
                wanted = Entry(due=self._boot.instant, decision="wanted", trigger="catch-up")
                shadow = self._shown(scheduled, self._boot.instant, "skipped", SHADOW)
                await self._enter(conn, scheduled, [shadow if scheduled.flow.is_shadow else wanted])
            scheduled.cursor = max(scheduled.cursor, self._boot.instant)
        scheduled.check_at = now + timedelta(days=3650)

    async def cron_has_booted(self, conn: Connection, flow: str) -> None:
        """`@reboot` of a job that was cron's until now: cron ran it when this machine started."""
        if self._boot is not None:
            reason = "cron ran it at this start of the machine"
            await ledger.enter(conn, flow, [Entry(due=self._boot.instant, decision="skipped", reason=reason)])

    # -- carrying out ---------------------------------------------------------------------------------------------

    async def _settle(self, now: datetime) -> None:
        """Do what the ledger says remains to be done. What fails stays in the ledger for the next look."""
        if not self._shared.unsettled:
            return
        self._shared.unsettled = False
        try:
            async with self._shared.database.connection() as conn:
                rows = await ledger.open_rows(conn)
            await self._take_back(rows, now)
            await self._judge_late(await self._really_late(rows, now), now)
            await self._release(rows, now)
            if any(row["decision"] in ("late", "blocked", "wanted") for row in rows):
                async with self._shared.database.connection() as conn:
                    rows = await ledger.open_rows(conn)
            await self._hand_over([row for row in rows if row["decision"] == "wanted"])
        except BaseException:
            self._shared.unsettled = True
            raise

    async def _take_back(self, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
        """Delete recalled runs in Prefect and forget them, so that their instants are decided anew. One that is claimed
        already goes on under the definition it began with, unless its job is no more."""
        recalled = [row for row in rows if row["decision"] == "recalled"]
        if not recalled:
            return
        seen = {run.id: run for run in await self._shared.prefect.read_runs([row["run"] for row in recalled])}
        claimed = [r for r in recalled if r["run"] in seen and seen[r["run"]].state_type != "SCHEDULED"]
        free = [row["run"] for row in recalled if row not in claimed]
        withdrawn = [*free, *(row["run"] for row in claimed if row["reason"])]
        await self._shared.prefect.delete_runs(free)
        async with self._shared.database.connection() as conn:
            await ledger.forget(conn, free)
            for row in claimed:
                decision = "superseded" if row["run"] in withdrawn else "created"
                entry = Entry(due=row["due"], decision=decision, jobs=row["jobs"], reason=row["reason"])
                await ledger.change(conn, row["flow"], entry)
                if decision == "superseded":
                    await store.end_run(conn, row["run"], "cancelled", row["reason"])
            decided = await ledger.last_decided(conn)
        for run in withdrawn:  # a free one, too, may have been claimed in the meantime
            self._shared.wake_workers({"kind": "withdraw", "run": run, "reason": "its job was changed or removed"})
        for name in {row["flow"] for row in recalled}:
            if scheduled := self._shared.flows.get(name):
                scheduled.cursor = self._shared.cursor(scheduled.since, decided.get(name))
                scheduled.check_at = now

    async def _really_late(self, rows: Sequence[Mapping[str, Any]], now: datetime) -> list[Mapping[str, Any]]:
        """Late instants, among them wanted ones whose time passed before they could be handed over. One of those may
        have been handed over all the same, by a process that could not note it any more."""
        late = [row for row in rows if row["decision"] == "late"]
        for row in rows:
            if row["decision"] == "wanted" and row["trigger"] == "schedule" and row["due"] <= now - LATE:
                scheduled = self._shared.flows.get(row["flow"])
                run = await self._shared.prefect.find_run(_key(row))
                if scheduled is not None and run is not None:
                    await self._created(scheduled, row, run)
                else:
                    late.append(row)
        return late

    async def _judge_late(self, late: Sequence[Mapping[str, Any]], now: datetime) -> None:
        for name, rows in _by_flow(late):
            scheduled = self._shared.flows.get(name)
            if scheduled is None:
                continue
            known = self._shared.known_until
            dues = [row["due"] for row in rows if known is None or row["due"] > known]
            fires = () if scheduled.schedule is None else scheduled.schedule.fires(rows[-1]["due"])
            later = any(instant <= now for instant in islice(fires, 1))
            why = rows[0]["reason"] or self._why_missed(rows[0]["due"])
            entries = self._judged(scheduled, dues, why, later=later)
            done = "the database was restored; this instant was over"
            entries += [Entry(due=r["due"], decision="missed", reason=done) for r in rows if r["due"] not in dues]
            unseen = [row["due"] for row in rows if row["run"] is None]
            entries = [e if e.due in unseen else replace(e, run=None) for e in entries]
            async with self._shared.database.connection() as conn:
                for entry in entries:
                    await ledger.change(conn, name, entry)
                await self._show(conn, scheduled, entries)
            self._entered = True

    async def _release(self, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
        """Of each flow whose needs are fresh again the newest blocked instant is released, once."""
        for name, waiting in _by_flow(row for row in rows if row["decision"] == "blocked"):
            scheduled = self._shared.flows.get(name)
            if scheduled is None:
                continue
            async with self._shared.database.connection() as conn:
                if await self._unmet(conn, scheduled, now):
                    continue
                for row in waiting[:-1]:
                    why = "a later one stands for it"
                    await ledger.change(conn, name, Entry(due=row["due"], decision="superseded", reason=why))
                await ledger.change(conn, name, Entry(due=waiting[-1]["due"], decision="wanted", trigger="release"))
            self._entered = True

    async def _hand_over(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Create the wanted runs in Prefect. A flow that Prefect refuses stops no other."""
        refused: dict[str, str] = {}
        for row in rows:
            scheduled = self._shared.flows.get(row["flow"])
            if scheduled is None or row["flow"] in refused:
                continue
            try:
                await self._create(scheduled, row)
            except PrefectRefused as error:
                refused[row["flow"]] = str(error)
        for name, error in refused.items():
            # Its deployment was deleted in Prefect, for instance: make it anew before the next look.
            log.error("scheduler.refused", flow=name, error=error)
            await self._redeploy(self._shared.flows[name])
            self._shared.unsettled = True

    async def _create(self, scheduled: Scheduled, row: Mapping[str, Any]) -> None:
        flow = scheduled.flow
        skip = self._shared.skipped(flow)
        if not self._taking_part(scheduled, row):
            async with self._shared.database.connection() as conn:
                paused = Entry(due=row["due"], decision="skipped", trigger=row["trigger"], reason=_paused(flow))
                await ledger.change(conn, flow.name, paused)
            return
        parameters: dict[str, object] = {"definition": flow.digest, "params": {}, "due": iso(row["due"])}
        if skip:
            parameters["skip"] = list(skip)
        if row["jobs"] is not None and len(row["jobs"]) < len(flow.jobs):
            parameters["only"] = row["jobs"]
        if row["trigger"] != "schedule":
            parameters["catch_up"] = True
        run = await self._shared.prefect.create_run(
            scheduled.deployment,
            name=f"{flow.name} {row['due']:%Y-%m-%d %H:%M}",
            due=row["due"],
            idempotency_key=_key(row),
            parameters=parameters,
        )
        await self._created(scheduled, row, run)

    def _taking_part(self, scheduled: Scheduled, row: Mapping[str, Any]) -> list[str]:
        skip = self._shared.skipped(scheduled.flow)
        return [n for n in scheduled.jobs if n not in skip and (row["jobs"] is None or n in row["jobs"])]

    async def _created(self, scheduled: Scheduled, row: Mapping[str, Any], run: str) -> None:
        jobs = self._taking_part(scheduled, row)
        reason = "" if row["trigger"] == "schedule" else row["trigger"]
        entry = Entry(
            due=row["due"], decision="created", run=run, reason=reason, trigger=row["trigger"], jobs=row["jobs"]
        )
        new = store.NewRun(id=run, flow=scheduled.flow, due=row["due"], trigger=row["trigger"], jobs=jobs)
        async with self._shared.database.connection() as conn:
            await ledger.change(conn, row["flow"], entry)
            await store.add_run(conn, new)
        self._entered = True
        if row["due"] <= self._shared.clock():
            self._shared.arrived.set()

    async def _redeploy(self, scheduled: Scheduled) -> None:
        try:
            scheduled.deployment = await self._shared.prefect.put_deployment(scheduled.flow, pool="homelab")
            async with self._shared.database.connection() as conn:
                await store.set_deployment(conn, scheduled.flow.name, scheduled.deployment)
        except (PrefectUnavailable, PrefectRefused, *AWAY) as error:
            log.warning("redeploy.failed", flow=scheduled.flow.name, error=str(error))

    async def _check_overdue(self, now: datetime) -> None:
        """Runs of which nobody has said anything though they were due: what Prefect ended is taken over from it. A
        worker that gave one up may have died before it could say so, and a person may have deleted one."""
        if self._overdue_at is not None and timedelta() <= now - self._overdue_at < CHECK_OVERDUE:
            return
        async with self._shared.database.connection() as conn:
            rows = await ledger.overdue(conn, before=now - LATE - CHECK_OVERDUE)
        if rows:
            seen = {run.id: run for run in await self._shared.prefect.read_runs([row["id"] for row in rows])}
            async with self._shared.database.connection() as conn:
                for row in rows:
                    run = seen.get(row["id"])
                    if run is None or (run.state_type == "CANCELLED" and run.state_name != "Missed"):
                        how = "deleted" if run is None else "cancelled"
                        await store.end_run(conn, row["id"], "cancelled", f"{how} in Prefect before it started")
                    elif run.state_type == "CANCELLED":
                        await store.end_run(conn, row["id"], "missed", run.message)
                        await ledger.give_up(conn, row["flow"], row["due"], run.message)
                        body: dict[str, Any] = {"run": row["id"], "due": iso(row["due"]), "reason": run.message}
                        await store.add_events(conn, [("run.missed", row["flow"], body)])
                        self._shared.unsettled = True
        self._overdue_at = now

    # -- changes --------------------------------------------------------------------------------------------------

    async def recall(self, conn: Connection, scheduled: Scheduled, *, now: datetime, gone: str = "") -> None:
        """Enter that the runs created ahead of this flow are to be taken back and their instants decided again, because
        it changed or is the lab's no more (`gone`: why; then those that are late, too). `settle_now` does it after the
        commit."""
        name = scheduled.flow.name
        await ledger.recall(conn, name, after=scheduled.since if gone else now + STARTING, reason=gone)
        await ledger.reopen(conn, name, after=now)
        if gone:
            await ledger.drop(conn, name, gone)
        decided = await ledger.last_decided(conn)
        scheduled.cursor = self._shared.cursor(scheduled.since, decided.get(name))
        scheduled.check_at = now
        self._shared.unsettled = True

    async def settle_now(self, now: datetime) -> None:
        """Do what was entered, at once where that is possible; else at the next look that finds Prefect there."""
        try:
            await self._settle(now)
        except (*AWAY, PrefectUnavailable) as error:
            log.warning("settling.waits", error=str(error).strip())
        self._shared.changed.set()

    # -- what is known of itself ----------------------------------------------------------------------------------

    def _why_missed(self, first: datetime) -> str:
        if self._alive is not None and self._alive <= first:
            return f"the lab was not running from {self._alive:%Y-%m-%d %H:%M} UTC on"
        return "nobody was there to start it"

    def _note_boot(self, now: datetime) -> None:
        """When the lab was first at work after this start of the machine: what was there then, `@reboot` is for."""
        if self._boot is None:
            try:
                self._boot = marks.boot(self._shared.home, now)
            except OSError as error:
                self._shared.notes["state-folder"] = f"{self._shared.home.root}: {error.strerror}"

    async def _note_alive(self, now: datetime) -> None:
        """That this process is at work, and how much it has entered, beside the database and in it: how long nobody
        was, and whether the database is older than what happened, is known by it."""
        if self._entered or self._mark is None:
            async with self._shared.database.connection() as conn:
                self._mark = await ledger.mark(conn, now)
            self._entered = False
        self._alive = now
        try:
            marks.write_mark(self._shared.home, marks.Mark(alive=now, sequence=self._mark.sequence))
            self._shared.notes.pop("state-folder", None)
        except OSError as error:
            self._shared.notes["state-folder"] = f"{self._shared.home.root}: {error.strerror}"


def _key(row: Mapping[str, Any]) -> str:
    """What makes a repeated creation the same run. A run that makes up for an instant is not the one that was late."""
    return f"{row['flow']}@{iso(row['due'])}" + ("" if row["trigger"] == "schedule" else "@late")


def _paused(flow: Flow) -> str:
    if any(job.paused for job in flow.jobs):
        return "paused in the lab file"
    return "needs a job that cron runs (shadow)" if any(job.shadow for job in flow.jobs) else "paused"


def _by_flow(rows: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
    """The rows of each flow, the earliest first."""
    for name, group in groupby(sorted(rows, key=itemgetter("flow", "due")), key=itemgetter("flow")):
        yield name, list(group)
