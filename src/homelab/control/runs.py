"""What people do with runs: start one, run one again, end one, take the ending back; and finding the run they mean.

Each tells Prefect first, which decides, then enters it here. Called by `control.service`.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from homelab.control import history, parameters, preview, questions, store
from homelab.control.dispatch import Dispatch
from homelab.control.state import Scheduled, Shared
from homelab.core import dag
from homelab.core.errors import InputError, NotFoundError, RefusedError
from homelab.core.jobs import RunState
from homelab.flows import records

Json = dict[str, Any]
_PREFIX = re.compile(r"[0-9a-f-]{4,35}")


async def find(shared: Shared, run: str) -> store.Row:
    """The run of that id, or of the only id that begins so. NotFoundError, InputError when there are several."""
    async with shared.database.connection() as conn:
        found = await store.run_row(conn, run)
        alike = [] if found is not None or not _PREFIX.fullmatch(run) else await store.runs_beginning(conn, run)
        if len(alike) == 1:
            found = await store.run_row(conn, alike[0])
    if len(alike) > 1:
        raise InputError(f"'{run}' is the beginning of several runs", hint="Such as " + ", ".join(alike))
    if found is None:
        async with shared.database.connection() as conn:
            near = await history.runs_like(conn, run)
        hint = "" if near else "Runs are kept for 60 days. See: homelab run ls"
        raise NotFoundError(f"there is no run '{run[:80]}'", hint=hint, nearest=near, kind="run")
    return found


async def start(
    shared: Shared, scheduled: Scheduled, name: str, *, params: Mapping[str, str], only: bool, by: str
) -> Json:
    """A run, now, of this job of the flow, with what it needs before it and what needs it after it; `only`: nothing
    else. InputError for what cannot be a parameter."""
    parameters.check(params)
    jobs = [name] if only else dag.around(scheduled.flow, name)
    given: Json = {"definition": scheduled.flow.digest, "params": dict(params)}
    if len(jobs) < len(scheduled.flow.jobs):
        given["only"] = jobs
    run = await shared.prefect.create_run(
        scheduled.deployment, name=f"{name} by hand", due=shared.clock(), idempotency_key=None, parameters=given
    )
    async with shared.database.connection() as conn:
        new = store.NewRun(id=run, flow=scheduled.flow, due=None, trigger="manual", jobs=jobs, by=by, params=params)
        await store.add_run(conn, new)
        await store.add_events(conn, [("run.created", name, {"run": run, "by": by})])
    shared.tell()
    shared.arrived.set()
    return {"run": {"id": run, "job": name, "flow": scheduled.flow.name, "jobs": jobs, "state": "scheduled"}}


async def retry(
    shared: Shared, dispatch: Dispatch, row: store.Row, *, failed: bool, by: str, job: str | None = None
) -> Json:
    """The same run again: all of it, or (`failed`) only what did not succeed, or that and `job` with all that comes
    after it. RefusedError while it is at work, or when it never was; NotFoundError when it has no such job."""
    run = str(row["id"])
    if not RunState(row["state"]).is_final:
        raise RefusedError(f"run {run} has not ended", hint=f"Cancel it first: homelab run cancel {run}")
    if await shared.prefect.read_run(run) is None:
        raise RefusedError(
            f"run {run} was never started ({row['state']})", hint=f"Start the job: homelab job run {row['flow']}"
        )
    if job is not None:
        names = [one["job"] for one in (await questions.run(shared, row))["run"]["jobs"]]
        if job not in names:
            near = get_close_matches(job, names, n=2)
            raise NotFoundError(f"run {run[:8]} has no job '{job[:60]}'", nearest=near, kind="job")
    name = "AwaitingRetry" if failed and job is None else records.rerun_name(job)
    state = records.StateProposal(type="SCHEDULED", name=name, message=f"by {by}", scheduled_time=shared.clock())
    await shared.prefect.set_state(run, state)
    async with shared.database.connection() as conn:
        await dispatch.reopen(conn, row, name)
        body = {"run": run, "by": by, "failed": failed, "job": job}
        await store.add_events(conn, [("run.retried", row["flow"], body)])
    shared.tell()
    shared.arrived.set()
    return {"run": {"id": run, "flow": row["flow"], "state": "scheduled"}}


async def cancel(shared: Shared, row: store.Row, *, by: str) -> Json:
    """What runs is told to stop, the rest does not start. RefusedError when the run has ended."""
    run = str(row["id"])
    if RunState(row["state"]).is_final:
        raise RefusedError(f"run {run} has ended already ({row['state']})")
    reason = f"cancelled by {by}"
    seen = await shared.prefect.read_run(run)
    if row["state"] == "scheduled" and (seen is None or seen.state_type == "SCHEDULED"):
        if seen is not None:
            await shared.prefect.propose(run, records.proposal(RunState.CANCELLED, reason))
        async with shared.database.connection() as conn:
            await store.end_run(conn, run, "cancelled", reason)
    else:
        cancelling = records.StateProposal(type="CANCELLING", name="Cancelling", message=reason)
        await shared.prefect.set_state(run, cancelling)
    shared.wake_workers({"kind": "cancel", "run": run, "reason": reason}, node=row["node"])
    async with shared.database.connection() as conn:
        await store.add_events(conn, [("run.cancelled", row["flow"], {"run": run, "by": by})])
    shared.tell()
    return {"run": {"id": run, "flow": row["flow"], "state": "cancelled"}}


async def restore(shared: Shared, row: store.Row, *, by: str) -> Json:
    """A run that was cancelled before its instant starts then all the same. RefusedError for any other."""
    run = str(row["id"])
    if not preview.is_restorable(row, shared.clock()) or await shared.prefect.read_run(run) is None:
        raise RefusedError(
            f"run {run} was not cancelled ahead of its instant", hint=f"Run it again: homelab run retry {run}"
        )
    state = records.StateProposal(
        type="SCHEDULED", name="Scheduled", message=f"restored by {by}", scheduled_time=row["due"]
    )
    await shared.prefect.set_state(run, state)
    async with shared.database.connection() as conn:
        await store.reopen_run(conn, run, {})
        await store.add_events(conn, [("run.restored", row["flow"], {"run": run, "by": by})])
    shared.tell()
    return {"run": {"id": run, "flow": row["flow"], "state": "scheduled"}}
