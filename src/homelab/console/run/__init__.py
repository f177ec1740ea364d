"""*Run*: its jobs as graph and timeline, the log and the differences of the one that is selected; retry and cancel.

The selection is in the address (`?job=`), so that it works without scripts and can be sent to somebody.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from homelab.console import forms, words
from homelab.console.forms import Question
from homelab.console.live import version
from homelab.console.picture import Edge, Node, svg
from homelab.console.rendering import fragment, respond, url_part
from homelab.console.screen import Parts, Screen, change, look
from homelab.control.api import logs, logwindow
from homelab.control.api.routes_look import shown_line
from homelab.control.api.routing import Asked, Site
from homelab.core.errors import HomelabError, NotFoundError
from homelab.core.jobs import RunState

HERE = "Runs"
FAILED_LINES = 20
SHOWN_LINES = 300
NO_LOG: dict[str, Any] = {"attempt": 0, "attempts": [], "start": 0, "end": 0, "size": 0, "lines": []}
"""Of a job that has not begun: the page waits for its first line."""


def timeline(run: dict[str, Any], now: datetime) -> tuple[float, dict[str, tuple[float, float]]]:
    """(seconds from the first start to the last end, (start, end) of each job in them); jobs that did not begin are
    left out."""
    begins = {j["job"]: begun for j in run["jobs"] if (begun := words.moment(j["started"]))}
    if not begins:
        return 0.0, {}
    ends = {j["job"]: words.moment(j["ended"]) or now for j in run["jobs"] if j["job"] in begins}
    first = min(begins.values())
    bars = {n: ((begins[n] - first).total_seconds(), (ends[n] - first).total_seconds()) for n in begins}
    return max(end for _, end in bars.values()), bars


def job_link(run: dict[str, Any], job: str) -> str:
    return f"/runs/{url_part(run['id'])}?job={url_part(job)}"


def picture_of(run: dict[str, Any], chosen: str) -> Any:
    jobs: list[dict[str, Any]] = run["jobs"]
    names = {job["job"] for job in jobs}
    nodes = [Node(name=j["job"], state=j["state"], link=job_link(run, j["job"])) for j in jobs]
    edges = [Edge(source=need, target=j["job"]) for j in jobs for need in j["needs"] if need in names]
    return svg(nodes, edges, selected=chosen, title="Jobs of this run")


def told(run: dict[str, Any], files: Sequence[dict[str, Any]], wanted: str | None, now: datetime) -> dict[str, Any]:
    """All of a run's page but its log."""
    chosen = words.asked_about(run["jobs"], wanted)
    whole_s, bars = timeline(run, now)
    usual = {job["job"]: job["usual_s"] for job in run["jobs"]}
    return {
        "run": run,
        "files": files,
        "chosen": chosen,
        "cause": next((job for job in run["jobs"] if RunState(job["state"]).is_failure and job["attempt"]), None),
        "is_open": not RunState(run["state"]).is_final,
        "whole_s": whole_s,
        "bars": bars,
        "usual": usual,
        "picture": picture_of(run, chosen["job"]) if len(run["jobs"]) > 1 else None,
        "link": job_link,
        "now": now,
    }


PARTS = ("head", "members", "outcome", "waits", "passed", "files")


async def parts(site: Site, topic: str) -> Parts:
    run_id, _, wanted = topic.partition(" ")
    run = (await site.control.looking.run(run_id))["run"]
    found = told(run, await site.control.artefacts.of_run(run["id"]), wanted, datetime.now(UTC))
    made = {name: str(fragment(f"run/{name}.html", **found)) for name in PARTS}
    if found["picture"] is not None:
        made["graph"] = str(fragment("jobs/picture.html", picture=found["picture"]))
    return made


async def run_of(asked: Asked) -> dict[str, Any]:
    """The run of the path."""
    return (await asked.site.control.looking.run(asked.path("id")))["run"]


async def show(asked: Asked) -> Response:
    at, query = version(), asked.request.query_params
    run = await run_of(asked)
    if not run["jobs"]:
        raise NotFoundError("that run has no jobs")
    now = datetime.now(UTC)
    found = told(run, await asked.site.control.artefacts.of_run(run["id"]), query.get("job"), now)
    chosen = found["chosen"]
    attempt = query.get("attempt", "")
    log = await run_in_threadpool(
        read_log,
        asked.site.home.run_folder(run["id"]),
        chosen,
        int(attempt) if attempt.isdecimal() and len(attempt) < 7 else 0,
    )
    difference = None
    if RunState(chosen["state"]).is_final and chosen["attempt"]:
        difference = await asked.site.control.looking.difference(run["id"], chosen["job"])
    if log is None and found["is_open"]:
        log = NO_LOG
    return respond(
        asked,
        "run/run.html",
        title=f"{chosen['job']} {words.mark(chosen['state']).word}",
        here=HERE,
        live=f"run:{run['id']} {chosen['job']}" if found["is_open"] else "",
        version=at,
        log=log,
        pinned=attempt if attempt.isdecimal() else "",
        found=difference,
        before="last good run",
        after="this run",
        **found,
    )


