"""Files that jobs saved, for people: those of a run, the newest of a job, one of them as a download."""

from starlette.responses import Response

from homelab.control.api import shapes
from homelab.control.api.answers import HttpError, answer, number
from homelab.control.api.routes_passing import contents, digest_of
from homelab.control.api.routing import Asked, Route, whole


async def _run_id(asked: Asked) -> str:
    """The whole id; 404 for a run that is not there."""
    return str((await asked.site.control.run(asked.path("id")))["run"]["id"])


async def of_run(asked: Asked) -> Response:
    return answer({"artefacts": await asked.site.control.artefacts.of_run(await _run_id(asked))})


async def one(asked: Asked) -> Response:
    """By its contents and, where several files of the run have them, by its path."""
    sha256, path = digest_of(asked), asked.request.query_params.get("path")
    found = [a for a in await asked.site.control.artefacts.of_run(await _run_id(asked)) if a["sha256"] == sha256]
    wanted = next((a for a in found if path in (None, a["path"])), None)
    if wanted is None:
        raise HttpError(404, "not_found", "that run has no such file", "List them with: homelab run artefacts RUN")
    return await contents(asked, sha256, str(wanted["path"]).rpartition("/")[2])


async def of_job(asked: Asked) -> Response:
    name = asked.path("name")
    await asked.site.control.job(name)  # 404 for a job that is not there
    limit = number(asked.request, "limit", default=50, most=1000)
    return answer({"artefacts": await asked.site.control.artefacts.of_job(name, limit=limit)})


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/runs/{id}/artefacts",
        scope="read",
        handler=of_run,
        summary="The files that the jobs of a run saved.",
        gives=shapes.Artefacts,
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{id}/artefacts/{sha256}",
        scope="read",
        handler=one,
        summary="One of them, as a download.",
        parameters={"path": "which, where several have the same contents"},
        media=("application/octet-stream",),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{name}/artefacts",
        scope="read",
        handler=of_job,
        summary="The newest files that a job saved, over its runs.",
        parameters={"limit": whole("at most so many (50; no more than 1000)")},
        gives=shapes.Artefacts,
    ),
)
