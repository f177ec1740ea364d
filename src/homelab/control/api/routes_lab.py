"""The lab as a whole: plan and apply, problems, notifications, the audit, health, metrics."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from homelab.control.api import metrics as exposition
from homelab.control.api import shapes, shapes_around, shapes_lab
from homelab.control.api.answers import HttpError, answer, moment, number, read_json, text_field, texts
from homelab.control.api.auth import bearer
from homelab.control.api.routes_jobs import wrapped
from homelab.control.api.routing import Asked, Route, whole

MAX_LAB_BYTES = 8 * 1024 * 1024


async def lab(asked: Asked) -> Response:
    return answer(await asked.site.control.lab())


def _lab_files(body: Mapping[str, Any]) -> tuple[Mapping[str, str], str, str]:
    files, main = texts(body, "files"), text_field(body, "main", limit=4096)
    if main not in files:
        raise HttpError(400, "input", "'main' must be one of 'files'")
    for path, text in files.items():
        if "\0" in path or "\0" in text:
            raise HttpError(400, "input", f"{path!a} holds a NUL byte", "A lab file is UTF-8 text.")
    folder: object = body.get("folder") or ""
    if not isinstance(folder, str) or "\0" in folder or len(folder) > 4096:
        raise HttpError(400, "input", "'folder' must be the folder of the lab file")
    return files, main, folder


async def plan(asked: Asked) -> Response:
    files, main, folder = _lab_files(await read_json(asked.request, MAX_LAB_BYTES))
    return answer(await asked.site.control.plan(files, main, folder))


async def apply(asked: Asked) -> Response:
    body = await read_json(asked.request, MAX_LAB_BYTES)
    files, main, folder = _lab_files(body)
    if "since" not in body:
        return answer(await asked.site.control.apply(files, main, folder, by=asked.by))
    since, deadline = moment(body, "since"), moment(body, "deadline")
    return answer(await asked.site.control.apply(files, main, folder, by=asked.by, since=since, deadline=deadline))


async def lab_versions(asked: Asked) -> Response:
    return answer({"versions": await asked.site.control.looking.versions()})


async def undo_plan(asked: Asked) -> Response:
    return answer(await asked.site.control.undo_plan())


async def undo(asked: Asked) -> Response:
    version: object = (await read_json(asked.request)).get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise HttpError(400, "input", "'version' must be the number of the version that was looked at")
    return answer(await asked.site.control.undo_apply(version, by=asked.by))


async def problems(asked: Asked) -> Response:
    return answer(wrapped("problems", await asked.site.control.problems()))


async def notifications(asked: Asked) -> Response:
    limit = number(asked.request, "limit", default=100, most=1000)
    return answer(wrapped("notifications", await asked.site.control.notifications(limit=limit)))


async def test_notification(asked: Asked) -> Response:
    await read_json(asked.request)
    return answer(wrapped("notifications", await asked.site.control.test_notification(by=asked.by)), 202)


async def digest(asked: Asked) -> Response:
    return answer({"digest": await asked.site.control.digest.look(datetime.now(UTC))})


async def send_digest(asked: Asked) -> Response:
    await read_json(asked.request)
    return answer({"digest": await asked.site.control.digest.send(datetime.now(UTC))}, 202)


async def audit(asked: Asked) -> Response:
    return answer(
        {"audit": await asked.site.access.audit(limit=number(asked.request, "limit", default=100, most=1000))}
    )


async def healthz(_: Asked) -> Response:
    return answer({"status": "ok"})


async def readyz(asked: Asked) -> Response:
    """Ready when the database answers. Says no more than that: it is open to everyone. Who shows a token is told
    whether it is one of this lab: another lab may listen where this one should."""
    token = bearer(asked.request.headers)
    try:
        if token is None:
            await asked.site.access.ping()
        elif len(token) > 200 or await asked.site.access.by_token(token) is None:
            return answer({"status": "not yours"}, 401)
    except Exception:  # any failure of the database means the same here
        return answer({"status": "not ready", "database": "unreachable"}, 503)
    return answer({"status": "ready"})


async def metrics(asked: Asked) -> Response:
    fleet = asked.site.control.fleet
    told = exposition.Fleet(
        nodes=await fleet.nodes(),
        waiting=await fleet.queue(),
        given_up=await fleet.given_up(),
        now=datetime.now(UTC),
    )
    sample = await exposition.read(asked.site.access.pool, told)
    return Response(exposition.text(sample), media_type="text/plain; version=0.0.4; charset=utf-8")


ROUTES = (
    Route(
        method="GET",
        path="/healthz",
        scope="open",
        handler=healthz,
        summary="The process answers.",
        gives=shapes_lab.Status,
    ),
    Route(
        method="GET",
        path="/readyz",
        scope="open",
        handler=readyz,
        summary="It can do its work; 503 when not.",
        gives=shapes_lab.Status,
    ),
    Route(
        method="GET",
        path="/api/v1/lab",
        scope="read",
        handler=lab,
        summary="The lab, its nodes, what is wrong.",
        gives=shapes_lab.Lab,
    ),
    Route(
        method="GET", path="/metrics", scope="read", handler=metrics, summary="Prometheus text.", media=("text/plain",)
    ),
    Route(
        method="POST",
        path="/api/v1/plan",
        scope="operate",
        handler=plan,
        summary="What applying these lab files would change.",
        takes=shapes_lab.LabFiles,
        gives=shapes_lab.Plan,
        audited=False,
    ),
    Route(
        method="POST",
        path="/api/v1/apply",
        scope="admin",
        handler=apply,
        summary="Change the lab to what these lab files say.",
        takes=shapes_lab.Apply,
        gives=shapes_lab.Plan,
        refuses=(409,),
    ),
    Route(
        method="GET",
        path="/api/v1/lab/versions",
        scope="admin",
        handler=lab_versions,
        summary="The lab files that were applied, newest first.",
        gives=shapes_lab.Versions,
    ),
    Route(
        method="GET",
        path="/api/v1/lab/undo",
        scope="admin",
        handler=undo_plan,
        summary="What taking the last apply back would change.",
        gives=shapes_lab.UndoPlan,
        refuses=(404,),
    ),
    Route(
        method="POST",
        path="/api/v1/lab/undo",
        scope="admin",
        handler=undo,
        summary="Take the last apply back: apply what was applied before it.",
        takes=shapes_lab.Undo,
        gives=shapes_lab.Plan,
        refuses=(404, 409),
    ),
    Route(
        method="GET",
        path="/api/v1/problems",
        scope="read",
        handler=problems,
        summary="What is wrong now.",
        gives=shapes_lab.Problems,
    ),
    Route(
        method="GET",
        path="/api/v1/notifications",
        scope="read",
        handler=notifications,
        summary="What was told to whom, newest first.",
        parameters={"limit": whole("at most so many (100)")},
        gives=shapes_lab.Notifications,
    ),
    Route(
        method="POST",
        path="/api/v1/notifications/test",
        scope="operate",
        handler=test_notification,
        summary="Send a test notification to every target.",
        takes=shapes.Empty,
        gives=shapes_lab.Test,
        status=202,
    ),
    Route(
        method="GET",
        path="/api/v1/digest",
        scope="read",
        handler=digest,
        summary="How the lab did since the last digest, in words and figures; when the next is told, to whom.",
        gives=shapes_around.OneDigest,
    ),
    Route(
        method="POST",
        path="/api/v1/digest",
        scope="operate",
        handler=send_digest,
        summary="Queue the digest for every target now.",
        takes=shapes.Empty,
        gives=shapes_around.QueuedDigest,
        status=202,
    ),
    Route(
        method="GET",
        path="/api/v1/audit",
        scope="admin",
        handler=audit,
        summary="Who changed what, newest first.",
        parameters={"limit": whole("at most so many (100)")},
        gives=shapes_lab.Audit,
    ),
)
