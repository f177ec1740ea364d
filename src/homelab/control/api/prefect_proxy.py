"""The way to Prefect's own UI and API through control's sign-in: `/prefect/...`, web sockets included.

The Prefect server listens on loopback with a generated credential that no browser ever sees: it is added here. Reading
needs scope read, acting on runs operate, everything that can change what is executed admin. `scope_for` decides that.
"""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast
from urllib.parse import unquote

import httpx
import orjson
import websockets
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from homelab.control.access import Scope, allows
from homelab.control.api.answers import HttpError, answer, read_bytes
from homelab.control.api.auth import PREFECT_POLICY, Gate, forwarded_free, same_origin
from homelab.control.api.live import MOST_S
from homelab.control.api.routing import Asked, Route, Site

MAX_BODY_BYTES = 8 * 1024 * 1024
_READING = re.compile(
    r"/api/[a-z0-9_/-]*/(?:filter|filter/next|count|history|paginate|lateness|get_scheduled_flow_runs|get_runs|"
    r"concurrency_status|count-by/[a-z:]+)/?"
)
_READING_UI = re.compile(r"/api/ui/.+")
_OPERATING = re.compile(
    r"/api/(?:flow_runs/[0-9a-f-]{36}(?:/(?:set_state|resume|labels))?"
    r"|task_runs/[0-9a-f-]{36}(?:/set_state)?"
    r"|deployments/[0-9a-f-]{36}/(?:create_flow_run|pause_deployment|resume_deployment))/?"
)
_SECRET_BEARING = re.compile(r"/api/block_(?:documents|types)(?:/.*)?")
_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "upgrade", "set-cookie", "server", "date", "www-authenticate"}
)
_SOCKETS = frozenset({"/api/events/out", "/api/logs/out"})


def scope_for(method: str, path: str, body: dict[str, Any] | None = None) -> Scope:
    """The scope that a request to Prefect needs. `path` starts with `/api/` or is one of the UI's files.

    Prefect reads by POST too (`/flow_runs/filter`). What may bring a command, an environment or a credential into play
    (deployments, pools, blocks, automations, job variables) is admin, as applying a lab file is.
    """
    body = body or {}
    if body.get("include_secrets") or body.get("job_variables"):
        return "admin"
    if _SECRET_BEARING.fullmatch(path) and method != "GET" and not path.rstrip("/").endswith(("/filter", "/count")):
        return "admin"
    if method in ("GET", "HEAD"):
        return "read"
    if method == "POST" and (_READING.fullmatch(path) or _READING_UI.fullmatch(path)):
        return "read"
    return "operate" if _OPERATING.fullmatch(path) else "admin"


def upstream_path(raw_path: bytes) -> str:
    """The path behind `/prefect` as Prefect is asked for it: the API at its root, the UI below its base.

    Anything that could leave that tree, or that two parsers may read differently, is refused.
    """
    rest = raw_path.decode("ascii", "replace").removeprefix("/prefect") or "/"
    plain = unquote(rest)
    parts = plain.split("/")
    if ".." in parts or "." in parts or "//" in plain or "\\" in plain or not plain.isprintable() or "%" in plain:
        raise HttpError(400, "input", "that is no path of Prefect")
    return rest


def basic(auth: str | None) -> dict[str, str]:
    """The header that shows the Prefect server the lab's credential (`user:password`)."""
    return {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()} if auth else {}


