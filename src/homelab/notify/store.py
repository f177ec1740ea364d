"""What alerts are judged by, read from control's database, and the conditions that were told (table `watch`).

Called by `watcher` with a connection. Times come back as aware datetimes.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from homelab.core.usual import KEPT, Run
from homelab.notify.queue import Connection
from homelab.notify.rules import Condition, Verdict, as_time

_RESULTS = ("succeeded", "failed", "timed_out", "crashed")


async def conditions(conn: Connection, jobs: Iterable[str]) -> dict[str, dict[str, Condition]]:
    """Open conditions by job and kind."""
    cursor = await conn.execute("select job, kind, since, run, body from watch where job = any(%s)", (list(jobs),))
    found: dict[str, dict[str, Condition]] = {}
    for row in await cursor.fetchall():
        found.setdefault(row["job"], {})[row["kind"]] = _condition(row)
    return found


async def conditions_of(conn: Connection, *kinds: str) -> list[Condition]:
    """Every open condition of these kinds."""
    cursor = await conn.execute("select job, kind, since, run, body from watch where kind = any(%s)", (list(kinds),))
    return [_condition(row) for row in await cursor.fetchall()]


def _condition(row: Any) -> Condition:
    body = row["body"]
    return Condition(
        job=row["job"],
        kind=row["kind"],
        since=row["since"],
        run=row["run"],
        told=as_time(body["told"]) if body.get("told") else None,
        count=body.get("count", 1),
        due=as_time(body["due"]) if body.get("due") else None,
        reason=body.get("reason", ""),
    )


async def apply(conn: Connection, verdict: Verdict) -> None:
    """Store opened and changed conditions, forget closed ones."""
    for condition in verdict.opens:
        body = {
            "told": condition.told.isoformat() if condition.told else None,
            "count": condition.count,
            "due": condition.due.isoformat() if condition.due else None,
            "reason": condition.reason,
        }
        await conn.execute(
            "insert into watch (job, kind, since, run, body) values (%s, %s, %s, %s, %s::jsonb)"
            " on conflict (job, kind) do update set since = excluded.since, run = excluded.run, body = excluded.body",
            (condition.job, condition.kind, condition.since, condition.run, json.dumps(body)),
        )
    for job, kind in verdict.closes:
        await conn.execute("delete from watch where job = %s and kind = %s", (job, kind))


async def histories(conn: Connection, jobs: Iterable[str], *, but: str | None = None) -> dict[str, list[Run]]:
    """The newest final attempts of each job (`KEPT` at most), the oldest first, without those of the run `but`."""
    # The newest rows of one job come from the index; sorting on disk is nothing the planner should think of here.
    cursor = await conn.execute(
        "select a.* from unnest(%s::text[]) as j(job) cross join lateral (select r.job, r.state, r.attempt,"
        " r.started, r.ended, r.output_bytes, r.due, r.flow, run.trigger from job_run r join run on run.id = r.run"
        " where r.job = j.job and r.retry_at is null and r.state <> 'running' and r.ended is not null"
        " and r.started is not null and r.run is distinct from %s"
        " order by r.recorded desc limit %s) a order by a.ended",
        (list(jobs), but, KEPT),
    )
    found: dict[str, list[Run]] = {}
    for row in await cursor.fetchall():
        one = run_of(row, is_scheduled=row["trigger"] == "schedule")
        if one is not None:
            found.setdefault(row["job"], []).append(one)
    return found


def run_of(row: Mapping[str, Any], *, is_scheduled: bool) -> Run | None:
    """A final attempt (a row of `job_run`, or a report `job.finished`) as `core.usual` takes it; None for one that
    was not started, or that somebody cancelled. `late_s` is known of the first job of a scheduled run only."""
    if not row.get("started") or not row.get("ended") or row["state"] not in _RESULTS:
        return None
    started, ended, due = as_time(row["started"]), as_time(row["ended"]), row.get("due")
    begins = is_scheduled and due and row["job"] == row.get("flow") and row.get("attempt") == 1
    return Run(
        ended=ended.timestamp(),
        is_good=row["state"] == "succeeded",
        took_s=max(0.0, (ended - started).total_seconds()),
        output_bytes=row.get("output_bytes"),
        late_s=max(0.0, (started - as_time(due)).total_seconds()) if begins and due else None,
    )


async def is_scheduled(conn: Connection, run: str) -> bool:
    """Whether the run was started by its schedule, at its instant."""
    cursor = await conn.execute("select 1 from run where id = %s and trigger = 'schedule'", (run,))
    return await cursor.fetchone() is not None


async def held(conn: Connection) -> set[str]:
    """Jobs that somebody paused."""
    cursor = await conn.execute("select job from job_switch where paused")
    return {row["job"] for row in await cursor.fetchall()}


async def applied(conn: Connection) -> dict[str, datetime]:
    """Since when each flow is what it is."""
    cursor = await conn.execute("select name, applied from flow")
    return {row["name"]: row["applied"] for row in await cursor.fetchall()}


async def unstarted(conn: Connection, *, before: datetime) -> list[dict[str, Any]]:
    """Runs that were due before `before` and have not started: id, flow, due, created, period_s (None: not known)."""
    cursor = await conn.execute(
        "select r.id, r.flow, r.due, r.created, extract(epoch from r.due - (select max(i.due) from instant i"
        "   where i.flow = r.flow and i.due < r.due))::float8 as period_s"
        " from run r where r.state in ('scheduled', 'pending') and r.started is null and r.due < %s order by r.due",
        (before,),
    )
    return [dict(row) for row in await cursor.fetchall()]


async def still_unstarted(conn: Connection, runs: Iterable[str]) -> set[str]:
    """Those of `runs` that are waiting to start."""
    cursor = await conn.execute(
        "select id from run where id = any(%s) and state in ('scheduled', 'pending') and started is null", (list(runs),)
    )
    return {row["id"] for row in await cursor.fetchall()}


async def going(conn: Connection) -> list[dict[str, Any]]:
    """Attempts that run now: run, job, attempt, started."""
    cursor = await conn.execute(
        "select j.run, j.job, j.attempt, j.started from job_run j join run r on r.id = j.run"
        " where j.state = 'running' and j.ended is null and j.started is not null"
        " and r.state in ('scheduled', 'pending', 'running', 'retrying')"
    )
    return [dict(row) for row in await cursor.fetchall()]


async def decided(conn: Connection, *, after: datetime) -> list[dict[str, Any]]:
    """Instants decided `missed` or `blocked` after a time, in the order of the decisions."""
    cursor = await conn.execute(
        "select flow, due, decision, reason, decided from instant"
        " where decided > %s and decision in ('missed', 'blocked') order by decided, due",
        (after,),
    )
    return [dict(row) for row in await cursor.fetchall()]


async def missed_since(conn: Connection, flow: str, due: datetime) -> list[datetime]:
    """The missed instants of a flow from `due` on."""
    cursor = await conn.execute(
        "select due from instant where flow = %s and decision = 'missed' and due >= %s order by due", (flow, due)
    )
    return [row["due"] for row in await cursor.fetchall()]


async def any_failed_job(conn: Connection, run: str) -> bool:
    """Whether an attempt in this run is known to have failed."""
    cursor = await conn.execute(
        "select 1 from job_run where run = %s and state in ('failed', 'timed_out', 'crashed') limit 1", (run,)
    )
    return await cursor.fetchone() is not None


async def event(conn: Connection, kind: str, subject: str, body: dict[str, Any], *, now: datetime) -> None:
    """Add to the stream that pages and terminals follow."""
    await conn.execute(
        "insert into event (time, kind, subject, body) values (%s, %s, %s, %s::jsonb)",
        (now, kind, subject, json.dumps(body)),
    )
