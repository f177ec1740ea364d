"""A real node port for tests: real TLS, real Postgres, a real Prefect server behind it, and nodes that joined it."""

import asyncio
import contextlib
import hashlib
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from tests.service import prefect_site

from homelab.control import joining, store
from homelab.control.access import Access
from homelab.control.api.node_port import NodePort
from homelab.control.service import Control
from homelab.core.jobs import Flow, Job
from homelab.flows.api import PrefectApi
from homelab.home.authority import authority
from homelab.home.paths import Home

FLOW = Flow(name="far", jobs=(Job(name="far", run="true"),), schedule=None, timezone="UTC")


@dataclass
class Site:
    """The port and the lab behind it."""

    url: str
    home: Home
    control: Control
    access: Access
    port: NodePort
    prefect: PrefectApi
    trust: ssl.SSLContext

    def client(self, token: str = "", **more: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        options: dict[str, Any] = {"base_url": self.url, "trust_env": False, "timeout": 20, "verify": self.trust}
        return httpx.AsyncClient(headers=headers, **{**options, **more})

    async def token(self, name: str, *, ttl_s: float | None = None) -> str:
        """The secret of a new joining token."""
        return (await joining.offer(self.access, name, ttl_s=ttl_s, by="test")).secret

    async def revoke(self, name: str) -> bool:
        """The node's token is good for nothing any more; whether it had one."""
        async with self.access.pool.connection() as conn:
            had = await joining.revoke(conn, name)
        self.access.forget()
        return had

    async def join(self, secret: str, *, own: str = "", **more: Any) -> httpx.Response:
        """Join with a token; `own` is the node's own token."""
        own = own or secrets.token_urlsafe(32)
        async with self.client() as http:
            body = {"token": secret, "node_hash": hashlib.sha256(own.encode()).hexdigest(), **more}
            return await http.post("/api/v1/node/join", json=body)

    async def node(self, name: str) -> str:
        """A new node; its token."""
        own = secrets.token_urlsafe(32)
        got = await self.join(await self.token(name), own=own)
        assert got.status_code == 201, got.text
        return own

    async def run(self, *, node: str | None = None) -> str:
        """A scheduled run of the lab, in Prefect and here, `node`'s if it is named."""
        await self.prefect.ensure_pool("homelab")
        deployment = await self.prefect.put_deployment(FLOW, pool="homelab")
        run = await self.prefect.create_run(
            deployment, name="far", due=datetime.now(UTC), idempotency_key=None, parameters={"definition": FLOW.digest}
        )
        async with self.control.database.connection() as conn:
            await conn.execute(
                b"insert into definition (digest, body) values (%s, %s) on conflict do nothing",
                (FLOW.digest, FLOW.to_json()),
            )
            await store.add_run(conn, store.NewRun(id=run, flow=FLOW, due=None, trigger="manual", jobs=["far"]))
            if node is not None:
                await conn.execute(b"update run set node = %s where id = %s", (node, run))
        return run

    async def audit(self) -> list[dict[str, Any]]:
        return await self.access.audit(limit=200)


@contextlib.asynccontextmanager
async def node_site(prefect: prefect_site.Site, folder: Path) -> AsyncIterator[Site]:
    home = Home(folder / "home").ensure()
    async with (
        PrefectApi(prefect.url, prefect.auth) as api,
        Control.open(home, prefect.database, api) as control,
    ):
        access = Access(control.database.tuples)
        port = NodePort(control, access, home, prefect_url=prefect.url, prefect_auth=prefect.auth)
        serving = asyncio.create_task(port.serve())
        try:
            url, fingerprint = await port.open()
            lab = authority(home)
            assert fingerprint == lab.fingerprint
            yield Site(url, home, control, access, port, api, ssl.create_default_context(cadata=lab.pem))
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
