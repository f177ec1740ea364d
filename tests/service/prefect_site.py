"""A real Prefect server on a real Postgres for the tests of this folder, both the lab's own, gone afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from homelab.home.paths import Home
from homelab.home.secrets import read_or_create
from homelab.stack import postgres, programs

AUTH = "homelab:a password of the tests"


@dataclass(frozen=True)
class Site:
    """`url` ends in /api. `environment` is what Prefect's own clients need. `database`: an empty one on the same
    Postgres, with its password."""

    url: str
    auth: str
    folder: Path
    process: subprocess.Popen[bytes]
    database: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PREFECT_API_URL": self.url,
            "PREFECT_API_AUTH_STRING": self.auth,
            "PREFECT_HOME": str(self.folder / "prefect-client"),
            "PATH": os.environ["PATH"],
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(what: str, ready: "object", process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{what} ended with {process.returncode}"
        try:
            ready()  # type: ignore[operator]
        except Exception:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{what} was not ready in {seconds:g} s")


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    process.send_signal(number)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Both servers up for the length of the block."""
    home = Home(root=folder / "home").ensure()
    found = programs.find()
    place = postgres.place_of(home)
    postgres.prepare(home, place, found)
    with (folder / "postgres.log").open("wb") as log:
        database = subprocess.Popen(
            postgres.command(found, place), env=found.environment(), stdout=log, stderr=log, start_new_session=True,
            **place.owner,  # type: ignore[call-overload]
        )  # fmt: skip
    try:
        _wait("postgres", lambda: postgres.ask(home, place, found, "select 1"), database, 20)
        postgres.ensure_databases(home, place, found)
        port = _free_port()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT")},
            "PREFECT_API_DATABASE_CONNECTION_URL": postgres.prefect_url(home, place),
            "PREFECT_SERVER_API_AUTH_STRING": AUTH,
            "PREFECT_HOME": str(folder / "prefect"),
        }
        command = [sys.executable, "-m", "homelab.flows.server", "--port", str(port), "--ui-api-url", "/prefect/api"]
        with (folder / "prefect.log").open("wb") as log:
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        url = f"http://127.0.0.1:{port}/api"
        user, _, password = AUTH.partition(":")

        def ready() -> None:
            httpx.get(f"{url}/ready", auth=(user, password)).raise_for_status()

        try:
            _wait("the Prefect server", ready, server, 90)
            secret = quote(read_or_create(home, "postgres"), safe="")
            yield Site(url, AUTH, folder, server, postgres.database_url(place).replace("@/", f":{secret}@/", 1))
        finally:
            _end(server, signal.SIGTERM)
    finally:
        _end(database, signal.SIGINT)
        if folder not in place.data.parents:
            shutil.rmtree(place.data.parent, ignore_errors=True)
