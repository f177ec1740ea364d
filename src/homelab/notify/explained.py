"""Why attempts ended as they did, from what the database has of them: `core.endings` over its rows.

Called by `watcher` for the alert of a failure, and by `control` for what people look at, so that both say the same.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from homelab.core.endings import Circumstances, Ending, Explanation, explain
from homelab.notify.queue import Connection

Attempt = tuple[str, str, int]
"""Run, job, number of the attempt."""


async def explanations(conn: Connection, attempts: Sequence[Attempt]) -> dict[Attempt, Explanation]:
    """Of each attempt that is known; compared with the last run of the job that had succeeded before it."""
    if not attempts:
        return {}
    runs, jobs, numbers = zip(*attempts, strict=True)
    cursor = await conn.execute(
        "select a.run, a.job, a.attempt, a.state, a.exit_code, a.signal, a.reason, a.started, a.ended, a.node, a.tail,"
        " a.facts, s.body as setting, g.ended as good_ended, gs.body as good_setting"
        " from unnest(%s::text[], %s::text[], %s::int[]) as w(run, job, attempt)"
        " join job_run a using (run, job, attempt) left join setting s on s.digest = a.setting"
        " left join lateral (select ended, setting from job_run where job = a.job and state = 'succeeded'"
        " and recorded < a.recorded and run <> a.run order by recorded desc limit 1) g on true"
        " left join setting gs on gs.digest = g.setting",
        (list(runs), list(jobs), list(numbers)),
    )
    return {(row["run"], row["job"], row["attempt"]): _explained(row) for row in await cursor.fetchall()}


def seen(setting: Mapping[str, Any] | None, facts: Mapping[str, Any] | None) -> Circumstances | None:
    """The circumstances of an attempt from its two columns."""
    return Circumstances.from_json({**(setting or {}), **(facts or {})})


def _explained(row: Mapping[str, Any]) -> Explanation:
    good: datetime | None = row["good_ended"]
    return explain(
        Ending.of(row),
        seen(row["setting"], row["facts"]),
        Circumstances.from_json(row["good_setting"]),
        good="" if good is None else f"{good.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    )
