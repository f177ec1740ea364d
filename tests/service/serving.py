"""A real server for the app that a test makes: a loopback port that is free, uvicorn as `homelab control` runs it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import httpx
from starlette.types import ASGIApp

from homelab.control.api.app import server


@contextlib.contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A socket of a free port, and the URL that it will answer: an app is made for its own address."""
    # The protocol is named so that asyncio sends without delay, as it does for sockets that uvicorn opens.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as made:
        made.bind(("127.0.0.1", 0))
        yield made, f"http://127.0.0.1:{made.getsockname()[1]}"


@contextlib.asynccontextmanager
async def served(app: ASGIApp, where: socket.socket, url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The app, served until the block ends; a client of it."""
    serving = server(app, host="127.0.0.1", port=0)
    task = asyncio.create_task(serving.serve(sockets=[where]))
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
        while not serving.started:
            assert not task.done(), task.exception()
            await asyncio.sleep(0.01)
        yield http
    serving.should_exit = True
    await task
