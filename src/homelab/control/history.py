"""What happened, read for pages and lists: each answered from an index, so that a long history costs no more.

Statements on the tables that `control.store` owns; reads only. Rows are mappings, times aware. Called by `questions`,
`now` and `runview`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from homelab.control.store import Row
from homelab.core.jobs import RunState
from homelab.db.pool import Connection


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which job runs. `until` is a moment of recording: a list goes on from the last row of the page before."""

    job: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50


async def _all(conn: Connection, sql: str, params: Mapping[str, object]) -> list[Row]:
    # For this transaction: rows in memory or on a solid-state disk. With the default, made for turning disks, the
    # planner takes the index on time for "the newest of one job" and reads past all others: 450 ms instead of 6.
    await conn.execute(b"set local random_page_cost = 1.1")
    return list(await (await conn.execute(sql.encode(), params)).fetchall())


_COLUMNS = """
 r.id, {job} as job, r.flow, r.due, r.created, r.trigger, r.by, {worker} as worker, {node} as node,
 {attempt} as attempt, {state} as state, {started} as started, {ended} as ended, {exit_code} as exit_code,
 {signal} as signal, {reason} as reason, {output_bytes} as output_bytes, {output_lines} as output_lines,
 {retry_at} as retry_at, {at} as at
"""
_OF_ATTEMPT = _COLUMNS.format(
    job="a.job",
    worker="a.worker",
    node="coalesce(a.node, r.node)",
    attempt="a.attempt",
    state="case when a.retry_at is not null and r.state in ('scheduled', 'pending', 'running') then 'retrying'"
    " else a.state end",
    started="a.started",
    ended="coalesce(a.ended, r.ended)",
    exit_code="a.exit_code",
    signal="a.signal",
    reason="a.reason",
    output_bytes="a.output_bytes",
    output_lines="a.output_lines",
    retry_at="a.retry_at",
    at="a.recorded",
)
_OF_RUN = _COLUMNS.format(
    job="j.job",
    worker="r.worker",
    node="r.node",
    attempt="0",
    state="case when r.state = 'running' then 'pending' else r.state end",
    started="null::timestamptz",
    ended="r.ended",
    exit_code="null::int",
    signal="null::int",
    reason="r.reason",
    output_bytes="null::bigint",
    output_lines="null::bigint",
    retry_at="null::timestamptz",
    at="coalesce(r.started, r.due, r.created)",
)


async def job_runs(conn: Connection, wanted: Wanted) -> list[Row]:
    """Job runs, what happened last first: the newest attempt of each job, and the jobs of runs that have none.

    Runs created ahead are only given when `state` asks for scheduled ones. `at` is when the row was last written; give
    it as `until` for what comes after.
    """
    attempts, bare = _attempts_sql(wanted), _bare_sql(wanted)
    parts = [f"({sql} order by at desc limit %(limit)s)" for sql in (attempts, bare) if sql]
    if not parts:
        return []
    sql = f"select * from ({' union all '.join(parts)}) found order by at desc, id, job limit %(limit)s"  # noqa: S608
    return await _all(
        conn,
        sql,
        {
            "job": wanted.job,
            "state": wanted.state,
            "since": wanted.since,
            "until": wanted.until,
            "limit": wanted.limit,
        },
    )


def _attempts_sql(wanted: Wanted) -> str:
    if wanted.state in ("scheduled", "pending", "missed"):
        return ""
    where = ["not exists (select from job_run l where l.run = a.run and l.job = a.job and l.attempt > a.attempt)"]
    if wanted.job is not None:
        where.append("a.job = %(job)s")
    if wanted.state == "retrying":
        where.append("a.retry_at is not null and r.state in ('scheduled', 'pending', 'running')")
    elif wanted.state is not None:
        where.append("a.state = %(state)s and (a.retry_at is null or r.state not in ('scheduled','pending','running'))")
    if wanted.since is not None:
        where.append("a.recorded >= %(since)s")
    if wanted.until is not None:
        where.append("a.recorded < %(until)s")
    return f"select {_OF_ATTEMPT} from job_run a join run r on r.id = a.run where {' and '.join(where)}"  # noqa: S608


def _bare_sql(wanted: Wanted) -> str:
    """Jobs of runs in which they have no attempt: not yet, or never. All jobs of a run that succeeded have one, so
    that the index `run_bare` leaves those out."""
    at = "coalesce(r.started, r.due, r.created)"
    if wanted.state in ("succeeded", "running", "retrying"):
        return ""
    where = [
        "r.state <> 'succeeded'",
        "not exists (select from job_run a where a.run = r.id and a.job = j.job)",
    ]
    if wanted.state is None:
        where.append("(r.state <> 'scheduled' or r.due is null or r.due <= now())")
    elif wanted.state == "pending":
        where.append("r.state in ('pending', 'running')")
    else:
        where.append("r.state = %(state)s")
    if wanted.job is not None:
        where.append("j.job = %(job)s and r.jobs ? %(job)s")
    if wanted.since is not None:
        where.append(f"{at} >= %(since)s")
    if wanted.until is not None:
        where.append(f"{at} < %(until)s")
    return (
        f"select {_OF_RUN} from run r cross join lateral jsonb_array_elements_text(r.jobs) as j(job)"  # noqa: S608
        f" where {' and '.join(where)}"
    )


