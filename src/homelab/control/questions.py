"""Answers about the lab, in the JSON of the contract: jobs, runs, the graph, why a job did not run, what is wrong.

Reads only. Times are ISO 8601 UTC with Z; durations seconds. Called by `control.service`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from homelab.control import history, ledger, store
from homelab.control.fleet import Standing
from homelab.control.plan import written
from homelab.control.state import Scheduled, Shared
from homelab.core import schedule as schedules
from homelab.core.endings import Explanation
from homelab.core.errors import HomelabError
from homelab.core.jobs import OPEN, RunState
from homelab.core.times import iso
from homelab.core.usual import NOTHING_EXPECTED, Habit, Spread, late_limit_s, learn, stuck_limit_s
from homelab.home import adoptions
from homelab.home.paths import Home
from homelab.notify import store as watched
from homelab.notify.explained import explanations

Json = dict[str, Any]
GAP_S = 3.0
"""No transaction of ours that tells an event takes longer."""


def time_text(value: Any) -> str | None:
    """A time as the API writes it; None for anything else."""
    return iso(value) if isinstance(value, datetime) else None


def _next_due(scheduled: Scheduled, now: datetime) -> datetime | None:
    if scheduled.schedule is None:
        return None
    return next(iter(islice(scheduled.schedule.fires(now), 1)), None)


async def jobs(shared: Shared, now: datetime, *, only: str | None = None) -> list[Json]:
    """All jobs (or the one named) in the order of the lab file, each with its last run and its health over the last
    thirty results."""
    pairs = [(j.name, s.flow.name) for s in shared.flows.values() for j in s.flow.jobs if only in (None, j.name)]
    async with shared.database.connection() as conn:
        outcomes = await history.outcomes(conn, [name for name, _ in pairs])
        newest = await history.newest(conn, pairs)
        # A result without its run: it was reported before the run itself was known here.
        alone = [name for name, states in outcomes.items() if states and name not in newest]
        results = await history.results(conn, alone, each=1) if alone else {}
    rows: dict[str, Json] = {}
    for scheduled in shared.flows.values():
        members = [job for job in scheduled.flow.jobs if only in (None, job.name)]
        due = _next_due(scheduled, now) if members else None
        words = schedules.describe(scheduled.schedule) if scheduled.schedule and members else None
        for job in members:
            is_paused = job.paused or job.name in shared.paused
            last = newest.get(job.name) or _from_result(results.get(job.name, []))
            rows[job.name] = {
                "name": job.name,
                "flow": scheduled.flow.name,
                "schedule": scheduled.flow.schedule,
                "schedule_words": words,
                "timezone": scheduled.flow.timezone,
                "next_due": None if is_paused else time_text(due),
                "needs": [need.job for need in job.needs],
                "node": last.get("node") if last else None,
                "paused": is_paused,
                "shadow": job.shadow,
                "description": job.description,
                "source": job.source,
                "last_run": None
                if last is None
                else {
                    "id": last["id"],
                    "state": last["state"],
                    "reason": last["reason"],
                    "started": time_text(last["started"]),
                    "ended": time_text(last["ended"]),
                },
                "health": health(outcomes.get(job.name, [])),
            }
    order = [] if shared.lab is None else [job.name for job in shared.lab.jobs]
    known = set(order)
    return [rows[name] for name in order if name in rows] + [r for n, r in rows.items() if n not in known]


def _from_result(results: Sequence[Mapping[str, Any]]) -> Json | None:
    return {**results[0], "id": results[0]["run"], "node": None} if results else None


def health(outcomes: Sequence[tuple[str, float | None]]) -> Json:
    """Of the newest results (newest first): the states, what each took (None: it did not run), and the share of runs
    that succeeded (None: no runs)."""
    final = [(state, took_s) for state, took_s in outcomes if RunState(state).is_final]
    good = sum(state == "succeeded" for state, _ in final)
    return {
        "states": [state for state, _ in final],
        "durations_s": [took_s for _, took_s in final],
        "success_ratio": round(good / len(final), 3) if final else None,
        "runs": len(final),
    }


def adoption_of(home: Home, job: str) -> Json | None:
    """From which crontab a job was taken over, and since when; None for one that was not. Blocking."""
    try:
        found = [a for a in adoptions.active(home) if job in a.jobs]
    except HomelabError:  # a journal that nobody can read: `homelab status` says so
        return None
    return {"crontab": found[-1].target.label, "since": iso(found[-1].since or found[-1].at)} if found else None


async def job(shared: Shared, scheduled: Scheduled, name: str, now: datetime) -> Json:
    """One job's whole definition, where it is written, and its statistics."""
    (listed,) = await jobs(shared, now, only=name)
    definition = asdict(scheduled.flow.job(name))
    definition.pop("source")
    expected = next((j.expect for j in shared.lab.jobs if j.name == name), None) if shared.lab else None
    definition["expect"] = asdict(expected) if expected else {}
    async with shared.database.connection() as conn:
        runs_ = (await watched.histories(conn, [name])).get(name, [])
        open_ = (await watched.conditions(conn, [name])).get(name, {})
    file, _, line = scheduled.flow.job(name).source.rpartition(":")
    return {
        "job": {
            **listed,
            "definition": definition,
            "adopted": await asyncio.to_thread(adoption_of, shared.home, name),
            "settings": written(scheduled.flow.job(name)),
            "file": file or None,
            "line": int(line) if line.isdigit() else None,
            "schedule_words": schedules.describe(scheduled.schedule) if scheduled.schedule else None,
            "statistics": statistics(learn(runs_, expected=expected or NOTHING_EXPECTED), now, scheduled),
            "unusual": [
                {"kind": kind, "since": time_text(one.since), "reason": one.reason} for kind, one in open_.items()
            ],
        }
    }


