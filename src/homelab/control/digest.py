"""The digest: gathers how the lab did from its history, and has it told once for each instant of its schedule.

Table `digest` holds up to when it was told, written in the transaction that queues the message: a restart between the
two tells nothing twice and loses nothing, and after a time down only the latest instant is made up for. Table `disk`
holds what was free, a row a day. What it says is `notify.weekly`'s. Called by `control.service`.
"""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

from homelab.control import history
from homelab.control.state import Shared
from homelab.core import schedule as schedules
from homelab.core.errors import NotFoundError
from homelab.core.jobs import RunState
from homelab.core.times import iso
from homelab.db.pool import Connection
from homelab.notify import weekly
from homelab.notify.rules import Alert
from homelab.notify.watcher import Watcher
from homelab.notify.weekly import Disk, JobWeek, Week

Json = dict[str, Any]
FURTHEST = timedelta(days=32)
"""No digest looks further back, however rarely it comes."""
WEEK = timedelta(days=7)
_DISK_KEPT = timedelta(days=400)


def due_between(schedule: schedules.Schedule, told: datetime, now: datetime) -> datetime | None:
    """The newest instant after `told` up to `now`; None when there is none. Older ones are not made up for."""
    newest = None
    for instant in schedule.fires(max(told, now - FURTHEST)):
        if instant > now:
            break
        newest = instant
    return newest


def span_before(schedule: schedules.Schedule, end: datetime) -> datetime:
    """Since when the digest at `end` tells: the instant before, at most `FURTHEST` ago; a week when there is none."""
    begin = due_between(schedule, end - FURTHEST, end - timedelta(microseconds=1))
    return end - WEEK if begin is None else begin


