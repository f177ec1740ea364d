"""Which port a service of this home listens on: the one asked for, else the one it had, else one that is free.

A port that was chosen is this home's until its supervisor ends, though nothing may listen there for some seconds: two
labs that start at once must not choose the same. Other users' labs are only seen once they listen.
"""

import fcntl
import json
import os
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal, cast

import psutil

from homelab.core.errors import RefusedError
from homelab.home.paths import Home

_claims: dict[int, tuple[Home, int]] = {}
"""The ports this process has chosen, and for which home: descriptors of locked files, held as long as it lives."""

PREFERRED = {"control": 4300, "prefect": 4210, "nodes": 7443}


def choose(
    home: Home, service: str, asked: int | Literal["auto"] | None, *, host: str = "127.0.0.1", running: bool = False
) -> int:
    """A free port, remembered so that it stays. RefusedError names who holds the one that was asked for.

    `running`: the service survived its supervisor and holds its port itself, which is then the one.
    """
    if running and (kept := _read(home).get(service)) is not None:
        _claim(home, kept)
        return kept
    if isinstance(asked, int):
        if not _is_free(host, asked):
            raise RefusedError(
                f"port {asked} for {service} is taken by {holder(asked)}",
                hint=f'Stop that, or choose another in lab.toml: [{service}] port = "auto"',
            )
        if not _claim(home, asked):
            raise RefusedError(
                f"port {asked} for {service} is taken by another lab that is starting",
                hint=f'Stop that, or choose another in lab.toml: [{service}] port = "auto"',
            )
        _remember(home, {**_read(home), service: asked})
        return asked
    known = _read(home)
    for port in (known.get(service), PREFERRED.get(service)):
        others = [p for s, p in known.items() if s != service]
        if port is not None and port not in others and _is_free(host, port) and _claim(home, port):
            break
    else:
        port = _any(host)
        while not _claim(home, port):
            port = _any(host)
    _remember(home, {**known, service: port})
    return port


def kept(home: Home, service: str) -> int | None:
    """The port that this home's service had last."""
    return _read(home).get(service)


def _any(host: str) -> int:
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _claim(home: Home, port: int) -> bool:
    """Whether the port is this home's from now on; False when another home of this user has chosen it."""
    if port in _claims:
        return _claims[port][0] == home
    folder = Path(f"/tmp/homelab-{os.geteuid()}-ports")  # noqa: S108 - a folder of all homes of this user
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        file = os.open(folder / f"{port}{_network()}", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return True  # it costs the protection, not the start
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    _claims[port] = home, file
    return True


def _network() -> str:
    """Tells network namespaces apart, where there are any: the same port is another one there."""
    with suppress(OSError):
        return f"-{Path('/proc/self/ns/net').stat().st_ino}"
    return ""


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
