"""Server-sent events: the lab as it is, then what happens in it; a reader that comes back gets what it missed.

The first event is a `snapshot` ({now, jobs}, as the routes of these names give them), with the id of the newest event
that is in it. A reader that resumes gets the events after its `Last-Event-ID` and no snapshot, unless those are no
longer kept or too many: then it is told afresh. One bounded queue a reader: when it is full the source waits, and a
reader that does not read is closed (`live`).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import structlog
from starlette.responses import Response

from homelab.control.api import live
from homelab.control.api.answers import HttpError, dump
from homelab.control.api.ports import Control
from homelab.control.api.routes_jobs import wrapped
from homelab.control.api.routing import Asked, Route, whole

log = structlog.get_logger()

KEEP_ALIVE_S = 15.0
"""Below the idle limits of proxies and of browsers' own patience."""
_QUEUE = 256
MOST_BEHIND = 5000
"""Events that a reader may have missed and still get one by one; beyond that a snapshot is less to read."""


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
        except Exception as error:  # the reader comes back and resumes; the log says why it had to
            log.warning("events.ended", error=str(error).strip()[:200])
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
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def told(control: Control, after: int | None) -> AsyncIterator[dict[str, Any]]:
    """See the module. Closing it closes what it reads from."""
    oldest, newest = await control.looking.events_kept()
    if after is None or not oldest - 1 <= after <= newest or newest - after > MOST_BEHIND:
        now, jobs = await control.looking.now(), await control.jobs()
        after = newest  # what happens meanwhile is in the snapshot and comes once more
        yield {"id": after, "kind": "snapshot", "body": {"now": now, **wrapped("jobs", jobs)}}
    async with contextlib.aclosing(control.events(after)) as source:
        async for event in source:
            yield event


async def events(asked: Asked) -> Response:
    return live.stream(asked, "text/event-stream", frames(told(asked.site.control, last_id(asked))))


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/events",
        scope="read",
        handler=events,
        summary="Server-sent events of the lab: a snapshot, then what happens; resumes after Last-Event-ID.",
        parameters={"after": whole("resume after this id (as the header Last-Event-ID does)")},
        media=("text/event-stream",),
    ),
)
