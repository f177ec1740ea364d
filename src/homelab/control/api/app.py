"""The ASGI app: the table of routes behind the gate, errors as JSON or pages, careful headers on every answer.

Made and served by the `control` role. Never logs a request's URL: a sign-in link is a secret.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from urllib.parse import urlsplit

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from homelab.control import feeds
from homelab.control.access import Access, Identity
from homelab.control.api import (
    auth,
    events,
    openapi,
    prefect_proxy,
    routes_access,
    routes_artefacts,
    routes_feeds,
    routes_fleet,
    routes_jobs,
    routes_lab,
    routes_look,
    routes_nodes,
    routes_passing,
    routes_people,
    routes_runs,
    routes_wake,
    routes_worker,
    shapes,
)
from homelab.control.api.answers import HttpError, answer, as_http, failure
from homelab.control.api.ports import Control
from homelab.control.api.routing import Asked, NodePort, Pages, Route, Site
from homelab.core.errors import HomelabError
from homelab.home import secrets
from homelab.home.paths import Home

log = structlog.get_logger()

Endpoint = Callable[[Request], Awaitable[Response]]
_NOBODY = Identity(name="nobody", scope="read")


async def describe(_: Asked) -> Response:
    return answer(openapi.document(ROUTES))


ROUTES: tuple[Route, ...] = (
    *routes_jobs.ROUTES,
    *routes_runs.ROUTES,
    *routes_artefacts.ROUTES,
    *events.ROUTES,
    *routes_lab.ROUTES,
    *routes_look.ROUTES,
    *routes_fleet.ROUTES,
    *routes_wake.ROUTES,
    *routes_worker.ROUTES,
    *routes_nodes.ROUTES,
    *routes_passing.ROUTES,
    *routes_access.ROUTES,
    *routes_feeds.ROUTES,
    *routes_people.ROUTES,
    Route(
        method="GET",
        path="/api/v1/openapi.json",
        scope="read",
        handler=describe,
        summary="This document.",
        gives=shapes.Document,
    ),
)
"""Every route but the pages and the passage to Prefect. Order matters only where paths overlap, and none do."""


async def register_tokens(access: Access, home: Home) -> None:
    """Make the token files of this home valid: the command line's and the worker's."""
    await access.register("command line of this home", "admin", secrets.read_or_create(home, "token-admin"))
    await access.register("worker of this home", "node", secrets.read_or_create(home, "token-node"))


def app(
    control: Control,
    *,
    access: Access,
    home: Home,
    prefect_url: str,
    prefect_auth: str | None,
    own_url: str,
    hosts: Iterable[str] = (),
    pages: Pages | None = None,
    node_port: NodePort | None = None,
) -> ASGIApp:
    """The app of one lab. `pages`: what browsers see, if anything. `prefect_url` with or without `/api`;
    `prefect_auth` is `user:password`; `own_url` is how
    people reach this server (links and cookies are made for it); `hosts` are further names it may be addressed by."""
    own_url = own_url.rstrip("/")
    parts = urlsplit(own_url)
    secure = parts.scheme == "https"
    gate = auth.Gate(
        access=access,
        hosts=auth.allowed_hosts(own_url, hosts),
        rules=lambda: control.looking.access,
        cookie=f"{'__Host-' if secure else ''}homelab_{parts.port or parts.scheme}",
        secure=secure,
        form_key=secrets.read_or_create(home, "session").encode(),
    )
    site = Site(
        control=control,
        access=access,
        gate=gate,
        home=home,
        own_url=own_url,
        prefect_url=prefect_url.rstrip("/").removesuffix("/api"),
        prefect_auth=prefect_auth,
        pages=pages,
        node_port=node_port,
    )
    proxy = prefect_proxy.Proxy()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await register_tokens(access, home)
        try:
            yield
        finally:
            await proxy.close()

    async def socket(browser: WebSocket) -> None:
        await prefect_proxy.socket(site, gate, browser)

    routes = (*ROUTES, *(pages.routes if pages else ()), *prefect_proxy.routes(proxy))
    return mounted(site, routes, socket=socket, lifespan=lifespan)


def mounted(
    site: Site,
    routes: Iterable[Route],
    *,
    socket: Callable[[WebSocket], Awaitable[None]],
    lifespan: Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]],
) -> ASGIApp:
    """The routes behind the site's gate; `socket` takes the web sockets below /prefect/."""
    starlette = Starlette(
        routes=[*_mounted(site, routes), WebSocketRoute("/prefect/{path:path}", socket)],
        exception_handlers={HTTPException: _unknown(site.pages)},
        lifespan=lifespan,
    )
    starlette.router.redirect_slashes = False
    return _Shell(starlette, site.gate)


