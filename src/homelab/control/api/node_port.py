"""The one port that nodes of other machines speak to: HTTPS with a certificate of the lab's own authority.

Beside the lab's own port, in the same process, and off until somebody wants a node. It serves what the scope `node`
may, to tokens that name their node, and nothing else. Owned by the `control` role; where it listens, and by which
names, the applied lab file says.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import psutil
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from homelab.control import joining
from homelab.control.access import Access, Identity
from homelab.control.api import auth, routes_nodes, routes_passing, routes_worker
from homelab.control.api.answers import HttpError
from homelab.control.api.app import is_database_away, mounted, server
from homelab.control.api.gateway import Gateway
from homelab.control.api.ports import Control
from homelab.control.api.routing import Route, Site
from homelab.core.errors import RefusedError
from homelab.core.labfile import AccessSettings
from homelab.core.labfile.listening import address
from homelab.core.labfile.model import ServiceSettings
from homelab.home.authority import authority, server_certificate
from homelab.home.paths import Home
from homelab.stack import ports

log = structlog.get_logger()

LOOK_S = 30.0
OPEN_WITHIN_S = 15.0
CONNECTIONS = 4096
"""A node keeps about ten open: its calls, its long poll, those for Prefect, one for each Python flow that runs."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WILD = ("0.0.0.0", "::")  # noqa: S104 - compared
NODE_ROUTES: tuple[Route, ...] = (*routes_worker.ROUTES, *routes_passing.ROUTES, *routes_nodes.NODE_ROUTES)
"""All that the port serves besides Prefect's API for a node's own runs."""