async def newest(conn: Connection, jobs: Sequence[tuple[str, str]]) -> dict[str, Row]:
    """The newest run of each (job, flow), begun or not; runs created ahead do not count. Jobs without any are left
    out."""
    sql = f"""
        select {_OF_RUN.replace("r.ended as ended", "coalesce(a.ended, r.ended) as ended")}, a.attempt as a_attempt,
               a.state as a_state, a.started as a_started, a.exit_code as a_exit_code, a.reason as a_reason,
               a.signal as a_signal, a.retry_at as a_retry_at, a.node as a_node, a.output_bytes as a_output_bytes
        from unnest(%(jobs)s::text[], %(flows)s::text[]) as j(job, flow)
        cross join lateral (
            select * from run where run.flow = j.flow and run.jobs ? j.job
            and (run.state <> 'scheduled' or run.due is null or run.due <= now())
            order by coalesce(run.started, run.due, run.created) desc limit 1
        ) r
        left join lateral (
            select * from job_run where job_run.run = r.id and job_run.job = j.job order by attempt desc limit 1
        ) a on true"""  # noqa: S608 - no value in it
    names = {"jobs": [job for job, _ in jobs], "flows": [flow for _, flow in jobs]}
    return {row["job"]: _merged(row) for row in await _all(conn, sql, names)}


def _merged(row: Row) -> Row:
    """The run's own row with what the newest attempt says, where there is one."""
    attempt = {k.removeprefix("a_"): row.pop(k) for k in [k for k in row if k.startswith("a_")]}
    if attempt["state"] is None:
        return row
    is_open = not RunState(row["state"]).is_final
    if attempt["retry_at"] is not None and is_open:
        attempt["state"] = "retrying"
    return {**row, **attempt, "node": attempt["node"] or row["node"]}


async def results(conn: Connection, jobs: Sequence[str], *, each: int = 30) -> dict[str, list[Row]]:
    """For each job its newest final results, the newest first."""
    rows = await _all(
        conn,
        "select a.* from unnest(%(jobs)s::text[]) as j(job) cross join lateral (select job, run, state, started, ended,"
        " attempt, retry_at, output_bytes, exit_code, signal, reason from job_run where job_run.job = j.job"
        " and retry_at is null and state <> 'running' order by recorded desc limit %(each)s) a",
        {"jobs": list(jobs), "each": each},
    )
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["job"], []).append(row)
    return found


async def outcomes(
    conn: Connection, jobs: Sequence[str], *, each: int = 30
) -> dict[str, list[tuple[str, float | None]]]:
    """For each job the state of each of its newest final results and the seconds it took (None: it did not run), the
    newest first: what a list of all jobs shows of them."""
    rows = await _all(
        conn,
        "select j.job, array_agg(r.state order by r.recorded desc) as states,"
        " array_agg(r.took_s order by r.recorded desc) as took_s from unnest(%(jobs)s::text[]) as j(job),"
        " lateral (select state, recorded, round(extract(epoch from ended - started), 3)::float8 as took_s"
        " from job_run where job_run.job = j.job and retry_at is null and state <> 'running'"
        " order by recorded desc limit %(each)s) as r group by j.job",
        {"jobs": list(jobs), "each": each},
    )
    return {row["job"]: list(zip(row["states"], row["took_s"], strict=True)) for row in rows}


async def open_conditions(conn: Connection) -> list[Row]:
    """What the watcher has noticed and still holds: (job, kind, since, run, body)."""
    return await _all(conn, "select job, kind, since, run, body from watch order by since", {})


async def going(conn: Connection, *, limit: int = 200) -> list[Row]:
    """Job runs that have begun and not ended, or wait for their retry; the oldest first."""
    return await _all(
        conn,
        "select a.run as id, a.job, a.flow, a.attempt, a.started, a.node, r.trigger, r.by, r.due, a.retry_at,"
        " case when a.state = 'running' then 'running' else 'retrying' end as state"
        " from run r join job_run a on a.run = r.id"
        " where r.state in ('scheduled', 'pending', 'running', 'retrying')"
        " and (a.state = 'running' or a.retry_at is not null)"
        " and not exists (select from job_run l where l.run = a.run and l.job = a.job and l.attempt > a.attempt)"
        " order by a.started limit %(limit)s",
        {"limit": limit},
    )


async def on_nodes(conn: Connection, *, since: timedelta, node: str | None = None, limit: int = 1000) -> list[Row]:
    """What ran where: (work, node, owner, taken, ended, how) as `leases.history` has them, the newest first. `how` is
    the state in which it ended, "" while it runs."""
    return await _all(
        conn,
        "select run || '/' || job || '/' || attempt as work, node, job as owner, '{}'::jsonb as amounts,"
        " started as taken, case when state <> 'running' then ended end as ended,"
        " case when state <> 'running' then state else '' end as how from job_run"
        " where recorded > now() - %(since)s and started is not null and node is not null"
        " and (%(node)s::text is null or node = %(node)s) order by recorded desc limit %(limit)s",
        {"since": since, "node": node, "limit": limit},
    )


