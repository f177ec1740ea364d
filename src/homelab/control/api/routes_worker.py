"""What a worker and control say to each other. The shapes are those of ARCHITECTURE, "Between worker and control".

A node's token speaks for that node and for its runs: what names another is refused and noted. The token of control's
own machine, where all secrets of the lab are, speaks for any worker there.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from starlette.responses import Response

from homelab.control.api import shapes
from homelab.control.api.answers import HttpError, answer, read_json, without_nul
from homelab.control.api.ownership import check_names, note, refuse
from homelab.control.api.routing import Asked, Query, Route
from homelab.control.queueing import asks_of
from homelab.core.errors import RefusedError
from homelab.core.work import Work

MAX_REPORTS_BYTES = 16 * 1024 * 1024
MAX_SENT_BYTES = 16 * 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")


async def heartbeat(asked: Asked) -> Response:
    body = await read_json(asked.request)
    await check_names(asked, body.get("worker"), body.get("node"))
    try:
        made = await asked.site.control.workers.heartbeat(without_nul(body), node=asked.identity.node)
    except RefusedError as error:  # another worker has this name: a copy of a node's home, or of its token
        await note(asked, error.message, result="refused")
        raise
    return answer(made)


async def wake(asked: Asked) -> Response:
    worker = asked.request.query_params.get("worker", "")
    if not worker or len(worker) > 200:
        raise HttpError(400, "input", "'worker' must name the worker")
    await check_names(asked, worker)
    return answer({"commands": await asked.site.control.workers.commands(worker)})


async def due(asked: Asked) -> Response:
    body = without_nul(await read_json(asked.request))
    worker, node = _name(body, "worker"), _name(body, "node")
    await check_names(asked, worker, node)
    found = await asked.site.control.dispatch.due(worker, node)
    guests = [] if found["alone"] else await asked.site.control.sending.due(node)
    return answer({**found, "guests": guests})


async def leases(asked: Asked) -> Response:
    body = without_nul(await read_json(asked.request))
    asks, gives = _list(body, "asks"), _list(body, "gives")
    if not all(isinstance(one, dict) for one in asks) or not all(isinstance(one, str) for one in gives):
        raise HttpError(400, "input", "'asks' are objects, 'gives' names of work")
    queue = asked.site.control.waiting
    node = _name(body, "node")
    await check_names(asked, node)
    wanted = asks_of(cast("list[dict[str, Any]]", asks))
    if asked.identity.node is not None:  # a run that went on elsewhere meanwhile: its heartbeat tells the node so
        foreign = set(await asked.site.control.node_runs.foreign({one.run for one in wanted}, node))
        wanted = [one for one in wanted if one.run not in foreign]
    found = await queue.ask(node, wanted, cast("list[str]", gives))
    return answer({"leases": found})


async def sent(asked: Asked) -> Response:
    body = without_nul(await read_json(asked.request, MAX_SENT_BYTES))
    node, asks = _name(body, "node"), _objects(body, "sent")
    await check_names(asked, node)
    if not all(_is_sent(one) for one in asks):
        raise HttpError(400, "input", "each of 'sent' has its 'work', and 'task' and 'stop' where it has them")
    runs = {Work.of(one["work"]).run for one in asks}
    if foreign := await asked.site.control.node_runs.foreign(runs, node):
        raise await refuse(asked, f"run {foreign[0][:36]} is not this node's")
    return answer({"sent": await asked.site.control.sending.ask(asks)})


async def guests(asked: Asked) -> Response:
    body = without_nul(await read_json(asked.request, MAX_REPORTS_BYTES))
    told = _objects(body, "told")
    await check_names(asked, *(one.get("node") for one in told))
    mine = asked.identity.node
    if mine is not None and await asked.site.control.sending.is_of_others(mine, [one["token"] for one in told]):
        raise await refuse(asked, "that was sent to another node")
    for node in {str(one.get("node")) for one in told}:
        await asked.site.control.sending.tell(node, [one for one in told if one.get("node") == node])
    return answer({"taken": len(told)})


def _is_sent(one: Mapping[str, Any]) -> bool:
    is_task = one.get("task") is None or isinstance(one["task"], dict)
    return isinstance(one.get("work"), str) and is_task and isinstance(one.get("stop", ""), str)


def _objects(body: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """Each with the `token` of its lease."""
    found = _list(body, field)
    for one in found:
        token: object = cast("dict[str, object]", one).get("token") if isinstance(one, dict) else None
        if not isinstance(token, int) or isinstance(token, bool) or not 0 < token < 1 << 63:
            raise HttpError(400, "input", f"each of '{field}' is an object with the 'token' of its lease")
    return cast("list[dict[str, Any]]", found)


def _list(body: Mapping[str, Any], field: str) -> list[object]:
    value: object = body.get(field, [])
    if not isinstance(value, list):
        raise HttpError(400, "input", f"'{field}' must be a list")
    return cast("list[object]", value)


def _name(body: Mapping[str, Any], field: str) -> str:
    value: object = body.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise HttpError(400, "input", f"'{field}' must be a name of at most 200 characters")
    return value


async def reports(asked: Asked) -> Response:
    body = await read_json(asked.request, MAX_REPORTS_BYTES)
    sent: object = body.get("reports")
    if not isinstance(sent, list):
        raise HttpError(400, "input", "'reports' must be a list")
    taken = cast("list[object]", sent)
    if not all(isinstance(r, dict) and isinstance(cast("dict[str, Any]", r).get("id"), str) for r in taken):
        raise HttpError(400, "input", "each report is an object with an 'id'")
    told = cast("list[dict[str, Any]]", without_nul(taken))
    await _check_reports(asked, told)
    return answer(await asked.site.control.workers.take_reports(told))


async def _check_reports(asked: Asked, told: list[dict[str, Any]]) -> None:
    """403 when one of them is of another node, or about a run of another: all of them count together."""
    node = asked.identity.node
    if node is None:
        return
    await check_names(asked, *(r["node"] for r in told if "node" in r), *(r["worker"] for r in told if "worker" in r))
    if foreign := await asked.site.control.node_runs.foreign({str(r.get("run")) for r in told}, node):
        raise await refuse(asked, f"run {foreign[0][:36]} is not this node's")


async def progress(asked: Asked) -> Response:
    run, node = asked.path("id"), asked.identity.node
    if node is not None and await asked.site.control.node_runs.foreign([run], node):
        raise await refuse(asked, f"run {run[:36]} is not this node's")
    return answer(await asked.site.control.dispatch.progress(run))


async def definition(asked: Asked) -> Response:
    digest = asked.path("digest")
    if _DIGEST.fullmatch(digest) is None:
        raise HttpError(404, "not_found", "a digest is 64 hexadecimal digits")
    node = asked.identity.node
    if node is not None and not await asked.site.control.node_runs.may_read(digest, node):
        raise await refuse(asked, "no run of this node is of that definition")
    text = await asked.site.control.workers.definition(digest)
    return Response(text, media_type="application/json", headers={"Cache-Control": "max-age=31536000, immutable"})


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/worker/heartbeat",
        scope="node",
        handler=heartbeat,
        summary="A worker is alive; 409 when another of its name is.",
        takes=shapes.Heartbeat,
        gives=shapes.Heard,
        refuses=(409,),
        audited=False,
    ),
    Route(
        method="GET",
        path="/api/v1/worker/wake",
        scope="node",
        handler=wake,
        summary="Commands for a worker; waits up to 25 s for one.",
        parameters={
            "worker": Query(
                text="its name", schema={"type": "string", "minLength": 1, "maxLength": 200}, is_required=True
            )
        },
        gives=shapes.Commands,
    ),
    Route(
        method="POST",
        path="/api/v1/worker/due",
        scope="node",
        handler=due,
        summary="The runs that a node is to claim.",
        takes=shapes.AskForWork,
        gives=shapes.Work,
        audited=False,
    ),
    Route(
        method="POST",
        path="/api/v1/worker/leases",
        scope="node",
        handler=leases,
        summary="Which jobs may start on a node now; what it does not need any more.",
        takes=shapes.AskForLeases,
        gives=shapes.Leases,
        audited=False,
    ),
    Route(
        method="POST",
        path="/api/v1/worker/sent",
        scope="node",
        handler=sent,
        summary="Attempts of this node's runs that others make: hands them over, and says what became of each.",
        takes=shapes.AskForSent,
        gives=shapes.Sent,
        audited=False,
    ),
    Route(
        method="POST",
        path="/api/v1/worker/guests",
        scope="node",
        handler=guests,
        summary="What this node did of the attempts that were sent to it.",
        takes=shapes.ToldOfGuests,
        gives=shapes.Taken,
        audited=False,
    ),
    Route(
        method="POST",
        path="/api/v1/worker/reports",
        scope="node",
        handler=reports,
        summary="What attempts did; each report is taken once.",
        takes=shapes.Reports,
        gives=shapes.Taken,
        audited=False,
    ),
    Route(
        method="GET",
        path="/api/v1/worker/runs/{id}/progress",
        scope="node",
        handler=progress,
        summary="How far a run is, for the node that takes it up.",
        gives=shapes.RunProgress,
    ),
    Route(
        method="GET",
        path="/api/v1/definitions/{digest}",
        scope="node",
        handler=definition,
        summary="A flow as JSON; never changes.",
        gives=dict[str, Any],
    ),
)
