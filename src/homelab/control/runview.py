"""One run as somebody who asks "what happened?" wants it: its jobs with what they need, what is usual, why it ran.

Reads only. Called by the API and the console; `questions.run` is the answer of the contract that this one adds to.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from homelab.control import history, questions, store
from homelab.control.difference import compare
from homelab.control.now import usual_s
from homelab.control.state import Shared
from homelab.core import schedule as schedules
from homelab.core.endings import Ending, explain, sentence
from homelab.core.errors import NotFoundError
from homelab.core.jobs import Flow, RunState
from homelab.notify.explained import explanations, seen

Json = dict[str, Any]


async def view(shared: Shared, row: Mapping[str, Any]) -> Json:
    """`{run: ...}` of the contract, each job with `needs`, `usual_s`, `source`, and how it ended: `ending`, `facts`
    (sentences), `advice`; the run with `why`."""
    body = await questions.run(shared, row)
    flow = await flow_at(shared, str(row["digest"]))
    names = [job["job"] for job in body["run"]["jobs"]]
    async with shared.database.connection() as conn:
        results = await history.results(conn, names, each=30)
        failed = [(body["run"]["id"], j["job"], j["attempt"]) for j in body["run"]["jobs"] if _failed(j)]
        explained = await explanations(conn, failed)
    for job in body["run"]["jobs"]:
        definition = next((j for j in flow.jobs if j.name == job["job"]), None) if flow else None
        job["needs"] = [n.job for n in definition.needs] if definition else []
        job["usual_s"] = usual_s(results.get(job["job"], ()))
        job["ending"], job["facts"], job["advice"] = sentence(str(job["reason"] or "")), [], ""
        if _failed(job):
            known = explained.get((body["run"]["id"], job["job"], job["attempt"])) or explain(Ending.of(job))
            job["ending"], job["facts"], job["advice"] = known.sentence, list(known.facts), known.action
        job["outputs"] = [{}, *(a["outputs"] for a in job["attempts"] if a["state"] == RunState.SUCCEEDED)][-1]
        job["source"] = _source(shared, job["job"]) or (definition.source if definition else "")
    body["run"]["why"] = why_it_ran(shared, row)
    body["run"]["digest"] = row["digest"]
    return body


def _failed(job: Mapping[str, Any]) -> bool:
    return RunState(job["state"]).is_failure


async def flow_at(shared: Shared, digest: str) -> Flow | None:
    """The flow as it was when the run was made; None when that definition is no longer kept."""
    async with shared.database.connection() as conn:
        body = await store.definition(conn, digest)
    return None if body is None else Flow.from_json(body)


def _source(shared: Shared, job: str) -> str:
    scheduled = shared.flow_of(job)
    return scheduled.flow.job(job).source if scheduled else ""


def why_it_ran(shared: Shared, row: Mapping[str, Any]) -> str:
    """One sentence: what started this run."""
    due = row["due"]
    at = f"{due:%Y-%m-%d %H:%M} UTC" if isinstance(due, datetime) else ""
    match row["trigger"]:
        case "manual":
            return f"Started by hand by {row['by']}."
        case "catch-up":
            return f"Made up for the run of {at}, which nobody was there to start."
        case "release":
            return f"The run of {at} was released when what it waited for had succeeded."
        case _:
            scheduled = shared.flows.get(str(row["flow"]))
            words = schedules.describe(scheduled.schedule) if scheduled and scheduled.schedule else "its schedule"
            return f"Its schedule ({words}) made it due at {at}."


async def difference(shared: Shared, row: Mapping[str, Any], job: str, other: str | None) -> Json:
    """The job in this run against `other` run, or against its last good run before. NotFoundError: no such attempt."""
    async with shared.database.connection() as conn:
        this = await history.attempt_of(conn, str(row["id"]), job)
        if this is None:
            raise NotFoundError(f"job '{job[:60]}' has not begun in this run")
        if other is not None:
            good = await history.attempt_of(conn, other, job)
            if good is None:
                raise NotFoundError(f"job '{job[:60]}' is not in run '{other[:60]}'")
        else:
            good = await history.good_before(conn, job, str(row["id"]), this["recorded"])
    if good is None:
        return {"job": job, "run": row["id"], "to": None, "differences": []}
    old, new = await flow_at(shared, good["digest"]), await flow_at(shared, this["digest"])
    circumstances = (seen(good["setting"], good["facts"]), seen(this["setting"], this["facts"]))
    rows = compare(good, this, old=_job(old, job), new=_job(new, job), seen=circumstances)
    return {
        "job": job,
        "run": row["id"],
        "to": {"id": good["run"], "state": good["state"], "ended": questions.time_text(good["ended"])},
        "differences": [asdict(d) for d in rows],
    }


def _job(flow: Flow | None, name: str) -> Any:
    return next((job for job in flow.jobs if job.name == name), None) if flow else None
