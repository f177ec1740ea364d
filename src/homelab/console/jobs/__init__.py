"""*Jobs*: all of them as a list and as one graph; one job with its past, its definition and why it did not run."""

from datetime import UTC, datetime
from typing import Any

from starlette.responses import RedirectResponse, Response

from homelab.console import forms, words
from homelab.console.charts import calendar, durations
from homelab.console.forms import Question
from homelab.console.live import version
from homelab.console.picture import Edge, Node, folded, states, svg
from homelab.console.rendering import fragment, respond, url_part
from homelab.console.screen import Parts, Screen, change, look
from homelab.control.api.answers import HttpError
from homelab.control.api.routing import Asked, Site
from homelab.core.errors import HomelabError, RefusedError
from homelab.core.times import iso

HERE = "Jobs"
SHOWN = 30
NEWEST_FILES = 10
TOLD = ("run", "flow", "schedule", "timezone", "needs", "description", "paused")
"""Settings that a job's page has a place of its own for."""


def matching(jobs: list[dict[str, Any]], query: str) -> list[dict[str, Any]]:
    """The jobs whose name, description, flow, state or source has all the words of the query."""
    wanted = query.casefold().split()
    if not wanted:
        return jobs

    def text(job: dict[str, Any]) -> str:
        said = " ".join(str(job.get(k) or "") for k in ("name", "description", "flow", "source"))
        state = shown_state(job)
        return f"{said} {state} {words.mark(state).word}".casefold()

    return [job for job in jobs if all(word in text(job) for word in wanted)]


def shown_state(job: dict[str, Any]) -> str:
    """The state of a job for its mark: paused, in shadow, else that of its last run; "" when it has none."""
    last: dict[str, Any] = job["last_run"] or {}
    held = "paused" if job["paused"] else "shadow" if job.get("shadow") else ""
    return held or str(last.get("state") or "")


async def listed(site: Site, query: str) -> dict[str, Any]:
    answer: Any = await site.control.jobs()
    jobs: list[dict[str, Any]] = list(answer)
    return {
        "jobs": matching(jobs, query),
        "all": len(jobs),
        "states": [shown_state(job) for job in jobs],
        "query": query,
        "now": datetime.now(UTC),
    }


async def list_parts(site: Site, query: str) -> Parts:
    found = await listed(site, query)
    return {
        "job-states": str(fragment("jobs/states.html", **found)),
        "job-rows": str(fragment("jobs/rows.html", shown_state=shown_state, **found)),
    }


async def show_list(asked: Asked) -> Response:
    at, query = version(), asked.request.query_params.get("q", "")[:200]
    found = await listed(asked.site, query)
    if query and len(found["jobs"]) == 1 and found["jobs"][0]["name"] == query:
        return RedirectResponse(f"/jobs/{url_part(query)}", status_code=303)
    return respond(
        asked, "jobs/list.html", title="Jobs", here=HERE, live=f"jobs:{query}", version=at,
        shown_state=shown_state, **found,
    )  # fmt: skip


async def graph_of(
    site: Site, *, opened: list[str], only: set[str] | None = None, selected: str = "", drawn: bool = True
) -> dict[str, Any]:
    """The picture (if `drawn`), what keeps an open one true, and the same as a list: (job, state, needs)."""
    answer = await site.control.graph()
    found = await site.control.looking.states(only)
    nodes = [
        Node(name=n["name"], state=found.get(n["name"], ""), link=f"/jobs/{url_part(n['name'])}")
        for n in answer["nodes"]
        if only is None or n["name"] in only
    ]
    edges = [
        Edge(source=e["from"], target=e["to"], dashed=e["kind"] == "freshness")
        for e in answer["edges"]
        if only is None or (e["from"] in only and e["to"] in only)
    ]
    shown, lines = folded(nodes, edges, opened=opened)
    return {
        "picture": svg(shown, lines, selected=selected, title="Jobs and what needs what") if drawn else "",
        "now_states": states(shown, lines),
        "nodes": len(nodes),
        "opened": opened,
        "folded": sum(1 for node in shown if node.folded),
        "listing": [(n.name, n.state, [e.source for e in edges if e.target == n.name]) for n in nodes],
    }


async def graph_parts(site: Site, opened: str) -> Parts:
    found = await graph_of(site, opened=[name for name in opened.split("\n") if name], drawn=False)
    return {"graph-states": str(fragment("jobs/graph_states.html", **found))}


async def show_graph(asked: Asked) -> Response:
    at, opened = version(), asked.request.query_params.getlist("open")[:50]
    found = await graph_of(asked.site, opened=opened)
    topic = "graph:" + "\n".join(opened)
    return respond(asked, "jobs/graph.html", title="Graph of jobs", here=HERE, live=topic, version=at, **found)


def usual_s(job: dict[str, Any]) -> float | None:
    """Seconds that a job usually takes; None when too little is known."""
    spread = job["statistics"]["duration_s"]
    return spread["middle"] if spread else None


async def job_parts(site: Site, name: str) -> Parts:
    job = (await site.control.job(name))["job"]
    now = datetime.now(UTC)
    runs: Any = await site.control.runs(job=name, limit=SHOWN)
    rows = fragment("runs/rows.html", runs=runs, pick=False, filtered=False, now=now)
    took = fragment("jobs/took.html", took=durations(runs, usual_s(job)))
    head = fragment("jobs/job_state.html", job=job, state_now=shown_state(job), now=now)
    return {"job-state": str(head), "took": str(took), "run-rows": str(rows)}


