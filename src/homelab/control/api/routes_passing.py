"""What nodes send beside their reports: the logs of their runs, copied as they are written."""

import re

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from homelab.control import logcopies
from homelab.control.api import logs, shapes
from homelab.control.api.answers import HttpError, answer, number, read_bytes
from homelab.control.api.routing import Asked, Query, Route, switch, whole

MAX_PIECE_BYTES = 4 * 1024 * 1024
_LOG = re.compile(r"(?P<job>.+)\.(?P<attempt>[1-9][0-9]{0,8})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def check_own(asked: Asked, run: str) -> None:
    """404 for a run that is not there, 409 while it is nobody's, 403 when it is another node's."""
    found = (await asked.site.control.run(run))["run"]
    mine = asked.identity.node
    if mine is None or found["node"] == mine:
        return
    if found["node"] is None:
        raise HttpError(409, "refused", "that run is no node's yet")
    raise HttpError(403, "forbidden", f"run {run} is not one of node {mine}")


async def copy_log(asked: Asked) -> Response:
    run, name = asked.path("run"), _LOG.fullmatch(asked.path("name"))
    if not logs.is_run_id(run) or name is None or not logs.is_job_name(name["job"]):
        raise HttpError(404, "not_found", "that names no log")
    await check_own(asked, run)
    query = asked.request.query_params
    piece = await read_bytes(asked.request, MAX_PIECE_BYTES)
    path = asked.site.home.run_folder(run) / f"{name[0]}.log"
    offset = number(asked.request, "offset", default=0, most=1 << 50)
    digest = query.get("sha256", "")
    try:
        if query.get("tail"):
            held = await run_in_threadpool(logcopies.put_tail, path, piece)
        elif _SHA256.fullmatch(digest):
            held = await run_in_threadpool(logcopies.complete, path, offset, digest)
        else:
            held = await run_in_threadpool(logcopies.append, path, offset, piece)
    except OSError as error:
        raise HttpError(507, "full", f"the log cannot be kept here: {error.strerror}") from error
    return answer({"bytes": held.bytes, "is_whole": held.is_whole})


ROUTES = (
    Route(
        method="PUT",
        path="/api/v1/worker/logs/{run}/{name}",
        scope="node",
        handler=copy_log,
        summary="The next bytes of a log (`JOB.ATTEMPT`) of a run of this node; taken only at the end of what is here.",
        parameters={
            "offset": whole("where these bytes begin, or where the log ends"),
            "tail": switch("1: the newest output of a log that is over its limit, in place of what was sent of it"),
            "sha256": Query(
                text="of the whole log: it is complete", schema={"type": "string", "pattern": "^[0-9a-f]{64}$"}
            ),
        },
        takes_bytes=True,
        gives=shapes.HeldLog,
        refuses=(403, 409, 413, 507),
        audited=False,
    ),
)
