"""Waking a machine that sleeps."""

from starlette.responses import Response

from homelab.control.api import shapes
from homelab.control.api.answers import answer, read_json
from homelab.control.api.routing import Asked, Route


async def wake(asked: Asked) -> Response:
    await read_json(asked.request)
    return answer(await asked.site.control.waking.wake(asked.path("name"), by=asked.by))


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/nodes/{name}/wake",
        scope="operate",
        handler=wake,
        summary="Send the message that wakes a machine which sleeps.",
        takes=shapes.Empty,
        gives=shapes.Woken,
        refuses=(409,),
    ),
)
