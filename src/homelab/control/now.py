"""The lab at this moment, in one answer: what needs a person, what runs, what comes next, services and nodes.

Reads only; what needs attention is decided by `control.attention`. Called by the API and the console.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from homelab.control import history, questions, store
from homelab.control.attention import Entry, JobNow, attention
from homelab.control.fleet import Standing
from homelab.control.state import Shared
from homelab.core.endings import Explanation
from homelab.core.errors import HomelabError
from homelab.core.jobs import Job, RunState
from homelab.core.times import iso
from homelab.home.paths import Home
from homelab.notify.explained import Attempt, explanations
from homelab.notify.rules import as_time
from homelab.stack import control_socket

Json = dict[str, Any]
NEXT = 12
RECENT = 8


async def now(shared: Shared, there: Standing, problems: Sequence[Mapping[str, Any]], at: datetime) -> Json:
    """See the module. Times are ISO 8601 UTC."""
    pairs = [(job.name, s.flow.name) for s in shared.flows.values() for job in s.flow.jobs]
    names = [name for name, _ in pairs]
    async with shared.database.connection() as conn:
        newest = await history.newest(conn, pairs)
        results = await history.results(conn, names, each=30)
        conditions = await history.open_conditions(conn)
        going = await history.going(conn)
        seen = await store.last_event(conn)
        jobs = jobs_now(shared, newest, results, conditions)
        failures = [(j.failure["id"], j.name, j.failure["attempt"]) for j in jobs if j.failure and not j.paused]
        tails = await history.tails(conn, failures)
        explained = await explanations(conn, failures)
    jobs = [_with_details(job, tails, explained) for job in jobs]
    entries = attention(jobs, problems, now=at)
    usual = {job.name: job.usual_s for job in jobs}
    return {
        "lab": None if shared.lab is None else shared.lab.name,
        "time": iso(at),
        "event": seen,
        "jobs": len(jobs),
        "states": states(shared, newest),
        "paused": sum(job.paused for job in jobs),
        "attention": [shown_entry(entry) for entry in entries],
        "running": [_going(row, usual.get(row["job"])) for row in going],
        "next": upcoming(shared, at),
        "recent": recent(results),
        "nodes": questions.nodes(there),
    }


def states(shared: Shared, newest: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The state of each job, in the order of its flow: paused, else that of its newest run; "" without any."""
    return {
        job.name: "paused"
        if job.paused or job.name in shared.paused
        else str(newest.get(job.name, {}).get("state", ""))
        for scheduled in shared.flows.values()
        for job in scheduled.flow.jobs
    }


def jobs_now(
    shared: Shared,
    newest: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    conditions: Sequence[Mapping[str, Any]],
) -> list[JobNow]:
    """Each job of the lab with what attention needs of it."""
    held: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in conditions:
        body = row["body"]
        due = as_time(body["due"]) if body.get("due") else None
        held.setdefault(row["job"], {})[row["kind"]] = {
            **row,
            "due": due,
            "count": body.get("count", 1),
            "reason": body.get("reason"),
        }
    return [
        _job_now(shared, job, newest.get(job.name), results.get(job.name, ()), held.get(job.name, {}))
        for scheduled in shared.flows.values()
        for job in scheduled.flow.jobs
    ]


def _with_details(
    job: JobNow, tails: Mapping[tuple[str, str], list[str]], explained: Mapping[Attempt, Explanation]
) -> JobNow:
    if job.failure is None:
        return job
    run = job.failure["id"]
    return replace(
        job,
        failure={**job.failure, "tail": tails.get((run, job.name), [])},
        explained=explained.get((run, job.name, job.failure["attempt"])),
    )


def _job_now(
    shared: Shared,
    job: Job,
    last: Mapping[str, Any] | None,
    results: Sequence[Mapping[str, Any]],
    held: Mapping[str, Mapping[str, Any]],
) -> JobNow:
    failures: list[Mapping[str, Any]] = []
    for result in results:
        if result["state"] == "succeeded":
            break
        if RunState(result["state"]).is_failure:
            failures.append(result)
    return JobNow(
        name=job.name,
        last=last,
        failure={**failures[0], "id": failures[0]["run"]} if failures else None,
        failures=len(failures),
        first=failures[-1]["ended"] if failures else None,
        paused=job.paused or job.name in shared.paused,
        needs=tuple(need.job for need in job.needs),
        usual_s=usual_s(results),
        conditions=held,
    )


def recent(results: Mapping[str, Sequence[Mapping[str, Any]]], *, most: int = RECENT) -> list[Json]:
    """What has ended, the newest first. `results` of each job, the newest first."""
    ended = [row for rows in results.values() for row in rows[:most] if row["started"] and row["ended"]]
    ended.sort(key=lambda row: row["ended"], reverse=True)
    return [
        {
            "id": row["run"],
            "job": row["job"],
            "state": row["state"],
            "ended": iso(row["ended"]),
            "duration_s": (row["ended"] - row["started"]).total_seconds(),
        }
        for row in ended[:most]
    ]


def usual_s(results: Sequence[Mapping[str, Any]]) -> float | None:
    """The median seconds of the successful results; None when there are none."""
    took = [
        (r["ended"] - r["started"]).total_seconds()
        for r in results
        if r["state"] == "succeeded" and r["started"] and r["ended"]
    ]
    return round(median(took), 3) if took else None


def shown_entry(entry: Entry) -> Json:
    body = asdict(entry)
    body["since"] = iso(entry.since) if isinstance(entry.since, datetime) else entry.since
    return {**body, "waiting": list(entry.waiting), "actions": list(entry.actions), "facts": list(entry.facts)}


def _going(row: Mapping[str, Any], usual: float | None) -> Json:
    return {
        "id": row["id"],
        "job": row["job"],
        "flow": row["flow"],
        "state": row["state"],
        "attempt": row["attempt"],
        "started": iso(row["started"]) if row["started"] else None,
        "retry_at": iso(row["retry_at"]) if row["retry_at"] else None,
        "usual_s": usual,
        "node": row["node"],
        "trigger": row["trigger"],
        "by": row["by"],
    }


def upcoming(shared: Shared, at: datetime, *, most: int = NEXT) -> list[Json]:
    """The flows that are due next, the earliest first; those of which every job is paused are left out."""
    found: list[tuple[datetime, Json]] = []
    for scheduled in shared.flows.values():
        if scheduled.schedule is None or scheduled.schedule.is_reboot:
            continue
        if len(shared.skipped(scheduled.flow)) == len(scheduled.jobs):
            continue
        due = next(iter(scheduled.schedule.fires(at)), None)
        if due is not None and due - at < timedelta(days=400):
            found.append((due, {"flow": scheduled.flow.name, "due": iso(due), "jobs": len(scheduled.jobs)}))
    return [body for _, body in sorted(found, key=lambda pair: pair[0])[:most]]


async def services(home: Home) -> list[Json]:
    """The services of this home as its supervisor tells; empty when none runs here (or it does not answer now)."""
    try:
        answer = await asyncio.to_thread(control_socket.ask, home, {"do": "status"}, timeout_s=3.0)
    except (HomelabError, OSError, ValueError, KeyError):
        return []
    return list(answer.get("services", []))
