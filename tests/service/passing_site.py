"""A real control over HTTP and homes of nodes that speak to it: Postgres and server are real, Prefect is not there."""

import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import certifi
import httpx
from tests.service.serving import listening, served

from homelab.console.site import Console
from homelab.control import store
from homelab.control.access import Access, Identity
from homelab.control.api.app import app
from homelab.control.service import Control
from homelab.core.jobs import Flow, Job
from homelab.flows.api import PrefectApi
from homelab.home import endpoints, membership
from homelab.home.authority import authority
from homelab.home.paths import Home
from homelab.home.secrets import read_or_create
from homelab.worker.control_link import ControlLink

FLOW = Flow(
    name="make", schedule=None, timezone="UTC", jobs=(Job(name="make", run="true"), Job(name="use", run="true"))
)


class NodeAccess(Access):
    """Tokens that speak for a node, before there is a table that says so."""

    nodes: dict[str, str]

    async def by_token(self, secret: str) -> Identity | None:
        found = await super().by_token(secret)
        return None if found is None else replace(found, node=self.nodes.get(secret))


@dataclass
class Site:
    """`url` answers while the block lasts; `read`: the header of a token with scope read."""

    url: str
    home: Home
    folder: Path
    control: Control
    access: NodeAccess
    http: httpx.AsyncClient
    read: dict[str, str] = field(default_factory=dict[str, str])

    async def node(self, name: str) -> Home:
        """The home of a node of that name, whose worker finds this control."""
        home = Home(self.folder / name).ensure()
        lab = authority(self.home)
        joined = membership.Membership(name=name, url=self.url, lab=lab.fingerprint)
        membership.write(home, joined, lab.pem)
        shutil.copy(certifi.where(), home.root / "ca.pem")  # loopback here is plain: no certificate is asked for
        endpoints.write(home, {"control": self.url})
        token = read_or_create(home, "token-node")
        await self.access.register(f"node {name}", "node", token)
        self.access.nodes[token] = name
        return home

    async def run(self, *, node: str | None, state: str = "running") -> str:
        """A run of `FLOW` on that node; its id."""
        run = str(uuid.uuid4())
        async with self.control.database.connection() as conn:
            await store.save_flow(conn, FLOW, deployment="d", position=0, now=datetime.now(UTC))
            new = store.NewRun(
                id=run, flow=FLOW, due=None, trigger="manual", jobs=[job.name for job in FLOW.jobs], state=state
            )
            await store.add_run(conn, new)
            await conn.execute("update run set node = %s, started = now() where id = %s", (node, run))
        return run

    async def end(self, run: str) -> None:
        async with self.control.database.connection() as conn:
            await store.end_run(conn, run, "succeeded", "")

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.http.get(path, headers=self.read, **more)


@contextlib.asynccontextmanager
async def running(database: str, folder: Path) -> AsyncIterator[Site]:
    home = Home(folder / "control").ensure()
    with listening() as (where, url):
        async with (
            PrefectApi("http://127.0.0.1:1/api", "homelab:none") as prefect,
            Control.open(home, database, prefect, own_url=url) as control,
        ):
            access = NodeAccess(control.database.tuples)
            access.nodes = {}
            made = app(
                control, access=access, home=home, prefect_url="http://127.0.0.1:1", prefect_auth="homelab:none",
                own_url=url, pages=Console(),
            )  # fmt: skip
            async with served(made, where, url) as http:
                token = (await access.create_token("reader", "read"))["token"]
                yield Site(url, home, folder, control, access, http, {"Authorization": f"Bearer {token}"})


class Cable(httpx.AsyncHTTPTransport):
    """The way from a node to control; nothing gets through while it `is_cut`."""

    is_cut = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_cut:
            raise httpx.ConnectError("the cable is cut")
        return await super().handle_async_request(request)


@contextlib.asynccontextmanager
async def link_of(home: Home, cable: Cable | None = None) -> AsyncIterator[ControlLink]:
    link = ControlLink(home, transport=cable)
    try:
        yield link
    finally:
        await link.aclose()
