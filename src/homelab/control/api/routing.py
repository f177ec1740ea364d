"""One table of routes: method, path, scope, handler, one line of documentation.

The server, the OpenAPI document and the tests are all made from it, so that no route can exist without a scope.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from homelab.control.access import Access, Identity
from homelab.control.api.answers import HttpError
from homelab.control.api.auth import Gate
from homelab.control.api.ports import Control
from homelab.home.paths import Home

RouteScope = Literal["open", "read", "operate", "admin", "node"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the routes of one server share."""

    control: Control
    access: Access
    gate: Gate
    home: Home
    own_url: str
    prefect_url: str
    prefect_auth: str | None
    pages: "Pages | None" = None
    node_port: "NodePort | None" = None
    role: str = "read"
    """For whom something is shown that several may look at: only what the role allows is offered there."""
    streams: "Streams" = field(default_factory=lambda: Streams())


@dataclass
class Streams:
    """How many live answers are open; each holds a connection, so their number is bounded."""

    most: int = 64
    open: int = 0

    def __enter__(self) -> "Streams":
        if self.open >= self.most:
            raise HttpError(503, "busy", f"{self.most} live streams are open already", "", {"Retry-After": "10"})
        self.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.open -= 1


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One admitted request: the site, the request and who asks (a nobody with scope read on open routes)."""

    site: Site
    request: Request
    identity: Identity

    @property
    def by(self) -> str:
        return self.identity.name

    @property
    def view(self) -> Site:
        """The site as the role of whoever asks sees it."""
        return replace(self.site, role=self.identity.scope)

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])


Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Query:
    """A parameter of the query string that is more than any text: `schema` is its JSON Schema."""

    text: str
    schema: Mapping[str, Any]
    is_required: bool = False


def whole(text: str) -> Query:
    """A whole number."""
    return Query(text=text, schema={"type": "integer", "minimum": 0, "maximum": 10**15 - 1})


def one_of(text: str, values: Sequence[str], *, is_required: bool = False) -> Query:
    return Query(text=text, schema={"type": "string", "enum": [str(v) for v in values]}, is_required=is_required)


def switch(text: str) -> Query:
    """On with `1`."""
    return one_of(text, ("0", "1"))


@dataclass(frozen=True, kw_only=True)
class Route:
    """One row of the table. `parameters` maps a query parameter to its description; `takes` is the shape of the JSON
    body (`takes_bytes`: it is bytes of any kind), `gives` that of the answer (`shapes`), or `media` its type when it is
    no JSON; `status` that of success; `refuses` statuses beyond those that every route has. `page` routes answer in
    HTML, and a missing sign-in there is a page, not JSON. `audited` changes are recorded."""

    method: Literal["GET", "POST", "DELETE", "PATCH", "PUT"]
    path: str
    scope: RouteScope
    handler: Handler
    summary: str
    parameters: Mapping[str, str | Query] = field(default_factory=dict[str, str | Query])
    takes: Any = None
    takes_bytes: bool = False
    gives: Any = None
    media: tuple[str, ...] = ("application/json",)
    status: int = 200
    refuses: tuple[int, ...] = ()
    feed: str = ""
    """The feed (`control.feeds`) whose tokens open it too, as `?feed=TOKEN`; may name parts of the path."""
    page: bool = False
    audited: bool = True
    """Only for what changes state; the worker's reports are their own record."""


class Pages(Protocol):
    """The pages beside the API, and how an error looks there (`console.site.Console`)."""

    @property
    def routes(self) -> Sequence[Route]: ...
    def failure(self, request: Request, error: HttpError) -> Response: ...


class NodePort(Protocol):
    """Where nodes come in (`node_port.NodePort`)."""

    async def open(self) -> tuple[str, str]:
        """It listens afterwards: its address for nodes, and the fingerprint of the lab's authority. RefusedError says
        why it cannot."""
        ...


class Raw(Response):
    """A response that writes itself, for streams."""

    def __init__(self, run: Callable[[AsgiScope, Receive, Send], Awaitable[None]]) -> None:
        super().__init__()
        self._run = run

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self._run(scope, receive, send)