def statistics(habit: Habit, now: datetime, scheduled: Scheduled) -> Json:
    """What is usual for a job. Spreads are None while too little is known; nine of ten values lie from `low` to `high`.
    Beyond `limits` a run is told as late or stuck."""
    failed, all_ = habit.failures()
    fires = list(islice(scheduled.schedule.fires(now), 2)) if scheduled.schedule else []
    period_s = (fires[1] - fires[0]).total_seconds() if len(fires) == 2 else None
    return {
        "runs": all_,
        "failures": failed,
        "duration_s": _spread(habit.took.spread()),
        "output_bytes": _spread(habit.printed.spread()),
        "start_delay_s": _spread(habit.started.spread()),
        "limits": {
            "late_s": late_limit_s(habit, period_s),
            "stuck_s": stuck_limit_s(habit, now.timestamp()),
        },
    }


def _spread(spread: Spread | None) -> Json | None:
    return None if spread is None else asdict(spread)


def graph(shared: Shared) -> Json:
    """All jobs and their needs. An edge between different schedules is a freshness condition."""
    nodes: list[Json] = []
    edges: list[Json] = []
    for scheduled in shared.flows.values():
        members = set(scheduled.jobs)
        for job_ in scheduled.flow.jobs:
            nodes.append({"name": job_.name, "flow": scheduled.flow.name, "schedule": scheduled.flow.schedule})
            edges += [
                {
                    "from": need.job,
                    "to": job_.name,
                    "when": need.when,
                    "kind": "task" if need.job in members else "freshness",
                }
                for need in job_.needs
            ]
    return {"nodes": nodes, "edges": edges}


async def runs(
    shared: Shared,
    *,
    job: str | None,
    state: str | None,
    since: datetime | None,
    until: datetime | None = None,
    limit: int,
) -> list[Json]:
    """Job runs, what happened last first. `at` of the last is the `until` of what comes after."""
    wanted = history.Wanted(job=job, state=state, since=since, until=until, limit=limit)
    async with shared.database.connection() as conn:
        rows = await history.job_runs(conn, wanted)
    return [{**shown_row(row), "at": row["at"].isoformat()} for row in rows]


