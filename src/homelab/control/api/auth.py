"""The gate before every route: Host, credentials, scope, forged requests, headers. Nothing is served around it.

Order: Host allow-list (DNS rebinding) -> credentials (bearer token or session cookie) -> scope -> for a cookie that
changes state: same origin and a header or form token that a foreign page cannot send (CSRF). Decisions are plain
functions of the request's headers; `Gate` only asks `control.access` and carries them out.
"""

import base64
import hashlib
import hmac
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response

from homelab.control.access import Access, Identity, allows
from homelab.control.api.answers import HttpError
from homelab.control.passkeys import Challenges
from homelab.control.people import a_role
from homelab.core.labfile import AccessSettings
from homelab.mesh import identity as mesh

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CSRF_HEADER = "x-homelab"
VIA_MESH = "tailscale"
_REMEMBERED = 4096
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"^(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?$")

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
# Prefect's own pages build styles at run time and load workers and fonts from blobs; scripts are files of its server.
PREFECT_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self';"
    " object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


def host_name(header: str) -> str | None:
    """The name in a Host header, lower case, without port; None when the header is malformed."""
    found = _HOST.match(header.strip().lower().removesuffix("."))
    if found is None:
        return None
    return (found["six"] or found["name"]).removesuffix(".")


def allowed_hosts(own_url: str, more: Iterable[str] = ()) -> frozenset[str]:
    """Names under which this server may be addressed: loopback, its own URL, and those of the lab file."""
    names = {name.lower() for name in more if name}
    if own := urlsplit(own_url).hostname:
        names.add(own.lower())
    return LOOPBACK | names - {"0.0.0.0", "::"}  # noqa: S104 - the names a wildcard address must not add


def is_address(host: str) -> bool:
    """Whether a host is an address, which no passkey can be for, and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def same_origin(headers: Mapping[str, str]) -> bool:
    """True when a browser says that the request came from a page of this server.

    An Origin must name the very host and port of the Host header (`null` never does). Without Origin, Sec-Fetch-Site
    must say same-origin; a browser that sends neither cannot be told from a forged request and is refused.
    """
    origin = headers.get("origin")
    if origin is not None:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == headers.get("host", "").lower()
    return headers.get("sec-fetch-site") == "same-origin"


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of an Authorization header, if that is what it holds."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def basic_password(headers: Mapping[str, str]) -> str | None:
    """The password of basic authentication: Prefect's own client has no other way to show a token everywhere."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or len(text) > 1000:
        return None
    try:
        return base64.b64decode(text.strip(), validate=True).decode().partition(":")[2] or None
    except ValueError:
        return None


@dataclass
class RateLimit:
    """At most `most` events per `window_s` for one caller and ten times that in all. State of one process."""

    most: int = 10
    window_s: float = 60.0
    _events: deque[tuple[float, str]] = field(default_factory=deque[tuple[float, str]])

    def take(self, caller: str, *, now: float) -> bool:
        """Count one event; False when it is one too many. Never holds more than ten times `most`."""
        while self._events and self._events[0][0] <= now - self.window_s:
            self._events.popleft()
        mine = sum(who == caller for _, who in self._events)
        if mine >= self.most or len(self._events) >= 10 * self.most:
            return False
        self._events.append((now, caller))
        return True


