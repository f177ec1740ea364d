"""What workers report, taken once each and in order: the copy of what attempts did, the events, the alerts.

One transaction a batch. What follows from a report outside our tables (releasing what waited for a job, making up for a
missed instant) is returned, to be done after the commit. Called by `control.service`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from homelab.control import store
from homelab.db.pool import Connection, json

Report = Mapping[str, Any]


class Watching(Protocol):
    """Decides alerts from reports (`notify.watcher.Watcher`)."""

    async def on_report(self, conn: Any, report: Mapping[str, Any]) -> None: ...


@dataclass
class Consequences:
    """`ended`: jobs that have ended for good. `missed`: (flow, due, reason) that a worker gave up."""

    ended: list[str] = field(default_factory=list[str])
    missed: list[tuple[str, datetime, str]] = field(default_factory=list[tuple[str, datetime, str]])


async def take(conn: Connection, reports: Sequence[Report], watcher: Watching) -> Consequences:
    """Enter the reports that are new."""
    cursor = await conn.execute(
        "insert into report (id) select unnest(%s::text[]) on conflict do nothing returning id",
        ([r["id"] for r in reports],),
    )
    fresh = {row["id"] for row in await cursor.fetchall()}
    new = [r for r in reports if r["id"] in fresh]
    finished = {(r["run"], r["job"], r["attempt"]) for r in new if r["kind"] == "job.finished"}
    found = Consequences()
    for report in new:
        if report["kind"] == "job.started" and (report["run"], report["job"], report["attempt"]) in finished:
            continue  # its end is in the same batch and says all of it
        await _enter(conn, report, found)
        await watcher.on_report(conn, report)
    await store.add_events(conn, [_event(r) for r in new])
    return found


def _event(report: Report) -> tuple[str, str, dict[str, Any]]:
    body = {k: v for k, v in report.items() if k not in ("id", "kind", "tail")}
    return str(report["kind"]), str(report.get("job") or report.get("flow") or ""), body


async def _enter(conn: Connection, report: Report, found: Consequences) -> None:
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
            if report["retry_at"] is None:
                found.ended.append(str(report["job"]))
        case "run.finished" | "run.skipped":
            await conn.execute(
                "update run set state = %(state)s, started = coalesce(started, %(started)s), ended = %(ended)s,"
                " reason = %(reason)s where id = %(run)s",
                report,
            )
        case "run.missed":
            await _run_missed(conn, report, found)
        case _:
            pass  # of a newer worker: it is an event all the same


async def _job_finished(conn: Connection, report: Report) -> None:
    await conn.execute(
        "insert into job_run (run, job, attempt, flow, due, state, started, ended, exit_code, signal, reason,"
        " output_bytes, output_lines, tail, retry_at, node, worker) values (%(run)s, %(job)s, %(attempt)s, %(flow)s,"
        " %(due)s, %(state)s, %(started)s, %(ended)s, %(exit_code)s, %(signal)s, %(reason)s, %(output_bytes)s,"
        " %(output_lines)s, %(tail)s, %(retry_at)s, %(node)s, %(worker)s) on conflict (run, job, attempt) do update"
        " set state = excluded.state, started = coalesce(excluded.started, job_run.started), ended = excluded.ended,"
        " exit_code = excluded.exit_code, signal = excluded.signal, reason = excluded.reason,"
        " output_bytes = excluded.output_bytes, output_lines = excluded.output_lines, tail = excluded.tail,"
        " retry_at = excluded.retry_at, recorded = now()",
        {**report, "tail": json(report.get("tail") or [])},
    )


async def _run_missed(conn: Connection, report: Report, found: Consequences) -> None:
    row = await store.run_row(conn, str(report["run"]))
    if row is None or row["due"] is None:
        return
    reason = str(report["reason"])
    await store.end_run(conn, row["id"], "missed", reason)
    await store.redecide(conn, row["flow"], row["due"], "missed", run=row["id"], reason=reason)
    found.missed.append((row["flow"], row["due"], reason))