_WHOLE = (
    "select a.*, s.body as setting, r.digest, r.params, r.trigger from job_run a join run r on r.id = a.run"
    " left join setting s on s.digest = a.setting"
)


async def good_before(conn: Connection, job: str, run: str, before: datetime) -> Row | None:
    """The newest successful attempt of the job before that moment, in another run."""
    rows = await _all(
        conn,
        f"{_WHOLE} where a.job = %(job)s"
        " and a.state = 'succeeded' and a.recorded < %(before)s and a.run <> %(run)s"
        " order by a.recorded desc limit 1",
        {"job": job, "run": run, "before": before},
    )
    return rows[0] if rows else None


async def tails(conn: Connection, attempts: Sequence[tuple[str, str, int]]) -> dict[tuple[str, str], list[str]]:
    """The last lines of the output of each (run, job, attempt), by (run, job)."""
    if not attempts:
        return {}
    runs, jobs, numbers = zip(*attempts, strict=True)
    rows = await _all(
        conn,
        "select a.run, a.job, a.tail from unnest(%(runs)s::text[], %(jobs)s::text[], %(numbers)s::int[])"
        " as w(run, job, attempt) join job_run a using (run, job, attempt)",
        {"runs": list(runs), "jobs": list(jobs), "numbers": list(numbers)},
    )
    return {(row["run"], row["job"]): row["tail"] for row in rows}


async def attempt_of(conn: Connection, run: str, job: str) -> Row | None:
    """The newest attempt of one job in one run, with the run's digest, parameters and trigger."""
    rows = await _all(
        conn,
        f"{_WHOLE} where a.run = %(run)s and a.job = %(job)s order by a.attempt desc limit 1",
        {"run": run, "job": job},
    )
    return rows[0] if rows else None


async def days(conn: Connection, *, job: str | None, since: datetime, timezone: str) -> list[Row]:
    """(day, runs, failures) of job runs that ended, by the lab's calendar; days without any are left out."""
    only = " and job = %(job)s" if job is not None else ""
    return await _all(
        conn,
        "select (recorded at time zone %(timezone)s)::date as day, count(*) as runs,"  # noqa: S608 - no value in it
        " count(*) filter (where state in ('failed', 'timed_out', 'crashed')) as failures"
        f" from job_run where recorded >= %(since)s and retry_at is null{only} group by 1 order by 1",
        {"job": job, "since": since, "timezone": timezone},
    )


async def job_totals(conn: Connection, *, since: datetime, until: datetime) -> list[Row]:
    """(job, runs, failures, usual_s, longest_s, last) of job runs that ended in that time, by job. `usual_s` is the
    median of those that succeeded, `last` the state of the newest."""
    return await _all(
        conn,
        "select job, count(*) as runs,"
        " count(*) filter (where state in ('failed', 'timed_out', 'crashed')) as failures,"
        " percentile_cont(0.5) within group (order by extract(epoch from ended - started)::float8)"
        "   filter (where state = 'succeeded') as usual_s,"
        " max(extract(epoch from ended - started)::float8) as longest_s,"
        " (array_agg(state order by recorded desc))[1] as last"
        " from job_run where recorded >= %(since)s and recorded < %(until)s and retry_at is null"
        " and started is not null and ended is not null group by job order by job",
        {"since": since, "until": until},
    )


async def totals(conn: Connection, *, since: datetime, until: datetime) -> tuple[int, int] | None:
    """(runs, failures) of job runs that ended in that time; None when the history does not reach so far back."""
    rows = await _all(
        conn,
        "select count(*) as runs, count(*) filter (where state in ('failed', 'timed_out', 'crashed')) as failures,"
        " exists (select from job_run where recorded < %(since)s) as reaches"
        " from job_run where recorded >= %(since)s and recorded < %(until)s and retry_at is null"
        " and started is not null and ended is not null",
        {"since": since, "until": until},
    )
    return (rows[0]["runs"], rows[0]["failures"]) if rows[0]["reaches"] else None


async def missed_runs(conn: Connection, *, since: datetime, until: datetime) -> int:
    """Instants of that time that were missed."""
    rows = await _all(
        conn,
        "select count(*) as missed from instant where decision = 'missed' and due >= %(since)s and due < %(until)s",
        {"since": since, "until": until},
    )
    return rows[0]["missed"]


async def runs_like(conn: Connection, text: str, *, limit: int = 5) -> list[str]:
    """Ids of the newest runs that begin like `text`: what somebody who mistyped an id may have meant."""
    rows = await _all(
        conn,
        "select id from run where id like %(text)s order by created desc limit %(limit)s",
        {"text": text[:4].replace("%", "").replace("_", "") + "%", "limit": limit},
    )
    return [row["id"] for row in rows]