def _mounted(site: Site, routes: Iterable[Route]) -> list[StarletteRoute]:
    """One for each path, so that the answer to a method that it has not names all that it has."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = _endpoint(site, route)
    return [StarletteRoute(path, _choice(methods), methods=list(methods)) for path, methods in by_path.items()]


def _choice(methods: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _endpoint(site: Site, route: Route) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        identity = _NOBODY
        try:
            _check_names(request)
            changes = request.method not in ("GET", "HEAD")
            if route.scope != "open":
                identity = await _admitted(site, route, request)
                if changes and route.path.startswith("/api/"):
                    site.gate.check_intent(request, identity)
            response = await route.handler(Asked(site=site, request=request, identity=identity))
            if changes and route.audited:
                await _note(site, route, request, identity)
            return response
        except HttpError as error:
            told = error
        except HomelabError as error:
            told = as_http(error)
        except Exception as error:
            told = _unexpected(error, route)
        if route.audited and identity is not _NOBODY and request.method not in ("GET", "HEAD"):
            await _note(site, route, request, identity, result=told.code)
        return _refusal(site, route, request, told)

    return endpoint


async def _admitted(site: Site, route: Route, request: Request) -> Identity:
    """Who asks; 401 or 403 for who may not. A feed's own token counts alone: beside it no session does."""
    secret = request.query_params.get("feed") if route.feed else None
    if secret is None:
        return await site.gate.admit(request, route.scope, method=request.method)
    feed = route.feed.format(**request.path_params)
    holder = await feeds.holder(site.access.pool, secret, feed) if len(secret) <= 200 else None
    if holder is None:
        raise HttpError(401, "unauthorized", "this is no token for this feed", "Make one with: homelab feed add")
    return holder


def _check_names(request: Request) -> None:
    """What is in a path or a query becomes names to look up: no name of ours is that long or holds a control byte."""
    for value in (*request.path_params.values(), *request.query_params.values()):
        if len(str(value)) > 2000 or "\0" in str(value):
            raise HttpError(400, "input", "the path or the query holds what no name can be")


def _refusal(site: Site, route: Route, request: Request, error: HttpError) -> Response:
    return site.pages.failure(request, error) if route.page and site.pages else failure(error)


def is_database_away(error: Exception) -> bool:
    """True for what psycopg and its pool raise when there is no connection; known by name, as only `db` imports it."""
    kinds = type(error).__mro__
    return kinds[0].__module__.startswith("psycopg") and any(
        kind.__name__ in ("OperationalError", "InterfaceError") for kind in kinds
    )


def _unexpected(error: Exception, route: Route) -> HttpError:
    if is_database_away(error):
        log.warning("api.database_away", route=route.path, error=type(error).__name__)
        return HttpError(
            503, "unavailable", "the lab's database does not answer", "See: homelab status", {"Retry-After": "2"}
        )
    log.error("api.failed", route=route.path, exc_info=error)
    return HttpError(500, "internal", "control failed on this request", "Its log has the details: logs/control.log")


async def _note(site: Site, route: Route, request: Request, identity: Identity, *, result: str = "done") -> None:
    subject = "/".join(str(v) for v in (*request.path_params.values(), getattr(request.state, "subject", "")) if v)
    try:
        await site.access.record(
            who=identity.name,
            via=identity.via,
            origin=auth.origin_of(request, identity),
            action=f"{route.method} {route.path}",
            subject=subject,
            result=result,
        )
    except Exception as error:  # the thing is done; saying that it failed would make the caller do it again
        log.error("api.audit_lost", action=route.path, subject=subject, who=identity.name, exc_info=error)


def _unknown(pages: Pages | None) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def unknown(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        is_page = pages is not None and not request.url.path.startswith("/api/") and request.method == "GET"
        code, message = "input", "that method is not for this path"
        if status == 404:
            code, message = "not_found", "there is no such page" if is_page else "no such path"
        hint = "" if is_page else "The paths are in /api/v1/openapi.json."
        told = HttpError(status, code, message, hint, error.headers if isinstance(error, HTTPException) else None)
        return pages.failure(request, told) if pages is not None and is_page else failure(told)

    return unknown


class _Shell:
    """Around everything: the Host check before any route, the headers on any answer."""

    def __init__(self, inner: ASGIApp, gate: auth.Gate) -> None:
        self._inner = inner
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            self._gate.check_host(headers)
        except HttpError as error:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await failure(error)(scope, receive, _guarded(send))
            return
        await self._inner(scope, receive, _guarded(send) if scope["type"] == "http" else send)


def _guarded(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": auth.protect(list(message["headers"]), policy=auth.PAGE_POLICY)}
        await send(message)

    return guarded


def server(
    application: ASGIApp, *, host: str, port: int, certificate: str | None = None, connections: int = 512
) -> uvicorn.Server:
    """A server for the app, with the limits it counts on; `await server(...).serve(sockets=...)`. `certificate`: the
    file of a certificate and its key, for TLS. `connections`: how many at once.

    No access log (links are secrets); no trust in forwarded headers (nothing of ours sits in front); signals are the
    role's.
    """
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=64 * 1024,
        ws_max_size=1024 * 1024,
        lifespan="on",
        ssl_certfile=certificate,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """Leaves signals alone: set `should_exit` to stop it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
