"""The stream of events: a snapshot, then what happens, none lost and none twice; bounded; over when its reader may not
look any more."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.service.console_site import Site, running

from homelab.control import store
from homelab.control.api import events, live


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with running(database, tmp_path_factory.mktemp("events"), days=1.1) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def enter(site: Site, *names: str, size: int = 0) -> None:
    async with site.control.database.connection() as conn:
        await store.add_events(conn, [("test", name, {"text": "x" * size}) for name in names])
    site.control._shared.tell()


async def bearer(site: Site) -> tuple[int, dict[str, str]]:
    made = await site.access.create_token("reader", "read")
    return made["id"], {"Authorization": f"Bearer {made['token']}"}


async def frames(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Each event as {id, kind, data}; comments are left out."""
    found: dict[str, Any] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if not line and "kind" in found:
            yield found
            found = {}
        elif name == "id":
            found["id"] = int(value)
        elif name == "event":
            found["kind"] = value
        elif name == "data":
            found["data"] = json.loads(value)


async def test_a_new_reader_gets_the_lab_as_it_is_and_then_what_happens(site: Site) -> None:
    _, headers = await bearer(site)
    async with site.http.stream("GET", "/api/v1/events", headers=headers) as response:
        assert response.headers["content-type"] == "text/event-stream"
        stream = frames(response)
        first = await anext(stream)
        assert first["kind"] == "snapshot"
        body = first["data"]["body"]
        assert body["now"]["jobs"] == len(body["jobs"]) == 46
        assert body["now"]["event"] >= first["id"]
        await enter(site, "one", "two")
        async with asyncio.timeout(2):
            got = [await anext(stream) for _ in range(2)]
        assert [event["data"]["subject"] for event in got] == ["one", "two"]
        assert [event["id"] for event in got] == [first["id"] + 1, first["id"] + 2]


async def test_a_reader_that_comes_back_gets_what_it_missed_and_nothing_twice(site: Site) -> None:
    _, headers = await bearer(site)
    _, newest = await site.control.looking.events_kept()
    await enter(site, "missed", "missed too")
    async with site.http.stream("GET", "/api/v1/events", headers={**headers, "Last-Event-ID": str(newest)}) as response:
        stream = frames(response)
        got = [await anext(stream) for _ in range(2)]
        assert [event["data"]["subject"] for event in got] == ["missed", "missed too"]


@pytest.mark.parametrize("behind", [-5, events.MOST_BEHIND + 1])
async def test_a_reader_that_missed_too_much_or_knows_another_lab_is_told_afresh(site: Site, behind: int) -> None:
    _, headers = await bearer(site)
    if behind > 0:
        await enter(site, *(f"n{n}" for n in range(behind + 1)))
    _, newest = await site.control.looking.events_kept()
    last = str(newest - behind)
    async with site.http.stream("GET", "/api/v1/events", headers={**headers, "Last-Event-ID": last}) as response:
        first = await anext(frames(response))
        assert (first["kind"], first["id"]) == ("snapshot", newest)


async def test_an_event_that_is_committed_late_is_told_in_its_place(site: Site) -> None:
    """Two transactions: the first takes its number, the second commits before it."""
    _, headers = await bearer(site)
    async with site.http.stream("GET", "/api/v1/events", headers=headers) as response:
        stream = frames(response)
        await anext(stream)
        async with site.control.database.connection() as slow:
            await store.add_events(slow, [("test", "early number", {})])
            await enter(site, "late number")
            await asyncio.sleep(0.3)
        site.control._shared.tell()
        async with asyncio.timeout(5):
            got = [await anext(stream) for _ in range(2)]
        assert [event["data"]["subject"] for event in got] == ["early number", "late number"]


async def test_the_stream_of_a_revoked_token_and_of_an_ended_session_is_over_at_once(site: Site) -> None:
    number, headers = await bearer(site)
    cookie = await site.sign_in("read")
    as_browser = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    for given, end in (
        (headers, lambda: site.access.revoke(number)),
        (as_browser, lambda: site.access.sign_out(_hash(cookie["value"]))),
    ):
        async with site.http.stream("GET", "/api/v1/events", headers=given) as response:
            stream = frames(response)
            await anext(stream)
            await end()
            async with asyncio.timeout(3):
                assert [event async for event in stream if event["kind"] != "test"] == []
        again = await site.http.get("/api/v1/events", headers=given)
        assert again.status_code == 401


def _hash(secret: str) -> str:
    from homelab.control.access import hashed

    return hashed(secret)


async def test_a_reader_that_never_reads_costs_little_and_is_dropped(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SEND_TIMEOUT_S", 1.0)
    _, headers = await bearer(site)
    _, newest = await site.control.looking.events_kept()
    given = 4000
    await enter(site, *(f"n{n}" for n in range(given)), size=5000)
    told = 0
    original = events.frame

    def counted(event: dict[str, Any]) -> bytes:
        nonlocal told
        told += 1
        return original(event)

    monkeypatch.setattr(events, "frame", counted)
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = f"GET /api/v1/events?after={newest} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        silent.sendall(f"{request}Authorization: {headers['Authorization']}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            while told == 0:
                await asyncio.sleep(0.02)
            before = -1
            while told != before:  # it stands still, or goes on for ever
                before = told
                await asyncio.sleep(0.5)
        # Kernel buffers hold some megabytes; the rest of the twenty waits in the database, not in memory.
        assert told < given * 0.8
        async with asyncio.timeout(10):
            while any(t.get_coro().__name__ == "_send_all" for t in asyncio.all_tasks()):  # type: ignore[union-attr]
                await asyncio.sleep(0.05)


async def test_a_stream_is_kept_alive_while_nothing_happens(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _, headers = await bearer(site)
    monkeypatch.setattr(events.frames, "__kwdefaults__", {"keep_alive_s": 0.05})
    async with site.http.stream("GET", "/api/v1/events", headers=headers) as response:
        lines = response.aiter_lines()
        async with asyncio.timeout(3):
            while await anext(lines) != ": still here":
                pass
