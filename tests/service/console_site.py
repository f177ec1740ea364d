"""A real control with a past, and its pages: a Postgres of its own, the reference lab, weeks of runs, a real server.

Prefect is not there: what only reads never asks it. What acts is tested with a whole lab (`tests/acceptance`).
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from tests import history

from homelab.console.site import Console
from homelab.control import store, versions
from homelab.control.access import Access
from homelab.control.api.app import app, server
from homelab.control.service import Control
from homelab.db.migrate import migrate
from homelab.db.pool import Database
from homelab.flows.api import PrefectApi
from homelab.home.paths import Home


def now() -> datetime:
    return datetime.now(UTC)


BROKEN = ("dump-app", "check-services", "collect-certificates")
RUNNING = ("take-in-uploads",)


@dataclass
class Site:
    """A server that answers. `past`: what was written; `http`: signed in as nobody until `sign_in`."""

    url: str
    home: Home
    control: Control
    access: Access
    past: history.Past
    http: httpx.AsyncClient

    async def sign_in(self, scope: str = "admin") -> dict[str, str]:
        """The cookie of a fresh browser session, as name and value."""
        person = (await self.access.people.owner())["id"] if scope == "admin" else None
        secret = await self.access.create_sign_in(scope, person=person)  # type: ignore[arg-type]
        value = await self.access.sign_in(secret, origin="test")  # past the limit of sign-ins a minute
        assert value is not None
        return {"name": f"homelab_{self.url.rpartition(':')[2]}", "value": value}

    async def page(self, path: str, *, scope: str = "admin") -> httpx.Response:
        """A page as a signed-in browser gets it."""
        cookie = await self.sign_in(scope)
        return await self.http.get(path, headers={"Cookie": f"{cookie['name']}={cookie['value']}"})


async def applied_twice(control: Control) -> None:
    """The lab file as it is was applied after one with a job more."""
    async with control.database.connection() as conn:
        row = await store.applied_lab(conn)
        assert row is not None
        name, text = next(iter(row["files"].items()))
        before = {**row["files"], name: text + "\n[jobs.gone-since]\nrun = 'true'\n"}
        for files, digest in ((before, "before"), (row["files"], row["digest"])):
            await versions.add(
                conn, by="owner", path=row["path"], folder=row["folder"] or "", files=files, digest=digest,
                is_takeover=False,
            )  # fmt: skip


@contextlib.asynccontextmanager
async def running(database: str, folder: Path, *, days: float = 1.3, most: int = 100_000) -> AsyncIterator[Site]:
    """`database`: URL of an empty one. The lab has `BROKEN` jobs and a `RUNNING` flow."""
    home = Home(folder / "home").ensure()
    async with Database(database, password=None) as pool:
        await migrate(pool)
    past = await asyncio.to_thread(history.write, database, home, days=days, most=most, broken=BROKEN, running=RUNNING)
    # The protocol is named so that asyncio sends without delay, as it does for sockets that uvicorn opens.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with (
            PrefectApi("http://127.0.0.1:1/api", "homelab:none") as prefect,
            Control.open(home, database, prefect, own_url=url) as control,
        ):
            access = Access(control.database.tuples)
            await applied_twice(control)
            made = app(
                control, access=access, home=home, prefect_url="http://127.0.0.1:1", prefect_auth="homelab:none",
                own_url=url, pages=Console(),
            )  # fmt: skip
            serving = server(made, host="127.0.0.1", port=0)
            task = asyncio.create_task(serving.serve(sockets=[listening]))
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
                while not serving.started:
                    assert not task.done(), task.exception()
                    await asyncio.sleep(0.01)
                yield Site(url, home, control, access, past, http)
            serving.should_exit = True
            await task
