"""Prefect's own pages, API and sockets through the sign-in of the lab, against a real Prefect server."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import websockets
from tests.service.api_site import Running, running

AUTH = "homelab:secret"


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prefect")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "HOMELAB"))},
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_API_AUTH_STRING": AUTH,
    }
    command = [sys.executable, "-m", "homelab.flows.server", "--port", str(port), "--ui-api-url", "/prefect/api"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None
            try:
                if httpx.get(f"{url}/api/health", auth=tuple(AUTH.split(":"))).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
async def site(database: str, prefect: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(database, tmp_path, prefect_url=f"{prefect}/api") as made:
        yield made


async def test_the_ui_is_served_behind_the_sign_in_and_told_that_it_needs_no_credential(site: Running) -> None:
    assert (await site.http.get("/prefect/")).status_code == 401
    cookie = await site.sign_in("read")
    page = await site.http.get("/prefect/", headers=cookie, follow_redirects=True)
    assert page.status_code == 200
    assert "PLACEHOLDER" not in page.text
    script = page.text.partition('src="')[2].partition('"')[0]
    assert script.startswith("/prefect/")
    got = await site.http.get(script, headers=cookie)
    assert got.status_code == 200
    assert "javascript" in got.headers["content-type"]
    settings = (await site.http.get("/prefect/ui-settings", headers=cookie)).json()
    assert settings["auth"] is None
    assert settings["api_url"] == f"{site.url}/prefect/api"


async def test_reading_needs_read_and_acting_more(site: Running) -> None:
    got = await site.http.post("/prefect/api/flow_runs/filter", json={}, headers=site.bearer("read"))
    assert (got.status_code, got.json()) == (200, [])
    assert (await site.http.get("/prefect/api/health", headers=site.bearer("read"))).json() is True
    flow = await site.http.post("/prefect/api/flows/", json={"name": "x"}, headers=site.bearer("operate"))
    assert flow.status_code == 403
    flow = await site.http.post("/prefect/api/flows/", json={"name": "x"}, headers=site.bearer("admin"))
    assert flow.status_code == 201
    got = await site.http.post("/prefect/api/flows/filter", json={}, headers=await site.sign_in("read"))
    assert got.status_code == 403  # a cookie, and no origin
    headers = {**await site.sign_in("read"), "Origin": site.url}
    got = await site.http.post("/prefect/api/flows/filter", json={}, headers=headers)
    assert [f["name"] for f in got.json()] == ["x"]


async def test_prefects_own_answers_come_through(site: Running) -> None:
    got = await site.http.get("/prefect/api/flows/name/none", headers=site.bearer("read"))
    assert got.status_code == 404
    assert "detail" in got.json()


@pytest.mark.parametrize("subprotocols", [["prefect"], None])
async def test_events_come_through_a_socket_without_the_browser_knowing_the_credential(
    site: Running, subprotocols: list[str] | None
) -> None:
    cookie = await site.sign_in("read")
    url = "ws" + site.url.removeprefix("http") + "/prefect/api/events/out"
    headers = {**cookie, "Origin": site.url}
    async with websockets.connect(url, additional_headers=headers, subprotocols=subprotocols, proxy=None) as browser:
        if subprotocols:
            await browser.send(json.dumps({"type": "auth", "token": None}))
            assert json.loads(await browser.recv())["type"] == "auth_success"
        await browser.send(json.dumps({"type": "filter", "filter": {"occurred": {"until": "2100-01-01T00:00:00Z"}}}))
        await asyncio.sleep(0.5)
        event = {
            "occurred": datetime.now(UTC).isoformat(),
            "event": "lab.test",
            "resource": {"prefect.resource.id": "lab.test"},
            "id": str(uuid.uuid4()),
        }
        sent = await site.http.post("/prefect/api/events", json=[event], headers=site.bearer("admin"))
        assert sent.status_code == 204
        async with asyncio.timeout(15):
            while True:
                got = json.loads(await browser.recv())
                if got.get("event", {}).get("id") == event["id"]:
                    break


async def test_other_sockets_and_a_server_that_is_away_are_refused(
    site: Running, database: str, tmp_path: Path
) -> None:
    url = "ws" + site.url.removeprefix("http")
    for path in ("/prefect/api/events/in", "/prefect/api/task_runs/subscriptions/scheduled"):
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(url + path, additional_headers=site.bearer("admin"), proxy=None)
    async with running(database, tmp_path / "other") as other:
        got = await other.http.get("/prefect/api/health", headers=other.bearer("read"))
        assert got.status_code == 503
