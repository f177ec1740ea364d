"""Server-sent events: what happens in the lab, as it happens; a reader that comes back gets what it missed.

One bounded queue a reader: when it is full the source waits, and a reader that does not read is closed (`live`).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from homelab.control.api import live
from homelab.control.api.answers import HttpError, dump
from homelab.control.api.routing import Asked, Route

KEEP_ALIVE_S = 15.0
"""Below the idle limits of proxies and of browsers' own patience."""
_QUEUE = 256


def frame(event: dict[str, Any]) -> bytes:
    """One event on the wire. JSON escapes line ends, so no field can break out of its line."""
    lines = [f"id: {int(event['id'])}"] if event.get("id") is not None else []
    kind = "".join(c for c in str(event.get("kind", "message")) if c.isalnum() or c in "._-")
    return "\n".join([*lines, f"event: {kind}", "data: "]).encode() + dump(event) + b"\n\n"


def last_id(asked: Asked) -> int | None:
    """Where the reader left off: the header a browser sends by itself, or `after` for other clients."""
    raw = asked.request.headers.get("last-event-id") or asked.request.query_params.get("after") or ""
    if not raw:
        return None
    if not (raw.isascii() and raw.isdecimal() and len(raw) < 19):
        raise HttpError(400, "input", "Last-Event-ID must be a number that this server sent")
    return int(raw)


async def frames(source: AsyncIterator[dict[str, Any]], *, keep_alive_s: float = KEEP_ALIVE_S) -> AsyncIterator[bytes]:
    """The source as frames, with a comment whenever nothing happened for a while."""
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_QUEUE)

    async def fill() -> None:
        try:
            async for event in source:
                await queue.put(event)
        finally:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(None)

    yield b"retry: 2000\n: welcome\n\n"
    filler = asyncio.create_task(fill())
    try:
        while True:
            try:
                async with asyncio.timeout(keep_alive_s):
                    event = await queue.get()
            except TimeoutError:
                if filler.done():
                    return
                yield b": still here\n\n"
                continue
            if event is None:
                return
            yield frame(event)
    finally:
        filler.cancel()
        await asyncio.gather(filler, return_exceptions=True)


async def events(asked: Asked) -> Response:
    source = asked.site.control.events(last_id(asked))
    return live.stream(asked.site.streams, "text/event-stream", frames(source))


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/events",
        scope="read",
        handler=events,
        summary="Server-sent events of the lab; resumes after Last-Event-ID.",
        parameters={"after": "resume after this id (as the header Last-Event-ID does)"},
    ),
)