class Proxy:
    """One connection pool to the Prefect server."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    def client(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = httpx.Limits(max_connections=50, max_keepalive_connections=10)
            self._client = httpx.AsyncClient(timeout=60, limits=limits, trust_env=False, follow_redirects=False)
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def forward(self, asked: Asked) -> Response:
        request, site = asked.request, asked.site
        path = upstream_path(request.scope.get("raw_path") or request.url.path.encode())
        is_api = path == "/api" or path.startswith("/api/")
        body = await read_bytes(request, MAX_BODY_BYTES)
        need = scope_for(request.method, unquote(path), _object(body)) if is_api else "read"
        if "include_secrets" in request.url.query:
            need = "admin"
        if not allows(asked.identity.scope, need):
            raise HttpError(403, "forbidden", f"this needs the scope '{need}'; yours is '{asked.identity.scope}'")
        if not is_api and request.method not in ("GET", "HEAD"):
            raise HttpError(405, "input", "only GET here")
        headers = forwarded_free(request.headers) | basic(site.prefect_auth)
        is_settings = path.endswith("/ui-settings")
        headers["Accept-Encoding"] = "identity" if is_settings else request.headers.get("accept-encoding", "identity")
        target = site.prefect_url + (path if is_api else "/prefect" + path)
        try:
            sent = self.client().build_request(
                request.method, target, params=request.url.query.encode() or None, headers=headers, content=body or None
            )
            got = await self.client().send(sent, stream=True)
        except httpx.HTTPError as error:
            raise HttpError(
                503, "unavailable", "the Prefect server does not answer", "See: homelab status", {"Retry-After": "5"}
            ) from error
        if is_settings and got.status_code == 200:
            return await _settings(asked, got)
        return StreamingResponse(
            _body(got), status_code=got.status_code, headers=_answer_headers(got, site, is_asset="/assets/" in path)
        )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value: object = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        return {"job_variables": True}  # not JSON: only someone who may do everything may send it
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


async def _body(got: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in got.aiter_raw():
            yield chunk
    finally:
        await got.aclose()


def _answer_headers(got: httpx.Response, site: Site, *, is_asset: bool) -> dict[str, str]:
    headers = {name: value for name, value in got.headers.items() if name.lower() not in _HOP}
    headers["Content-Security-Policy"] = PREFECT_POLICY
    headers["Cache-Control"] = "private, max-age=86400" if is_asset else "no-store"
    if "location" in headers:
        place = headers["location"].removeprefix(site.prefect_url)
        headers["location"] = "/prefect" + place if place.startswith("/api") else place
    return headers


async def _settings(asked: Asked, got: httpx.Response) -> Response:
    """The UI's settings: its API is here, and it needs no credential of its own."""
    await got.aread()
    await got.aclose()
    settings = _object(got.content)
    request = asked.request
    settings["api_url"] = f"{request.url.scheme}://{request.headers['host']}/prefect/api"
    settings["auth"] = None
    return answer(settings)


async def start(_: Asked) -> Response:
    return RedirectResponse("/prefect/", status_code=307)


def routes(proxy: Proxy) -> tuple[Route, ...]:
    methods = ("GET", "POST", "DELETE")
    return (
        Route(method="GET", path="/prefect", scope="read", handler=start, summary="Prefect's pages.", page=True),
        *(
            Route(
                method=method,
                path="/prefect/{path:path}",
                scope="read",
                handler=proxy.forward,
                summary="Prefect's pages and API; changing needs more than read.",
                page=method == "GET",
                audited=False,
            )
            for method in methods
        ),
        *(
            Route(
                method=method,  # pyright: ignore[reportArgumentType]
                path="/prefect/{path:path}",
                scope="operate",
                handler=proxy.forward,
                summary="Prefect's API.",
                audited=False,
            )
            for method in ("PATCH", "PUT")
        ),
    )


# --- web sockets

GONE = (OSError, TimeoutError, WebSocketDisconnect, websockets.WebSocketException, HttpError)
"""Either side may go at any time."""


@contextlib.asynccontextmanager
async def opened(site: Site, path: str) -> AsyncGenerator[tuple[websockets.ClientConnection, str]]:
    """A web socket of the Prefect server, which was shown the lab's credential, and the answer to that. It is given up
    after `MOST_S`. Raises what `GONE` names."""
    url = "ws" + site.prefect_url.removeprefix("http") + path
    protocols = [websockets.Subprotocol("prefect")]
    async with (
        asyncio.timeout(MOST_S),
        websockets.connect(url, subprotocols=protocols, proxy=None, open_timeout=10) as server,
    ):
        await server.send(json.dumps({"type": "auth", "token": site.prefect_auth}))
        first = await server.recv()
        yield server, first if isinstance(first, str) else first.decode()


async def socket(site: Site, gate: Gate, browser: WebSocket) -> None:
    """Join a browser's socket to Prefect's. Prefect wants a first message with its credential: it is sent from here,
    and the browser's own first message, which holds none, is answered here."""
    path = browser.url.path.removeprefix("/prefect")
    identity = await gate.identify(browser)
    refused = (
        identity is None
        or not allows(identity.scope, "read")
        or path not in _SOCKETS
        or ((bool(identity.session) or "origin" in browser.headers) and not same_origin(browser.headers))
    )
    if refused:
        await browser.close(1008)
        return
    speaks_prefect = "prefect" in browser.scope.get("subprotocols", [])
    with contextlib.suppress(*GONE), site.streams:  # the browser connects again by itself
        async with opened(site, path) as (server, first):
            await browser.accept(subprotocol="prefect" if speaks_prefect else None)
            if speaks_prefect:
                await browser.receive_text()
                await browser.send_text(first)
            await _join(browser, server)
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await browser.close(1001)


async def _join(browser: WebSocket, server: websockets.ClientConnection) -> None:
    async def inward() -> None:
        with contextlib.suppress(WebSocketDisconnect, websockets.ConnectionClosed):
            while True:
                await server.send(await browser.receive_text())

    async def outward() -> None:
        with contextlib.suppress(WebSocketDisconnect, websockets.ConnectionClosed):
            async for message in server:
                await browser.send_text(message if isinstance(message, str) else message.decode())

    both = {asyncio.create_task(inward()), asyncio.create_task(outward())}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