def read_log(folder: Path, job: dict[str, Any], attempt: int) -> dict[str, Any] | None:
    """The end of one attempt's log: twenty lines of what failed, more of anything else; None without one. Blocking."""
    files = logs.files(folder, job["job"])
    numbers = [file.attempt for file in files]
    files = [file for file in files if attempt in (0, file.attempt)]
    if not files:
        return None
    file = max(files, key=lambda f: f.attempt)
    count = FAILED_LINES if RunState(job["state"]).is_failure else SHOWN_LINES
    try:
        window = logwindow.window(file.path, 1 << 62, lines=count, back=True)
    except OSError:
        return None
    return {
        "attempt": file.attempt,
        "attempts": numbers,
        "start": window.start,
        "end": window.end,
        "size": window.size,
        "lines": [shown_line(line) for line in window.lines],
    }


# -- actions ----------------------------------------------------------------------------------------------------------


async def _will(asked: Asked, action: str) -> list[str]:
    return (await asked.site.control.looking.preview_run(asked.path("id"), action))["will"]


async def retry_question(asked: Asked, problem: str = "") -> Response:
    run = await run_of(asked)
    good = [j for j in run["jobs"] if j["state"] == "succeeded"]
    names = [j["job"] for j in run["jobs"]]
    start = next((name for name in names if name == asked.request.query_params.get("from")), "")
    question = Question(
        title=f"Retry this run of {words.short(run['flow'])}?",
        will=await _will(asked, "retry"),
        button="Retry",
        back=f"/runs/{url_part(run['id'])}",
        fields="run/retry_fields.html" if good else "",
        values={"is_split": len(good) < len(names), "start": start, "onward": after(run["jobs"], start)},
    )
    return forms.ask(asked, question, here=HERE, problem=problem, status=409 if problem else 200)


def after(jobs: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """What comes after the job in this run, in the run's order."""
    found = [name]
    for job in jobs:  # in the order of the flow, so one pass reaches all
        if not set(found).isdisjoint(job["needs"]):
            found.append(job["job"])
    return found[1:]


async def retry(asked: Asked) -> Response:
    fields = await forms.read(asked)
    run = await run_of(asked)
    which = fields.get("which", ["failed"])[0]
    start = (fields.get("from") or [""])[0] if which == "from" else ""
    is_whole = not start and (which == "all" or all(j["state"] == "succeeded" for j in run["jobs"]))

    async def action() -> str:
        await asked.site.control.retry(run["id"], failed=not is_whole, by=asked.by, job=start or None)
        return f"/runs/{url_part(run['id'])}?did=retried"

    try:
        return await forms.carry_out(asked, fields, action, subject=run["id"], body={"all": is_whole, "from": start})
    except HomelabError as error:
        return await retry_question(asked, problem=str(error))


async def cancel_question(asked: Asked, problem: str = "") -> Response:
    run = await run_of(asked)
    question = Question(
        title=f"Cancel this run of {words.short(run['flow'])}?",
        will=await _will(asked, "cancel"),
        button="Cancel the run",
        back=f"/runs/{url_part(run['id'])}",
        is_grave=True,
    )
    return forms.ask(asked, question, here=HERE, problem=problem, status=409 if problem else 200)


async def cancel(asked: Asked) -> Response:
    fields = await forms.read(asked)
    run = await run_of(asked)

    async def action() -> str:
        undo = (await asked.site.control.looking.preview_run(run["id"], "cancel"))["undo"]
        await asked.site.control.cancel(run["id"], asked.by)
        return f"/runs/{url_part(run['id'])}?did={'cancelled-ahead' if undo == 'restore' else 'cancelled'}"

    try:
        return await forms.carry_out(asked, fields, action, subject=run["id"])
    except HomelabError as error:
        return await cancel_question(asked, problem=str(error))


async def restore(asked: Asked) -> Response:
    fields = await forms.read(asked)
    run = await run_of(asked)

    async def action() -> str:
        await asked.site.control.restore(run["id"], asked.by)
        return f"/runs/{url_part(run['id'])}?did=restored"

    return await forms.carry_out(asked, fields, action, subject=run["id"])


SCREEN = Screen(
    name="",
    path="/runs",
    routes=(
        look("/runs/{id}", show, "One run."),
        look("/runs/{id}/retry", retry_question, "What a retry would do.", "operate"),
        change("/runs/{id}/retry", retry, "Retry it."),
        look("/runs/{id}/cancel", cancel_question, "What cancelling would do.", "operate"),
        change("/runs/{id}/cancel", cancel, "Cancel it."),
        change("/runs/{id}/restore", restore, "Take cancelling it back, while its instant is to come."),
    ),
    live={"run": parts},
)