def shown_row(row: Mapping[str, Any]) -> Json:
    """One job of one run, as `run ls` gives it."""
    duration = None if not row["started"] or not row["ended"] else (row["ended"] - row["started"]).total_seconds()
    return {
        "id": row["id"],
        "job": row["job"],
        "flow": row["flow"],
        "state": row["state"],
        "due": time_text(row["due"]),
        "started": time_text(row["started"]),
        "ended": time_text(row["ended"]) if RunState(row["state"]).is_final else None,
        "duration_s": duration if RunState(row["state"]).is_final else None,
        "node": row["node"],
        "attempt": row["attempt"],
        "exit_code": row["exit_code"],
        "signal": row["signal"],
        "reason": row["reason"],
        "trigger": row["trigger"],
        "retry_at": time_text(row["retry_at"]),
        "output_bytes": row["output_bytes"],
    }


async def run(shared: Shared, row: Mapping[str, Any]) -> Json:
    """One run with its jobs and all their attempts."""
    async with shared.database.connection() as conn:
        rows = await store.job_rows(conn, run=row["id"], limit=1000)
        attempts = await store.attempts(conn, row["id"])
    order = {name: n for n, name in enumerate(row["jobs"] or [])}
    jobs_ = sorted((shown_row(r) for r in rows), key=lambda r: order.get(r["job"], 0))
    for job_ in jobs_:
        job_["attempts"] = [_attempt(a) for a in attempts if a["job"] == job_["job"]]
    return {
        "run": {
            "id": row["id"],
            "flow": row["flow"],
            "state": row["state"],
            "due": time_text(row["due"]),
            "created": time_text(row["created"]),
            "started": time_text(row["started"]),
            "ended": time_text(row["ended"]),
            "node": row["node"],
            "worker": row["worker"],
            "reason": row["reason"],
            "trigger": row["trigger"],
            "by": row["by"],
            "params": row["params"],
            "jobs": jobs_,
        }
    }


def _attempt(row: Mapping[str, Any]) -> Json:
    shown = {k: time_text(v) if isinstance(v, datetime) else v for k, v in row.items() if k != "job"}
    return {**shown, "outputs": row["outputs"] or {}}


def shown_event(row: Mapping[str, Any]) -> Json:
    return {
        "id": row["id"],
        "time": time_text(row["time"]),
        "kind": row["kind"],
        "subject": row["subject"],
        "body": row["body"],
    }


def settled(last: int, rows: Sequence[Mapping[str, Any]], *, now: datetime) -> int:
    """How many of these events (by number, after `last`) can be told. Numbers are given out before they are committed:
    what lies behind a gap waits for `GAP_S`, then the missing number was one that was taken back."""
    for place, row in enumerate(rows):
        if row["id"] != last + 1 and now - row["time"] < timedelta(seconds=GAP_S):
            return place
        last = row["id"]
    return len(rows)


def nodes(there: Standing) -> list[Json]:
    """The machines that run jobs, by what their workers last said."""
    return [
        {
            "name": worker["node"],
            "worker": worker["name"],
            "state": there.state(worker["node"]),
            "heartbeat_age_s": round(worker["age_s"], 1),
            "slots": worker["slots"],
            "running": worker["running"],
        }
        for worker in there.workers
    ]


def problems(shared: Shared, there: Standing) -> list[Json]:
    """What is wrong with control itself now, and that no worker has come yet."""
    found = [
        {"code": code, "severity": "warning", "subject": "control", "message": text, "hint": ""}
        for code, text in shared.notes.items()
    ]
    if not there.workers:
        found.append(
            {
                "code": "no-worker",
                "severity": "error",
                "subject": "worker",
                "message": "no worker has reported yet: nothing runs",
                "hint": "See: homelab status",
            }
        )
    return found


