"""Jobs: list, show, explain, run, pause, resume; the graph of all jobs."""

from typing import Any, cast

from starlette.responses import Response

from homelab.control.api import shapes
from homelab.control.api.answers import answer, flag, read_json, texts
from homelab.control.api.routing import Asked, Route, one_of


async def jobs(asked: Asked) -> Response:
    return answer(wrapped("jobs", await asked.site.control.jobs()))


async def job(asked: Asked) -> Response:
    return answer(await asked.site.control.job(asked.path("name")))


async def why(asked: Asked) -> Response:
    return answer(await asked.site.control.why(asked.path("name")))


async def graph(asked: Asked) -> Response:
    return answer(await asked.site.control.graph())


async def run(asked: Asked) -> Response:
    body = await read_json(asked.request)
    params = texts(body, "params")
    made = await asked.site.control.run_job(asked.path("name"), params=params, only=flag(body, "only"), by=asked.by)
    return answer(wrapped("run", made), 201)


async def preview(asked: Asked) -> Response:
    action = asked.request.query_params.get("action", "")
    return answer(await asked.site.control.looking.preview_job(asked.path("name"), action))


async def pause(asked: Asked) -> Response:
    await read_json(asked.request)
    await asked.site.control.pause(asked.path("name"), asked.by)
    return answer({"job": asked.path("name"), "paused": True})


async def resume(asked: Asked) -> Response:
    await read_json(asked.request)
    await asked.site.control.resume(asked.path("name"), asked.by)
    return answer({"job": asked.path("name"), "paused": False})


def wrapped(name: str, value: Any) -> Any:
    """`{name: value}`, unless control gave it so already."""
    return value if name in fields_of(value) else {name: value}


def fields_of(value: object) -> dict[str, Any]:
    """The fields of an object; none of anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/jobs",
        scope="read",
        handler=jobs,
        summary="All jobs, with their last run.",
        gives=shapes.Jobs,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{name}",
        scope="read",
        handler=job,
        summary="One job in full.",
        gives=shapes.OneJob,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{name}/why",
        scope="read",
        handler=why,
        summary="Why it did or did not run.",
        gives=shapes.Why,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{name}/preview",
        scope="read",
        handler=preview,
        summary="What an act would do, and what takes it back.",
        parameters={"action": one_of("which act", ("run", "pause", "resume"), is_required=True)},
        gives=shapes.Preview,
    ),
    Route(
        method="GET",
        path="/api/v1/graph",
        scope="read",
        handler=graph,
        summary="Nodes and edges of all jobs.",
        gives=shapes.Graph,
    ),
    Route(
        method="POST",
        path="/api/v1/jobs/{name}/run",
        scope="operate",
        handler=run,
        summary="Run a job now, with what it needs and what needs it.",
        takes=shapes.RunJob,
        gives=shapes.StartedRun,
        status=201,
        refuses=(409,),
    ),
    Route(
        method="POST",
        path="/api/v1/jobs/{name}/pause",
        scope="operate",
        handler=pause,
        summary="Pause a job.",
        takes=shapes.Empty,
        gives=shapes.Switched,
    ),
    Route(
        method="POST",
        path="/api/v1/jobs/{name}/resume",
        scope="operate",
        handler=resume,
        summary="Resume a job.",
        takes=shapes.Empty,
        gives=shapes.Switched,
    ),
)