class Digest:
    """See the module. One object of `Control`."""

    def __init__(self, shared: Shared, watcher: Watcher, *, link: str) -> None:
        self._shared = shared
        self._watcher = watcher
        self._link = link
        self._measured: date | None = None

    @property
    def schedule(self) -> schedules.Schedule | None:
        """When it is told; None for never."""
        lab = self._shared.lab
        return schedules.parse(lab.notify.digest, lab.timezone) if lab is not None and lab.notify.digest else None

    async def tick(self, conn: Connection, now: datetime) -> bool:
        """Queue the digest when one is due, and measure the disk once a day. True when something was queued."""
        await self._measure(conn, now)
        schedule = self.schedule if self._watcher.targets else None
        if schedule is None:
            await conn.execute(b"delete from digest")
            return False
        row = await (await conn.execute(b"select told from digest for update")).fetchone()
        if row is None:  # it begins now: what was before is nobody's news
            await conn.execute(b"insert into digest (told) values (%s) on conflict do nothing", (now,))
            return False
        due = due_between(schedule, row["told"], now)
        if due is None:
            return False
        alert = _alert(await self._week(conn, span_before(schedule, due), due, now), key=due.isoformat())
        await self._watcher.tell_lab(conn, alert, now=now)
        await conn.execute(b"update digest set told = %s", (due,))
        return True

    async def look(self, now: datetime) -> Json:
        """The digest as it would be told now: `{title, body, level, begin, end, next, targets}` and its facts."""
        async with self._shared.database.connection() as conn:
            week = await self._until_now(conn, now)
        made, schedule = weekly.compose(week), self.schedule
        following = None if schedule is None else next(iter(schedule.fires(now)), None)
        facts: Json = {k: iso(v) if isinstance(v, datetime) else v for k, v in asdict(week).items()}
        return {
            **facts,
            **asdict(made),
            "runs": week.runs,
            "failures": week.failures,
            "slowest": [job.job for job in weekly.slowest(week.ran)],
            "next": iso(following),
            "targets": list(self._watcher.targets),
        }

    async def send(self, now: datetime) -> Json:
        """Queue it for every target now; the regular one comes all the same. NotFoundError without a target."""
        targets = self._watcher.targets
        if not targets:
            raise NotFoundError(
                "the lab file names no notification target", hint='Add one: [notify] urls = ["ntfy://..."]'
            )
        async with self._shared.database.connection() as conn:
            alert = _alert(await self._until_now(conn, now), key=f"now:{now.isoformat()}")
            await self._watcher.tell_lab(conn, alert, now=now)
        self._shared.tell()
        return {"title": alert.title, "targets": list(targets)}

    # -- facts ----------------------------------------------------------------------------------------------------

    async def _until_now(self, conn: Connection, now: datetime) -> Week:
        """Since the last instant of the schedule; a week where there is none."""
        schedule = self.schedule
        begin = None if schedule is None else due_between(schedule, now - FURTHEST, now)
        await self._measure(conn, now)
        return await self._week(conn, begin or now - WEEK, now, now)

    async def _week(self, conn: Connection, begin: datetime, end: datetime, now: datetime) -> Week:
        shared = self._shared
        lab = shared.lab
        ran = {row["job"]: _job_week(row) for row in await history.job_totals(conn, since=begin, until=end)}
        before = await history.totals(conn, since=begin - (end - begin), until=begin)
        conditions = await history.open_conditions(conn)
        missed = await history.missed_runs(conn, since=begin, until=end)
        held = {name for s in shared.flows.values() for name in shared.skipped(s.flow)}
        return Week(
            lab="lab" if lab is None else lab.name,
            begin=begin,
            end=end,
            timezone="UTC" if lab is None else lab.timezone,
            jobs=sum(len(s.jobs) for s in shared.flows.values()),
            ran=tuple(ran.values()),
            before=before,
            silent=tuple(row["job"] for row in conditions if row["kind"] == "silent"),
            idle=tuple(self._idle(ran, held, begin, end)),
            paused=tuple(self._paused()),
            missed=missed,
            disk=await self._disk(conn, begin, now),
            link=self._link,
        )

    def _paused(self) -> list[str]:
        shared = self._shared
        return [
            job.name for s in shared.flows.values() for job in s.flow.jobs if job.paused or job.name in shared.paused
        ]

    def _idle(self, ran: Mapping[str, JobWeek], held: set[str], begin: datetime, end: datetime) -> list[str]:
        """Jobs that were due, are not held and did not run. Those of which the lab has known for less are left out."""
        found: list[str] = []
        for scheduled in self._shared.flows.values():
            if scheduled.schedule is None or scheduled.schedule.is_reboot:
                continue
            first = next(iter(scheduled.schedule.fires(max(begin, scheduled.since))), None)
            if first is not None and first <= end - timedelta(minutes=5):
                found += [name for name in scheduled.jobs if name not in ran and name not in held]
        return found

    async def _measure(self, conn: Connection, now: datetime) -> None:
        if self._measured == now.date():
            return
        usage = await asyncio.to_thread(shutil.disk_usage, self._shared.home.root)
        await conn.execute(
            b"insert into disk (day, free_bytes, total_bytes) values (%s, %s, %s) on conflict do nothing",
            (now.date(), usage.free, usage.total),
        )
        await conn.execute(b"delete from disk where day < %s", (now.date() - _DISK_KEPT,))
        self._measured = now.date()

    async def _disk(self, conn: Connection, begin: datetime, now: datetime) -> Disk:
        usage = await asyncio.to_thread(shutil.disk_usage, self._shared.home.root)
        row = await (
            await conn.execute(
                # The day nearest to the begin: a lab that is younger compares with its first day.
                b"select day, free_bytes from disk where day < %s order by abs(day - %s::date), day limit 1",
                (now.date(), begin.date()),
            )
        ).fetchone()
        return Disk(
            free_bytes=usage.free,
            total_bytes=usage.total,
            free_before=None if row is None else row["free_bytes"],
            days=7.0 if row is None else float((now.date() - row["day"]).days),
        )


def _job_week(row: Mapping[str, Any]) -> JobWeek:
    return JobWeek(
        job=row["job"],
        runs=row["runs"],
        failures=row["failures"],
        usual_s=row["usual_s"],
        longest_s=row["longest_s"],
        is_failing=RunState(row["last"]).is_failure,
    )


def _alert(week: Week, *, key: str) -> Alert:
    made = weekly.compose(week)
    return Alert(
        kind="digest",
        job="",
        run=None,
        title=made.title,
        reason=made.body.partition("\n")[0],
        body=made.body,
        dedupe_key=f"digest:{key}",
    )
