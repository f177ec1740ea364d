"""Signing in by Tailscale: its daemon plays by recorded answers on a socket of its own; the lab and the connections are
real. Forged headers get nobody in."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from tests.service import console_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres
from tests.unit.test_mesh import WHOIS

from homelab.core.labfile import AccessSettings
from homelab.mesh import identity

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this machine does not tell whose a connection is"),
]

ANNA = "100.101.102.103"
HOST = "mac1.tail0000.ts.net"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("mesh"), days=1.1) as made:
            yield made


@asynccontextmanager
async def daemon(monkeypatch: pytest.MonkeyPatch, folder: Path) -> AsyncIterator[list[str]]:
    """A LocalAPI that knows Anna's address; gives the addresses it was asked about."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert "Host: local-tailscaled.sock" in head
        target = urlsplit(head.split(" ")[1])
        assert target.path == "/localapi/v0/whois"
        address = parse_qs(target.query)["addr"][0]
        asked.append(address)
        known = address == ANNA
        body = json.dumps(WHOIS) if known else "no match for IP:port\n"
        status = "200 OK" if known else "404 Not Found"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    place = folder / "tailscaled.sock"
    server = await asyncio.start_unix_server(answer, place)
    monkeypatch.setattr(identity, "SOCKETS", (place,))
    async with server:
        yield asked


def allow(site: Site, **roles: str) -> None:
    """As if a lab file with these roles had been applied."""
    lab = site.control._shared.lab
    assert lab is not None
    logins = {f"{name}@example.com": role for name, role in roles.items()}
    site.control._shared.lab = replace(lab, access=AccessSettings(hosts=(HOST,), tailscale=logins))


def served(**changed: str) -> dict[str, str]:
    """What `tailscale serve` passes on from Anna's browser."""
    headers = {
        "Host": HOST,
        "Origin": f"https://{HOST}",
        "X-Forwarded-For": ANNA,
        "X-Forwarded-Host": HOST,
        "X-Forwarded-Proto": "https",
        "Tailscale-User-Login": "anna@example.com",
        "Tailscale-User-Name": "Anna",
    }
    return {name: value for name, value in {**headers, **changed}.items() if value}


async def test_whom_the_mesh_vouches_for_signs_in_with_the_role_of_the_lab_file(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    allow(site, anna="operate")
    async with daemon(monkeypatch, tmp_path) as asked:
        page = await site.http.get("/sign-in", headers=served())
        assert "Sign in as anna@example.com" in page.text
        got = await site.http.post("/sign-in/tailscale", headers=served())
        assert got.status_code == 303
        assert asked == [ANNA, ANNA]
    cookie = {"Cookie": got.headers["set-cookie"].partition(";")[0], "Host": HOST, "Origin": f"https://{HOST}"}
    site.http.cookies.clear()
    me: dict[str, Any] = (await site.http.get("/api/v1/me", headers=cookie)).json()
    assert me == {"name": "anna@example.com", "role": "operate", "via": "tailscale", "person": True}
    assert (await site.http.get("/lab/file", headers=cookie)).status_code == 403
    noted = (await site.access.audit(limit=1))[0]
    assert (noted["who"], noted["via"]) == ("anna@example.com", "tailscale")
    assert noted["origin"].startswith(f"{ANNA} ")
    allow(site, anna="read")
    assert (await site.http.get("/api/v1/me", headers=cookie)).json()["role"] == "read"
    allow(site)
    assert (await site.http.get("/api/v1/me", headers=cookie)).status_code in (401, 421)


@pytest.mark.parametrize(
    "changed",
    [
        {"Tailscale-User-Login": "boss@example.com"},
        {"X-Forwarded-For": "100.64.0.9"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": f"{ANNA}, 100.64.0.9"},
        {"X-Forwarded-For": ""},
        {"Tailscale-User-Login": ""},
        {"Origin": "https://evil.example"},
        {"Origin": ""},
        {"Host": "evil.example"},
    ],
)
async def test_forged_headers_get_nobody_in(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, str]
) -> None:
    allow(site, anna="operate", boss="admin")
    async with daemon(monkeypatch, tmp_path):
        got = await site.http.post("/sign-in/tailscale", headers=served(**changed))
    assert got.status_code in (403, 421)
    assert "set-cookie" not in got.headers


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
async def test_another_users_process_on_this_machine_gets_nobody_in(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The very request that signs Anna in, from a process of another user."""
    allow(site, anna="operate")
    script = (
        "import http.client, json, sys\n"
        "host, port, headers = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])\n"
        "asked = http.client.HTTPConnection(host, port)\n"
        "asked.request('POST', '/sign-in/tailscale', b'', headers)\n"
        "print(asked.getresponse().status)\n"
    )
    host, port = site.url.removeprefix("http://").split(":")
    async with daemon(monkeypatch, tmp_path) as asked:
        for user, status in ((65534, "403"), (0, "303")):
            command = ["/usr/bin/python3", "-c", script, host, port, json.dumps(served())]
            done = await asyncio.create_subprocess_exec(*command, user=user, stdout=asyncio.subprocess.PIPE, cwd="/")
            out, _ = await done.communicate()
            assert out.decode().strip() == status, user
        assert asked == [ANNA]  # of the other user's request nobody was asked


async def test_without_a_daemon_or_a_role_in_the_lab_file_headers_mean_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    allow(site, anna="operate")
    monkeypatch.setattr(identity, "SOCKETS", (tmp_path / "nothing",))
    assert (await site.http.post("/sign-in/tailscale", headers=served())).status_code == 403
    allow(site, somebody="admin")
    async with daemon(monkeypatch, tmp_path):
        assert (await site.http.post("/sign-in/tailscale", headers=served())).status_code == 403
    for path in ("/", "/api/v1/me", "/api/v1/jobs"):  # a header is no credential of a request
        allow(site, anna="admin")
        assert (await site.http.get(path, headers=served())).status_code == 401


async def test_a_name_that_the_lab_file_does_not_have_is_misdirected_and_one_that_it_has_is_not(site: Site) -> None:
    allow(site)
    assert (await site.http.get("/healthz", headers={"Host": HOST})).status_code == 200
    lab = site.control._shared.lab
    assert lab is not None
    site.control._shared.lab = replace(lab, access=AccessSettings())
    assert (await site.http.get("/healthz", headers={"Host": HOST})).status_code == 421
