"""Answers that stay open: bounded in number and in time, closed when the reader has gone or does not read.

Called by the log and event routes. A source is an async iterator of chunks; it is closed on every way out.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from homelab.control.access import allows
from homelab.control.api.routing import Asked, Raw

Item = TypeVar("Item")

SEND_TIMEOUT_S = 60.0
"""A reader that takes nothing for a minute is gone or stuck; it can come back and resume."""
MOST_S = 3600.0
"""Then the reader must come back and show its credentials again."""
LOOK_S = 30.0
"""A token or a session that ends elsewhere, or by its time, loses its streams within this; one that is ended here, at
once."""


def stream(asked: Asked, media_type: str, chunks: AsyncIterator[bytes]) -> Response:
    """A response that sends each chunk at once, until the source ends, the reader goes or takes nothing, its token or
    session ends, or an hour has passed."""
    streams = asked.site.streams

    async def run(_: Scope, receive: Receive, send: Send) -> None:
        with streams:
            headers = [(b"content-type", media_type.encode()), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            sender = asyncio.create_task(_send_all(chunks, send))
            leaver = asyncio.create_task(_gone(receive))
            shut_out = asyncio.create_task(_shut_out(asked))
            tasks = (sender, leaver, shut_out)
            try:
                await asyncio.wait(tasks, timeout=MOST_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                finished = sender.done() and not sender.cancelled() and sender.exception() is None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if isinstance(chunks, _Closable):
                    with contextlib.suppress(Exception):
                        await chunks.aclose()
                gone = leaver.done() and not leaver.cancelled()
                if finished or not gone:
                    with contextlib.suppress(OSError, TimeoutError):
                        await send({"type": "http.response.body", "body": b"", "more_body": False})

    if streams.open >= streams.most:
        with streams:  # refuses before anything is sent
            pass
    return Raw(run)


class _Closable(AsyncIterator[bytes]):
    """Anything with `aclose`, that is an async generator."""

    @classmethod
    def __subclasshook__(cls, other: type, /) -> bool:
        return hasattr(other, "aclose")

    async def aclose(self) -> None: ...


async def _send_all(chunks: AsyncIterator[bytes], send: Send) -> None:
    async for chunk in chunks:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _shut_out(asked: Asked) -> None:
    """Returns when whoever asked may not look any more."""
    while True:
        ended = asked.site.access.ended
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await ended.wait()
        with contextlib.suppress(Exception):  # a database that is away for a moment must not end what is open
            identity = await asked.site.gate.identify(asked.request)
            if identity is None or not allows(identity.scope, "read"):
                return


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def in_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """A blocking iterator of small chunks as an async one of larger ones; files are read off the loop."""
    done = object()

    def some() -> tuple[bytes, bool]:
        block = bytearray()
        while len(block) < 65536:
            chunk: Any = next(chunks, done)
            if chunk is done:
                return bytes(block), True
            block += chunk
        return bytes(block), False

    ended = False
    while not ended:
        block, ended = await run_in_threadpool(some)
        if block:
            yield block


async def gathered(items: Iterator[Item]) -> list[Item]:
    """All of a short blocking iterator, read off the loop."""
    return await run_in_threadpool(lambda: list(items))