class Seldom:
    """Whether something was noted lately: whoever repeats a thing fills no table. State of one process."""

    def __init__(self, every_s: float = 300.0) -> None:
        self._every_s = every_s
        self._noted: dict[str, float] = {}

    def is_new(self, what: str, *, now: float) -> bool:
        if now - self._noted.get(what, -self._every_s) < self._every_s:
            return False
        if len(self._noted) >= _REMEMBERED:
            self._noted.clear()
        self._noted[what] = now
        return True


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Checks requests for one server. `cookie` is its cookie's name: it holds the port, because browsers share cookies
    between the ports of a host and two labs on one machine must not sign each other out."""

    access: Access
    hosts: frozenset[str]
    rules: Callable[[], AccessSettings]
    """What the lab file, as applied now, says of names and of logins of the mesh."""
    cookie: str
    secure: bool
    form_key: bytes
    sign_ins: RateLimit = field(default_factory=RateLimit)
    """Of sign-ins that fail: one that is right is never held up, so that nobody can lock the owner out."""
    passkeys: RateLimit = field(default_factory=lambda: RateLimit(most=30))
    challenges: Challenges = field(default_factory=Challenges)
    seldom: Seldom = field(default_factory=Seldom)
    strangers: RateLimit = field(default_factory=lambda: RateLimit(most=60))
    """Lines in the audit for tokens that are none, so that nobody fills the table with them."""
    via: str = "token"

    def check_host(self, headers: Mapping[str, str]) -> None:
        name = host_name(headers.get("host", ""))
        if name is None or (name not in self.hosts and name not in map(str.lower, self.rules().hosts)):
            raise HttpError(421, "misdirected", "this server does not answer to that host name")

    async def identify(self, request: HTTPConnection) -> Identity | None:
        """Who asks, by bearer token or cookie; None without usable credentials."""
        token = bearer(request.headers)
        if token is not None:
            return await self.access.by_token(token) if len(token) <= 200 else None
        cookie = request.cookies.get(self.cookie)
        found = await self.access.by_session(cookie) if cookie and len(cookie) <= 200 else None
        return self._of_the_mesh(found) if found is not None and found.via == VIA_MESH else found

    def _of_the_mesh(self, identity: Identity) -> Identity | None:
        """A session that the mesh vouched for allows what the lab file gives its login now, if anything."""
        role = self.rules().tailscale.get(identity.name)
        if role is None:
            return None
        return identity if allows(role, identity.scope) else replace(identity, scope=a_role(role))

    async def vouched(self, request: HTTPConnection) -> Identity | None:
        """Whom the mesh vouches for, when the lab file gives them a role. Good for opening a session and for nothing
        else: a page of another origin in the same mesh would be vouched for, too."""
        roles, peer, mine = self.rules().tailscale, request.scope.get("client"), request.scope.get("server")
        if not roles or peer is None or mine is None:
            return None
        found = await mesh.vouched(request.headers, peer=(peer[0], peer[1]), mine=(mine[0], mine[1]))
        if found is None or found.login not in roles:
            return None
        return Identity(name=found.login, scope=a_role(roles[found.login]), via=VIA_MESH, address=found.address)

    async def admit(self, request: HTTPConnection, scope: str, *, method: str) -> Identity:
        """The identity, when it may use a route of this scope; otherwise 401 or 403."""
        identity = await self.identify(request)
        if identity is None:
            secret = self.shown(request)
            if secret is not None:
                await self._note_stranger(request, method, secret)
            raise self.stranger()
        if not allows(identity.scope, scope):
            raise HttpError(
                403,
                "forbidden",
                f"this needs the role '{scope}'; yours is '{identity.scope}'",
                "Ask an admin of the lab, who can change it with: homelab person role",
            )
        if identity.session and method not in _SAFE and not same_origin(request.headers):
            raise HttpError(403, "forbidden", "this request did not come from a page of this lab")
        return identity

    def shown(self, request: HTTPConnection) -> str | None:
        """The secret that a program shows; None from whoever shows none, such as a browser that is not signed in."""
        return bearer(request.headers)

    def stranger(self) -> HttpError:
        """The answer to whoever is not known, whatever is wrong with what they show."""
        return HttpError(
            401, "unauthorized", "this needs a sign-in or a bearer token", "Open a sign-in link with: homelab open",
            {"WWW-Authenticate": 'Bearer realm="homelab"'},
        )  # fmt: skip

    async def _note_stranger(self, request: HTTPConnection, method: str, secret: str) -> None:
        """A line in the audit for each useless token, now and then; never the token."""
        caller, now = caller_of(request), time.monotonic()
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:12] if secret else "none"
        if self.seldom.is_new(f"{caller} {digest}", now=now) and self.strangers.take(caller, now=now):
            await self.access.record(
                who="nobody", origin=origin_of(request), via=self.via, action=f"{method} {request.url.path[:200]}",
                subject="", body={"token": digest}, result="unauthorized",
            )  # fmt: skip

    def check_intent(self, request: HTTPConnection, identity: Identity, form_token: str | None = None) -> None:
        """For a cookie that changes state: the header a script of ours sets, or the token of a form of ours."""
        if not identity.session or request.headers.get(CSRF_HEADER):
            return
        if form_token is None or not hmac.compare_digest(form_token.encode(), self.form_token(identity).encode()):
            raise HttpError(403, "forbidden", "this request carries no proof that a page of this lab made it")

    def form_token(self, identity: Identity) -> str:
        """What a form of a page must carry back; bound to the session."""
        return hmac.new(self.form_key, identity.session.encode(), hashlib.sha256).hexdigest()

    def take(self, limit: RateLimit, caller: str) -> None:
        """Count one against a limit; 429 when it is one too many."""
        if not limit.take(caller, now=time.monotonic()):
            raise HttpError(429, "rate_limited", "too many sign-ins", "Wait a minute.", {"Retry-After": "60"})

    def set_cookie(self, request: HTTPConnection, response: Response, value: str, max_age_s: int) -> None:
        """The cookie of a session; for TLS alone when the browser came by TLS (to what serves it in front of us)."""
        secure = self.secure or request.headers.get("origin", "").startswith("https://")
        response.set_cookie(
            self.cookie, value, max_age=max_age_s, path="/", httponly=True, samesite="strict", secure=secure
        )


def protect(headers: list[tuple[bytes, bytes]], *, policy: str) -> list[tuple[bytes, bytes]]:
    """Response headers with those that make a browser careful; a route's own values stay."""
    ours = {
        b"content-security-policy": policy.encode(),
        b"x-content-type-options": b"nosniff",
        b"x-frame-options": b"DENY",
        # Not `no-referrer`: with it browsers send `Origin: null` with our own forms, which `same_origin` refuses.
        b"referrer-policy": b"same-origin",
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
        b"cache-control": b"no-store",
    }
    present = {name.lower() for name, _ in headers}
    return [*headers, *((n, v) for n, v in ours.items() if n not in present)]


def caller_of(request: HTTPConnection) -> str:
    """The address a request came from, for the rate limit."""
    return request.client.host if request.client else "local"


def origin_of(request: HTTPConnection, identity: Identity | None = None) -> str:
    """Where a change came from, for the audit: the address (that of whoever is vouched for, where somebody is) and the
    program."""
    address = (identity.address if identity else "") or caller_of(request)
    return f"{address} {request.headers.get('user-agent', '')[:80]}".strip()


def forwarded_free(headers: Headers) -> dict[str, str]:
    """Headers that may be passed on to a server behind us: no credentials, nothing about this hop."""
    dropped = {
        "host", "authorization", "cookie", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
        "content-length", "accept-encoding", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
        "origin", "referer", "proxy-authorization", "expect",
    }  # fmt: skip
    return {name: value for name, value in headers.items() if name.lower() not in dropped}
