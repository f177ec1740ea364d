"""Attempts that run on another node than their run does: the statements on table `sent`.

The run's node has a lease on the other, gives the attempt to it under that lease, and asks what became of it; the
other finds it among what is due, and tells. So both may die and come back, and control with them: what is here is all
that they need of each other. An attempt whose lease has ended without an end of its own is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast

from homelab.control.store import Row, all_rows, one_row
from homelab.core.errors import InputError
from homelab.core.jobs import RunState
from homelab.core.passing import Passed
from homelab.core.times import iso, moment
from homelab.core.work import Work
from homelab.db.pool import Connection, json

Json = dict[str, Any]


_NUMBERS = ("exit_code", "signal", "output_bytes", "output_lines")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a node needs to know to make the attempt. `handed`: what the jobs that it needs passed on, by job, as
    `core.passing` writes it. `is_retried`: whether it would be made again, elsewhere, if that node were lost."""

    digest: str
    flow: str
    due: str | None
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    handed: Mapping[str, Json] = field(default_factory=dict[str, Json])
    is_retried: bool = False

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Task":
        """InputError for what is none."""
        try:
            handed = cast("Mapping[str, Mapping[str, Any]]", body.get("handed") or {})
            return cls(
                digest=str(body["digest"]),
                flow=str(body["flow"]),
                due=None if body.get("due") is None else str(body["due"]),
                params={str(k): str(v) for k, v in cast("Mapping[str, Any]", body.get("params") or {}).items()},
                handed={job: Passed.from_json(one).to_json() for job, one in handed.items()},
                is_retried=bool(body.get("is_retried")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"an attempt to be sent cannot be read: {error}"[:200]) from error


def outcome_of(body: Mapping[str, Any]) -> Json:
    """How an attempt ended, as its node tells it; what is not known is left out. ValueError and its like for what is
    none: another node is to read it."""
    if not RunState(body["state"]).is_final:
        raise ValueError(f"an attempt does not end as {body['state']}")
    numbers = {name: None if body.get(name) is None else int(body[name]) for name in _NUMBERS}
    facts = body.get("facts")
    return {
        "state": str(body["state"]),
        "reason": str(body.get("reason") or ""),
        "started": iso(moment(body.get("started"))),
        "ended": iso(moment(str(body["ended"]))),
        **numbers,
        "tail": [str(line) for line in cast("Sequence[object]", body.get("tail") or ())],
        "facts": dict(cast("Mapping[str, Any]", facts)) if facts else None,
        "is_evicted": bool(body.get("is_evicted")),
        **Passed.from_json(body).to_json(),
    }


async def send(conn: Connection, work: str, token: int, task: Task) -> str | None:
    """Give the attempt to the node of its lease; that node. None: the lease has ended. Once, however often it is
    asked for."""
    run, job, attempt = Work.of(work)
    row = await one_row(
        conn,
        "insert into sent (token, work, run, job, attempt, node, task) select token, work, %s, %s, %s, node, %s"
        " from lease where token = %s and work = %s and ended is null on conflict do nothing returning node",
        (run, job, attempt, json(asdict(task)), token, work),
    )
    return None if row is None else str(row["node"])


async def known(conn: Connection, tokens: Sequence[int]) -> dict[int, Row]:
    """By token: (work, node, started, pid, stop, ended, outcome)."""
    rows = await all_rows(
        conn,
        "select token, work, node, started, pid, stop, ended, outcome from sent where token = any(%s)",
        (list(tokens),),
    )
    return {int(row["token"]): row for row in rows}


async def of_node(conn: Connection, node: str) -> list[Row]:
    """(token, work, task, stop) of what this node is to do, the oldest first, and of what it may still be doing and is
    to stop."""
    return await all_rows(
        conn,
        "select token, work, task, stop from sent where node = %s and (ended is null"
        " or (stop <> '' and ended > now() - interval '1 day')) order by token",
        (node,),
    )


async def stop(conn: Connection, token: int, reason: str) -> str | None:
    """It is to end; the node that has to hear so now, if it has not been told to."""
    row = await one_row(
        conn,
        "update sent set stop = %s where token = %s and ended is null and stop = '' returning node",
        (reason, token),
    )
    return None if row is None else str(row["node"])


async def stop_old(conn: Connection, run: str) -> set[str]:
    """The run is done again: what a node that was lost may still do of it is to end. The nodes that have to hear so."""
    rows = await all_rows(
        conn, "update sent set stop = 'the run was started again' where run = %s and stop = '' returning node", (run,)
    )
    return {row["node"] for row in rows}


async def begun(conn: Connection, node: str, token: int, *, time: datetime, pid: int) -> bool:
    """Its node has started it; whether that is news."""
    done = await conn.execute(
        "update sent set started = %s, pid = %s where token = %s and node = %s and started is null and ended is null",
        (time, pid, token, node),
    )
    return done.rowcount > 0


async def over(conn: Connection, node: str, token: int, outcome: Json) -> bool:
    """It has ended on its node as that tells, with its lease; False when it counts as lost already."""
    done = await conn.execute(
        "update sent set ended = now(), outcome = %s where token = %s and node = %s and ended is null",
        (json(outcome), token, node),
    )
    return done.rowcount > 0


async def run_of(conn: Connection, token: int) -> Row | None:
    """(run, job, attempt, node, flow, due) of what was sent under that token."""
    return await one_row(
        conn,
        "select run, job, attempt, sent.node, flow, due from sent join run on run.id = sent.run where token = %s",
        (token,),
    )


async def crashed_for_good(conn: Connection, row: Row) -> bool:
    """Whether an attempt (a row of `run_of`) counts as crashed, nothing took its place, and its run is over."""
    found = await one_row(
        conn,
        "select 1 as found from job_run as j join run on run.id = j.run where j.run = %(run)s and j.job = %(job)s"
        " and j.attempt = %(attempt)s and j.state = 'crashed' and j.retry_at is null"
        " and run.state not in ('scheduled', 'pending', 'running') and not exists (select from job_run as later"
        " where later.run = j.run and later.job = j.job and later.attempt > j.attempt)",
        row,
    )
    return found is not None


async def give_up(conn: Connection) -> set[str]:
    """What was sent under leases that have ended is lost: what had begun has crashed, the rest never was. The runs."""
    rows = await all_rows(
        conn,
        "update sent set ended = now(), outcome = case when started is not null then jsonb_build_object('state',"
        " %(crashed)s::text, 'reason', 'node ' || sent.node || case lease.how when 'removed' then ' was removed'"
        " else ' fell silent' end, 'ended', now(), 'started', started) end"
        " from lease where lease.token = sent.token and lease.ended is not null and sent.ended is null"
        " returning sent.run",
        {"crashed": str(RunState.CRASHED)},
    )
    return {row["run"] for row in rows}


async def in_flight(conn: Connection, run: str) -> dict[str, Json]:
    """Job -> `{attempt, node, token}` of what was sent of a run and whose end was not told by the run's node."""
    rows = await all_rows(
        conn,
        "select job, attempt, node, token from sent where run = %s and not exists (select from job_run as j"
        " where j.run = sent.run and j.job = sent.job and j.attempt = sent.attempt and j.ended is not null)"
        " order by attempt",
        (run,),
    )
    return {row["job"]: {"attempt": row["attempt"], "node": row["node"], "token": int(row["token"])} for row in rows}


async def guests(conn: Connection, runs: Sequence[str], node: str) -> set[str]:
    """Those of the runs of which something was sent to the node."""
    rows = await all_rows(conn, "select distinct run from sent where run = any(%s) and node = %s", (list(runs), node))
    return {row["run"] for row in rows}


async def is_definition_of(conn: Connection, digest: str, node: str) -> bool:
    """Whether something of that definition was sent to the node."""
    found = await one_row(
        conn, "select 1 as found from sent where node = %s and task->>'digest' = %s limit 1", (node, digest)
    )
    return found is not None
