"""The statements of `control` on its own tables, each a function that says what it answers. No decisions here.

Rows are mappings. A *row of a job run* is the newest attempt of one job in one run, joined with what is known of the
run; jobs of a run that have not begun have the run's own state. Called by the parts of `control` only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from homelab.core.jobs import Flow
from homelab.db.pool import Connection, json

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A run that was handed to Prefect, or one that never will be (missed, blocked): then `state` is final."""

    id: str
    flow: Flow
    due: datetime | None
    trigger: str
    jobs: Sequence[str]
    by: str = "control"
    state: str = "scheduled"
    reason: str = ""
    params: Mapping[str, str] | None = None


async def all_rows(conn: Connection, sql: str, params: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
    return list(await (await conn.execute(sql.encode(), params)).fetchall())


async def one_row(conn: Connection, sql: str, params: Sequence[object] | Mapping[str, object] = ()) -> Row | None:
    rows = await all_rows(conn, sql, params)
    return rows[0] if rows else None


# -- the lab as applied -----------------------------------------------------------------------------------------------


async def applied_lab(conn: Connection) -> Row | None:
    return await one_row(conn, "select name, path, folder, files, digest, applied from lab")


async def save_lab(
    conn: Connection, *, name: str, path: str, folder: str, files: Mapping[str, str], digest: str
) -> None:
    await conn.execute(
        "insert into lab (id, name, path, folder, files, digest) values (1, %s, %s, %s, %s, %s) on conflict (id) do"
        " update set name = excluded.name, path = excluded.path, folder = excluded.folder, files = excluded.files,"
        " digest = excluded.digest, applied = now()",
        (name, path, folder, json(dict(files)), digest),
    )


async def flows(conn: Connection) -> list[Row]:
    return await all_rows(
        conn, "select name, digest, deployment, schedule, timezone, since from flow order by position"
    )


async def save_flow(
    conn: Connection, flow: Flow, *, deployment: str, position: int, now: datetime, since: datetime | None = None
) -> None:
    """The flow as it now is. A new schedule counts from `now`: instants before belong to the old one. `since`: instants
    up to then were somebody else's, whatever the schedule."""
    await conn.execute(
        "insert into definition (digest, body) values (%s, %s) on conflict do nothing", (flow.digest, flow.to_json())
    )
    await conn.execute(
        "insert into flow (name, digest, deployment, schedule, timezone, position, since)"
        " values (%s, %s, %s, %s, %s, %s, %s)"
        " on conflict (name) do update set digest = excluded.digest, deployment = excluded.deployment,"
        " since = case when %s or flow.schedule is distinct from excluded.schedule"
        " or flow.timezone <> excluded.timezone then excluded.since else flow.since end,"
        " schedule = excluded.schedule, timezone = excluded.timezone, position = excluded.position, applied = now()",
        (
            flow.name,
            flow.digest,
            deployment,
            flow.schedule,
            flow.timezone,
            position,
            since or now,
            since is not None,
        ),
    )


async def set_deployment(conn: Connection, flow: str, deployment: str) -> None:
    await conn.execute("update flow set deployment = %s where name = %s", (deployment, flow))


async def delete_flow(conn: Connection, name: str) -> None:
    await conn.execute("delete from flow where name = %s", (name,))


async def definition(conn: Connection, digest: str) -> str | None:
    row = await one_row(conn, "select body from definition where digest = %s", (digest,))
    return None if row is None else str(row["body"])


async def switches(conn: Connection) -> dict[str, Row]:
    return {row["job"]: row for row in await all_rows(conn, "select job, paused, by, time from job_switch")}


async def switch(conn: Connection, job: str, *, paused: bool, by: str) -> None:
    await conn.execute(
        "insert into job_switch (job, paused, by) values (%s, %s, %s) on conflict (job) do update"
        " set paused = excluded.paused, by = excluded.by, time = now()",
        (job, paused, by),
    )


# -- runs -------------------------------------------------------------------------------------------------------------


async def add_run(conn: Connection, run: NewRun) -> None:
    await conn.execute(
        "insert into run (id, flow, due, digest, trigger, params, jobs, by, state, reason, ended)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, case when %s in ('missed', 'blocked', 'skipped')"
        " then now() end) on conflict do nothing",
        (
            run.id,
            run.flow.name,
            run.due,
            run.flow.digest,
            run.trigger,
            json(dict(run.params or {})),
            json(list(run.jobs)),
            run.by,
            run.state,
            run.reason,
            run.state,
        ),
    )


async def end_run(conn: Connection, run: str, state: str, reason: str) -> None:
    await conn.execute("update run set state = %s, reason = %s, ended = now() where id = %s", (state, reason, run))


async def reopen_run(conn: Connection, run: str, round_: Mapping[str, Any]) -> None:
    """It is to be done again, in a new round (`control.lost.Round`)."""
    await conn.execute(
        "update run set state = 'scheduled', reason = '', ended = null, assigned = null, lost_by = null, restart = '',"
        " round = %s where id = %s",
        (json(dict(round_)), run),
    )


async def assigned(conn: Connection, runs: Sequence[str]) -> dict[str, Row]:
    """(id, flow, node, assigned, state) of those of the runs that have a node."""
    rows = await all_rows(
        conn,
        "select id, flow, node, assigned, state from run where id = any(%(ids)s) and node is not null union all"
        " select id, '', node, assigned, 'scheduled' from foreign_run where id = any(%(ids)s)",
        {"ids": list(runs)},
    )
    return {row["id"]: row for row in rows}


async def runs_of_others(conn: Connection, runs: Sequence[str], node: str) -> dict[str, str]:
    """Those of the runs that belong to another node now: run -> that node."""
    rows = await all_rows(
        conn, "select id, node from run where id = any(%s) and node <> %s and assigned is not null", (list(runs), node)
    )
    return {row["id"]: row["node"] for row in rows}


async def assign(conn: Connection, nodes: Mapping[str, str]) -> None:
    """Run -> the node that it is given to."""
    values = {"runs": list(nodes), "nodes": list(nodes.values())}
    await conn.execute(
        "update run set node = given.node, assigned = now() from unnest(%(runs)s::text[], %(nodes)s::text[])"
        " as given(run, node) where run.id = given.run",
        values,
    )
    await conn.execute(
        "insert into foreign_run (id, node) select given.run, given.node from"
        " unnest(%(runs)s::text[], %(nodes)s::text[]) as given(run, node)"
        " where not exists (select from run where run.id = given.run)"
        " on conflict (id) do update set node = excluded.node, assigned = now(), is_lost = false",
        values,
    )


async def at_work(conn: Connection, flows: Sequence[str]) -> dict[str, str]:
    """Flow -> the node where a run of it is at work."""
    rows = await all_rows(
        conn,
        "select flow, node from run where flow = any(%s) and state = 'running' and node is not null order by started",
        (list(flows),),
    )
    return {row["flow"]: row["node"] for row in rows}


async def runs_on(conn: Connection, nodes: Sequence[str]) -> list[Row]:
    """Runs that these nodes have begun, or were given: whole rows, the oldest first."""
    return await all_rows(
        conn,
        "select * from run where node = any(%s) and (state = 'running' or (state in ('scheduled', 'pending')"
        " and assigned is not null)) order by created, id",
        (list(nodes),),
    )


async def nodes_at_work(conn: Connection) -> set[str]:
    """The nodes that have a run, whether or not they are known."""
    rows = await all_rows(
        conn, "select distinct node from run where node is not null and state in ('scheduled', 'pending', 'running')"
    )
    return {row["node"] for row in rows}


async def foreign_runs_on(conn: Connection, nodes: Sequence[str]) -> list[str]:
    """Runs that are not the lab's own and were given to these nodes lately."""
    rows = await all_rows(
        conn,
        "select id from foreign_run where node = any(%s) and not is_lost and assigned > now() - interval '7 days'"
        " order by assigned limit 200",
        (list(nodes),),
    )
    return [row["id"] for row in rows]


async def foreign_lost(conn: Connection, runs: Sequence[str]) -> None:
    """Prefect knows of them."""
    await conn.execute("update foreign_run set is_lost = true where id = any(%s)", (list(runs),))


async def lose_run(conn: Connection, run: str, node: str) -> None:
    """It is taken from a node that has fallen silent, and is to go on elsewhere."""
    await conn.execute(
        "update run set node = null, assigned = null, lost_by = %s, restart = 'wanted' where id = %s and node = %s",
        (node, run, node),
    )


async def to_restart(conn: Connection) -> list[Row]:
    """Whole rows of the runs of which Prefect is to be told that they go on elsewhere."""
    return await all_rows(conn, "select * from run where restart = 'wanted' order by created, id")


async def restarted(conn: Connection, run: str, *, state: str | None) -> None:
    """Prefect knows. `state`: the run's from now on; None: as it is."""
    await conn.execute(
        "update run set restart = '', state = coalesce(%(state)s, state),"
        " ended = case when %(state)s::text is null then ended end,"
        " reason = case when %(state)s::text is null then reason else '' end where id = %(run)s",
        {"state": state, "run": run},
    )


async def gone(conn: Connection, node: str, runs: Sequence[str]) -> list[str]:
    """Those of the runs that are this node's no more."""
    rows = await all_rows(
        conn,
        "select id from run where id = any(%(runs)s) and (node <> %(node)s or (node is null and lost_by = %(node)s))",
        {"runs": list(runs), "node": node},
    )
    return [row["id"] for row in rows]


async def revive(conn: Connection, node: str, jobs: Mapping[str, Sequence[str]]) -> list[Row]:
    """The node says that it runs these jobs (run -> names): what was held for crashed there is running. (id, flow) of
    the runs that were."""
    rows = await all_rows(
        conn,
        "update run set state = 'running', ended = null, reason = '' where id = any(%s) and node = %s"
        " and state = 'crashed' returning id, flow",
        (list(jobs), node),
    )
    for row in rows:
        await conn.execute(
            "update job_run set state = 'running', ended = null, reason = '', retry_at = null where run = %(run)s"
            " and job = any(%(jobs)s) and state = 'crashed' and attempt = (select max(attempt) from job_run as last"
            " where last.run = %(run)s and last.job = job_run.job)",
            {"run": row["id"], "jobs": list(jobs[row["id"]])},
        )
    return rows


_ROWS = """
select r.id, j.job, r.flow, r.due, r.created, r.trigger, r.by, r.worker,
       coalesce(a.node, r.node) as node,
       coalesce(a.attempt, 0) as attempt,
       case when a.state is null then case when r.state = 'running' then 'pending' else r.state end
            when a.retry_at is not null and r.state in ('scheduled', 'pending', 'running') then 'retrying'
            else a.state end as state,
       a.started, coalesce(a.ended, r.ended) as ended, a.exit_code, a.signal,
       coalesce(nullif(a.reason, ''), case when a.state is null then r.reason end, '') as reason,
       a.output_bytes, a.output_lines, a.retry_at
from run r
cross join lateral jsonb_array_elements_text(r.jobs) as j(job)
left join lateral (
    select * from job_run a where a.run = r.id and a.job = j.job order by a.attempt desc limit 1
) a on true
"""


async def job_rows(conn: Connection, *, run: str, limit: int) -> list[Row]:
    """Rows of the job runs of one run, the newest first."""
    return await all_rows(
        conn,
        f"select * from ({_ROWS} where r.id = %s) rows"  # noqa: S608 - no value in it
        " order by coalesce(started, due, created) desc, created desc, id limit %s",
        (run, limit),
    )


async def run_row(conn: Connection, run: str) -> Row | None:
    return await one_row(conn, "select * from run where id = %s", (run,))


async def node_of_run(conn: Connection, run: str) -> str | None:
    """The node whose run this is; None while it is nobody's, or when there is no such run."""
    return (await nodes_of_runs(conn, [run])).get(run)


async def nodes_of_runs(conn: Connection, runs: Sequence[str]) -> dict[str, str]:
    """The node of each of these runs that has one, the runs of Prefect that are not the lab's own among them."""
    rows = await all_rows(
        conn,
        "select id, node from run where id = any(%(runs)s) and node is not null"
        " union all select id, node from foreign_run where id = any(%(runs)s)",
        {"runs": list(runs)},
    )
    return {row["id"]: row["node"] for row in rows}


async def note_flow_run(conn: Connection, run: str, node: str) -> None:
    """A run of Prefect that is not the lab's own is this node's."""
    await conn.execute("insert into foreign_run (id, node) values (%s, %s) on conflict do nothing", (run, node))


async def is_definition_of(conn: Connection, digest: str, node: str) -> bool:
    """Whether a run of this node is of that definition."""
    return (
        await one_row(conn, "select 1 as found from run where digest = %s and node = %s limit 1", (digest, node))
        is not None
    )


async def runs_beginning(conn: Connection, prefix: str) -> list[str]:
    return [r["id"] for r in await all_rows(conn, "select id from run where id like %s limit 3", (prefix + "%",))]


async def attempts(conn: Connection, run: str) -> list[Row]:
    return await all_rows(
        conn,
        "select job, attempt, state, started, ended, exit_code, signal, reason, output_bytes, output_lines, tail,"
        " node, worker, retry_at, outputs from job_run where run = %s order by recorded, job, attempt",
        (run,),
    )


async def promised(conn: Connection, run: str, node: str, works: Sequence[str]) -> list[Row]:
    """Those of the works (RUN/JOB/ATTEMPT) for which the node got a lease that it did not give back, and of which
    nothing was told: rows as `attempts` has them, of attempts that may be under way."""
    return await all_rows(
        conn,
        "select split_part(work, '/', 2) as job, split_part(work, '/', 3)::int as attempt, 'running' as state,"
        " taken as started, null as retry_at from lease where work = any(%(works)s) and node = %(node)s"
        " and (ended is null or how in ('expired', 'removed')) and not exists (select from job_run where run = %(run)s"
        " and job = split_part(work, '/', 2) and attempt = split_part(work, '/', 3)::int) order by token",
        {"works": list(works), "node": node, "run": run},
    )


async def last_ends(conn: Connection, jobs: Sequence[str]) -> dict[str, tuple[datetime | None, datetime | None]]:
    """For each job the ends of its last success and its last final failure."""
    rows = await all_rows(
        conn,
        "select job, max(ended) filter (where state = 'succeeded') as success,"
        " max(ended) filter (where state in ('failed', 'timed_out', 'crashed') and retry_at is null) as failure"
        " from job_run where job = any(%s) group by job",
        (list(jobs),),
    )
    return {row["job"]: (row["success"], row["failure"]) for row in rows}


# -- workers ----------------------------------------------------------------------------------------------------------


async def beat(conn: Connection, body: Mapping[str, Any]) -> Row | None:
    """Take a heartbeat. A row when another worker of this name is alive: that one. One that was heard lately is, unless
    the new one says which it `replaces`: it holds the lock of the same home, so that one has ended."""
    raw: object = body.get("replaces")
    replaced: Mapping[str, Any] = cast("Mapping[str, Any]", raw) if isinstance(raw, Mapping) else dict[str, Any]()
    other = await one_row(
        conn,
        "select name, pid, node from worker where name = %(worker)s and (pid, date_trunc('milliseconds', started)) is"
        " distinct from (%(pid)s::int, date_trunc('milliseconds', %(started)s::timestamptz))"
        " and (pid, date_trunc('milliseconds', started)) is distinct from (%(old_pid)s::int,"
        " date_trunc('milliseconds', %(old_started)s::timestamptz))"
        " and last_seen > now() - interval '25 seconds'",
        {**body, "old_pid": replaced.get("pid"), "old_started": replaced.get("started")},
    )
    if other is not None:
        return other
    await conn.execute(
        "insert into worker (name, node, pid, started, slots, running) values"
        " (%(worker)s, %(node)s, %(pid)s, %(started)s, %(slots)s, %(running)s) on conflict (name) do update set"
        " node = excluded.node, pid = excluded.pid, started = excluded.started, last_seen = now(),"
        " slots = excluded.slots, running = excluded.running",
        {**body, "running": json(body.get("running", []))},
    )
    return None


async def joined_node(conn: Connection, name: str) -> str | None:
    """The name, when a machine that joined has it."""
    row = await one_row(conn, "select node from token where node = %s and revoked is null", (name,))
    return None if row is None else str(row["node"])


async def workers(conn: Connection) -> list[Row]:
    return await all_rows(
        conn,
        "select name, node, pid, started, last_seen, slots, running,"
        " extract(epoch from now() - last_seen)::float8 as age_s from worker order by name",
    )


# -- events and the rest ----------------------------------------------------------------------------------------------


async def add_events(conn: Connection, events: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """(kind, subject, body) each."""
    rows = [(kind, subject, json(dict(body))) for kind, subject, body in events]
    if rows:
        async with conn.cursor() as cursor:
            await cursor.executemany("insert into event (kind, subject, body) values (%s, %s, %s)", rows)


async def events_after(conn: Connection, after: int, *, limit: int = 500) -> list[Row]:
    return await all_rows(
        conn, "select id, time, kind, subject, body from event where id > %s order by id limit %s", (after, limit)
    )


async def last_event(conn: Connection) -> int:
    row = await one_row(conn, "select coalesce(max(id), 0) as id from event")
    return 0 if row is None else int(row["id"])


async def events_kept(conn: Connection) -> tuple[int, int]:
    row = await one_row(conn, "select coalesce(min(id), 1) as oldest, coalesce(max(id), 0) as newest from event")
    return (1, 0) if row is None else (int(row["oldest"]), int(row["newest"]))


async def note(conn: Connection, *, who: str, action: str, subject: str, body: Mapping[str, Any] | None = None) -> None:
    await conn.execute(
        "insert into audit (who, origin, action, subject, body) values (%s, 'control', %s, %s, %s)",
        (who, action, subject, json(dict(body or {}))),
    )


async def prune(conn: Connection) -> None:
    """What nobody looks at any more. The ledger is kept long: it is what makes an instant happen once."""
    for sql in (
        "delete from event where time < now() - interval '7 days'",
        "delete from report where received < now() - interval '3 days'",
        "delete from job_run where recorded < now() - interval '60 days'",
        "delete from setting where created < now() - interval '1 day' and not exists"
        " (select from job_run where job_run.setting = setting.digest)",
        "delete from run where coalesce(due, created) < now() - interval '60 days' and state <> 'scheduled'",
        "delete from instant where due < now() - interval '400 days'",
        "delete from notification where created < now() - interval '60 days' and state <> 'queued'",
        "delete from foreign_run where assigned < now() - interval '60 days'",
        "delete from definition where created < now() - interval '60 days' and digest not in"
        " (select digest from flow union select digest from run)",
    ):
        await conn.execute(sql)


async def forget_workers_on(conn: Connection, node: str) -> None:
    await conn.execute("delete from worker where node = %s", (node,))
