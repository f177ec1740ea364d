"""Prefect's API as a node sees it: `/prefect/api/...` on the node port, its own runs and nothing else.

`control.gateway` says what a request depends on; here it is found out, refused and noted, or passed on with the lab's
own credential. What a Python flow of the node does comes this way too: Prefect's client speaks to it unchanged.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast
from urllib.parse import unquote

import httpx
import orjson
import websockets
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from homelab.control.access import Identity
from homelab.control.api.answers import HttpError, read_bytes
from homelab.control.api.auth import Seldom, forwarded_free, origin_of
from homelab.control.api.prefect_proxy import GONE, basic, opened, upstream_path
from homelab.control.api.routing import Asked, Route, Site
from homelab.control.gateway import Demand, demand, event_subjects
from homelab.control.noderuns import NodeRuns
from homelab.flows.api import POOL

MAX_BODY_BYTES = 8 * 1024 * 1024
_REMEMBERED = 4096
_KEPT = ("content-type", "retry-after")


class Gateway:
    """One passage to the Prefect server for all nodes."""

    def __init__(self, site: Site, runs: NodeRuns) -> None:
        self._site = site
        self._runs = runs
        self._seldom = Seldom()
        self._tasks: dict[str, str] = {}
        """Task runs that were found to be of a flow run."""
        self._deployments: set[tuple[str, str]] = set()
        """Each node with the deployments of the runs that it has read."""
        limits = httpx.Limits(max_connections=50, max_keepalive_connections=10)
        self._client = httpx.AsyncClient(
            base_url=site.prefect_url, headers=basic(site.prefect_auth), timeout=60, limits=limits, trust_env=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    def routes(self) -> tuple[Route, ...]:
        return tuple(
            Route(
                method=method,  # pyright: ignore[reportArgumentType]
                path="/prefect/{path:path}",
                scope="node",
                handler=self.forward,
                summary="Prefect's API for the node's own runs.",
                audited=False,
            )
            for method in ("GET", "POST", "PATCH", "PUT", "DELETE")
        )

    async def forward(self, asked: Asked) -> Response:
        """The answer of Prefect, or 403 and a line in the audit."""
        request, node = asked.request, str(asked.identity.node)
        path = upstream_path(request.scope.get("raw_path") or request.url.path.encode())
        raw = await read_bytes(request, MAX_BODY_BYTES)
        try:
            body: Any = orjson.loads(raw) if raw else None
        except orjson.JSONDecodeError as error:
            raise HttpError(400, "input", "the body is not JSON") from error
        asks = demand(request.method, unquote(path), body, pool=POOL)
        why = "no node may ask that of Prefect" if asks is None else await self._refused(asks, node)
        if asks is None or why:
            await self._note(asked, path, why)
            raise HttpError(403, "forbidden", why, "A node reads and reports its own runs, and nothing else.")
        headers = forwarded_free(request.headers) | {"Accept-Encoding": "identity"}
        query = request.url.query.encode() or None
        sent = orjson.dumps(body) if raw else None  # what was looked at, however another parser may read the bytes
        try:
            if asks.claims:
                return await self._claim(asks.claims, node, path, sent, headers)
            got = await self._client.request(request.method, path, params=query, headers=headers, content=sent)
        except httpx.HTTPError as error:
            raise _away() from error
        answered = await self._answer(asks, node, got)
        if answered is None:
            is_queue = asks.gives == "queue"
            await self._note(asked, path, "of another pool" if is_queue else "that run is there already, and another's")
            raise HttpError(403, "forbidden", f"that {'queue' if is_queue else 'run'} is another's")
        return answered

    # -- whether it holds -------------------------------------------------------------------------------------------

    async def _refused(self, asks: Demand, node: str) -> str:
        """Why the node may not; "" when it may."""
        if asks.worker and asks.worker != node:
            return "that is another node's name"
        if asks.deployment and (node, asks.deployment) not in self._deployments:
            return "no run of this node is of that deployment"
        foreign = await self._runs.foreign(asks.runs, node)
        if foreign and not (asks.is_log and set(foreign) <= await self._runs.guests(foreign, node)):
            return "that is about a run of another node"
        for task, run in asks.tasks.items():
            of = await self._run_of(task, run)
            if (run and of != run) or (not run and (not of or await self._runs.foreign([of], node))):
                return "that is about a task of another node's run"
        return ""

    async def _run_of(self, task: str, said: str) -> str:
        """The flow run of a task run; `said` for one that Prefect does not have yet and whose id is not made of the
        names of a run and a job; "" when it is unknown."""
        if task in self._tasks:
            return self._tasks[task]
        of = said if said and await self._runs.has_task(said, task) else await self._asked(task, said)
        if of:
            if len(self._tasks) >= _REMEMBERED:
                self._tasks.clear()
            self._tasks[task] = of
        return of

    async def _asked(self, task: str, said: str) -> str:
        try:
            got = await self._client.get(f"/api/task_runs/{task}")
        except httpx.HTTPError as error:
            raise _away() from error
        if got.status_code == 200:
            return str(orjson.loads(got.content).get("flow_run_id") or "")
        is_derived = task[14] == "5"
        return "" if is_derived else said

    # -- what is passed on ------------------------------------------------------------------------------------------

    async def _claim(self, run: str, node: str, path: str, sent: bytes | None, headers: Mapping[str, str]) -> Response:
        """A scheduled run that was given to the node is the node's to claim; any other has another's name on it, or
        nobody's yet."""
        if await self._runs.foreign([run], node):
            return _json(
                200, {"status": "ABORT", "details": {"reason": "it was given to no node, or another"}, "state": None}
            )
        return _passed(await self._client.post(path, content=sent, headers=dict(headers)))

    async def _answer(self, asks: Demand, node: str, got: httpx.Response) -> Response | None:
        """None: what should have been new was there before (the same idempotency key), and is not this node's; or the
        queue is of another pool."""
        if got.status_code not in (200, 201) or not (asks.creates or asks.runs or asks.gives != "all"):
            return _passed(got)
        body: Any = orjson.loads(got.content) if got.content else None
        if asks.creates:
            if got.status_code == 201:
                await self._runs.note(str(body["id"]), node)
            if await self._runs.foreign([str(body["id"])], node):
                return None
        elif asks.gives == "pool":
            return _json(got.status_code, {**body, "base_job_template": {}, "storage_configuration": {}})
        elif asks.gives == "queue":
            return _passed(got) if body.get("work_pool_name") == POOL else None
        elif asks.gives != "all":
            return _json(got.status_code, await self._own(asks.gives, cast("list[dict[str, Any]]", body), node))
        elif isinstance(body, dict) and (of := cast("dict[str, Any]", body).get("deployment_id")):
            if len(self._deployments) >= _REMEMBERED:
                self._deployments.clear()
            self._deployments.add((node, str(of)))
        return _passed(got)

    async def _own(self, key: str, entries: list[dict[str, Any]], node: str) -> list[dict[str, Any]]:
        ids = [str(entry.get(key)) for entry in entries]
        known = await self._runs.nodes_of(ids)
        return [entry for run, entry in zip(ids, entries, strict=True) if known.get(run) == node]

    # -- events as they happen --------------------------------------------------------------------------------------

    async def socket(self, client: WebSocket, identify: Callable[[WebSocket], Awaitable[Identity | None]]) -> None:
        """Events of a Python flow, one a message: each is looked at as those of a call are. One that is of no run goes
        no further; the first that is about another's ends the connection, and so does the end of the token."""
        identity = await identify(client)
        if identity is None or identity.node is None or client.url.path.rstrip("/") != "/prefect/api/events/in":
            await client.close(1008)
            return
        with contextlib.suppress(*GONE), self._site.streams:
            async with opened(self._site, "/api/events/in") as (server, first):
                await client.accept(subprotocol="prefect")
                await client.receive_text()  # the client's own first message: its header has been looked at
                await client.send_text(first)
                await self._pass_events(client, server, identity.node, lambda: identify(client))
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await client.close(1001)

    async def _pass_events(
        self,
        client: WebSocket,
        server: websockets.ClientConnection,
        node: str,
        identified: Callable[[], Awaitable[Identity | None]],
    ) -> None:
        while True:
            text = await client.receive_text()
            try:
                event: Any = orjson.loads(text)
            except orjson.JSONDecodeError:
                return
            if await identified() is None:
                await client.close(1008)
                return
            asks = event_subjects(cast("dict[str, Any]", event)) if isinstance(event, dict) else None
            why = "an event of no run" if asks is None else await self._refused(asks, node)
            if not why:
                await server.send(orjson.dumps(event).decode())
                continue
            await self._record(f"node {node}", str(client.client and client.client.host), "/api/events/in", why)
            if asks is not None:
                await client.close(1008)
                return

    # -- the audit --------------------------------------------------------------------------------------------------

    async def _note(self, asked: Asked, path: str, why: str) -> None:
        origin = origin_of(asked.request, asked.identity)
        await self._record(f"node {asked.identity.node}", origin, f"{asked.request.method} {path}", why)

    async def _record(self, who: str, origin: str, what: str, why: str) -> None:
        if self._seldom.is_new(f"{who} {what} {why}", now=time.monotonic()):
            await self._site.access.record(
                who=who, origin=origin, via="node", action="prefect", subject=what, body={"reason": why},
                result="forbidden",
            )  # fmt: skip


def _away() -> HttpError:
    return HttpError(503, "unavailable", "the Prefect server does not answer", "", {"Retry-After": "5"})


def _passed(got: httpx.Response) -> Response:
    headers = {name: value for name, value in got.headers.items() if name.lower() in _KEPT}
    return Response(got.content, status_code=got.status_code, headers=headers)


def _json(status: int, body: object) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
