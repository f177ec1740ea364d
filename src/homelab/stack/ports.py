"""Which port a service of this home listens on: the one asked for, else the one it had, else one that is free."""

import json
import socket
from contextlib import closing, suppress
from typing import Literal, cast

import psutil

from homelab.core.errors import RefusedError
from homelab.home.paths import Home

PREFERRED = {"control": 4300, "prefect": 4210}


def choose(
    home: Home, service: str, asked: int | Literal["auto"] | None, *, host: str = "127.0.0.1", running: bool = False
) -> int:
    """A free port, remembered so that it stays. RefusedError names who holds the one that was asked for.

    `running`: the service survived its supervisor and holds its port itself, which is then the one.
    """
    if running and (kept := _read(home).get(service)) is not None:
        return kept
    if isinstance(asked, int):
        if not _is_free(host, asked):
            raise RefusedError(
                f"port {asked} for {service} is taken by {holder(asked)}",
                hint=f'Stop that, or choose another in lab.toml: [{service}] port = "auto"',
            )
        _remember(home, {**_read(home), service: asked})
        return asked
    known = _read(home)
    for port in (known.get(service), PREFERRED.get(service)):
        if port is not None and port not in [p for s, p in known.items() if s != service] and _is_free(host, port):
            break
    else:
        with closing(socket.socket()) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
    _remember(home, {**known, service: port})
    return port


def _remember(home: Home, ports: dict[str, int]) -> None:
    with suppress(OSError):
        (home.run / "ports.json").write_text(json.dumps(ports))


def holder(port: int) -> str:
    """Who listens on a port of this machine, in words."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "another program"


def _is_free(host: str, port: int) -> bool:
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _read(home: Home) -> dict[str, int]:
    try:
        return cast("dict[str, int]", json.loads((home.run / "ports.json").read_text()))
    except (OSError, ValueError):
        return {}
