"""What nodes send and fetch beside their reports: logs of their runs as they are written, files that jobs saved."""

import re
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response, StreamingResponse

from homelab.control import logcopies
from homelab.control.api import logs, shapes
from homelab.control.api.answers import HttpError, answer, number, read_bytes, read_json
from homelab.control.api.ownership import note, refuse
from homelab.control.api.routing import Asked, Query, Route, switch, whole
from homelab.control.artefacts import NoRoom
from homelab.control.bucket import StoreAway
from homelab.home.objects import is_digest

MAX_PIECE_BYTES = 4 * 1024 * 1024
MAX_OBJECT_BYTES = 1 << 44
_MOST_OBJECTS = 1000
_BYTES = "application/octet-stream"
T = TypeVar("T")
_LOG = re.compile(r"(?P<job>.+)\.(?P<attempt>[1-9][0-9]{0,8})")


async def check_own(asked: Asked, run: str) -> None:
    """404 for a run that is not there, 409 while it is nobody's, 403 when it is another node's and none of its attempts
    was sent to this one."""
    found = (await asked.site.control.run(run))["run"]
    mine = asked.identity.node
    if mine is None or found["node"] == mine or await asked.site.control.node_runs.guests([run], mine):
        return
    if found["node"] is None:
        why = "that run is no node's yet"
        await note(asked, why, result="refused")
        raise HttpError(409, "refused", why)
    raise await refuse(asked, f"run {run} is not this node's")


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
        elif is_digest(digest):
            held = await run_in_threadpool(logcopies.complete, path, offset, digest)
        else:
            held = await run_in_threadpool(logcopies.append, path, offset, piece)
    except OSError as error:
        raise HttpError(507, "full", f"the log cannot be kept here: {error.strerror}") from error
    return answer({"bytes": held.bytes, "is_whole": held.is_whole})


def digest_of(asked: Asked) -> str:
    """The SHA-256 of the path; 404 for what is none."""
    found = asked.path("sha256")
    if not is_digest(found):
        raise HttpError(404, "not_found", "a file is named by the 64 hexadecimal digits of its SHA-256")
    return found


async def missing(asked: Asked) -> Response:
    given: object = (await read_json(asked.request)).get("objects")
    objects = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    sizes = {name: size for name, size in objects.items() if isinstance(size, int) and is_digest(name)}
    if len(sizes) != len(objects) or not 0 < len(sizes) <= _MOST_OBJECTS:
        raise HttpError(400, "input", f"'objects' must have 1 to {_MOST_OBJECTS} sizes by SHA-256")
    return answer({"missing": await kept(asked.site.control.artefacts.missing(sizes))})


async def take(asked: Asked) -> Response:
    sha256, size = digest_of(asked), number(asked.request, "bytes", default=0, most=MAX_OBJECT_BYTES)
    await kept(asked.site.control.artefacts.take(sha256, size, _body(asked)))
    return answer({"sha256": sha256})


async def _body(asked: Asked) -> AsyncIterator[bytes]:
    try:
        async for block in asked.request.stream():
            yield block
    except ClientDisconnect as gone:
        raise HttpError(400, "input", "the request ended before its body") from gone


async def fetch(asked: Asked) -> Response:
    return await contents(asked, digest_of(asked), "artefact")


async def contents(asked: Asked, sha256: str, name: str) -> Response:
    """The file as a download of that name."""
    found = await kept(asked.site.control.artefacts.where(sha256))
    if isinstance(found, Path):
        return FileResponse(found, media_type=_BYTES, filename=name)
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    return StreamingResponse(found, media_type=_BYTES, headers=headers)


async def kept(doing: Awaitable[T]) -> T:
    """What the store answers; 503 while it is away, 507 while there is no room."""
    try:
        return await doing
    except StoreAway as error:
        raise HttpError(503, "unavailable", error.message, error.hint, {"Retry-After": "10"}) from error
    except NoRoom as error:
        raise HttpError(507, "full", error.message, error.hint) from error


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/worker/artefacts",
        scope="node",
        handler=missing,
        summary="Which of these files the store does not have yet.",
        takes=shapes.Objects,
        gives=shapes.Missing,
        audited=False,
    ),
    Route(
        method="PUT",
        path="/api/v1/worker/artefacts/{sha256}",
        scope="node",
        handler=take,
        summary="One file for the store, checked by its name.",
        parameters={"bytes": whole("its size; more is not taken")},
        takes_bytes=True,
        gives=shapes.Stored,
        refuses=(422, 507),
        audited=False,
    ),
    Route(
        method="GET",
        path="/api/v1/worker/artefacts/{sha256}",
        scope="node",
        handler=fetch,
        summary="One file of the store.",
        media=("application/octet-stream",),
    ),
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