async def why(
    shared: Shared,
    scheduled: Scheduled,
    name: str,
    now: datetime,
    *,
    is_alive: bool,
    impossible: Sequence[str] = (),
    waiting: Sequence[Json] = (),
) -> Json:
    """Why the job did, or did not, run: the newest facts, the most telling first. `is_alive`: some node is heard.
    `impossible`: why no node could ever run it. `waiting`: what of the job waits, of `Fleet.queue`."""
    flow = scheduled.flow
    job_ = flow.job(name)
    reasons = [f"no node of the lab can ever run it: {one}" for one in impossible]
    reasons += [words for one in waiting for words in waits(one)]
    if name in shared.paused:
        reasons.append(f"it is paused by {shared.paused[name]} (homelab job resume {name})")
    elif job_.paused:
        reasons.append("the lab file says paused = true")
    if job_.shadow:
        reasons.append("it is in shadow: cron runs it, the lab notes when it would have (homelab cron compare, adopt)")
    if adopted := await asyncio.to_thread(adoption_of, shared.home, name):
        reasons.append(f"it was taken over from {adopted['crontab']} at {adopted['since']} (homelab cron release)")
    held = [n.job for n in job_.needs if n.job in shared.paused]
    if held and name not in shared.paused and not job_.paused and not job_.shadow:
        reasons.append(f"it needs {held[0]}, which is paused")
    for need in job_.needs:
        if not job_.shadow and need.job in scheduled.jobs and flow.job(need.job).shadow:
            reasons.append(f"it needs {need.job}, which is in shadow: cron runs that")
    async with shared.database.connection() as conn:
        newest = await history.newest(conn, [(name, flow.name)])
        blocked = await ledger.blocked(conn, flow.name)
        last = shown_row(newest[name]) if name in newest else None
        is_failed = last is not None and RunState(last["state"]).is_failure
        explained = await explanations(conn, [(last["id"], name, last["attempt"])] if last and is_failed else [])
    if not is_alive:
        reasons.append("no worker is alive to run anything")
    if blocked:
        reasons.append(f"since {iso(blocked[0]['due'])} it is blocked: {blocked[0]['reason']}")
    if last is not None:
        reasons.append(last_words(last, explained.get((last["id"], name, last["attempt"]))))
    due = _next_due(scheduled, now)
    if scheduled.schedule is None:
        reasons.append("it has no schedule: it only runs by hand")
    elif scheduled.schedule.is_reboot:
        reasons.append("it runs once after each start of the machine")
    elif due is None:
        reasons.append("its schedule never comes round")
    elif not (name in shared.paused or scheduled.flow.job(name).paused):
        reasons.append(f"it is next due at {iso(due)}")
    advice = next((e.action for e in explained.values()), "")
    return {"job": name, "reasons": reasons, "next_due": time_text(due), "last_run": last, "advice": advice}


def waits(entry: Mapping[str, Any]) -> list[str]:
    """In sentences, for what an entry of the queue waits."""
    begun = f"run {entry['run'][:8]} waits for room since {entry['since']}"
    return [begun, *(str(one["reason"]) for one in entry["reasons"])]


def last_words(last: Json, explained: Explanation | None) -> str:
    """What became of the newest run, a row of `shown_row`; of one that has not begun, that it has not."""
    due = f"due {last['due']}" if last["due"] else ""
    is_to_begin = last["started"] is None and last["state"] in OPEN
    told = filter(None, (last["id"][:8], due if is_to_begin else last["started"] or last["due"] or last["ended"]))
    verb = "has not begun: it is" if is_to_begin else "is"
    text = f"its last run ({', '.join(told)}) {verb} {str(last['state']).replace('_', ' ')}"
    if last["node"]:
        text += f" on {last['node']}"
    if explained is not None:
        return f"{text}: {explained.text[:1].lower()}{explained.text[1:]}"
    return f"{text}: {last['reason']}" if last["reason"] else text
