"""The fleet: nodes, what waits, what was held where; draining, undraining and removing a node; where something would
go."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from starlette.responses import Response

from homelab.control.api import shapes, shapes_fleet
from homelab.control.api.answers import HttpError, answer, flag, number, read_json, text_field, texts
from homelab.control.api.routing import Asked, Route, one_of, whole

LONGEST_S = 60 * 86_400
PLACES = ("auto", "spread", "pack")


async def nodes(asked: Asked) -> Response:
    return answer({"nodes": await asked.site.control.fleet.nodes()})


async def node(asked: Asked) -> Response:
    return answer({"node": await asked.site.control.fleet.node(asked.path("name"))})


async def queue(asked: Asked) -> Response:
    return answer({"queue": await asked.site.control.fleet.queue()})


async def leases(asked: Asked) -> Response:
    since_s = number(asked.request, "since", default=6 * 3600, most=LONGEST_S)
    return answer({"leases": await asked.site.control.fleet.leases(timedelta(seconds=since_s))})


async def preview(asked: Asked) -> Response:
    action = asked.request.query_params.get("action", "")
    return answer(await asked.site.control.fleet.preview(asked.path("name"), action))


async def drain(asked: Asked) -> Response:
    await read_json(asked.request)
    return answer({"node": await asked.site.control.fleet.drain(asked.path("name"), asked.by)})


async def undrain(asked: Asked) -> Response:
    await read_json(asked.request)
    return answer({"node": await asked.site.control.fleet.undrain(asked.path("name"), asked.by)})


async def remove(asked: Asked) -> Response:
    force = flag(await read_json(asked.request), "force")
    return answer(await removed(asked, asked.path("name"), force=force))


async def removed(asked: Asked, name: str, *, force: bool) -> dict[str, Any]:
    """Remove a node: nothing that comes from it counts any more."""
    gone = await asked.site.control.fleet.remove(name, force=force, by=asked.by)
    asked.site.access.forget()
    return gone


async def place(asked: Asked) -> Response:
    body = await read_json(asked.request)
    how = text_field(body, "place", default="", limit=10)
    if how not in ("", *PLACES):
        raise HttpError(400, "input", "'place' is auto, spread or pack")
    return answer(
        await asked.site.control.fleet.place(
            text_field(body, "job", default="", limit=200),
            _table(body, "requires"),
            texts(body, "labels"),
            how or None,
        )
    )


def _table(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value: object = body.get(name) or {}
    if not isinstance(value, dict):
        raise HttpError(400, "input", f"'{name}' must be an object")
    return cast("dict[str, Any]", value)


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/nodes",
        scope="read",
        handler=nodes,
        summary="The machines of the lab: state, capacity, and who holds it.",
        gives=shapes_fleet.FleetNodes,
    ),
    Route(
        method="GET",
        path="/api/v1/nodes/{name}",
        scope="read",
        handler=node,
        summary="One machine in full.",
        gives=shapes_fleet.OneNode,
    ),
    Route(
        method="GET",
        path="/api/v1/nodes/{name}/preview",
        scope="read",
        handler=preview,
        summary="What an act would do, and what takes it back.",
        parameters={"action": one_of("which act", ("drain", "undrain", "wake", "remove"), is_required=True)},
        gives=shapes.Preview,
    ),
    Route(
        method="POST",
        path="/api/v1/nodes/{name}/drain",
        scope="operate",
        handler=drain,
        summary="Start nothing new on a machine; what is on it may finish.",
        takes=shapes.Empty,
        gives=shapes_fleet.OneNode,
    ),
    Route(
        method="POST",
        path="/api/v1/nodes/{name}/undrain",
        scope="operate",
        handler=undrain,
        summary="Let a machine take work again.",
        takes=shapes.Empty,
        gives=shapes_fleet.OneNode,
    ),
    Route(
        method="POST",
        path="/api/v1/nodes/{name}/remove",
        scope="admin",
        handler=remove,
        summary="Forget a machine; refused while it holds work, unless forced.",
        takes=shapes_fleet.Removal,
        gives=shapes_fleet.Removed,
        refuses=(409,),
    ),
    Route(
        method="GET",
        path="/api/v1/queue",
        scope="read",
        handler=queue,
        summary="What waits for room, since when, and why on each machine.",
        gives=shapes_fleet.Queue,
    ),
    Route(
        method="GET",
        path="/api/v1/leases",
        scope="read",
        handler=leases,
        summary="What was held where, from when until when, the newest first.",
        parameters={"since": whole("of the last so many seconds (21600)")},
        gives=shapes_fleet.LeaseHistory,
    ),
    Route(
        method="POST",
        path="/api/v1/place",
        scope="read",
        handler=place,
        summary="Where work would go now and why, or why nowhere; nothing is done.",
        takes=shapes_fleet.Ask,
        gives=shapes_fleet.Decision,
        refuses=(404,),
        audited=False,
    ),
)
