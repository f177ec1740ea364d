"""The services of an embedded lab, as the supervisor runs them: postgres, prefect, control, worker.

What the lab file gives a `url` is external: asked, never started. A home that joined a lab as a node has a worker and
nothing else. Called by `homelab up`.
"""

import base64
import functools
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from homelab.core.labfile import Lab
from homelab.home import endpoints, references
from homelab.home.membership import Membership
from homelab.home.paths import Home
from homelab.home.secrets import keep_prefect_auth, prefect_auth, read_or_create
from homelab.stack import children, ports, postgres, programs
from homelab.stack.plan import Probe, Service


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The services and how a `postgres` probe asks its question."""

    services: tuple[Service, ...]
    query: Callable[[], None] | None
    control_url: str


def embedded(home: Home, lab: Lab | None) -> Stack:
    """Choose ports, write the endpoints, define the services. RefusedError for a port that is taken; HomelabError when
    there is no PostgreSQL to be had."""
    control_port, host = _port(home, lab, "control"), _host(lab, "control")
    control_url = _url(home, lab, "control") or f"http://{_shown_host(host)}:{control_port}"
    database, query = _postgres(home, lab)
    prefect, prefect_url = _prefect(home, lab, control_url)
    control = _control(home, lab, control_url, host, control_port)
    named = ("--name", lab.worker.name) if lab is not None and lab.worker.name else ()
    worker = _worker(home, *named, needs=("control",))
    endpoints.write(home, {"control": control_url, "prefect": prefect_url, "postgres": _database_url(home, lab)})
    return Stack(services=(database, prefect, control, worker), query=query, control_url=control_url)


def of_node(home: Home, member: Membership) -> Stack:
    """The services of a home that joined a lab: its worker, which speaks to the control plane of that lab."""
    return Stack(services=(_worker(home),), query=None, control_url=member.url)


def _worker(home: Home, *arguments: str, needs: tuple[str, ...] = ()) -> Service:
    return Service(
        name="worker",
        argv=(sys.executable, "-m", "homelab", "worker", *arguments),
        environment=_environment(home),
        cwd=str(home.root),
        needs=needs,
        stop_within_s=45.0,
        stop_now_signal=signal.SIGINT,
        stop_now_within_s=15.0,
        restart_signal=signal.SIGHUP,
    )


def _postgres(home: Home, lab: Lab | None) -> tuple[Service, Callable[[], None] | None]:
    if url := _url(home, lab, "postgres"):
        return Service(
            name="postgres", kind="postgres", url=without_password(url), external=True, ready=Probe(kind="postgres"),
            stop_signal=signal.SIGINT,  # for one of ours that survived from before the url
        ), functools.partial(_ask_external, url)  # fmt: skip
    found = programs.find()
    place = postgres.place_of(home)
    return Service(
        name="postgres",
        kind=f"postgres ({found.origin})",
        argv=tuple(postgres.command(found, place)),
        environment=found.environment(),
        owner=place.owner,
        url=postgres.database_url(place),
        ready=Probe(kind="postgres"),
        stop_signal=signal.SIGINT,
        stop_within_s=30.0,
        prepare=functools.partial(postgres.prepare, home, place, found),
        after_start=functools.partial(postgres.ensure_databases, home, place, found),
    ), lambda: _select_one(home, place, found)


def _ask_external(url: str) -> None:
    from homelab.db.ask import ask  # a driver that an embedded lab's supervisor does not need

    ask(url, "select 1")


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", url)


def _select_one(home: Home, place: postgres.Place, found: programs.Programs) -> None:
    postgres.ask(home, place, found, "select 1")


def _prefect(home: Home, lab: Lab | None, control_url: str) -> tuple[Service, str]:
    url = _url(home, lab, "prefect")
    settings = None if lab is None else lab.services.get("prefect")
    keep_prefect_auth(home, _value(home, settings.auth) if url and settings and settings.auth else "")
    auth = prefect_auth(home)
    headers = {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()}
    if url:
        url = url.rstrip("/") if url.rstrip("/").endswith("/api") else url.rstrip("/") + "/api"
        ready = Probe(kind="http", target=f"{url}/health", headers=headers)
        return Service(name="prefect", kind="prefect", url=url, external=True, ready=ready), url
    port = _port(home, lab, "prefect")
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT")},
        "PREFECT_API_DATABASE_CONNECTION_URL": postgres.prefect_url(home, postgres.place_of(home)),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_HOME": str(home.root / "prefect"),
        "HOMELAB_HOME": str(home.root),
    }
    external_database = _url(home, lab, "postgres")
    if external_database:
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = prefect_database(external_database)
    return Service(
        name="prefect",
        kind="prefect",
        argv=(
            sys.executable, "-m", "homelab.flows.server",
            "--port", str(port), "--ui-api-url", f"{control_url}/prefect/api",
        ),
        environment=environment,
        cwd=str(home.root),
        url=url,
        needs=("postgres",),
        ready=Probe(kind="http", target=f"{url}/ready", headers=headers),
        ready_within_s=180.0,
    ), url  # fmt: skip


def prefect_database(url: str) -> str:
    """Prefect's database on the server of this libpq URL: the database named `prefect` there, by asyncpg."""
    rest = url.split("://", 1)[1]
    address, _, options = rest.partition("?")
    host = address.rsplit("/", 1)[0] if "/" in address else address
    return f"postgresql+asyncpg://{host}/prefect" + (f"?{options}" if options else "")


def _control(home: Home, lab: Lab | None, url: str, host: str, port: int) -> Service:
    if _url(home, lab, "control"):
        return Service(
            name="control", kind="control", url=url, external=True, ready=Probe(kind="http", target=f"{url}/healthz")
        )
    return Service(
        name="control",
        kind="control",
        argv=(sys.executable, "-m", "homelab", "control"),
        environment={
            **_environment(home),
            "HOMELAB_CONTROL_HOST": host,
            "HOMELAB_CONTROL_PORT": str(port),
            "HOMELAB_DATABASE_URL": _database_url(home, lab),
        },
        cwd=str(home.root),
        url=url,
        needs=("prefect",),
        ready=Probe(
            kind="http",
            target=f"http://{_shown_host(host)}:{port}/readyz",
            headers={"Authorization": f"Bearer {read_or_create(home, 'token-node')}"},
        ),
    )


def _environment(home: Home) -> dict[str, str]:
    """The caller's environment (secrets of the kind `env:` come from it), without what would mislead Prefect."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
    return {**kept, "HOMELAB_HOME": str(home.root)}


def _database_url(home: Home, lab: Lab | None) -> str:
    return _url(home, lab, "postgres") or postgres.database_url(postgres.place_of(home))


def _url(home: Home, lab: Lab | None, name: str) -> str:
    """Where somebody else's service is; empty when it is ours."""
    settings = None if lab is None else lab.services.get(name)
    return _value(home, (settings.url or "") if settings else "")


def _value(home: Home, text: str) -> str:
    """What a reference stands for; any other text is itself."""
    return references.resolve(text, home=home).strip() if references.is_reference(text) else text


def _host(lab: Lab | None, name: str) -> str:
    settings = None if lab is None else lab.services.get(name)
    return settings.host if settings else "127.0.0.1"


def _port(home: Home, lab: Lab | None, name: str) -> int:
    settings = None if lab is None else lab.services.get(name)
    asked: int | Literal["auto"] | None = settings.port if settings else "auto"
    if _url(home, lab, name):
        return 0
    return ports.choose(home, name, asked, host=_host(lab, name), running=name in children.survivors(home))


def _shown_host(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