def names_of(setting: ServiceSettings, *, machine: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The names that the port answers to and its certificate is for; the first is what joining tokens say. Pure.

    `machine`: this one's name; `addresses`: all that it has, which count when the port listens on all of them.
    """
    host = (address(setting.nodes) or ("127.0.0.1", None))[0] if setting.nodes else "127.0.0.1"
    own = (machine, f"{machine.partition('.')[0]}.local") if machine.isascii() else ()
    reached = (*own, *addresses) if host in _WILD else (host,)
    return tuple(dict.fromkeys((*setting.node_names, *reached, *_LOOPBACK)))


@dataclass(frozen=True, kw_only=True)
class NodeGate(auth.Gate):
    """Lets tokens in that name their node, as bearer or as the password of basic authentication; no cookies."""

    names: set[str] = field(default_factory=set[str])
    via: str = "node"

    def check_host(self, headers: Mapping[str, str]) -> None:
        name = auth.host_name(headers.get("host", ""))
        if name is None or name not in self.names:
            raise HttpError(421, "misdirected", "this server does not answer to that host name")

    async def identify(self, request: HTTPConnection) -> Identity | None:
        secret = _secret(request)
        found = await self.access.by_token(secret) if secret is not None and len(secret) <= 200 else None
        return found if found is not None and found.node is not None else None

    def shown(self, request: HTTPConnection) -> str | None:
        """On this port whoever shows nothing is noted, too."""
        return _secret(request) or ""

    def stranger(self) -> HttpError:
        return HttpError(
            401, "unauthorized", "this needs the token of a node of this lab", "Join it with: homelab node join",
            {"WWW-Authenticate": 'Bearer realm="homelab node"'},
        )  # fmt: skip


def _secret(request: HTTPConnection) -> str | None:
    return auth.bearer(request.headers) or auth.basic_password(request.headers)


@dataclass
class Listening:
    """The port as it is open now."""

    host: str
    port: int
    names: set[str]
    web: uvicorn.Server
    task: "asyncio.Task[None]"
    serial: int


class NodePort:
    """See the module. `serve` owns it; `open` may be called at any time."""

    def __init__(
        self, control: Control, access: Access, home: Home, *, prefect_url: str, prefect_auth: str | None
    ) -> None:
        self._control = control
        self._access = access
        self._home = home
        self._prefect_url = prefect_url.rstrip("/").removesuffix("/api")
        self._prefect_auth = prefect_auth
        self._listening: Listening | None = None
        self._wanted = False
        self._look = asyncio.Event()
        self._looked = asyncio.Event()
        self._trouble = ""

    async def serve(self) -> None:
        """Open, close and renew as the lab file and the nodes want it, until cancelled."""
        try:
            while True:
                self._look.clear()
                await self._settle()
                self._looked.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S if not self._trouble else 5.0):
                        await self._look.wait()
        finally:
            await self._close()

    async def open(self) -> tuple[str, str]:
        self._wanted = True
        self._looked.clear()
        self._look.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_WITHIN_S):
                await self._looked.wait()
        if self._listening is None:
            raise RefusedError(
                f"the port for nodes is not open: {self._trouble or 'control has not come to it yet'}",
                hint='Choose another in the lab file: [control] nodes = "0.0.0.0:7443", then: homelab apply',
            )
        return self.url(self._listening.port), authority(self._home).fingerprint

    def url(self, port: int) -> str:
        name = self._names()[0]
        return f"https://[{name}]:{port}" if ":" in name else f"https://{name}:{port}"

    def _names(self) -> tuple[str, ...]:
        setting = self._control.looking.node_port
        return names_of(setting, machine=socket.gethostname(), addresses=_addresses())

    async def _settle(self) -> None:
        setting = self._control.looking.node_port
        try:
            wanted = self._wanted or bool(setting.nodes) or await joining.is_wanted(self._access)
            host, port = (address(setting.nodes) if setting.nodes else None) or ("127.0.0.1", None)
            now = self._listening
            if now is not None and (not wanted or now.task.done() or (host, port or now.port) != (now.host, now.port)):
                await self._close()
            if wanted and self._listening is None:
                await self._begin(host, port)
            elif self._listening is not None:
                self._renew(self._listening)
            self._tell("")
        except (RefusedError, OSError, ssl.SSLError) as error:
            self._tell(str(error).splitlines()[0])
        except Exception as error:  # a fault in letting nodes in must not end what schedules
            if not is_database_away(error):
                log.exception("nodes.broken")
                self._tell(f"a fault of control ({type(error).__name__}), of which its log tells")

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.error("nodes.port", error=trouble)
        self._trouble = trouble
        self._control.note("node-port", f"nodes cannot come in: {trouble}" if trouble else "")

    async def _begin(self, host: str, port: int | None) -> None:
        asked: int | Literal["auto"] = port or ports.kept(self._home, "nodes") or "auto"  # nodes know the one it had
        chosen = ports.choose(self._home, "nodes", asked, host=host)
        names = self._names()
        certificate = server_certificate(self._home, names, datetime.now(UTC))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named so that asyncio sends without delay.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, chosen))
        except OSError:
            bound.close()
            raise
        known = {name.lower() for name in names}
        web = server(
            self._app(known, self.url(chosen)), host=host, port=chosen, certificate=str(certificate.path),
            connections=CONNECTIONS,
        )  # fmt: skip
        task = asyncio.create_task(web.serve(sockets=[bound]), name="node port")
        self._listening = Listening(host, chosen, known, web, task, certificate.serial)
        while not web.started and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            self._listening = None
            task.result()
        log.info("nodes.listening", host=host, port=chosen)

    def _renew(self, listening: Listening) -> None:
        """New connections get the new certificate; those that are open go on."""
        names = self._names()
        certificate = server_certificate(self._home, names, datetime.now(UTC))
        if certificate.serial != listening.serial and listening.web.config.ssl is not None:
            listening.web.config.ssl.load_cert_chain(certificate.path)
            listening.serial = certificate.serial
            log.info("nodes.certificate", ends=str(certificate.ends))
        listening.names.clear()
        listening.names.update(name.lower() for name in names)

    async def _close(self) -> None:
        listening, self._listening = self._listening, None
        if listening is None:
            return
        listening.web.should_exit = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(listening.task, return_exceptions=True)
        listening.task.cancel()
        await asyncio.gather(listening.task, return_exceptions=True)

    def _app(self, names: set[str], url: str) -> ASGIApp:
        gate = NodeGate(
            access=self._access, hosts=frozenset(), rules=AccessSettings, cookie="none", secure=True, form_key=b"",
            names=names,
        )  # fmt: skip
        site = Site(
            control=self._control, access=self._access, gate=gate, home=self._home, own_url=url,
            prefect_url=self._prefect_url, prefect_auth=self._prefect_auth,
        )  # fmt: skip
        gateway = Gateway(site, self._control.node_runs)

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncGenerator[None]:
            yield
            await gateway.close()

        async def events(client: WebSocket) -> None:
            await gateway.socket(client, gate.identify)

        return mounted(site, (*NODE_ROUTES, *gateway.routes()), socket=events, lifespan=lifespan)


def _addresses() -> tuple[str, ...]:
    """The addresses of this machine that another may reach."""
    found = [one.address for many in psutil.net_if_addrs().values() for one in many if one.family in _FAMILIES]
    return tuple(sorted(a for a in set(found) if "%" not in a and not a.startswith(("127.", "::1", "169.254."))))


_FAMILIES = (socket.AF_INET, socket.AF_INET6)
