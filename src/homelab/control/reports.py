"""What workers report, taken once each and in order: the copy of what attempts did, the events, the alerts.

One transaction a batch. What follows from a report (releasing what waited for a job, making up for a missed instant) is
entered in the ledger, for the scheduler to do. Called by `control.workers`, and by
`control.recovery` for those that a lost node cannot make.
"""

import hashlib
import json as jsonlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import structlog

from homelab.control import leases, ledger, store
from homelab.core.passing import Passed
from homelab.db.pool import Connection, json

log = structlog.get_logger()

Report = Mapping[str, Any]
_STEADY = ("scripts", "variables", "programs", "single")


class Watching(Protocol):
    """Decides alerts from reports (`notify.watcher.Watcher`)."""

    async def on_report(self, conn: Any, report: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Entered:
    """What was new. `ended`: jobs that ended for good, and flows whose runs were given up. `is_room`: leases ended."""

    ended: set[str]
    is_room: bool


async def take(conn: Connection, reports: Sequence[Report], watcher: Watching) -> Entered:
    """Enter the reports that are new, and with the end of an attempt the end of its lease. What a node tells of a run
    that is another's now, or of work that was promised to another since, is dropped."""
    cursor = await conn.execute(
        "insert into report (id) select unnest(%s::text[]) on conflict do nothing returning id",
        ([r["id"] for r in reports],),
    )
    fresh = {row["id"] for row in await cursor.fetchall()}
    new = [await _located(conn, r) for r in await _own(conn, [r for r in reports if r["id"] in fresh])]
    finished = {(r["run"], r["job"], r["attempt"]) for r in new if r["kind"] == "job.finished"}
    ended: set[str] = set()
    is_room = False
    for report in new:
        if report["kind"] == "job.started" and (report["run"], report["job"], report["attempt"]) in finished:
            continue  # its end is in the same batch and says all of it
        await _enter(conn, report)
        if report["kind"] == "job.finished" and report.get("token") is not None:
            is_room |= await leases.end(conn, int(report["token"]), "done")
        if report["kind"] == "job.finished" and report["retry_at"] is None:
            ended.add(str(report["job"]))
        elif report["kind"] == "run.missed":
            ended.add(str(report["flow"]))
        await watcher.on_report(conn, report)
    await store.add_events(conn, [_event(r) for r in new])
    return Entered(ended=ended, is_room=is_room)


async def _own(conn: Connection, reports: Sequence[Report]) -> list[Report]:
    """The reports of those whose story it is. A node that was lost, and is back, may tell what became of a run that
    went on nowhere else: that is its own story still."""
    told = [r for r in reports if r.get("node")]
    if not told:
        return list(reports)
    rows = await store.all_rows(
        conn,
        "select id, node, lost_by from run where id = any(%s) and (node is not null or lost_by is not null)",
        (list({str(r["run"]) for r in told}),),
    )
    known = {row["id"]: row for row in rows}
    kept: list[Report] = []
    for report in reports:
        if await _is_own(conn, report, known.get(report["run"])):
            kept.append(report)
        else:
            log.warning("report.refused", run_id=report["run"], node=report["node"], kind=report["kind"])
    return kept


async def _is_own(conn: Connection, report: Report, run: Mapping[str, Any] | None) -> bool:
    node, token = report.get("node"), report.get("token")
    if node and run is not None and node != (run["node"] or node):
        return False
    if node and run is not None and run["lost_by"] == node:
        if run["node"] is None:
            return False
        if report.get("attempt") and await _is_over(conn, report):  # the run came back to it
            return False
    work = f"{report['run']}/{report.get('job')}/{report.get('attempt')}"
    return token is None or await leases.speaks_for(conn, work, int(token))


async def _located(conn: Connection, report: Report) -> Report:
    """The report with the node on which the attempt was made, where that is another (`on`): that of its lease."""
    token = report.get("token")
    if not report.get("on") or token is None:
        return report
    return {**report, "node": await leases.node_of(conn, int(token))}


async def _is_over(conn: Connection, report: Report) -> bool:
    """Whether a later attempt of the job was begun."""
    later = "select 1 as later from job_run where run = %(run)s and job = %(job)s and attempt > %(attempt)s limit 1"
    return await store.one_row(conn, later, report) is not None


def _event(report: Report) -> tuple[str, str, dict[str, Any]]:
    apart = ("id", "kind", "tail", "facts", "outputs", "artefacts", "token", "on")
    body = {k: v for k, v in report.items() if k not in apart}
    return str(report["kind"]), str(report.get("job") or report.get("flow") or ""), body


async def _enter(conn: Connection, report: Report) -> None:
    match report["kind"]:
        case "run.started":
            await conn.execute(
                "update run set state = 'running', started = coalesce(started, %(time)s), ended = null, reason = '',"
                " worker = %(worker)s, node = %(node)s where id = %(run)s",
                report,
            )
        case "job.started":
            await conn.execute(
                "insert into job_run (run, job, attempt, flow, due, state, started, node, worker) values (%(run)s,"
                " %(job)s, %(attempt)s, %(flow)s, %(due)s, 'running', %(time)s, %(node)s, %(worker)s)"
                " on conflict do nothing",
                report,
            )
        case "job.finished":
            await _job_finished(conn, report)
            await _saved(conn, report)
        case "run.finished" | "run.skipped":
            await conn.execute(
                "update run set state = %(state)s, started = coalesce(started, %(started)s), ended = %(ended)s,"
                " reason = %(reason)s where id = %(run)s",
                report,
            )
        case "run.missed":
            await _run_missed(conn, report)
        case _:
            pass  # of a newer worker: it is an event all the same


def _setting(facts: Mapping[str, Any]) -> tuple[str, str]:
    """What stays the same from run to run, as JSON, and its digest, under which it is kept once."""
    steady = jsonlib.dumps({name: facts[name] for name in _STEADY if name in facts}, sort_keys=True)
    return steady, hashlib.blake2b(steady.encode(), digest_size=12).hexdigest()


_FINISHED = b"""
    with kept as (
        insert into setting (digest, body) select %(setting)s::text, %(steady)s::jsonb
        where %(setting)s::text is not null on conflict do nothing
    )
    insert into job_run (run, job, attempt, flow, due, state, started, ended, exit_code, signal, reason, output_bytes,
        output_lines, tail, retry_at, node, worker, setting, facts, outputs)
    values (%(run)s, %(job)s, %(attempt)s, %(flow)s, %(due)s, %(state)s, %(started)s, %(ended)s, %(exit_code)s,
        %(signal)s, %(reason)s, %(output_bytes)s, %(output_lines)s, %(tail)s, %(retry_at)s, %(node)s, %(worker)s,
        %(setting)s, %(facts)s, %(outputs)s)
    on conflict (run, job, attempt) do update set state = excluded.state,
        started = coalesce(excluded.started, job_run.started), ended = excluded.ended, exit_code = excluded.exit_code,
        signal = excluded.signal, reason = excluded.reason, output_bytes = excluded.output_bytes,
        output_lines = excluded.output_lines, tail = excluded.tail, retry_at = excluded.retry_at,
        setting = excluded.setting, facts = excluded.facts, outputs = excluded.outputs, recorded = now()
"""


async def _job_finished(conn: Connection, report: Report) -> None:
    facts: dict[str, Any] = report.get("facts") or {}
    steady, digest = _setting(facts)
    await conn.execute(
        _FINISHED,
        {
            **report,
            "tail": json(report.get("tail") or []),
            "steady": steady,
            "setting": digest if facts else None,
            "outputs": json(report["outputs"]) if report.get("outputs") else None,
            "facts": json({k: v for k, v in facts.items() if k not in _STEADY}) if facts else None,
        },
    )


async def _saved(conn: Connection, report: Report) -> None:
    for artefact in Passed.from_json(report).artefacts:
        await conn.execute(
            "insert into artefact (run, job, attempt, path, sha256, bytes, node) values (%(run)s, %(job)s, %(attempt)s,"
            " %(path)s, %(sha256)s, %(bytes)s, %(node)s) on conflict do nothing",
            {**report, **asdict(artefact)},
        )


async def _run_missed(conn: Connection, report: Report) -> None:
    row = await store.run_row(conn, str(report["run"]))
    if row is None or row["due"] is None:
        return
    reason = str(report["reason"])
    await store.end_run(conn, row["id"], "missed", reason)
    await ledger.give_up(conn, row["flow"], row["due"], reason)