async def show_job(asked: Asked) -> Response:
    at, name = version(), asked.path("name")
    control, looking = asked.site.control, asked.site.control.looking
    job = (await control.job(name))["job"]
    why = await control.why(name)
    runs: Any = await control.runs(job=name, limit=SHOWN)
    now = datetime.now(UTC)
    graph = await control.graph()
    near = {end for e in graph["edges"] if name in (e["from"], e["to"]) for end in (e["from"], e["to"])} - {name}
    values: dict[str, Any] = {
        "job": job,
        "state_now": shown_state(job),
        "reasons": why["reasons"],
        "runs": runs,
        "pick": False,
        "filtered": False,
        "took": durations(runs, usual_s(job)),
        "files": await control.artefacts.of_job(name, limit=NEWEST_FILES),
        "calendar": calendar(await looking.days(name), today=now.date(), link=f"/runs?job={url_part(name)}&day="),
        "needed_by": [e["to"] for e in graph["edges"] if e["from"] == name],
        "settings": [pair for pair in job["settings"].items() if pair[0] not in TOLD and pair[1]],
        "around": await graph_of(asked.site, opened=["all"], only={name, *near}, selected=name) if near else None,
        "now": now,
    }
    return respond(asked, "jobs/job.html", title=name, here=HERE, live=f"job:{name}", version=at, **values)


# -- actions ----------------------------------------------------------------------------------------------------------


async def _job(asked: Asked) -> dict[str, Any]:
    return (await asked.site.control.job(asked.path("name")))["job"]


async def _will(asked: Asked, action: str) -> list[str]:
    return (await asked.site.control.looking.preview_job(asked.path("name"), action))["will"]


async def run_question(asked: Asked, problem: str = "", typed: dict[str, str] | None = None) -> Response:
    job = await _job(asked)
    graph = await asked.site.control.graph()
    together = [n["name"] for n in graph["nodes"] if n["flow"] == job["flow"]]
    question = Question(
        title=f"Run {words.short(job['name'])} now?",
        will=await _will(asked, "run"),
        button="Run now",
        back=f"/jobs/{url_part(job['name'])}",
        fields="jobs/run_fields.html",
        values={
            "params": {**job["definition"].get("params", {}), **(typed or {})},
            "alone": len(together) > 1,
            "made": iso(datetime.now(UTC)),
        },
    )
    return forms.ask(asked, question, here=HERE, problem=problem, status=400 if problem else 200)


async def _refuse_stale(asked: Asked, name: str, made: str) -> None:
    """A page that was open while somebody started the job, perhaps in another tab, asks again first."""
    at = words.moment(made)
    rows: Any = await asked.site.control.runs(job=name, limit=10)
    for row in rows:
        begun = words.moment(row["at"])
        if row["trigger"] == "manual" and at and begun and begun > at:
            raise RefusedError(f"“{words.short(name)}” was started by hand since this page was made. Once more?")


async def run_now(asked: Asked) -> Response:
    fields = await forms.read(asked)
    name = asked.path("name")
    pairs = zip(fields.get("param_name", []), fields.get("param_value", []), strict=False)
    params = {key.strip(): value.replace("\r\n", "\n") for key, value in pairs if key.strip()}

    async def action() -> str:
        await _refuse_stale(asked, name, fields.get("made", [""])[0])
        made = await asked.site.control.run_job(name, params=params, only=bool(fields.get("only")), by=asked.by)
        return f"/runs/{url_part(made['run']['id'])}?job={url_part(name)}&did=started"

    try:
        return await forms.carry_out(asked, fields, action, subject=name, body={"params": sorted(params)})
    except HttpError as error:
        return await run_question(asked, problem=error.message, typed=params)
    except HomelabError as error:
        return await run_question(asked, problem=str(error), typed=params)


async def pause_question(asked: Asked) -> Response:
    return await _switch_question(asked, "pause")


async def resume_question(asked: Asked) -> Response:
    return await _switch_question(asked, "resume")


async def _switch_question(asked: Asked, action: str) -> Response:
    name = (await _job(asked))["name"]
    verb = action.capitalize()
    question = Question(
        title=f"{verb} {words.short(name)}?", will=await _will(asked, action), button=verb,
        back=f"/jobs/{url_part(name)}",
    )  # fmt: skip
    return forms.ask(asked, question, here=HERE)


async def pause(asked: Asked) -> Response:
    return await _switch(asked, paused=True)


async def resume(asked: Asked) -> Response:
    return await _switch(asked, paused=False)


async def _switch(asked: Asked, *, paused: bool) -> Response:
    fields = await forms.read(asked)
    name = asked.path("name")

    async def action() -> str:
        await (asked.site.control.pause if paused else asked.site.control.resume)(name, asked.by)
        return f"/jobs/{url_part(name)}?did={'paused' if paused else 'resumed'}"

    return await forms.carry_out(asked, fields, action, subject=name)


SCREEN = Screen(
    name=HERE,
    path="/jobs",
    icon="jobs",
    routes=(
        look("/jobs", show_list, "All jobs."),
        look("/graph", show_graph, "All jobs and what needs what."),
        look("/jobs/{name}", show_job, "One job."),
        look("/jobs/{name}/run", run_question, "What running it now would do.", "operate"),
        change("/jobs/{name}/run", run_now, "Run it now."),
        look("/jobs/{name}/pause", pause_question, "What pausing would do.", "operate"),
        change("/jobs/{name}/pause", pause, "Pause it."),
        look("/jobs/{name}/resume", resume_question, "What resuming would do.", "operate"),
        change("/jobs/{name}/resume", resume, "Resume it."),
    ),
    live={"jobs": list_parts, "job": job_parts, "graph": graph_parts},
)
